/* example.c: calls the model @name@.
 *
 *     @build@
 */
#include <stdio.h>

#include "@name@.h"

#define N_POINTS 5

static void print(const kdpinn_function *function, const @scalar@ *x, const @scalar@ *y)
{
    const kdpinn_model *model = @name@_model();
    int32_t i, c;

    printf("%s\n", function->name);
    for (i = 0; i < N_POINTS; i++) {
        for (c = 0; c < model->n_in; c++) {
            printf("%s = % .4f  ", model->input_names[c], (double)x[i * model->n_in + c]);
        }
        for (c = 0; c < function->n_out; c++) {
            printf("%s = % .9g  ", function->output_names[c], (double)y[i * function->n_out + c]);
        }
        printf("\n");
    }
}

int main(void)
{
    const kdpinn_model *model = @name@_model();
    @scalar@ x[N_POINTS * @NAME@_N_IN];
@each function@
    @scalar@ @function@[N_POINTS * @NAME@_@FUNCTION@_N_OUT];
@end@
    int32_t status, i, c;

    printf("%s: %d-byte numbers, profile %s, for %s\n", model->name, (int)model->scalar_bytes, model->profile,
           model->target);
    status = @name@_selftest();
    printf("self-test: %s\n", status == 0 ? "passed" : "FAILED");
    if (status != 0) {
        return 1;
    }
    for (i = 0; i < N_POINTS; i++) { /* along the diagonal of the domain; an open side is 2 from the other, or at 1 */
        for (c = 0; c < @NAME@_N_IN; c++) {
            const int is_open = model->upper[c] > 1e300;
            const double below = is_open ? -1.0 : model->upper[c] - 2.0;
            const double lower = model->lower[c] > -1e300 ? model->lower[c] : below;
            const double upper = is_open ? lower + 2.0 : model->upper[c];
            x[i * @NAME@_N_IN + c] = (@scalar@)(lower + (upper - lower) * (i + 0.5) / N_POINTS);
        }
    }
@each function@
    if (@name@_@function@(x, @function@, N_POINTS) != KDPINN_OK) {
        return 1;
    }
    print(&model->functions[@index@], x, @function@);
@end@
    return 0;
}
