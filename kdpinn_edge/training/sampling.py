"""Where a network is trained: more points where its solution is steep, and where it is wrong."""

from __future__ import annotations

import torch
from torch import Tensor

from kdpinn_edge.errors import TrainError
from kdpinn_edge.problems import Problem
from kdpinn_edge.training import jets
from kdpinn_edge.training.jets import Jet
from kdpinn_edge.training.objective import Batch, Objective, batch_at, first_multi_indices, steepness
from kdpinn_edge.training.pinn import Pinn


def uniform(problem: Problem, n: int, generator: torch.Generator) -> Tensor:
    """Draw n points, uniform in the problem's box or in its inputs' logarithms, as it says: (n, n_in), float64, CPU."""
    lower = torch.tensor(problem.lower, dtype=torch.float64)
    upper = torch.tensor(problem.upper, dtype=torch.float64)
    share = torch.rand(n, len(lower), generator=generator, dtype=torch.float64)
    points = lower + (upper - lower) * share
    for i in map(problem.inputs.index, problem.logarithmic):
        points[:, i] = lower[i] * (upper[i] / lower[i]) ** share[:, i]
    return points


@torch.no_grad()
def draw(net: Pinn, objective: Objective, n: int, n_candidates: int, generator: torch.Generator) -> Batch:
    """Draw n of `n_candidates` uniform points, without repetition, with density 1 + |∇u| + |r|, each over its mean.

    |r| is the root of the sum of squares of the objective's residuals at a point. The generator is the CPU's, wherever
    the network is, so that every device has the same draws. Raises TrainError where the network is not finite.
    """
    candidates = uniform(net.problem, n_candidates, generator).to(net.device)
    u, batch = judged(net, candidates, objective)
    slope, wrong = steepness(u), objective.residuals(u, batch).norm(dim=0)
    density = 1 + _over_mean(slope) + _over_mean(wrong)
    if not density.isfinite().all():
        raise TrainError(
            "the network has diverged: it is not finite where points are drawn. The usual fix: a smaller rate of Adam, "
            "or other weights of the losses"
        )
    chosen = torch.multinomial(density.cpu(), n, replacement=False, generator=generator).to(net.device)
    return Batch(candidates[chosen], batch.weights[chosen], batch.targets[chosen])


def judged(net: Pinn, points: Tensor, objective: Objective) -> tuple[Jet, Batch]:
    """`net` at the points, with the derivatives that `objective` and the weights need, and all points as a batch."""
    u = net.jet(points, jets.closed([*objective.multi_indices, *first_multi_indices(net.problem)]))
    return u, batch_at(points, u, objective)


def _over_mean(values: Tensor) -> Tensor:
    """`values` over their mean; 0 where all are."""
    return values / values.mean().clamp(min=1e-300)
