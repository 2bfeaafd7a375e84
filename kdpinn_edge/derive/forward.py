"""Forward mode: the derivative of a Program along one input column is a Program too.

    out = W x + b      D out = W Dx                 the same W: a kernel loads it once for all streams of a layer
    out = w * x + b    D out = w * Dx
    out = f(x)         D out = f′(x) * Dx
    out = a * b        D out = Da * b + a * Db
    out = a if c > 0 else b      D out = Da if c > 0 else Db
    Add, Concat and Slice are linear. f′ is written in the record of f, in `kdpinn_edge/functions`.

A derivative starts as a one among zeros, which stay constants for as long as they can: see `streams.py`.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from kdpinn_edge.derive.names import Derivative, Names, spelled
from kdpinn_edge.derive.streams import Draft, Stream, is_zero, joined, zeros
from kdpinn_edge.errors import DerivativeError, did_you_mean
from kdpinn_edge.functions import slopes
from kdpinn_edge.functions.slope import values
from kdpinn_edge.program.ir import (
    Add,
    Affine,
    Concat,
    Map,
    Mul,
    Op,
    Program,
    Scale,
    Select,
    Slice,
    Var,
    columns,
    unknown,
)
from kdpinn_edge.program.simplify import simplify

Factor = Callable[[Draft, Map, int, int], Stream]


def tangent(program: Program, column: str) -> Program:
    """The outputs of `program`, followed by the derivative of each with respect to the input `column`; simplified.

    `column` is one of `columns(program.inputs)`: "x", or "x[0]" where x has several entries. The derivative of u is
    called u_x, that of u_x then u_xx, and that of u_t is u_xt; where that name is taken, a number follows.
    Raises DerivativeError for a column that is none, ProgramError where `program` is malformed.
    """
    known = columns(program.inputs)
    if column not in known:
        raise DerivativeError(
            f"{column!r} is no input column; expected: {', '.join(known)}{did_you_mean(column, known)}"
        )
    program = simplify(program)
    draft = Draft(program)
    along = Tangent.along(draft, program.inputs, column)
    near = draft.column(program.inputs, column)
    outputs = {var.name: var for var in program.outputs}
    for var in program.outputs:
        outputs[_name(program, var, column, {*outputs})] = draft.whole(along.of(var), near)
    return simplify(draft.with_outputs(outputs))


def _name(program: Program, var: Var, column: str, taken: set[str]) -> str:
    others = tuple(other.name for other in program.outputs if other != var)
    names = Names(columns(program.inputs), others)
    match [term for term in names.readings(var.name) if isinstance(term, Derivative) and term.multi_index]:
        case [Derivative(base, multi_index)]:
            new = spelled(base, sorted((*multi_index, column), key=names.inputs.index))
        case _:
            new = spelled(var.name, (column,))
    taken = taken | {var.name for var in program.inputs}
    numbered = (f"{new}_{k}" for k in range(2, len(taken) + 3))
    return next(name for name in (new, *numbered) if name not in taken)


class Tangent:
    """The derivatives along one direction of the variables of a draft: of those in `known` as given, of others by rule.

    They are made when they are asked for.
    """

    def __init__(self, draft: Draft, known: dict[str, Stream]) -> None:
        self.draft = draft
        self._known = known

    @classmethod
    def along(cls, draft: Draft, inputs: tuple[Var, ...], column: str) -> Tangent:
        """The derivatives with respect to an input column."""
        return cls(draft, {var.name: seed(var, column) for var in inputs})

    def of(self, var: Var) -> Stream:
        """The derivative of `var`."""
        for op in self.draft.below(var, self._known):
            self._known[op.out.name] = self._rule(op)
        return self._known[var.name]

    def _rule(self, op: Op) -> Stream:
        draft, known = self.draft, self._known
        match op:
            case Affine(x=x, weight=weight):
                return draft.affine(weight, known[x.name])
            case Scale(x=x, weight=weight):
                return draft.scale(known[x.name], weight)
            case Map():
                return self.map(op)
            case Add(a=a, b=b):
                return draft.add(known[a.name], known[b.name])
            case Mul():
                return self.mul(op)
            case Select(c=c, a=a, b=b):
                return draft.select(c, known[a.name], known[b.name])
            case Concat(xs=xs):
                return joined(known[x.name] for x in xs)
            case Slice(out=out, x=x, start=start):
                return draft.cut(known[x.name], start, out.size)
            case _:
                raise unknown(op)

    def map(self, op: Map) -> Stream:
        """f′(x) * Dx."""
        return chained(self.draft, op, slope, self._known[op.x.name])

    def mul(self, op: Mul) -> Stream:
        """Da * b + a * Db."""
        a, b = op.a, op.b
        one = self.draft.mul(self._known[a.name], (b,))
        return self.draft.add(one, one if a == b else self.draft.mul((a,), self._known[b.name]))


def seed(var: Var, column: str) -> Stream:
    """The derivative of the input `var` by the input `column`: ones and zeros."""
    return joined((np.full(1, float(name == column)),) for name in columns((var,)))


def chained(draft: Draft, op: Map, factor: Factor, stream: Stream) -> Stream:
    """factor * stream, in the entries where `stream` is not zero; `factor` is `slope` or `curvature`."""
    return joined(
        (piece,) if is_zero(piece) else draft.mul(factor(draft, op, start, piece.size), (piece,))
        for start, (piece,) in draft.aligned(stream)
    )


def slope(draft: Draft, op: Map, start: int, size: int) -> Stream:
    """f′(x), in the entries from `start` on."""
    x, y = draft.part(op.x, start, size), draft.part(op.out, start, size)
    (found,) = values(slopes(op.fn, 1), _Streams(draft, size), (x,), (y,))
    return found


class _Streams:
    """What a slope means on the streams of a draft, of `size` entries."""

    def __init__(self, draft: Draft, size: int) -> None:
        self._draft = draft
        self._size = size

    def number(self, value: float) -> Stream:
        return (np.full(self._size, value),)

    def scaled(self, a: Stream, weight: float, bias: float) -> Stream:
        return self._draft.scale(a, np.full(self._size, weight), np.full(self._size, bias))

    def sum(self, a: Stream, b: Stream) -> Stream:
        return self._draft.add(a, b)

    def product(self, a: Stream, b: Stream) -> Stream:
        return self._draft.mul(a, b)

    def applied(self, fn: str, a: Stream) -> Stream:
        return self._draft.map(a, fn)


def curvature(draft: Draft, op: Map, start: int, size: int) -> Stream:
    """f″(x), in the entries from `start` on: the tangent of f′ along x."""
    x, y = draft.part(op.x, start, size), draft.part(op.out, start, size)
    first = slope(draft, op, start, size)
    along_x = Tangent(draft, {x.name: (np.ones(size),), y.name: first})
    return joined(along_x.of(piece) if isinstance(piece, Var) else zeros(piece.size) for piece in first)
