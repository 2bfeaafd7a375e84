"""sin and cos."""

from __future__ import annotations

import numpy as np

from kdpinn_edge.functions.recipe import one
from kdpinn_edge.functions.record import Computation, Function, both
from kdpinn_edge.functions.slope import Applied, X
from kdpinn_edge.numerics.coefficients import MAGIC, MINUS_PI_1, MINUS_PI_2, MINUS_PI_3, ONE_OVER_PI, SIN_TAIL
from kdpinn_edge.numerics.lanes import (
    Lanes,
    absolute,
    add,
    bits,
    copysign,
    fma,
    from_bits,
    horner,
    iadd,
    ishl,
    ixor,
    less,
    mul,
    select,
    sub,
)

SIN_REACH = 1.6
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
)
TRIGONOMETRIC = (SIN, COS)
