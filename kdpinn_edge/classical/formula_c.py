"""`formula_source(program, precision)`: the Program of a closed form as C99 with the functions of <math.h>.

It is what a person writes who has the formula: one function, `static int32_t eval(const T *x, T *y, int64_t n)`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np

from kdpinn_edge.bundle.manifest import Precision
from kdpinn_edge.errors import ProgramError
from kdpinn_edge.program.ir import Add, Map, Mul, Op, Program, Scale, Slice, Var

UNIT = """#include <math.h>

typedef {type} T;

static int32_t eval(const T *restrict x, T *restrict y, int64_t n) {{
    for (int64_t i = 0; i < n; i++) {{
{body}
    }}
    return 0;
}}
"""
IN_C = ("cos", "erf", "exp", "log", "sin", "sqrt", "tanh")
"""The functions that C calls by the same name."""


SCALARS: Mapping[Precision, tuple[str, str]] = {"float32": ("float", "f"), "float64": ("double", "")}
"""The type of C, and the suffix of its constants and functions."""


def formula_source(program: Program, precision: Precision) -> str:
    """The C of `program`, whose variables are single numbers. Raises ProgramError for an operation that is not here."""
    n_in, n_out = len(program.inputs), len(program.outputs)
    lines = [f"const T {_name(var)} = x[{n_in} * i + {k}];" for k, var in enumerate(program.inputs)]
    lines += statements(program, precision)
    lines += (f"y[{n_out} * i + {k}] = {_name(var)};" for k, var in enumerate(program.outputs))
    return UNIT.format(type=SCALARS[precision][0], body="\n".join(f"        {line}" for line in lines))


def statements(program: Program, precision: Precision) -> list[str]:
    """The operations of `program` one by one: a variable v is v_ in C."""
    return [f"const T {_name(op.out)} = {_value(op, precision, SCALARS[precision][1])};" for op in program.ops]


def _name(var: Var) -> str:
    return f"{var.name}_"  # x, y, n and i are taken


def _value(op: Op, precision: Precision, suffix: str) -> str:
    if op.out.size == 1:
        match op:
            case Scale(x=x, weight=weight, bias=bias):
                return " + ".join(_terms(_name(x), weight[0], bias[0], precision, suffix))
            case Map(x=x, fn="reciprocal"):
                return f"1 / {_name(x)}"
            case Map(x=x, fn=fn) if fn in IN_C:
                return f"{fn}{suffix}({_name(x)})"
            case Add(a=a, b=b):
                return f"{_name(a)} + {_name(b)}"
            case Mul(a=a, b=b):
                return f"{_name(a)} * {_name(b)}"
            case Slice(x=Var(size=1) as x):
                return _name(x)
            case _:
                pass
    raise ProgramError(f"{op} has no C of <math.h>; expected: arithmetic of single numbers, and {', '.join(IN_C)}")


def _terms(x: str, weight: float, bias: float, precision: Precision, suffix: str) -> Iterator[str]:
    rounded = np.dtype(precision).type
    yield f"{rounded(weight)!s}{suffix} * {x}"
    if bias:
        yield f"{rounded(bias)!s}{suffix}"
