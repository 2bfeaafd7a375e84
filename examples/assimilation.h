/* assimilation.h: amplitude, phase and viscosity of a wave on a ring, estimated while its sensors report.
 *
 * The wave starts as v = -A sin(pi (x - phi)) and obeys v_t + v v_x = nu v_xx on -1 <= x < 1, whose ends are one place.
 * With u of burgers_nu, v(x, t) = A u(x - phi, A t, nu / A). At each tick all sensors report v
 * with independent noise.
 *
 * An iterated extended Kalman filter in information form: a Gauss-Newton step at each tick, repeated while it moves the
 * estimate by more than its standard deviation. Every report weighs 1 / (noise^2 + model_error^2). The covariance says
 * what becomes of the noise, which is new at each tick, and of the model's error, which is not: from a tick to the next
 * it keeps `memory` of itself, so that many ticks do not average it away.
 *
 * The model computes in float; the algebra needs double, as A and nu are hard to tell apart at first. No heap, no C
 * library, no loop without a bound. A bundle with --derivatives "u, u_x, u_t, u_nu" is needed.
 */
#ifndef ASSIMILATION_H
#define ASSIMILATION_H

#include <stdint.h>

#include "burgers_nu.h"

enum { N_SENSORS = 8, AMPLITUDE = 0, PHASE = 1, VISCOSITY = 2, N_UNKNOWN = 3, MOST_STEPS = 10, WIDEST = 4 };
/* The estimate stays within WIDEST prior deviations of the prior mean. */

static const double PRIOR_MEAN[N_UNKNOWN] = {0.8, 0.0, 0.04}, PRIOR_DEVIATION[N_UNKNOWN] = {0.05, 0.1, 0.008};

typedef struct sensors {
    float x[N_SENSORS]; /* where they are */
    float noise;        /* standard deviation of one report */
    float model_error;  /* that of the model, from the true wave */
    float memory;       /* correlation of the model's error with that at the tick before; 0: new at each tick */
} sensors;

/* In units of the prior deviation. */
typedef struct estimate {
    double mean[N_UNKNOWN], covariance[N_UNKNOWN][N_UNKNOWN];
    double information[N_UNKNOWN][N_UNKNOWN]; /* what the steps are made with */
    double score[N_UNKNOWN][N_UNKNOWN];       /* covariance of what the estimate has been driven by */
    double remembered[N_UNKNOWN][N_SENSORS];  /* the influence of past errors of the model that still last */
    int32_t n_steps;                          /* Gauss-Newton steps so far */
} estimate;

/* What is believed before the first report. */
static inline void begin(estimate *e)
{
    for (int i = 0; i < N_UNKNOWN; i++) {
        e->mean[i] = PRIOR_MEAN[i] / PRIOR_DEVIATION[i];
        for (int j = 0; j < N_UNKNOWN; j++)
            e->covariance[i][j] = e->information[i][j] = e->score[i][j] = i == j;
        for (int k = 0; k < N_SENSORS; k++)
            e->remembered[i][k] = 0.0;
    }
    e->n_steps = 0;
}

static inline double held(double value, double lower, double upper)
{
    return value < lower ? lower : value > upper ? upper : value;
}

/* v at the sensors, and its derivatives by the unknowns in units of their prior deviation. 0, or the library's code. */
static inline int32_t predict(const sensors *s, const double *mean, float t, double *v, double (*by)[N_SENSORS])
{
    float x[N_SENSORS][BURGERS_NU_N_IN], jet[N_SENSORS][BURGERS_NU_JET_N_OUT];
    const double a = mean[AMPLITUDE] * PRIOR_DEVIATION[AMPLITUDE];
    const double phi = mean[PHASE] * PRIOR_DEVIATION[PHASE];
    const double nu = mean[VISCOSITY] * PRIOR_DEVIATION[VISCOSITY];
    int32_t status;

    for (int i = 0; i < N_SENSORS; i++) {
        const double place = s->x[i] - phi;
        x[i][0] = (float)(place < -1.0 ? place + 2.0 : place > 1.0 ? place - 2.0 : place);
        x[i][1] = (float)held(a * t, 0.0, 1.0);
        x[i][2] = (float)held(nu / a, 0.01, 0.1);
    }
    status = burgers_nu_jet(x[0], jet[0], N_SENSORS);
    for (int i = 0; i < N_SENSORS; i++) {
        const double u = jet[i][BURGERS_NU_JET_U], u_nu = jet[i][BURGERS_NU_JET_U_NU];
        v[i] = a * u;
        by[AMPLITUDE][i] = PRIOR_DEVIATION[AMPLITUDE] * (u + x[i][1] * jet[i][BURGERS_NU_JET_U_T] - x[i][2] * u_nu);
        by[PHASE][i] = -PRIOR_DEVIATION[PHASE] * a * jet[i][BURGERS_NU_JET_U_X];
        by[VISCOSITY][i] = PRIOR_DEVIATION[VISCOSITY] * u_nu;
    }
    return status;
}

