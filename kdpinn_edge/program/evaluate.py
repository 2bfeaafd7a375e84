"""`evaluate(program, semantics, x)`: the one walk through the operations of a Program, whatever they mean."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol, TypeVar

from kdpinn_edge.program.ir import Add, Affine, Concat, Map, Mul, Op, Program, Scale, Select, Slice, unknown

V = TypeVar("V")


class Semantics(Protocol[V]):
    """The meaning of the operations on values V: the entries of a variable at one point or at many.

    The float64 parameters stand in the `op`; a semantics that has its own arrays finds them by `op.out.name`.
    """

    def affine(self, op: Affine, x: V, /) -> V:
        """The vector weight @ x + bias."""

    def scale(self, op: Scale, x: V, /) -> V:
        """The product weight * x plus bias, elementwise."""

    def map(self, fn: str, x: V, /) -> V:
        """The function fn(x), elementwise; an error where it is unknown to this semantics."""

    def add(self, a: V, b: V, /) -> V:
        """The sum a + b, elementwise."""

    def mul(self, a: V, b: V, /) -> V:
        """The product a * b, elementwise."""

    def select(self, c: V, a: V, b: V, /) -> V:
        """The entries of a where c > 0, and those of b elsewhere."""

    def concat(self, xs: Sequence[V], /) -> V:
        """The entries of all xs, one after another."""

    def slice(self, x: V, start: int, size: int, /) -> V:
        """The entries x[start : start + size]."""


def evaluate(program: Program, semantics: Semantics[V], x: V) -> V:
    """The outputs of `program`, one after another, at x, which holds its inputs one after another."""
    known = variables(program, semantics, x)
    outputs = [known[var.name] for var in program.outputs]
    return outputs[0] if len(outputs) == 1 else semantics.concat(outputs)


def variables(
    program: Program, semantics: Semantics[V], x: V, kept: Callable[[Op, V], V] = lambda op, value: value
) -> dict[str, V]:
    """Every variable of `program` by its name, at x, which holds its inputs one after another: what is `kept` of it."""
    env: dict[str, V] = {}
    start = 0
    for var in program.inputs:
        env[var.name] = semantics.slice(x, start, var.size)
        start += var.size
    for op in program.ops:
        env[op.out.name] = kept(op, _value(op, semantics, env))
    return env


def _value(op: Op, semantics: Semantics[V], env: dict[str, V]) -> V:
    match op:
        case Affine(x=x):
            return semantics.affine(op, env[x.name])
        case Scale(x=x):
            return semantics.scale(op, env[x.name])
        case Map(x=x, fn=fn):
            return semantics.map(fn, env[x.name])
        case Add(a=a, b=b):
            return semantics.add(env[a.name], env[b.name])
        case Mul(a=a, b=b):
            return semantics.mul(env[a.name], env[b.name])
        case Select(c=c, a=a, b=b):
            return semantics.select(env[c.name], env[a.name], env[b.name])
        case Concat(xs=xs):
            return semantics.concat([env[x.name] for x in xs])
        case Slice(out=out, x=x, start=start):
            return semantics.slice(env[x.name], start, out.size)
        case _:
            raise unknown(op)
