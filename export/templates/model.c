/* @name@.c: the model @name@ in C99, @precision@. Written by kdpinn_edge @version@; declared in @name@.h.
 *
 * numerics profile @profile@: @rounding@
@each function@
 *
 * @name@_@function@ is the Program @sha256@
 *
@program@
@end@
 *
@each floats@
 * Any C99 compiler whose float and double are those of IEEE 754 gives the same bits; @name@_selftest checks that.
@end@
@each integers@
 * Any C99 compiler whose float is that of IEEE 754 gives the same bits, whatever its options for floats are.
@end@
 * Libraries: @libraries@.
@each advice@
 *
 * To be fast: @advice@.
@end@
 */
#include "@name@.h"

#include <float.h>
#include <stddef.h>

/* No sum may swallow the rounding of a product, no loop become a call of a library. */
#if defined(__clang__)
#pragma STDC FP_CONTRACT OFF
#pragma clang attribute push(__attribute__((no_builtin)), apply_to = function)
#elif defined(__GNUC__)
#pragma GCC push_options
#pragma GCC optimize("fp-contract=off", "no-tree-loop-distribute-patterns")
#elif defined(_MSC_VER)
#pragma fp_contract(off)
#else
#pragma STDC FP_CONTRACT OFF
#endif

@each floats@
#if defined(__FAST_MATH__) || defined(__ASSOCIATIVE_MATH__) || defined(__RECIPROCAL_MATH__) || defined(_M_FP_FAST)
#error "@name@.c promises bits, which fast-math changes: compile it without -ffast-math, -Ofast or /fp:fast"
#endif
#if defined(__FINITE_MATH_ONLY__) && __FINITE_MATH_ONLY__ > 0
#error "@name@.c accepts NaN and infinities: compile it without -ffinite-math-only"
#endif
#if FLT_EVAL_METHOD != 0 && FLT_EVAL_METHOD != 16 /* 16 is about _Float16 alone */
#error "@name@.c needs every operation rounded to its own type: on 32-bit x86 compile with -msse2 -mfpmath=sse"
#endif
@end@
#if FLT_RADIX != 2 || FLT_MANT_DIG != 24 || @double@
#error "@name@.c needs float and double to be the formats of IEEE 754"
#endif

@definitions@

static const char *const @ARRAY@INPUT_NAMES[] = {@input_names@};

@each function@
static const char *const @ARRAY@@FUNCTION@_NAMES[] = {@names@};

@end@
static const kdpinn_function @ARRAY@FUNCTIONS[] = {
@each function@
    {
        .name = "@function@",
        .program_sha256 = "@sha256@",
        .output_names = @ARRAY@@FUNCTION@_NAMES,
        .@field@ = @name@_@function@,
        .n_out = @n_out@,
    },
@end@
};

const kdpinn_model *@name@_model(void)
{
    static const kdpinn_model model = {
        .abi = KDPINN_ABI,
        .scalar_bytes = sizeof(@scalar@),
        .n_in = @n_in@,
        .n_functions = sizeof @ARRAY@FUNCTIONS / sizeof @ARRAY@FUNCTIONS[0],
        .name = "@name@",
        .profile = "@profile@",
        .target = "@target@",
        .input_names = @ARRAY@INPUT_NAMES,
        .lower = @lower@,
        .upper = @upper@,
        .functions = @ARRAY@FUNCTIONS,
        .outside_@field@ = @name@_outside,
        .selftest = @name@_selftest,
        .integrity = @name@_integrity,
        .statement_sha256 = "@statement@",
    };
    return &model;
}

#if defined(__clang__)
#pragma clang attribute pop
#pragma STDC FP_CONTRACT DEFAULT
#elif defined(__GNUC__)
#pragma GCC pop_options
#endif
