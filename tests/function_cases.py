"""What is expected of each function: an independent meaning, in mpmath, and its values where they are known exactly.

A new function is a line here; `tests/` needs no other.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import mpmath

from kdpinn_edge.functions import FUNCTIONS

INF, NAN = math.inf, math.nan


@dataclass(frozen=True)
class FunctionCase:
    """`exact` is the function in mpmath; `values` has pairs (x, y) that hold to the bit, signs of zeros included.

    `growth` is what the absolute error of its derivatives may grow with, as a function of x.
    """

    exact: Callable[[mpmath.mpf], mpmath.mpf]
    values: tuple[tuple[float, float], ...]
    growth: Callable[[float], float] = lambda _: 1.0


def sigmoid(x: mpmath.mpf) -> mpmath.mpf:
    return 1 / (1 + mpmath.exp(-x))


ODD = ((0.0, 0.0), (-0.0, -0.0), (1e-42, 1e-42))
FUNCTION_CASES: Mapping[str, FunctionCase] = {
    "tanh": FunctionCase(mpmath.tanh, ((INF, 1.0), (-INF, -1.0), *ODD)),
    "sin": FunctionCase(mpmath.sin, ((INF, NAN), (-INF, NAN), *ODD)),
    "cos": FunctionCase(mpmath.cos, ((INF, NAN), (-INF, NAN), (0.0, 1.0), (-0.0, 1.0))),
    "atan": FunctionCase(mpmath.atan, ((INF, math.pi / 2), (-INF, -math.pi / 2), *ODD)),
    "exp": FunctionCase(
        mpmath.exp,
        ((INF, INF), (-INF, 0.0), (0.0, 1.0), (-0.0, 1.0), (1e3, INF), (-1e3, 0.0)),
        growth=math.exp,
    ),
    "sigmoid": FunctionCase(sigmoid, ((INF, 1.0), (-INF, 0.0), (0.0, 0.5), (-0.0, 0.5))),
    "silu": FunctionCase(
        lambda x: x * sigmoid(x),
        ((INF, INF), (-INF, -0.0), (0.0, 0.0), (-0.0, -0.0)),
        growth=lambda x: 1 + abs(x),
    ),
    "softplus": FunctionCase(lambda x: mpmath.log1p(mpmath.exp(x)), ((INF, INF), (-INF, 0.0))),
    "lorentzian": FunctionCase(
        lambda x: 1 / (1 + x * x), ((INF, 0.0), (-INF, 0.0), (0.0, 1.0), (-0.0, 1.0), (1e-42, 1.0))
    ),
}
assert FUNCTION_CASES.keys() == FUNCTIONS.keys()
