"""The Lorentzian, and 1/x."""

from __future__ import annotations

from kdpinn_edge.functions.recipe import Constant, Step, one
from kdpinn_edge.functions.record import Array, Computation, Curve, Function, both
from kdpinn_edge.functions.slope import X, Y
from kdpinn_edge.numerics.lanes import Lanes, div, fma, inverse


def lorentzian(x: Lanes) -> Lanes:
    """1 / (1 + x²). Where x² overflows the result is 0, and below 1e-38 (float64: 1e-308) before."""
    return inverse(fma(x, x, 1.0))


def reciprocal(x: Lanes) -> Lanes:
    """1 / x."""
    return div(1.0, x)


def _exact_lorentzian(x: Array) -> Array:
    result: Array = 1 / (1 + x * x)
    return result


def _exact_reciprocal(x: Array) -> Array:
    result: Array = 1 / x
    return result


LORENTZIAN = Function(
    name="lorentzian",
    exact=_exact_lorentzian,
    accurate=Computation(lorentzian, {"float32": 3.0, "float64": 3.01}),
    slope=(-2 * X) * (Y * Y),
    onnx=(
        (
            Step("Mul", ("x", "x"), "square"),
            Step("Add", ("square", Constant("one", 1.0)), "sum"),
            Step("Reciprocal", ("sum",)),
        ),
    ),
    arguments=1e18,
    reach=1e19,
    lower=0.0,
    upper=1.0,
    symmetry="even",
    curve=Curve(turns=(0.0,), inflections=(-(3**-0.5), 3**-0.5)),
)
RECIPROCAL = Function(
    name="reciprocal",
    exact=_exact_reciprocal,
    accurate=Computation(reciprocal, both(0.51)),
    slope=-(Y * Y),
    onnx=(one("Reciprocal"),),
    aten=("reciprocal",),
    torch="reciprocal",
    arguments=1e6,
    symmetry="odd",
    curve=Curve(undefined=(0.0, 0.0)),
)
RATIONAL = (LORENTZIAN, RECIPROCAL)
