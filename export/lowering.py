"""What both schedules of a kernel share: which ops run together, and where variables and constants live."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from math import gcd
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kdpinn_edge.export.target import Vectors
from kdpinn_edge.numerics.reference import partial_sums, rounded
from kdpinn_edge.program.ir import Add, Affine, Concat, Map, Mul, Op, Program, Scale, Slice, Var, operands

LINE, SETS, WAYS = 64, 64, 8
"""Of a cache of the first level, as most are: bytes of a line, and how many sets of how many lines."""


@dataclass(frozen=True, eq=False)
class Step:
    """Ops that are evaluated together, and those of their results that are needed later.

    One op, or a *block*: matrix products that share one weight (the streams of a jet do), then elementwise ops of their
    size, done while everything is in registers. A block may lack either part.
    """

    ops: tuple[Op, ...]
    stored: tuple[Var, ...]

    @property
    def is_block(self) -> bool:
        """Whether rows of results can be computed one by one."""
        return _in_block(self.ops[0])

    @property
    def is_few(self) -> bool:
        """Whether this is a matrix product of few outputs."""
        return bool(few(self.ops[0]))

    @property
    def products(self) -> tuple[Affine, ...]:
        """The matrix products of a block, which come first."""
        return tuple(op for op in self.ops if isinstance(op, Affine))

    @property
    def size(self) -> int:
        """The size of every result."""
        return self.ops[0].out.size

    def __str__(self) -> str:
        return ", ".join(f"{op.out.name} = {_text(op)}" for op in self.ops)


def _text(op: Op) -> str:
    names = ", ".join(var.name for var in operands(op))
    return f"{op.fn if isinstance(op, Map) else type(op).__name__.lower()}({names})"


def fuse(program: Program, streams: int, *, finished: int) -> list[Step]:
    """The ops of `program` as steps, in an order in which they can run.

    A block has at most `streams` products; with `finished` of them or more, what follows is done in the same step.
    """
    groups: list[list[Op]] = []
    waiting = list(program.ops)
    done = {var.name for var in program.inputs}
    while waiting:
        group = _together(waiting, done, streams, finished)
        groups.append(group)
        waiting = [op for op in waiting if op not in group]
        done |= {op.out.name for op in group}
    steps = []
    needed = {var.name for var in program.outputs}
    for group in reversed(groups):
        steps.append(Step(tuple(group), tuple(op.out for op in group if op.out.name in needed)))
        needed |= {var.name for op in group for var in operands(op)}
    return steps[::-1]


def _together(waiting: Sequence[Op], done: set[str], streams: int, finished: int) -> list[Op]:
    """The first op that waits, and what can run with it when the variables in `done` are known."""
    first = waiting[0]
    if not _in_block(first):
        return [first]
    group = [first]
    if isinstance(first, Affine):
        group += [op for op in waiting[1:] if op.out.size == first.out.size and _is_stream(op, first, done)]
        group = group[:streams]
        if len(group) < finished:
            return group
    inside = {op.out.name for op in group}
    for op in waiting:
        names = {var.name for var in operands(op)}
        if isinstance(op, Scale | Map | Add | Mul) and op not in group and names & inside and names <= inside | done:
            group.append(op)
            inside.add(op.out.name)
    return group


def _is_stream(op: Op, first: Affine, done: set[str]) -> bool:
    return isinstance(op, Affine) and op.x.name in done and np.array_equal(op.weight, first.weight)


def _in_block(op: Op) -> bool:
    return not isinstance(op, Concat | Slice) and not few(op)


def few(op: Op) -> int:
    """The partial sums of an Affine whose outputs are so few that terms, not neurons, fill the lanes; else 0."""
    sums = partial_sums(op.x.size, op.out.size) if isinstance(op, Affine) else 0
    return sums if sums > 2 else 0


def is_view(program: Program, op: Op) -> bool:
    """Whether the result of `op` already lies in memory: a Slice, or all inputs one after another."""
    return isinstance(op, Slice) or (isinstance(op, Concat) and op.xs == program.inputs)


class Memory:
    """Where each variable lives in the scratch memory: a buffer is used again once its last reader has run.

    `extent(op)` is the room that the result of an op needs; the inputs need `n_in` and come first.
    """

    def __init__(self, program: Program, steps: Sequence[Step], extent: Callable[[Op], int], n_in: int) -> None:
        self.at: dict[str, int] = {}
        self.size = n_in
        free: list[tuple[int, int]] = []
        buffers = {"": (0, n_in)}
        owner = {var.name: "" for var in program.inputs}
        stored = [[op for op in step.ops if op.out in step.stored] for step in steps]
        for op in (op for ops in stored for op in ops):
            owner[op.out.name] = owner[operands(op)[0].name] if is_view(program, op) else op.out.name
        last = {owner[op.out.name]: i for i, ops in enumerate(stored) for op in ops}
        reads = ((i, var.name) for i, step in enumerate(steps) for op in step.ops for var in operands(op))
        last |= {owner[name]: i for i, name in reads if name in owner}
        last |= {owner[var.name]: len(steps) for var in program.outputs}

        ends = np.cumsum([var.size for var in program.inputs])
        self.at |= {var.name: int(end) - var.size for var, end in zip(program.inputs, ends, strict=True)}
        for i, ops in enumerate(stored):
            for op in ops:
                if is_view(program, op):
                    start = op.start if isinstance(op, Slice) else 0
                    self.at[op.out.name] = self.at[operands(op)[0].name] + start
                else:
                    buffers[op.out.name] = self._take(free, extent(op))
                    self.at[op.out.name] = buffers[op.out.name][0]
            free += [buffers.pop(name) for name in [name for name in buffers if last.get(name, -1) <= i]]

    def _take(self, free: list[tuple[int, int]], size: int) -> tuple[int, int]:
        for i, (_, room) in enumerate(free):
            if room >= size:
                return free.pop(i)
        self.size += size
        return self.size - size, size


class Constants:
    """The weights and biases of a kernel's Programs as one array, each on a vector boundary, equal ones once.

    A matrix is stored by columns, each padded with zeros to whole vectors: neurons fill the lanes. That of a layer
    with few outputs is stored by rows: terms fill the lanes. They are computed with in `precision`, and lie in memory
    as `storage` says.
    """

    def __init__(self, precision: str, vectors: Vectors, storage: str | None = None) -> None:
        storage = storage or precision
        self.vectors = vectors
        self._bytes = np.dtype(precision).itemsize
        self._parts: list[NDArray[Any]] = []
        self._size = 0
        self._storage = storage
        self.widens = storage == "float16"
        self._found: dict[bytes, int] = {}
        self._places: dict[Op, tuple[int, int]] = {}

    def place(self, steps: Iterable[Step]) -> None:
        """Give the parameters of `steps` a place each."""
        self._places |= {op: self._place(op) for step in steps for op in step.ops}

    @property
    def numbers(self) -> NDArray[Any]:
        """All of them, as they are stored."""
        return np.concatenate([np.zeros(0), *self._parts]).astype(self._storage)

    def of(self, op: Op) -> tuple[int, int]:
        """Where the weight and the bias of `op` begin."""
        return self._places[op]

    def padded(self, size: int) -> int:
        """`size` rounded up to whole vectors, or to a power of two below one vector."""
        return (
            -(-size // self.vectors.lanes) * self.vectors.lanes
            if size >= self.vectors.lanes
            else 1 << (size - 1).bit_length()
        )

    def strides(self, op: Affine) -> tuple[int, int]:
        """How far apart the weights of neighbouring outputs, and of neighbouring terms, are.

        A tile reads one line of every column for some rows, and again for the next: columns are a vector further apart
        than they need to be where they would share so few sets of a cache that these lines displace each other.
        """
        n_out, n_in = op.weight.shape
        if few(op):
            return n_in + -n_in % few(op), 1
        down = self.padded(n_out)
        sets = SETS // gcd(down * self._bytes // LINE, SETS)
        return 1, down + (self.vectors.lanes if n_in > sets * WAYS else 0)

    def _place(self, op: Op) -> tuple[int, int]:
        match op:
            case Affine(weight=weight, bias=bias):
                across, down = self.strides(op)
                n_out, n_in = weight.shape
                if few(op):
                    return self._keep(np.pad(weight, ((0, 0), (0, across - n_in)))), self._keep(bias)
                matrix = self._keep(np.pad(weight.T, ((0, 0), (0, down - n_out))))
                return matrix, 0 if is_zero(bias) else self._keep(self._pad(bias))
            case Scale(weight=weight, bias=bias):
                return self._unless_uniform(weight), self._unless_uniform(bias)
            case _:
                return 0, 0

    def _unless_uniform(self, vector: NDArray[Any]) -> int:
        return 0 if self.uniform(vector) else self._keep(self._pad(vector))

    def uniform(self, vector: NDArray[Any]) -> str | None:
        """The number that every entry is, to the bit, as text, if there is one: the code then says it."""
        numbers = rounded(vector, self._storage)
        return repr(float(numbers[0])) if numbers.tobytes() == numbers[:1].tobytes() * numbers.size else None

    def varies(self, op: Op) -> bool:
        """Whether an elementwise op has other numbers in every row."""
        return isinstance(op, Scale) and None in (self.uniform(op.weight), self.uniform(op.bias))

    def _pad(self, vector: NDArray[Any]) -> NDArray[Any]:
        return np.pad(vector, (0, self.padded(vector.size) - vector.size))

    def _keep(self, array: NDArray[Any]) -> int:
        flat = rounded(array, self._storage).ravel()
        flat = np.pad(flat, (0, -flat.size % self.vectors.lanes))
        at = self._found.setdefault(flat.tobytes(), self._size)
        if at == self._size:
            self._parts.append(flat)
            self._size += flat.size
        return at


def is_zero(vector: NDArray[Any]) -> bool:
    """Whether every entry is +0."""
    return not any(vector.tobytes())
