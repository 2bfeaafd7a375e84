"""Streams: vectors known in part, and a Program that is being extended by operations on them.

    Stream = Piece*            one after another
    Piece  = Array | Var       constants, or entries that the Program computes

A derivative starts from zeros and ones. As long as they are constants no operation is made for them: nothing is
multiplied by 0 or 1, and W e₁ is a column of W.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator, Mapping
from itertools import pairwise

import numpy as np

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
    Slice,
    Var,
    columns,
    operands,
)
from kdpinn_edge.program.simplify import fresh_names, identity

Piece = Array | Var
Stream = tuple[Piece, ...]


def zeros(size: int) -> Stream:
    """A stream of `size` zeros."""
    return (np.zeros(size),)


def is_zero(piece: Piece) -> bool:
    """Whether `piece` is known to be zero."""
    return not isinstance(piece, Var) and not piece.any()


def length(stream: Stream) -> int:
    """The number of entries of `stream`."""
    return sum(piece.size for piece in stream)


def joined(streams: Iterable[Stream]) -> Stream:
    """The streams one after another; neighbouring zeros become one piece, and so do neighbouring other constants."""
    pieces: list[Piece] = []
    for piece in (piece for stream in streams for piece in stream):
        last = pieces[-1] if pieces else piece
        if not piece.size:
            continue
        if not pieces or isinstance(last, Var) or isinstance(piece, Var) or is_zero(last) != is_zero(piece):
            pieces.append(piece)
        else:
            pieces[-1] = np.concatenate([last, piece])
    return tuple(pieces)


class Draft:
    """The operations of `program`, and those added to them; an operation that is there already is not added again."""

    def __init__(self, program: Program) -> None:
        self.ops: list[Op] = list(program.ops)
        self._program = program
        self._place = {op.out.name: i for i, op in enumerate(self.ops)}
        self._found: dict[object, Var] = {}
        for op in self.ops:
            self._found.setdefault(identity(op), op.out)
        interface = (*program.inputs, *program.outputs)
        self._fresh = fresh_names({var.name for var in interface} | {*self._place})

    def column(self, variables: tuple[Var, ...], name: str) -> Var:
        """The variable of size 1 that holds the column `name` of the inputs or outputs `variables`."""
        for var in variables:
            if name in columns((var,)):
                return self.part(var, columns((var,)).index(name), 1)
        raise KeyError(name)

    def with_outputs(self, outputs: Mapping[str, Var]) -> Program:
        """The Program with these outputs: a variable that has another name than its output is copied to it."""
        named = {name: var if var.name == name else Var(name, var.size) for name, var in outputs.items()}
        copies = [Slice(out, outputs[name], 0) for name, out in named.items() if out != outputs[name]]
        return Program(self._program.name, self._program.inputs, tuple(named.values()), (*self.ops, *copies))

    def below(self, var: Var, known: Container[str]) -> list[Op]:
        """The operations that `var` is made by, in order, as far as their results are not in `known`."""
        wanted: set[int] = set()
        waiting = [var]
        while waiting:
            name = waiting.pop().name
            if name not in known and self._place[name] not in wanted:
                wanted.add(self._place[name])
                waiting += operands(self.ops[self._place[name]])
        return [self.ops[i] for i in sorted(wanted)]

    def affine(self, weight: Array, x: Stream) -> Stream:
        """weight @ x. The matrix stays whole where no entry of x is constant, so that streams of a layer share it."""
        if not weight.any():
            return zeros(len(weight))
        ends = np.cumsum([piece.size for piece in x])
        blocks = np.split(weight, ends[:-1], axis=1)
        bias = np.zeros(len(weight))
        for piece, part in zip(x, blocks, strict=True):
            if not isinstance(piece, Var):
                bias += part @ piece
        read = [(piece, part) for piece, part in zip(x, blocks, strict=True) if isinstance(piece, Var)]
        if not read:
            return (bias,)
        if len(read) < len(x):
            weight = np.concatenate([part for _, part in read], axis=1)
        operand = self.concat(tuple(piece for piece, _ in read))
        return (self._made(Affine(self._new(len(weight)), operand, weight, bias)),)

    def scale(self, x: Stream, weight: Array, bias: Array | None = None) -> Stream:
        """weight * x + bias, elementwise."""
        shift = np.zeros(length(x)) if bias is None else bias
        return joined(
            (self._scaled(piece, weight[start : start + piece.size], shift[start : start + piece.size]),)
            for start, (piece,) in self.aligned(x)
        )

    def add(self, a: Stream, b: Stream) -> Stream:
        """The sum a + b, elementwise."""
        return joined((self._sum(p, q),) for _, (p, q) in self.aligned(a, b))

    def mul(self, a: Stream, b: Stream) -> Stream:
        """The product a * b, elementwise."""
        return joined((self._product(p, q),) for _, (p, q) in self.aligned(a, b))

    def map(self, x: Var, fn: str) -> Var:
        """The function fn(x), elementwise."""
        return self._made(Map(self._new(x.size), x, fn))

    def concat(self, xs: tuple[Var, ...]) -> Var:
        """The variables one after another."""
        return xs[0] if len(xs) == 1 else self._made(Concat(self._new(sum(x.size for x in xs)), xs))

    def cut(self, x: Stream, start: int, size: int) -> Stream:
        """The entries x[start : start + size] of a stream."""
        pieces: list[Piece] = []
        for piece in x:
            low, high = max(start, 0), min(start + size, piece.size)
            if low < high:
                pieces.append(self.part(piece, low, high - low) if isinstance(piece, Var) else piece[low:high])
            start, size = max(start - piece.size, 0), size - max(high - low, 0)
        return tuple(pieces)

    def part(self, x: Var, start: int, size: int) -> Var:
        """The entries x[start : start + size] of one variable."""
        return x if size == x.size else self._made(Slice(self._new(size), x, start))

    def aligned(self, *streams: Stream) -> Iterator[tuple[int, tuple[Piece, ...]]]:
        """Streams of one length, cut at the bounds of all their pieces: (start, one piece of each)."""
        bounds = sorted({0}.union(*(np.cumsum([piece.size for piece in stream]).tolist() for stream in streams)))
        for start, end in pairwise(bounds):
            yield start, tuple(self.cut(stream, start, end - start)[0] for stream in streams)

    def whole(self, x: Stream, column: Var) -> Var:
        """The stream x as one variable. A constant is 0 * tanh(column) + constant: infinity is harmless, NaN stays."""
        parts = [piece if isinstance(piece, Var) else self._constant(piece, column) for piece in x]
        return self.concat(tuple(parts))

    def _constant(self, values: Array, column: Var) -> Var:
        bounded = self.map(column, "tanh")
        return self._made(Affine(self._new(values.size), bounded, np.zeros((values.size, 1)), values))

    def _scaled(self, piece: Piece, weight: Array, bias: Array) -> Piece:
        if not isinstance(piece, Var):
            return weight * piece + bias
        if not weight.any():
            return bias
        if (weight == 1).all() and not bias.any():
            return piece
        return self._made(Scale(self._new(piece.size), piece, weight, bias))

    def _sum(self, a: Piece, b: Piece) -> Piece:
        match a, b:
            case Var(), Var() if a == b:
                return self._scaled(a, np.full(a.size, 2.0), np.zeros(a.size))
            case Var(), Var():
                return self._made(Add(self._new(a.size), a, b))
            case Var(), np.ndarray():
                return self._scaled(a, np.ones(a.size), b)
            case np.ndarray(), _:
                return self._scaled(b, np.ones(b.size), a)
        raise AssertionError(a, b)

    def _product(self, a: Piece, b: Piece) -> Piece:
        match a, b:
            case Var(), Var():
                return self._made(Mul(self._new(a.size), a, b))
            case Var(), np.ndarray():
                return self._scaled(a, b, np.zeros(a.size))
            case np.ndarray(), _:
                return self._scaled(b, a, np.zeros(b.size))
        raise AssertionError(a, b)

    def _new(self, size: int) -> Var:
        return Var(next(self._fresh), size)

    def _made(self, op: Op) -> Var:
        """The variable that holds the result of `op`, which is added where no equal one is there."""
        found = self._found.setdefault(identity(op), op.out)
        if found is op.out:
            self._place[op.out.name] = len(self.ops)
            self.ops.append(op)
        return found
