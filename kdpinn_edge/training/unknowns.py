"""The unknowns of an equation as training found them, and how far noise of the measurements may have moved them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import torch
from torch import Tensor

from kdpinn_edge.equation.condition import Condition
from kdpinn_edge.training.conditions import left, sheet
from kdpinn_edge.training.domain import uniform
from kdpinn_edge.training.objective import Physics
from kdpinn_edge.training.one_thread import one_thread
from kdpinn_edge.training.pinn import Pinn, Tape, jacobian
from kdpinn_edge.training.sampling import judged, with_unknowns

MOST_PARAMETERS = 2000
"""Above, the matrix of all parameters would take longer than is worth it."""
LEAST_POINTS = 1000
RELATIVE = 1e-12
"""Eigenvalues below this share of the largest are taken for 0: what they stand for, nothing determines."""


def standard_errors(net: Pinn, weights: Tensor) -> Mapping[str, float]:
    """The standard errors of the unknowns of `net`, which has minimised its equation and conditions of these weights.

        δθ = H⁺ Σ (λ/n) Jᵀε,   H = JᵀJ of all terms of the loss

    is what noise ε of the measurements does to the parameters θ, to first order. The variance of ε is estimated for
    each condition with data from what is left of it, over n less the trace of ∂u/∂ε. Errors of the equation, and of a
    network that is too small for the solution, are not in them. Empty where nothing is measured, where the network has
    more than MOST_PARAMETERS, or measurements do not suffice to estimate their noise.
    """
    problem, size = net.problem, sum(each.numel() for each in net.parameters())
    measured = [each for each in problem.soft if each.data]
    if not (problem.unknowns and measured and size <= MOST_PARAMETERS):
        return {}
    with one_thread():
        rows = torch.cat(list(_rows(net, weights)))
        values, vectors = torch.linalg.eigh(rows.T @ rows)
        held = values > RELATIVE * values[-1]
        inverse = (vectors[:, held] / values[held]) @ vectors[:, held].T
        variance = torch.zeros(len(problem.unknowns), dtype=torch.float64)
        for condition, weight in zip(problem.soft, weights.tolist(), strict=True):
            if not condition.data:
                continue
            r, J = _of(condition, net)
            moved = inverse @ J.T * (weight / r.shape[1])
            freedom = r.numel() - float((J * moved.T).sum())
            if freedom < 1:
                return {}
            variance += float(r.square().sum()) / freedom * moved[: len(variance)].square().sum(1)
        errors = variance.sqrt() * net.unknown_scale
    return dict(zip(problem.unknowns, errors.tolist(), strict=True))


def _of(condition: Condition, net: Pinn) -> tuple[Tensor, Tensor]:
    """What is left of a condition at all of its measurements, and its Jacobian."""
    tape = Tape()
    n = len(condition.columns) if condition.data else condition.n_points
    points = sheet(condition, net.problem, n, torch.Generator().manual_seed(0))
    r, unknowns = left(condition, net, points, tape)
    J = jacobian(r, tape, unknowns)
    return r.detach(), J


def _rows(net: Pinn, weights: Tensor) -> Iterator[Tensor]:
    """The Jacobian of each term of the loss, in units of its root: the equation's, and then those of the conditions."""
    objective = Physics(net.problem)
    size = sum(each.numel() for each in net.parameters())
    points = uniform(net.problem, max(LEAST_POINTS, 2 * size), torch.Generator().manual_seed(0))
    with torch.no_grad():
        _, batch = judged(net, points, objective)
    tape, unknowns = Tape(), net.unknowns(len(points))
    u = net.jet(points, objective.multi_indices, tape)
    r = objective.residuals(u, with_unknowns(batch, unknowns))
    yield jacobian(r, tape, unknowns) / len(points) ** 0.5
    for condition, weight in zip(net.problem.soft, weights.tolist(), strict=True):
        r, J = _of(condition, net)
        yield J * (weight / r.shape[1]) ** 0.5
