"""The kernels of a fixed-point program: each call of a word as loops over words of 32 bits.

A batch has points in lanes, the single-point kernel has one lane, and otherwise they are the same: sums of integers
have the same bits in any order. The scratch memory begins with the numbers of x as they came, by which the end knows of
NaN. `numerics/fixed_point/words.py` is what every loop here means.
"""

from __future__ import annotations

from functools import partial

import numpy as np

from kdpinn_edge.export.lowering.fixed_constants import TABLES, WORD, FixedConstants
from kdpinn_edge.export.lowering.fixed_steps import Numbers, Row, Word, by_row
from kdpinn_edge.export.lowering.floating_words import FLOATING, FloatingWords
from kdpinn_edge.export.lowering.loops import (
    Buffer,
    Expr,
    Get,
    Linear,
    Load,
    Number,
    Scalar,
    Symbol,
    Type,
    apply,
    linear,
    place,
)
from kdpinn_edge.export.lowering.schedule import Schedule
from kdpinn_edge.numerics.fixed_point.calls import Call, FixedPoint
from kdpinn_edge.numerics.fixed_point.tables import EXP2, RECIPROCAL, SIN, TANH, Table
from kdpinn_edge.numerics.fixed_point.words import (
    HALF,
    HIDDEN,
    INFINITE,
    LARGEST_INPUT,
    LOG2_E,
    NAN,
    ONE,
    PER_TURN,
    QUARTER_TURN,
)


def fixed_schedule(
    fixed: FixedPoint, constants: FixedConstants, lanes: int, *, narrow: bool, batch: bool, rows_at_once: int = 0
) -> Schedule:
    """The kernel for up to `lanes` points, or for one.

    So many `rows_at_once` of a layer are summed from products of every second lane; with 0 they are summed one by one.
    """
    return _Fixed(fixed, constants, lanes, narrow=narrow, batch=batch, rows_at_once=rows_at_once).schedule()


TERMS = (4, 3, 2, 1)
"""How many terms of a sum a turn of its loop may have."""


