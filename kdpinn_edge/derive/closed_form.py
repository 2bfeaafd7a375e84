"""`closed_form_program(problem)`: the exact solution of a problem, where it has a formula, as a Program.

`Problem.closed_form` is called with symbols, as `residual.py` calls the equation. So the formula that a network is
judged by, its derivatives and its C are made of one text.
"""

from __future__ import annotations

from kdpinn_edge.derive.residual import Symbol
from kdpinn_edge.equation.arithmetic import MATH
from kdpinn_edge.errors import ProblemError
from kdpinn_edge.problems import Problem
from kdpinn_edge.program.builder import Builder
from kdpinn_edge.program.ir import Program, Var
from kdpinn_edge.program.simplify import simplify


def closed_form_program(problem: Problem) -> Program:
    """The closed form of `problem`, simplified: a Program of its name and columns.

    Raises ProblemError where it has none.

        closed_form_program(problem("heat"))
    """
    if problem.closed_form is None:
        raise ProblemError(f"{problem.name} has no closed form; expected: a problem with the field closed_form")
    columns = [Var(name, 1) for name in problem.inputs]
    builder = Builder(columns)
    values = problem.closed_form(MATH, *(Symbol(column, builder) for column in columns))
    outputs = {name: value.var for name, value in zip(problem.outputs, values, strict=True)}
    return simplify(builder.program(problem.name, outputs))
