"""x to the power of a constant: a family of functions, one for each exponent. That of 1.5 is called "power(1.5)"."""

from __future__ import annotations

import re
from functools import cache, partial, reduce

import numpy as np

from kdpinn_edge.errors import ProgramError
from kdpinn_edge.functions.exponential import exp
from kdpinn_edge.functions.logarithmic import log
from kdpinn_edge.functions.recipe import Constant, Step
from kdpinn_edge.functions.record import Array, Computation, Curve, Function
from kdpinn_edge.functions.roots import BELOW_ZERO, sqrt
from kdpinn_edge.functions.slope import Applied, Expression, Number, X
from kdpinn_edge.numerics.lanes import Lanes, div, mul

NAME = re.compile(r"power\((-?[0-9][0-9.e+-]{0,30})\)", re.ASCII)
MOST = 1000.0
"""Exponents go up to here, with either sign; those of their derivatives may lie beyond."""
NEEDLESS = (0.0, 0.5, 1.0, -1.0)
"""These powers have names of their own: 1, sqrt, x and reciprocal."""
LARGEST_LOG = {"float32": 104.0, "float64": 746.0}
"""|ln xᵃ| where xᵃ is a number of the precision, and not zero."""


def power(x: Lanes, exponent: float) -> Lanes:
    """xᵃ: a whole power by squaring, half of one by a square root, any other as exp(a ln x), which is NaN for x < 0."""
    magnitude = abs(exponent)
    if not (2 * magnitude).is_integer():
        return exp(mul(log(x), exponent))
    factors = [sqrt(x)] if magnitude % 1 else []
    square, left = x, int(magnitude)
    while left:
        if left & 1:
            factors.append(square)
        left >>= 1
        if left:
            square = mul(square, square)
    y = reduce(mul, factors)
    return div(1.0, y) if exponent < 0 else y


def power_name(exponent: float) -> str:
    """What the function x to the power of `exponent` is called in a Program.

    Raises ProgramError for an exponent without need of one: 0, 1, 1/2, -1; and beyond `MOST`.
    """
    if exponent in NEEDLESS or not abs(exponent) <= MOST:
        raise ProgramError(
            f"a power with the exponent {exponent:g} is unknown; expected: an exponent up to {MOST:g} with either "
            "sign, but 0, 1, 0.5 and -1, which are x itself, sqrt and reciprocal"
        )
    return _name(exponent)


def _name(exponent: float) -> str:
    return f"power({float(exponent)!r})"


@cache
def find_power(name: str) -> Function | None:
    """The function of the family that has this name, if any."""
    found = NAME.fullmatch(name)
    try:
        exponent = float(found[1]) if found else 0.0
    except ValueError:
        return None
    known = abs(exponent) <= 2 * MOST and exponent not in NEEDLESS and _name(exponent) == name
    return _power(exponent) if known else None


def _power(exponent: float) -> Function:
    def exact(x: Array) -> Array:
        result: Array = np.power(x, x.dtype.type(exponent))
        return result

    whole = (2 * exponent).is_integer()
    return Function(
        name=_name(exponent),
        exact=exact,
        accurate=Computation(
            partial(power, exponent=exponent),
            {precision: abs(exponent) + 3.0 if whole else most + 3.0 for precision, most in LARGEST_LOG.items()},
        ),
        slope=exponent * raised(exponent - 1),
        onnx=((Step("Pow", ("x", Constant("exponent", exponent))),),),
        arguments=4.0,
        curve=_curve(exponent),
    )


def _curve(exponent: float) -> Curve:
    if not exponent.is_integer():
        return Curve(undefined=BELOW_ZERO if exponent > 0 else (-np.inf, 0.0))
    if exponent < 0:
        return Curve(undefined=(0.0, 0.0))
    return Curve(inflections=(0.0,)) if exponent % 2 else Curve(turns=(0.0,))


def raised(exponent: float) -> Expression:
    """X to the power of `exponent`, as a slope has it."""
    match exponent:
        case 0.0:
            return Number(1.0)
        case 1.0:
            return X
        case 2.0:
            return X * X
        case 0.5:
            return Applied("sqrt", X)
        case -1.0:
            return Applied("reciprocal", X)
        case _:
            return Applied(_name(exponent), X)
