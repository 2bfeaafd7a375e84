"""What a budget holds: the points of a draw and the rounds of a run.

Runs stop by count, so that they can be repeated; what a round costs is measured once, here.
"""

from __future__ import annotations

from dataclasses import replace
from math import ceil
from typing import TypeVar

import torch

from kdpinn_edge.training.config import TrainConfig
from kdpinn_edge.training.device import find_device
from kdpinn_edge.training.domain import Domain
from kdpinn_edge.training.fit import pace
from kdpinn_edge.training.objective import Objective
from kdpinn_edge.training.pinn import Pinn
from kdpinn_edge.training.sampling import judged

RESIDUALS_PER_WEIGHT = 2
FEWEST_POINTS = 200
MOST_RESIDUALS = 3000

Config = TypeVar("Config", bound=TrainConfig)


def recipe_within(cpu_seconds: float, objective: Objective, domain: Domain, config: Config) -> Config:
    """`config` with its points, and the rounds after Adam that so many CPU seconds hold on this machine; maybe none.

    The points give RESIDUALS_PER_WEIGHT residuals for each weight, so that a step of least squares is as dear
    whether a point has one residual or nine, but MOST_RESIDUALS in all, and FEWEST_POINTS at least. Each round draws
    others, so that more of them bring less than more rounds (docs/training.md).
    """
    net = Pinn(domain.problem, config.hidden, activation=config.activation).to(find_device(config.device))
    config = replace(config, n_points=min(_points(net, objective, domain), config.n_candidates))
    before, per_round = pace(net, objective, domain, config)
    return replace(config, newton_rounds=max(0, int((cpu_seconds - before) / per_round)))


@torch.no_grad()
def _points(net: Pinn, objective: Objective, domain: Domain) -> int:
    point = domain.candidates(1, torch.Generator()).to(net.device)
    at_one = objective.residuals(*judged(net, point, objective))
    weights = sum(parameter.numel() for parameter in net.parameters())
    return max(FEWEST_POINTS, ceil(min(RESIDUALS_PER_WEIGHT * weights, MOST_RESIDUALS) / len(at_one)))
