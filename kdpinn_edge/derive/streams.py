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

from kdpinn_edge.functions import find_function
from kdpinn_edge.program.builder import Builder
from kdpinn_edge.program.ir import Array, Op, Program, Var, columns

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
        self._name = program.name
        self._builder = Builder.of(program)

    def column(self, variables: tuple[Var, ...], name: str) -> Var:
        """The variable of size 1 that holds the column `name` of the inputs or outputs `variables`."""
        for var in variables:
            if name in columns((var,)):
                return self.part(var, columns((var,)).index(name), 1)
        raise KeyError(name)

    def with_outputs(self, outputs: Mapping[str, Var]) -> Program:
        """The Program with these outputs: a variable that has another name than its output is copied to it."""
        return self._builder.program(self._name, outputs)

    def below(self, var: Var, known: Container[str]) -> list[Op]:
        """The operations that `var` is made by, in order, as far as their results are not in `known`."""
        return self._builder.below(var, known)

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
        operand = self._builder.concat([piece for piece, _ in read])
        return (self._builder.affine(operand, weight, bias),)

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

    def select(self, c: Var, a: Stream, b: Stream) -> Stream:
        """The entries of a where c > 0, and those of b elsewhere."""
        return joined((self._selected(self.part(c, start, p.size), p, q),) for start, (p, q) in self.aligned(a, b))

    def map(self, x: Stream, fn: str) -> Stream:
        """The function fn(x), elementwise."""
        return joined((self._mapped(piece, fn),) for piece in x)

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
        return self._builder.slice(x, start, size)

    def aligned(self, *streams: Stream) -> Iterator[tuple[int, tuple[Piece, ...]]]:
        """Streams of one length, cut at the bounds of all their pieces: (start, one piece of each)."""
        bounds = sorted({0}.union(*(np.cumsum([piece.size for piece in stream]).tolist() for stream in streams)))
        for start, end in pairwise(bounds):
            yield start, tuple(self.cut(stream, start, end - start)[0] for stream in streams)

    def whole(self, x: Stream, column: Var) -> Var:
        """The stream x as one variable. A constant is 0 * tanh(column) + constant: infinity is harmless, NaN stays."""
        parts = [piece if isinstance(piece, Var) else self._constant(piece, column) for piece in x]
        return self._builder.concat(parts)

    def _constant(self, values: Array, column: Var) -> Var:
        bounded = self._builder.map(column, "tanh")
        return self._builder.affine(bounded, np.zeros((values.size, 1)), values)

    def _selected(self, c: Var, a: Piece, b: Piece) -> Piece:
        """A constant on one side is 0 * c + constant."""
        if a is b or (not isinstance(a, Var) and not isinstance(b, Var) and np.array_equal(a, b)):
            return a
        sides = [x if isinstance(x, Var) else self._builder.scale(c, np.zeros(c.size), x) for x in (a, b)]
        return self._builder.select(c, *sides)

    def _mapped(self, piece: Piece, fn: str) -> Piece:
        return self._builder.map(piece, fn) if isinstance(piece, Var) else find_function(fn).exact(piece)

    def _scaled(self, piece: Piece, weight: Array, bias: Array) -> Piece:
        if not isinstance(piece, Var):
            return weight * piece + bias
        if not weight.any():
            return bias
        if (weight == 1).all() and not bias.any():
            return piece
        return self._builder.scale(piece, weight, bias)

    def _sum(self, a: Piece, b: Piece) -> Piece:
        match a, b:
            case Var(), Var() if a == b:
                return self._scaled(a, np.full(a.size, 2.0), np.zeros(a.size))
            case Var(), Var():
                return self._builder.add(a, b)
            case Var(), np.ndarray():
                return self._scaled(a, np.ones(a.size), b)
            case np.ndarray(), _:
                return self._scaled(b, np.ones(b.size), a)
        raise AssertionError(a, b)

    def _product(self, a: Piece, b: Piece) -> Piece:
        match a, b:
            case Var(), Var():
                return self._builder.mul(a, b)
            case Var(), np.ndarray():
                return self._scaled(a, b, np.zeros(a.size))
            case np.ndarray(), _:
                return self._scaled(b, a, np.zeros(b.size))
        raise AssertionError(a, b)
