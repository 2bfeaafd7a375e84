"""`residual_program(program, problem)`: the equation that training minimises, as a Program for a device.

`outputs_program(program, problem)`: the outputs of a problem as derivatives of its potentials.

`Problem.residual` is called with symbols in place of arrays: what it does to them is written down as operations. So
there is one definition of the equation, and it is the problem's.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import reduce
from operator import mul
from typing import Any

import numpy as np

from kdpinn_edge.derive.derivatives import derivatives
from kdpinn_edge.errors import ProblemError
from kdpinn_edge.problems import Problem
from kdpinn_edge.program.builder import Builder
from kdpinn_edge.program.ir import Add, Program, Var, columns
from kdpinn_edge.program.simplify import simplify

ACCEPTED = "expected: terms and finite numbers joined by + − *, a term over a number, a term to a whole power from 1"


def residual_program(program: Program, problem: Problem) -> Program:
    """The residual of `problem` at the output of `program`: a Program of the same name and inputs, simplified.

    Its outputs, of size 1, are `residual`, or `residual_1`, `residual_2`, … where the problem has several equations.
    Raises ProblemError where `program` has other columns than `problem`, or the equation is more than arithmetic;
    DerivativeError where one of its terms has no meaning.

        residual_program(student, problem("burgers"))
    """
    found = columns(program.inputs), columns(program.outputs)
    if found != (problem.inputs, problem.outputs):
        raise ProblemError(
            f"the Program {program.name} maps {', '.join(found[0])} to {', '.join(found[1])}; expected for "
            f"{problem.name}: {', '.join(problem.inputs)} to {', '.join(problem.outputs)}"
        )
    drawn = _Drawn(derivatives(program, problem.terms))
    residuals = drawn.values(f"the residual of {problem.name}", problem.residual)
    if problem.source is not None:
        sides = problem.source(FUNCTIONS, *map(drawn.symbol, program.inputs))
        residuals = [residual - side for residual, side in zip(residuals, sides, strict=True)]
    names = ["residual"] if len(residuals) == 1 else [f"residual_{i}" for i in range(1, len(residuals) + 1)]
    return drawn.program(names, residuals)


def outputs_program(program: Program, problem: Problem) -> Program:
    """The outputs of `problem` made of its potentials, which are the outputs of `program`, simplified.

    Raises ProblemError where the outputs are more than arithmetic; DerivativeError where one of their terms has no
    meaning.
    """
    if problem.potentials is None:
        return program
    drawn = _Drawn(derivatives(program, problem.potentials.terms))
    return drawn.program(problem.outputs, drawn.values(f"the outputs of {problem.name}", problem.potentials.outputs))


def summands(residual: Program) -> tuple[Program, ...]:
    """For each output of `residual` the Program of the terms that are added up to it: what its value is small beside.

    A term is whatever is not a sum itself, so the derivatives of a product are two terms.
    """
    made_by = {op.out.name: op for op in residual.ops}

    def terms(var: Var) -> Iterator[Var]:
        op = made_by.get(var.name)
        if isinstance(op, Add):
            yield from terms(op.a)
            yield from terms(op.b)
        else:
            yield var

    return tuple(
        simplify(Program(residual.name, residual.inputs, tuple(dict.fromkeys(terms(output))), residual.ops))
        for output in residual.outputs
    )


class _Drawn:
    """A Program of terms, and what is calculated with them."""

    def __init__(self, terms: Program) -> None:
        self.terms = terms
        self.builder = Builder.of(terms)

    def symbol(self, var: Var) -> Symbol:
        """The number that `var` holds."""
        return Symbol(var, self.builder)

    def values(self, what: str, function: Callable[..., Sequence[Any]]) -> list[Symbol]:
        """What `function` makes of the terms; `what` it is, for errors."""
        try:
            values = list(function(*map(self.symbol, self.terms.outputs)))
        except TypeError as error:
            raise ProblemError(f"{what} cannot be a Program: {error}; {ACCEPTED}") from error
        constant = [i for i, value in enumerate(values, 1) if not isinstance(value, Symbol)]
        if constant or not values:
            found = f"equation {constant[0]} is {values[constant[0] - 1]!r}" if constant else "there is no equation"
            raise ProblemError(f"{what} cannot be a Program: {found}; {ACCEPTED}")
        return values

    def program(self, names: Sequence[str], values: Sequence[Symbol]) -> Program:
        """The Program of these values, simplified."""
        outputs = {name: value.var for name, value in zip(names, values, strict=True)}
        return simplify(self.builder.program(self.terms.name, outputs))


@dataclass(frozen=True, eq=False)
class Symbol:
    """A number at every point, held by `var`. Arithmetic on it is written into `builder` and gives another Symbol."""

    var: Var
    builder: Builder

    __array_ufunc__ = None  # a NumPy number to the left then leaves the operation to this class

    def __add__(self, other: object) -> Symbol:
        if isinstance(other, Symbol):
            return Symbol(self.builder.add(self.var, other.var), self.builder)
        return self._scaled(1.0, _number(other))

    def __mul__(self, other: object) -> Symbol:
        if isinstance(other, Symbol):
            return Symbol(self.builder.mul(self.var, other.var), self.builder)
        return self._scaled(_number(other), 0.0)

    def __sub__(self, other: object) -> Symbol:
        return self + (-other if isinstance(other, Symbol) else -_number(other))

    def __truediv__(self, other: object) -> Symbol:
        if isinstance(other, Symbol) or _number(other) == 0:
            raise TypeError("it divides by a term or by zero")
        return self * (1 / _number(other))

    def __pow__(self, exponent: object) -> Symbol:
        if not isinstance(exponent, int) or exponent < 1:
            raise TypeError(f"it raises a term to the power {exponent!r}")
        return reduce(mul, [self] * exponent)

    def __neg__(self) -> Symbol:
        return self * -1.0

    def __rsub__(self, other: object) -> Symbol:
        return -self + other

    __radd__ = __add__
    __rmul__ = __mul__

    def __eq__(self, other: object) -> bool:
        raise TypeError("it compares a term")

    def __bool__(self) -> bool:
        raise TypeError("it decides by the value of a term")

    def mapped(self, fn: str) -> Symbol:
        """The Symbol `fn` of this one."""
        return Symbol(self.builder.map(self.var, fn), self.builder)

    def _scaled(self, weight: float, bias: float) -> Symbol:
        return Symbol(self.builder.scale(self.var, [weight], [bias]), self.builder)


class _Functions:
    """A `Math` on symbols."""

    def sin(self, x: Symbol) -> Symbol:
        return x.mapped("sin")

    def cos(self, x: Symbol) -> Symbol:
        return x.mapped("cos")

    def exp(self, x: Symbol) -> Symbol:
        return x.mapped("exp")

    def tanh(self, x: Symbol) -> Symbol:
        return x.mapped("tanh")

    def sqrt(self, x: Symbol) -> Symbol:
        return x.mapped("sqrt")

    def log(self, x: Symbol) -> Symbol:
        return x.mapped("log")

    def erf(self, x: Symbol) -> Symbol:
        return x.mapped("erf")

    def reciprocal(self, x: Symbol) -> Symbol:
        return x.mapped("reciprocal")


FUNCTIONS = _Functions()


def _number(value: object) -> float:
    if not isinstance(value, int | float | np.number) or not np.isfinite(value):
        raise TypeError(f"it joins a term to {value!r}")
    return float(value)
