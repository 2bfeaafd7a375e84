"""Program and box → fixed-point program: the scale of every variable, and the proof that no word overflows.

One walk through the Program makes the calls. A value carries the interval that encloses what is *computed*: that of
the exact operation on what its operands enclose, widened by what the operation itself rounds. The fraction bits are
the most with which that interval, and for a sum the majorant Σ|w||x| + |b| of all partial sums, fit into a word.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from kdpinn_edge.errors import ProgramError
from kdpinn_edge.numerics.fixed_point import ranges
from kdpinn_edge.numerics.fixed_point.calls import INPUT, Argument, Call, FixedPoint
from kdpinn_edge.numerics.fixed_point.ranges import Range
from kdpinn_edge.numerics.fixed_point.words import Words
from kdpinn_edge.program.evaluate import variables
from kdpinn_edge.program.ir import Affine, Array, Program, Scale, columns

WORD = 31
"""Bits of a word beside its sign."""
MARGIN = 2.0**-10
"""The share of a word that is kept free: more than what one operation rounds."""
FINEST, COARSEST = 60, -60
"""The most and the fewest fraction bits."""
LARGEST = 1 - 2.0**-WORD
"""The largest number with 31 fraction bits: no table has a larger one."""
TABLE_ERROR = 2.0**-22
"""More than a table is off, and than its argument's rounding makes of it."""
FUNCTIONS = ("tanh", "sigmoid", "silu", "sin", "cos", "exp", "lorentzian")
"""The functions that have words."""
LARGEST_ARGUMENT, LARGEST_POWER, LARGEST_SQUARED = 2.0**20, 40.0, 64.0
"""What the argument of any function may be at most in magnitude, that of exp, and that of the Lorentzian."""


@dataclass(frozen=True)
class Value:
    """A value by its name: its size, its fraction bits, and the interval of what is computed."""

    name: str
    size: int
    fraction: int
    range: Range

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


def quantise(program: Program, lower: Sequence[float], upper: Sequence[float]) -> FixedPoint:
    """The fixed-point program of `program` in the box from `lower` to `upper` (n_in,).

    Raises ProgramError where a side of the box is open, where a function has no words, or where a number is too large.
    """
    for name, low, high in zip(columns(program.inputs), lower, upper, strict=True):
        if not (np.isfinite(low) and np.isfinite(high)):
            raise ProgramError(
                f"input {name} has an open domain, and fixed point takes its scales from the domain; expected: both "
                'bounds, by --inputs "x=-1:1, t=0:1", or in Python by inputs=[Input(name, lower, upper), …]'
            )
    walk = _Walk(np.asarray(lower, np.float64), np.asarray(upper, np.float64))
    known = variables(program, walk, walk.points)
    given: list[Argument] = [INPUT]
    for var in program.outputs:
        value = known[var.name]
        given += [value.name, value.fraction]
    calls = (*walk.calls, Call("y", program.n_out, "floats", tuple(given)))
    x_bits = tuple(call.arguments[2] for call in walk.calls if call.word == "fixed" for _ in range(call.size))
    y_bits = tuple(known[var.name].fraction for var in program.outputs for _ in range(var.size))
    return FixedPoint(program.n_in, program.n_out, calls, walk.parameters, x_bits, y_bits)


