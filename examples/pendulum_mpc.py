"""Control a pendulum by a network inside CasADi: a closed loop with IPOPT and exact Hessians.

    python examples/pendulum_mpc.py

A network of 2×24 neurons learns one step of 50 ms of a damped pendulum: its angle θ from the upright position, its
speed ω and the torque τ become the next θ and ω. It is exported for CasADi, and a model predictive controller plans 40
steps ahead with it. The controller swings the pendulum, here the true equation, from hanging sideways to the top. The
same controller with the network written in CasADi's own MX, layer by layer, is timed beside it.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from time import process_time
from typing import Any

import casadi as ca
import numpy as np
import torch
from numpy.typing import NDArray

from kdpinn_edge import capture, export_bundle, load
from kdpinn_edge.bundle.manifest import Input

Array = NDArray[np.float64]
HORIZON, SECONDS = 40, 0.05
LIMITS = np.array([4.0, 9.0, 2.0])  # of θ in rad, ω in rad/s, τ in N m
TORQUE = LIMITS[2]
START = (np.pi / 2, 0.0)


def true_step(state: Any, sin: Callable[[Any], Any]) -> list[Any]:
    """One step of θ'' = 9.81 sin θ − 0.1 θ' + 5 τ by the method of Runge and Kutta, from (θ, ω, τ)."""
    angle, speed, torque = state

    def rate(angle: Any, speed: Any) -> tuple[Any, Any]:
        return speed, 9.81 * sin(angle) - 0.1 * speed + 5 * torque

    a = rate(angle, speed)
    b = rate(angle + SECONDS / 2 * a[0], speed + SECONDS / 2 * a[1])
    c = rate(angle + SECONDS / 2 * b[0], speed + SECONDS / 2 * b[1])
    d = rate(angle + SECONDS * c[0], speed + SECONDS * c[1])
    return [x + SECONDS / 6 * (a[i] + 2 * b[i] + 2 * c[i] + d[i]) for i, x in enumerate((angle, speed))]


class Step(torch.nn.Module):
    """The next state: the state, and what the network adds to it."""

    def __init__(self) -> None:
        super().__init__()
        sizes = [(3, 24), (24, 24)]
        layers = [layer for size in sizes for layer in (torch.nn.Linear(*size), torch.nn.Tanh())]
        self.network = torch.nn.Sequential(*layers, torch.nn.Linear(24, 2)).double()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """The states (n, 2) that follow (θ, ω, τ), (n, 3)."""
        return x[:, :2] + self.network(x / torch.tensor(LIMITS))


def trained(steps: int = 2500) -> Step:
    """A network that has seen random points of the box for so many steps."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    step, limits = Step(), torch.tensor(LIMITS)
    optimiser = torch.optim.Adam(step.parameters(), 3e-3)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
    for _ in range(steps):
        x = limits * (2 * torch.rand(512, 3, dtype=torch.float64) - 1)
        wanted = torch.stack(true_step(x.unbind(1), torch.sin), 1)
        optimiser.zero_grad()
        (step(x) - wanted).square().mean().backward()
        optimiser.step()
        schedule.step()
    return step


def exported(step: Step, folder: Path) -> Path:
    """The bundle of the network, with the functions for CasADi."""
    names = ("angle", "speed", "torque")
    program = capture(
        step, name="pendulum", inputs=names, outputs=("next_angle", "next_speed"), domain=(-LIMITS, LIMITS)
    )
    inputs = [Input(name, -limit, limit) for name, limit in zip(names, LIMITS, strict=True)]
    export_bundle(program, folder, name="pendulum", inputs=inputs, precision="float64", casadi=True)
    return folder


def in_mx(step: Step) -> ca.Function:
    """The network in CasADi's own MX, as one writes it by hand."""
    x = ca.MX.sym("x", 3)
    y = x / ca.DM(LIMITS)
    for layer in step.network:
        if isinstance(layer, torch.nn.Linear):
            y = ca.mtimes(ca.DM(layer.weight.detach().numpy()), y) + ca.DM(layer.bias.detach().numpy())
        else:
            y = ca.tanh(y)
    return ca.Function("step", [x], [x[:2] + y])


def controller(step: ca.Function) -> ca.Function:
    """The plan (states, torques) of `HORIZON` steps with the model `step`, from a state and a plan to begin with."""
    opti = ca.Opti()
    states, torques, state = opti.variable(2, HORIZON + 1), opti.variable(1, HORIZON), opti.parameter(2)
    opti.subject_to(states[:, 0] == state)
    for k in range(HORIZON):
        opti.subject_to(states[:, k + 1] == step(ca.vertcat(states[:, k], torques[k])))
    opti.subject_to(opti.bounded(-TORQUE, torques, TORQUE))
    along = 10 * ca.sumsqr(states[0, :-1]) + 0.1 * ca.sumsqr(states[1, :-1]) + 0.01 * ca.sumsqr(torques)
    opti.minimize(along + 100 * ca.sumsqr(states[:, -1]))
    opti.solver("ipopt", {"print_time": False}, {"print_level": 0, "sb": "yes", "tol": 1e-11})
    return opti.to_function("plan", [state, states, torques], [states, torques])


def closed_loop(plan: ca.Function, steps: int) -> tuple[Array, Array]:
    """All plans of a controller for the true pendulum, (steps, 3 · HORIZON + 2), and the CPU seconds of each.

    Each plan begins with the last one; the first column is the angle. The solver has one thread.
    """
    state, last, plans, seconds = np.array(START), (0, 0), [], []
    for _ in range(steps):
        began = process_time()
        last = plan(state, *last)
        seconds.append(process_time() - began)
        plans.append(np.concatenate([np.array(each).ravel() for each in last]))
        state = np.array(true_step((*state, float(last[1][0])), np.sin))
    return np.array(plans), np.array(seconds)


def main() -> None:
    """Train, export, control, and print how long a step of the controller takes."""
    step = trained()
    with tempfile.TemporaryDirectory() as folder:
        models = {"the exported model": load(exported(step, Path(folder) / "pendulum")).casadi(), "MX": in_mx(step)}
    runs = {name: closed_loop(controller(model), 60) for name, model in models.items()}
    (plans, _), (beside, _) = runs.values()
    print(f"after {60 * SECONDS:.0f} s the pendulum is {abs(plans[-1, 0]):.4f} rad from upright")
    print(f"the plans of both controllers agree to {np.abs(plans - beside).max():.1e}")
    for name, (_, seconds) in runs.items():
        print(f"{name:18} {np.median(seconds) * 1e3:6.1f} ms per step")


if __name__ == "__main__":
    main()
