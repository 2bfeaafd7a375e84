"""Conditions beside the equation, as terms of the loss: where they are judged, and what is left of them there.

A sheet (n m, n_in + more) has the points of one condition: n residuals of m points each, the places that they see
together or the nodes of an integral, with what was measured there, or the outward normal, beside them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn.utils import parameters_to_vector

from kdpinn_edge.equation.condition import BALANCED, NODES, NORMAL, Condition, Drawing
from kdpinn_edge.errors import ProblemError, TrainError
from kdpinn_edge.problems import Array, Problem
from kdpinn_edge.training import jets
from kdpinn_edge.training.domain import in_box, kept
from kdpinn_edge.training.objective import term_at
from kdpinn_edge.training.pinn import Pinn, Tape, Unknowns, jacobian
from kdpinn_edge.training.values import Values

KEPT = 0.9
NEAR, NEWTON_STEPS, STEP, ON_BOUNDARY = 20, 20, 1e-6, 1e-8
"""Candidates for each point of a boundary, steps to it, and as shares of the box the step of a difference and what is
near enough.
"""

Sheets = tuple[Tensor, ...]


@dataclass(frozen=True, eq=False)
class Conditions:
    """The conditions of `problem` in a loss in which its equation has this `weight`; none where that is 0."""

    problem: Problem
    weight: float = 1.0

    @property
    def all(self) -> tuple[Condition, ...]:
        """The conditions that are trained for."""
        return self.problem.soft if self.weight > 0 else ()

    @property
    def fixed(self) -> Tensor:
        """The weights, with 1 where they are balanced."""
        return torch.tensor([1.0 if each.weight == BALANCED else each.weight for each in self.all], dtype=torch.float64)

    @property
    def are_balanced(self) -> bool:
        """Whether one of the weights is balanced."""
        return any(each.weight == BALANCED for each in self.all)

    def drawn(self, generator: torch.Generator, device: torch.device, *, more: int = 1) -> Sheets:
        """Draw the sheets, with so many times `more` points. Raises ProblemError where points cannot be had."""
        return tuple(sheet(each, self.problem, more * each.n_points, generator).to(device) for each in self.all)

    def loss(self, net: Pinn, sheets: Sheets, weights: Tensor) -> Tensor:
        """The sum of weight · mean |residual|², in units of the whole loss."""
        return torch.stack([self.weight * w * each for w, each in self._losses(net, sheets, weights)]).sum()

    def linear(self, net: Pinn, sheets: Sheets, weights: Tensor, n: int) -> tuple[Tensor, Tensor]:
        """The residuals (rows,) and their Jacobian (rows, parameters), whose squares sum to n times the loss."""
        residuals, slopes = [], []
        for condition, points, w in zip(self.all, sheets, weights.tolist(), strict=True):
            tape = Tape()
            r, unknowns = self._weighed(condition, net, points, w, n, tape)
            slopes.append(jacobian(r, tape, unknowns))
            residuals.append(r.detach().flatten())
        return torch.cat(residuals), torch.cat(slopes)

    def residuals(self, net: Pinn, sheets: Sheets, weights: Tensor, n: int) -> Tensor:
        """The residuals of `linear` alone."""
        each = zip(self.all, sheets, weights.tolist(), strict=True)
        return torch.cat([self._weighed(condition, net, points, w, n)[0].flatten() for condition, points, w in each])

    def _weighed(
        self, condition: Condition, net: Pinn, points: Tensor, weight: float, n: int, tape: Tape | None = None
    ) -> tuple[Tensor, Unknowns | None]:
        r, unknowns = left(condition, net, points, tape)
        return r * (self.weight * weight * n / r.shape[1]) ** 0.5, unknowns

    def balanced(self, net: Pinn, sheets: Sheets, weights: Tensor, of_equation: Tensor) -> Tensor:
        """The next weights, where they are balanced: towards a gradient as long as `of_equation`, that of the rest."""
        found = weights.clone()
        for i, (condition, (_, loss)) in enumerate(zip(self.all, self._losses(net, sheets, weights), strict=True)):
            if condition.weight == BALANCED:
                gradient = torch.autograd.grad(
                    self.weight * loss, list(net.parameters()), allow_unused=True, materialize_grads=True
                )
                ratio = float(of_equation.norm()) / max(float(parameters_to_vector(gradient).norm()), 1e-300)
                found[i] = KEPT * float(weights[i]) + (1 - KEPT) * min(ratio, 1e12)
        return found

    @torch.no_grad()
    def rms(self, net: Pinn, sheets: Sheets) -> list[float]:
        """√mean |residual|² of each, without any weight."""
        return [
            float(left(each, net, points)[0].square().sum(0).mean().sqrt())
            for each, points in zip(self.all, sheets, strict=True)
        ]

    def _losses(self, net: Pinn, sheets: Sheets, weights: Tensor) -> Iterator[tuple[float, Tensor]]:
        for condition, points, w in zip(self.all, sheets, weights.tolist(), strict=True):
            yield w, left(condition, net, points)[0].square().sum(0).mean()


def left(condition: Condition, net: Pinn, points: Tensor, tape: Tape | None = None) -> tuple[Tensor, Unknowns | None]:
    """What is left of a condition on a sheet, (residuals, n), and the unknowns there, of which it may be made."""
    problem, places = net.problem, len(condition.sides)
    n_in = len(problem.inputs)
    x, more = points[:, :n_in], points[:, n_in:]
    u = net.jet(x, jets.of_condition(problem, condition), tape)
    unknowns = net.unknowns(len(x))
    values = None if unknowns is None else unknowns.values
    beside = list(condition.data) or [f"{NORMAL}{name}" for name in problem.inputs]
    columns = [
        more[:, beside.index(name)]
        if name in beside and name not in problem.unknowns
        else term_at(problem, name, u, x, values)
        for name in condition.terms
    ]
    seen = [column.view(-1, places)[:, place] for place in range(places) for column in columns]
    r = torch.stack([each.tensor for each in condition.residual(*map(Values, seen))])
    if condition.over:
        share = _nodes(problem, condition)[1].to(r)
        r = r.view(len(r), -1, len(share)) @ share
    return r - condition.equals, unknowns


@torch.no_grad()
def check_conditions(net: Pinn, conditions: Conditions) -> None:
    """Raise TrainError where what is left of a condition is not finite before any training; ProblemError as `sheet`."""
    sheets = conditions.drawn(torch.Generator().manual_seed(0), net.device)
    for condition, points in zip(conditions.all, sheets, strict=True):
        r = left(condition, net, points)[0]
        if not r.isfinite().all():
            raise TrainError(
                f"{net.problem.name}: the condition {condition.name} is not finite at {int((~r.isfinite()).sum())} of "
                f"{r.numel()} points, before any training; expected: finite numbers. The usual cause: a division by "
                "zero, or a logarithm or a root of a number below 0"
            )


def sheet(condition: Condition, problem: Problem, n: int, generator: torch.Generator) -> Tensor:
    """Draw the sheet of a condition, with n residuals; one where all inputs are held or integrated over.

    Raises ProblemError where its points cannot be had, or are outside of the domain.
    """
    at = condition.at
    if isinstance(at, np.ndarray):
        rows = torch.from_numpy(np.column_stack([at, condition.columns]) if condition.data else at)
        return rows if len(rows) <= n else rows[torch.randperm(len(rows), generator=generator)[:n]]
    if isinstance(at, str):
        return _on_boundary(problem, n, generator)
    if callable(at):
        return _of_user(at, condition.name, problem, n, generator)
    held = [{problem.inputs.index(name): value for name, value in side.items()} for side in condition.sides]
    free = set(range(len(problem.inputs))) - set(held[0]) - set(map(problem.inputs.index, condition.over))

    def draw(count: int) -> Tensor:
        base = in_box(problem, count, generator)
        return torch.stack([_with(base, side) for side in held], dim=1).flatten(1)

    rows = kept(problem, n if free else 1, draw).reshape(-1, len(problem.inputs))
    if condition.over:
        nodes, _ = _nodes(problem, condition)
        rows = rows.repeat_interleave(len(nodes), dim=0)
        rows[:, [problem.inputs.index(name) for name in condition.over]] = nodes.repeat(len(rows) // len(nodes), 1)
    return rows


def _with(points: Tensor, held: Mapping[int, float]) -> Tensor:
    points = points.clone()
    for i, value in held.items():
        points[:, i] = value
    return points


def _nodes(problem: Problem, condition: Condition) -> tuple[Tensor, Tensor]:
    """The nodes (m, inputs that are integrated over) of Gauss and Legendre in the box, and their weights (m,)."""
    z, w = np.polynomial.legendre.leggauss(NODES)
    sides = [(problem.lower[i], problem.upper[i]) for i in map(problem.inputs.index, condition.over)]
    axes = [(low + high) / 2 + (high - low) / 2 * z for low, high in sides]
    shares = [(high - low) / 2 * w for low, high in sides]
    nodes = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, len(axes))
    weights = np.prod(np.stack(np.meshgrid(*shares, indexing="ij")), axis=0).reshape(-1)
    return torch.from_numpy(nodes), torch.from_numpy(weights)


def _of_user(at: Drawing, name: str, problem: Problem, n: int, generator: torch.Generator) -> Tensor:
    """Points that a function of the user's has drawn, by a generator of NumPy's that follows from ours."""
    rng = np.random.default_rng(int(torch.randint(2**31, (1,), generator=generator)))
    points = np.asarray(at(n, rng), np.float64)
    if points.shape != (n, len(problem.inputs)):
        raise ProblemError(
            f"the condition {name} of {problem.name}: at returns an array {points.shape} for {n} points; "
            f"expected: ({n}, {len(problem.inputs)}), with the columns {', '.join(problem.inputs)}"
        )
    inside = np.all((points >= problem.lower) & (points <= problem.upper), axis=1)
    if not inside.all():
        raise ProblemError(
            f"the condition {name} of {problem.name}: at returns {np.sum(~inside)} of {n} points outside of "
            f"the domain {problem.domain}, or not finite; the first is {points[np.argmin(inside)].tolist()}"
        )
    return torch.from_numpy(points)


def _on_boundary(problem: Problem, n: int, generator: torch.Generator) -> Tensor:
    """Points where `inside` is zero, with the outward normal: the nearest of many candidates, by Newton's steps.

    Those nearest to the boundary are spread along it as evenly as points in the box are in a thin layer around it.
    """
    candidates = in_box(problem, NEAR * n, generator).numpy()
    nearest = np.abs(problem.distance(candidates)).argsort(kind="stable")
    size = np.array(problem.upper) - problem.lower
    x = candidates[nearest[: 2 * n]]
    for _ in range(NEWTON_STEPS):
        slope = _slope(problem, x, size)
        square = np.maximum((slope**2).sum(axis=1), 1e-30)
        x = x - (problem.distance(x) / square)[:, None] * slope
    on = np.abs(problem.distance(x)) <= ON_BOUNDARY * size.max()
    found = x[on & np.all((x >= problem.lower) & (x <= problem.upper), axis=1)]
    if len(found) < n:
        raise ProblemError(
            f"{problem.name}: {len(found)} of {2 * n} points come to the boundary by steps along the slope of inside; "
            "expected: a signed distance, which is zero somewhere in the box and has slope 1 there"
        )
    found = found[np.sort(np.random.default_rng(0).permutation(len(found))[:n])]
    normal = _slope(problem, found, size)
    length = np.maximum(np.sqrt((normal**2).sum(axis=1, keepdims=True)), 1e-30)
    return torch.from_numpy(np.column_stack([found, normal / length]))


def _slope(problem: Problem, x: Array, size: Array) -> Array:
    """The gradient of `inside` at the points x, by central differences."""
    columns = []
    for h in np.diag(STEP * size):
        columns.append((problem.distance(x + h) - problem.distance(x - h)) / (2 * h.sum()))
    return np.stack(columns, axis=1)
