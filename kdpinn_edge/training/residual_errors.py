"""How far a network violates its equation: all that is known of its error where the problem has no reference."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch

from kdpinn_edge.problems import Array, Causal, Problem
from kdpinn_edge.training.domain import uniform
from kdpinn_edge.training.objective import Batch, Physics
from kdpinn_edge.training.pinn import Pinn
from kdpinn_edge.training.sampling import with_unknowns

N_POINTS = 9000
POINTS_AT_ONCE = 1024
PARTS = 10
GROWN, LARGE = 3.0, 0.01
"""From where on residuals are told to grow in time: by this factor, to this share of the largest term."""


@dataclass(frozen=True)
class ResidualErrors:
    """√mean r² and max |r| of each equation, over n_points points of the box, without any weight."""

    rms: tuple[float, ...]
    max_abs: tuple[float, ...]
    n_points: int


@torch.no_grad()
def residuals_at(net: Pinn, points: Array) -> Array:
    """The residuals of the equations of `net.problem` at points (n, n_in), without any weight: (n, equations)."""
    unweighted = Physics(replace(net.problem, weight=None))
    found = []
    for block in np.array_split(points, -(-len(points) // POINTS_AT_ONCE)):
        x = torch.from_numpy(block).to(net.device)
        batch = Batch(x, torch.ones(len(x), dtype=x.dtype, device=x.device), x[:, :0])
        batch = with_unknowns(batch, net.unknowns(len(x)))
        found.append(unweighted.residuals(net.jet(x), batch).T.cpu().numpy())
    return np.concatenate(found)


def drawn(problem: Problem) -> Array:
    """The points at which residuals are reported, always the same."""
    points: Array = uniform(problem, N_POINTS, torch.Generator().manual_seed(0)).numpy()
    return points


def residual_errors(net: Pinn) -> ResidualErrors:
    """The residuals of a network, over its box."""
    r = residuals_at(net, drawn(net.problem))
    rms = np.sqrt((r**2).mean(axis=0))
    return ResidualErrors(tuple(rms.tolist()), tuple(np.abs(r).max(axis=0).tolist()), len(r))


def time_of(problem: Problem) -> str | None:
    """The input that is a time: that of causal weighting, `t`, or the only one; None where there is none."""
    if isinstance(problem.weight, Causal):
        return problem.weight.input
    return "t" if "t" in problem.inputs else problem.inputs[0] if len(problem.inputs) == 1 else None


def along(net: Pinn, name: str) -> Array:
    """√mean |r|² in PARTS equal parts of the input of this name, from its lower side on."""
    problem = net.problem
    points, i = drawn(problem), problem.inputs.index(name)
    share = (points[:, i] - problem.lower[i]) / (problem.upper[i] - problem.lower[i])
    squares = (residuals_at(net, points) ** 2).sum(axis=1)
    parts = np.minimum((share * PARTS).astype(int), PARTS - 1)
    found: Array = np.sqrt([squares[parts == part].mean() for part in range(PARTS)])
    return found


@torch.no_grad()
def growth(net: Pinn) -> Iterator[str]:
    """The warning that residuals grow in time, where they do: a solution that went wrong early passes on what is wrong.

    An initial-value problem has solutions from anywhere, and a residual at points hardly tells one from another.
    """
    problem = net.problem
    name = time_of(problem)
    if name is None or problem.weight is not None:
        return
    found = along(net, name)
    x = torch.from_numpy(drawn(problem)[:POINTS_AT_ONCE])
    unknowns = net.unknowns(len(x))
    terms = Physics(problem).terms(net.jet(x), x, None if unknowns is None else unknowns.values)
    largest = max(float(term.square().mean().sqrt()) for term in terms)
    worst = int(found.argmax())
    if found[worst] > GROWN * found[0] and found[worst] > LARGE * largest:
        i = problem.inputs.index(name)
        low, width = problem.lower[i], (problem.upper[i] - problem.lower[i]) / PARTS
        yield (
            f"the residual grows along {name}: √mean r² is {found[0]:.2g} up to {name} = {low + width:.3g}, and "
            f"{found[worst]:.2g} up to {name} = {low + (worst + 1) * width:.3g}, {found[worst] / largest:.0%} of the "
            "largest term, so the solution may be a wrong one. The usual fix for an initial-value problem: "
            f'weight=causal("{name}")'
        )
