"""`simplify(program)`: the same point map in fewer operations.

    tidy    copies are bypassed, equal operations are shared, operations that reach no output are dropped
    move    Slice and Concat read from where the numbers were made
    fold    Scale and Affine are multiplied into a neighbouring Affine
    name    variables in between are called v0, v1, … in order

The passes run until nothing changes, and each result is verified. A rewrite must keep four promises:

- it never costs multiply-adds;
- a matrix that several Affines multiply by stays one, as a kernel loads it once for all streams of a derivative; only
  rows that nobody reads are left out;
- no entry comes to depend on an entry that it did not depend on before, so that a NaN or an infinity never spreads
  further (hence Affine of Slice stays: zero columns would multiply an infinity by 0);
- it reorders sums and products of constants only. With Σ|w||x| + |b| in place of every sum, no value grows: rounding
  differs by a few units in the last place of that majorant, and where it is finite no result becomes NaN.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np

from kdpinn_edge.program.builder import fresh_names, identity
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
    operands,
    parameters,
    unknown,
)
from kdpinn_edge.program.verify import verify

AnyOp = TypeVar("AnyOp", bound=Op)


def simplify(program: Program) -> Program:
    """Return a Program of the same name, interface and meaning, with as few operations as the rewrites reach.

    Deterministic and idempotent. An output that is a copy of another output, or of an input with another name, stays
    as a Slice of all its entries. Raises ProgramError where `program` is malformed.
    """
    verify(program)
    while True:
        before = program
        for rewrite in (tidy, move, fold):
            program = verify(rewrite(program))
        if program == before:
            return verify(name(program))


def multiply_adds(program: Program) -> int:
    """The multiplications by a constant or of two variables that one point costs: what a rewrite never increases."""
    return sum(_cost(op) for op in program.ops)


def _cost(op: Op) -> int:
    match op:
        case Affine(out=out, x=x):
            return out.size * x.size
        case Scale(out=out) | Mul(out=out):
            return out.size
        case Map() | Add() | Select() | Concat() | Slice():
            return 0
        case _:
            raise unknown(op)


def tidy(program: Program) -> Program:
    """Bypass copies, share equal operations, drop dead ones."""
    while True:
        tidied = _drop_dead(_share(_bypass_copies(program)))
        if tidied == program:
            return tidied
        program = tidied


def shared(program: Program) -> Program:
    """`program` with equal operations done once and without those that reach no output: no bit of a result changes."""
    return _drop_dead(_share(program))


def together(programs: Sequence[Program]) -> Program:
    """One Program with the outputs of all `programs`, of the same inputs, one after another, `shared` among them.

    Its variables have names of their own, so this is for evaluating them and not for a file.
    """
    ops: list[Op] = []
    outputs: list[Var] = []
    for i, program in enumerate(programs):
        names = {op.out.name: replace(op.out, name=f"{i} {op.out.name}") for op in program.ops}
        ops += [_renamed(op, names) for op in program.ops]
        outputs += [names.get(var.name, var) for var in program.outputs]
    return shared(replace(programs[0], outputs=tuple(outputs), ops=tuple(ops)))


def _bypass_copies(program: Program) -> Program:
    """Readers of a copy read its source; a copy that is an output gives its name to its source where that is free."""
    outputs = {var.name for var in program.outputs}
    taken = outputs | {var.name for var in program.inputs}
    source: dict[str, Var] = {}
    named: dict[str, Var] = {}
    ops: list[Op] = []
    for op in program.ops:
        op = _reading(op, source)
        x = _copied(op)
        if x is None:
            ops.append(op)
            continue
        source[op.out.name] = x
        if op.out.name in outputs:
            if x.name in taken:
                ops.append(Slice(op.out, x, 0))
            else:
                taken.add(x.name)
                named[x.name] = op.out
    return replace(program, ops=tuple(_renamed(op, named) for op in ops))


def _copied(op: Op) -> Var | None:
    """The variable that `op` only copies, if it does."""
    match op:
        case Scale(x=x, weight=weight, bias=bias) if (weight == 1).all() and (bias == 0).all():
            return x
        case Slice(out=out, x=x) if out.size == x.size:
            return x
        case Concat(xs=(x,)):
            return x
        case Select(a=a, b=b) if a == b:
            return a
        case _:
            return None


def _share(program: Program) -> Program:
    """An operation that was done before on the same operands becomes a copy of the first result."""
    first: dict[object, Var] = {}
    ops: list[Op] = []
    source: dict[str, Var] = {}
    for op in program.ops:
        op = _reading(op, source)
        found = first.setdefault(identity(op), op.out)
        if found != op.out:
            source[op.out.name] = found
            if _copied(op) is None:
                op = Slice(op.out, found, 0)
        ops.append(op)
    return replace(program, ops=tuple(ops))


def _drop_dead(program: Program) -> Program:
    alive = {var.name for var in program.outputs}
    ops: list[Op] = []
    for op in reversed(program.ops):
        if op.out.name in alive:
            ops.append(op)
            alive.update(var.name for var in operands(op))
    return replace(program, ops=tuple(reversed(ops)))


def move(program: Program) -> Program:
    """Slice of Slice, Slice of one part of a Concat, and Concat of Concat read from the source."""
    made_by: dict[str, Op] = {}
    for op in program.ops:
        made_by[op.out.name] = _moved(op, made_by)
    return replace(program, ops=tuple(made_by.values()))


def _moved(op: Op, made_by: Mapping[str, Op]) -> Op:
    match op:
        case Slice(out=out, x=x, start=start):
            match made_by.get(x.name):
                case Slice(x=whole, start=offset):
                    return Slice(out, whole, offset + start)
                case Concat(xs=xs):
                    for part in xs:
                        if start >= 0 and start + out.size <= part.size:
                            return Slice(out, part, start)
                        start -= part.size
        case Concat(out=out, xs=xs):
            parts: list[Var] = []
            for x in xs:
                maker = made_by.get(x.name)
                parts += maker.xs if isinstance(maker, Concat) else (x,)
            return Concat(out, _joined(parts, made_by))
    return op


def _joined(parts: list[Var], made_by: Mapping[str, Op]) -> tuple[Var, ...]:
    """Neighbours that are slices of one variable, from its first entry to its last, become that variable."""
    joined: list[Var] = []
    for part in parts:
        joined.append(part)
        last = made_by.get(part.name)
        if isinstance(last, Slice):
            for at in reversed(range(len(joined))):
                if _cover(joined[at:], last.x, made_by):
                    joined[at:] = [last.x]
                    break
    return tuple(joined)


def _cover(parts: list[Var], whole: Var, made_by: Mapping[str, Op]) -> bool:
    end = 0
    for part in parts:
        op = made_by.get(part.name)
        if not (isinstance(op, Slice) and op.x == whole and op.start == end):
            return False
        end += part.size
    return end == whole.size


@dataclass(frozen=True)
class _Context:
    """Who makes and who reads each variable of a Program, and which matrices several Affines multiply by."""

    made_by: dict[str, Op]
    readers: dict[str, list[Op]]
    outputs: frozenset[str]
    shared: frozenset[bytes]
    fresh: Iterator[str]

    def shares(self, op: Affine) -> bool:
        """Whether another Affine has the matrix of `op`: both are then loaded once, so neither is changed."""
        return op.weight.tobytes() in self.shared

    def inner(self, x: Var, kind: type[AnyOp]) -> AnyOp | None:
        """The `kind` that makes x, if one does and x is not an output."""
        op = self.made_by.get(x.name)
        return op if isinstance(op, kind) and x.name not in self.outputs else None

    def single(self, x: Var, kind: type[AnyOp]) -> AnyOp | None:
        """The `kind` that makes x, if one does and x is read exactly once."""
        return self.inner(x, kind) if len(self.readers[x.name]) == 1 else None


def _context(program: Program) -> _Context:
    readers = defaultdict(list)
    for op in program.ops:
        for var in operands(op):
            readers[var.name].append(op)
    made_by = {op.out.name: op for op in program.ops}
    taken = {*made_by, *(var.name for var in program.inputs)}
    matrices = Counter(op.weight.tobytes() for op in program.ops if isinstance(op, Affine))
    shared = frozenset(matrix for matrix, count in matrices.items() if count > 1)
    return _Context(made_by, readers, frozenset(var.name for var in program.outputs), shared, fresh_names(taken))


def fold(program: Program) -> Program:
    """Apply the first folding rule that fits anywhere, until none does."""
    while (folded := _fold_once(_drop_dead(program))) is not None:
        program = folded
    return program


def _fold_once(program: Program) -> Program | None:
    context = _context(program)
    for i, op in enumerate(program.ops):
        for rule in RULES:
            new = rule(op, context)
            if new is not None and all(np.isfinite(array).all() for each in new for array in parameters(each)):
                return replace(program, ops=(*program.ops[:i], *new, *program.ops[i + 1 :]))
    return None


def _scale_of_linear(op: Op, context: _Context) -> tuple[Op, ...] | None:
    """w * (W x + b) + c = (w W) x + (w b + c), also where the inner one is a Scale."""
    match op:
        case Scale(out=out, x=x, weight=w, bias=c):
            with np.errstate(over="ignore"):
                inner = context.single(x, Affine)
                if inner and not context.shares(inner):
                    return (Affine(out, inner.x, w[:, None] * inner.weight, w * inner.bias + c),)
                if before := context.single(x, Scale):
                    return (Scale(out, before.x, w * before.weight, w * before.bias + c),)
    return None


def _affine_of_scale(op: Op, context: _Context) -> tuple[Op, ...] | None:
    """W (w * x + b) + c = (W w) x + (W b + c), where every reader of the Scale takes it in, so that it goes."""
    match op:
        case Affine(out=out, x=x, weight=W, bias=c) if not context.shares(op):
            inner = context.inner(x, Scale)
            if inner and all(isinstance(reader, Affine) for reader in context.readers[x.name]):
                with np.errstate(over="ignore", invalid="ignore"):
                    return (Affine(out, inner.x, W * inner.weight, W @ inner.bias + c),)
    return None


def _affine_of_affine(op: Op, context: _Context) -> tuple[Op, ...] | None:
    """V (W x + b) + c = (V W) x + (V b + c), where one product costs no more than two."""
    match op:
        case Affine(out=out, x=x, weight=V, bias=c) if not context.shares(op):
            inner = context.single(x, Affine)
            if inner and not context.shares(inner) and out.size * inner.x.size <= _cost(op) + _cost(inner):
                with np.errstate(over="ignore", invalid="ignore"):
                    return (Affine(out, inner.x, V @ inner.weight, V @ inner.bias + c),)
    return None


def _affine_of_concat_of_scale(op: Op, context: _Context) -> tuple[Op, ...] | None:
    """W concat(…, w * x + b, …) + c = W' concat(…, x, …) + c', as `_affine_of_scale` column by column."""
    match op:
        case Affine(out=out, x=x, weight=W, bias=c) if not context.shares(op):
            concat = context.single(x, Concat)
            scales = [context.single(part, Scale) for part in concat.xs] if concat else []
            if concat and any(scales):
                parts = tuple(scale.x if scale else part for part, scale in zip(concat.xs, scales, strict=True))
                w = np.concatenate([s.weight if s else np.ones(p.size) for p, s in zip(parts, scales, strict=True)])
                b = np.concatenate([s.bias if s else np.zeros(p.size) for p, s in zip(parts, scales, strict=True)])
                bare = Var(next(context.fresh), x.size)
                with np.errstate(over="ignore", invalid="ignore"):
                    return (Concat(bare, parts), Affine(out, bare, W * w, W @ b + c))
    return None


def _slice_of_affine(op: Op, context: _Context) -> tuple[Op, ...] | None:
    """(W x + b)[i:j] = W[i:j] x + b[i:j], where only slices read the Affine and some row is read by none of them."""
    match op:
        case Slice(out=out, x=x, start=start):
            inner = context.inner(x, Affine)
            readers = context.readers[x.name]
            sliced = all(isinstance(reader, Slice) for reader in readers)
            if inner and sliced and sum(reader.out.size for reader in readers) < x.size:
                rows = slice(start, start + out.size)
                return (Affine(out, inner.x, inner.weight[rows], inner.bias[rows]),)
    return None


RULES: tuple[Callable[[Op, _Context], tuple[Op, ...] | None], ...] = (
    _scale_of_linear,
    _affine_of_scale,
    _affine_of_affine,
    _affine_of_concat_of_scale,
    _slice_of_affine,
)


def name(program: Program) -> Program:
    """Call the variables in between v0, v1, … in order, skipping the names of inputs and outputs."""
    interface = {var.name for var in (*program.inputs, *program.outputs)}
    fresh = fresh_names(interface)
    names = {op.out.name: replace(op.out, name=next(fresh)) for op in program.ops if op.out.name not in interface}
    return replace(program, ops=tuple(_renamed(op, names) for op in program.ops))


def _reading(op: AnyOp, names: Mapping[str, Var]) -> AnyOp:
    """`op` with its operands replaced."""
    if not any(var.name in names for var in operands(op)):
        return op
    match op:
        case Add(a=a, b=b) | Mul(a=a, b=b):
            return replace(op, a=names.get(a.name, a), b=names.get(b.name, b))
        case Select(c=c, a=a, b=b):
            return replace(op, c=names.get(c.name, c), a=names.get(a.name, a), b=names.get(b.name, b))
        case Concat(xs=xs):
            return replace(op, xs=tuple(names.get(x.name, x) for x in xs))
        case Affine(x=x) | Scale(x=x) | Map(x=x) | Slice(x=x):
            return replace(op, x=names.get(x.name, x))
        case _:
            raise unknown(op)


def _renamed(op: Op, names: Mapping[str, Var]) -> Op:
    """`op` with its operands and its result replaced."""
    op = _reading(op, names)
    return replace(op, out=names[op.out.name]) if op.out.name in names else op
