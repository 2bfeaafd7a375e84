"""tanh."""

from __future__ import annotations

import numpy as np

from kdpinn_edge.functions.exponential import half_expm1_of_twice
from kdpinn_edge.functions.recipe import one
from kdpinn_edge.functions.record import Computation, Curve, Function
from kdpinn_edge.functions.slope import Y
from kdpinn_edge.numerics.coefficients import (
    MAGIC_EXPONENT,
    MANTISSA,
    MINUS_HALF_LN2,
    MINUS_TANH_FAST_REACH,
    TANH_FAST_BOTTOM,
    TANH_FAST_REACH,
    TANH_FAST_TOP,
    TWO_LOG2_E,
)
from kdpinn_edge.numerics.lanes import Lanes, bits, copysign, div, fma, from_bits, horner2, ishl, less, mul, select, sub

TANH_IS_MINUS_ONE = (-10.0, -20.0)


def tanh(x: Lanes) -> Lanes:
    """tanh |x| = (1 - e) / (1 + e), e = exp(-2|x|) = 2ᵏ (1 + 2h), with the sign of x; both by halves.

    Numerator and denominator are each rounded once. One part of ln 2 is enough: where k is large, tanh hardly depends
    on x.
    """
    a = copysign(x, -1.0)
    a = select(less(a, TANH_IS_MINUS_ONE), TANH_IS_MINUS_ONE, a)
    t = fma(a, TWO_LOG2_E, MAGIC_EXPONENT)
    k = sub(t, MAGIC_EXPONENT)
    h = half_expm1_of_twice(fma(k, MINUS_HALF_LN2, a))
    s = from_bits(ishl(bits(t), MANTISSA))
    return copysign(div(fma(s, h, fma(s, 0.5, -0.5)), fma(s, h, fma(s, 0.5, 0.5))), x)


def tanh_fast(x: Lanes) -> Lanes:
    """tanh x = x p(x²) / q(x²), for float32 alone; x is held where tanh is 1 - 2⁻²², and infinity is there too."""
    x = select(less(x, MINUS_TANH_FAST_REACH), MINUS_TANH_FAST_REACH, x)
    x = select(less(TANH_FAST_REACH, x), TANH_FAST_REACH, x)
    z = mul(x, x)
    w = mul(z, z)
    return div(mul(x, horner2(z, w, TANH_FAST_TOP)), horner2(z, w, TANH_FAST_BOTTOM))


TANH = Function(
    name="tanh",
    exact=np.tanh,
    accurate=Computation(tanh, {"float32": 2.1, "float64": 2.4}, (-1.0, TANH_IS_MINUS_ONE)),
    fast=Computation(tanh_fast, {"float32": 6.0}),
    slope=1 - Y * Y,
    onnx=(one("Tanh"),),
    aten=("tanh",),
    torch="tanh",
    arguments=12.0,
    lower=-1.0,
    upper=1.0,
    symmetry="odd",
    curve=Curve(inflections=(0.0,)),
)
HYPERBOLIC = (TANH,)
