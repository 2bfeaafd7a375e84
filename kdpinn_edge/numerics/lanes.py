"""The lane vocabulary: the few operations that kernels and activations are written in.

A lane value is a vector of L numbers of one precision. Here, under NumPy, it is an array (any shape: the words are
elementwise). Called with symbols the same words are written down (`export/lowering/trace.py`), and become instructions
on an LLVM vector `<L x float>` or `<L x double>`, or C.

A bare Python number stands for the same number in every lane, rounded once to the lane type; a pair stands for its
first entry among float32 lanes and for its second among float64 lanes.

Every word is exact or correctly rounded, so that both meanings agree to the bit; `fma` is emulated exactly. It alone
depends on the numerics profile, and with it all that is built from it: `with profile("muladd-1"):` is for processors
that have no such instruction.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from functools import wraps
from typing import Any, TypeVar, cast

import numpy as np
from numpy.typing import NDArray

Lanes = NDArray[Any]
Number = float | tuple[float, float]
Operand = Lanes | Number
MultiplyAdd = Callable[[Lanes, Lanes, Lanes], Lanes]
FAST_SUFFIX = "-fast"
"""How the name of a numerics profile ends that has the fast grade of the activations."""

INTEGER: dict[np.dtype[Any], np.dtype[Any]] = {
    np.dtype(np.float32): np.dtype(np.int32),
    np.dtype(np.float64): np.dtype(np.int64),
}
FLOAT = {integer: real for real, integer in INTEGER.items()}


class Symbolic:
    """A lane value that is written down instead of calculated: a word that meets one leaves the operation to it.

    `dtype` is the type of its numbers, as an array has it.
    """

    dtype: np.dtype[Any]

    def word(self, name: str, operands: tuple[Any, ...]) -> Symbolic:
        """What the word `name` makes of these operands, of which this is one."""
        raise NotImplementedError


Word = TypeVar("Word", bound=Callable[..., Any])
Choice = TypeVar("Choice")


def _word(function: Word) -> Word:
    """A word of the vocabulary: on arrays it is `function`, on symbols what these make of it."""

    @wraps(function)
    def meaning(*operands: Any) -> Any:
        for operand in operands:
            if isinstance(operand, Symbolic):
                return operand.word(function.__name__, operands)
        return function(*operands)

    return cast(Word, meaning)


@_word
def add(a: Operand, b: Operand) -> Lanes:
    """a + b."""
    a, b = _alike(a, b)
    return np.asarray(a + b)


@_word
def sub(a: Operand, b: Operand) -> Lanes:
    """a - b."""
    a, b = _alike(a, b)
    return np.asarray(a - b)


@_word
def mul(a: Operand, b: Operand) -> Lanes:
    """a * b."""
    a, b = _alike(a, b)
    return np.asarray(a * b)


@_word
def div(a: Operand, b: Operand) -> Lanes:
    """a / b."""
    a, b = _alike(a, b)
    return np.asarray(a / b)


@_word
def inverse(x: Operand) -> Lanes:
    """1 / x of an x that is at least 1, or NaN: some processors have the same bits faster than by a division."""
    return div(1.0, x)


@_word
def fma(a: Operand, b: Operand, c: Operand) -> Lanes:
    """a * b + c as the profile rounds it: the sum alone, or the product and then the sum; to nearest even."""
    a, b, c = _alike(a, b, c)
    return _multiply_add.get()(a, b, c)


def is_fast(profile: str) -> bool:
    """Whether the numerics profile of this name has the fast grade of the activations."""
    return profile.endswith(FAST_SUFFIX)


@contextmanager
def profile(name: str) -> Iterator[None]:
    """Let `fma` round, here and in what is called from here, as the numerics profile `name` of PROFILES has it."""
    token = _multiply_add.set(PROFILES[name])
    try:
        yield
    finally:
        _multiply_add.reset(token)


def for_precision(x: Lanes, choices: tuple[Choice, Choice]) -> Choice:
    """What a computation takes for the numbers of x: the first of `choices` for float32, the second for float64."""
    return choices[_POSITION[x.dtype]]


def horner(x: Lanes, coefficients: tuple[tuple[float, ...], tuple[float, ...]]) -> Lanes:
    """Σ cᵢ xⁱ by Horner's rule, all by fma: few roundings, long latency.

    `coefficients` has the lowest power first, for float32 and for float64.
    """
    *rest, highest = for_precision(x, coefficients)
    p: Operand = highest
    for c in reversed(rest):
        p = fma(p, x, c)
    return cast(Lanes, p)


def horner2(x: Lanes, z: Lanes, coefficients: tuple[tuple[float, ...], tuple[float, ...]]) -> Lanes:
    """Σ cᵢ xⁱ for z = x², by Horner's rule of second order: half the latency of `horner`.

    The pairs cᵢ + cᵢ₊₁ x are coefficients of a polynomial in z. `coefficients` as in `horner`.
    """
    c = for_precision(x, coefficients)
    pairs: list[Operand] = [fma(c[i + 1], x, c[i]) if i + 1 < len(c) else c[i] for i in range(0, len(c), 2)]
    p = pairs.pop()
    while pairs:
        p = fma(p, z, pairs.pop())
    return cast(Lanes, p)


@_word
def less(a: Operand, b: Operand) -> Lanes:
    """a < b in each lane; false where either is NaN."""
    a, b = _alike(a, b)
    return np.asarray(a < b)


@_word
def select(condition: Lanes, a: Operand, b: Operand) -> Lanes:
    """a where the condition holds, else b."""
    a, b = _alike(a, b)
    return np.where(condition, a, b)


@_word
def absolute(x: Lanes) -> Lanes:
    """|x|: the sign bit cleared."""
    return np.abs(x)


@_word
def copysign(x: Operand, sign: Operand) -> Lanes:
    """x with the sign bit of `sign`."""
    x, sign = _alike(x, sign)
    return np.copysign(x, sign)


@_word
def canonical(x: Lanes) -> Lanes:
    """x, with every NaN replaced by the one quiet NaN that has no sign and no payload."""
    return np.where(np.isnan(x), np.asarray(np.nan, x.dtype), x)


@_word
def bits(x: Lanes) -> Lanes:
    """The bits of x as integers of the same width."""
    return x.view(INTEGER[x.dtype])


@_word
def from_bits(i: Lanes) -> Lanes:
    """The numbers that have these bits."""
    return i.view(FLOAT[i.dtype])


@_word
def iadd(i: Lanes, j: Operand) -> Lanes:
    """i + j, integers, modulo their width."""
    i, j = _alike(i, j)
    return np.asarray(i + j)


@_word
def isub(i: Operand, j: Operand) -> Lanes:
    """i - j, integers, modulo their width."""
    i, j = _alike(i, j)
    return np.asarray(i - j)


@_word
def ishl(i: Lanes, n: Operand) -> Lanes:
    """i shifted left by n bits."""
    i, n = _alike(i, n)
    return np.asarray(i << n)


@_word
def ishr(i: Lanes, n: Operand) -> Lanes:
    """i shifted right by n bits, the sign bit kept."""
    i, n = _alike(i, n)
    return np.asarray(i >> n)


@_word
def ixor(i: Lanes, j: Operand) -> Lanes:
    """The bits in which i and j differ."""
    i, j = _alike(i, j)
    return np.asarray(i ^ j)


_POSITION: dict[np.dtype[Any], int] = {
    np.dtype(np.float32): 0,
    np.dtype(np.int32): 0,
    np.dtype(np.float64): 1,
    np.dtype(np.int64): 1,
}


def _alike(*operands: Operand) -> tuple[Lanes, ...]:
    """Numbers and pairs as lanes of the type that the lane operands have."""
    dtype = next(v.dtype for v in operands if isinstance(v, (np.ndarray, np.generic)))
    return tuple(np.asarray(v[_POSITION[dtype]] if isinstance(v, tuple) else v, dtype) for v in operands)


def _fused(a: Lanes, b: Lanes, c: Lanes) -> Lanes:
    return _fma_f32(a, b, c) if a.dtype == np.float32 else _fma_f64(a, b, c)


def _separate(a: Lanes, b: Lanes, c: Lanes) -> Lanes:
    return np.asarray(a * b + c)


PROFILES: Mapping[str, MultiplyAdd] = {
    "fma-2": _fused,
    "muladd-1": _separate,
    "fma-2-fast": _fused,
    "muladd-1-fast": _separate,
}
BELOW_FLOAT32, BETWEEN_FLOAT32 = (1 << 29) - 1, 1 << 28
"""The bits of a float64 that a float32 does not have, and what they are halfway between two float32."""
NEAR_SUBNORMAL = np.float32(2.0**-125)
_multiply_add: ContextVar[MultiplyAdd] = ContextVar("multiply_add", default=_fused)


def _fma_f32(a: Lanes, b: Lanes, c: Lanes) -> Lanes:
    """The product is exact in float64, and so is the sum rounded once more, unless it came to lie between two float32.

    There, and among the smallest numbers, where float32 are spaced wider, the sum is rounded to odd, so that rounding
    it again is harmless. S. Boldo, G. Melquiond, Emulation of FMA and correctly rounded sums: proved algorithms using
    rounding to odd, IEEE Transactions on Computers 57 (2008).
    """
    product = np.asarray(a.astype(np.float64) * b.astype(np.float64))  # casts before broadcasts: many times as fast
    total = np.asarray(product + c.astype(np.float64))
    result = np.asarray(total.astype(np.float32))
    again = np.asarray(total.view(np.int64) & BELOW_FLOAT32 == BETWEEN_FLOAT32)
    small = np.abs(result) < NEAR_SUBNORMAL
    if small.any():
        again |= small & (total != 0)
    if again.any():
        addend = np.broadcast_to(c, total.shape)[again].astype(np.float64)
        result[again] = _add_to_odd(np.broadcast_to(product, total.shape)[again], addend).astype(np.float32)
    return result


def _fma_f64(a: Lanes, b: Lanes, c: Lanes) -> Lanes:
    """Boldo and Melquiond's algorithm, on scaled numbers where something could over- or underflow in it."""
    product, error = _two_product(a, b)
    high, rest = _sum_to_odd(product, error, c)
    fused = np.asarray(high + rest)
    magnitude = np.abs(product)
    tame = (magnitude > 2.0**-900) & (magnitude < 2.0**1000) & (np.abs(c) < 2.0**1000)
    tame = np.asarray(tame & (np.abs(a) < 2.0**990) & (np.abs(b) < 2.0**990))
    if tame.all():
        return fused
    both = np.isfinite(a) & np.isfinite(b)
    ordinary = np.where(both & np.isinf(c), c, product + c)
    result = np.where(tame, fused, ordinary)
    if (wild := both & np.isfinite(c) & (a != 0) & (b != 0) & ~tame).any():
        result[wild] = _fma_scaled(*(v[wild] for v in np.broadcast_arrays(a, b, c)))
    return result


