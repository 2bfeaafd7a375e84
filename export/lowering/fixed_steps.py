"""What the words of a fixed-point kernel are made of: rows of scratch memory, and the steps that several words have."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kdpinn_edge.export.lowering.fixed_constants import WORD, FixedConstants, do, uniform
from kdpinn_edge.export.lowering.loops import (
    Body,
    Buffer,
    Code,
    Expr,
    Get,
    Linear,
    Load,
    Number,
    Symbol,
    Type,
    apply,
    place,
    splat,
)
from kdpinn_edge.numerics.fixed_point.calls import INPUT, Call, FixedPoint
from kdpinn_edge.numerics.fixed_point.tables import Table
from kdpinn_edge.numerics.fixed_point.words import STEPS

Row = Symbol | int
Numbers = NDArray[np.int64]
Word = Callable[[Any, Call], None]
"""What adds the loops of a call."""


class FixedSteps:
    """Rows of `lanes` words in the scratch memory `s`, by the values of `fixed`, and steps on them.

    `code` is what is being built.
    """

    def __init__(self, fixed: FixedPoint, constants: FixedConstants, lanes: int, *, narrow: bool) -> None:
        self.fixed, self.constants, self.L, self.narrow = fixed, constants, lanes, narrow
        self.code = Code()
        self.type = Type("bits32", lanes)
        self.s = Buffer("s", "bits32", Linear(0), scratch=True)
        self.at = places(fixed)

    def built(self, build: Callable[..., None], *given: Call) -> Body:
        """What `build` writes for what it is given."""
        self.code = Code(narrow=self.narrow)
        build(*given)
        return self.code.body

    def row(self, name: str, j: Row, after: int = 0) -> Linear:
        """Where row j of a value begins, or that so many rows after it."""
        return place((self.at[name] + after) * self.L, (self.L, j))

    def read(self, name: str, j: Row, after: int = 0) -> Expr:
        """Row j of a value, or that so many rows after it."""
        return Load(self.type, self.s, self.row(name, j, after))

    def number(self, value: int) -> Number:
        """The same word in every lane."""
        return Number(self.type, value)

    def parameter(self, array: Numbers, *terms: tuple[int, Row]) -> Expr:
        """An entry of a matrix or of a vector, in every lane."""
        if (value := uniform(array)) is not None:
            return self.number(value)
        start = self.constants.of(array)
        return splat(Load(WORD, start.array, place(start.at, *terms)), self.L)

    def size(self, name: str) -> int:
        """How many rows a value has."""
        return next(call.size for call in self.fixed.calls if call.out == name)

    def normalised(self, value: Expr, name: str, count: Expr | int, most: int) -> tuple[Expr, Expr]:
        """A word without a sign, shifted by up to `most` bits until its upper one is set, and `count` less so many."""
        start = self.number(count) if isinstance(count, int) else count
        size, left = self.code.let("size", value, changes=True), self.code.let(name, start, changes=True)
        for step in (each for each in STEPS if each <= most):
            small = apply("sign", self.do("isub", self.do("ilshr", Get(size), 32 - step), 1))
            by = self.let("by", self.do("iand", small, step))
            self.code.set(size, apply("ishl", Get(size), by))
            self.code.set(left, apply("isub", Get(left), by))
        return Get(size), Get(left)

    def polynomial(self, table: Table, u: Expr) -> Expr:
        """The value of a table at u, with 31 fraction bits."""
        return self.let("value", apply("call", u, detail=self.constants.polynomial(table)))

    def do(self, operation: str, *operands: Expr | int) -> Expr:
        """An operation on words and numbers."""
        return do(operation, *operands)

    def let(self, name: str, value: Expr) -> Expr:
        """A value that is calculated once."""
        return Get(self.code.let(name, value))

    def plus(self, value: Expr, bias: Numbers, j: Row) -> Expr:
        """The sum of a value and an entry of the bias, unless that is zero."""
        return value if uniform(bias) == 0 else apply("iadd", value, self.parameter(bias, (1, j)))

    def shifted(self, x: Expr, by: int) -> Expr:
        """x 2^by, rounded down."""
        if by == 0:
            return x
        return self.do("ishl", x, by) if by > 0 else self.do("ishr", x, min(-by, 31))

    def signed(self, x: Expr, sign: Expr) -> Expr:
        """-x where the sign is -1, x where it is 0."""
        return self.do("isub", self.do("ixor", x, sign), sign)

    def least(self, a: Expr, b: int) -> Expr:
        """The smaller one, where a - b is a word."""
        less = self.let("d", self.do("isub", a, b))
        return self.let("least", self.do("iadd", self.do("iand", less, apply("sign", less)), b))

    def below(self, a: Expr, b: int) -> Expr:
        """All ones where a < b, for any word a: where both have one sign, a - b is a word."""
        return apply("sign", self.do("ior" if b >= 0 else "iand", a, self.do("isub", a, b)))

    def chosen(self, mask: Expr, a: Expr | int, b: Expr | int) -> Expr:
        """The word a where the mask is all ones, b where it is zero."""
        return self.do("ixor", self.do("iand", self.do("ixor", a, b), mask), b)

    def most(self, a: Expr, b: int) -> Expr:
        """The larger one, where a - b is a word."""
        more = self.let("d", self.do("isub", a, b)) if b else a
        below = apply("sign", more)
        return self.let("most", self.do("isub", a, self.do("iand", more, below)))


def by_row(value: Callable[..., Expr]) -> Word:
    """A word of which `value(self, j, arguments…)` is row j."""

    def word(self: FixedSteps, call: Call) -> None:
        with self.code.loop("j", 0, call.size) as j:
            self.code.store(self.s, self.row(call.out, j), value(self, j, *call.arguments))

    return word


def places(fixed: FixedPoint) -> dict[str, int]:
    """The row at which each value begins, and by the name "" how many rows there are.

    The first rows are those of x. A row is used again once its last reader has run; a call never writes where it reads.
    """
    last = {name: i for i, call in enumerate(fixed.calls) for name in call.values}
    owner: dict[str, str] = {}
    for call in fixed.calls:
        whole = call.values[0] if call.word == "rows" else call.out
        owner[call.out] = owner.get(whole, whole)
    ends = {name: max(last.get(each, -1) for each in owner if owner[each] == name) for name in owner.values()}
    at, free, size = {INPUT: 0}, [False] * fixed.n_in, fixed.n_in
    for i, call in enumerate(fixed.calls[:-1]):
        if call.word == "rows":
            at[call.out] = at[call.values[0]] + int(call.arguments[1])
        else:
            start = next((k for k in range(size) if all(free[k : k + call.size]) and k + call.size <= size), size)
            size = max(size, start + call.size)
            free[start:] = [False] * call.size + (free[start + call.size :])
            at[call.out] = start
        for name in {owner[each] for each in call.values if each != INPUT}:
            if ends[name] <= i:
                rows = next(each.size for each in fixed.calls if each.out == name)
                free[at[name] : at[name] + rows] = [True] * rows
    at[""] = size
    return at
