"""A fixed-point program: calls of words, one after another, and what they make of points."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kdpinn_edge.numerics.fixed_point import words

INPUT = "x"
Argument = Any
"""The name of a value (str), a number (int), or parameters: a matrix or a vector of words (an array of int64)."""


@dataclass(frozen=True, eq=False)
class Call:
    """`word` of these arguments, whose result is called `out` and has `size` rows."""

    out: str
    size: int
    word: str
    arguments: tuple[Argument, ...]

    @property
    def values(self) -> tuple[str, ...]:
        """The values that it reads."""
        return tuple(each for each in self.arguments if isinstance(each, str))


@dataclass(frozen=True, eq=False)
class FixedPoint:
    """Calls in order. The first ones read x, the points as float32, and the last one, `floats`, returns float32.

    `parameters` has the weight and the bias, as they are rounded, of each Affine and Scale by the name of its result.
    """

    n_in: int
    n_out: int
    calls: tuple[Call, ...]
    parameters: Mapping[str, tuple[NDArray[np.float64], NDArray[np.float64]]]

    @property
    def x_bits(self) -> tuple[int, ...]:
        """The fraction bits of each number of a point, as the first calls make words of them."""
        return tuple(call.arguments[2] for call in self.calls if call.word == "fixed" for _ in range(call.size))

    @property
    def y_bits(self) -> tuple[int, ...]:
        """The fraction bits of each result, as the last call makes float32 of them."""
        sizes = {call.out: call.size for call in self.calls}
        given = self.calls[-1].arguments[1:]
        return tuple(by for name, by in zip(given[::2], given[1::2], strict=True) for _ in range(sizes[name]))

    def __call__(self, x: NDArray[np.float32]) -> NDArray[np.float32]:
        """The results (n_out, n) at the points x (n_in, n)."""
        return self.values(x)[self.calls[-1].out]

    def values(self, x: NDArray[np.float32]) -> dict[str, NDArray[Any]]:
        """Every value by its name, at the points x (n_in, n)."""
        known: dict[str, NDArray[Any]] = {INPUT: np.ascontiguousarray(x, np.float32)}
        for call in self.calls:
            given = (known[each] if isinstance(each, str) else each for each in call.arguments)
            known[call.out] = getattr(words, call.word)(*given)
        return known
