"""Which operations of a Program run together: its steps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from kdpinn_edge.numerics.words import partial_sums
from kdpinn_edge.program.ir import Add, Affine, Concat, Map, Mul, Op, Program, Scale, Select, Slice, Var, operands


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
    def products(self) -> tuple[Affine, ...]:
        """The matrix products of a block, which come first."""
        return tuple(op for op in self.ops if isinstance(op, Affine))

    @property
    def terms_in_lanes(self) -> int:
        """Of a matrix product of few outputs how many terms fill the lanes; else 0."""
        return terms_in_lanes(self.ops[0])

    @property
    def size(self) -> int:
        """The size of every result."""
        return self.ops[0].out.size

    def parts(self) -> tuple[Step, ...]:
        """A single product and what follows it as two steps, so that the product has all registers; else this step."""
        first, *rest = self.ops
        if len(self.products) != 1 or not rest or not self.is_block:
            return (self,)
        read = {var.name for op in rest for var in operands(op)} | {var.name for var in self.stored}
        kept = tuple(op.out for op in rest if op.out in self.stored)
        return Step((first,), (first.out,) if first.out.name in read else ()), Step(tuple(rest), kept)

    def __str__(self) -> str:
        return ", ".join(f"{op.out.name} = {_text(op)}" for op in self.ops)


def _text(op: Op) -> str:
    names = ", ".join(var.name for var in operands(op))
    return f"{op.fn if isinstance(op, Map) else type(op).__name__.lower()}({names})"


def fuse(program: Program, streams: int) -> list[Step]:
    """The ops of `program` as steps, in an order in which they can run. A block has at most `streams` products."""
    groups: list[list[Op]] = []
    waiting = list(program.ops)
    done = {var.name for var in program.inputs}
    while waiting:
        group = _together(waiting, done, streams)
        groups.append(group)
        taken = set(map(id, group))
        waiting = [op for op in waiting if id(op) not in taken]
        done |= {op.out.name for op in group}
    steps = []
    needed = {var.name for var in program.outputs}
    for group in reversed(groups):
        steps.append(Step(tuple(group), tuple(op.out for op in group if op.out.name in needed)))
        needed |= {var.name for op in group for var in operands(op)}
    return steps[::-1]


def _together(waiting: Sequence[Op], done: set[str], streams: int) -> list[Op]:
    """The first op that waits, and what can run with it when the variables in `done` are known."""
    first = waiting[0]
    if not _in_block(first):
        return [first]
    group = [first]
    if isinstance(first, Affine):
        group += [op for op in waiting[1:] if op.out.size == first.out.size and _is_stream(op, first, done)]
        group = group[:streams]
    inside = {op.out.name for op in group}
    for op in waiting:
        if isinstance(op, Scale | Map | Add | Mul | Select) and op.out.name not in inside:
            names = {var.name for var in operands(op)}
            if names & inside and names <= inside | done:
                group.append(op)
                inside.add(op.out.name)
    return group


def _is_stream(op: Op, first: Affine, done: set[str]) -> bool:
    return isinstance(op, Affine) and op.x.name in done and np.array_equal(op.weight, first.weight)


def _in_block(op: Op) -> bool:
    return not isinstance(op, Concat | Slice) and not terms_in_lanes(op)


def terms_in_lanes(op: Op) -> int:
    """The partial sums of an Affine whose outputs are so few that terms, not neurons, fill the lanes; else 0."""
    sums = partial_sums(op.x.size, op.out.size) if isinstance(op, Affine) else 0
    return sums if sums > 2 else 0


def is_view(program: Program, op: Op) -> bool:
    """Whether the result of `op` already lies in memory: a Slice, or all inputs one after another."""
    return isinstance(op, Slice) or (isinstance(op, Concat) and op.xs == program.inputs)