def _fma_scaled(a: Lanes, b: Lanes, c: Lanes) -> Lanes:
    """a * b + c rounded once, for any finite a, b, c with a and b not zero.

    The larger of a b and c is scaled to between 1/4 and 1. Of one that is 2^-300 times as large only its being there
    counts, so it may as well be 2^-300. A subnormal result has fewer digits: they are those that a sum with the least
    normal number keeps.
    """
    (a, a_exponent), (b, b_exponent), (c, c_exponent) = (np.frexp(v) for v in (a, b, c))
    exponent = a_exponent + b_exponent
    largest = np.where(c == 0, exponent, np.maximum(exponent, c_exponent))
    shift, c_shift = (np.maximum(e - largest, -300) for e in (exponent, c_exponent))
    product, error = (np.ldexp(v, shift) for v in _two_product(a, b))
    high, rest = _sum_to_odd(product, error, np.ldexp(c, c_shift))

    normal = high + rest
    least = np.copysign(np.ldexp(1.0, np.clip(-1022 - largest, -600, 200)), normal)
    shifted, rounded_off = _two_sum(least, high)
    subnormal = shifted + _add_to_odd(rounded_off, rest) - least
    result = np.where(np.abs(normal) < np.abs(least), subnormal, normal)
    return np.asarray(np.copysign(np.ldexp(result, largest), normal))


