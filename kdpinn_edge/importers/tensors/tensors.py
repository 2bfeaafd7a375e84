"""`Tensors`: arrays of any shape, of numbers that a Program calculates for each point.

A Program knows vectors; a network is written with tensors, which have an axis of points somewhere. A Tensor is a table
of numbers: each element says which entry of which variable of the Program it holds, and for which point. So whatever
only moves numbers (reshape, slice, concatenate, …) is any function of NumPy on that table, and costs nothing until the
numbers are calculated with. The table has a few points. They may lie along any axis, merged with others or not: what
counts is that no element is calculated from several points, and that all points are treated alike.

    tensors = Tensors(builder)
    x = tensors.tensor(var)                                    (points, var.size)
    h = tensors.map(tensors.add(tensors.matmul(x, W), b), "tanh")
    y = tensors.move(np.transpose, h)
    builder.program("p", {"y": tensors.vector(y)})

Operands are Tensors and constants, which NumPy broadcasts against each other; an operation on constants alone is done
at once and gives a constant. Elements that hold the same are calculated once.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from kdpinn_edge.functions import find_function
from kdpinn_edge.program.builder import Builder
from kdpinn_edge.program.ir import Array, Map, Mul, Scale, Var

Table = NDArray[np.int64]

POINTS = 5
"""The number of points in the tables, unless another is asked for."""

ROW = 2**32
"""Entry i, counted through all variables, has the number p * ROW + i for point p; a constant has a negative number."""


class Refusal(Exception):  # noqa: N818
    """Why one operation cannot be captured, and what to write instead."""


MIXES = "it mixes points across the batch, or drops some: work on the columns only"
PER_POINT = "a constant differs from point to point: use constants of shape (k,) or (1, k)"


@dataclass(frozen=True, eq=False)
class Tensor:
    """An array that depends on the point: `table` has its shape, and says what each element holds.

    Each point has the same entries in it, at least one.
    """

    table: Table
    points: int

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape, points included."""
        return self.table.shape

    @cached_property
    def axis(self) -> int | None:
        """The axis along which the points lie in their order, and nothing else; None where there is one point.

        Raises Refusal where there is no such axis.
        """
        if self.points == 1:
            return None
        for axis in (i for i, size in enumerate(self.shape) if size == self.points):
            rows = np.moveaxis(self.table, axis, 0)
            first, variable = rows[:1], rows >= 0
            steps = ROW * np.arange(self.points).reshape(-1, *(1 for _ in rows.shape[1:]))
            if (variable == variable[:1]).all() and (~variable | (rows == first + steps)).all():
                if not (variable | (rows == first)).all():
                    raise Refusal(PER_POINT)
                return axis
        raise Refusal(MIXES)

    @property
    def entries(self) -> Table:
        """The table of the first point, without the axis of points."""
        return self.table if self.axis is None else np.asarray(self.table.take(0, self.axis))


Constant = NDArray[Any] | float
Value = Tensor | NDArray[Any]
"""What an operation gives: a Tensor, or the constant that it makes of constants."""
Operand = Tensor | Constant
"""What an operation takes."""


def shape_of(x: Operand) -> tuple[int, ...]:
    """The shape of a Tensor or of a constant."""
    return x.shape if isinstance(x, Tensor) else np.shape(x)


