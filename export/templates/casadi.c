/* @name@_casadi.c: the model @name@ as external functions of CasADi. Written by kdpinn_edge @version@.
 *
@each casadi@
 * @symbol@(@arguments@) is @meaning@
@end@
 *
 * x has @n_in@ numbers: @inputs@. CasADi calculates in double, and so this file converts where the model is float.
 * Nothing is kept between calls: there is no state, any thread may call, and no work memory is asked for.
 *
 * @library_note@
 * In CasADi: casadi.external("@name@_cas", "./lib@name@_casadi.so")
 */
#include "@name@.h"

#ifndef casadi_int
#define casadi_int long long int
#endif

#if defined(_WIN32)
#define @NAME@_SHOWN __declspec(dllexport)
#elif defined(__GNUC__)
#define @NAME@_SHOWN __attribute__((visibility("default")))
#else
#define @NAME@_SHOWN
#endif

#ifdef __cplusplus
extern "C" {
#endif

@each casadi@
/* The columns of @name@_@function@ that are the entries of @result@, column by column. */
static const int32_t @symbol@_columns[] = {@columns@};
static const casadi_int @symbol@_in[][@longest_in@] = {@sparsities_in@};
static const casadi_int @symbol@_out[][@longest_out@] = {@sparsities_out@};

@NAME@_SHOWN int @symbol@(const double **arg, double **res, casadi_int *iw, double *w, int mem)
{
    @scalar@ x[@NAME@_N_IN], y[@NAME@_@FUNCTION@_N_OUT];
    int32_t i;
    (void)iw, (void)w, (void)mem;
    if (!res[0]) return 0;
    for (i = 0; i < @NAME@_N_IN; i++) x[i] = arg[0] ? (@scalar@)arg[0][i] : 0;
    if (@name@_@function@(x, y, 1) != KDPINN_OK) return 1;
    for (i = 0; i < @n_entries@; i++) res[0][i] = y[@symbol@_columns[i]];
    return 0;
}

@NAME@_SHOWN casadi_int @symbol@_n_in(void) { return @n_arguments@; }
@NAME@_SHOWN casadi_int @symbol@_n_out(void) { return @n_results@; }

@NAME@_SHOWN const char *@symbol@_name_in(casadi_int i)
{
    static const char *const names[] = {@names_in@};
    return 0 <= i && i < @n_arguments@ ? names[i] : 0;
}

@NAME@_SHOWN const char *@symbol@_name_out(casadi_int i)
{
    static const char *const names[] = {@names_out@};
    return 0 <= i && i < @n_results@ ? names[i] : 0;
}

@NAME@_SHOWN const casadi_int *@symbol@_sparsity_in(casadi_int i)
{
    return 0 <= i && i < @n_arguments@ ? @symbol@_in[i] : 0;
}

@NAME@_SHOWN const casadi_int *@symbol@_sparsity_out(casadi_int i)
{
    return 0 <= i && i < @n_results@ ? @symbol@_out[i] : 0;
}

@NAME@_SHOWN int @symbol@_work(casadi_int *sz_arg, casadi_int *sz_res, casadi_int *sz_iw, casadi_int *sz_w)
{
    if (sz_arg) *sz_arg = @n_arguments@;
    if (sz_res) *sz_res = @n_results@;
    if (sz_iw) *sz_iw = 0;
    if (sz_w) *sz_w = 0;
    return 0;
}

@NAME@_SHOWN void @symbol@_incref(void) {}
@NAME@_SHOWN void @symbol@_decref(void) {}
@NAME@_SHOWN int @symbol@_checkout(void) { return 0; }
@NAME@_SHOWN void @symbol@_release(int mem) { (void)mem; }

@end@
#ifdef __cplusplus
}
#endif
