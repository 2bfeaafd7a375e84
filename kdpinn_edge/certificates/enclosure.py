"""The enclosure of a Program on cells: its values, slopes and rounding errors, at every point of each cell at once.

The library computes v̂ᵢ = opᵢ(v̂) + δᵢ for every operation, with the exact Program's own numbers in op, and |δᵢ| bounded
by `rounding.py` or known, as the difference between a parameter and the rounded one is. Go from the exact Program to
the library by letting one operation after another be computed: each step changes the output by what its δᵢ makes of it
in the exact rest of the Program, and by the mean value theorem

    library - exact = Σ ∂f/∂vᵢ δᵢ,    each derivative at some vᵢ between opᵢ(v̂) and v̂ᵢ.

In every step a variable is a computed one, an exact function of such, or between the two; so what is enclosed holds
the exact results of what its operands hold, and the rounded ones. One sweep back then bounds all derivatives, and ends
with those by the inputs, which are the slopes of the output. Where a function has a kink, the theorem holds with the
slopes between those of both sides (G. Lebourg, 1975). Where the side of a jump or of a Select is open, the side of the
exact Program is meant, and the difference of both sides is part of δᵢ. In one step every variable is one number, so
what forms have in common cancels; between terms of different steps only what depends on x does.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from kdpinn_edge.certificates.elementary import certain, mapped, slope_form
from kdpinn_edge.certificates.forms import (
    Form,
    add,
    affine,
    chosen,
    concat,
    constant,
    cut,
    mul,
    scale,
    sharper,
    within,
)
from kdpinn_edge.certificates.intervals import SLACK, Interval, Mask, Places
from kdpinn_edge.certificates.monomials import monomials
from kdpinn_edge.certificates.paths import passes
from kdpinn_edge.certificates.rounding import Rounding
from kdpinn_edge.certificates.symbols import Symbols
from kdpinn_edge.functions import find_function
from kdpinn_edge.program.evaluate import variables
from kdpinn_edge.program.ir import (
    Add,
    Affine,
    Array,
    Concat,
    Map,
    Mul,
    Op,
    Program,
    Scale,
    Select,
    Slice,
    Var,
    unknown,
)


@dataclass(frozen=True)
class Value:
    """A variable in the cells: what it may be, and the error that the operation adds that made it.

    `form` and `interval` both hold the exact value, the computed one, and all between. `error` bounds the unknown part
    of the local error; `known` encloses what is known of it. `slope` is that of a Map. `bend` (inputs, k, n) says how
    far the operation is from linear along each input, to first order.
    """

    form: Form
    interval: Interval
    error: Array | None = None
    known: Form | None = None
    slope: Interval | None = None
    bend: Array | None = None


@dataclass(frozen=True)
class Bounds:
    """What holds in n cells, for every point of each.

    lower, upper  (outputs, n) of exact and computed outputs
    error         (outputs, n) between computed and exact ones
    slopes        (outputs, inputs, n) the magnitudes of the derivatives of the exact outputs
    largest       (n,) the largest magnitude that occurs in the computation
    bend          (inputs, n) how far outputs, or else operations, are from linear along each input: where to cut
    smooth        (n,) whether no side of a jump or of a Select is open, without which there are no slopes
    verified      (n,) whether every function is called where its error bound was verified
    """

    lower: Array
    upper: Array
    error: Array
    slopes: Array
    largest: Array
    bend: Array
    smooth: Mask
    verified: Mask

    def of(self, cells: Places | slice) -> Bounds:
        """What holds in these cells."""
        return Bounds(*(getattr(self, name)[..., cells] for name in FIELDS))


MOST_INPUTS = 3
"""With more inputs there are too many products of them: each makes all forms longer."""
DEGREE = 4
"""Of so many factors, with up to MOST_INPUTS inputs."""
NUMBERS_AT_ONCE = 1 << 18
"""So many numbers of an array lie in a second-level cache, and take so long that calling NumPy costs little."""


class Enclosure:
    """The enclosure of one function of a bundle: `program` in this precision and numerics profile."""

    def __init__(self, program: Program, precision: str, profile: str) -> None:
        self.program = program
        self.rounding = Rounding(program, precision, profile)
        self._symbols = Symbols(program)
        sizes = [var.size for var in (*program.inputs, *(op.out for op in program.ops))]
        self._summation = SLACK * sum(sizes)
        matrices = (op.weight.size for op in program.ops if isinstance(op, Affine))
        largest = max(*matrices, (1 + program.n_in) * max(sizes), 1)
        self.cells_at_once = min(max(NUMBERS_AT_ONCE // largest, 32), 1024)

    def __call__(self, lower: Array, upper: Array) -> Bounds:
        """Everything that is known of the cells from lower (n, n_in) to upper (n, n_in)."""
        parts = [
            self._bounds(lower[i : i + self.cells_at_once], upper[i : i + self.cells_at_once])
            for i in range(0, len(lower), self.cells_at_once)
        ]
        return Bounds(*(np.concatenate([getattr(part, name) for part in parts], axis=-1) for name in FIELDS))

    def first_unsafe(self, lower: Array, upper: Array) -> tuple[Op, float]:
        """The first operation of whose result it is not known to be finite in the cell from lower to upper (n_in,).

        Raises ValueError where there is none.
        """
        with np.errstate(all="ignore"):
            walk = _Rounded(self.rounding, 1)
            known = variables(self.program, walk, _inputs(lower[None], upper[None]), self._kept)
            for op in self.program.ops:
                magnitude = float(known[op.out.name].interval.magnitude.max())
                if not magnitude < self.rounding.largest:
                    return op, magnitude
        raise ValueError("every operation is finite in this cell")

    def _bounds(self, lower: Array, upper: Array) -> Bounds:
        walk = _Rounded(self.rounding, len(lower))
        with np.errstate(all="ignore"):
            known = variables(self.program, walk, _inputs(lower, upper), self._kept)
            outputs = [known[var.name].interval for var in self.program.outputs]
            errors, slopes = [], []
            bend = np.zeros((self.program.n_in, len(lower)))
            for var in self.program.outputs:
                for entry in range(var.size):
                    error, gradient, bent = self._swept_back(known, var, entry)
                    errors.append(error)
                    slopes.append(gradient)
                    shares = bent / bent.sum(axis=0)
                    bend += np.where(np.isfinite(shares), shares, walk.bend)
            lower, upper = (np.concatenate([getattr(each, end) for each in outputs]) for end in ("lower", "upper"))
            error = np.fmin(np.array(errors), (upper - lower) * (1 + SLACK))  # both values lie between these
        return Bounds(
            lower,
            upper,
            error,
            np.array(slopes),
            walk.largest,
            bend,
            walk.smooth,
            walk.verified,
        )

    def _kept(self, op: Op, value: Value) -> Value:
        """The value of op, with the symbols that it has from there on."""
        form, out = value.form, op.out
        form = form.folded(form.symbols if out.size > 1 else self._symbols.end.get(out.name, ()))
        if out.name in self._symbols.begin:
            form = form.named(out.name)
        return value if form is value.form else replace(value, form=form)

    def _kept_back(self, out: Var, derivative: Form) -> Form:
        """The derivative by `out`, with the symbols that it has from there on."""
        ended = derivative.symbols
        if out.size == 1:
            ended = tuple(map(_back, self._symbols.end_back.get(out.name, ())))
        derivative = derivative.folded(ended)
        return derivative.named(_back(out.name)) if out.name in self._symbols.begin_back else derivative

    def _swept_back(self, known: dict[str, Value], output: Var, entry: int) -> tuple[Array, Array, Array]:
        """The bound (n,) on the error of an entry of an output; (n_in, n): its derivatives' magnitudes, its bend."""
        like = known[output.name].form
        one = np.zeros(output.size)
        one[entry] = 1.0
        found: dict[str, Form] = {output.name: constant(one, like)}
        changes: dict[str, tuple[Array, Array]] = {}
        bend = np.zeros((self.program.n_in, like.rest.shape[1]))
        known_part: Form | None = None
        for op in reversed(self.program.ops):
            if op.out.name not in found:
                continue
            sensitivity, value = self._kept_back(op.out, found[op.out.name]), known[op.out.name]
            steep = sensitivity.interval.magnitude
            if value.bend is not None:
                bend += (steep * value.bend).sum(axis=1)
            if value.error is not None:
                width = value.interval.upper - value.interval.lower
                changes[op.out.name] = (steep * value.error).sum(axis=0), (steep * width).sum(axis=0)
            if value.known is not None:
                share = _total(mul(sensitivity, value.known))
                share = share.folded(share.symbols)  # the numbers of another step: see above
                known_part = share if known_part is None else add(known_part, share)
            for var, pulled in _pulled(op, sensitivity, known):
                found[var.name] = add(found[var.name], pulled) if var.name in found else pulled
        unknown_part = _passed_on(changes, passes(self.program, [output])).get(None, np.zeros(like.rest.shape[1]))
        error = unknown_part if known_part is None else unknown_part + known_part.interval.magnitude[0]
        slopes = [
            found[var.name].interval.magnitude if var.name in found else np.zeros((var.size, like.rest.shape[1]))
            for var in self.program.inputs
        ]
        return error * (1 + self._summation), np.concatenate(slopes), bend


