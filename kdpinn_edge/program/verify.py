"""`verify(program)`: is it a Program at all? Collects every fault and raises once. Run after every pass."""

from __future__ import annotations

import re

import numpy as np

from kdpinn_edge.errors import ProgramError, listing
from kdpinn_edge.functions import find_function
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
    Select,
    Slice,
    Var,
    operands,
    unknown,
)

IDENTIFIER = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,47}", re.ASCII)
A_NAME = "a letter, then letters, digits and _, at most 48 in all"
COLUMN = r"[A-Za-z]\w*(?:\[\d+\]\w*)*"
VARIABLE = re.compile(rf"(?=.{{1,120}}\Z)(?:{COLUMN}|laplacian\({COLUMN}(?:, {COLUMN})*\)\w*)", re.ASCII)
A_VARIABLE = "a letter, then letters, digits and _, or a derivative's, as v[0]_x or laplacian(u, x); at most 120 in all"
MAX_SIZE = 4096


def verify(program: Program) -> Program:
    """Return `program` unchanged if it is well-formed, else raise ProgramError with every fault found.

    Well-formed: the name is an ASCII identifier of at most 48 characters, those of variables may be names of
    derivatives too, such as v[0]_x; every variable is defined exactly once, before it is used, with one size in
    1..4096; operand sizes and parameter shapes fit; parameters are finite; every function is one that
    `find_function` knows; there is an input and an output, and outputs are distinct.
    """
    scope = _Scope()
    for var in program.inputs:
        scope.define(var, "inputs")
    for i, op in enumerate(program.ops):
        where = f"op {i} ({type(op).__name__} {op.out.name})"
        for var in operands(op):
            scope.use(var, where)
        scope.faults += (f"{where}: {fault}" for fault in _op_faults(op))
        scope.define(op.out, where)
    for var in program.outputs:
        scope.use(var, "outputs")
    faults = [*_name_faults(program.name), *scope.faults, *_interface_faults(program)]
    if faults:
        raise ProgramError(f"Program {program.name!r} is malformed: {listing(faults)}")
    return program


class _Scope:
    """The variables that are defined so far, and what was wrong with their definitions and uses."""

    def __init__(self) -> None:
        self.faults: list[str] = []
        self._defined: dict[str, Var] = {}

    def define(self, var: Var, where: str) -> None:
        if not VARIABLE.fullmatch(var.name):
            self.faults.append(f"{where}: {var.name!r} is not a name; expected: {A_VARIABLE}")
        if not (isinstance(var.size, int) and 1 <= var.size <= MAX_SIZE):
            self.faults.append(f"{where}: {var.name!r} has size {var.size!r}; expected: an int, 1..{MAX_SIZE}")
        if var.name in self._defined:
            self.faults.append(f"{where}: {var.name!r} is defined twice")
        self._defined[var.name] = var

    def use(self, var: Var, where: str) -> None:
        found = self._defined.get(var.name)
        if found is None:
            self.faults.append(f"{where}: {var.name!r} is used before it is defined")
        elif found.size != var.size:
            fault = f"{var.name!r} is used with size {var.size} but defined with size {found.size}"
            self.faults.append(f"{where}: {fault}")


def _name_faults(name: str) -> list[str]:
    return [] if IDENTIFIER.fullmatch(name) else [f"name: {name!r} is not a name; expected: {A_NAME}"]


def _interface_faults(program: Program) -> list[str]:
    sides = {"inputs": program.inputs, "outputs": program.outputs}
    faults = [f"{side}: none; a Program has at least one" for side, variables in sides.items() if not variables]
    if len({var.name for var in program.outputs}) < len(program.outputs):
        faults.append("outputs: a name occurs twice; return each variable once")
    return faults


def _op_faults(op: Op) -> list[str]:
    match op:
        case Affine(out=out, x=x, weight=weight, bias=bias):
            return _array_faults("weight", weight, (out.size, x.size)) + _array_faults("bias", bias, (out.size,))
        case Scale(out=out, x=x, weight=weight, bias=bias):
            sizes = [] if out.size == x.size else [f"sizes differ: {x} -> {out}"]
            return sizes + _array_faults("weight", weight, (out.size,)) + _array_faults("bias", bias, (out.size,))
        case Map(out=out, x=x, fn=fn):
            sizes = [] if out.size == x.size else [f"sizes differ: {x} -> {out}"]
            return sizes + _function_faults(fn)
        case Add(out=out, a=a, b=b) | Mul(out=out, a=a, b=b):
            return [] if out.size == a.size == b.size else [f"sizes differ: {a}, {b} -> {out}"]
        case Select(out=out, c=c, a=a, b=b):
            return [] if out.size == c.size == a.size == b.size else [f"sizes differ: {c}, {a}, {b} -> {out}"]
        case Concat(out=out, xs=xs):
            total = sum(x.size for x in xs)
            fits = bool(xs) and out.size == total
            return [] if fits else [f"the parts have {total} entries together, the result {out.size}"]
        case Slice(out=out, x=x, start=start):
            inside = start >= 0 and start + out.size <= x.size
            return [] if inside else [f"[{start}:{start + out.size}] is outside {x}"]
        case _:
            raise unknown(op)


def _function_faults(fn: str) -> list[str]:
    try:
        find_function(fn)
    except ProgramError as error:
        return [str(error)]
    return []


def _array_faults(what: str, array: Array, shape: tuple[int, ...]) -> list[str]:
    if array.shape != shape:
        return [f"{what} has shape {array.shape}; expected: {shape}"]
    if not np.isfinite(array).all():
        return [f"{what} holds a NaN or an infinity; expected: finite numbers"]
    return []
