"""CasADi: the Program as an MX function, its generated C called point by point, as in an optimal control solver."""

from __future__ import annotations

from functools import partial
from operator import add, mul, neg, sub, truediv
from typing import Any

import numpy as np

from kdpinn_edge.comparison.backend import Case
from kdpinn_edge.comparison.backends.c_source import Source, compiled, scalar
from kdpinn_edge.comparison.backends.traced import Words, library_function, require_functions, traced
from kdpinn_edge.numerics.reference import rounded
from kdpinn_edge.program.ir import parameters

EVAL = """{code}

static int32_t eval(const {scalar} *x, {scalar} *y, int64_t n) {{
    const casadi_real *arg[{arg}];
    casadi_real *res[{res}], w[{w}];
    casadi_int iw[{iw}];
    for (int64_t i = 0; i < n; i++) {{
        arg[0] = x + {n_in} * i;
        res[0] = y + {n_out} * i;
        model(arg, res, iw, w, 0);
    }}
    return 0;
}}
"""


def generate(case: Case, n: int) -> Source:
    """Generate the C of CasADi for one point, whatever n."""
    import casadi

    words = _words(casadi)
    require_functions(case.program, words.function)
    x = casadi.MX.sym("x", case.program.n_in)
    constants = [
        tuple(casadi.DM(np.asarray(rounded(a, case.manifest.precision), np.float64)) for a in parameters(op))
        for op in case.program.ops
    ]
    function = casadi.Function("model", [x], [traced(case.program, constants, words, x)])
    generator = casadi.CodeGenerator("model.c", {"casadi_real": scalar(case)})
    generator.add(function)
    code = EVAL.format(
        code=generator.dump(),
        scalar=scalar(case),
        arg=function.sz_arg(),
        res=function.sz_res(),
        w=max(1, function.sz_w()),
        iw=max(1, function.sz_iw()),
        n_in=case.program.n_in,
        n_out=case.program.n_out,
    )
    return Source("casadi", code)


def _words(casadi: Any) -> Words:
    names = "acos acosh asin asinh atan atanh cos cosh erf exp log sign sin sinh sqrt tan tanh"
    operators = {name.title(): getattr(casadi, name) for name in names.split()}
    operators |= {"Add": add, "Sub": sub, "Mul": mul, "Div": truediv, "Pow": pow, "Neg": neg, "Abs": casadi.fabs}
    operators |= {"Max": casadi.fmax, "Min": casadi.fmin}
    operators |= {
        "Reciprocal": lambda x: 1 / x,
        "Relu": lambda x: casadi.fmax(x, 0),
        "Sigmoid": lambda x: 1 / (1 + casadi.exp(-x)),
        "Softplus": lambda x: casadi.fmax(x, 0) + casadi.log1p(casadi.exp(-casadi.fabs(x))),
    }
    own = {"expm1": casadi.expm1, "log1p": casadi.log1p}
    return Words(
        affine=lambda weight, bias, x: casadi.mtimes(weight, x) + bias,
        scale=lambda weight, bias, x: weight * x + bias,
        function=partial(library_function, "CasADi", own, operators),
        select=lambda c, a, b: casadi.if_else(c > 0, a, b),
        concat=lambda xs: casadi.vertcat(*xs),
        part=lambda x, start, stop: x[start:stop],
    )


_backend = partial(compiled, "casadi", generate)
CASADI_FAST, CASADI_O3 = _backend("-Ofast", "call from Python"), _backend("-O3", "call from Python")
CASADI_FAST_C_LOOP, CASADI_O3_C_LOOP = _backend("-Ofast", "kernel in C"), _backend("-O3", "kernel in C")
