"""What is minimised: the physics loss of a teacher, and for a student a mixture of it with what follows the teacher.

Each objective is a `loss`, and the same number as a mean of squares, `residuals`, for least-squares optimisers.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from math import log, sqrt
from typing import Protocol

import torch
from torch import Tensor

from kdpinn_edge.derive.names import Derivative, InputColumn, Names
from kdpinn_edge.equation.arithmetic import MATH
from kdpinn_edge.errors import TrainError
from kdpinn_edge.problems import Causal, Problem
from kdpinn_edge.training import jets
from kdpinn_edge.training.jets import Jet
from kdpinn_edge.training.teacher import Teacher
from kdpinn_edge.training.values import Values, split

MOST_INPUTS = 9


@dataclass(frozen=True, eq=False)
class Batch:
    """Collocation points (n, n_in), their weights (n,), and what of the teacher is to be followed there: (n, k).

    `unknowns` are the values of the equation's unknowns at each point, (n, unknowns).
    """

    points: Tensor
    weights: Tensor
    targets: Tensor
    unknowns: Tensor | None = None


class Objective(Protocol):
    """A loss on a batch; `loss == residuals.square().sum(0).mean()`."""

    @property
    def multi_indices(self) -> tuple[str, ...]:
        """The derivatives of a network that the loss needs, as `jets.closed` has them."""

    @property
    def n_targets(self) -> int:
        """The number of columns of the targets."""

    @property
    def physics_weight(self) -> float:
        """The weight of the equation in the loss, which is that of the conditions beside it; 0 where it has no part."""

    def targets(self, points: Tensor) -> Tensor:
        """The values of the teacher to follow at points (n, n_in): (n, k), k = 0 without a teacher."""

    def residuals(self, u: Jet, batch: Batch) -> Tensor:
        """The residuals (k, n), row by row what should vanish."""

    def loss(self, u: Jet, batch: Batch) -> Tensor:
        """The loss, a mean over the batch: a scalar."""


@dataclass(frozen=True, eq=False)
class Physics:
    """L = mean(w r²), r the problem's residual and w = 1/(1 + |∇u|), so that a shock does not drown the rest.

    Where the problem has a weight of its own, its square is a factor of w.
    """

    problem: Problem

    @property
    def multi_indices(self) -> tuple[str, ...]:
        """The derivatives that the residual needs."""
        return jets.of(self.problem)

    @property
    def n_targets(self) -> int:
        """The number of columns of the targets: 0, since no teacher is followed."""
        return 0

    @property
    def physics_weight(self) -> float:
        """The weight of the equation: 1."""
        return 1.0

    def targets(self, points: Tensor) -> Tensor:
        """The targets, without columns: (n, 0)."""
        return points[:, :0]

    def residuals(self, u: Jet, batch: Batch) -> Tensor:
        """The weighted residuals √w r, (equations, n)."""
        terms = map(Values, self.terms(u, batch.points, batch.unknowns))
        residuals = torch.stack([each.tensor for each in self.problem.residual(*terms)])
        columns = split(batch.points)
        if self.problem.source is not None:
            residuals = residuals - torch.stack([side.tensor[:, 0] for side in self.problem.source(MATH, *columns)])
        if callable(self.problem.weight):
            residuals = residuals * self.problem.weight(MATH, *columns).tensor[:, 0]
        return residuals * batch.weights.sqrt()

    def terms(self, u: Jet, points: Tensor, unknowns: Tensor | None = None) -> list[Tensor]:
        """The terms of the residual at the points, each (n,)."""
        return [term_at(self.problem, term, u, points, unknowns) for term in self.problem.terms]

    def loss(self, u: Jet, batch: Batch) -> Tensor:
        """The physics loss, mean(w r²)."""
        return self.residuals(u, batch).square().sum(0).mean()


def term_at(problem: Problem, name: str, u: Jet, points: Tensor, unknowns: Tensor | None) -> Tensor:
    """The input, output, derivative or unknown of this name at the points, (n,)."""
    if unknowns is not None and name in problem.unknowns:
        return unknowns[:, list(problem.unknowns).index(name)]
    match Names(problem.inputs, problem.outputs).read(name):
        case InputColumn(column):
            return points[:, problem.inputs.index(column)]
        case Derivative(column, multi_index):
            letter = jets.letters(problem.inputs)
            return u["".join(letter[name] for name in multi_index)][:, problem.outputs.index(column)]
    raise AssertionError(name)


@dataclass(frozen=True, eq=False)
class Divergence:
    """L = mean KL(N(u_T, σ²) ‖ N(u_S, σ²)): follow the teacher's values.

    σ = `sigma` is the spread that teacher and student are credited with. With one σ for both this is the mean of
    (u_T − u_S)²/(2σ²): matching values by least squares.
    """

    teacher: Teacher
    sigma: float

    @property
    def multi_indices(self) -> tuple[str, ...]:
        """The multi-index of the value alone."""
        return ("",)

    @property
    def n_targets(self) -> int:
        """The number of columns of the targets: one per output."""
        return len(self.teacher.problem.outputs)

    @property
    def physics_weight(self) -> float:
        """The weight of the equation, which has no part in it: 0."""
        return 0.0

    @torch.no_grad()
    def targets(self, points: Tensor) -> Tensor:
        """The values u_T of the teacher at the points, (n, n_out)."""
        return _finite(self.teacher(points), points, self.teacher)

    def residuals(self, u: Jet, batch: Batch) -> Tensor:
        """The residuals (u_S − u_T)/(√2 σ), (n_out, n)."""
        return (u[""] - batch.targets).T / (sqrt(2) * self.sigma)

    def loss(self, u: Jet, batch: Batch) -> Tensor:
        """The divergence summed over the outputs."""
        return gaussian_kl(batch.targets, self.sigma, u[""], self.sigma).sum(1).mean()


@dataclass(frozen=True, eq=False)
class Slopes:
    """L = mean(w |∇u_S − ∇u_T|²), w = 1/(1 + |∇u|): follow the teacher's first derivatives (W. Czarnecki, 2017)."""

    teacher: Teacher

    @property
    def multi_indices(self) -> tuple[str, ...]:
        """The multi-indices of the value and of the first derivatives that the residual needs."""
        return first_multi_indices(self.teacher.problem)

    @property
    def n_targets(self) -> int:
        """The number of columns of the targets: one per output and input."""
        return len(self.teacher.problem.outputs) * (len(self.multi_indices) - 1)

    @property
    def physics_weight(self) -> float:
        """The weight of the equation, which has no part in it: 0."""
        return 0.0

    @torch.no_grad()
    def targets(self, points: Tensor) -> Tensor:
        """The first derivatives of u_T that the residual needs, side by side."""
        return _finite(_slopes(self.teacher.jet(points, self.multi_indices)), points, self.teacher)

    def residuals(self, u: Jet, batch: Batch) -> Tensor:
        """The residuals √w (∂u_S − ∂u_T), one row per output and input."""
        return (_slopes(u) - batch.targets).T * batch.weights.sqrt()

    def loss(self, u: Jet, batch: Batch) -> Tensor:
        """The loss of the slopes, a mean over the batch."""
        return self.residuals(u, batch).square().sum(0).mean()


