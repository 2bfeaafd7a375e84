"""`Tensors`: arrays of any shape, of numbers that a Program calculates for each point.

A Program knows vectors; a network is written with tensors, which have an axis of points somewhere. A Tensor is an array
of entry numbers: each element says which entry of which variable of the Program it holds, and for which point. So
whatever only moves numbers (reshape, slice, concatenate, …) is any function of NumPy on that array, and costs nothing
until the numbers are calculated with. It has a few points, and each must keep to itself: what mixes points shows there.

    tensors = Tensors(builder)
    x = tensors.tensor(var)                                    (points, var.size)
    h = tensors.map(tensors.add(tensors.matmul(x, W), b), "tanh")
    y = tensors.move(np.transpose, h)
    builder.program("p", {"y": tensors.vector(y)})

Operands are Tensors and constants, which NumPy broadcasts against each other; an operation on constants alone is done
at once and gives a constant.
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
"""The entry numbers of point p are p * ROW, p * ROW + 1, …; those of constants are negative, whatever the point."""


class Refusal(Exception):  # noqa: N818
    """Why one operation cannot be captured, and what to write instead."""


MIXES = "it mixes points across the batch, or drops some: work on the columns only"
PER_POINT = "a constant differs from point to point: use constants of shape (k,) or (1, k)"


@dataclass(frozen=True, eq=False)
class Tensor:
    """An array that depends on the point: `table` has its shape, and says what each element holds.

    At least one element is the entry of a variable. The points lie along `axis` in their order, and each element of
    the first point belongs to the same entry, or constant, of every other; `axis` is None where a table of one point
    has no axis for it.
    """

    table: Table
    points: int

    def __post_init__(self) -> None:
        _ = self.axis

    @cached_property
    def axis(self) -> int | None:
        """The axis of points."""
        if self.points == 1:
            return None
        row = ROW * np.arange(self.points)
        for axis in (i for i, size in enumerate(self.table.shape) if size == self.points):
            rows = np.moveaxis(self.table, axis, -1)
            variable = rows >= 0
            if (~variable | (rows == rows[..., :1] + row)).all() and (variable == variable[..., :1]).all():
                if not (variable | (rows == rows[..., :1])).all():
                    raise Refusal(PER_POINT)
                return axis
        raise Refusal(MIXES)

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape, with the axis of points."""
        return self.table.shape

    @property
    def entries(self) -> Table:
        """The table of the first point, without the axis of points."""
        return self.table if self.axis is None else np.asarray(self.table.take(0, self.axis))

    def filled(self, entries: Table) -> Tensor:
        """The Tensor of the same axis of points with other entries, in the shape of `entries`."""
        if self.axis is None:
            return Tensor(entries, 1)
        row = ROW * np.arange(self.points).reshape(-1, *(1 for _ in entries.shape))
        return Tensor(np.moveaxis(np.where(entries < 0, entries, entries + row), 0, self.axis), self.points)

    def broadcast(self, shape: tuple[int, ...]) -> Tensor:
        """The Tensor in a larger shape."""
        return self if shape == self.shape else Tensor(np.broadcast_to(self.table, shape), self.points)


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
        start = self._start(var)
        entries = np.arange(start, start + var.size).reshape((var.size,) if shape is None else shape)
        if self.points == 1:
            return Tensor(entries, 1)
        row = ROW * np.arange(self.points).reshape(-1, *(1 for _ in entries.shape))
        return Tensor(np.moveaxis(entries + row, 0, axis), self.points)

    def vector(self, x: Operand) -> Var:
        """A variable with just the numbers of x for one point, row-major."""
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
        distinct, where = np.unique(_finite(x), return_inverse=True)
        numbers = [self._constants.setdefault(number, -1 - len(self._constants)) for number in distinct.tolist()]
        return np.array(numbers, dtype=np.int64)[where].reshape(np.shape(x))

    def value(self, table: ArrayLike) -> Value:
        """The Tensor, or the constant, that a table stands for whose elements were moved.

        Raises Refusal where it mixes points.
        """
        table = np.asarray(table, dtype=np.int64)
        return self._numbers(table) if (table < 0).all() else Tensor(table, self.points)

    def concatenate(self, values: Sequence[Operand], axis: int) -> Value:
        """The values one after another along an axis."""
        return self.move(lambda *tables: np.concatenate(tables, axis), *values)

    # Elementwise

    def map(self, x: Operand, function: str) -> Value:
        """A function of the Program, of every element."""
        if isinstance(x, Tensor):
            return self._by_entry(lambda var: self.builder.map(var, function), x)
        with np.errstate(all="ignore"):
            return find_function(function).exact(np.asarray(x, dtype=np.float64))

    def select(self, c: Operand, a: Operand, b: Operand) -> Value:
        """The value of a where c > 0, else that of b."""
        if not isinstance(c, Tensor):
            return self.move(lambda a, b: np.where(np.greater(c, 0), a, b), a, b)
        c = self._before_step(c)
        shape = np.broadcast_shapes(c.shape, shape_of(a), shape_of(b))
        sides = (self.table(each) for each in (a, b))
        tables = [np.broadcast_to(each, shape) for each in (c.table, *sides)]
        whole = Tensor(np.stack(tables, axis=-1), self.points)
        operands = [self._vector(whole.entries[..., i].reshape(-1)) for i in range(3)]
        return c.broadcast(shape).filled(self._made(self.builder.select(*operands), whole.entries.shape[:-1]))

    def scale(self, x: Operand, weight: Constant, bias: Constant = 0.0) -> Value:
        """The value weight * x + bias, with constants."""
        if not isinstance(x, Tensor):
            return np.asarray(np.multiply(weight, x) + bias)
        shape = np.broadcast_shapes(x.shape, np.shape(weight), np.shape(bias))
        x = x.broadcast(shape)
        constants = _row(weight, x).reshape(-1), _row(bias, x).reshape(-1)
        return x.filled(self._made(self.builder.scale(self.vector(x), *constants), x.entries.shape))

    def negative(self, x: Operand) -> Value:
        """The value -x."""
        return self.scale(x, -1.0)

    def add(self, a: Operand, b: Operand) -> Value:
        """The sum a + b."""
        if not isinstance(b, Tensor):
            return self.scale(a, 1.0, b)
        return self._by_entry(self.builder.add, a, b) if isinstance(a, Tensor) else self.scale(b, 1.0, a)

    def subtract(self, a: Operand, b: Operand) -> Value:
        """The difference a - b."""
        return self.add(a, self.negative(b))

    def multiply(self, a: Operand, b: Operand) -> Value:
        """The product a * b."""
        if not isinstance(b, Tensor):
            return self.scale(a, b)
        return self._by_entry(self.builder.mul, a, b) if isinstance(a, Tensor) else self.scale(b, a)

    def divide(self, a: Operand, b: Operand) -> Value:
        """The quotient a / b."""
        if isinstance(b, Tensor):
            return self.multiply(a, self.reciprocal(b))
        with np.errstate(divide="ignore", invalid="ignore"):
            return self.scale(a, 1 / np.asarray(b, dtype=np.float64))

    def reciprocal(self, x: Operand) -> Value:
        """The value 1 / x; for x = a + b z², a and b positive constants, it is lorentzian(√(b / a) z) / a."""
        if not isinstance(x, Tensor):
            return self.divide(1.0, x)
        var = self.vector(x)
        weight, bias = np.ones(var.size), np.zeros(var.size)
        made_by = self.builder.made_by(var)
        while isinstance(made_by, Scale):
            weight, bias = weight * made_by.weight, weight * made_by.bias + bias
            made_by = self.builder.made_by(made_by.x)
        match made_by:
            case Mul(a=z, b=other) if z == other and (weight > 0).all() and (bias > 0).all():
                scaled = self.builder.scale(z, np.sqrt(weight / bias), np.zeros(z.size))
                bell = self.builder.map(scaled, "lorentzian")
                bell = self.builder.scale(bell, 1 / bias, np.zeros(z.size))
                return x.filled(self._made(bell, x.entries.shape))
        return self.map(x, "reciprocal")

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
            return self.contract(self.multiply(a, b), 1.0) if isinstance(b, Tensor) else self._weighted(a, b)
        return self._weighted(b, a) if isinstance(b, Tensor) else np.asarray(np.multiply(a, b).sum(-1))

    def sum(self, x: Operand, axes: Sequence[int] | None = None, *, keepdims: bool = False) -> Value:
        """The sum over some axes of columns, by default over all axes."""
        return self.reduce(lambda terms: self.contract(terms, 1.0), x, axes, keepdims=keepdims)

    def mean(self, x: Operand, axes: Sequence[int] | None = None, *, keepdims: bool = False) -> Value:
        """The mean over some axes of columns, by default over all axes."""
        return self.reduce(lambda terms: self.contract(terms, 1 / terms.shape[-1]), x, axes, keepdims=keepdims)

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

    def _weighted(self, x: Tensor, weight: Constant) -> Value:
        """The sum of weight * x over the last axis: one Affine for all sums of the same entries."""
        x = x.broadcast(np.broadcast_shapes(x.shape, np.shape(weight)))
        if x.axis == x.table.ndim - 1:
            raise Refusal(MIXES)
        terms, weights = x.entries, _row(weight, x)
        shape, n = terms.shape[:-1], terms.shape[-1]
        terms, weights = terms.reshape(-1, n), weights.reshape(-1, n)
        rows: dict[bytes, list[int]] = {}
        for i, row in enumerate(terms):
            rows.setdefault(row.tobytes(), []).append(i)
        result = np.empty(len(terms), dtype=np.int64)
        for same in rows.values():
            out = self.builder.affine(self._vector(terms[same[0]]), weights[same], np.zeros(len(same)))
            result[same] = self._made(out, (len(same),))
        return x.filled(result.reshape(shape))

    def _before_step(self, c: Tensor) -> Tensor:
        """The argument of step where c is one, as either is positive where the other is."""
        entries = c.entries
        for var in {self._variables[i] for i in np.unique(self._owners(entries)) if i >= 0}:
            made_by, start = self.builder.made_by(var), self._starts[var.name]
            if not (isinstance(made_by, Map) and made_by.fn == "step"):
                return c
            inside = (entries >= start) & (entries < start + made_by.x.size)
            entries = np.where(inside, entries - start + self._start(made_by.x), entries)
        return c.filled(entries)

    def _owners(self, entries: Table) -> Table:
        """The places in `_variables` of the variables that entries are of; -1 for constants."""
        starts = np.fromiter(self._starts.values(), dtype=np.int64)
        return np.where(entries < 0, -1, np.searchsorted(starts, entries, side="right") - 1)

    def _by_entry(self, apply: Callable[..., Var], *operands: Tensor) -> Tensor:
        """`apply` of the builder, on vectors of the entries of the operands."""
        shape = np.broadcast_shapes(*(x.shape for x in operands))
        operands = tuple(x.broadcast(shape) for x in operands)
        first = operands[0]
        if any(x.axis != first.axis for x in operands):
            raise Refusal(MIXES)
        return first.filled(self._made(apply(*map(self.vector, operands)), first.entries.shape))

    def _made(self, var: Var, shape: Sequence[int]) -> Table:
        """The entry numbers of a variable, in a shape."""
        start = self._start(var)
        return np.arange(start, start + var.size).reshape(shape)

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
        return self.builder.affine(entry, np.zeros((len(numbers), 1)), numbers)

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


def _row(c: Constant, x: Tensor) -> Array:
    """The elements of a constant, broadcast to the shape of x, for one point: the same for all points, and finite."""
    array = np.broadcast_to(_finite(c), x.shape)
    if x.axis is None:
        return array
    rows = np.moveaxis(array, x.axis, 0)
    if not (rows == rows[:1]).all():
        raise Refusal(PER_POINT)
    row: Array = rows[0]
    return row


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
