"""`Builder`: writes a Program operation by operation, each only once, and finds the names in between."""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from itertools import count

from numpy.typing import ArrayLike

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


class Builder:
    """Operations in order, those of `ops` and those that are added; an equal one that is there is used again.

    `inputs` are the inputs of the Program. New variables are called v0, v1, … without the names in `reserved`, which
    are those of the outputs to come.
    """

    def __init__(self, inputs: Sequence[Var], *, ops: Iterable[Op] = (), reserved: Iterable[str] = ()) -> None:
        self.inputs = tuple(inputs)
        self._ops: dict[str, Op] = {op.out.name: op for op in ops}
        self._place = {name: i for i, name in enumerate(self._ops)}
        self._found: dict[object, Var] = {}
        for op in self._ops.values():
            self._found.setdefault(identity(op), op.out)
        self._fresh = fresh_names({*(var.name for var in self.inputs), *reserved, *self._ops})

    @classmethod
    def of(cls, program: Program) -> Builder:
        """A Builder that starts with the operations of `program`."""
        return cls(program.inputs, ops=program.ops, reserved=[var.name for var in program.outputs])

    @property
    def ops(self) -> tuple[Op, ...]:
        """The operations so far."""
        return tuple(self._ops.values())

    def affine(self, x: Var, weight: ArrayLike, bias: ArrayLike) -> Var:
        """The vector weight @ x + bias."""
        op = Affine(self._new(0), x, weight, bias)  # type: ignore[arg-type]
        return self._made(Affine(Var(op.out.name, len(op.bias)), x, op.weight, op.bias))

    def scale(self, x: Var, weight: ArrayLike, bias: ArrayLike) -> Var:
        """The product weight * x plus bias, elementwise."""
        return self._made(Scale(self._new(x.size), x, weight, bias))  # type: ignore[arg-type]

    def map(self, x: Var, fn: str) -> Var:
        """The function fn(x), elementwise."""
        return self._made(Map(self._new(x.size), x, fn))

    def add(self, a: Var, b: Var) -> Var:
        """The sum a + b, elementwise."""
        return self._made(Add(self._new(a.size), a, b))

    def mul(self, a: Var, b: Var) -> Var:
        """The product a * b, elementwise."""
        return self._made(Mul(self._new(a.size), a, b))

    def select(self, c: Var, a: Var, b: Var) -> Var:
        """The entries of a where c > 0, and those of b elsewhere."""
        return self._made(Select(self._new(c.size), c, a, b))

    def concat(self, xs: Sequence[Var]) -> Var:
        """The variables one after another; a single one as it is."""
        return xs[0] if len(xs) == 1 else self._made(Concat(self._new(sum(x.size for x in xs)), tuple(xs)))

    def slice(self, x: Var, start: int, size: int) -> Var:
        """The entries x[start : start + size]; all of x as it is."""
        return x if size == x.size else self._made(Slice(self._new(size), x, start))

    def made_by(self, var: Var) -> Op | None:
        """The operation that makes `var`; None for an input."""
        return self._ops.get(var.name)

    def below(self, var: Var, known: Container[str]) -> list[Op]:
        """The operations that `var` is made by, in order, as far as their results are not in `known`."""
        wanted: set[str] = set()
        waiting = [var]
        while waiting:
            name = waiting.pop().name
            if name not in known and name not in wanted:
                wanted.add(name)
                waiting += operands(self._ops[name])
        return [self._ops[name] for name in sorted(wanted, key=self._place.__getitem__)]

    def program(self, name: str, outputs: Mapping[str, Var]) -> Program:
        """The Program with these outputs: a variable that has another name than its output is copied to it."""
        named = {new: Var(new, var.size) for new, var in outputs.items()}
        copies = [Slice(named[new], var, 0) for new, var in outputs.items() if new != var.name]
        return Program(name, self.inputs, tuple(named.values()), (*self._ops.values(), *copies))

    def _new(self, size: int) -> Var:
        return Var(next(self._fresh), size)

    def _made(self, op: Op) -> Var:
        """The variable that holds the result of `op`, which is added where no equal one is there."""
        found = self._found.setdefault(identity(op), op.out)
        if found is op.out:
            self._place[op.out.name] = len(self._ops)
            self._ops[op.out.name] = op
        return found


def identity(op: Op) -> object:
    """A key that is equal for two operations of equal result. Sums and products commute, also in floating point."""
    names = [var.name for var in operands(op)]
    match op:
        case Add() | Mul():
            return type(op), *sorted(names)
        case Map(fn=fn):
            return Map, fn, *names
        case Slice(out=out, start=start):
            return Slice, start, out.size, *names
        case Affine() | Scale() | Select() | Concat():
            return type(op), *names, *(array.tobytes() for array in parameters(op))
        case _:
            raise unknown(op)


def fresh_names(taken: set[str]) -> Iterator[str]:
    """Yield v0, v1, … without the names that are taken."""
    return (new for new in map("v{}".format, count()) if new not in taken)
