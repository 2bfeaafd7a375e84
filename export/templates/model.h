/* @name@.h: the model @name@, @precision@, for @target@. Written by kdpinn_edge @version@.
 *
 * numerics profile @profile@
@each integers@
 * It calculates in integers alone. Outside of the domain box it has the value of the nearest point of the box.
@end@
@each function@
 * @name@_@function@ is the Program @sha256@ in @file@
@end@
 *
 * To read them: kdpinn-edge info --program, with the folder that this file is in.
@each advice@
 *
 * To be fast: @advice@.
@end@
 */
#ifndef KDPINN_MODEL_@NAME@_H
#define KDPINN_MODEL_@NAME@_H

#include "kdpinn_edge.h"

#ifdef __cplusplus
extern "C" {
#endif

enum {
    @NAME@_N_IN = @n_in@ /* columns of x: @inputs@ */
};

@each function@
/* The Program of @name@_@function@. */
#define @NAME@_@FUNCTION@_SHA256 "@sha256@"

enum { /* columns of y for @name@_@function@ */
@columns@
    @NAME@_@FUNCTION@_N_OUT = @n_out@
};

/* @meaning@, at n points. x: (n, @NAME@_N_IN), y: (n, @NAME@_@FUNCTION@_N_OUT), row-major. Returns KDPINN_OK or
 * a code < 0.
 */
int32_t @name@_@function@(const @scalar@ *x, @scalar@ *y, int64_t n);

@end@
@each jacobian@
/* The column of @name@_jet that is the derivative of output i by input j, both counted from 0. */
#define @NAME@_JACOBIAN(i, j) (@first@ + @n_in@ * (i) + (j))

@end@
@each hessian@
/* The column of @name@_jet that is the derivative of output i by the inputs j and k, in either order. */
#define @NAME@_HESSIAN(i, j, k) \
    (@first@ + @n_pairs@ * (i) + ((j) <= (k) ? @NAME@_PAIR_(j, k) : @NAME@_PAIR_(k, j)))
#define @NAME@_PAIR_(j, k) ((j) * (2 * @n_in@ - 1 - (j)) / 2 + (k))

@end@
@each per_call@
enum {
    @NAME@_N_P = @n_p@, /* inputs that are constant during a call: @p@ */
    @NAME@_N_X = @n_x@  /* columns of x beside them: @x@ */
};

@end@
@each function_for@
/* @name@_@function@ for one p (@NAME@_N_P numbers): what depends on p alone is computed once per call, with the same
 * bits. x: (n, @NAME@_N_X), y: (n, @NAME@_@FUNCTION@_N_OUT), row-major; neither may overlap y.
 */
int32_t @name@_@function@_for(const @scalar@ *p, const @scalar@ *x, @scalar@ *y, int64_t n);

@end@
@each function_fixed@
/* @name@_@function@ in integers alone: x and y hold words, and a word q stands for q 2^-bits, with the bits of its column. No
 * number is converted, so the float entry is not needed. Points are held in the domain box. x: (n, @NAME@_N_IN),
 * y: (n, @NAME@_@FUNCTION@_N_OUT), row-major.
 */
@bits@
int32_t @name@_@function@_fixed(const int32_t *x, int32_t *y, int64_t n);

@end@
/* How many of the n points lie outside the domain box; a NaN does. A code < 0 on bad arguments. */
int64_t @name@_outside(const @scalar@ *x, int64_t n);

/* 0 if this processor returns the golden bits; k > 0 if golden number k is the first that differs; a code < 0, such as
 * KDPINN_OTHER_ENVIRONMENT. Raises neither invalid nor division by zero nor overflow.
 */
int32_t @name@_selftest(void);

/* 0 if @covered@ in memory have the CRC-32 that they were exported with, else 1. It reads every byte of
 * them: some tens of instructions per byte. The self-test proves the processor, this the memory.@beyond@
 */
int32_t @name@_integrity(void);

/* Names, sizes, domain box and identity of the model. */
const kdpinn_model *@name@_model(void);

/* 1 if the library that runs has the Programs of this header; 0 if it is another version of the model. */
static inline int32_t @name@_matches(void)
{
    static const char *const programs[] = {
@each function@
        @NAME@_@FUNCTION@_SHA256,
@end@
    };
    return kdpinn_has_programs(@name@_model(), programs, (int32_t)(sizeof programs / sizeof programs[0]));
}

#ifdef __cplusplus
}
#endif

#endif /* KDPINN_MODEL_@NAME@_H */