class Tensors:
    """Tensors whose numbers the operations of one Builder make."""

    def __init__(self, builder: Builder, points: int = POINTS) -> None:
        self.builder = builder
        self.points = points
        self._variables: list[Var] = []
        self._starts: dict[str, int] = {}
        self._size = 0
        self._constants: dict[float, int] = {}

    def tensor(self, var: Var, shape: Sequence[int] | None = None, axis: int = 0) -> Tensor:
        """The entries of `var` row-major in `shape`, which has no axis of points, by default (var.size,).

        The points are put in as `axis`; where the tables have one point, they get no axis.
        """
        entries = self._made(var).reshape((var.size,) if shape is None else shape)
        if self.points == 1:
            return Tensor(entries, 1)
        row = ROW * np.arange(self.points).reshape(-1, *(1 for _ in entries.shape))
        return Tensor(np.moveaxis(entries + row, 0, axis), self.points)

    def vector(self, x: Operand) -> Var:
        """A variable with just the numbers of x for one point, row-major. The points must have an axis of their own."""
        entries = x.entries if isinstance(x, Tensor) else self.table(x)
        return self._vector(entries.reshape(-1))

    # What only moves numbers

    def move(self, function: Callable[..., ArrayLike], *values: Operand) -> Value:
        """`function` of the values, which must only move elements; it is given their tables, and gives one."""
        if not any(isinstance(each, Tensor) for each in values):
            return np.asarray(function(*map(np.asarray, values)))
        return self.value(function(*map(self.table, values)))

    def table(self, x: Operand) -> Table:
        """An array of integers in the shape of x that stands for it, to be moved and given to `value`."""
        if isinstance(x, Tensor):
            return x.table
        distinct, where = np.unique(np.asarray(x, dtype=np.float64), return_inverse=True)
        numbers = [self._constants.setdefault(number, -1 - len(self._constants)) for number in distinct.tolist()]
        return np.asarray(np.array(numbers, dtype=np.int64)[where]).reshape(np.shape(x))

    def value(self, table: ArrayLike) -> Value:
        """The Tensor, or the constant, that a table stands for whose elements were moved.

        Raises Refusal where it has not the same of all points.
        """
        table = np.asarray(table, dtype=np.int64)
        if (table < 0).all():
            return self._numbers(table)
        numbers = np.sort(table[table >= 0])
        if len(numbers) % self.points:
            raise Refusal(MIXES)
        rows = numbers.reshape(self.points, -1) - ROW * np.arange(self.points)[:, None]
        if not (rows == rows[:1]).all():
            raise Refusal(MIXES)
        return Tensor(table, self.points)

    def concatenate(self, values: Sequence[Operand], axis: int) -> Value:
        """The values one after another along an axis."""
        return self.move(lambda *tables: np.concatenate(tables, axis), *values)

    # Elementwise

    def map(self, x: Operand, function: str) -> Value:
        """A function of the Program, of every element."""
        return self._by_element(lambda var: self.builder.map(var, function), find_function(function).exact, [x])

    def scale(self, x: Operand, weight: Constant, bias: Constant = 0.0) -> Value:
        """The value weight * x + bias, with constants."""
        return self._by_element(self.builder.scale, lambda c, w, b: w * c + b, [x], [weight, bias])

    def select(self, c: Operand, a: Operand, b: Operand) -> Value:
        """The value of a where c > 0, else that of b."""
        if not isinstance(c, Tensor):
            positive = np.asarray(c) > 0
            return self.move(lambda a, b: np.where(positive, a, b), a, b)

        def exactly(c: Array, a: Array, b: Array) -> Array:
            return np.where(c > 0, a, b)

        if (opposite := self._before(c, self._negated)) is not None:
            c, a, b = opposite, b, a
        while (argument := self._before(c, self._stepped)) is not None:
            c = argument
        return self._by_element(self.builder.select, exactly, [c, a, b])

    def negative(self, x: Operand) -> Value:
        """The value -x."""
        return self.scale(x, -1.0)

    def add(self, a: Operand, b: Operand) -> Value:
        """The sum a + b."""
        if not isinstance(a, Tensor):
            return self.scale(b, 1.0, a)
        return self._by_element(self.builder.add, np.add, [a, b]) if isinstance(b, Tensor) else self.scale(a, 1.0, b)

    def subtract(self, a: Operand, b: Operand) -> Value:
        """The difference a - b."""
        return self.add(a, self.negative(b))

    def multiply(self, a: Operand, b: Operand) -> Value:
        """The product a * b."""
        if not isinstance(a, Tensor):
            return self.scale(b, a)
        return self._by_element(self.builder.mul, np.multiply, [a, b]) if isinstance(b, Tensor) else self.scale(a, b)

    def divide(self, a: Operand, b: Operand) -> Value:
        """The quotient a / b."""
        if isinstance(b, Tensor):
            return self.multiply(a, self.reciprocal(b))
        with np.errstate(divide="ignore", invalid="ignore"):
            return self.scale(a, 1 / np.asarray(b, dtype=np.float64))

    def reciprocal(self, x: Operand) -> Value:
        """The value 1 / x; for x = a + b z², a and b positive constants, it is lorentzian(√(b / a) z) / a."""
        return self._by_element(self._reciprocal, np.reciprocal, [x])

    # Sums of products

    def matmul(self, a: Operand, b: Operand) -> Value:
        """The matrix product a @ b over the last axis of a and the last but one of b, or the only one of either.

        Axes before these are broadcast against each other.
        """
        shapes = shape_of(a), shape_of(b)
        x = self.move(lambda t: t[None] if len(shapes[0]) == 1 else t, a)
        y = self.move(lambda t: t[:, None] if len(shapes[1]) == 1 else t, b)
        rows = self.move(lambda t: t[..., None, :], x)
        product = self.contract(rows, self.move(lambda t: np.swapaxes(t, -1, -2)[..., None, :, :], y))
        added = tuple(axis for axis, shape in ((-2, shapes[0]), (-1, shapes[1])) if len(shape) == 1)
        return self.move(lambda t: t.squeeze(added), product)

    def contract(self, a: Operand, b: Operand) -> Value:
        """The sum of a * b over the last axis."""
        if isinstance(a, Tensor):
            return self._weighted(self.multiply(a, b), 1.0) if isinstance(b, Tensor) else self._weighted(a, b)
        return self._weighted(b, a)

    def sum(self, x: Operand, axes: Sequence[int] | None = None, *, keepdims: bool = False) -> Value:
        """The sum over some axes of columns, by default over all axes."""
        return self.reduce(self._total, x, axes, keepdims=keepdims)

    def mean(self, x: Operand, axes: Sequence[int] | None = None, *, keepdims: bool = False) -> Value:
        """The mean over some axes of columns, by default over all axes."""

        def mean(terms: Value) -> Value:
            if self._lie_side_by_side(terms):
                return self.scale(self._total(terms), 1 / terms.shape[-1])
            return self.contract(terms, 1 / terms.shape[-1])

        return self.reduce(mean, x, axes, keepdims=keepdims)

    def reduce(
        self,
        function: Callable[[Value], Value],
        x: Operand,
        axes: Sequence[int] | None = None,
        *,
        keepdims: bool = False,
    ) -> Value:
        """`function`, which does away with the last axis, over some axes as one, by default over all axes."""
        sizes = shape_of(x)
        over = sorted({i % len(sizes) for i in (range(len(sizes)) if axes is None else axes)})
        kept = [i for i in range(len(sizes)) if i not in over]
        flat = (*(sizes[i] for i in kept), math.prod(sizes[i] for i in over))
        reduced = function(self.move(lambda t: t.transpose(*kept, *over).reshape(flat), x))
        return self.move(lambda t: np.expand_dims(t, over), reduced) if keepdims else reduced

    # How it is done

    def _by_element(
        self,
        apply: Callable[..., Var],
        exactly: Callable[..., NDArray[Any]],
        operands: Sequence[Operand],
        constants: Sequence[Constant] = (),
    ) -> Value:
        """`apply` of the builder to vectors of the operands, and to `constants`; `exactly` to what is constant."""
        if not any(isinstance(x, Tensor) for x in operands):
            with np.errstate(all="ignore"):
                return np.asarray(exactly(*(np.asarray(x, dtype=np.float64) for x in operands), *constants))
        numbers = [_finite(c) for c in constants]
        arrays = np.broadcast_arrays(*map(self.table, operands), *numbers)
        points, entries = _separated(np.stack([each.reshape(-1) for each in arrays[: len(operands)]], axis=-1))
        weights = [each.reshape(-1) for each in arrays[len(operands) :]]
        first, same = _distinct(np.column_stack([entries, *map(_bits, weights)]))
        made = np.empty(len(first), dtype=np.int64)
        for variable in (True, False):
            chosen = (points[first] >= 0) == variable
            if chosen.any():
                columns, own = entries[first[chosen]].T, [each[first[chosen]] for each in weights]
                if variable:
                    made[chosen] = self._made(apply(*map(self._vector, columns), *own))
                else:
                    with np.errstate(all="ignore"):
                        made[chosen] = self.table(exactly(*map(self._numbers, columns), *own))
        return self._placed(made[same], points, arrays[0].shape)

    def _total(self, terms: Value) -> Value:
        """The sum over the last axis: an Affine for each sum, or sums of whole vectors where that is less."""
        if not self._lie_side_by_side(terms):
            return self.contract(terms, 1.0)
        parts = [self.move(lambda table, i=i: table[..., i], terms) for i in range(terms.shape[-1])]
        total = parts[0]
        for part in parts[1:]:
            total = self.add(total, part)
        return total

    def _lie_side_by_side(self, terms: Value) -> bool:
        """Whether the first terms of all sums lie one after another, the second ones likewise, and they are few."""
        if not isinstance(terms, Tensor) or 0 in terms.shape or (terms.table < 0).any():
            return False
        rows = terms.table[terms.table // ROW == 0].reshape(-1)
        n = terms.shape[-1]
        if len(rows) % n or len(rows) // n <= n:
            return False
        stretches = n + np.count_nonzero(np.diff(rows.reshape(-1, n), axis=0) != 1)
        return bool(stretches < len(rows) // n)

    def _weighted(self, x: Operand, weight: Constant) -> Value:
        """The sum of weight * x over the last axis: one Affine for all sums of the same entries."""
        if not isinstance(x, Tensor):
            return np.asarray(np.multiply(weight, x).sum(-1))
        n = max(x.shape[-1], *np.shape(weight)[-1:], 1)
        terms = np.broadcast_to(x.table, (*x.shape[:-1], n))
        rows = np.broadcast_to(_finite(weight), (*np.shape(weight)[:-1], n))
        points, entries = _separated(terms.reshape(-1, n))
        weights = rows.reshape(-1, n)
        (term, of_term), (row, of_row) = _distinct(entries), _distinct(_bits(weights))
        ids = np.broadcast_arrays(
            of_term.reshape(terms.shape[:-1]), points.reshape(terms.shape[:-1]), of_row.reshape(rows.shape[:-1])
        )
        term_ids, point_ids, row_ids = (each.reshape(-1) for each in ids)
        first, same = _distinct(np.column_stack([term_ids, row_ids]))
        made = np.empty(len(first), dtype=np.int64)
        for i in np.unique(term_ids[first]):
            chosen = term_ids[first] == i
            made[chosen] = self._sums(entries[term[i]], weights[row[row_ids[first[chosen]]]])
        return self._placed(made[same], point_ids, ids[0].shape)

    def _sums(self, entries: Table, weights: Array) -> Table:
        """The numbers of weights @ entries."""
        variable = entries >= 0
        bias = weights[:, ~variable] @ _finite(self._numbers(entries[~variable]))
        if not variable.any():
            return self.table(bias)
        return self._made(self.builder.affine(self._vector(entries[variable]), weights[:, variable], bias))

    def _placed(self, made: Table, points: Table, shape: tuple[int, ...]) -> Value:
        """The value of entries and constants, each for its point."""
        try:
            return self.value(np.where(made < 0, made, made + ROW * points).reshape(shape))
        except Refusal:
            raise Refusal(PER_POINT) from None

    def _reciprocal(self, var: Var) -> Var:
        weight, bias = np.ones(var.size), np.zeros(var.size)
        made_by = self.builder.made_by(var)
        while isinstance(made_by, Scale):
            weight, bias = weight * made_by.weight, weight * made_by.bias + bias
            made_by = self.builder.made_by(made_by.x)
        match made_by:
            case Mul(a=z, b=other) if z == other and (weight > 0).all() and (bias > 0).all():
                scaled = self.builder.scale(z, np.sqrt(weight / bias), np.zeros(z.size))
                bell = self.builder.map(scaled, "lorentzian")
                return self.builder.scale(bell, 1 / bias, np.zeros(z.size))
        return self.builder.map(var, "reciprocal")

    def _before(self, x: Tensor, argument: Callable[[Var], Var | None]) -> Tensor | None:
        """The Tensor that has the entries of `argument` of each variable in place of its own, if all have one."""
        table, entries = x.table, x.table % ROW
        for var in {self._variables[i] for i in np.unique(self._owners(entries[table >= 0]))}:
            found, start = argument(var), self._starts[var.name]
            if found is None:
                return None
            inside = (x.table >= 0) & (entries >= start) & (entries < start + var.size)
            table = np.where(inside, x.table + self._start(found) - start, table)
        return None if (table < 0).any() else Tensor(table, self.points)

    def _stepped(self, var: Var) -> Var | None:
        """The argument of step, which is positive where step is."""
        made_by = self.builder.made_by(var)
        return made_by.x if isinstance(made_by, Map) and made_by.fn == "step" else None

    def _negated(self, var: Var) -> Var | None:
        """The step s in 1 - s, which is positive where that is not."""
        made_by = self.builder.made_by(var)
        if isinstance(made_by, Scale) and (made_by.weight == -1).all() and (made_by.bias == 1).all():
            return made_by.x if self._stepped(made_by.x) is not None else None
        return None

    def _owners(self, entries: Table) -> Table:
        """The places in `_variables` of the variables that entries are of; -1 for constants."""
        starts = np.fromiter(self._starts.values(), dtype=np.int64)
        return np.where(entries < 0, -1, np.searchsorted(starts, entries, side="right") - 1)

    def _made(self, var: Var) -> Table:
        """The numbers of the entries of a variable."""
        start = self._start(var)
        return np.arange(start, start + var.size)

    def _start(self, var: Var) -> int:
        if var.name not in self._starts:
            self._starts[var.name] = self._size
            self._variables.append(var)
            self._size += var.size
        return self._starts[var.name]

    def _numbers(self, table: Table) -> Array:
        """The constants that a table of constants stands for."""
        return np.fromiter(self._constants, dtype=np.float64)[-1 - table] if table.size else np.zeros(table.shape)

    def _vector(self, entries: Table) -> Var:
        owners = self._owners(entries)
        cuts = [0, *(np.flatnonzero(np.diff(owners)) + 1).tolist(), len(entries)]
        parts: list[Var] = []
        for begin, end in pairwise(cuts):
            owner, stretch = int(owners[begin]), entries[begin:end]
            if owner < 0:
                parts.append(self._constant(self._numbers(stretch)))
            else:
                var = self._variables[owner]
                parts += self._slices(var, (stretch - self._starts[var.name]).tolist())
        return self.builder.concat(parts)

    def _constant(self, numbers: Array) -> Var:
        """A variable of constants: 0 times an input plus them, as a Program has no other constants."""
        entry = self.builder.slice(self.builder.inputs[0], 0, 1)
        return self.builder.affine(entry, np.zeros((len(numbers), 1)), _finite(numbers))

    def _slices(self, var: Var, entries: list[int]) -> Iterator[Var]:
        """Variables that together have some entries of `var` in their order."""
        for start, size, repeats in _runs(entries):
            part = self.builder.slice(var, start, size)
            yield part if repeats == 1 else self.builder.affine(part, np.ones((repeats, 1)), np.zeros(repeats))


def _finite(c: Constant) -> Array:
    array = np.asarray(c, dtype=np.float64)
    if not np.isfinite(array).all():
        raise Refusal("a constant is a NaN or an infinity; expected: finite numbers")
    return array


def _bits(c: Array) -> Table:
    """Integers that are equal where the numbers are."""
    return np.ascontiguousarray(c + 0.0).view(np.int64)


def _separated(rows: Table) -> tuple[Table, Table]:
    """The point of each row of a table (rows, k), -1 where all is constant, and the rows without their points."""
    points = np.where(rows < 0, -1, rows // ROW)
    point = points.max(axis=1, initial=-1)
    if not ((points < 0) | (points == point[:, None])).all():
        raise Refusal(MIXES)
    return point, np.where(rows < 0, rows, rows % ROW)


def _distinct(rows: Table) -> tuple[Table, Table]:
    """The places of the distinct rows where each is first, in this order, and which of them each row is."""
    _, first, same = np.unique(rows, axis=0, return_index=True, return_inverse=True)
    order = np.argsort(first)
    return first[order], np.argsort(order)[same.reshape(-1)]


def _runs(entries: list[int]) -> Iterator[tuple[int, int, int]]:
    """Split entries into stretches (start, size, repeats) that count up from `start`, or repeat it."""
    at = 0
    while at < len(entries):
        step = entries[at + 1] - entries[at] if at + 1 < len(entries) else 1
        step = step if step in (0, 1) else 1
        end = at + 1
        while end < len(entries) and entries[end] - entries[end - 1] == step:
            end += 1
        yield (entries[at], end - at, 1) if step else (entries[at], 1, end - at)
        at = end