class _Walk:
    """The operations of a Program as calls of words; `points` stands for the numbers of x as they come.

    A call is made once: words that are equal may stand for numbers of two scales.
    """

    def __init__(self, lower: Array, upper: Array) -> None:
        self.lower, self.upper = lower, upper
        self.calls: list[Call] = []
        self.parameters: dict[str, tuple[Array, Array]] = {}
        self._made: dict[object, str] = {}
        cells = ranges.box_cells(lower, upper)
        whole = Range(*(np.concatenate([getattr(each, side) for each in cells]) for side in ("lower", "upper")))
        self.points = Value(INPUT, len(lower), 0, whole)

    def affine(self, op: Affine, x: Value) -> Value:
        """The sum weight @ x + bias, of which no partial sum leaves a word."""
        x = self._moved(x, x.room) if x.room > 1 else x
        largest = x.range.magnitude
        exact, majorant = ranges.affine(x.range, op.weight, op.bias)
        fraction = min(fraction_of(majorant), fraction_of(np.abs(op.weight).max()) + x.fraction - 32)
        finer = fraction + 32 - x.fraction
        terms = x.size
        rounding = largest.sum() * 2.0 ** -(finer + 1) + (terms / 2 + 1) * 2.0**-fraction
        weight, bias = in_words(op.weight, finer), in_words(op.bias, fraction, terms / 2)
        self.parameters[op.out.name] = np.ldexp(weight, -finer), np.ldexp(in_words(op.bias, fraction), -fraction)
        return self._call("affine", (x.name, weight, bias), op.out.size, fraction, exact.widened(rounding))

    def scale(self, op: Scale, x: Value) -> Value:
        """The product weight * x plus bias: by a shift where every weight is one power of two, or less that."""
        found = ranges.times(x.range, op.weight, op.bias)
        most = fraction_of((np.abs(op.weight) * x.range.magnitude + np.abs(op.bias)).max())
        mantissa, exponent = np.frexp(op.weight)
        if np.all(op.weight == op.weight[0]) and abs(mantissa[0]) == 0.5:
            exact = x.fraction - int(exponent[0]) + 1
            fraction = min(exact, most)
            bias = in_words(op.bias, fraction)
            self.parameters[op.out.name] = op.weight, np.ldexp(bias, -fraction)
            arguments = (x.name, fraction - exact, int(np.sign(mantissa[0])), bias)
            return self._call("move", arguments, x.size, fraction, found.widened(1.5 * 2.0**-fraction))
        finest = fraction_of(np.abs(op.weight).max())
        fraction = min(most, finest + x.fraction + x.room - 32)
        finer = fraction + 32 - x.fraction - x.room
        rounding = x.range.magnitude.max() * 2.0 ** -(finer + 1) + 1.5 * 2.0**-fraction
        words = in_words(op.weight, finer), in_words(op.bias, fraction, 0.5)
        self.parameters[op.out.name] = np.ldexp(words[0], -finer), np.ldexp(in_words(op.bias, fraction), -fraction)
        return self._call("scale", (x.name, x.room, *words), x.size, fraction, found.widened(rounding))

    def map(self, fn: str, x: Value) -> Value:
        """The function of the name `fn`; ProgramError where it has no words."""
        if fn not in FUNCTIONS:
            raise ProgramError(
                f"{fn} has no form in fixed point; expected: {', '.join(FUNCTIONS)}. Leave --arithmetic int16 out"
            )
        if (largest := x.range.magnitude.max()) > LARGEST_ARGUMENT:
            raise ProgramError(
                f"the argument of {fn} may be {largest:.3g} in the domain; expected: up to {LARGEST_ARGUMENT:g}. "
                "A word has too few digits for more: give a narrower domain, or leave --arithmetic int16 out"
            )
        made: Value = getattr(self, f"_{fn}")(x)
        return made

    def add(self, a: Value, b: Value) -> Value:
        """The sum a + b, at the scale of the coarser one."""
        found = ranges.total(a.range, b.range)
        fraction = min(a.fraction, b.fraction, fraction_of(found.magnitude.max()))
        arguments = (a.name, fraction - a.fraction, b.name, fraction - b.fraction)
        return self._call("add", arguments, a.size, fraction, found.widened(2.0 * 2.0**-fraction))

    def mul(self, a: Value, b: Value) -> Value:
        """The product a * b."""
        fraction = a.fraction + a.room + b.fraction + b.room - 32
        found = ranges.product(a.range, b.range).widened(2.0**-fraction)
        return self._call("mul", (a.name, a.room, b.name, b.room), a.size, fraction, found)

    def select(self, c: Value, a: Value, b: Value) -> Value:
        """The entries of a where c > 0, and those of b elsewhere."""
        fraction = min(a.fraction, b.fraction)
        arguments = (c.name, a.name, fraction - a.fraction, b.name, fraction - b.fraction)
        found = ranges.hull(a.range, b.range)
        if a.fraction != b.fraction:
            found = found.widened(2.0**-fraction)
        return self._call("where_positive", arguments, a.size, fraction, found)

    def concat(self, xs: Sequence[Value]) -> Value:
        """The entries of all xs, at the scale of the coarsest."""
        fraction = min(x.fraction for x in xs)
        arguments = tuple(each for x in xs for each in (x.name, fraction - x.fraction))
        sides = (np.concatenate([getattr(x.range, side) for x in xs]) for side in ("lower", "upper"))
        found, size = Range(*sides), sum(x.size for x in xs)
        if any(x.fraction > fraction for x in xs):
            found = found.widened(2.0**-fraction)
        return self._call("concat", arguments, size, fraction, found)

    def slice(self, x: Value, start: int, size: int) -> Value:
        """The entries x[start : start + size]; those of the points as words, held in the box."""
        part = slice(start, start + size)
        found = Range(x.range.lower[part], x.range.upper[part])
        if x is not self.points:
            return self._call("rows", (x.name, start, size), size, x.fraction, found)
        fraction = fraction_of(found.magnitude.max()) - 1  # within LARGEST_INPUT
        bounds = in_words(self.lower[part], fraction), in_words(self.upper[part], fraction)
        return self._call("fixed", (INPUT, start, fraction, *bounds), size, fraction, found.widened(2.0**-fraction))

    def _tanh(self, x: Value) -> Value:
        found = x.range.rising(np.tanh).widened(TABLE_ERROR).within(-LARGEST, LARGEST)
        return self._call("tanh", (x.name, 29 - x.fraction), x.size, WORD, found)

    def _sigmoid(self, x: Value) -> Value:
        found = x.range.rising(lambda v: 0.5 + 0.5 * np.tanh(0.5 * v)).widened(TABLE_ERROR).within(0.0, LARGEST)
        return self._call("sigmoid", (x.name, 28 - x.fraction), x.size, WORD, found)

    def _silu(self, x: Value) -> Value:
        return self.mul(x, self._sigmoid(x))

    def _sin(self, x: Value) -> Value:
        return self._wave("sin", x, 0)

    def _cos(self, x: Value) -> Value:
        return self._wave("cos", x, 1)

    def _wave(self, word: str, x: Value, quarters: int) -> Value:
        room = min(x.room, 31 - x.fraction) if x.fraction > 31 else x.room
        turns = 31 - x.fraction - room
        found = ranges.sine(x.range, quarters).widened(TABLE_ERROR + 8.0 * 2.0**-x.fraction).within(-LARGEST, LARGEST)
        return self._call(word, (x.name, room, turns), x.size, WORD, found)

    def _exp(self, x: Value) -> Value:
        largest = x.range.upper.max()
        if largest > LARGEST_POWER:
            raise ProgramError(
                f"the argument of exp may be {largest:.3g} in the domain; expected: up to {LARGEST_POWER:g}, beyond "
                "which other numbers vanish beside the result. Give a narrower domain"
            )
        by = min(x.room, 33 - x.fraction)
        bits = x.fraction + by - 2
        exact = Range(np.exp(np.maximum(x.range.lower, -745.0)), np.exp(x.range.upper))
        fraction = fraction_of(float(exact.upper.max()) * (1 + 2.0**-16))
        relative = 2.0**-20 + 8.0 * 2.0**-bits
        found = exact.widened(relative * exact.upper + 2.0**-fraction)
        return self._call("exp", (x.name, by, bits, 30 - fraction), x.size, fraction, found)

    def _lorentzian(self, x: Value) -> Value:
        ends = np.abs(np.stack([x.range.lower, x.range.upper]))
        if (largest := ends.max()) > LARGEST_SQUARED:
            raise ProgramError(
                f"the argument of lorentzian may be {largest:.3g} in the domain; expected: up to {LARGEST_SQUARED:g}: "
                "beyond that, squares leave too few digits to smaller ones. Give a narrower domain"
            )
        by = min(x.room, WORD - x.fraction)
        one = 2 * (x.fraction + by) - 32
        nearest = np.where((x.range.lower < 0) & (x.range.upper > 0), 0.0, ends.min(axis=0))
        found = Range(1 / (1 + ends.max(axis=0) ** 2), 1 / (1 + nearest**2)).widened(TABLE_ERROR * 4 + 8.0 * 2.0**-one)
        return self._call("lorentzian", (x.name, by, one), x.size, WORD - 1, found)

    def _moved(self, x: Value, by: int) -> Value:
        zero = np.zeros(x.size, np.int64)
        return self._call("move", (x.name, by, 1, zero), x.size, x.fraction + by, x.range)

    def _call(self, word: str, arguments: tuple[Argument, ...], size: int, fraction: int, found: Range) -> Value:
        key = (word, *(each.tobytes() if isinstance(each, np.ndarray) else each for each in arguments))
        name = self._made.get(key, f"v{len(self.calls)}")
        value = Value(name, size, fraction, found)
        if not value.most < 2.0**WORD:
            raise ProgramError(
                f"a number may be {found.magnitude.max():.3g} in the domain, which no word of fixed point holds beside "
                "the others; expected: smaller ones. Give a narrower domain, or leave --arithmetic int16 out"
            )
        if key not in self._made:
            self._made[key] = name
            self.calls.append(Call(name, size, word, arguments))
        return value
