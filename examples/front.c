/* front.c: where the Burgers wave is steepest, from the exported derivatives, and how well it is solved there.
 *
 *     kdpinn-edge export burgers --out burgers --derivatives "u, u_x, u_t, u_xx" --residual
 *     cc -std=c99 -O2 -Iburgers front.c -Lburgers -lburgers -Wl,-rpath,'$ORIGIN/burgers' -o front
 *     ./front
 */
#include <stdio.h>

#include "burgers.h"

enum { N_POINTS = 2001, N_TIMES = 5 };

static float x[N_POINTS][BURGERS_N_IN];
static float jet[N_POINTS][BURGERS_JET_N_OUT], residual[N_POINTS][BURGERS_RESIDUAL_N_OUT];

int main(void) {
    for (int k = 1; k <= N_TIMES; k++) {
        const float t = (float)k / N_TIMES;
        int steepest = 0;
        for (int i = 0; i < N_POINTS; i++) {
            x[i][0] = -1.0f + 2.0f * (float)i / (N_POINTS - 1);
            x[i][1] = t;
        }
        if (burgers_jet(x[0], jet[0], N_POINTS) != KDPINN_OK)
            return 1;
        if (burgers_residual(x[0], residual[0], N_POINTS) != KDPINN_OK)
            return 1;
        for (int i = 1; i < N_POINTS; i++)
            if (jet[i][BURGERS_JET_U_X] < jet[steepest][BURGERS_JET_U_X])
                steepest = i;
        printf("t = %.1f: steepest at x = %.3f, u_x = %.2f, u_xx = %.3g, residual %.2g\n", t, x[steepest][0],
               jet[steepest][BURGERS_JET_U_X], jet[steepest][BURGERS_JET_U_XX], residual[steepest][0]);
    }
    return 0;
}
