"""What a student competes with that is no network: tables through the teacher, the closed form, the reference itself.

Tables store as many numbers as a student has parameters, and are laid out by what is known of the solution
(`Problem.known`): a cubic spline, and a Chebyshev series, each as accurate as so many numbers allow.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial

import numpy as np

from kdpinn_edge.bundle.manifest import Input, Precision
from kdpinn_edge.bundle.probe import timed_points
from kdpinn_edge.classical.accuracy import Accuracy, against_reference
from kdpinn_edge.classical.bases import Chebyshev, Cubic
from kdpinn_edge.classical.fit import Function, Kind, of_numbers
from kdpinn_edge.classical.table import Table, name
from kdpinn_edge.importers.model import Model
from kdpinn_edge.numerics.reference import NumpyProgram
from kdpinn_edge.problems import Problem
from kdpinn_edge.runtime.timing import PythonLoop, find_batch
from kdpinn_edge.studies.study.latency import MANY, NetLatency

PRECISION: Precision = "float32"
SAMPLES = 9
KINDS: Mapping[str, Kind] = {"cubic spline": Cubic, "Chebyshev series": Chebyshev}


@dataclass(frozen=True)
class Baseline:
    """An alternative to a network: `numbers` are stored. In C and float32 but for the reference, which NumPy has."""

    name: str
    numbers: int
    accuracy: Accuracy
    latency: NetLatency


def tables(problem: Problem, teacher: Function, numbers: int) -> Iterator[tuple[str, Table]]:
    """The best tables through `teacher` that store at most so many numbers per output, by their names."""
    for kind, make in KINDS.items():
        table = of_numbers(teacher, problem, numbers, make)
        if table is not None:
            graded = ", graded" if any(axis.coordinate.width for axis in table.axes) else ""
            yield f"{kind} {name(table.axes)}{graded}", table.rounded(PRECISION)


def baseline(title: str, table: Table, problem: Problem, latency: NetLatency) -> Baseline:
    """The Baseline that `table` is."""
    return Baseline(title, table.numbers, against_reference(table, problem), latency)


def closed_form(model: Model, problem: Problem, latency: NetLatency) -> Baseline:
    """The Baseline that the Program of the closed form is."""
    computed = NumpyProgram(model.program, PRECISION)
    accuracy = against_reference(lambda x: computed(x.astype(PRECISION)), problem)
    return Baseline("closed form", 0, accuracy, latency)


def reference(problem: Problem) -> Baseline:
    """The reference solution in NumPy and float64: a closed form, a quadrature, or the table of a solver."""
    sides = zip(problem.inputs, problem.lower, problem.upper, strict=True)
    inputs = [Input(*side) for side in sides]
    one, many = (_ns(partial(problem.reference, timed_points(inputs, n))) for n in (1, MANY))
    return Baseline("reference, in NumPy", 0, Accuracy(0.0, problem.exact_error, 0.0), NetLatency(one, many / MANY))


def _ns(call: Callable[[], object]) -> float:
    loop = PythonLoop(call)
    batch, _ = find_batch(loop)
    return float(np.median(loop.closed(batch, SAMPLES)))
