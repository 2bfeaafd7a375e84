"""Where a network is trained: more points where its solution is steep, and where it is wrong."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from kdpinn_edge.errors import TrainError
from kdpinn_edge.training import jets
from kdpinn_edge.training.domain import Domain
from kdpinn_edge.training.jets import Jet
from kdpinn_edge.training.objective import Batch, Objective, batch_at, causally, drawn_by, steepness
from kdpinn_edge.training.pinn import Pinn, Unknowns

CHECKED = 1000
MOST_CORNERS = 10


@torch.no_grad()
def draw(net: Pinn, objective: Objective, candidates: Tensor, n: int, generator: torch.Generator) -> Batch:
    """Draw n of the candidates, or all, without repetition, with density 1 + |∇u| + |r|, each over its mean.

    |r| is the root of the sum of squares of the objective's residuals at a point. The generator is the CPU's, wherever
    the network is, so that every device has the same draws. Raises TrainError where the network is not finite.
    """
    candidates = candidates.to(net.device)
    u, batch = judged(net, candidates, objective)
    slope, wrong = steepness(u), objective.residuals(u, batch).norm(dim=0)
    density = 1 + _over_mean(slope) + _over_mean(wrong)
    if not density.isfinite().all():
        raise TrainError(
            "the network has diverged: it is not finite where points are drawn. The usual fix: a smaller rate of Adam, "
            "or other weights of the losses"
        )
    n = min(n, len(candidates))
    chosen = torch.multinomial(density.cpu(), n, replacement=False, generator=generator).to(net.device)
    weights = causally(batch, u, objective).weights
    return Batch(candidates[chosen], weights[chosen], batch.targets[chosen])


@torch.no_grad()
def check_finite_start(net: Pinn, objective: Objective, domain: Domain) -> None:
    """Raise TrainError, with a point, where the untrained network or its residual is not finite in the domain.

    At the corners of the box derivatives need not be: no point is drawn there.
    """
    n_in, box = len(net.problem.inputs), net.problem
    every = box.grid([2] * n_in) if n_in <= MOST_CORNERS else np.array([box.lower, box.upper], np.float64)
    corners = torch.from_numpy(every).to(net.device)
    inside = domain.candidates(CHECKED, torch.Generator().manual_seed(0)).to(net.device)
    u, batch = judged(net, inside, objective)
    parts = (
        ("the network", corners, net(corners)),
        ("the network, or a derivative of it,", inside, u.data.movedim(1, 0).flatten(1)),
        ("the residual", inside, objective.residuals(u, batch).T),
    )
    for what, points, values in parts:
        if not (finite := values.isfinite().all(1)).all():
            point = points[int((~finite).nonzero()[0, 0])].tolist()
            at = ", ".join(f"{name} = {x:g}" for name, x in zip(net.problem.inputs, point, strict=True))
            raise TrainError(
                f"{net.problem.name}: {what} is not finite at {at}, before any training; expected: finite numbers in "
                f"all of {net.problem.domain}. The usual cause: a division by zero, or a logarithm or a root of a "
                "number below 0"
            )


def judged(net: Pinn, points: Tensor, objective: Objective, targets: Tensor | None = None) -> tuple[Jet, Batch]:
    """`net` at the points, with the derivatives that `objective` and the weights need, and all points as a batch.

    `targets` are those of the objective at the points, where they are known.
    """
    u = net.jet(points, jets.closed([*objective.multi_indices, *drawn_by(net.problem)]))
    return u, with_unknowns(batch_at(points, u, objective, targets), net.unknowns(len(points)))


def with_unknowns(batch: Batch, unknowns: Unknowns | None) -> Batch:
    """The batch with the values of the unknowns of its equation, where it has any."""
    return batch if unknowns is None else replace(batch, unknowns=unknowns.values)


def _over_mean(values: Tensor) -> Tensor:
    """`values` over their mean; 0 where all are."""
    return values / values.mean().clamp(min=1e-300)
