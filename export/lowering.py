"""What both schedules of a kernel share: fused steps, and where variables and constants live."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kdpinn_edge.ir import Affine, Concat, Map, Op, Program, Scale, Slice, Var, operands
from kdpinn_edge.numpy_program import partial_sums, rounded

VECTORS_PER_TILE = 2


@dataclass(frozen=True)
class Step:
    """An op whose result is `out`; `fn` is applied to it while it is still in registers ("" for none)."""

    op: Op
    out: Var
    fn: str = ""

    def __str__(self) -> str:
        names = ", ".join(var.name for var in operands(self.op))
        text = f"{self.op.fn if isinstance(self.op, Map) else type(self.op).__name__.lower()}({names})"
        return f"{self.out} = {self.fn}({text})" if self.fn else f"{self.out} = {text}"


def fuse(program: Program) -> list[Step]:
    """The ops in order; a Map that is the only reader of an Affine is joined to it."""
    readers: dict[str, list[Op]] = {var.name: [] for var in program.inputs}
    for op in program.ops:
        readers[op.out.name] = []
        for var in operands(op):
            readers[var.name].append(op)
    outputs = {var.name for var in program.outputs}
    joined: dict[str, Map] = {}
    for op in program.ops:
        match op, readers[op.out.name]:
            case Affine(out=out), [Map() as reader] if out.name not in outputs:
                joined[out.name] = reader
    inside = {reader.out.name for reader in joined.values()}
    return [
        Step(op, joined[op.out.name].out, joined[op.out.name].fn) if op.out.name in joined else Step(op, op.out)
        for op in program.ops
        if op.out.name not in inside
    ]


def is_view(program: Program, op: Op) -> bool:
    """Whether the result of `op` already lies in memory: a Slice, or all inputs one after another."""
    return isinstance(op, Slice) or (isinstance(op, Concat) and op.xs == program.inputs)


class Memory:
    """Where each variable lives in the scratch memory: a buffer is used again once its last reader has run.

    `extent(step)` is the room that the result of a step needs; the inputs need `n_in` and come first.
    """

    def __init__(self, program: Program, steps: Sequence[Step], extent: Callable[[Step], int], n_in: int) -> None:
        self.at: dict[str, int] = {}
        self.size = n_in
        free: list[tuple[int, int]] = []
        buffers = {"": (0, n_in)}
        owner = {var.name: "" for var in program.inputs}
        for step in steps:
            owner[step.out.name] = owner[operands(step.op)[0].name] if is_view(program, step.op) else step.out.name
        last = {owner[step.out.name]: i for i, step in enumerate(steps)}
        last |= {owner[var.name]: i for i, step in enumerate(steps) for var in operands(step.op)}
        last |= {owner[var.name]: len(steps) for var in program.outputs}

        ends = np.cumsum([var.size for var in program.inputs])
        self.at |= {var.name: int(end) - var.size for var, end in zip(program.inputs, ends, strict=True)}
        for i, step in enumerate(steps):
            if is_view(program, step.op):
                start = step.op.start if isinstance(step.op, Slice) else 0
                self.at[step.out.name] = self.at[operands(step.op)[0].name] + start
            else:
                buffer = self._take(free, extent(step))
                buffers[step.out.name] = buffer
                self.at[step.out.name] = buffer[0]
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
    with few outputs is stored by rows: terms fill the lanes.
    """

    def __init__(self, storage: str, V: int) -> None:
        self.V = V
        self.L = VECTORS_PER_TILE * V
        self._parts: list[NDArray[Any]] = []
        self._size = 0
        self._storage = storage
        self.widens = storage == "float16"
        self._found: dict[bytes, int] = {}
        self._places: dict[Op, tuple[int, int]] = {}

    def place(self, steps: Sequence[Step]) -> None:
        """Give the parameters of `steps` a place each."""
        self._places |= {step.op: self._place(step.op) for step in steps}

    @property
    def numbers(self) -> NDArray[Any]:
        """All of them, as they are stored."""
        return np.concatenate([np.zeros(0), *self._parts]).astype(self._storage)

    def of(self, step: Step) -> tuple[int, int]:
        """Where the weight and the bias of `step` begin."""
        return self._places[step.op]

    def padded(self, size: int) -> int:
        """`size` rounded up to whole vectors, or to a power of two below one vector."""
        return -(-size // self.V) * self.V if size >= self.V else 1 << (size - 1).bit_length()

    def strides(self, op: Affine) -> tuple[int, int]:
        """How far apart the weights of neighbouring outputs, and of neighbouring terms, are."""
        n_out, n_in = op.weight.shape
        return (n_in + -n_in % few(op), 1) if few(op) else (1, self.padded(n_out))

    def _place(self, op: Op) -> tuple[int, int]:
        match op:
            case Affine(weight=weight, bias=bias):
                across, down = self.strides(op)
                n_out, n_in = weight.shape
                if few(op):
                    return self._keep(np.pad(weight, ((0, 0), (0, across - n_in)))), self._keep(bias)
                return self._keep(np.pad(weight.T, ((0, 0), (0, down - n_out)))), self._keep(self._pad(bias))
            case Scale(weight=weight, bias=bias):
                return self._keep(self._pad(weight)), self._keep(self._pad(bias))
            case _:
                return 0, 0

    def _pad(self, vector: NDArray[Any]) -> NDArray[Any]:
        return np.pad(vector, (0, self.padded(vector.size) - vector.size))

    def _keep(self, array: NDArray[Any]) -> int:
        flat = rounded(array, self._storage).ravel()
        flat = np.pad(flat, (0, -flat.size % self.V))
        at = self._found.setdefault(flat.tobytes(), self._size)
        if at == self._size:
            self._parts.append(flat)
            self._size += flat.size
        return at


def few(op: Op) -> int:
    """The partial sums of an Affine whose outputs are so few that terms, not neurons, fill the lanes; else 0."""
    sums = partial_sums(op.x.size, op.out.size) if isinstance(op, Affine) else 0
    return sums if sums > 2 else 0
