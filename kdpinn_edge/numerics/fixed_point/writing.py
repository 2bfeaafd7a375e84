"""What `quantise.py` writes: values with proved ranges, and the calls that make them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kdpinn_edge.errors import ProgramError
from kdpinn_edge.numerics.fixed_point.calls import INPUT, Argument, Call
from kdpinn_edge.numerics.fixed_point.ranges import Range
from kdpinn_edge.numerics.fixed_point.words import Words
from kdpinn_edge.program.ir import Array

WORD = 31
"""Bits of a word beside its sign."""
MARGIN = 2.0**-10
"""The share of a word that is kept free: more than what one operation rounds."""
FINEST, COARSEST = 60, -60
"""The most and the fewest fraction bits."""


@dataclass(frozen=True)
class Value:
    """A value by its name: its size, its fraction bits, and the interval of what is computed.

    A floating one has an exponent for each number instead of fraction bits for all.
    """

    name: str
    size: int
    fraction: int
    range: Range
    floating: bool = False

    @property
    def most(self) -> float:
        """What its words are at most in magnitude."""
        return float(np.ldexp(self.range.magnitude.max(), self.fraction))

    @property
    def room(self) -> int:
        """By how many bits its words may be shifted to the left."""
        return max(fraction_of(self.range.magnitude.max()) - self.fraction, 0)


def fraction_of(magnitude: float) -> int:
    """The most fraction bits with which a number of this magnitude fits into a word."""
    exponent = int(np.frexp(magnitude * (1 + MARGIN))[1])
    return int(np.clip(WORD - exponent, COARSEST, FINEST))


def in_words(numbers: Array, fraction: int, add: float = 0.0) -> Words:
    """The numbers with so many fraction bits, to the nearest; `add` is in units of the last place."""
    found: Words = np.rint(np.ldexp(numbers, fraction) + add).astype(np.int64)
    return found


class Writer:
    """Calls, and of each value the inputs on which it depends. `cells` are boxes (n_in, cells) that cover the domain.

    A call is made once: words that are equal may stand for numbers of two scales.
    """

    def __init__(self, cells: Range) -> None:
        self.cells = cells
        self.calls: list[Call] = []
        self.parameters: dict[str, tuple[Array, Array]] = {}
        self._made: dict[object, str] = {}
        self._depends: dict[str, NDArray[np.bool_]] = {INPUT: np.zeros(len(cells.lower), np.bool_)}

    def depends(self, x: Value) -> NDArray[np.bool_]:
        """For each input whether the value depends on it."""
        return self._depends[x.name]

    def call(self, word: str, arguments: tuple[Argument, ...], size: int, fraction: int, found: Range) -> Value:
        """The value that this call makes. Raises ProgramError where no word holds it."""
        value = Value(self._name(word, arguments, size), size, fraction, found)
        if not value.most < 2.0**WORD:
            raise ProgramError(
                f"a number may be {found.magnitude.max():.3g} in the domain, which no word of fixed point holds beside "
                "the others; expected: smaller ones. Give a narrower domain, or leave --arithmetic int16 out"
            )
        return value

    def floating_call(self, word: str, arguments: tuple[Argument, ...], size: int, found: Range) -> Value:
        """The floating value that this call makes."""
        return Value(self._name(word, arguments, 2 * size), size, 0, found, floating=True)

    def needed(self, outputs: list[Value]) -> tuple[Call, ...]:
        """The calls that make these outputs, and all that read the points."""
        names, kept = {value.name for value in outputs}, []
        for call in reversed(self.calls):
            if call.out in names or call.word == "fixed":
                names.update(call.values)
                kept.append(call)
        return tuple(reversed(kept))

    def _name(self, word: str, arguments: tuple[Argument, ...], rows: int) -> str:
        key = (word, *(each.tobytes() if isinstance(each, np.ndarray) else each for each in arguments))
        if key not in self._made:
            name = self._made[key] = f"v{len(self.calls)}"
            call = Call(name, rows, word, arguments)
            self.calls.append(call)
            read = np.zeros(len(self.cells.lower), np.bool_)
            if word == "fixed":
                read[arguments[1] : arguments[1] + rows] = True
            self._depends[name] = np.logical_or.reduce([read, *(self._depends[each] for each in call.values)])
        return self._made[key]
