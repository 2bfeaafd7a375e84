"""How wrong a network is: measured against its problem's reference, on a regular grid over the box."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from kdpinn_edge.problems import Array, Problem
from kdpinn_edge.train.pinn import Pinn


@dataclass(frozen=True)
class Errors:
    """‖u − u*‖₂/‖u*‖₂ and max |u − u*|, over all outputs and n_points points."""

    relative_l2: float
    max_abs: float
    n_points: int


@dataclass(frozen=True, eq=False)
class Reference:
    """Points (n, n_in) and the exact values there (n, n_out), evaluated in `blocks` parts to bound the memory."""

    points: Array
    values: Array
    blocks: int

    @staticmethod
    def on_grid(problem: Problem, per_axis: int) -> Reference:
        """A regular grid of per_axis ** n_in points, corners included."""
        points = problem.grid(per_axis)
        return Reference(points, problem.reference(points), per_axis)

    @torch.no_grad()
    def errors(self, net: Pinn) -> Errors:
        """The errors of `net` at these points."""
        blocks = np.array_split(self.points, self.blocks)
        u = np.concatenate([net(torch.from_numpy(block)).numpy() for block in blocks])
        relative_l2 = float(np.linalg.norm(u - self.values) / np.linalg.norm(self.values))
        return Errors(relative_l2, float(np.abs(u - self.values).max()), len(self.points))
