/* assimilation.c: amplitude, phase and viscosity of a wave, estimated while its sensors report (see assimilation.h).
 *
 *     kdpinn-edge export burgers_nu --out burgers_nu --derivatives "u, u_x, u_t, u_nu"
 *     cc -std=c99 -O2 -ffp-contract=off -Iburgers_nu assimilation.c burgers_nu/libburgers_nu.a -lm -o assimilation
 *     ./assimilation < reports.txt
 *
 * It reads the places of the 8 sensors, their noise, the model's error and its memory; then for each tick the time and 8
 * reports. For each tick it prints the time, and amplitude, phase and viscosity each with its standard deviation; last the
 * mean and the covariance in units of the prior deviation, to the bit, and how many Gauss-Newton steps and seconds of this
 * processor all ticks took.
 */
#include <math.h>
#include <stdio.h>
#include <time.h>

#include "assimilation.h"

int main(void)
{
    sensors s;
    estimate e;
    float t, reports[N_SENSORS];
    clock_t spent = 0;

    begin(&e);
    for (int i = 0; i < N_SENSORS; i++)
        if (scanf("%f", &s.x[i]) != 1)
            return 1;
    if (scanf("%f%f%f", &s.noise, &s.model_error, &s.memory) != 3)
        return 1;
    while (scanf("%f", &t) == 1) {
        for (int i = 0; i < N_SENSORS; i++)
            if (scanf("%f", &reports[i]) != 1)
                return 1;
        const clock_t began = clock();
        if (assimilate(&e, &s, t, reports) != KDPINN_OK)
            return 1;
        spent += clock() - began;
        printf("%.4f", t);
        for (int i = 0; i < N_UNKNOWN; i++)
            printf("  %.8f +- %.2e", e.mean[i] * PRIOR_DEVIATION[i], sqrt(e.covariance[i][i]) * PRIOR_DEVIATION[i]);
        printf("\n");
    }
    printf("mean");
    for (int i = 0; i < N_UNKNOWN; i++)
        printf(" %a", e.mean[i]);
    printf("\ncovariance");
    for (int i = 0; i < N_UNKNOWN; i++)
        for (int j = 0; j < N_UNKNOWN; j++)
            printf(" %a", e.covariance[i][j]);
    printf("\nsteps %d\nseconds %.9f\n", (int)e.n_steps, (double)spent / CLOCKS_PER_SEC);
    return 0;
}
