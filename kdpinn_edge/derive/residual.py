"""`residual(program, problem)`: the equation that training minimises, as a Program for a device.

Unknowns of the equation are constants there: those that were found, where `problem` is that of a trained network.

`outputs_program(program, problem)`: the outputs of a problem as derivatives of its potentials.

`check_problem(problem)`: whether all of a problem can be written as a Program, before it is trained.

`Problem.residual` is called with symbols in place of numbers: what it does to them is written down as operations. So
there is one definition of the equation, and it is the problem's.
"""

from __future__ import annotations

import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kdpinn_edge.derive.derivatives import derivatives
from kdpinn_edge.derive.names import Names
from kdpinn_edge.equation.arithmetic import MATH, Arithmetic
from kdpinn_edge.equation.condition import NORMAL, Condition
from kdpinn_edge.errors import DerivativeError, ProblemError, ProgramError, listing
from kdpinn_edge.problems import Problem
from kdpinn_edge.program.builder import Builder
from kdpinn_edge.program.ir import Add, Program, Var, columns
from kdpinn_edge.program.simplify import simplify

ACCEPTED = "expected: numbers that depend on the point, joined by + − * / and powers, and functions, as in np.exp(u)"


def residual(program: Program, problem: Problem) -> Program:
    """The residual of `problem` at the output of `program`: a Program of the same name and inputs, simplified.

    Its outputs, of size 1, are `residual`, or `residual_1`, `residual_2`, … where the problem has several equations.
    Raises ProblemError where `program` has other columns than `problem`, or the equation is more than arithmetic and
    functions; DerivativeError where one of its terms has no meaning.

        residual(student, problem("burgers"))
    """
    found = columns(program.inputs), columns(program.outputs)
    if found != (problem.inputs, problem.outputs):
        raise ProblemError(
            f"the Program {program.name} maps {', '.join(found[0])} to {', '.join(found[1])}; expected for "
            f"{problem.name}: {', '.join(problem.inputs)} to {', '.join(problem.outputs)}"
        )
    drawn = _Drawn(derivatives(program, [term for term in problem.terms if term not in problem.unknowns]))
    of_program = map(drawn.symbol, drawn.terms.outputs)
    given_terms = [problem.unknowns[term] if term in problem.unknowns else next(of_program) for term in problem.terms]
    residuals = _symbols(f"the residual of {problem.name}", problem.residual, *given_terms)
    if problem.source is not None:
        given = map(drawn.symbol, program.inputs)
        sides = _symbols(f"the source of {problem.name}", problem.source, MATH, *given, count=len(residuals))
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
    given = map(drawn.symbol, drawn.terms.outputs)
    outputs = _symbols(f"the outputs of {problem.name}", problem.potentials.outputs, *given)
    return drawn.program(problem.outputs, outputs)


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

    def program(self, names: Sequence[str], values: Sequence[Symbol]) -> Program:
        """The Program of these values, simplified."""
        outputs = {name: value.var for name, value in zip(names, values, strict=True)}
        return simplify(self.builder.program(self.terms.name, outputs))


def _symbols(what: str, function: Callable[..., Any], *given: Any, count: int | None = None) -> list[Symbol]:
    """What `function` makes of symbols, a tuple of `count` symbols; `what` it is, for errors. Raises ProblemError."""
    try:
        found = function(*given)
    except (TypeError, ProgramError) as error:
        raise ProblemError(f"{what} cannot be a Program: {error}{_line(function, error)}; {ACCEPTED}") from error
    except Exception as error:  # it is the user's own program
        raise ProblemError(f"{what} fails: {type(error).__name__}: {error}{_line(function, error)}") from error
    if not isinstance(found, tuple | list):
        kind = "one number" if isinstance(found, Symbol) else repr(found)
        raise ProblemError(f"{what} cannot be a Program: it returns {kind}; expected: a tuple, as in (u_t - u_xx,)")
    constant = [i for i, value in enumerate(found, 1) if not isinstance(value, Symbol)]
    if constant:
        value = found[constant[0] - 1]
        raise ProblemError(f"{what} cannot be a Program: entry {constant[0]} is {value!r} at every point; {ACCEPTED}")
    if not found or (count is not None and len(found) != count):
        raise ProblemError(f"{what} cannot be a Program: it returns {len(found)} numbers; expected: {count or 'some'}")
    return list(found)


