"""Program and box → fixed-point program: the scale of every variable, and the proof that no word overflows.

One walk through the Program makes the calls. A value carries the interval that encloses what is *computed*: that of
the exact operation on what its operands enclose, widened by what the operation itself rounds. The fraction bits are
the most with which that interval, and for a sum the majorant Σ|w||x| + |b| of all partial sums, fit into a word.
`floating_calls.py` says which values have an exponent for each number instead. Cells in which the argument of a root or
of a reciprocal reaches far are halved first (`cells.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace

import numpy as np

from kdpinn_edge.errors import ProgramError
from kdpinn_edge.functions import find_function
from kdpinn_edge.numerics.fixed_point import ranges
from kdpinn_edge.numerics.fixed_point.calls import INPUT, Call, FixedPoint
from kdpinn_edge.numerics.fixed_point.cells import divided_cells, equal_cells
from kdpinn_edge.numerics.fixed_point.floating_calls import FloatingWriter, nearest_floating, not_negative
from kdpinn_edge.numerics.fixed_point.ranges import Range
from kdpinn_edge.numerics.fixed_point.writing import WORD, Value, fraction_of, in_words
from kdpinn_edge.program.evaluate import variables
from kdpinn_edge.program.ir import Affine, Array, Map, Program, Scale, columns

LARGEST = 1 - 2.0**-WORD
"""The largest number with 31 fraction bits: no table has a larger one."""
TABLE_ERROR = 2.0**-22
"""More than a table is off, and than its argument's rounding makes of it."""
FUNCTIONS = (
    *("tanh", "sigmoid", "silu", "sin", "cos", "exp", "erf", "atan", "lorentzian"),
    *("abs", "relu", "step", "sqrt", "reciprocal", "power(-0.5)"),
)
"""The functions that have words."""
POLES = ("atan", "sqrt", "reciprocal", "power(-0.5)")
"""Those that are made of functions with a pole."""
CUT: Mapping[str, float] = {"tanh": 8.0, "sigmoid": 16.0, "erf": 4.0, "exp": 40.0}
"""Beyond which magnitude of its argument a function has the value there, in units of its last place."""
END_OF_ATAN, ATAN_ERROR = 4.0, 2.0**-16
"""Where the table of the arc tangent ends, and more than it is off together with its argument."""
LARGEST_ARGUMENT, LARGEST_POWER, LARGEST_SQUARED = 2.0**20, 40.0, 64.0
"""What the argument of any function may be at most in magnitude, that of exp, and that of the Lorentzian."""


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
    sides = np.asarray(lower, np.float64), np.asarray(upper, np.float64)
    if not any(isinstance(op, Map) and op.fn in POLES for op in program.ops):
        return _Walk(*sides, equal_cells(*sides)).written(program)

    def far(cells: Range) -> Array:
        walk = _Walk(*sides, cells)
        with suppress(ProgramError):
            walk.written(program)
        return walk.far

    return _Walk(*sides, divided_cells(*sides, far)).written(program)


