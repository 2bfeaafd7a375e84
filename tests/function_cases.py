"""What is expected of each function: an independent meaning, in mpmath, and its values where they are known exactly.

A new function is a line here; `tests/` needs no other.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import mpmath
from numpy.typing import NDArray

from kdpinn_edge.functions import FUNCTIONS

INF, NAN = math.inf, math.nan


@dataclass(frozen=True)
class FunctionCase:
    """`exact` is the function in mpmath; `values` has pairs (x, y) that hold to the bit, signs of zeros included.

    `growth` is what the absolute error of its derivatives may grow with, as a function of x. The function is analytic
    for x above `above`, but where it has a kink at 0: there `at_kink` is its slope.
    """

    exact: Callable[[mpmath.mpf], mpmath.mpf]
    values: tuple[tuple[float, float], ...]
    growth: Callable[[float], float] = lambda _: 1.0
    above: float = -INF
    at_kink: float | None = None

    def defined(self, x: NDArray[Any]) -> NDArray[Any]:
        """Those of the points x where there are values."""
        return x[x > self.above]

    def analytic(self, x: NDArray[Any]) -> NDArray[Any]:
        """Those of the points x where there are derivatives of any order."""
        return self.defined(x if self.at_kink is None else x[x != 0])


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
    "reciprocal": FunctionCase(
        lambda x: 1 / x,
        ((INF, 0.0), (-INF, -0.0), (0.0, INF), (-0.0, -INF), (-0.5, -2.0)),
        growth=lambda x: max(1.0, x**-4),
        above=0.0,
    ),
    "sqrt": FunctionCase(
        mpmath.sqrt,
        ((INF, INF), (-INF, NAN), (-1e-42, NAN), (0.0, 0.0), (-0.0, -0.0), (2.0**-148, 2.0**-74), (9.0, 3.0)),
        growth=lambda x: max(1.0, x**-2.5),
        above=0.0,
    ),
    "log": FunctionCase(
        mpmath.log,
        ((INF, INF), (-INF, NAN), (-1e-42, NAN), (0.0, -INF), (-0.0, -INF), (1.0, 0.0)),
        growth=lambda x: max(1.0, x**-3),
        above=0.0,
    ),
    "log1p": FunctionCase(
        mpmath.log1p,
        ((INF, INF), (-INF, NAN), (-2.0, NAN), (-1.0, -INF), *ODD),
        growth=lambda x: max(1.0, (1 + x) ** -3),
        above=-1.0,
    ),
    "expm1": FunctionCase(
        mpmath.expm1,
        ((INF, INF), (-INF, -1.0), (1e3, INF), (-1e3, -1.0), *ODD),
        growth=lambda x: max(1.0, math.exp(x)),
    ),
    "erf": FunctionCase(mpmath.erf, ((INF, 1.0), (-INF, -1.0), (7.0, 1.0), (0.0, 0.0), (-0.0, -0.0))),
    "abs": FunctionCase(abs, ((INF, INF), (-INF, INF), (0.0, 0.0), (-0.0, 0.0), (-1e-42, 1e-42)), at_kink=0.0),
    "relu": FunctionCase(
        lambda x: max(x, mpmath.mpf(0)),
        ((INF, INF), (-INF, 0.0), (0.0, 0.0), (-0.0, -0.0), (1e-42, 1e-42), (-1e-42, 0.0)),
        at_kink=0.0,
    ),
    "step": FunctionCase(
        lambda x: mpmath.mpf(x > 0),
        ((INF, 1.0), (-INF, 0.0), (0.0, 0.0), (-0.0, 0.0), (1e-42, 1.0), (-1e-42, 0.0)),
        at_kink=0.0,
    ),
}
assert FUNCTION_CASES.keys() == FUNCTIONS.keys()
