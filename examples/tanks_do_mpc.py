"""Control three tanks by do-mpc, whose model is a network that was exported for CasADi.

    pip install do-mpc
    python examples/tanks_do_mpc.py

Water flows into the first tank, from there into the second, into the third, and out. A network of 2×16 neurons learns
how fast the levels change at levels h and an inflow q. do-mpc plans with it, and the controller fills the tanks, here
the true equations, so that the third one has the level 1.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import casadi as ca
import numpy as np
import torch
from do_mpc.controller import MPC
from do_mpc.model import Model
from numpy.typing import NDArray

from kdpinn_edge import capture, export_bundle, load

Array = NDArray[np.float64]
HIGHEST, MOST, LEVEL, SECONDS = 2.0, 1.0, 1.0, 0.5
LOWER, UPPER = (0.05, 0.05, 0.05, 0.0), (HIGHEST, HIGHEST, HIGHEST, MOST)


def rates(levels: Any, inflow: Any) -> list[Any]:
    """The rates of the three levels: each tank lets out 0.5 √h, into the next one."""
    out = [0.5 * level**0.5 for level in levels]
    return [inflow - out[0], out[0] - out[1], out[1] - out[2]]


def trained(steps: int = 1000) -> torch.nn.Module:
    """A network (n, 4) → (n, 3) that has seen random levels and inflows for so many steps."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    layers = [torch.nn.Linear(4, 16), torch.nn.Tanh(), torch.nn.Linear(16, 16), torch.nn.Tanh(), torch.nn.Linear(16, 3)]
    network = torch.nn.Sequential(*layers).double()
    optimiser = torch.optim.Adam(network.parameters(), 1e-2)
    lower, upper = torch.tensor(LOWER, dtype=torch.float64), torch.tensor(UPPER, dtype=torch.float64)
    for _ in range(steps):
        x = lower + (upper - lower) * torch.rand(256, 4, dtype=torch.float64)
        wanted = torch.stack(rates(x[:, :3].unbind(1), x[:, 3]), 1)
        optimiser.zero_grad()
        (network(x) - wanted).square().mean().backward()
        optimiser.step()
    return network


def exported(network: torch.nn.Module, folder: Path) -> Path:
    """The bundle of the network, with the functions for CasADi."""
    program = capture(network, name="tanks", inputs=[("h", 3), ("q", 1)], outputs=[("rate", 3)], domain=(LOWER, UPPER))
    export_bundle(program, folder, name="tanks", precision="float64", casadi=True)
    return folder


def controller(right_side: ca.Function) -> MPC:
    """The controller with the model h' = right_side(h, q)."""
    model = Model("continuous", "MX")
    h, q = model.set_variable("_x", "h", (3, 1)), model.set_variable("_u", "q")
    model.set_rhs("h", right_side(ca.vertcat(h, q)))
    model.setup()

    mpc = MPC(model)
    mpc.settings.n_horizon, mpc.settings.t_step, mpc.settings.store_full_solution = 15, SECONDS, False
    mpc.settings.supress_ipopt_output()
    mpc.set_objective(mterm=(h[2] - LEVEL) ** 2, lterm=(h[2] - LEVEL) ** 2)
    mpc.set_rterm(q=0.01)
    mpc.bounds["lower", "_u", "q"], mpc.bounds["upper", "_u", "q"] = 0.0, MOST
    mpc.bounds["lower", "_x", "h"], mpc.bounds["upper", "_x", "h"] = LOWER[0], HIGHEST
    mpc.setup()
    return mpc


def closed_loop(mpc: MPC, steps: int) -> Array:
    """The levels and the inflow of each step (steps, 4), from tanks that are nearly empty."""
    h, rows = np.full(3, 0.1), []
    mpc.x0 = h
    mpc.set_initial_guess()
    for _ in range(steps):
        q = mpc.make_step(h[:, None]).item()
        rows.append([*h, q])
        for _ in range(50):
            h = h + SECONDS / 50 * np.array(rates(h, q))
    return np.array(rows)


def main() -> None:
    """Train, export, control, and print where the levels end."""
    with tempfile.TemporaryDirectory() as folder:
        right_side = load(exported(trained(), Path(folder) / "tanks")).casadi()
    rows = closed_loop(controller(right_side), 60)
    print(f"after {60 * SECONDS:.0f} s the levels are {rows[-1, :3].round(3)}, with an inflow of {rows[-1, 3]:.3f}")


if __name__ == "__main__":
    main()
