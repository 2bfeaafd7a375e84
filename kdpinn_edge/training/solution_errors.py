"""How wrong a network is: measured against its problem's reference, on a regular grid over the box.

A model that is followed is a reference too. It may have many inputs, and then no grid: it is asked at random points.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
import torch

from kdpinn_edge.problems import Array, Problem
from kdpinn_edge.training.pinn import Pinn

POINTS_AT_ONCE = 1024
DRAWN = 9000


@dataclass(frozen=True)
class SolutionErrors:
    """‖u − u*‖₂/‖u*‖₂, max |u − u*| and mean |u − u*|, over all outputs and n_points points.

    `outputs_l2` is the first of these for each output alone, in the problem's order.
    """

    relative_l2: float
    max_abs: float
    mean_abs: float
    outputs_l2: tuple[float, ...]
    n_points: int


@dataclass(frozen=True, eq=False)
class ReferencePoints:
    """Points (n, n_in) and the values there (n, n_out) that are taken for exact: those of `name`."""

    points: Array
    values: Array
    name: str = "the reference"

    @staticmethod
    @cache  # a reference may take longer than training does between two looks at it
    def on_grid(problem: Problem, *, coarser: int = 1) -> ReferencePoints:
        """The reference on the problem's grid, corners included, or on one that is `coarser` times along each axis."""
        points = problem.grid([1 + (n - 1) // coarser for n in problem.per_axis])
        return ReferencePoints(points, problem.reference(points))

    @staticmethod
    def of(problem: Problem, *, coarser: int = 1) -> ReferencePoints | None:
        """The reference of a problem on its grid, if it has one; of a model that is followed at points of its own."""
        if problem.exact is None:
            return None
        if problem.equation:
            return ReferencePoints.on_grid(problem, coarser=coarser)
        return ReferencePoints.drawn(problem, DRAWN // coarser)

    @staticmethod
    @cache
    def drawn(problem: Problem, n: int) -> ReferencePoints:
        """The reference at n points that are uniform in the box, and such as float32 holds."""
        points = drawn_points(problem, n)
        return ReferencePoints(
            points, problem.reference(points), "the reference" if problem.equation else "the teacher"
        )

    @torch.no_grad()
    def errors(self, net: Pinn) -> SolutionErrors:
        """The errors of `net` at these points."""
        blocks = np.array_split(self.points, -(-len(self.points) // POINTS_AT_ONCE))
        u = np.concatenate([net(torch.from_numpy(block).to(net.device)).cpu().numpy() for block in blocks])
        wrong = u - self.values
        return SolutionErrors(
            relative_l2=float(np.linalg.norm(wrong) / np.linalg.norm(self.values)),
            max_abs=float(np.abs(wrong).max()),
            mean_abs=float(np.abs(wrong).mean()),
            outputs_l2=tuple((np.linalg.norm(wrong, axis=0) / np.linalg.norm(self.values, axis=0)).tolist()),
            n_points=len(self.points),
        )


def drawn_points(problem: Problem, n: int) -> Array:
    """The n points at which a model that is followed is asked: uniform in the box, and such as float32 holds."""
    points = np.random.default_rng(n).uniform(problem.lower, problem.upper, (n, len(problem.inputs)))
    return points.astype(np.float32).astype(np.float64).clip(problem.lower, problem.upper)
