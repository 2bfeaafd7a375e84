"""Symbols: of which variables the rest of an affine form is kept apart, and for how long.

A rest is added up as if nothing were known of it. That is far too much where a number meets itself again: in a step of
Newton's method for 1/√h, y (3/2 - h y y / 2), the parts of an error of y cancel, and as rests they would add up to four
times that error, step after step. So the rest of a scalar y gets a symbol, its name, where y is multiplied with
something that was calculated from y. The symbol ends where all that depends on y has become one variable. On the way
back the same holds for the derivative by such a product, until the derivative by y is complete.
"""

from __future__ import annotations

from kdpinn_edge.certificates.paths import passes
from kdpinn_edge.program.ir import Mul, Program, operands

MOST = 24
"""Not more variables have a symbol at once: each makes all forms that hold it longer."""


class Symbols:
    """The plan for `program`.

    begin       variables whose rest gets a symbol
    end         by variable, the symbols that end with it
    begin_back  variables of which the rest of the derivative by them does
    end_back    by variable, the symbols of derivatives that end with the derivative by it
    """

    def __init__(self, program: Program) -> None:
        above = _above(program)
        meetings = {
            op.out.name: one.name
            for op in program.ops
            if isinstance(op, Mul) and op.a != op.b and op.out.size == 1
            for one, other in ((op.a, op.b), (op.b, op.a))
            if one.name in above[other.name]
        }
        after = passes(program, program.outputs)
        wanted = set(meetings.values()) & after.keys() - {var.name for var in program.inputs}
        self.begin: set[str] = set()
        self.end: dict[str, set[str]] = {}
        alive: set[str] = set()
        for name in (op.out.name for op in program.ops):
            alive -= self.end.get(name, set())
            if name in wanted and len(alive) < MOST:
                alive.add(name)
                self.begin.add(name)
                self.end.setdefault(after[name] or "", set()).add(name)
        self.begin_back = {out for out, one in meetings.items() if one in self.begin}
        self.end_back: dict[str, set[str]] = {}
        for out in self.begin_back:
            self.end_back.setdefault(meetings[out], set()).add(out)


def _above(program: Program) -> dict[str, set[str]]:
    """By variable, itself and everything that it is calculated from."""
    above = {var.name: {var.name} for var in program.inputs}
    for op in program.ops:
        above[op.out.name] = {op.out.name}.union(*(above[var.name] for var in operands(op)))
    return above
