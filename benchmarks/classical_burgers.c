/* classical_burgers.c: burgers_nu_jet by finite differences, so that the estimator of examples/assimilation.h runs without
 * a network.
 *
 * u and its derivative w by nu are integrated from 0 to t in each call, on N_CELLS equal cells of 0 <= x <= 1, of which the
 * other side is the mirror image: fourth-order central differences, Runge-Kutta of order 4. w obeys the equation that is
 * differentiated by nu. All points of a call have the same t and nu. Six points of the grid interpolate.
 */
#include "burgers_nu.h"

static const double SINE_OF_CELL = 0.039259815759068609021, COSINE_OF_CELL = 0.99922903624072293474; /* of pi / N_CELLS */

enum { N_CELLS = 80, BORDER = 3, N_NODES = N_CELLS + 1, N_ALL = N_NODES + 2 * BORDER, N_NEAR = 6 };

/* The nodes beyond both ends: the mirror image, with this sign. */
static void reflect(float *f, float sign)
{
    for (int i = 1; i <= BORDER; i++) {
        f[BORDER - i] = sign * f[BORDER + i];
        f[BORDER + N_CELLS + i] = sign * f[BORDER + N_CELLS - i];
    }
}

static float slope(const float *f)
{
    return (8.0f * (f[1] - f[-1]) - (f[2] - f[-2])) * ((float)N_CELLS / 12.0f);
}

static float curvature(const float *f)
{
    return (16.0f * (f[1] + f[-1]) - (f[2] + f[-2]) - 30.0f * f[0]) * ((float)N_CELLS * N_CELLS / 12.0f);
}

static void rates(float *u, float *w, float nu, float *u_t, float *w_t)
{
    float square[N_ALL], product[N_ALL];

    reflect(u, -1.0f);
    reflect(w, -1.0f);
    for (int i = 0; i < N_ALL; i++) {
        square[i] = 0.5f * u[i] * u[i];
        product[i] = u[i] * w[i];
    }
    for (int i = BORDER; i < BORDER + N_NODES; i++) {
        const float u_xx = curvature(u + i);
        u_t[i] = nu * u_xx - slope(square + i);
        w_t[i] = nu * curvature(w + i) + u_xx - slope(product + i);
    }
    u_t[BORDER] = w_t[BORDER] = u_t[BORDER + N_CELLS] = w_t[BORDER + N_CELLS] = 0.0f;
}

static void integrate(float *u, float *w, float t, float nu)
{
    static const float ahead[4] = {0.5f, 0.5f, 1.0f, 0.0f}, share[4] = {1.0f, 2.0f, 2.0f, 1.0f};
    const float cell = 1.0f / N_CELLS, by_nu = 0.45f * cell * cell / nu, longest = by_nu < cell ? by_nu : cell;
    const int32_t n = 1 + (int32_t)(t / longest);
    const float dt = t / (float)n;
    float u_at[N_ALL], w_at[N_ALL], u_t[N_ALL], w_t[N_ALL], u_sum[N_ALL], w_sum[N_ALL];

    double sine = 0.0, cosine = 1.0;
    for (int i = 0; i < N_NODES; i++) {
        const double next = sine * COSINE_OF_CELL + cosine * SINE_OF_CELL;
        u[BORDER + i] = (float)-sine;
        w[BORDER + i] = 0.0f;
        cosine = cosine * COSINE_OF_CELL - sine * SINE_OF_CELL;
        sine = next;
    }
    for (int32_t step = 0; step < n; step++) {
        for (int i = BORDER; i < BORDER + N_NODES; i++) {
            u_at[i] = u_sum[i] = u[i];
            w_at[i] = w_sum[i] = w[i];
        }
        for (int stage = 0; stage < 4; stage++) {
            rates(u_at, w_at, nu, u_t, w_t);
            for (int i = BORDER; i < BORDER + N_NODES; i++) {
                u_sum[i] += dt * share[stage] / 6.0f * u_t[i];
                w_sum[i] += dt * share[stage] / 6.0f * w_t[i];
                u_at[i] = u[i] + dt * ahead[stage] * u_t[i];
                w_at[i] = w[i] + dt * ahead[stage] * w_t[i];
            }
        }
        for (int i = BORDER; i < BORDER + N_NODES; i++) {
            u[i] = u_sum[i];
            w[i] = w_sum[i];
        }
    }
}

int32_t burgers_nu_jet(const float *x, float *y, int64_t n)
{
    float u[N_ALL], w[N_ALL], u_x[N_ALL], u_t[N_ALL], w_t[N_ALL];

    if (n == 0)
        return KDPINN_OK;
    integrate(u, w, x[1], x[2]);
    rates(u, w, x[2], u_t, w_t);
    for (int i = BORDER; i < BORDER + N_NODES; i++)
        u_x[i] = slope(u + i);
    reflect(u_x, 1.0f);
    reflect(u_t, -1.0f);
    for (int64_t k = 0; k < n; k++, y += BURGERS_NU_JET_N_OUT) {
        const float sign = x[k * BURGERS_NU_N_IN] < 0.0f ? -1.0f : 1.0f;
        const float place = sign * x[k * BURGERS_NU_N_IN] * N_CELLS;
        const int cell = place < N_CELLS ? (int)place : N_CELLS - 1, first = BORDER + cell - N_NEAR / 2 + 1;
        for (int column = 0; column < BURGERS_NU_JET_N_OUT; column++)
            y[column] = 0.0f;
        for (int i = 0; i < N_NEAR; i++) {
            float weight = 1.0f;
            for (int j = 0; j < N_NEAR; j++)
                if (j != i)
                    weight *= (place - (float)(first + j - BORDER)) / (float)(i - j);
            y[BURGERS_NU_JET_U] += sign * weight * u[first + i];
            y[BURGERS_NU_JET_U_X] += weight * u_x[first + i];
            y[BURGERS_NU_JET_U_T] += sign * weight * u_t[first + i];
            y[BURGERS_NU_JET_U_NU] += sign * weight * w[first + i];
        }
    }
    return KDPINN_OK;
}