@dataclass(frozen=True, eq=False)
class Mixture:
    """L = Σ λ L_i: objectives, each with its weight λ > 0. Their targets lie side by side in a batch."""

    terms: tuple[tuple[float, Objective], ...]

    @property
    def multi_indices(self) -> tuple[str, ...]:
        """The derivatives that the terms need, with those of their product rules."""
        return jets.closed([multi_index for _, term in self.terms for multi_index in term.multi_indices])

    @property
    def n_targets(self) -> int:
        """The number of columns of the targets of all terms."""
        return sum(term.n_targets for _, term in self.terms)

    @property
    def physics_weight(self) -> float:
        """The weight of the equation in the sum."""
        return sum(weight * term.physics_weight for weight, term in self.terms)

    def targets(self, points: Tensor) -> Tensor:
        """The targets of all terms, side by side."""
        return torch.cat([term.targets(points) for _, term in self.terms], dim=1)

    def residuals(self, u: Jet, batch: Batch) -> Tensor:
        """√λ times the residuals of each term, one below the other."""
        parts = [sqrt(weight) * term.residuals(u, own) for weight, term, own in self._own(batch)]
        return torch.cat(parts)

    def loss(self, u: Jet, batch: Batch) -> Tensor:
        """The weighted sum of the losses of all terms."""
        return torch.stack([weight * term.loss(u, own) for weight, term, own in self._own(batch)]).sum()

    def _own(self, batch: Batch) -> Iterator[tuple[float, Objective, Batch]]:
        """Each term with its own targets."""
        start = 0
        for weight, term in self.terms:
            end = start + term.n_targets
            yield weight, term, replace(batch, targets=batch.targets[:, start:end])
            start = end


