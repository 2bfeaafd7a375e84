"""How wrong a network is as it is deployed: in float32, compiled for this machine."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np

from kdpinn_edge.classical.accuracy import Accuracy, against_reference, grid_in_float32, relative
from kdpinn_edge.derive.residual import residual, summands
from kdpinn_edge.engines import compile
from kdpinn_edge.numerics.reference import NumpyProgram
from kdpinn_edge.problems import Array, Problem
from kdpinn_edge.program.interp import interpret
from kdpinn_edge.program.ir import Program

STEP = 1e-4  # of the box, between the points of a difference
EIGHTH_ORDER = {1: 4 / 5, 2: -1 / 5, 3: 4 / 105, 4: -1 / 280}
SLOPE_POINTS = 10_000


@dataclass(frozen=True)
class NetAccuracy(Accuracy):
    """The accuracy of a network, with ‖∇u − ∇u*‖₂/‖∇u*‖₂ over all first derivatives, ∇u* by differences.

    Of a problem without a reference all that is known is the residual: its L2 norm over that of the equation's largest
    term, its largest value, and √mean r². No slopes are known then.
    """

    slopes_l2: float | None


def accuracy(program: Program, problem: Problem) -> NetAccuracy:
    """The accuracy of `program` in float32: values on the problem's grid, slopes on a coarser one inside the box."""
    if problem.exact is None:
        return _of_residual(program, problem)
    requests = [f"{output}_{column}" for output in problem.outputs for column in problem.inputs]
    box = problem.lower, problem.upper
    u = compile(program, domain=box, derivatives=requests, max_relative_error=np.inf)
    found = against_reference(lambda x: u(x.astype(np.float32)), problem)
    points, exact = _slopes_inside(problem)
    jet = u.jet(points.astype(np.float32))
    slopes = np.stack([jet[request] for request in requests], axis=1)
    return NetAccuracy(**vars(found), slopes_l2=relative(slopes - exact, exact))


def _of_residual(program: Program, problem: Problem) -> NetAccuracy:
    equation = residual(program, problem)
    points = grid_in_float32(problem)
    r = NumpyProgram(equation, "float32")(points.astype(np.float32)).astype(np.float64)
    terms = [interpret(each, points) for each in summands(equation)]
    largest = np.stack([np.linalg.norm(each, axis=0).max() for each in terms])
    norms = np.linalg.norm(r, axis=0)
    return NetAccuracy(
        relative_l2=float((norms / largest).max()),
        max_abs=float(np.abs(r).max()),
        rmse=float(np.sqrt(np.mean(r**2))),
        slopes_l2=None,
    )


@cache
def _slopes_inside(problem: Problem) -> tuple[Array, Array]:
    """Points of a coarser grid inside the box, as float32 holds them, and the slopes of the reference there."""
    margin = 5 * STEP * (np.array(problem.upper) - problem.lower)
    per_axis = round(SLOPE_POINTS ** (1 / len(problem.inputs)))
    points = problem.grid([per_axis] * len(problem.inputs)).clip(problem.lower + margin, problem.upper - margin)
    points = points.astype(np.float32).astype(np.float64)
    return points, reference_slopes(problem, points)


def reference_slopes(problem: Problem, points: Array) -> Array:
    """All first derivatives of the reference, by differences of order 8: (n, n_out · n_in), output by output."""
    columns = []
    for i, side in enumerate(np.array(problem.upper) - problem.lower):
        h = np.zeros(len(problem.inputs))
        h[i] = STEP * side
        difference = sum(
            c * (problem.reference(points + k * h) - problem.reference(points - k * h)) for k, c in EIGHTH_ORDER.items()
        )
        columns.append(difference / h[i])
    slopes: Array = np.stack(columns, axis=2).reshape(len(points), -1)
    return slopes
