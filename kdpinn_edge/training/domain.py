"""Where a network is trained and judged: anywhere in its problem's box, or at the points of samples."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from kdpinn_edge.errors import ProblemError
from kdpinn_edge.problems import Problem
from kdpinn_edge.training.solution_errors import DRAWN, ReferencePoints, drawn_points

DRAWS = 200
"""How often so many points as are wanted are drawn in the box, to have enough of them inside a domain."""


class Domain(Protocol):
    """The points of a problem that there are to draw from; all are float64 and on the CPU."""

    @property
    def problem(self) -> Problem:
        """The problem whose inputs the points are."""

    def candidates(self, n: int, generator: torch.Generator) -> Tensor:
        """Draw at most n points to train on, (n, n_in)."""

    def held_out(self, n: int, generator: torch.Generator) -> Tensor:
        """Draw at most n points that are never trained on: the loss there decides which weights are kept."""

    def reference(self, *, coarser: int = 1) -> ReferencePoints | None:
        """The points at which errors are reported, with the exact values, if known; fewer where it may be `coarser`."""


@dataclass(frozen=True, eq=False)
class Box:
    """The box of a problem, of which any point may be drawn.

    `teacher` is what errors are measured against where the problem has no reference.
    """

    problem: Problem
    teacher: Callable[[Tensor], Tensor] | None = None

    def candidates(self, n: int, generator: torch.Generator) -> Tensor:
        """Draw n points, as `uniform` does."""
        return uniform(self.problem, n, generator)

    def held_out(self, n: int, generator: torch.Generator) -> Tensor:
        """Draw n points, as `uniform` does."""
        return uniform(self.problem, n, generator)

    def reference(self, *, coarser: int = 1) -> ReferencePoints | None:
        """The reference solution, if any, on the problem's grid, or a model that is followed at points of its own."""
        if self.problem.exact is not None or self.teacher is None:
            return ReferencePoints.of(self.problem, coarser=coarser)
        points = drawn_points(self.problem, DRAWN // coarser)
        with torch.no_grad():
            values = self.teacher(torch.from_numpy(points)).numpy()
        return ReferencePoints(points, values, "the teacher")


def uniform(problem: Problem, n: int, generator: torch.Generator) -> Tensor:
    """Draw n points, uniform in the problem's domain or in its inputs' logarithms, as it says: float64, on the CPU.

    Raises ProblemError where hardly any of the box is inside the domain.
    """
    return kept(problem, n, lambda count: in_box(problem, count, generator))


def kept(problem: Problem, n: int, draw: Callable[[int], Tensor]) -> Tensor:
    """The first n rows that `draw` makes of which all points (rows, n_in · places) are inside the problem's domain."""
    if problem.inside is None:
        return draw(n)
    found: list[Tensor] = []
    for _ in range(DRAWS):
        rows = draw(n)
        points = rows.reshape(-1, len(problem.inputs)).numpy()
        found.append(rows[torch.from_numpy(problem.is_inside(points)).view(len(rows), -1).all(1)])
        if sum(map(len, found)) >= n:
            return torch.cat(found)[:n]
    raise ProblemError(
        f"{problem.name}: {sum(map(len, found))} of {n * DRAWS} points of the box are inside the domain; expected: a "
        "box that fits it. Is the sign of inside right? It is negative inside, or True"
    )


def in_box(problem: Problem, n: int, generator: torch.Generator) -> Tensor:
    """Draw n points as `uniform` does, in the whole box."""
    lower = torch.tensor(problem.lower, dtype=torch.float64)
    upper = torch.tensor(problem.upper, dtype=torch.float64)
    share = torch.rand(n, len(lower), generator=generator, dtype=torch.float64)
    points = lower + (upper - lower) * share
    for i in map(problem.inputs.index, problem.logarithmic):
        points[:, i] = lower[i] * (upper[i] / lower[i]) ** share[:, i]
    return points
