"""The shipped problem whose solution a bundle evaluates: for backends that do so without the network."""

from __future__ import annotations

from kdpinn_edge.bundle.manifest import Manifest
from kdpinn_edge.comparison.backend import Case
from kdpinn_edge.errors import BenchError
from kdpinn_edge.problems import Problem, names, problem


def find_solved(manifest: Manifest) -> Problem | None:
    """The shipped problem that has the equation and the columns of `manifest`, if there is one."""
    inputs = tuple(column.name for column in manifest.inputs)
    outputs = tuple(column.name for column in manifest.functions["eval"].outputs)
    for each in map(problem, names()):
        if (each.equation, each.inputs, each.outputs) == (manifest.equation, inputs, outputs):
            return each
    return None


def solved_problem(case: Case) -> Problem:
    """The problem of a case. Raises BenchError where its bundle names none."""
    found = find_solved(case.manifest)
    if found is None:
        raise BenchError(
            f"the bundle {case.manifest.name} names no equation of a shipped problem ({', '.join(names())}), so "
            "nothing but the network is known of its function"
        )
    return found
