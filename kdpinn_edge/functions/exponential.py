"""exp, and what is made of it: expm1, sigmoid, silu, softplus.

MAGIC is 1.5 * 2^(mantissa bits), where numbers are spaced by one: t = x / c + MAGIC holds round(x / c) in its low
bits, and t - MAGIC is that integer as a number. With MAGIC_EXPONENT, which is larger by the exponent bias, those bits
shifted up by MANTISSA are 2^round(x / c).
"""

from __future__ import annotations

import numpy as np

from kdpinn_edge.functions.recipe import Constant, Step, one
from kdpinn_edge.functions.record import Array, Computation, Curve, Function, both
from kdpinn_edge.functions.slope import Applied, X, Y
from kdpinn_edge.numerics.coefficients import (
    ATANH_TAIL,
    EXPM1_TAIL,
    HALF_EXPM1_TAIL,
    LOG2_E,
    MAGIC,
    MAGIC_BITS,
    MAGIC_EXPONENT,
    MAGIC_EXPONENT_OF_HALF,
    MANTISSA,
    MINUS_LN2_1,
    MINUS_LN2_2,
    ONE_BITS,
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
    horner2,
    iadd,
    ishl,
    ishr,
    isub,
    less,
    mul,
    select,
    sub,
)

EXPM1_IS_MINUS_ONE = (-20.0, -40.0)
EXP_IS_ZERO = (-104.0, -746.0)
SIGMOID_IS_ONE = (18.0, 38.0)
EXP_IS_INFINITE = (89.0, 710.0)
SILU_IS_ZERO = (-120.0, -800.0)
SILU_TURNS, SILU_BENDS = -1.2784645427610738, 2.3993572805154675


def expm1_near_zero(r: Lanes) -> Lanes:
    """exp(r) - 1 for |r| <= ln(2) / 2."""
    z = mul(r, r)
    return fma(z, horner2(r, z, EXPM1_TAIL), r)


def half_expm1_of_twice(r: Lanes) -> Lanes:
    """(exp(2r) - 1) / 2 for |r| <= ln(2) / 4; its coefficients are those of expm1_near_zero times powers of two."""
    z = mul(r, r)
    return fma(z, horner2(r, z, HALF_EXPM1_TAIL), r)


def two_to(i: Lanes) -> Lanes:
    """2ⁱ for integers i of the normal range; higher bits of i than an exponent has do not count."""
    return from_bits(iadd(ishl(i, MANTISSA), ONE_BITS))


def exp(x: Lanes) -> Lanes:
    """exp x. A zero is set and not calculated, since underflow takes some processors a hundred cycles."""
    is_zero = less(x, EXP_IS_ZERO)
    x = select(is_zero, 0.0, x)
    x = select(less(EXP_IS_INFINITE, x), EXP_IS_INFINITE, x)
    return select(is_zero, 0.0, _exp_in_reach(x))


def expm1(x: Lanes) -> Lanes:
    """exp x - 1, with the sign of x; by halves, since 2ᵏ may be too large."""
    held = select(less(x, EXPM1_IS_MINUS_ONE), EXPM1_IS_MINUS_ONE, x)
    half_power, q = _power_and_expm1(select(less(EXP_IS_INFINITE, held), EXP_IS_INFINITE, held), MAGIC_EXPONENT_OF_HALF)
    half = fma(half_power, q, sub(half_power, 0.5))
    return copysign(add(half, half), x)


def expm1_of_negative(x: Lanes) -> Lanes:
    """exp x - 1 for x <= 0 that is no less than EXP_IS_ZERO."""
    power, q = _power_and_expm1(x, MAGIC_EXPONENT)
    return fma(power, q, sub(power, 1.0))


def _power_and_expm1(x: Lanes, magic: tuple[float, float]) -> tuple[Lanes, Lanes]:
    """2ᵏ and exp(r) - 1 with x = k ln 2 + r: so exp x - 1 = 2ᵏ (exp r - 1) + (2ᵏ - 1). `magic` may halve the power."""
    t = fma(x, LOG2_E, magic)
    k = sub(t, magic)
    q = expm1_near_zero(fma(k, MINUS_LN2_2, fma(k, MINUS_LN2_1, x)))
    return from_bits(ishl(bits(t), MANTISSA)), q


def exp_of_minus_absolute(x: Lanes) -> Lanes:
    """exp(-|x|), which cannot overflow."""
    x = sub(0.0, absolute(x))
    return _exp_in_reach(select(less(x, EXP_IS_ZERO), EXP_IS_ZERO, x))


def _exp_in_reach(x: Lanes) -> Lanes:
    """exp x = 2ᵏ exp r, with 2ᵏ in two factors: subnormal results are right, and large ones become infinite."""
    t = fma(x, LOG2_E, MAGIC)
    k = sub(t, MAGIC)
    q = expm1_near_zero(fma(k, MINUS_LN2_2, fma(k, MINUS_LN2_1, x)))
    i = isub(bits(t), MAGIC_BITS)
    half = ishr(i, 1)
    return mul(mul(add(q, 1.0), two_to(half)), two_to(isub(i, half)))


