"""Intervals of many numbers at once, by float64 arithmetic that is rounded outward.

A result to nearest is off by at most U of its magnitude, and by less than `TINY` where numbers are subnormal; every
operation here moves both ends outward by more than that.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kdpinn_edge.program.ir import Array

Mask = NDArray[np.bool_]
Places = NDArray[np.intp]

U = 2.0**-53
"""The largest relative error of a rounding to nearest in float64."""
TINY = 2.0**-1000
"""More than all errors of one operation among subnormal numbers."""
SLACK = 32 * U
"""More than the relative errors of the roundings of one elementwise operation together."""


@dataclass(frozen=True)
class Interval:
    """The numbers from `lower` to `upper`, arrays of one shape."""

    lower: Array
    upper: Array

    @property
    def magnitude(self) -> Array:
        """The largest absolute value."""
        return np.maximum(np.abs(self.lower), np.abs(self.upper))

    def __add__(self, other: Interval) -> Interval:
        return outward(self.lower + other.lower, self.upper + other.upper)

    def __mul__(self, other: Interval) -> Interval:
        if self is other:
            ends = np.stack([self.lower * self.lower, self.upper * self.upper])
            crosses = (self.lower < 0) & (self.upper > 0)
            return outward(np.where(crosses, 0.0, ends.min(axis=0)), ends.max(axis=0))
        ends = np.stack([a * b for a in (self.lower, self.upper) for b in (other.lower, other.upper)])
        return outward(ends.min(axis=0), ends.max(axis=0))

    def times(self, weight: Array) -> Interval:
        """The products with the numbers `weight` (k,), one for each row."""
        ends = weight[:, None] * self.lower, weight[:, None] * self.upper
        return outward(np.minimum(*ends), np.maximum(*ends))

    def plus(self, bias: Array) -> Interval:
        """The sums with the numbers `bias` (k,), one for each row."""
        return outward(self.lower + bias[:, None], self.upper + bias[:, None])

    def hull(self, other: Interval) -> Interval:
        """All numbers between those of both."""
        return Interval(np.minimum(self.lower, other.lower), np.maximum(self.upper, other.upper))

    def common(self, other: Interval) -> Interval:
        """The numbers of both. An end that is NaN is none."""
        return Interval(np.fmax(self.lower, other.lower), np.fmin(self.upper, other.upper))


def outward(lower: Array, upper: Array) -> Interval:
    """The interval between two results to nearest, and what their rounding may have taken; zeros stay."""
    below, above = SLACK * np.abs(lower) + TINY * (lower != 0), SLACK * np.abs(upper) + TINY * (upper != 0)
    return Interval(lower - below, upper + above)
