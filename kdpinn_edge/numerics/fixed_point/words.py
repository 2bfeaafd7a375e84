"""The words of a fixed-point program: whole layers on whole arrays of integers. This is their meaning, and the bits.

A value (k, n) has a row for each of k numbers and a column for each of n points; it holds words of 32 bits, here in
int64. A product of two words is the upper word of their exact product, rounded down. Shifts to the right round down.
Where a sum or a shift to the left could leave 32 bits, it says so: everywhere else `quantise.py` has proved that it
does not. No word divides, branches, or chooses otherwise than by masks.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from kdpinn_edge.numerics.fixed_point.tables import ATAN, ERF, EXP2, RECIPROCAL, SIN, TANH, Table

Words = NDArray[np.int64]

PER_TURN = 1367130551
"""1 / 2π with 33 fraction bits."""
LOG2_E = 1549082005
"""1 / ln 2 with 30 fraction bits."""
QUARTER_TURN = 1 << 30
HALF = 1 << 30
"""1/2 with 31 fraction bits."""
ONE = 1 << 30
"""1 with 30 fraction bits."""
LARGEST_INPUT = 1 << 30
"""No input is a larger number, whatever the caller passes."""
STEPS = (16, 8, 4, 2, 1)
"""The shifts by which a word is normalised."""
INFINITE, NAN, HIDDEN = 0x7F800000, 0x7FC00000, 0x800000
"""Of float32: the bits of infinity and of the one quiet NaN, and the bit of a mantissa that is not stored."""


def high(a: Words | int, b: Words) -> Words:
    """The upper word of the exact product of two words."""
    return (np.asarray(a, np.int64) * b) >> 32


def shifted(x: Words, by: int) -> Words:
    """x 2^by, rounded down."""
    return x << by if by >= 0 else x >> -by


def least(a: Words, b: int) -> Words:
    """The smaller one, where a - b is a word."""
    return np.minimum(a, b)


def fixed(x: NDArray[np.float32], start: int, fraction: int, lower: Words, upper: Words) -> Words:
    """The rows of x from `start` on with so many fraction bits, rounded to zero, and held from `lower` to `upper`.

    An infinity is held too; a NaN is some number there, and `floats` tells of it.
    """
    bits = x[start : start + len(lower)].view(np.int32).astype(np.int64)
    magnitude = bits & 0x7FFFFFFF
    right = 157 - fraction - (magnitude >> 23)
    digits = ((magnitude & (HIDDEN - 1)) | HIDDEN) << 7
    found = np.where(right < 0, LARGEST_INPUT, digits >> np.clip(right, 0, 31))
    sign = bits >> 31
    found = (least(found, LARGEST_INPUT) ^ sign) - sign
    return np.clip(found, lower[:, None], upper[:, None])


def held(x: NDArray[np.int32], start: int, lower: Words, upper: Words) -> Words:
    """The rows of x from `start` on, which are words already, held from `lower` to `upper`."""
    return np.clip(x[start : start + len(lower)].astype(np.int64), lower[:, None], upper[:, None])


def affine(x: Words, weight: Words, bias: Words) -> Words:
    """Σ high(weight, x) + bias, in any order: no sum leaves a word."""
    total = np.repeat(bias[:, None], x.shape[1], axis=1)
    for k in range(weight.shape[1]):
        total = total + high(weight[:, k : k + 1], x[k])
    return total


def scale(x: Words, by: int, weight: Words, bias: Words) -> Words:
    """high(weight, x 2^by) + bias, elementwise."""
    return high(weight[:, None], shifted(x, by)) + bias[:, None]


def move(x: Words, by: int, sign: int, bias: Words) -> Words:
    """sign x 2^by + bias, elementwise, for a sign of 1 or -1."""
    return sign * shifted(x, by) + bias[:, None]


def mul(a: Words, a_by: int, b: Words, b_by: int) -> Words:
    """high(a 2^a_by, b 2^b_by), elementwise."""
    return high(shifted(a, a_by), shifted(b, b_by))


def add(a: Words, a_by: int, b: Words, b_by: int) -> Words:
    """a 2^a_by + b 2^b_by, elementwise."""
    return shifted(a, a_by) + shifted(b, b_by)


def where_positive(c: Words, a: Words, a_by: int, b: Words, b_by: int) -> Words:
    """a 2^a_by where c > 0, b 2^b_by elsewhere."""
    return np.where(c > 0, shifted(a, a_by), shifted(b, b_by))


def concat(*parts: Any) -> Words:
    """The rows of the parts, one after another; each part is followed by the power of two that it is multiplied by."""
    return np.concatenate([shifted(part, by) for part, by in zip(parts[::2], parts[1::2], strict=True)])


def rows(x: Words, start: int, size: int) -> Words:
    """`size` rows of x from row `start` on."""
    return x[start : start + size]


def tanh(x: Words, by: int) -> Words:
    """tanh of x, which has 29 - by fraction bits; beyond 8 it is that of 8."""
    return odd(TANH, x, by)


def erf(x: Words, by: int) -> Words:
    """The error function of x, which has 30 - by fraction bits; beyond 4 it is that of 4."""
    return odd(ERF, x, by)


def atan(x: Words, by: int) -> Words:
    """Half of the arc tangent of x, which has 30 - by fraction bits; beyond 4 it is that of 4."""
    return odd(ATAN, x, by)


def odd(table: Table, x: Words, by: int) -> Words:
    """The table at the magnitude of x 2^by, with the sign of x; beyond the table it is the value at its end."""
    sign = x >> 31
    size = (x ^ sign) - sign
    if by > 0:
        size = least(size, (1 << (32 - by)) - 1)
    return (polynomial(table, shifted(size, by)) ^ sign) - sign


def sigmoid(x: Words, by: int) -> Words:
    """1 / (1 + exp(-x)), which is (1 + tanh(x/2)) / 2, for x with 28 - by fraction bits; beyond 16 it is that of 16."""
    return (tanh(x, by) >> 1) + HALF


def sin(x: Words, by: int, turns: int) -> Words:
    """The sine of x, where high(1/2π, x 2^by) has 32 - turns fraction bits."""
    return sine(shifted(high(PER_TURN, shifted(x, by)), turns))


def cos(x: Words, by: int, turns: int) -> Words:
    """The cosine of x, where high(1/2π, x 2^by) has 32 - turns fraction bits."""
    return sine(shifted(high(PER_TURN, shifted(x, by)), turns) + QUARTER_TURN)


def sine(phase: Words) -> Words:
    """sin 2πp for the phase p, of which a word has the fraction of a turn: whole turns leave the word."""
    sign = wrapped(phase) >> 31
    return (polynomial(SIN, (phase << 1) & 0xFFFFFFFF) ^ sign) - sign


def exp(x: Words, by: int, fraction: int, top: int) -> Words:
    """2^y for y = high(log2 e, x 2^by), which has so many fraction bits; the result has 30 - top of them."""
    power = high(LOG2_E, shifted(x, by))
    whole, rest = power >> fraction, (power << (32 - fraction)) & 0xFFFFFFFF
    found: Words = polynomial(EXP2, rest) >> np.minimum(top - whole, 31)
    return found


def lorentzian(x: Words, by: int, one: int) -> Words:
    """1 / (1 + x²), where the square of x 2^by has `one` fraction bits; the result has 30."""
    full = shifted(x, by)
    digits, right = normalised(high(full, full) + (1 << one), 31 - one, 31 - one)
    found: Words = polynomial(RECIPROCAL, (digits << 1) & 0xFFFFFFFF) >> right
    return found


def relu(x: Words) -> Words:
    """x where it is above 0, and 0 elsewhere."""
    return np.maximum(x, 0)


def step(x: Words) -> Words:
    """1 where x is above 0, and 0 elsewhere, with 30 fraction bits."""
    return (-x >> 31) & ONE


def magnitude(x: Words) -> Words:
    """x or -x, whichever is not negative."""
    return np.abs(x)


def normalised(size: Words, count: Words | int, most: int) -> tuple[Words, Words]:
    """Words without a sign, shifted by up to `most` bits until their upper one is set, and `count` less so many."""
    left = np.full_like(size, count)
    for step in (each for each in STEPS if each <= most):
        small = (size >> (32 - step)) == 0
        size = np.where(small, size << step, size)
        left = left - step * small
    return size, left


def polynomial(table: Table, u: Words) -> Words:
    """The value of a table at u, which is a word without a sign, with 31 fraction bits."""
    segment = u >> (32 - table.bits)
    s = ((u << table.bits) & 0xFFFFFFFF) - (1 << 31)
    short = s >> 16
    c0, c1 = (np.array(table.wide[k::2], np.int64)[segment] for k in range(2))
    c2, c3, c4 = (np.array(table.narrow[k::3], np.int64)[segment] for k in range(3))
    p = c3 + ((c4 * short) >> 19)
    p = c2 + ((p * short) >> 19)
    p = c1 + ((p * short) >> 7)
    found: Words = c0 + high(p, s)
    return found


def wrapped(x: Words) -> Words:
    """The word that x leaves of itself in 32 bits."""
    return ((x + (1 << 31)) & 0xFFFFFFFF) - (1 << 31)


def integers(*values: Words) -> NDArray[np.int32]:
    """The rows of the values, one after another, as they are."""
    return np.concatenate(values).astype(np.int32)


def floats(x: NDArray[np.float32], *values: Any) -> NDArray[np.float32]:
    """The numbers of the values, one after another, as float32, rounded to zero.

    Each value is followed by its fraction bits, and a floating one (`floating.py`) by None. A point with a NaN among
    the numbers of x has NaN alone.
    """
    found = np.concatenate([_float(value, by) for value, by in zip(values[::2], values[1::2], strict=True)])
    is_nan = ((x.view(np.int32).astype(np.int64) & 0x7FFFFFFF) > INFINITE).any(axis=0)
    return np.where(is_nan, NAN, found).astype(np.uint32).view(np.float32)


def _float(value: Words, fraction: int | None) -> Words:
    exponent: Words | int = 0
    if fraction is None:
        value, exponent = np.split(value, 2)
    sign = value >> 31
    size = (value ^ sign) - sign
    size, exponent = normalised(size, exponent + 157 - (fraction or 0), 31)
    return np.where((size > 0) & (exponent > 0), (sign & 0x80000000) | ((exponent << 23) + (size >> 8)), 0)