def sigmoid(x: Lanes) -> Lanes:
    """1 / (1 + e⁻ˣ), as 1 / (1 + e) for x >= 0 and e / (1 + e) for x < 0, with e = exp(-|x|)."""
    e = exp_of_minus_absolute(x)
    return div(select(less(x, 0.0), e, 1.0), add(e, 1.0))


def silu(x: Lanes) -> Lanes:
    """x sigmoid(x); the factor x is held above the point where the product is zero, so that -inf gives -0."""
    return mul(select(less(x, SILU_IS_ZERO), SILU_IS_ZERO, x), sigmoid(x))


def softplus(x: Lanes) -> Lanes:
    """ln(1 + eˣ) = max(x, 0) + ln(1 + e), e = exp(-|x|); ln(1 + e) = 2 atanh s, s = e / (2 + e) <= 1/3."""
    e = exp_of_minus_absolute(x)
    s = div(e, add(e, 2.0))
    w = mul(s, s)
    y = add(s, s)
    y = fma(mul(y, w), horner2(w, mul(w, w), ATANH_TAIL), y)
    return add(select(less(x, 0.0), 0.0, x), y)


def _exact_sigmoid(x: Array) -> Array:
    e = np.exp(-np.abs(x))
    result: Array = np.where(x < 0, e, 1) / (1 + e)
    return result


def _exact_silu(x: Array) -> Array:
    return np.where(x < -800, -800, x) * _exact_sigmoid(x)  # -0 at -inf, where x * sigmoid(x) would be NaN


def _exact_softplus(x: Array) -> Array:
    return np.logaddexp(0, x)


EXP = Function(
    name="exp",
    exact=np.exp,
    accurate=Computation(exp, both(1.1)),
    slope=Y,
    onnx=(one("Exp"),),
    aten=("exp",),
    torch="exp",
    arguments=80.0,
    lower=0.0,
    curve=Curve(passes=((0.0, 1.0),)),  # near 0 it is 1 + q rounded, and q has the sign of x
)
ONE_PLUS_EXP_OF_MINUS = (
    Step("Neg", name="minus"),
    Step("Exp", ("minus",), "exp"),
    Step("Add", ("exp", Constant("one", 1.0)), "sum"),
)
SIGMOID = Function(
    name="sigmoid",
    exact=_exact_sigmoid,
    accurate=Computation(sigmoid, both(2.5), (1.0, SIGMOID_IS_ONE)),
    slope=Y - Y * Y,
    onnx=(one("Sigmoid"), (*ONE_PLUS_EXP_OF_MINUS, Step("Reciprocal", ("sum",)))),
    aten=("sigmoid",),
    torch="sigmoid",
    arguments=80.0,
    lower=0.0,
    upper=1.0,
    curve=Curve(inflections=(0.0,)),
)
SILU = Function(
    name="silu",
    exact=_exact_silu,
    accurate=Computation(silu, both(3.5)),
    slope=Applied("sigmoid", X) + Y * (1 - Applied("sigmoid", X)),
    onnx=(
        (Step("Sigmoid", name="sigmoid"), Step("Mul", ("x", "sigmoid"))),
        (*ONE_PLUS_EXP_OF_MINUS, Step("Div", ("x", "sum"))),
    ),
    aten=("silu",),
    torch="nn.functional.silu",
    arguments=80.0,
    reach=80.0,
    lower=-0.279,
    curve=Curve(turns=(SILU_TURNS,), inflections=(-SILU_BENDS, SILU_BENDS)),
)
SOFTPLUS = Function(
    name="softplus",
    exact=_exact_softplus,
    accurate=Computation(softplus, both(3.5)),
    slope=Applied("sigmoid", X),
    onnx=(
        one("Softplus"),
        (  # max(x, 0) + log(1 + exp(-|x|))
            Step("Abs", name="size"),
            Step("Neg", ("size",), "minus"),
            Step("Exp", ("minus",), "exp"),
            Step("Add", ("exp", Constant("one", 1.0)), "sum"),
            Step("Log", ("sum",), "log"),
            Step("Relu", name="above"),
            Step("Add", ("above", "log")),
        ),
    ),
    arguments=80.0,
    lower=0.0,
)
EXPM1 = Function(
    name="expm1",
    exact=np.expm1,
    accurate=Computation(expm1, both(2.2), (-1.0, EXPM1_IS_MINUS_ONE)),
    slope=Y + 1,
    onnx=(
        (  # tanh(x/2) (1 + exp x)
            Step("Mul", ("x", Constant("half", 0.5)), "half_x"),
            Step("Tanh", ("half_x",), "tanh"),
            Step("Exp", name="exp"),
            Step("Add", ("exp", Constant("one", 1.0)), "sum"),
            Step("Mul", ("tanh", "sum")),
        ),
    ),
    aten=("expm1",),
    torch="expm1",
    arguments=80.0,
    lower=-1.0,
)
EXPONENTIAL = (EXP, SIGMOID, SILU, SOFTPLUS, EXPM1)
