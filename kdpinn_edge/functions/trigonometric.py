"""sin, cos and atan."""

from __future__ import annotations

import numpy as np

from kdpinn_edge.functions.recipe import Constant, Recipe, Step, one, polynomial
from kdpinn_edge.functions.record import Computation, Curve, Function, both
from kdpinn_edge.functions.slope import Applied, X
from kdpinn_edge.numerics.coefficients import (
    ATAN_TAIL,
    MAGIC,
    MINUS_PI_1,
    MINUS_PI_2,
    MINUS_PI_3,
    ONE_OVER_PI,
    QUARTER_PI_1,
    QUARTER_PI_2,
    SIN_TAIL,
)
from kdpinn_edge.numerics.lanes import (
    Lanes,
    absolute,
    add,
    bits,
    copysign,
    div,
    fma,
    from_bits,
    horner,
    horner2,
    iadd,
    ishl,
    ixor,
    less,
    mul,
    select,
    sub,
)

SIN_REACH = 1.6
TAN_1_8 = 0.41421356  # of π
TAN_3_8 = 2.41421356
SIGN = (31, 63)


def sin(x: Lanes) -> Lanes:
    """sin x = ±(-1)ᵏ sin r, r = |x| - kπ by Cody and Waite in three parts, |r| held to 1.6 for x out of its reach."""
    a = absolute(x)
    t = fma(a, ONE_OVER_PI, MAGIC)
    k = sub(t, MAGIC)
    return mul(_signed_sin(_minus_pi_times(k, a), bits(t)), copysign(1.0, x))


def cos(x: Lanes) -> Lanes:
    """cos x = (-1)ᵏ⁺¹ sin r, r = |x| - (k + ½)π."""
    a = absolute(x)
    t = add(fma(a, ONE_OVER_PI, -0.5), MAGIC)
    k = add(sub(t, MAGIC), 0.5)
    return _signed_sin(_minus_pi_times(k, a), iadd(bits(t), 1))


def _minus_pi_times(k: Lanes, x: Lanes) -> Lanes:
    """x - kπ."""
    return fma(k, MINUS_PI_3, fma(k, MINUS_PI_2, fma(k, MINUS_PI_1, x)))


def _signed_sin(r: Lanes, parity: Lanes) -> Lanes:
    """sin r for |r| <= π/2, negated where `parity` is odd."""
    a = absolute(r)
    a = select(less(SIN_REACH, a), SIN_REACH, a)
    s = mul(a, a)
    y = fma(mul(a, s), horner(s, SIN_TAIL), a)
    y = copysign(select(less(1.0, y), 1.0, y), r)
    return from_bits(ixor(bits(y), ishl(parity, SIGN)))


def atan(x: Lanes) -> Lanes:
    """atan |x| = kπ/4 + atan t for k = 0, 1, 2 and |t| <= tan π/8, t = |x|, (|x| - 1) / (|x| + 1) or -1 / |x|; odd."""
    a = absolute(x)
    low = less(a, TAN_1_8)
    high = less(TAN_3_8, a)
    top = select(high, -1.0, select(low, a, sub(a, 1.0)))
    t = div(top, select(high, a, select(low, 1.0, add(a, 1.0))))
    k = select(high, 2.0, select(low, 0.0, copysign(1.0, a)))
    s = mul(t, t)
    y = fma(mul(t, s), horner2(s, mul(s, s), ATAN_TAIL), t)
    return copysign(fma(k, QUARTER_PI_1, fma(k, QUARTER_PI_2, y)), x)


def _halved(x: str, half: str) -> Recipe:
    """tan(α/2) from x = tan α, as x / (1 + √(1 + x²))."""
    one_more = Constant("one", 1.0)
    return (
        Step("Mul", (x, x), f"{half}_square"),
        Step("Add", (f"{half}_square", one_more), f"{half}_sum"),
        Step("Sqrt", (f"{half}_sum",), f"{half}_root"),
        Step("Add", (f"{half}_root", one_more), f"{half}_bottom"),
        Step("Div", (x, f"{half}_bottom"), half),
    )


def _atan_by_roots() -> Recipe:
    """4 atan t for t = tan(α/4), by the polynomial of the lanes in float64; x is held where atan is π/2."""
    return (
        Step("Min", ("x", Constant("largest", 1e18)), "below"),
        Step("Max", ("below", Constant("smallest", -1e18)), "held"),
        *_halved("held", "half"),
        *_halved("half", "t"),
        Step("Mul", ("t", "t"), "s"),
        *polynomial("s", ATAN_TAIL[1]),
        Step("Mul", ("s", "p0"), "tail"),
        Step("Mul", ("t", "tail"), "t_tail"),
        Step("Add", ("t", "t_tail"), "quarter"),
        Step("Mul", ("quarter", Constant("four", 4.0))),
    )


SIN = Function(
    name="sin",
    exact=np.sin,
    accurate=Computation(sin, both(2.1)),
    slope=Applied("cos", X),
    onnx=(one("Sin"),),
    aten=("sin",),
    torch="sin",
    arguments=100.0,
    reach=100.0,
    lower=-1.0,
    upper=1.0,
    symmetry="odd",
    curve=Curve(turns=(np.pi / 2,), inflections=(0.0,), period=np.pi),
)
COS = Function(
    name="cos",
    exact=np.cos,
    accurate=Computation(cos, both(2.1)),
    slope=-Applied("sin", X),
    onnx=(one("Cos"),),
    aten=("cos",),
    torch="cos",
    arguments=100.0,
    reach=100.0,
    lower=-1.0,
    upper=1.0,
    symmetry="even",
    curve=Curve(turns=(0.0,), inflections=(np.pi / 2,), period=np.pi),
)
ATAN = Function(
    name="atan",
    exact=np.arctan,
    accurate=Computation(atan, both(2.5)),
    slope=Applied("lorentzian", X),
    onnx=(one("Atan"), _atan_by_roots()),
    aten=("atan",),
    torch="atan",
    arguments=20.0,
    lower=-np.pi / 2,
    upper=np.pi / 2,
    symmetry="odd",
    curve=Curve(inflections=(0.0,)),
)
TRIGONOMETRIC = (SIN, COS, ATAN)
