/* @name@_mex.c: the model @name@ for MATLAB and Octave, @precision@. Written by kdpinn_edge @version@.
 *
 *     mex @name@_mex.c @object@                (MATLAB)
 *     mkoctfile --mex @name@_mex.c @object@    (Octave)
 *
 * A column of x is a point of @n_in@ numbers, of class @class@; a column of y has its values.
 *
@each function@
 *     y = @name@_mex('@function@', x)    rows: @names_said@
@end@
@each function_for@
 *     y = @name@_mex('@function@_for', p, x)
@end@
@each function_fixed@
 *     y = @name@_mex('@function@_fixed', x)    in integers, of class int32; fraction bits of x: @x_bits@, of y: @y_bits@
@end@
 *     n = @name@_mex('outside', x)    how many points lie outside the domain box
 *     s = @name@_mex('selftest')    0 if this processor returns the golden bits
 *     s = @name@_mex('integrity')    0 if code and constants in memory are those that were exported
 *     s = @name@_mex('matches')    1 if the library that runs has the Programs that this file was compiled for
 */
#include <string.h>

#include "mex.h"

#include "@name@.h"

static mwSize points(const mxArray *x, mwSize n_in, const char *name)
{
    if (!mxIsClass(x, name) || mxIsComplex(x) || mxGetNumberOfDimensions(x) != 2 || mxGetM(x) != n_in) {
        mexErrMsgIdAndTxt("kdpinn:x", "expected: a real matrix of class %s with %d rows, as %s(x)", name, (int)n_in, name);
    }
    return mxGetN(x);
}

static void check(int64_t status)
{
    if (status < 0) {
        mexErrMsgIdAndTxt("kdpinn:status", "@name@ returned %d; kdpinn_edge.h says what that means", (int)status);
    }
}

void mexFunction(int n_left, mxArray *left[], int n_right, const mxArray *right[])
{
    char called[32] = "";

    if (n_left > 1 || n_right < 1 || mxGetString(right[0], called, sizeof called) != 0) {
        mexErrMsgIdAndTxt("kdpinn:call", "expected: y = @name@_mex('eval', x), or another function of the file's head");
    }
@each function@
    if (strcmp(called, "@function@") == 0 && n_right == 2) {
        const mwSize n = points(right[1], @NAME@_N_IN, "@class@");
        left[0] = mxCreateNumericMatrix(@NAME@_@FUNCTION@_N_OUT, n, mx@CLASS@_CLASS, mxREAL);
        check(@name@_@function@((const @scalar@ *)mxGetData(right[1]), (@scalar@ *)mxGetData(left[0]), (int64_t)n));
        return;
    }
@end@
@each function_for@
    if (strcmp(called, "@function@_for") == 0 && n_right == 3) {
        const mwSize n = points(right[2], @NAME@_N_X, "@class@");
        if (points(right[1], @NAME@_N_P, "@class@") != 1) {
            mexErrMsgIdAndTxt("kdpinn:p", "expected: one column of inputs that are constant during the call");
        }
        left[0] = mxCreateNumericMatrix(@NAME@_@FUNCTION@_N_OUT, n, mx@CLASS@_CLASS, mxREAL);
        check(@name@_@function@_for((const @scalar@ *)mxGetData(right[1]), (const @scalar@ *)mxGetData(right[2]),
                                   (@scalar@ *)mxGetData(left[0]), (int64_t)n));
        return;
    }
@end@
@each function_fixed@
    if (strcmp(called, "@function@_fixed") == 0 && n_right == 2) {
        const mwSize n = points(right[1], @NAME@_N_IN, "int32");
        left[0] = mxCreateNumericMatrix(@NAME@_@FUNCTION@_N_OUT, n, mxINT32_CLASS, mxREAL);
        check(@name@_@function@_fixed((const int32_t *)mxGetData(right[1]), (int32_t *)mxGetData(left[0]), (int64_t)n));
        return;
    }
@end@
    if (strcmp(called, "outside") == 0 && n_right == 2) {
        const mwSize n = points(right[1], @NAME@_N_IN, "@class@");
        const int64_t outside = @name@_outside((const @scalar@ *)mxGetData(right[1]), (int64_t)n);
        check(outside);
        left[0] = mxCreateDoubleScalar((double)outside);
        return;
    }
    if (strcmp(called, "selftest") == 0 && n_right == 1) {
        left[0] = mxCreateDoubleScalar((double)@name@_selftest());
        return;
    }
    if (strcmp(called, "integrity") == 0 && n_right == 1) {
        left[0] = mxCreateDoubleScalar((double)@name@_integrity());
        return;
    }
    if (strcmp(called, "matches") == 0 && n_right == 1) {
        left[0] = mxCreateDoubleScalar((double)@name@_matches());
        return;
    }
    mexErrMsgIdAndTxt("kdpinn:call", "@name@_mex('%s') with %d arguments is no function of the model", called, n_right);
}
