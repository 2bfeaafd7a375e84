"""What is minimised: the physics loss of a teacher, and the paper's distillation loss of a student.

Each objective is a `loss`, and the same number as a mean of squares, `residuals`, for least-squares optimisers.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import log, sqrt
from typing import Protocol

import torch
from torch import Tensor

from kdpinn_edge.names import Derivative, Input, Names, Term
from kdpinn_edge.problems import Problem
from kdpinn_edge.train.jets import Jet
from kdpinn_edge.train.pinn import Pinn


@dataclass(frozen=True, eq=False)
class Batch:
    """Collocation points (n, n_in), their weights (n,), and the teacher's values there: (n, n_out), or (n, 0)."""

    points: Tensor
    weights: Tensor
    targets: Tensor


class Objective(Protocol):
    """A loss on a batch; `loss == residuals.square().sum(0).mean()`."""

    def targets(self, points: Tensor) -> Tensor:
        """The teacher's values at points (n, n_in): (n, n_out), or (n, 0) without a teacher."""

    def residuals(self, u: Jet, batch: Batch) -> Tensor:
        """(k, n), row by row what should vanish."""

    def loss(self, u: Jet, batch: Batch) -> Tensor:
        """The mean over the batch, a scalar."""


@dataclass(frozen=True, eq=False)
class Physics:
    """L = mean(w r²), r the problem's residual and w = 1/(1 + |∇u|), so that a shock does not drown the rest."""

    problem: Problem

    def targets(self, points: Tensor) -> Tensor:
        """Nothing: (n, 0)."""
        return points[:, :0]

    def residuals(self, u: Jet, batch: Batch) -> Tensor:
        """√w r, (equations, n)."""
        names = Names(self.problem.inputs, self.problem.outputs)
        terms = [self._column(names.read(term), u, batch.points) for term in self.problem.terms]
        residuals = torch.stack(list(self.problem.residual(*terms)))
        if self.problem.source is not None:
            columns = torch.tensor_split(batch.points, len(self.problem.inputs), dim=1)
            residuals = residuals - torch.stack([side[:, 0] for side in self.problem.source(torch, *columns)])
        return residuals * batch.weights.sqrt()

    def loss(self, u: Jet, batch: Batch) -> Tensor:
        """mean(w r²)."""
        return self.residuals(u, batch).square().sum(0).mean()

    def _column(self, term: Term, u: Jet, points: Tensor) -> Tensor:
        match term:
            case Input(column):
                return points[:, self.problem.inputs.index(column)]
            case Derivative(column, word):
                return u["".join(word)][:, self.problem.outputs.index(column)]
        raise AssertionError(term)


@dataclass(frozen=True, eq=False)
class Distillation:
    """L = mean KL(N(u_T, σ²) ‖ N(u_S, σ²)) + λ mean(w r²): follow the teacher, and obey the physics.

    σ = `sigma` is the spread that teacher and student are credited with. With one σ for both the divergence is
    (u_T − u_S)²/(2σ²), so L is a weighted least-squares problem in which σ and λ = `physics_weight` only trade the
    two terms: 2σ²λ is the price of w r² in units of (u_T − u_S)².
    """

    teacher: Pinn
    sigma: float
    physics_weight: float

    @torch.no_grad()
    def targets(self, points: Tensor) -> Tensor:
        """u_T at the points, (n, n_out)."""
        values: Tensor = self.teacher(points)
        return values

    def residuals(self, u: Jet, batch: Batch) -> Tensor:
        """(u_S − u_T)/(√2 σ) and √(λw) r: (n_out + equations, n)."""
        departure = (u[""] - batch.targets).T / (sqrt(2) * self.sigma)
        return torch.cat((departure, sqrt(self.physics_weight) * self._physics.residuals(u, batch)))

    def loss(self, u: Jet, batch: Batch) -> Tensor:
        """The divergence summed over the outputs, plus the weighted physics loss."""
        divergence = gaussian_kl(batch.targets, self.sigma, u[""], self.sigma).sum(1).mean()
        return divergence + self.physics_weight * self._physics.loss(u, batch)

    @property
    def _physics(self) -> Physics:
        return Physics(self.teacher.problem)


def gaussian_kl(mean_p: Tensor, sigma_p: float, mean_q: Tensor, sigma_q: float) -> Tensor:
    """KL(N(μ_p, σ_p²) ‖ N(μ_q, σ_q²)) = ln(σ_q/σ_p) + (σ_p² + (μ_p − μ_q)²)/(2σ_q²) − ½, elementwise.

    For σ_p = σ_q = σ the logarithm vanishes and σ²/(2σ²) cancels the ½: what remains is (μ_p − μ_q)²/(2σ²), a mean
    squared error with weight 1/(2σ²).
    """
    return log(sigma_q / sigma_p) + ((sigma_p / sigma_q) ** 2 - 1 + ((mean_p - mean_q) / sigma_q) ** 2) / 2


def steepness(u: Jet) -> Tensor:
    """|∇u|, (n,): the root of the sum of squares of all first derivatives of all outputs."""
    first = [u[word].square().sum(1) for word in u.words if len(word) == 1]
    return torch.stack(first).sum(0).sqrt()


def batch_at(points: Tensor, u: Jet, objective: Objective) -> Batch:
    """All of `points` as a batch. The weights are those of u now, and stay when u is trained further."""
    return Batch(points, 1 / (1 + steepness(u)), objective.targets(points))
