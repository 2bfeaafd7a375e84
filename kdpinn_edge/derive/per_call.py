"""What is constant during a call: a Program in two parts, of which the first is evaluated once for all points."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from kdpinn_edge.errors import ProgramError, did_you_mean
from kdpinn_edge.program.ir import Op, Program, Var, operands
from kdpinn_edge.program.simplify import shared
from kdpinn_edge.program.verify import verify

HOW = 'the inputs that are constant during a call, as in "nu, s" or "nu, s[100]"'


@dataclass(frozen=True)
class Split:
    """program(p, x) = varying(constant(p), x).

    `constant` is the Program of the inputs p that are constant during a call; `varying` has its outputs as its first
    inputs, and the other inputs behind them. Each operation is in one of the two, as it was: bits do not change.
    """

    constant: Program
    varying: Program


def parse_per_call(text: str, inputs: Sequence[Var]) -> tuple[str, ...]:
    """The names in a list such as "nu, s[100]", whose sizes, where they are given, are those of the inputs.

    Raises ProgramError for what is no such list.
    """
    names = []
    for each in text.split(","):
        found = re.fullmatch(r"\s*(\w+)\s*(?:\[\s*(\d+)\s*\])?\s*", each, re.ASCII)
        if found is None:
            raise ProgramError(f"{each.strip()!r} in {text!r} names no input; expected: {HOW}")
        for var in inputs:
            if var.name == found[1] and found[2] is not None and int(found[2]) != var.size:
                raise ProgramError(f"{each.strip()} in {text!r}: the input is {var}; expected: {var.name}, or {var}")
        names.append(found[1])
    return tuple(names)


def check_per_call(names: Sequence[str], inputs: Sequence[Var]) -> tuple[Var, ...]:
    """The inputs of these names, in the order of `inputs`.

    Raises ProgramError for a name that is unknown or occurs twice, and where no input is left for the points.
    """
    if isinstance(names, str):
        raise ProgramError(f"per_call is the text {names!r}; expected: a list of names, as parse_per_call makes of it")
    known, every = [var.name for var in inputs], ", ".join(map(str, inputs))
    for name in names:
        if name not in known:
            raise ProgramError(
                f"per_call: the model has no input {name!r}; expected: some of {every}{did_you_mean(name, known)}"
            )
        if list(names).count(name) > 1:
            raise ProgramError(f"per_call: {name!r} occurs twice; expected: each input once")
    if names and len(names) == len(known):
        raise ProgramError(
            f"per_call: {every} are all inputs, so that no point differs from another; expected: all but at least one"
        )
    return tuple(var for var in inputs if var.name in names)


def split(program: Program, names: Sequence[str]) -> Split:
    """The Split of `program` by the inputs of these names. Raises ProgramError as `check_per_call` does.

    What does not depend on them at all is given the first of them, which it does not read.
    """
    constants = check_per_call(names, program.inputs)
    program = shared(program)
    known = {var.name for var in constants}
    before: list[Op] = []
    after: list[Op] = []
    for op in program.ops:
        fixed = all(var.name in known for var in operands(op))
        (before if fixed else after).append(op)
        if fixed:
            known.add(op.out.name)
    read = [var for op in after for var in operands(op) if var.name in known]
    read += [var for var in program.outputs if var.name in known]
    held = tuple(dict.fromkeys(read)) or constants[:1]
    others = tuple(var for var in program.inputs if var not in constants)
    return Split(
        verify(shared(Program(program.name, constants, held, tuple(before)))),
        verify(Program(program.name, (*held, *others), program.outputs, tuple(after))),
    )