def _passed_on(changes: dict[str, tuple[Array, Array]], through: dict[str, str | None]) -> dict[str | None, Array]:
    """The change (n,) of an output by all operations, with the key None, if there are any.

    `changes` has, by variable, the change by its local error, and the largest that it can pass on.

    Operations can be computed one after another in any order that respects what they need, so all that reach the
    output only through v can come together: what they and v change is not more than v varies in the cell.
    """
    total: dict[str | None, Array] = {}
    for name, (own, most) in reversed(changes.items()):
        change = np.fmin(own + total[name], most * (1 + SLACK)) if name in total else own
        after = through[name]
        while after is not None and after not in changes:  # a variable that only moves numbers
            after = through[after]
        total[after] = total[after] + change if after in total else change
    return total


def _back(name: str) -> str:
    """The symbol of the derivative by the variable of this name: no variable is called so."""
    return f"∂ {name}"


FIELDS = tuple(Bounds.__dataclass_fields__)


class _Rounded:
    """The operations on values in n cells, each with its local error; it keeps what is to be known of all of them."""

    def __init__(self, rounding: Rounding, n: int) -> None:
        self._rounding = rounding
        self.largest = np.zeros(n)
        self.bend: Any = 0.0
        self.smooth = np.ones(n, bool)
        self.verified = np.ones(n, bool)

    def affine(self, op: Affine, x: Value) -> Value:
        error, partial = self._rounding.affine(op, x.form)
        self.largest = np.maximum(self.largest, partial.max(axis=0))
        weight, bias = self._rounding.parameters[op.out.name]
        form, known = affine(x.form, op.weight, op.bias), None
        if _differ(weight, op.weight) or _differ(bias, op.bias):
            known = affine(x.form, weight - op.weight, bias - op.bias)
        return self._value(form, None, error, known)

    def scale(self, op: Scale, x: Value) -> Value:
        weight, bias = self._rounding.parameters[op.out.name]
        interval = self._rounding.scaled(op, x.interval)
        form, known = scale(x.form, op.weight, op.bias), None
        if _differ(weight, op.weight) or _differ(bias, op.bias):
            known = scale(x.form, weight - op.weight, bias - op.bias)
        return self._value(form, interval, self._rounding.scale(op, x.interval, interval.magnitude), known)

    def map(self, fn: str, x: Value) -> Value:
        function = find_function(fn)
        form, exact, slope = mapped(fn, x.form, x.interval)
        verified = x.interval.magnitude <= function.reach
        error = np.where(verified, self._rounding.map(fn, x.interval, exact), function.upper - function.lower)
        self.verified &= verified.all(axis=0)
        ends = self._rounding.rounded(Interval(np.array(function.lower), np.array(function.upper)))
        computed = Interval(exact.lower - error, exact.upper + error).common(ends)
        for at, level in function.curve.passes:
            above, below = x.interval.lower >= at, x.interval.upper <= at
            least, most = np.where(above, level, -np.inf), np.where(below, level, np.inf)
            computed = computed.common(Interval(least, most))
        if function.curve.jumps:
            open_sides = ~certain(fn, x.interval)
            error = np.where(open_sides, exact.upper - exact.lower, error)
            self.smooth &= ~open_sides.any(axis=0)
        value = self._value(form, exact.hull(computed), error, slope=slope)
        gradient = np.abs(x.form.gradient)
        known = np.isfinite(x.interval.magnitude)
        return self._bent(value, gradient * (slope.upper - slope.lower), np.where(known, gradient, np.nan))

    def add(self, a: Value, b: Value) -> Value:
        interval = self._rounding.rounded(a.interval + b.interval)
        form = add(a.form, b.form)
        error = self._rounding.add(a.interval, b.interval, form.interval.common(interval).magnitude)
        return self._value(form, interval, error)

    def mul(self, a: Value, b: Value) -> Value:
        interval = self._rounding.rounded(a.interval * b.interval)
        form = mul(a.form, b.form)
        error = self._rounding.mul(a.interval, b.interval, form.interval.common(interval).magnitude)
        value = self._value(form, interval, error)
        bend = np.abs(a.form.gradient) * b.form.radius + np.abs(b.form.gradient) * a.form.radius
        return self._bent(value, bend, bend)

    def select(self, c: Value, a: Value, b: Value) -> Value:
        first, second = c.interval.lower > 0, c.interval.upper <= 0
        interval = a.interval.hull(b.interval)
        either = within(interval, a.form)
        form = chosen(first, a.form, chosen(second, b.form, either))
        self.smooth &= (first | second).all(axis=0)
        self.largest = np.maximum(self.largest, interval.magnitude.max(axis=0))
        error = np.where(first | second, 0.0, interval.upper - interval.lower)
        return Value(form, form.interval.common(interval), error)

    def concat(self, xs: Sequence[Value]) -> Value:
        lower, upper = (np.concatenate([getattr(x.interval, end) for x in xs]) for end in ("lower", "upper"))
        return Value(concat([x.form for x in xs]), Interval(lower, upper))

    def slice(self, x: Value, start: int, size: int) -> Value:
        rows = slice(start, start + size)
        return Value(cut(x.form, start, size), Interval(x.interval.lower[rows], x.interval.upper[rows]))

    def _bent(self, value: Value, bend: Array, varies: Array) -> Value:
        """The value of an operation that is not linear. Each entry counts as much as its bend is of it; where that is
        not known, because a pole may lie in the cell, as much as its argument varies, if that is finite."""
        shares = bend / (np.abs(value.form.centre) + value.form.radius + bend.sum(axis=0))
        shares = np.where(np.isfinite(shares), shares, varies / varies.sum(axis=0))
        self.bend = self.bend + np.where(np.isfinite(shares), shares, 0.0).sum(axis=1)
        return replace(value, bend=bend)

    def _value(
        self,
        exact: Form,
        interval: Interval | None,
        error: Array,
        known: Form | None = None,
        slope: Interval | None = None,
    ) -> Value:
        """The value with this local error, within `interval` where that is known."""
        form = exact.widened(error if known is None else error + known.interval.magnitude)
        all_values = form.interval if interval is None else form.interval.common(interval)
        self.largest = np.maximum(self.largest, all_values.magnitude.max(axis=0))
        return Value(sharper(form, all_values), all_values, error, known, slope)