def _line(function: Callable[..., Any], error: Exception) -> str:
    """The line of the file of `function` where an error arose, as " (fisher.py:12)"."""
    own = getattr(getattr(function, "__code__", None), "co_filename", None)
    lines = [frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename == own]
    return f" ({Path(lines[-1].filename).name}:{lines[-1].lineno})" if lines else ""


def check_problem(problem: Problem) -> None:
    """Raise ProblemError, with every fault, where the functions of `problem` cannot all be written as Programs.

    Training calls it before it begins: what it minimises can then be exported, and what it makes be captured.
    """
    faults = []
    names = Names(problem.inputs, problem.outputs)
    made = Names(problem.inputs, problem.made)
    n_equations: int | None = None

    def traced(what: str, function: Callable[..., Any], *given: Any, count: int | None = None) -> list[Symbol]:
        try:
            return _symbols(f"{what} of {problem.name}", function, *given, count=count)
        except ProblemError as error:
            faults.append(str(error))
            return []

    symbols = _Free()
    columns = [symbols(name) for name in problem.inputs]
    own = [term for term in problem.terms if term not in problem.unknowns]
    named = [("the terms", names, own), ("the terms", made, problem.potentials.terms if problem.potentials else ())]
    named += [(f"the condition {each.name}", names, _of_solution(each, problem)) for each in problem.soft]
    for where, reader, terms in named:
        for term in terms:
            try:
                reader.read(term)
            except DerivativeError as error:
                faults.append(f"{where} of {problem.name}: {error}")
    if problem.terms:
        found = traced("the residual", problem.residual, *map(symbols, problem.terms))
        n_equations = len(found) or None
    for each in problem.soft:
        seen = [symbols(f"{term} at {place}") for place in range(len(each.sides)) for term in each.terms]
        traced(f"the condition {each.name}", each.residual, *seen)
    if problem.source is not None:
        traced("the source", problem.source, MATH, *columns, count=n_equations)
    if problem.potentials is not None:
        given = map(symbols, problem.potentials.terms)
        traced("the outputs", problem.potentials.outputs, *given, count=len(problem.outputs))
    traced("the features", lambda *x: problem.seen(MATH, x), *columns)
    if problem.ansatz is not None:
        net = [symbols(f"net_{i}") for i in range(problem.net_columns or len(problem.made))]
        traced("the ansatz", problem.ansatz, MATH, columns, *net, count=len(problem.made))
    if faults:
        raise ProblemError(listing(faults))


def _of_solution(condition: Condition, problem: Problem) -> list[str]:
    """The terms of a condition that are inputs, outputs or derivatives."""
    normals = [f"{NORMAL}{name}" for name in problem.inputs]
    return [term for term in condition.terms if term not in (*problem.unknowns, *condition.data, *normals)]


class _Free:
    """Symbols that stand for whatever number has a name."""

    def __init__(self) -> None:
        self.builder = Builder(())

    def __call__(self, name: str) -> Symbol:
        return Symbol(Var(f"of {name}", 1), self.builder)


@dataclass(frozen=True, eq=False)
class Symbol(Arithmetic):
    """A number at every point, held by `var`. Arithmetic on it is written into `builder` and gives another Symbol."""

    var: Var
    builder: Builder

    def mapped(self, fn: str) -> Symbol:
        """The Symbol `fn` of this one."""
        return Symbol(self.builder.map(self.var, fn), self.builder)

    def _plus(self, other: Any) -> Symbol:
        if isinstance(other, Symbol):
            return Symbol(self.builder.add(self.var, other.var), self.builder)
        return self._scaled(1.0, other)

    def _times(self, other: Any) -> Symbol:
        if isinstance(other, Symbol):
            return Symbol(self.builder.mul(self.var, other.var), self.builder)
        return self._scaled(other, 0.0)

    def _scaled(self, weight: float, bias: float) -> Symbol:
        return Symbol(self.builder.scale(self.var, [weight], [bias]), self.builder)
