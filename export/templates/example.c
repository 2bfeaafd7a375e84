/* example.c: calls the model @name@.
 *
 *     cc example.c -L. -l@name@ -Wl,-rpath,'$ORIGIN' -o example && ./example
 */
#include <stdio.h>

#include "@name@.h"

#define N_POINTS 5

int main(void)
{
    const kdpinn_model *model = @name@_model();
    @scalar@ x[N_POINTS * @NAME@_N_IN];
    @scalar@ y[N_POINTS * @NAME@_N_OUT];
    int32_t status, i, c;

    printf("%s: %d -> %d, %d-byte numbers, profile %s, for %s\n", model->name, (int)model->n_in, (int)model->n_out,
           (int)model->scalar_bytes, model->profile, model->target);
    status = @name@_selftest();
    printf("self-test: %s\n", status == 0 ? "passed" : "FAILED");
    if (status != 0) {
        return 1;
    }
    for (i = 0; i < N_POINTS; i++) { /* along the diagonal of the domain, or of [-1, 1] where it is open */
        for (c = 0; c < @NAME@_N_IN; c++) {
            const double lower = model->lower[c] > -1e300 ? model->lower[c] : -1.0;
            const double upper = model->upper[c] < 1e300 ? model->upper[c] : 1.0;
            x[i * @NAME@_N_IN + c] = (@scalar@)(lower + (upper - lower) * (i + 0.5) / N_POINTS);
        }
    }
    if (@name@_eval(x, y, N_POINTS) != KDPINN_OK) {
        return 1;
    }
    for (i = 0; i < N_POINTS; i++) {
        for (c = 0; c < @NAME@_N_IN; c++) {
            printf("%s = % .4f  ", model->input_names[c], (double)x[i * @NAME@_N_IN + c]);
        }
        for (c = 0; c < @NAME@_N_OUT; c++) {
            printf("%s = % .9g  ", model->output_names[c], (double)y[i * @NAME@_N_OUT + c]);
        }
        printf("\n");
    }
    return 0;
}
