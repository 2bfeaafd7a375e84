"""erf."""

from __future__ import annotations

import math

import numpy as np

from kdpinn_edge.functions.exponential import expm1_of_negative
from kdpinn_edge.functions.recipe import Constant, Recipe, Step, one, polynomial
from kdpinn_edge.functions.record import Array, Computation, Curve, Function, both
from kdpinn_edge.functions.slope import Applied, X
from kdpinn_edge.numerics.coefficients import ERF_TAIL, MINUS_ERF_REACH
from kdpinn_edge.numerics.lanes import Lanes, copysign, fma, horner2, less, mul, select

IS_ONE_IN_EVERY_TYPE = 7
SERIES_REACH, SERIES_TERMS, FRACTION_TERMS = 2.5, 60, 60


def erf(x: Lanes) -> Lanes:
    """erf |x| = 1 - exp(a + a p(a)), a = -|x|, by a polynomial for ln erfc |x|; a is held where erf is 1; odd."""
    a = copysign(x, -1.0)
    a = select(less(a, MINUS_ERF_REACH), MINUS_ERF_REACH, a)
    p = horner2(a, mul(a, a), ERF_TAIL)
    return copysign(expm1_of_negative(fma(a, p, a)), x)


def _exact_erf(x: Array) -> Array:
    a = np.minimum(np.abs(x), IS_ONE_IN_EVERY_TYPE)
    result: Array = np.copysign(np.piecewise(a, [a < SERIES_REACH], [_by_series, _by_fraction]), x)
    return result


def _by_series(a: Array) -> Array:
    """2/√π exp(-a²) Σ (2a²)ⁿ a / (2n + 1)!!, whose terms have one sign."""
    term = total = a
    for n in range(1, SERIES_TERMS):
        term = term * (2 * a * a / (2 * n + 1))
        total = total + term
    return 2 * total * _bell(a) / _root_pi(a)


def _by_fraction(a: Array) -> Array:
    """1 - exp(-a²) / √π / (a + ½ / (a + 1 / (a + 1½ / (a + …))))."""
    bottom = a
    for n in range(FRACTION_TERMS, 0, -1):
        bottom = a + n / (2 * bottom)
    result: Array = 1 - _bell(a) / (_root_pi(a) * bottom)
    return result


def _bell(a: Array) -> Array:
    """exp(-a²), with an a² that is not rounded."""
    high = a.astype(np.float32).astype(a.dtype)
    result: Array = np.exp(-high * high) * np.exp((high - a) * (high + a))
    return result


def _root_pi(a: Array) -> Array:
    """√π in the type of a."""
    result: Array = np.sqrt(4 * np.arctan(np.ones((), a.dtype)))
    return result


def _erf_by_tanh() -> Recipe:
    """sign x tanh(-q/2) (1 + exp q), which is 1 - exp q, for q = ln erfc |x| by the polynomial of the float64 lanes."""
    return (
        Step("Abs", name="size"),
        Step("Neg", ("size",), "minus"),
        Step("Max", ("minus", Constant("least", MINUS_ERF_REACH[1])), "a"),
        *polynomial("a", ERF_TAIL[1]),
        Step("Mul", ("a", "p0"), "tail"),
        Step("Add", ("a", "tail"), "q"),
        Step("Mul", ("q", Constant("minus_half", -0.5)), "half"),
        Step("Tanh", ("half",), "tanh"),
        Step("Exp", ("q",), "exp"),
        Step("Add", ("exp", Constant("one", 1.0)), "sum"),
        Step("Mul", ("tanh", "sum"), "positive"),
        Step("Sign", ("x",), "sign"),
        Step("Mul", ("sign", "positive")),
    )


ERF = Function(
    name="erf",
    exact=_exact_erf,
    accurate=Computation(erf, both(2.5), (-1.0, MINUS_ERF_REACH)),
    slope=2 / math.sqrt(math.pi) * Applied("exp", -(X * X)),
    onnx=(one("Erf"), _erf_by_tanh()),
    aten=("erf",),
    torch="erf",
    arguments=6.0,
    lower=-1.0,
    upper=1.0,
    symmetry="odd",
    curve=Curve(inflections=(0.0,)),
)
ERROR_FUNCTION = (ERF,)
