"""What a student competes with that is no network: interpolants of the teacher, and the reference itself."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from math import floor

import numpy as np
from numpy.polynomial.chebyshev import chebpts1, chebvander
from scipy.interpolate import RegularGridInterpolator

from kdpinn_edge.classical.accuracy import Accuracy, against_reference
from kdpinn_edge.problems import Array, Problem
from kdpinn_edge.runtime.timing import PythonLoop, find_batch

LEAST_KNOTS = 4
TIMED_POINTS = 1024
SAMPLES = 9

Function = Callable[[Array], Array]


@dataclass(frozen=True)
class Baseline:
    """An alternative to a network: `numbers` are stored, a point takes `ns`, of 1 024 at once, in NumPy or SciPy."""

    name: str
    numbers: int
    accuracy: Accuracy
    ns: float


def baselines(problem: Problem, teacher: Function, numbers: int) -> Iterator[Baseline]:
    """Interpolants of `teacher` that store at most so many numbers per output, as many along each axis."""
    per_axis = floor(numbers ** (1 / len(problem.inputs)) + 1e-9)
    if per_axis >= LEAST_KNOTS:
        grid = "×".join([str(per_axis)] * len(problem.inputs))
        for name, make in (("Chebyshev series", chebyshev), ("cubic spline", spline)):
            found = make(problem, teacher, per_axis)
            stored = per_axis ** len(problem.inputs) * len(problem.outputs)
            yield Baseline(f"{name} {grid}", stored, against_reference(found, problem), _ns(found, problem))


def reference(problem: Problem) -> Baseline:
    """The reference solution: a closed form, or the table of a solver."""
    return Baseline("reference", 0, Accuracy(0.0, problem.exact_error, 0.0), _ns(problem.reference, problem))


def chebyshev(problem: Problem, teacher: Function, per_axis: int) -> Function:
    """The interpolant of `teacher` at Chebyshev's points, as a series."""
    nodes = chebpts1(per_axis)
    inverse = np.linalg.inv(chebvander(nodes, per_axis - 1))
    coefficients = teacher(_product(problem, nodes)).reshape(*[per_axis] * len(problem.inputs), -1)
    for axis in range(len(problem.inputs)):
        coefficients = np.moveaxis(np.tensordot(inverse, coefficients, (1, axis)), 0, axis)
    return partial(_series, problem, coefficients)


def _series(problem: Problem, coefficients: Array, x: Array) -> Array:
    """Σ c T_i(x) T_j(y) …, one input after the other."""
    unit = 2 * (x - problem.lower) / (np.array(problem.upper) - problem.lower) - 1
    first, *others = (chebvander(column, len(coefficients) - 1) for column in unit.T)
    values = np.tensordot(first, coefficients, 1)
    for matrix in others:
        values = np.einsum("ni,ni...->n...", matrix, values)
    return values


def spline(problem: Problem, teacher: Function, per_axis: int) -> Function:
    """The cubic spline through `teacher` on a regular grid."""
    values = teacher(_product(problem, np.linspace(-1, 1, per_axis))).reshape(*[per_axis] * len(problem.inputs), -1)
    axes = [np.linspace(*side, per_axis) for side in zip(problem.lower, problem.upper, strict=True)]
    made = RegularGridInterpolator(axes, values, method="cubic", bounds_error=False, fill_value=None)

    def evaluate(x: Array) -> Array:
        y: Array = made(x)
        return y

    return evaluate


def _product(problem: Problem, nodes: Array) -> Array:
    """All combinations of `nodes`, from [−1, 1] to the box: (n, n_in), the last input fastest."""
    lower, upper = np.array(problem.lower), np.array(problem.upper)
    unit = np.stack(np.meshgrid(*[nodes] * len(lower), indexing="ij"), axis=-1).reshape(-1, len(lower))
    points: Array = lower + (upper - lower) * (unit + 1) / 2
    return points.clip(lower, upper)


def _ns(function: Function, problem: Problem) -> float:
    x = np.random.default_rng(0).uniform(problem.lower, problem.upper, (TIMED_POINTS, len(problem.inputs)))
    loop = PythonLoop(partial(function, x))
    batch, _ = find_batch(loop)
    return float(np.median(loop.closed(batch, SAMPLES))) / TIMED_POINTS