def distillation(teacher: Teacher, sigma: float, physics_weight: float, slope_weight: float) -> Mixture:
    """Follow the teacher, and obey the physics: the divergence, and what has a weight above 0.

    The paper's loss is the divergence and the physics: there σ and λ = `physics_weight` only trade the two terms, and
    2σ²λ is the price of w r² in units of (u_T − u_S)².
    """
    more = (slope_weight, Slopes(teacher)), (physics_weight, Physics(teacher.problem))
    return Mixture(((1.0, Divergence(teacher, sigma)), *((weight, term) for weight, term in more if weight > 0)))


def gaussian_kl(mean_p: Tensor, sigma_p: float, mean_q: Tensor, sigma_q: float) -> Tensor:
    """KL(N(μ_p, σ_p²) ‖ N(μ_q, σ_q²)) = ln(σ_q/σ_p) + (σ_p² + (μ_p − μ_q)²)/(2σ_q²) − ½, elementwise.

    For σ_p = σ_q = σ the logarithm vanishes and σ²/(2σ²) cancels the ½: what remains is (μ_p − μ_q)²/(2σ²), a mean
    squared error with weight 1/(2σ²).
    """
    return log(sigma_q / sigma_p) + ((sigma_p / sigma_q) ** 2 - 1 + ((mean_p - mean_q) / sigma_q) ** 2) / 2


def _finite(targets: Tensor, points: Tensor, teacher: Teacher) -> Tensor:
    """The targets. Raises TrainError where one is no number, with the point."""
    if not (finite := targets.isfinite().all(1)).all():
        point = points[int((~finite).nonzero()[0, 0])].tolist()
        at = ", ".join(f"{name} = {x:g}" for name, x in zip(teacher.problem.inputs, point, strict=True))
        raise TrainError(
            f"the teacher is not finite at {at}; expected: finite values and slopes in all of {teacher.problem.domain}"
        )
    return targets


def _slopes(u: Jet) -> Tensor:
    """All first derivatives of all outputs side by side: (n, inputs · n_out)."""
    count = sum(len(multi_index) == 1 for multi_index in u.multi_indices)
    return u.data[1 : 1 + count].movedim(0, 1).flatten(1)


def first_multi_indices(problem: Problem) -> tuple[str, ...]:
    """The value, and the first derivatives that the residual of `problem` needs; all where it has no equation."""
    if not problem.equation:
        return jets.closed(list(jets.letters(problem.inputs).values()))
    return tuple(multi_index for multi_index in jets.of(problem) if len(multi_index) <= 1)


def drawn_by(problem: Problem) -> tuple[str, ...]:
    """The derivatives by which points are drawn and weighed: none by MOST_INPUTS or more, of which each costs time."""
    return first_multi_indices(problem) if len(problem.inputs) < MOST_INPUTS else ("",)


def steepness(u: Jet) -> Tensor:
    """|∇u|, (n,): the root of the sum of squares of all first derivatives of all outputs."""
    return _slopes(u).square().sum(1).sqrt()


def batch_at(points: Tensor, u: Jet, objective: Objective, targets: Tensor | None = None) -> Batch:
    """Make a batch of all of `points`, with their `targets` where they are known.

    The weights are those of u now, and stay when u is trained further.
    """
    return Batch(points, 1 / (1 + steepness(u)), objective.targets(points) if targets is None else targets)


@torch.no_grad()
def causally(batch: Batch, u: Jet, objective: Objective) -> Batch:
    """The batch with the weights of causal weighting, where its problem asks for them: those of u now.

    A teacher that is followed makes them needless. The integral over time is a sum over the points, which are uniform.
    """
    if not isinstance(objective, Physics) or not isinstance(objective.problem.weight, Causal):
        return batch
    causal, inputs = objective.problem.weight, objective.problem.inputs
    order = batch.points[:, inputs.index(causal.input)].argsort(stable=True)
    unweighted = replace(batch, weights=torch.ones_like(batch.weights))
    squares = objective.residuals(u, unweighted).square().sum(0)[order]
    before = squares.cumsum(0) - squares
    weights = torch.empty_like(batch.weights)
    weights[order] = torch.exp(-causal.strength * before / squares.sum().clamp(min=1e-300))
    return replace(batch, weights=batch.weights * weights)