class _Walk(FloatingWriter):
    """The operations of a Program as calls of words; `points` stands for the numbers of x as they come."""

    def __init__(self, lower: Array, upper: Array, cells: Range) -> None:
        super().__init__(cells)
        self.lower, self.upper = lower, upper
        self.points = Value(INPUT, len(lower), 0, cells)
        self._tanh_of: dict[str, Value] = {}
        self._tanh_squared: dict[str, Value] = {}

    def written(self, program: Program) -> FixedPoint:
        """The fixed-point program."""
        known = variables(program, self, self.points)
        values = [known[var.name] for var in program.outputs]
        y_bits = tuple(self.word(value).fraction for value in values for _ in range(value.size))
        given = [each for value in values for each in (value.name, None if value.floating else value.fraction)]
        calls = self.needed(values)
        x_bits = tuple(call.arguments[2] for call in calls if call.word == "fixed" for _ in range(call.size))
        last = Call("y", program.n_out, "floats", (INPUT, *given))
        return FixedPoint(program.n_in, program.n_out, (*calls, last), self.parameters, x_bits, y_bits)

    def affine(self, op: Affine, x: Value) -> Value:
        """The sum weight @ x + bias, of which no partial sum leaves a word."""
        x = self.word(x)
        x = self._moved(x, x.room) if x.room > 1 else x
        largest = x.range.magnitude
        exact, majorant = ranges.affine(x.range, op.weight, op.bias)
        fraction = min(fraction_of(majorant), fraction_of(np.abs(op.weight).max()) + x.fraction - 32)
        finer = fraction + 32 - x.fraction
        terms = x.size
        rounding = largest.sum() * 2.0 ** -(finer + 1) + (terms / 2 + 1) * 2.0**-fraction
        weight, bias = in_words(op.weight, finer), in_words(op.bias, fraction, terms / 2)
        self.parameters[op.out.name] = np.ldexp(weight, -finer), np.ldexp(in_words(op.bias, fraction), -fraction)
        return self.call("affine", (x.name, weight, bias), op.out.size, fraction, exact.widened(rounding))

    def scale(self, op: Scale, x: Value) -> Value:
        """The product weight * x plus bias."""
        if x.name in self._tanh_squared and (op.weight == -1).all() and (op.bias == 1).all():
            self.parameters[op.out.name] = op.weight, op.bias
            return self._slope_of_tanh(self._tanh_squared[x.name])
        if x.floating:
            return self.near(self._float_scaled(op, x))
        value = self._scaled(op, x)
        if op.bias.any() and not (not_negative(ranges.times(x.range, op.weight, 0 * op.bias)) and (op.bias >= 0).all()):
            return value
        return self.noted(value, lambda: self._float_scaled(op, self.relative(x)))

    def _float_scaled(self, op: Scale, x: Value) -> Value:
        """The same of floating numbers."""
        self.parameters[op.out.name] = nearest_floating(op.weight), nearest_floating(op.bias)
        return self.float_scale(x, op.weight, op.bias)

    def _scaled(self, op: Scale, x: Value) -> Value:
        """The same of words: by a shift where every weight is one power of two, or less that."""
        found = ranges.times(x.range, op.weight, op.bias)
        most = fraction_of((np.abs(op.weight) * x.range.magnitude + np.abs(op.bias)).max())
        mantissa, exponent = np.frexp(op.weight)
        if np.all(op.weight == op.weight[0]) and abs(mantissa[0]) == 0.5:
            exact = x.fraction - int(exponent[0]) + 1
            fraction = min(exact, most)
            bias = in_words(op.bias, fraction)
            self.parameters[op.out.name] = op.weight, np.ldexp(bias, -fraction)
            arguments = (x.name, fraction - exact, int(np.sign(mantissa[0])), bias)
            return self.call("move", arguments, x.size, fraction, found.widened(1.5 * 2.0**-fraction))
        finest = fraction_of(np.abs(op.weight).max())
        fraction = min(most, finest + x.fraction + x.room - 32)
        finer = fraction + 32 - x.fraction - x.room
        rounding = x.range.magnitude.max() * 2.0 ** -(finer + 1) + 1.5 * 2.0**-fraction
        words = in_words(op.weight, finer), in_words(op.bias, fraction, 0.5)
        self.parameters[op.out.name] = np.ldexp(words[0], -finer), np.ldexp(in_words(op.bias, fraction), -fraction)
        return self.call("scale", (x.name, x.room, *words), x.size, fraction, found.widened(rounding))

    def map(self, fn: str, x: Value) -> Value:
        """The function of the name `fn`; ProgramError where it has no words."""
        if fn not in FUNCTIONS:
            raise ProgramError(
                f"{fn} has no form in fixed point; expected: {', '.join(FUNCTIONS)}. Leave --arithmetic int16 out"
            )
        if fn in FLOATING_FUNCTIONS:
            return FLOATING_FUNCTIONS[fn](self, x)
        given, x = x, self.word(x, CUT.get(fn))
        if (largest := x.range.magnitude.max()) > LARGEST_ARGUMENT:
            raise ProgramError(
                f"the argument of {fn} may be {largest:.3g} in the domain; expected: up to {LARGEST_ARGUMENT:g}. "
                "A word has too few digits for more: give a narrower domain, or leave --arithmetic int16 out"
            )
        made: Value = getattr(self, f"_{fn}")(x)
        if given.floating and fn == "tanh":
            self._tanh_of[made.name] = given
        if given.floating and fn == "exp":
            self.forget(made)
        return made

    def add(self, a: Value, b: Value) -> Value:
        """The sum a + b, at the scale of the coarser one."""
        if a.floating or b.floating:
            return self.near(self.float_add(self.floating(a), self.floating(b)))
        found = ranges.total(a.range, b.range)
        fraction = min(a.fraction, b.fraction, fraction_of(found.magnitude.max()))
        arguments = (a.name, fraction - a.fraction, b.name, fraction - b.fraction)
        value = self.call("add", arguments, a.size, fraction, found.widened(2.0 * 2.0**-fraction))
        if not (not_negative(a.range) and not_negative(b.range)):
            return value
        return self.noted(value, lambda: self.float_add(self.relative(a), self.relative(b)))

    def mul(self, a: Value, b: Value) -> Value:
        """The product a * b."""
        if a.floating or b.floating:
            return self.near(self.float_mul(self.floating(a), self.floating(b)))
        fraction = a.fraction + a.room + b.fraction + b.room - 32
        found = ranges.product(a.range, b.range).widened(2.0**-fraction)
        value = self.call("mul", (a.name, a.room, b.name, b.room), a.size, fraction, found)
        if a.name == b.name and a.name in self._tanh_of:
            self._tanh_squared[value.name] = self._tanh_of[a.name]
        return self.noted(value, lambda: self.float_mul(self.relative(a), self.relative(b)))

    def select(self, c: Value, a: Value, b: Value) -> Value:
        """The entries of a where c > 0, and those of b elsewhere."""
        c, a, b = map(self.word, (c, a, b))
        fraction = min(a.fraction, b.fraction)
        arguments = (c.name, a.name, fraction - a.fraction, b.name, fraction - b.fraction)
        found = ranges.hull(a.range, b.range)
        if a.fraction != b.fraction:
            found = found.widened(2.0**-fraction)
        return self.call("where_positive", arguments, a.size, fraction, found)

    def concat(self, xs: Sequence[Value]) -> Value:
        """The entries of all xs, at the scale of the coarsest."""
        xs = [self.word(x) for x in xs]
        fraction = min(x.fraction for x in xs)
        arguments = tuple(each for x in xs for each in (x.name, fraction - x.fraction))
        sides = (np.concatenate([getattr(x.range, side) for x in xs]) for side in ("lower", "upper"))
        found, size = Range(*sides), sum(x.size for x in xs)
        if any(x.fraction > fraction for x in xs):
            found = found.widened(2.0**-fraction)
        return self.call("concat", arguments, size, fraction, found)

    def slice(self, x: Value, start: int, size: int) -> Value:
        """The entries x[start : start + size]; those of the points as words, held in the box."""
        x = self.word(x)
        part = slice(start, start + size)
        found = Range(x.range.lower[part], x.range.upper[part])
        if x is not self.points:
            return self.call("rows", (x.name, start, size), size, x.fraction, found)
        fraction = fraction_of(found.magnitude.max()) - 1  # within LARGEST_INPUT
        bounds = in_words(self.lower[part], fraction), in_words(self.upper[part], fraction)
        return self.call("fixed", (INPUT, start, fraction, *bounds), size, fraction, found.widened(2.0**-fraction))

    def _tanh(self, x: Value) -> Value:
        found = x.range.rising(np.tanh).widened(TABLE_ERROR).within(-LARGEST, LARGEST)
        return self.call("tanh", (x.name, 29 - x.fraction), x.size, WORD, found)

    def _sigmoid(self, x: Value) -> Value:
        found = x.range.rising(lambda v: 0.5 + 0.5 * np.tanh(0.5 * v)).widened(TABLE_ERROR).within(0.0, LARGEST)
        return self.call("sigmoid", (x.name, 28 - x.fraction), x.size, WORD, found)

    def silu(self, x: Value) -> Value:
        """The product of x and its sigmoid."""
        return self.mul(x, self.map("sigmoid", x))

    def _slope_of_tanh(self, x: Value) -> Value:
        """1 - tanh² of a floating number, 4 e/(1 + e)² for e = exp(-2|x|): it vanishes where tanh has reached 1."""
        size, one, zero = self._abs(self.word(x, CUT["exp"] / 2)), np.ones(x.size), np.zeros(x.size)
        twice = Range(-2 * size.range.upper, -2 * size.range.lower)
        moved = self.call("move", (size.name, 0, -1, np.zeros(x.size, np.int64)), x.size, size.fraction - 1, twice)
        power = self.relative(self._exp(moved))
        share = self.floating(self.reciprocal(self.float_scale(power, one, one)))
        return self.near(self.float_scale(self.float_mul(self.float_mul(share, share), power), 4 * one, zero))

    def _erf(self, x: Value) -> Value:
        found = x.range.rising(find_function("erf").exact).widened(TABLE_ERROR).within(-LARGEST, LARGEST)
        return self.call("erf", (x.name, 30 - x.fraction), x.size, WORD, found)

    def _relu(self, x: Value) -> Value:
        found = Range(np.maximum(x.range.lower, 0.0), np.maximum(x.range.upper, 0.0))
        return self.call("relu", (x.name,), x.size, x.fraction, found)

    def _step(self, x: Value) -> Value:
        found = Range(np.heaviside(x.range.lower, 0.0), np.heaviside(x.range.upper, 0.0))
        return self.call("step", (x.name,), x.size, WORD - 1, found)

    def _abs(self, x: Value) -> Value:
        ends = np.abs(np.stack([x.range.lower, x.range.upper]))
        nearest = np.where((x.range.lower < 0) & (x.range.upper > 0), 0.0, ends.min(axis=0))
        return self.call("magnitude", (x.name,), x.size, x.fraction, Range(nearest, ends.max(axis=0)))

    def atan(self, x: Value) -> Value:
        """The arc tangent; that of an argument beyond its table is twice the one of x/(1 + √(1 + x²))."""
        exact = x.range.rising(np.arctan).widened(ATAN_ERROR)
        if x.range.magnitude.max() <= END_OF_ATAN:
            x = self.word(x)
            return self.call("atan", (x.name, 30 - x.fraction), x.size, WORD - 1, exact)
        x, one = self.relative(x), np.ones(x.size)
        squared = self.float_scale(self.float_mul(x, x), one, one)
        below = self.float_scale(self.floating(self.sqrt(squared)), one, one)
        half = self.float_mul(x, self.floating(self.reciprocal(below)))
        share = x.range.rising(lambda v: np.tan(np.arctan(v) / 2)).widened(ATAN_ERROR)
        half = self.word(replace(half, range=share))
        return self.call("atan", (half.name, 30 - half.fraction), x.size, WORD - 2, exact)

    def _sin(self, x: Value) -> Value:
        return self._wave("sin", x, 0)

    def _cos(self, x: Value) -> Value:
        return self._wave("cos", x, 1)

    def _wave(self, word: str, x: Value, quarters: int) -> Value:
        room = min(x.room, 31 - x.fraction) if x.fraction > 31 else x.room
        turns = 31 - x.fraction - room
        found = ranges.sine(x.range, quarters).widened(TABLE_ERROR + 8.0 * 2.0**-x.fraction).within(-LARGEST, LARGEST)
        return self.call(word, (x.name, room, turns), x.size, WORD, found)

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
        value = self.call("exp", (x.name, by, bits, 30 - fraction), x.size, fraction, found)
        found = exact.widened(relative * exact.upper)
        return self.noted(value, lambda: self.floating_call("float_exp", (x.name, by, bits), x.size, found))

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
        return self.call("lorentzian", (x.name, by, one), x.size, WORD - 1, found)

    def _moved(self, x: Value, by: int) -> Value:
        zero = np.zeros(x.size, np.int64)
        return self.call("move", (x.name, by, 1, zero), x.size, x.fraction + by, x.range)


FLOATING_FUNCTIONS: Mapping[str, Callable[[_Walk, Value], Value]] = {
    "silu": _Walk.silu,
    "atan": _Walk.atan,
    "sqrt": _Walk.sqrt,
    "reciprocal": _Walk.reciprocal,
    "power(-0.5)": _Walk.rsqrt,
}
"""Functions that take floating numbers as they are."""
