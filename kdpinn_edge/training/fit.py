"""The loop: draw points, take a round of steps, judge the network, keep the best."""

from __future__ import annotations

from dataclasses import replace
from math import inf, nan
from pathlib import Path
from time import process_time

import torch
from torch import Tensor
from torch.nn.utils import parameters_to_vector, vector_to_parameters

from kdpinn_edge.training.conditions import Conditions, Sheets
from kdpinn_edge.training.config import RANDOM_FEATURES, TrainConfig
from kdpinn_edge.training.domain import Domain
from kdpinn_edge.training.objective import Batch, Objective
from kdpinn_edge.training.one_thread import one_thread
from kdpinn_edge.training.optimisers import (
    Adam,
    Landscape,
    LevenbergMarquardt,
    LimitedMemory,
    Memory,
    Optimiser,
    OutputLayer,
    SelfScaledBroyden,
    Soap,
)
from kdpinn_edge.training.pinn import Pinn, Tape, jacobian
from kdpinn_edge.training.progress import ProgressReport, TrainingProgress
from kdpinn_edge.training.run_folder import State, append_metrics, drop_metrics_after, read_checkpoint, write_checkpoint
from kdpinn_edge.training.sampling import draw, judged, with_unknowns

PACE_STEPS = 20
HELD_OUT = 4
"""How many times as many points conditions are judged at as they are trained at."""
CONDITIONS = 500_000
"""What the steps that draw conditions are apart from those that draw points, of which no run has so many."""


def optimiser(config: TrainConfig, net: Pinn) -> Optimiser:
    """The optimiser that follows Adam on the parameters of `net`."""
    match config.optimiser:
        case "lm":
            return LevenbergMarquardt(config.damping)
        case "geodesic":
            return LevenbergMarquardt(config.damping, bends=True)
        case "ssbroyden":
            return SelfScaledBroyden()
        case "lbfgs":
            return LimitedMemory()
        case "soap":
            shapes = tuple(tuple(parameter.shape) for parameter in net.parameters())
            return Soap(shapes, config.newton_rounds * config.newton_steps)
        case "random_features":
            return OutputLayer(sum(parameter.numel() for parameter in net.layers[-1].parameters()))
    raise AssertionError(config.optimiser)


def fit(
    net: Pinn,
    objective: Objective,
    domain: Domain,
    config: TrainConfig,
    folder: Path,
    report: ProgressReport,
    *,
    resume: bool,
    cpu_seconds: float | None = None,
) -> State:
    """Train `net` until the config's last step or a KeyboardInterrupt, and leave it with its best weights.

    It ends earlier after the round in which it has used `cpu_seconds`, where these are given: see `rounds_done`.
    The best weights are those with the smallest loss on held-out points: the reference solution has no part in
    training. Runs on one thread, so the bits of the result do not depend on how many there are.
    """
    with one_thread():
        run = _Run(net, objective, domain, config)
        state = run.start()
        if resume and (found := read_checkpoint(folder, state)):
            state = found
        drop_metrics_after(folder, state.step)
        try:
            while state.step < config.steps and not is_spent(config, state, cpu_seconds):
                state, judged = run.advance(state)
                phase = run.phase(state.step - 1)
                progress = TrainingProgress(
                    phase, state.step, config.steps, state.loss, state.relative_l2, state.cpu_seconds
                )
                if judged:
                    append_metrics(folder, vars(progress) | {"best_score": state.best_score})
                    write_checkpoint(folder, state)
                report(progress)
        except KeyboardInterrupt:
            write_checkpoint(folder, state)
        vector_to_parameters(run.best(state), net.parameters())
        return state


def rounds_done(config: TrainConfig, step: int) -> int:
    """The rounds after Adam that are whole at this step: with so many of them a run of the same bytes ends here."""
    return max(0, step - config.adam_rounds * config.adam_steps) // config.newton_steps


def is_spent(config: TrainConfig, state: State, cpu_seconds: float | None) -> bool:
    """Whether a run has used its CPU time, at the end of a round."""
    if cpu_seconds is None or state.cpu_seconds < cpu_seconds:
        return False
    done = rounds_done(config, state.step)
    return done >= 1 and state.step == config.adam_rounds * config.adam_steps + done * config.newton_steps


