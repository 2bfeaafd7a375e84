"""The activations, branch-free in the lane vocabulary: no libm, the same bits on every target of one profile.

NaN propagates, infinities saturate, a bounded function stays in its range, an odd one is odd. The coefficients come
from `tools/coefficients.py`; `docs/numerics.md` lists the errors that were measured.

MAGIC is 1.5 * 2^(mantissa bits), where numbers are spaced by one: t = x / c + MAGIC holds round(x / c) in its low
bits, and t - MAGIC is that integer as a number. With MAGIC_EXPONENT, which is larger by the exponent bias, those bits
shifted up by MANTISSA are 2^round(x / c).

The parts of ln 2 and pi, but the last, have so few bits that their multiples are exact in a profile that rounds the
product of a multiply-add, too.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from kdpinn_edge.numerics.coefficients import (
    ATANH_TAIL,
    EXPM1_TAIL,
    HALF_EXPM1_TAIL,
    LOG2_E,
    MAGIC,
    MAGIC_BITS,
    MAGIC_EXPONENT,
    MANTISSA,
    MINUS_HALF_LN2,
    MINUS_LN2_1,
    MINUS_LN2_2,
    MINUS_PI_1,
    MINUS_PI_2,
    MINUS_PI_3,
    MINUS_TANH_FAST_REACH,
    ONE_BITS,
    ONE_OVER_PI,
    SIN_TAIL,
    TANH_FAST_BOTTOM,
    TANH_FAST_REACH,
    TANH_FAST_TOP,
    TWO_LOG2_E,
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
    is_fast,
    ishl,
    ishr,
    isub,
    ixor,
    less,
    mul,
    select,
    sub,
)

Activation = Callable[[Lanes], Lanes]

TANH_IS_ONE = (-10.0, -20.0)
EXP_IS_ZERO = (-104.0, -746.0)
EXP_IS_INFINITE = (89.0, 710.0)
SILU_IS_ZERO = (-120.0, -800.0)
SIN_REACH = 1.6
SIGN = (31, 63)


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


def tanh(x: Lanes) -> Lanes:
    """tanh |x| = (1 - e) / (1 + e), e = exp(-2|x|) = 2ᵏ (1 + 2h), with the sign of x; both by halves.

    Numerator and denominator are each rounded once. One part of ln 2 is enough: where k is large, tanh hardly depends
    on x.
    """
    a = copysign(x, -1.0)
    a = select(less(a, TANH_IS_ONE), TANH_IS_ONE, a)
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


def exp(x: Lanes) -> Lanes:
    """exp x. A zero is set and not calculated, since underflow takes some processors a hundred cycles."""
    is_zero = less(x, EXP_IS_ZERO)
    x = select(is_zero, 0.0, x)
    x = select(less(EXP_IS_INFINITE, x), EXP_IS_INFINITE, x)
    return select(is_zero, 0.0, _exp_in_reach(x))


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


def lorentzian(x: Lanes) -> Lanes:
    """1 / (1 + x²). Where x² overflows the result is 0, and below 1e-38 (float64: 1e-308) before."""
    return div(1.0, fma(x, x, 1.0))


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


FUNCTION: Mapping[str, Activation] = {
    "tanh": tanh,
    "sin": sin,
    "cos": cos,
    "exp": exp,
    "sigmoid": sigmoid,
    "silu": silu,
    "softplus": softplus,
    "lorentzian": lorentzian,
}
FAST: Mapping[str, Activation] = {**FUNCTION, "tanh": tanh_fast}


def functions(profile: str) -> Mapping[str, Activation]:
    """The functions that compute those of a Program in the numerics profile of this name."""
    return FAST if is_fast(profile) else FUNCTION
