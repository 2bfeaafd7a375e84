"""Which numbers have an exponent each, and the calls that make them.

A root, its inverse and a reciprocal are calculated of floating numbers. So is what is made of them, as long as it
reaches far: what would have less than a 16th of its largest magnitude in half of the domain. All else is made words
again at once. Where an argument itself reaches far, it is calculated again of floating numbers, from the inputs on:
words have the digits of the largest one only.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from kdpinn_edge.errors import ProgramError
from kdpinn_edge.numerics.fixed_point import ranges
from kdpinn_edge.numerics.fixed_point.floating import BITS
from kdpinn_edge.numerics.fixed_point.ranges import Range
from kdpinn_edge.numerics.fixed_point.words import Words
from kdpinn_edge.numerics.fixed_point.writing import Value, Writer, fraction_of
from kdpinn_edge.program.ir import Array

FAR = 16.0
"""What reaches far has a largest magnitude that is so many times as large as others."""
ROUNDING, TABLE = 2.0**-27, 2.0**-20
"""More than the share of a result that a sum or a product rounds, and that the table of a function is off."""
NEARLY = 2.0**-16
"""A summand that is below zero by less than this share of the largest magnitude is taken for one that is not."""
Key = tuple[str, int]
"""A value: words that are equal may stand for numbers of two scales."""
NOTHING = -1024
"""The exponent of a zero, so that it moves no summand to the right."""


class FloatingWriter(Writer):
    """Calls of words on floating numbers; `far` is by which factor their arguments differ, as `cells.py` has it."""

    def __init__(self, cells: Range) -> None:
        super().__init__(cells)
        self.volume = np.prod(cells.upper - cells.lower, axis=0)
        self.far = np.zeros_like(cells.lower, np.float64)
        self._floating: dict[Key, Value] = {}
        self._again: dict[Key, Callable[[], Value]] = {}
        self._inverse: dict[Key, Value] = {}

    def word(self, x: Value, cut: float | None = None) -> Value:
        """x with fraction bits for all; where it is more than `cut` in magnitude it may be any number that is so."""
        if not x.floating:
            return x
        largest = x.range.magnitude.max()
        fraction = fraction_of(min(largest, cut) if cut else largest) - 1
        most = np.ldexp(1.0, BITS - fraction)
        found = Range(np.clip(x.range.lower, -most, most), np.clip(x.range.upper, -most, most))
        value = self.call("to_fixed", (x.name, fraction), x.size, fraction, found.widened(2.0**-fraction))
        if not cut:
            self._floating[_key(value)] = x
        return value

    def floating(self, x: Value) -> Value:
        """x with an exponent for each number."""
        if x.floating:
            return x
        if _key(x) not in self._floating:
            found = x.range.widened(ROUNDING * _magnitudes(x.range))
            self._floating[_key(x)] = self.floating_call("to_floating", (x.name, x.fraction), x.size, found)
        return self._floating[_key(x)]

    def relative(self, x: Value) -> Value:
        """x with an exponent for each number, and as many digits of the small ones as of the large ones."""
        if _key(x) in self._again and _reaches_far(x.range):
            self._floating[_key(x)] = self._again.pop(_key(x))()
        return self.floating(x)

    def near(self, x: Value) -> Value:
        """x as it is if it reaches far, and with fraction bits for all otherwise."""
        magnitude = _magnitudes(x.range)
        small = magnitude * FAR <= magnitude.max(axis=1, keepdims=True)
        return x if (small @ self.volume).max() >= self.volume.sum() / 2 else self.word(x)

    def noted(self, value: Value, again: Callable[[], Value]) -> Value:
        """The value, which may be calculated in another way where it is needed as a floating one."""
        self._again[_key(value)] = again
        return value

    def forget(self, value: Value) -> None:
        """Do not calculate the value in another way: it is right in so far as its digits tell."""
        self._again.pop(_key(value), None)

    def float_mul(self, a: Value, b: Value) -> Value:
        """The product of floating values."""
        return self._rounded("float_mul", (a.name, b.name), a.size, ranges.product(a.range, b.range))

    def float_add(self, a: Value, b: Value) -> Value:
        """The sum of floating values."""
        found = ranges.total(a.range, b.range)
        slack = ROUNDING * (_magnitudes(a.range) + _magnitudes(b.range))
        return self.floating_call("float_add", (a.name, b.name), a.size, found.widened(slack))

    def float_scale(self, x: Value, weight: Array, bias: Array) -> Value:
        """The product weight * x plus bias of a floating value."""
        found = ranges.times(x.range, weight, np.zeros_like(weight))
        if np.all(weight == weight[0]) and abs(np.frexp(weight[0])[0]) == 0.5:
            by = int(np.frexp(weight[0])[1]) - 1
            x = self.floating_call("float_move", (x.name, int(np.sign(weight[0])), by), x.size, found)
        else:
            x = self._rounded("float_scale", (x.name, *mantissas(weight)), x.size, found)
        if not bias.any():
            return x
        found = ranges.times(x.range, np.ones_like(bias), bias)
        slack = ROUNDING * (_magnitudes(x.range) + np.abs(bias)[:, None])
        return self.floating_call("float_plus", (x.name, *mantissas(bias)), x.size, found.widened(slack))

    def reciprocal(self, x: Value) -> Value:
        """1 / x: of a root its inverse, which is there."""
        if _key(x) in self._inverse:
            return self.near(self._inverse[_key(x)])
        x = self._argument("reciprocal", self.relative(x))
        found = Range(1 / x.range.upper, 1 / x.range.lower)
        found = found.widened(TABLE * _magnitudes(found))
        return self.near(self.floating_call("float_reciprocal", (x.name,), x.size, found))

    def rsqrt(self, x: Value) -> Value:
        """1 / √x."""
        x = self._argument("power(-0.5)", self.relative(x))
        return self.near(self._rsqrt(x))

    def sqrt(self, x: Value) -> Value:
        """√x, which is x times its inverse."""
        x = self._argument("sqrt", self.relative(x))
        inverse = self._rsqrt(x)
        exact = x.range.rising(np.sqrt)
        root = self.floating_call("float_mul", (x.name, inverse.name), x.size, exact.widened(2 * TABLE * exact.upper))
        value = self.near(root)
        self._inverse[_key(root)] = self._inverse[_key(value)] = inverse
        return value

    def _rsqrt(self, x: Value) -> Value:
        found = Range(x.range.upper**-0.5, x.range.lower**-0.5)
        return self.floating_call("float_rsqrt", (x.name,), x.size, found.widened(TABLE * found.upper))

    def _rounded(self, word: str, arguments: tuple[str | Words, ...], size: int, exact: Range) -> Value:
        return self.floating_call(word, arguments, size, exact.widened(ROUNDING * _magnitudes(exact)))

    def _argument(self, fn: str, x: Value) -> Value:
        """The argument of a function that has a pole at zero; the cells in which it reaches far are noted."""
        least = np.where(x.range.lower > 0, x.range.lower, -x.range.upper if fn == "reciprocal" else 0.0).clip(0.0)
        share = np.divide(_magnitudes(x.range), least, out=np.full_like(least, np.inf), where=least > 0).max(axis=0)
        self.far = np.maximum(self.far, np.where(self.depends(x)[:, None], share, 0.0))
        if np.isinf(share).any():
            some = x.range.lower.min(), x.range.upper.max()
            raise ProgramError(
                f"the argument of {fn} may be from {some[0]:.3g} to {some[1]:.3g} in the domain, as far as intervals "
                f"prove; expected: {'not 0' if fn == 'reciprocal' else 'above 0'}. Give a narrower domain, or leave "
                "--arithmetic int16 out"
            )
        return x


def _key(x: Value) -> Key:
    return x.name, x.fraction


def mantissas(numbers: Array) -> tuple[Words, Words]:
    """Numbers as mantissas and exponents, to the nearest."""
    share, exponent = np.frexp(numbers)
    m: Words = np.rint(np.ldexp(share, BITS)).astype(np.int64)
    over = np.abs(m) == 1 << BITS
    return np.where(over, m >> 1, m), np.where(m == 0, NOTHING, exponent.astype(np.int64) - BITS + over)


def nearest_floating(numbers: Array) -> Array:
    """The numbers as floating ones have them."""
    m, e = mantissas(numbers)
    found: Array = np.ldexp(m.astype(np.float64), e)
    return found


def not_negative(x: Range) -> bool:
    """Whether no number is below zero by more than what rounding makes."""
    return bool((x.lower >= -NEARLY * x.magnitude[:, None]).all())


def _reaches_far(x: Range) -> bool:
    least = np.maximum(np.maximum(x.lower, -x.upper), 0.0).min(axis=1)
    return bool((least * FAR < x.magnitude).any())


def _magnitudes(x: Range) -> NDArray[np.float64]:
    found: NDArray[np.float64] = np.maximum(np.abs(x.lower), np.abs(x.upper))
    return found
