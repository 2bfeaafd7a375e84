"""The columns of a model that solves a problem."""

from __future__ import annotations

from kdpinn_edge.bundle.manifest import Input, Output
from kdpinn_edge.equation.problem import Problem


def posed(problem: Problem) -> tuple[tuple[Input, ...], tuple[Output, ...]]:
    """The inputs of a problem, with their domain and units, and its outputs."""
    in_units, out_units = problem.units[: len(problem.inputs)], problem.units[len(problem.inputs) :]
    inputs = zip(problem.inputs, problem.lower, problem.upper, in_units, strict=True)
    outputs = zip(problem.outputs, out_units, strict=True)
    return tuple(Input(*each) for each in inputs), tuple(Output(*each) for each in outputs)