def _differ(a: Array, b: Array) -> bool:
    return bool((a != b).any())


def _pulled(op: Op, sensitivity: Form, known: dict[str, Value]) -> Iterator[tuple[Var, Form]]:
    """What `op` adds to the derivatives of an output by its operands; `sensitivity` is that by its result."""
    match op:
        case Affine(x=x, weight=weight):
            yield x, affine(sensitivity, np.ascontiguousarray(weight.T), np.zeros(x.size))
        case Scale(x=x, weight=weight):
            yield x, scale(sensitivity, weight, np.zeros(x.size))
        case Map(out=out, x=x, fn=fn):
            value = known[out.name]
            yield x, mul(sensitivity, slope_form(fn, known[x.name].form, value.form, value.slope))
        case Add(a=a, b=b):
            yield a, sensitivity
            yield b, sensitivity
        case Mul(a=a, b=b):
            yield a, mul(sensitivity, known[b.name].form)
            yield b, mul(sensitivity, known[a.name].form)
        case Select(c=c, a=a, b=b):
            condition = known[c.name].interval
            first, second = condition.lower > 0, condition.upper <= 0
            for var, chosen, other in ((a, first, second), (b, second, first)):
                share = Interval(np.where(chosen, 1.0, 0.0), np.where(other, 0.0, 1.0))
                yield var, mul(sensitivity, within(share, sensitivity))
        case Concat(xs=xs):
            start = 0
            for x in xs:
                yield x, cut(sensitivity, start, x.size)
                start += x.size
        case Slice(out=out, x=x, start=start):
            n = sensitivity.rest.shape[1]
            shares, rest = np.zeros((len(sensitivity.shares), x.size, n)), np.zeros((x.size, n))
            shares[:, start : start + out.size] = sensitivity.shares
            rest[start : start + out.size] = sensitivity.rest
            yield x, replace(sensitivity, shares=shares, rest=rest)
        case _:
            raise unknown(op)


def _inputs(lower: Array, upper: Array) -> Value:
    """The inputs in the cells, each with an e of its own. Where all cells are points, nothing depends on products."""
    centre = 0.5 * lower + 0.5 * upper
    half = np.maximum(upper - centre, centre - lower) * (1 + SLACK)
    n, n_in = lower.shape
    basis = monomials(n_in, DEGREE if n_in <= MOST_INPUTS and (lower != upper).any() else 1)
    shares = np.zeros((len(basis), n_in, n))
    shares[0] = centre.T
    shares[1 + np.arange(n_in), np.arange(n_in)] = half.T
    return Value(Form(basis, shares, np.zeros((n_in, n))), Interval(lower.T, upper.T))


def _total(x: Form) -> Form:
    """The sum of all entries."""
    return affine(x, np.ones((1, len(x.rest))), np.zeros(1))