def _sum_to_odd(a: Lanes, b: Lanes, c: Lanes) -> tuple[Lanes, Lanes]:
    """a + b + c for |b| at most half a unit in the last place of a: a rounded sum, and the rest rounded to odd.

    The sum of the two, rounded, is a + b + c rounded.
    """
    upper, lower = _two_sum(c, b)
    high, middle = _two_sum(a, upper)
    return high, _add_to_odd(middle, lower)


def _two_sum(a: Lanes, b: Lanes) -> tuple[Lanes, Lanes]:
    """a + b as rounded sum and exact error (Knuth)."""
    s = np.asarray(a + b)
    t = s - a
    return s, np.asarray((a - (s - t)) + (b - t))


def _two_product(a: Lanes, b: Lanes) -> tuple[Lanes, Lanes]:
    """a * b as rounded product and exact error (Dekker, Veltkamp)."""
    splitter = 2.0**27 + 1
    a_high = a * splitter - (a * splitter - a)
    b_high = b * splitter - (b * splitter - b)
    a_low, b_low = a - a_high, b - b_high
    p = a * b
    return p, ((a_high * b_high - p) + a_high * b_low + a_low * b_high) + a_low * b_low


def _add_to_odd(a: Lanes, b: Lanes) -> Lanes:
    """a + b in float64, rounded to odd: inexact sums get an odd last bit."""
    s, error = _two_sum(a, b)
    i = s.view(np.int64)
    inexact_even = np.isfinite(s) & (error != 0) & (i & 1 == 0)
    step = np.where((error > 0) == (s > 0), 1, -1)
    return (i + np.where(inexact_even, step, 0)).view(np.float64)
