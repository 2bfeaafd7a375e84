"""The lane vocabulary: the few operations that kernels and activations are written in.

A lane value is a vector of L numbers of one precision. Here, under NumPy, it is an array (any shape: the words are
elementwise); compiled by Numba the same words become instructions on an LLVM vector `<L x float>` or `<L x double>`
(`export/numba_lanes.py`). A bare Python number stands for the same number in every lane, rounded once to the lane type;
a pair stands for its first entry among float32 lanes and for its second among float64 lanes.

Every word is exact or correctly rounded, so that both meanings agree to the bit; `fma` is emulated exactly. It alone
depends on the numerics profile, and with it all that is built from it: `with profile("muladd-1"):` is for processors
that have no such instruction.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from fractions import Fraction
from typing import Any

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


def range32(start: int, stop: int, step: int) -> range:
    """`range`, counted in 32 bits where it is compiled: for processors whose registers have no more."""
    return range(np.int32(start), np.int32(stop), np.int32(step))


def load(a: Lanes, i: int, L: int) -> Lanes:
    """The L numbers a[i], …, a[i + L - 1]; float16 is widened to float32."""
    v: Lanes = _widened(a[i : i + L].copy())
    return v


def store(a: Lanes, i: int, v: Lanes) -> None:
    """a[i], …, a[i + L - 1] = v."""
    a[i : i + v.size] = v


def item(a: Lanes, i: int) -> Any:
    """The number a[i]; float16 is widened to float32."""
    return _widened(a[i])


def put(a: Lanes, i: int, v: Any) -> None:
    """a[i] = v."""
    a[i] = v


def same_bits(a: Lanes, i: int, b: Lanes, j: int) -> bool:
    """Whether a[i] and b[j] have the same bits."""
    return bool(bits(a[i]) == bits(b[j]))


def scratch(like: Lanes, size: int) -> Lanes:
    """Uninitialised memory for `size` numbers of the type of `like`, as long as the calling function runs."""
    return np.empty(size, like.dtype)


def tail(a: Lanes, i: int) -> Lanes:
    """The memory from a[i] on."""
    return a[i:]


def is_null(a: Lanes | None) -> bool:
    """Whether the caller passed no memory at all."""
    return a is None


def splat(v: Any, L: int) -> Lanes:
    """The number v in L lanes."""
    return np.full(L, v)


def lane(v: Lanes, i: int) -> Any:
    """The number in lane i."""
    return v[i]


def zeros(like: Lanes, L: int) -> Lanes:
    """+0 in L lanes of the type of `like`."""
    return np.zeros(L, like.dtype)


def first(m: int, a: Lanes, b: Lanes) -> Lanes:
    """Lanes below m from a, the others from b."""
    return np.where(np.arange(a.size) < m, a, b)


def total(v: Lanes) -> Any:
    """The sum of all lanes by halving: lane i + lane i + L/2, until one is left. L is a power of two."""
    while v.size > 1:
        half = v.size // 2
        v = v[:half] + v[half:]
    return v[0]


def add(a: Operand, b: Operand) -> Lanes:
    """a + b."""
    a, b = _alike(a, b)
    return np.asarray(a + b)


def sub(a: Operand, b: Operand) -> Lanes:
    """a - b."""
    a, b = _alike(a, b)
    return np.asarray(a - b)


def mul(a: Operand, b: Operand) -> Lanes:
    """a * b."""
    a, b = _alike(a, b)
    return np.asarray(a * b)


def div(a: Operand, b: Operand) -> Lanes:
    """a / b."""
    a, b = _alike(a, b)
    return np.asarray(a / b)


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


def horner(x: Lanes, coefficients: tuple[tuple[float, ...], tuple[float, ...]]) -> Lanes:
    """Σ cᵢ xⁱ by Horner's rule, all by fma: few roundings, long latency.

    `coefficients` has the lowest power first, for float32 and for float64.
    """
    *rest, highest = coefficients[_POSITION[x.dtype]]
    p = np.full_like(x, highest)
    for c in reversed(rest):
        p = fma(p, x, c)
    return p


def horner2(x: Lanes, z: Lanes, coefficients: tuple[tuple[float, ...], tuple[float, ...]]) -> Lanes:
    """Σ cᵢ xⁱ for z = x², by Horner's rule of second order: half the latency of `horner`.

    The pairs cᵢ + cᵢ₊₁ x are coefficients of a polynomial in z. `coefficients` as in `horner`.
    """
    c = [np.full_like(x, number) for number in coefficients[_POSITION[x.dtype]]]
    pairs = [fma(c[i + 1], x, c[i]) if i + 1 < len(c) else c[i] for i in range(0, len(c), 2)]
    p = pairs.pop()
    while pairs:
        p = fma(p, z, pairs.pop())
    return p


def less(a: Operand, b: Operand) -> Lanes:
    """a < b in each lane; false where either is NaN."""
    a, b = _alike(a, b)
    return np.asarray(a < b)


def select(condition: Lanes, a: Operand, b: Operand) -> Lanes:
    """a where the condition holds, else b."""
    a, b = _alike(a, b)
    return np.where(condition, a, b)


def absolute(x: Lanes) -> Lanes:
    """|x|: the sign bit cleared."""
    return np.abs(x)


def copysign(x: Operand, sign: Operand) -> Lanes:
    """x with the sign bit of `sign`."""
    x, sign = _alike(x, sign)
    return np.copysign(x, sign)


def canonical(x: Lanes) -> Lanes:
    """x, with every NaN replaced by the one quiet NaN that has no sign and no payload."""
    return np.where(np.isnan(x), np.asarray(np.nan, x.dtype), x)


def bits(x: Lanes) -> Lanes:
    """The bits of x as integers of the same width."""
    return x.view(INTEGER[x.dtype])


def from_bits(i: Lanes) -> Lanes:
    """The numbers that have these bits."""
    return i.view(FLOAT[i.dtype])


def iadd(i: Lanes, j: Operand) -> Lanes:
    """i + j, integers, modulo their width."""
    i, j = _alike(i, j)
    return np.asarray(i + j)


def isub(i: Lanes, j: Operand) -> Lanes:
    """i - j, integers, modulo their width."""
    i, j = _alike(i, j)
    return np.asarray(i - j)


def ishl(i: Lanes, n: Operand) -> Lanes:
    """i shifted left by n bits."""
    i, n = _alike(i, n)
    return np.asarray(i << n)


def ishr(i: Lanes, n: Operand) -> Lanes:
    """i shifted right by n bits, the sign bit kept."""
    i, n = _alike(i, n)
    return np.asarray(i >> n)


def ixor(i: Lanes, j: Operand) -> Lanes:
    """The bits in which i and j differ."""
    i, j = _alike(i, j)
    return np.asarray(i ^ j)


def _widened(v: Any) -> Any:
    return v.astype(np.float32) if v.dtype == np.float16 else v


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
_multiply_add: ContextVar[MultiplyAdd] = ContextVar("multiply_add", default=_fused)


def _fma_f32(a: Lanes, b: Lanes, c: Lanes) -> Lanes:
    """The product is exact in float64; the sum is rounded to odd there, so that rounding it again is harmless.

    S. Boldo, G. Melquiond, Emulation of FMA and correctly rounded sums: proved algorithms using rounding to odd,
    IEEE Transactions on Computers 57 (2008).
    """
    product = a.astype(np.float64) * b
    return _add_to_odd(product, c.astype(np.float64)).astype(np.float32)


def _fma_f64(a: Lanes, b: Lanes, c: Lanes) -> Lanes:
    """Boldo and Melquiond's algorithm where nothing can over- or underflow in it, exact rationals elsewhere."""
    product, product_error = _two_product(a, b)
    upper, lower = _two_sum(c, product_error)
    high, middle = _two_sum(product, upper)
    result = np.asarray(high + _add_to_odd(middle, lower))

    magnitudes = np.abs(np.stack(np.broadcast_arrays(a, b, c, product)))
    finite = np.isfinite(magnitudes[:3]).all(axis=0)
    a_b_tame = (magnitudes[:2] < 2.0**990).all(axis=0)
    product_tame = (magnitudes[3] == 0) & ((magnitudes[:2] == 0).any(axis=0)) | (magnitudes[3] > 2.0**-900)
    tame = a_b_tame & product_tame & (magnitudes[2:] < 2.0**1000).all(axis=0)
    ordinary = np.where(np.isfinite(a) & np.isfinite(b), np.where(np.isinf(c), c, product + c), product + c)
    result = np.where(finite & (magnitudes[3] != 0), result, ordinary)
    for index in np.argwhere(finite & ~tame):
        i = tuple(index)
        x, y, z = (np.broadcast_to(v, result.shape)[i] for v in (a, b, c))
        result[i] = _fma_exact(float(x), float(y), float(z))
    return result


def _fma_exact(a: float, b: float, c: float) -> float:
    exact = Fraction(a) * Fraction(b) + Fraction(c)
    if exact == 0:
        return a * b + c
    try:
        rounded = float(exact)
    except OverflowError:
        rounded = np.inf
    return float(np.copysign(rounded, 1.0 if exact > 0 else -1.0))


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
