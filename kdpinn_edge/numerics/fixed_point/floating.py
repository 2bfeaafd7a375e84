"""Words on numbers with an exponent each: for what reaches over many powers of ten in one domain.

A floating value of k numbers has 2k rows: k mantissas m, then k exponents e, and a number is m 2^e. A mantissa is 0, or
in magnitude from 2^29 up to but not including 2^30, so that the sum of two is a word. As in `words.py`, whose integers
these are too, nothing divides, branches, or loops on data. Sums and products round down, by less than 2^-28 of the
result, and of the larger one of what is added; the table of a function is off by 2^-20 of the result.
"""

from __future__ import annotations

import numpy as np

from kdpinn_edge.numerics.fixed_point.tables import EXP2, INVERSE_ROOT, RECIPROCAL
from kdpinn_edge.numerics.fixed_point.words import LOG2_E, Words, high, least, normalised, polynomial, shifted

BITS = 30
"""Bits of a mantissa."""
LEAST, MOST = 1 << (BITS - 1), (1 << BITS) - 1
"""The smallest mantissa above 0, and the largest one."""
CUT = 1 << 30
"""What `to_fixed` makes of larger numbers."""


def to_floating(x: Words, fraction: int) -> Words:
    """Words with so many fraction bits as floating numbers."""
    return _normal(x, 2 - fraction)


def to_fixed(x: Words, fraction: int) -> Words:
    """Floating numbers as words with so many fraction bits, rounded to zero, and cut off at CUT in magnitude."""
    m, e = _parts(x)
    sign = m >> 31
    size = (m ^ sign) - sign
    right = -fraction - e
    large = (right >> 31) & (-size >> 31) & CUT
    found = least((size >> np.clip(right, 0, 31)) | large, CUT)
    return (found ^ sign) - sign


def float_mul(a: Words, b: Words) -> Words:
    """a * b, elementwise."""
    return _product(*_parts(a), *_parts(b))


def float_scale(x: Words, m: Words, e: Words) -> Words:
    """x m 2^e, elementwise, for mantissas and exponents that are the same at every point."""
    return _product(*_parts(x), m[:, None], e[:, None])


def float_move(x: Words, sign: int, by: int) -> Words:
    """sign x 2^by, elementwise, for a sign of 1 or -1."""
    m, e = _parts(x)
    return np.concatenate([sign * m, e + by])


def float_add(a: Words, b: Words) -> Words:
    """a + b, elementwise."""
    return _total(*_parts(a), *_parts(b))


def float_plus(x: Words, m: Words, e: Words) -> Words:
    """x + m 2^e, elementwise, for mantissas and exponents that are the same at every point."""
    return _total(*_parts(x), m[:, None], e[:, None])


def float_exp(x: Words, by: int, fraction: int) -> Words:
    """2^y for y = high(log2 e, x 2^by), which has so many fraction bits, for words x."""
    power = high(LOG2_E, shifted(x, by))
    found = polynomial(EXP2, (power << (32 - fraction)) & 0xFFFFFFFF) >> 1
    return np.concatenate([np.clip(found, LEAST, MOST), (power >> fraction) - BITS + 1])


def float_reciprocal(x: Words) -> Words:
    """1 / x, where x is not 0."""
    m, e = _parts(x)
    sign = m >> 31
    found = np.clip(polynomial(RECIPROCAL, (((m ^ sign) - sign) << 3) & 0xFFFFFFFF), LEAST, MOST)
    return np.concatenate([(found ^ sign) - sign, -2 * BITS + 1 - e])


def float_rsqrt(x: Words) -> Words:
    """1 / √x, where x > 0: a table for mantissas beside even powers of two, and beside odd ones."""
    m, e = _parts(x)
    power = e + BITS - 1
    found = np.clip(polynomial(INVERSE_ROOT, ((m << 2) & 0x7FFFFFFF) | ((power & 1) << 31)), LEAST, MOST)
    return np.concatenate([found, -BITS - (power >> 1)])


def _parts(x: Words) -> tuple[Words, Words]:
    k = len(x) // 2
    return x[:k], x[k:]


def _normal(x: Words, e: Words | int) -> Words:
    """The words x as floating numbers; e is the exponent of those with the upper bit set, less two bits."""
    sign = x >> 31
    size, exponent = normalised((x ^ sign) - sign, e, 31)
    return np.concatenate([((size >> 2) ^ sign) - sign, exponent])


def _product(m: Words, e: Words, by: Words, power: Words) -> Words:
    found = high(m << 1, by << 1)
    sign = found >> 31
    small = ((found ^ sign) - sign - LEAST) >> 31
    return np.concatenate([found << (small & 1), e + power + small + BITS])


def _total(m: Words, e: Words, add: Words, power: Words) -> Words:
    most = np.maximum(e, power)
    return _normal((m >> np.minimum(most - e, 31)) + (add >> np.minimum(most - power, 31)), most + 2)
