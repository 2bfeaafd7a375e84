"""How wrong a function is against the reference of its problem, on the problem's grid."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import numpy as np

from kdpinn_edge.problems import Array, Problem


@dataclass(frozen=True)
class Accuracy:
    """‖u − u*‖₂/‖u*‖₂, max |u − u*| and √mean |u − u*|², over all outputs, u* the reference solution."""

    relative_l2: float
    max_abs: float
    rmse: float


def against_reference(u: Callable[[Array], Array], problem: Problem) -> Accuracy:
    """The accuracy of any function of points (n, n_in), of which it gets such as float32 can hold."""
    return against(u, *values_on_grid(problem))


def against(u: Callable[[Array], Array], points: Array, exact: Array) -> Accuracy:
    """The accuracy of any function of points (n, n_in), at `points`, where the values are `exact`."""
    difference = u(points) - exact
    rmse = float(np.sqrt(np.mean(difference**2)))
    return Accuracy(relative(difference, exact), float(np.abs(difference).max()), rmse)


@cache
def values_on_grid(problem: Problem) -> tuple[Array, Array]:
    """The points of the problem's grid, as float32 holds them, and the reference there."""
    points = grid_in_float32(problem)
    return points, problem.reference(points)


def grid_in_float32(problem: Problem) -> Array:
    """The points of the problem's grid, as float32 holds them."""
    rounded = problem.grid(problem.per_axis).astype(np.float32).astype(np.float64)
    points: Array = rounded.clip(problem.lower, problem.upper)  # rounding may have left the box
    return points


def relative(difference: Array, exact: Array) -> float:
    """‖difference‖₂/‖exact‖₂."""
    return float(np.linalg.norm(difference) / np.linalg.norm(exact))
