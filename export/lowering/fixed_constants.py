"""The parameters and the tables of a fixed-point kernel, and the functions that read the tables."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kdpinn_edge.export.lowering.constants import Place
from kdpinn_edge.export.lowering.loops import (
    Apply,
    Buffer,
    Elementwise,
    Expr,
    Get,
    Let,
    Linear,
    Lookup,
    Number,
    Type,
    Variable,
    apply,
)
from kdpinn_edge.numerics.fixed_point.calls import FixedPoint
from kdpinn_edge.numerics.fixed_point.tables import ATAN, ERF, EXP2, INVERSE_ROOT, RECIPROCAL, SIN, TANH, Table

TABLES = {
    "tanh": TANH,
    "sigmoid": TANH,
    "erf": ERF,
    "atan": ATAN,
    "sin": SIN,
    "cos": SIN,
    "exp": EXP2,
    "lorentzian": RECIPROCAL,
    "float_reciprocal": RECIPROCAL,
    "float_exp": EXP2,
    "float_rsqrt": INVERSE_ROOT,
}
"""The table of each word that has one."""
WIDE_TABLES, NARROW_TABLES = "TABLES", "SHORT_TABLES"
READING = ("fixed", "held")
"""The words that read the points: their bounds are numbers in the code."""
WORD = Type("bits32")


class FixedConstants:
    """The parameters and the tables of a kernel: new parameters of each function in an array of its own.

    A vector whose entries are one number is not stored: the code has it.

    The coefficients of a segment are in two arrays, in as few bytes as they need; `in_rows` they are in one, four words
    for each segment, which vectors load at once.
    """

    def __init__(self, *, in_rows: bool = False) -> None:
        self.in_rows = in_rows
        self.wide = Buffer(WIDE_TABLES, "bits32", Linear(0), constant=True)
        self.narrow = Buffer(NARROW_TABLES, "bits16", Linear(0), constant=True)
        self._polynomials: dict[str, Elementwise] = {}
        self._numbers: dict[str, list[int]] = {WIDE_TABLES: [], NARROW_TABLES: []}
        self._found: dict[bytes, Place] = {}

    def add(self, fixed: FixedPoint, array: str) -> None:
        """Give the parameters of a function places, new ones in `array`, and the tables that it needs."""
        buffer, self._numbers[array] = Buffer(array, "bits32", Linear(0), constant=True), []
        for call in fixed.calls:
            table = TABLES.get(call.word)
            if table is not None and table.name not in self._polynomials:
                self._polynomials[table.name] = self._polynomial(table)
            for each in call.arguments if call.word not in READING else ():
                if isinstance(each, np.ndarray) and uniform(each) is None and each.tobytes() not in self._found:
                    self._found[each.tobytes()] = Place(buffer, self._put(buffer, each.ravel().tolist()))

    def _put(self, buffer: Buffer, numbers: Sequence[int]) -> int:
        at = buffer.size.base
        self._numbers[buffer.name] += numbers
        buffer.size = Linear(at + len(numbers))
        return at

    def of(self, array: NDArray[np.int64]) -> Place:
        """Where an array that is not uniform begins."""
        return self._found[array.tobytes()]

    def polynomial(self, table: Table) -> Elementwise:
        """The value of a table at a word without a sign, with 31 fraction bits: `words.polynomial`."""
        return self._polynomials[table.name]

    def _polynomial(self, table: Table) -> Elementwise:
        u, lets = Variable("u", WORD), []

        def let(name: str, value: Expr) -> Expr:
            lets.append(Let(Variable(name, WORD), value))
            return Get(lets[-1].variable)

        coefficient = (self._in_rows if self.in_rows else self._apart)(table, Apply(WORD, "top", (Get(u),), table.bits))
        s = let("s", do("ixor", do("ishl", Get(u), table.bits), -(1 << 31)))
        short = let("h", do("ishr", s, 16))
        p = coefficient(4)
        for k, right in ((3, 19), (2, 19), (1, 7)):
            p = let(f"p{k}", apply("iadd", coefficient(k), do("ishr", apply("imul", p, short), right)))
        result = apply("iadd", coefficient(0), apply("mulh", p, s))
        doc = f"The table {table.name} at u / 2^32: a polynomial of degree 4 in each of {1 << table.bits} segments."
        return Elementwise(f"table_{table.name.lower()}", doc, u, tuple(lets), result)

    def _apart(self, table: Table, segment: Apply) -> Callable[[int], Expr]:
        wide, narrow = self._put(self.wide, table.wide), self._put(self.narrow, table.narrow)

        def coefficient(k: int) -> Expr:
            buffer, at, stride = (self.wide, wide + k, 2) if k < 2 else (self.narrow, narrow + k - 2, 3)
            return Lookup(WORD, buffer, at, stride, segment)

        return coefficient

    def _in_rows(self, table: Table, segment: Apply) -> Callable[[int], Expr]:
        """A row is c0, c1, c2 with c3 in the upper half, and c4."""
        c0, c1, c2, c3, c4 = (*(table.wide[k::2] for k in range(2)), *(table.narrow[k::3] for k in range(3)))
        rows = zip(c0, c1, ((low & 0xFFFF) + (high << 16) for low, high in zip(c2, c3, strict=True)), c4, strict=True)
        start = self._put(self.wide, [word for row in rows for word in row])

        def coefficient(k: int) -> Expr:
            word: Expr = Lookup(WORD, self.wide, start + (k if k < 3 else k - 1), 4, segment)
            if k == 2:
                word = do("ishl", word, 16)
            return do("ishr", word, 16) if k in (2, 3) else word

        return coefficient

    @property
    def numbers(self) -> dict[str, NDArray[Any]]:
        """What the arrays hold; those that hold nothing are left out."""
        found = {
            name: np.array(each, "i8").astype("i2" if name == NARROW_TABLES else "u4")
            for name, each in self._numbers.items()
        }
        return {name: array for name, array in found.items() if array.size}


def uniform(array: NDArray[np.int64]) -> int | None:
    """The number that every entry of a vector is, if there is one."""
    return int(array[0]) if array.ndim == 1 and (array == array[0]).all() else None


def do(operation: str, *operands: Expr | int) -> Expr:
    """An operation on words, and on numbers as words of as many lanes."""
    type_ = next(each.type for each in operands if not isinstance(each, int))
    return apply(operation, *(Number(type_, each) if isinstance(each, int) else each for each in operands))