/* The inverse of a symmetric, positive definite matrix. */
static inline void invert(const double (*a)[N_UNKNOWN], double (*inverse)[N_UNKNOWN])
{
    for (int i = 0; i < N_UNKNOWN; i++) {
        const int j = (i + 1) % N_UNKNOWN, k = (i + 2) % N_UNKNOWN;
        for (int m = 0; m < N_UNKNOWN; m++) {
            const int p = (m + 1) % N_UNKNOWN, q = (m + 2) % N_UNKNOWN;
            inverse[m][i] = a[j][p] * a[k][q] - a[j][q] * a[k][p];
        }
    }
    const double determinant = a[0][0] * inverse[0][0] + a[0][1] * inverse[1][0] + a[0][2] * inverse[2][0];
    for (int i = 0; i < N_UNKNOWN; i++)
        for (int j = 0; j < N_UNKNOWN; j++)
            inverse[i][j] /= determinant;
}

/* Take in what the sensors report at time t. 0, or the library's code; the estimate is then as it was. */
static inline int32_t assimilate(estimate *e, const sensors *s, float t, const float *reports)
{
    const double of_noise = (double)s->noise * s->noise, of_model = (double)s->model_error * s->model_error;
    const double weight = 1.0 / (of_noise + of_model);
    double mean[N_UNKNOWN], information[N_UNKNOWN][N_UNKNOWN], inverse[N_UNKNOWN][N_UNKNOWN];
    double v[N_SENSORS], by[N_UNKNOWN][N_SENSORS], product[N_UNKNOWN][N_UNKNOWN], moved = 2.0;

    for (int i = 0; i < N_UNKNOWN; i++)
        mean[i] = e->mean[i];
    for (int step = 0; step < MOST_STEPS && moved > 1.0; step++) {
        const int32_t status = predict(s, mean, t, v, by);
        double gradient[N_UNKNOWN], change[N_UNKNOWN];
        if (status != KDPINN_OK)
            return status;
        for (int i = 0; i < N_UNKNOWN; i++) {
            gradient[i] = 0.0;
            for (int k = 0; k < N_SENSORS; k++)
                gradient[i] += weight * by[i][k] * (reports[k] - v[k]);
            for (int j = 0; j < N_UNKNOWN; j++) {
                information[i][j] = e->information[i][j];
                for (int k = 0; k < N_SENSORS; k++)
                    information[i][j] += weight * by[i][k] * by[j][k];
                gradient[i] -= e->information[i][j] * (mean[j] - e->mean[j]);
            }
        }
        invert((const double(*)[N_UNKNOWN])information, inverse);
        moved = 0.0; /* in standard deviations, squared */
        for (int i = 0; i < N_UNKNOWN; i++) {
            change[i] = 0.0;
            for (int j = 0; j < N_UNKNOWN; j++)
                change[i] += inverse[i][j] * gradient[j];
            moved += change[i] * gradient[i];
        }
        for (int i = 0; i < N_UNKNOWN; i++) {
            const double middle = PRIOR_MEAN[i] / PRIOR_DEVIATION[i];
            mean[i] = held(mean[i] + change[i], middle - WIDEST, middle + WIDEST);
        }
        e->n_steps++;
    }
    for (int i = 0; i < N_UNKNOWN; i++) {
        e->mean[i] = mean[i];
        for (int j = 0; j < N_UNKNOWN; j++) {
            e->information[i][j] = information[i][j];
            for (int k = 0; k < N_SENSORS; k++) {
                const double a = weight * by[i][k], b = weight * by[j][k];
                e->score[i][j] += (of_noise + of_model) * a * b;
                e->score[i][j] += of_model * (a * e->remembered[j][k] + e->remembered[i][k] * b);
            }
        }
    }
    for (int i = 0; i < N_UNKNOWN; i++)
        for (int k = 0; k < N_SENSORS; k++)
            e->remembered[i][k] = s->memory * (e->remembered[i][k] + weight * by[i][k]);
    for (int i = 0; i < N_UNKNOWN; i++)
        for (int j = 0; j < N_UNKNOWN; j++) {
            product[i][j] = 0.0;
            for (int k = 0; k < N_UNKNOWN; k++)
                product[i][j] += inverse[i][k] * e->score[k][j];
        }
    for (int i = 0; i < N_UNKNOWN; i++)
        for (int j = 0; j < N_UNKNOWN; j++) {
            e->covariance[i][j] = 0.0;
            for (int k = 0; k < N_UNKNOWN; k++)
                e->covariance[i][j] += product[i][k] * inverse[k][j];
        }
    return KDPINN_OK;
}

#endif /* ASSIMILATION_H */
