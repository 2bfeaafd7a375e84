"""A model predictive controller in CasADi whose network is an exported library, MX, or a Python callback.

    python benchmarks/bench_casadi.py                     the closed loop of 30 steps, three times each
    python benchmarks/bench_casadi.py --steps 60 --rounds 9

The controller is that of examples/pendulum_mpc.py: 2×24 neurons, 40 steps ahead, IPOPT with exact Hessians, one thread.
The three kinds take turns in one process; for each step of the loop the least time of the rounds counts, in CPU time of
the solver. All plans are compared. Prints a Markdown table, and exits with 1 where
the library takes more than 0.6 of MX or more than 1/15 of the callback, or a plan is off by more than 1e-10.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import casadi as ca
import numpy as np

from kdpinn_edge import Engine, load

sys.path.insert(0, str(Path(__file__).parents[1] / "examples"))
from pendulum_mpc import closed_loop, controller, exported, in_mx, trained

OF_MX, OF_CALLBACK, SAME = 0.6, 1 / 15, 1e-10


class Callback(ca.Callback):
    """The model as a callback into Python: its values, or the derivative of this order."""

    def __init__(self, name: str, engine: Engine, order: int = 0, options: dict[str, Any] | None = None) -> None:
        ca.Callback.__init__(self)
        self.engine, self.order = engine, order
        self.construct(name, options or {})

    def get_n_in(self) -> int:
        """x, and the results of the functions that it is derived from."""
        return 1 + self.order

    def get_n_out(self) -> int:
        """Its values, and of a second derivative that by y as well."""
        return max(1, self.order)

    def get_sparsity_in(self, i: int) -> ca.Sparsity:
        """x is dense; nothing else is read."""
        n_in, n_out = self.engine.n_in, self.engine.n_out
        return [ca.Sparsity.dense(n_in, 1), ca.Sparsity(n_out, 1), ca.Sparsity(n_out, n_in)][i]

    def get_sparsity_out(self, i: int) -> ca.Sparsity:
        """Everything is dense but the derivative by y."""
        n_in, n_out = self.engine.n_in, self.engine.n_out
        shape = (n_out, 1), (n_out, n_in), (n_out * n_in, n_in)
        return ca.Sparsity(n_out * n_in, n_out) if i else ca.Sparsity.dense(*shape[self.order])

    def has_jacobian(self) -> bool:
        """There are two."""
        return self.order < 2

    def get_jacobian(self, name: str, names_in: Any, names_out: Any, options: Any) -> ca.Function:
        """The next derivative, which CasADi does not keep alive itself."""
        self.next = Callback(name, self.engine, self.order + 1, options)
        return self.next

    def eval(self, arguments: Sequence[ca.DM]) -> list[ca.DM]:
        """One point."""
        x = np.array(arguments[0], dtype=np.float64).reshape(1, -1)
        if self.order == 0:
            return [ca.DM(self.engine(x)[0])]
        if self.order == 1:
            return [ca.DM(self.engine.jacobian(x)[0])]
        by_column = self.engine.hessian(x)[0].transpose(1, 0, 2).reshape(-1, self.engine.n_in)
        return [ca.DM(by_column), ca.DM(by_column.shape[0], self.engine.n_out)]


def main() -> int:
    """Print the table, and say whether the measures hold."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=30)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--training", type=int, default=1000, help="steps of training")
    given = parser.parse_args()
    step = trained(given.training)
    with tempfile.TemporaryDirectory() as folder:
        engine = load(exported(step, Path(folder) / "pendulum"))
        library = engine.casadi()
    models = {
        "the exported library": library,
        "CasADi's MX": in_mx(step),
        "a Python callback": Callback("step", engine),
    }
    found: dict[str, list[Any]] = {name: [] for name in models}
    plans = {name: controller(model) for name, model in models.items()}
    for _ in range(given.rounds):
        for name, plan in plans.items():
            found[name].append(closed_loop(plan, given.steps))
    ms = {name: 1e3 * np.min([seconds for _, seconds in runs], axis=0).mean() for name, runs in found.items()}
    first = found["the exported library"][0][0]
    off = max(np.abs(each - first).max() for runs in found.values() for each, _ in runs)
    ours = ms["the exported library"]
    print(f"{given.steps} steps of the closed loop, {given.rounds} rounds; plans differ by at most {off:.1e}\n")
    print("| the network is | ms per step | the library takes, of it |\n|---|---|---|")
    for name, each in ms.items():
        print(f"| {name} | {each:.1f} | {'' if each == ours else f'{ours / each:.3f}'} |")
    holds = ours <= OF_MX * ms["CasADi's MX"] and ours <= OF_CALLBACK * ms["a Python callback"] and off <= SAME
    return 0 if holds else 1


if __name__ == "__main__":
    sys.exit(main())