class _Fixed(FloatingWords):
    def __init__(
        self,
        fixed: FixedPoint,
        constants: FixedConstants,
        lanes: int,
        *,
        narrow: bool,
        batch: bool,
        rows_at_once: int,
    ) -> None:
        super().__init__(fixed, constants, lanes, narrow=narrow)
        self.rows_at_once = rows_at_once
        self.points = Symbol("m", 32, least=1, most=lanes) if batch else None
        count = linear(self.points) if self.points else Linear(1)
        self.on_integers = fixed.calls[-1].word == "integers"
        self.scalar: Scalar = "int32" if self.on_integers else "float32"
        self.x = Buffer("x", self.scalar, count * fixed.n_in, constant=True)
        self.y = Buffer("y", self.scalar, count * fixed.n_out)

    def schedule(self) -> Schedule:
        *calls, last = self.fixed.calls
        self.s.size = Linear(self.at[""] * self.L)
        steps = [self.built(self._step, call) for call in calls]
        store = self._integers if self.on_integers else self._floats
        return Schedule(self.x, self.y, self.s, self.built(self._load), steps, self.built(store, last))

    def _step(self, call: Call) -> None:
        if call.word != "rows":
            self.code.comment(described(call))
            WORDS[call.word](self, call)

    def _load(self) -> None:
        """The numbers of x as rows; the lanes behind the points hold zeros."""
        n_in = self.fixed.n_in
        if self.points is None:
            for c in range(n_in):
                self.code.store(self.s, Linear(c), self._word(Linear(c)))
            return
        with self.code.counting("i", Linear(0), linear(self.points), bits=32) as i:
            for c in range(n_in):
                value = self._word(place(c, (n_in, i)))
                self.code.store(self.s, place(c * self.L, (1, i)), value)
        with self.code.counting("i", linear(self.points), Linear(self.L), bits=32) as i:
            for c in range(n_in):
                self.code.store(self.s, place(c * self.L, (1, i)), Number(WORD, 0))

    def _word(self, at: Linear) -> Expr:
        """A number of x as a word."""
        return apply("word" if self.on_integers else "bits", Load(Type(self.scalar), self.x, at))

    def fixed_input(self, call: Call) -> None:
        _, start, fraction, lower, upper = call.arguments
        for c in range(call.size):
            bits = self.let("bits", Load(self.type, self.s, Linear((start + c) * self.L)))
            size = self.let("size", self.do("iand", bits, 0x7FFFFFFF))
            right = self.let("right", self.do("isub", 157 - fraction, self.do("ilshr", size, 23)))
            digits = self.do("ishl", self.do("ior", self.do("iand", size, HIDDEN - 1), HIDDEN), 7)
            shift = self.least(self.most(right, 0), 31)
            large = self.do("iand", apply("sign", right), LARGEST_INPUT)
            found = self.let("found", self.do("ior", self.do("ilshr", digits, shift), large))
            sign = self.let("sign", apply("sign", bits))
            found = self.let("value", self.signed(self.least(found, LARGEST_INPUT), sign))
            found = self.least(self.most(found, int(lower[c])), int(upper[c]))
            self.code.store(self.s, self.row(call.out, c), found)

    def held(self, call: Call) -> None:
        _, start, lower, upper = call.arguments
        for c in range(call.size):
            value = self.let("value", Load(self.type, self.s, Linear((start + c) * self.L)))
            below = self.let("below", self.below(value, int(lower[c])))
            value = self.let("most", self.chosen(below, int(lower[c]), value))
            below = self.let("below", self.below(value, int(upper[c])))
            self.code.store(self.s, self.row(call.out, c), self.chosen(below, value, int(upper[c])))

    def affine(self, call: Call) -> None:
        x, weight, bias = call.arguments
        n_out, n_in = weight.shape
        if self.rows_at_once:
            whole = n_out - n_out % self.rows_at_once
            if whole:
                with self.code.loop("j", 0, whole, self.rows_at_once) as j:
                    self._rows(call, j, self.rows_at_once)
            if whole < n_out:
                self._rows(call, whole, n_out - whole)
            return
        with self.code.loop("j", 0, n_out) as j:
            total = self.code.let("a", self.parameter(bias, (1, j)), changes=True)
            with self.code.loop("k", 0, n_in) as k:
                product = apply("mulh", self.parameter(weight, (n_in, j), (1, k)), self.read(x, k))
                self.code.set(total, apply("iadd", Get(total), product))
            self.code.store(self.s, self.row(call.out, j), Get(total))

    def _rows(self, call: Call, j: Row, rows: int) -> None:
        """Rows of a layer from row j on, from products of even and of odd lanes whose upper halves are summed."""
        x, weight, bias = call.arguments
        n_in, zero = weight.shape[1], self.number(0)
        sums = [[self.code.let(f"{side}{r}", zero, changes=True) for side in "eo"] for r in range(rows)]
        terms = next(each for each in TERMS if n_in % each == 0)
        with self.code.loop("k", 0, n_in, terms) as k:
            for term in range(terms):
                value = self.let("x", Load(self.type, self.s, self.row(x, k) + term * self.L))
                for r, pair in enumerate(sums):
                    places = (n_in, j), (n_in, r), (1, k), (1, term)
                    factor = self.let("w", self.parameter(weight, *places))
                    for total, product in zip(pair, ("mule", "mulo"), strict=True):
                        self.code.set(total, apply("iadd", Get(total), apply(product, factor, value)))
        for r, pair in enumerate(sums):
            upper = apply("uppers", *map(Get, pair))
            to = place(self.at[call.out] * self.L, (self.L, j), (self.L, r))
            self.code.store(self.s, to, apply("iadd", upper, self.parameter(bias, (1, j), (1, r))))

    @by_row
    def scale(self, j: Row, x: str, by: int, weight: Numbers, bias: Numbers) -> Expr:
        product = apply("mulh", self.parameter(weight, (1, j)), self.shifted(self.read(x, j), by))
        return self.plus(product, bias, j)

    @by_row
    def move(self, j: Row, x: str, by: int, sign: int, bias: Numbers) -> Expr:
        moved = self.shifted(self.read(x, j), by)
        return self.plus(moved, bias, j) if sign > 0 else self.do("isub", self.parameter(bias, (1, j)), moved)

    @by_row
    def mul(self, j: Row, a: str, a_by: int, b: str, b_by: int) -> Expr:
        if a == b:
            factor = self.let("f", self.shifted(self.read(a, j), a_by))
            return apply("mulh", factor, factor)
        return apply("mulh", self.shifted(self.read(a, j), a_by), self.shifted(self.read(b, j), b_by))

    @by_row
    def add(self, j: Row, a: str, a_by: int, b: str, b_by: int) -> Expr:
        return apply("iadd", self.shifted(self.read(a, j), a_by), self.shifted(self.read(b, j), b_by))

    @by_row
    def where_positive(self, j: Row, c: str, a: str, a_by: int, b: str, b_by: int) -> Expr:
        p = self.let("p", self.shifted(self.read(a, j), a_by))
        q = self.let("q", self.shifted(self.read(b, j), b_by))
        chosen = apply("sign", self.do("isub", 0, self.read(c, j)))
        return self.chosen(chosen, p, q)

    def concat(self, call: Call) -> None:
        to = 0
        for part, by in zip(call.arguments[::2], call.arguments[1::2], strict=True):
            size = self.size(part)
            with self.code.loop("j", 0, size) as j:
                at = place((self.at[call.out] + to) * self.L, (self.L, j))
                self.code.store(self.s, at, self.shifted(self.read(part, j), by))
            to += size

    def odd(self, j: Row, x: str, by: int, table: Table) -> Expr:
        number = self.let("x", self.read(x, j))
        sign = self.let("sign", apply("sign", number))
        size = self.let("size", self.signed(number, sign))
        if by > 0:
            size = self.least(size, (1 << (32 - by)) - 1)
        u = self.do("ishl", size, by) if by > 0 else self.do("ilshr", size, -by) if by < 0 else size
        return self.signed(self.polynomial(table, u), sign)

    @by_row
    def sigmoid(self, j: Row, x: str, by: int) -> Expr:
        return self.do("iadd", self.do("ishr", self.odd(j, x, by, TANH), 1), HALF)

    @by_row
    def relu(self, j: Row, x: str) -> Expr:
        return self.most(self.let("x", self.read(x, j)), 0)

    @by_row
    def step(self, j: Row, x: str) -> Expr:
        return self.do("iand", apply("sign", self.do("isub", 0, self.read(x, j))), ONE)

    @by_row
    def magnitude(self, j: Row, x: str) -> Expr:
        number = self.let("x", self.read(x, j))
        return self.signed(number, self.let("sign", apply("sign", number)))

    def wave(self, j: Row, x: str, by: int, turns: int, ahead: int) -> Expr:
        phase = self.shifted(apply("mulh", self.number(PER_TURN), self.shifted(self.read(x, j), by)), turns)
        phase = self.let("phase", self.do("iadd", phase, ahead) if ahead else phase)
        sign = self.let("sign", apply("sign", phase))
        return self.signed(self.polynomial(SIN, self.do("ishl", phase, 1)), sign)

    @by_row
    def exp(self, j: Row, x: str, by: int, fraction: int, top: int) -> Expr:
        power = self.let("power", self.do("mulh", LOG2_E, self.shifted(self.read(x, j), by)))
        right = self.do("isub", top, self.do("ishr", power, fraction))
        right = self.least(self.let("right", right), 31)
        return self.do("ilshr", self.polynomial(EXP2, self.do("ishl", power, 32 - fraction)), right)

    @by_row
    def lorentzian(self, j: Row, x: str, by: int, one: int) -> Expr:
        full = self.let("full", self.shifted(self.read(x, j), by))
        size = self.do("iadd", apply("mulh", full, full), 1 << one)
        digits, right = self.normalised(size, "right", 31 - one, 31 - one)
        return self.do("ilshr", self.polynomial(RECIPROCAL, self.do("ishl", digits, 1)), right)

    def _floats(self, call: Call) -> None:
        """The results as float32, or NaN where a number of x is NaN."""
        nan = self.code.let("nan", self.number(0), changes=True)
        for c in range(self.fixed.n_in):
            size = self.do("iand", Load(self.type, self.s, Linear(c * self.L)), 0x7FFFFFFF)
            self.code.set(nan, apply("ior", Get(nan), apply("sign", self.do("isub", INFINITE, size))))
        mask, column = Get(nan), 0
        for name, fraction in zip(call.arguments[1::2], call.arguments[2::2], strict=True):
            for c in range(self.size(name) // (2 if fraction is None else 1)):
                number = self.float_of(name, c) if fraction is None else self._float(name, c, fraction)
                self._store(self.chosen(mask, NAN, number), column)
                column += 1

    def _integers(self, call: Call) -> None:
        """The results as they are."""
        column = 0
        for name in call.values:
            for c in range(self.size(name)):
                self._store(self.read(name, c), column)
                column += 1

    def _store(self, bits: Expr, column: int) -> None:
        """Store a column of y; of several points by way of the row that held x, which nothing reads any more."""
        result = "integer" if self.on_integers else "from_bits"
        if self.points is None:
            self.code.store(self.y, Linear(column), apply(result, bits))
            return
        self.code.store(self.s, Linear(0), bits)
        with self.code.counting("i", Linear(0), linear(self.points), bits=32) as i:
            number = apply(result, Load(WORD, self.s, place(0, (1, i))))
            self.code.store(self.y, place(column, (self.fixed.n_out, i)), number)

    def _float(self, name: str, j: int, fraction: int) -> Expr:
        value = self.let("value", self.read(name, j))
        sign = self.let("sign", apply("sign", value))
        size, exponent = self.normalised(self.signed(value, sign), "exponent", 157 - fraction, 31)
        digits = self.do("iadd", self.do("ishl", exponent, 23), self.do("ilshr", size, 8))
        some = self.do("iand", digits, apply("sign", size))
        return self.let("number", self.do("ior", some, self.do("iand", sign, -(1 << 31))))


WORDS: dict[str, Word] = {
    "fixed": _Fixed.fixed_input,
    "held": _Fixed.held,
    "affine": _Fixed.affine,
    "scale": _Fixed.scale,
    "move": _Fixed.move,
    "mul": _Fixed.mul,
    "add": _Fixed.add,
    "where_positive": _Fixed.where_positive,
    "concat": _Fixed.concat,
    **{word: by_row(partial(_Fixed.odd, table=TABLES[word])) for word in ("tanh", "erf", "atan")},
    "sigmoid": _Fixed.sigmoid,
    "sin": by_row(partial(_Fixed.wave, ahead=0)),
    "cos": by_row(partial(_Fixed.wave, ahead=QUARTER_TURN)),
    "exp": _Fixed.exp,
    "lorentzian": _Fixed.lorentzian,
    "relu": _Fixed.relu,
    "step": _Fixed.step,
    "magnitude": _Fixed.magnitude,
    **FLOATING,
}


def described(call: Call) -> str:
    """A call in words, its arrays by their sizes."""
    given = call.arguments
    said = ("x".join(map(str, each.shape)) if isinstance(each, np.ndarray) else str(each) for each in given)
    return f"{call.out}[{call.size}] = {call.word}({', '.join(said)})"
