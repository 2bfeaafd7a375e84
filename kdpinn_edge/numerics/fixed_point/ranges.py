"""Ranges of the numbers of a Program: intervals in many cells of the box, rounded outward.

A variable of k numbers has intervals (k, cells). The cells cover the box, so that what an interval of each of them
holds is held everywhere. Operations are those of IEEE 754 on float64 in a stated order, and the functions tanh, exp and
sin, whose last bits depend on the machine: the scales that follow could do so only where a range ends within 2^-50 of
a power of two, and the self-test and `check` would tell.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kdpinn_edge.program.ir import Array

OUTWARD = 2.0**-40
"""The share of a magnitude by which an end is moved: more than the roundings of an operation, and of NumPy's exp."""


@dataclass(frozen=True)
class Range:
    """The numbers from `lower` to `upper` (k, cells)."""

    lower: Array
    upper: Array

    @property
    def magnitude(self) -> Array:
        """The largest magnitude of each number (k,)."""
        found: Array = np.maximum(np.abs(self.lower), np.abs(self.upper)).max(axis=1)
        return found

    def widened(self, by: Array | float) -> Range:
        """The numbers that are up to `by` from these."""
        slack = by + OUTWARD * np.maximum(np.abs(self.lower), np.abs(self.upper))
        return Range(self.lower - slack, self.upper + slack)

    def within(self, lower: float, upper: float) -> Range:
        """The numbers that are also between these."""
        return Range(np.maximum(self.lower, lower), np.minimum(self.upper, upper))

    def rising(self, f: Callable[[Array], Array]) -> Range:
        """What a function that rises makes of the numbers."""
        return Range(f(self.lower), f(self.upper)).widened(0.0)


def affine(x: Range, weight: Array, bias: Array) -> tuple[Range, float]:
    """The range of weight @ x + bias, and the largest magnitude that any of its partial sums may have.

    It is summed term by term: the order in which a library sums depends on the processor.
    """
    lower = np.repeat(bias[:, None], x.lower.shape[1], axis=1)
    upper, total = lower.copy(), np.abs(lower)
    for k in range(weight.shape[1]):
        ends = np.stack([weight[:, k : k + 1] * side[k] for side in (x.lower, x.upper)])
        lower += ends.min(axis=0)
        upper += ends.max(axis=0)
        total += np.abs(ends).max(axis=0)
    return Range(lower - OUTWARD * total, upper + OUTWARD * total), float(total.max())


def times(x: Range, weight: Array, bias: Array) -> Range:
    """The range of weight * x + bias, elementwise."""
    ends = np.stack([weight[:, None] * side for side in (x.lower, x.upper)])
    slack = OUTWARD * (np.abs(ends).max(axis=0) + np.abs(bias)[:, None])
    return Range(ends.min(axis=0) + bias[:, None] - slack, ends.max(axis=0) + bias[:, None] + slack)


def product(a: Range, b: Range) -> Range:
    """The range of a * b; of a square where both are the same."""
    ends = np.stack([p * q for p in (a.lower, a.upper) for q in (b.lower, b.upper)])
    lower = ends.min(axis=0)
    if a is b:
        lower = np.where((a.lower < 0) & (a.upper > 0), 0.0, np.minimum(ends[0], ends[3]))
    return Range(lower, ends.max(axis=0)).widened(0.0)


def total(a: Range, b: Range) -> Range:
    """The range of a + b."""
    slack = OUTWARD * (np.abs(a.lower) + np.abs(a.upper) + np.abs(b.lower) + np.abs(b.upper))
    return Range(a.lower + b.lower - slack, a.upper + b.upper + slack)


def hull(a: Range, b: Range) -> Range:
    """All numbers between those of both."""
    return Range(np.minimum(a.lower, b.lower), np.maximum(a.upper, b.upper))


def sine(x: Range, quarters: int) -> Range:
    """The range of sin(x + quarters π/2): 1 and -1 where x reaches its top or its bottom, else between the ends."""
    shifted = x.widened(1e-9)
    ends = np.sin(np.stack([shifted.lower, shifted.upper]) + quarters * np.pi / 2)

    def reaches(at: float) -> NDArray[np.bool_]:
        turns = [(side + (quarters - at) * np.pi / 2) / (2 * np.pi) for side in (shifted.lower, shifted.upper)]
        found: NDArray[np.bool_] = np.floor(turns[1]) >= np.ceil(turns[0])
        return found

    lower = np.where(reaches(3), -1.0, ends.min(axis=0))
    return Range(lower, np.where(reaches(1), 1.0, ends.max(axis=0))).widened(1e-9).within(-1.0, 1.0)