def pace(net: Pinn, objective: Objective, domain: Domain, config: TrainConfig) -> tuple[float, float]:
    """CPU seconds of all of Adam, and of one round of what follows it: from some steps of each, on one thread."""
    with one_thread():
        run = _Run(net, objective, domain, config)
        state, _ = run.advance(run.start())
        began = state.cpu_seconds
        for _ in range(PACE_STEPS):
            state, _ = run.advance(state)
        adam_seconds = (state.cpu_seconds - began) / PACE_STEPS * run.adam_steps
        state, began = replace(state, step=run.adam_steps), state.cpu_seconds
        for _ in range(config.newton_steps):
            state, _ = run.advance(state)
        return adam_seconds, state.cpu_seconds - began


class _Run:
    """The map from one State to the next; everything that changes is in the State."""

    def __init__(self, net: Pinn, objective: Objective, domain: Domain, config: TrainConfig) -> None:
        self.net, self.objective, self.domain, self.config = net, objective, domain, config
        self.multi_indices = objective.multi_indices
        if config.optimiser == RANDOM_FEATURES:
            net.draw_hidden(config.spread, self.generator(-2))
        self.adam_steps = config.adam_rounds * config.adam_steps
        self.adam = Adam(config.adam_rate, self.adam_steps)
        self.newton = optimiser(config, net)
        self.reference = domain.reference(coarser=3)
        self.held_out = domain.held_out(config.n_held_out, self.generator(-1)).to(net.device)
        self.held_out_targets = objective.targets(self.held_out)
        self.conditions = Conditions(net.problem, objective.physics_weight)
        self.held_out_sheets = self.sheets(-1, more=HELD_OUT)

    def generator(self, step: int) -> torch.Generator:
        """Randomness is a function of seed and step, so a resumed run draws what an uninterrupted one does."""
        return torch.Generator().manual_seed(1_000_003 * (self.config.seed + 1) + step)

    def phase(self, step: int) -> str:
        return "adam" if step < self.adam_steps else self.config.optimiser

    def start(self) -> State:
        theta = parameters_to_vector(self.net.parameters()).detach().clone()
        batch = self.draw(theta, 0)
        sheets = self.sheets(0)
        return State(
            step=0,
            cpu_seconds=0.0,
            loss=nan,
            relative_l2=nan,
            best_score=inf,
            theta=theta,
            best_theta=theta,
            adam=self.adam.start(theta),
            newton=self.newton.start(theta),
            points=batch.points,
            weights=batch.weights,
            targets=batch.targets,
            conditions=(self.balanced(self.conditions.fixed, sheets, batch), *sheets) if sheets else (),
        )

    def advance(self, state: State) -> tuple[State, bool]:
        """The state after one more step, and whether it ended a round and was judged."""
        began = process_time()
        is_adam = state.step < self.adam_steps
        done = state.step if is_adam else state.step - self.adam_steps
        round_steps = self.config.adam_steps if is_adam else self.config.newton_steps
        if done % round_steps == 0 and state.step > 0:
            batch = self.draw(state.theta, state.step)
            state = replace(state, points=batch.points, weights=batch.weights, targets=batch.targets)
            if state.conditions:
                sheets = self.sheets(state.step)
                state = replace(state, conditions=(self.balanced(state.conditions[0], sheets, batch), *sheets))
        on = self.landscape(_batch(state), state.conditions, fresh=done % round_steps == 0)
        if is_adam:
            theta, loss, memory = self.adam.step(state.theta, state.adam, on)
            state = replace(state, theta=theta, loss=loss, adam=memory)
        else:
            theta, loss, memory = self.newton.step(state.theta, state.newton, on)
            state = replace(state, theta=theta, loss=loss, newton=memory)
        judged = (done + 1) % round_steps == 0
        if judged:
            state = self.judge(state)
        return replace(state, step=state.step + 1, cpu_seconds=state.cpu_seconds + process_time() - began), judged

    def landscape(self, batch: Batch, conditions: Memory, *, fresh: bool) -> Landscape:
        weights, *sheets = conditions or (None,)

        def whole() -> Tensor:
            value = self.of_points(batch)
            return value if weights is None else value + self.conditions.loss(self.net, tuple(sheets), weights)

        @torch.no_grad()
        def loss(theta: Tensor) -> float:
            self.put(theta)
            return float(whole())

        def slope(theta: Tensor) -> tuple[float, Tensor]:
            self.put(theta)
            value = whole()
            return float(value.detach()), self.gradient(value)

        @torch.no_grad()
        def residuals(theta: Tensor) -> Tensor:
            self.put(theta)
            u = self.net.jet(batch.points, self.multi_indices)
            r = self.objective.residuals(u, with_unknowns(batch, self.net.unknowns(len(batch.points)))).flatten()
            if weights is None:
                return r
            return torch.cat((r, self.conditions.residuals(self.net, tuple(sheets), weights, len(batch.points))))

        def linear(theta: Tensor) -> tuple[Tensor, Tensor]:
            tape = Tape()
            self.put(theta)
            unknowns = self.net.unknowns(len(batch.points))
            u = self.net.jet(batch.points, self.multi_indices, tape)
            residuals = self.objective.residuals(u, with_unknowns(batch, unknowns))
            J, r = jacobian(residuals, tape, unknowns), residuals.detach().flatten()
            if weights is None:
                return r, J
            more = self.conditions.linear(self.net, tuple(sheets), weights, len(batch.points))
            return torch.cat((r, more[0])), torch.cat((J, more[1]))

        return Landscape(fresh, loss, slope, residuals, linear, len(batch.points))

    def of_points(self, batch: Batch) -> Tensor:
        """The loss of the objective, without conditions."""
        u = self.net.jet(batch.points, self.multi_indices)
        return self.objective.loss(u, with_unknowns(batch, self.net.unknowns(len(batch.points))))

    def gradient(self, value: Tensor) -> Tensor:
        """The gradient of a loss, in the order of the parameters."""
        parameters = list(self.net.parameters())
        return parameters_to_vector(torch.autograd.grad(value, parameters, allow_unused=True, materialize_grads=True))

    def sheets(self, step: int, *, more: int = 1) -> Sheets:
        """The sheets of the conditions in the round that begins at this step."""
        return self.conditions.drawn(self.generator(step + CONDITIONS), self.net.device, more=more)

    def balanced(self, weights: Tensor, sheets: Sheets, batch: Batch) -> Tensor:
        """The weights of the conditions in the next round, for the network as it is now."""
        if not self.conditions.are_balanced:
            return weights
        return self.conditions.balanced(self.net, sheets, weights, self.gradient(self.of_points(batch)))

    def judge(self, state: State) -> State:
        score = self.score(state.theta)
        if score < state.best_score:
            state = replace(state, best_theta=state.theta, best_score=score)
        return replace(state, relative_l2=self.reference.errors(self.net).relative_l2 if self.reference else nan)

    def best(self, state: State) -> Tensor:
        """The best weights: those kept, unless the latest, not judged yet, are better."""
        return state.theta if self.score(state.theta) < state.best_score else state.best_theta

    @torch.no_grad()
    def score(self, theta: Tensor) -> float:
        self.put(theta)
        value = self.objective.loss(*judged(self.net, self.held_out, self.objective, self.held_out_targets))
        if sheets := self.held_out_sheets:
            value = value + self.conditions.loss(self.net, sheets, self.conditions.fixed)
        return float(value)

    def draw(self, theta: Tensor, step: int) -> Batch:
        self.put(theta)
        generator = self.generator(step)
        candidates = self.domain.candidates(self.config.n_candidates, generator)
        return draw(self.net, self.objective, candidates, self.config.n_points, generator)

    def put(self, theta: Tensor) -> None:
        vector_to_parameters(theta, self.net.parameters())


def _batch(state: State) -> Batch:
    return Batch(state.points, state.weights, state.targets)
