"""A fixed-point program: calls of words, one after another, and what they make of points."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kdpinn_edge.numerics.fixed_point import floating, words

INPUT = "x"
Argument = Any
"""The name of a value (str), a number (int) or None, or parameters: a matrix or a vector of words (int64)."""


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
    `x_bits` and `y_bits` are the fraction bits of each number of a point, and of each result.
    """

    n_in: int
    n_out: int
    calls: tuple[Call, ...]
    parameters: Mapping[str, tuple[NDArray[np.float64], NDArray[np.float64]]]
    x_bits: tuple[int, ...]
    y_bits: tuple[int, ...]

    def __call__(self, x: NDArray[Any]) -> NDArray[Any]:
        """The results (n_out, n) at the points x (n_in, n)."""
        return self.values(x)[self.calls[-1].out]

    def values(self, x: NDArray[Any]) -> dict[str, NDArray[Any]]:
        """Every value by its name, at the points x (n_in, n)."""
        known: dict[str, NDArray[Any]] = {INPUT: np.ascontiguousarray(x)}
        for call in self.calls:
            given = (known[each] if isinstance(each, str) else each for each in call.arguments)
            known[call.out] = meaning(call.word)(*given)
        return known

    def points(self, x: NDArray[np.float32]) -> NDArray[np.int32]:
        """The points x (n_in, n) as words, held in the domain box."""
        known, read = self.values(x), [call for call in self.calls if call.word == "fixed"]
        return words.integers(*(known[call.out] for call in sorted(read, key=lambda call: call.arguments[1])))

    @property
    def on_integers(self) -> FixedPoint:
        """The same function of points that are words (int32), with results that are words: no call knows of floats."""
        *calls, last = (_held(call) if call.word == "fixed" else call for call in self.calls)
        sizes, names, column = {call.out: call.size for call in calls}, [], 0
        for name, fraction in zip(last.arguments[1::2], last.arguments[2::2], strict=True):
            size = sizes[name] // (2 if fraction is None else 1)
            if fraction is None:
                calls.append(Call(f"{name}_fixed", size, "to_fixed", (name, self.y_bits[column])))
            names.append(calls[-1].out if fraction is None else name)
            column += size
        return replace(self, calls=(*calls, Call(last.out, last.size, "integers", tuple(names))))


def meaning(word: str) -> Callable[..., Any]:
    """The function that the word of this name is: of `words.py`, or of `floating.py`."""
    found: Callable[..., Any] = getattr(words if hasattr(words, word) else floating, word)
    return found


def _held(call: Call) -> Call:
    x, start, _, *bounds = call.arguments
    return replace(call, word="held", arguments=(x, start, *bounds))
