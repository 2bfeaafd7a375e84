"""neurodiffeq."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from neurodiffeq import diff
from neurodiffeq.conditions import (
    IBVP1D,
    IVP,
    BundleIVP,
    DirichletBVP,
    DirichletBVP2D,
    DoubleEndedBVP1D,
    NoCondition,
)
from neurodiffeq.networks import FCNN, APTx, MonomialNN, Resnet, SinActv, Swish
from neurodiffeq.solvers import BundleSolver1D, Solver1D, Solver2D
from proof import Case, check_bundle, check_values, points, prove, run_snippets
from torch import Tensor, nn


@pytest.fixture(autouse=True)
def double() -> Iterator[None]:
    """neurodiffeq calculates in torch's default type."""
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


JET_1D, JET_2D = ("u", "ut", "utt"), ("u", "ux", "uy", "uxx", "uxy")


class SirenNet(nn.Module):
    """Sines of a scaled argument, as neurodiffeq's users write them."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = FCNN(2, 1, hidden_units=(16, 16), actv=SinActv)

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(6.0 * x)


NETWORKS: dict[str, Callable[[], nn.Module]] = {
    "FCNN": lambda: FCNN(2, 1),
    "sines": lambda: FCNN(2, 1, hidden_units=(12, 12), actv=SinActv),
    "swish": lambda: FCNN(2, 1, hidden_units=(12,), actv=lambda: Swish(1.3, trainable=True)),
    "fixed swish": lambda: FCNN(2, 1, hidden_units=(12,), actv=Swish),
    "APTx": lambda: FCNN(2, 1, hidden_units=(12,), actv=APTx),
    "trained APTx": lambda: FCNN(2, 1, hidden_units=(12,), actv=lambda: APTx(trainable=True)),
    "residual": lambda: Resnet(2, 1, hidden_units=(12, 12)),
    "monomials": lambda: nn.Sequential(MonomialNN([1, 2, 3, 5]), FCNN(8, 1, hidden_units=(12,))),
    "SIREN": SirenNet,
}


@pytest.mark.parametrize("name", NETWORKS)
def test_networks(name: str) -> None:
    net = NETWORKS[name]()
    prove(Case(net, ("x", "y"), ("u",), -1.0, 1.0, net, JET_2D))


def columns(solution: Any) -> Callable[[Tensor], Tensor]:
    """A solution, called as the library has it: a tensor per coordinate, and one or several results."""

    def call(x: Tensor) -> Tensor:
        found = solution(*(x[:, [i]] for i in range(x.shape[1])))
        return torch.cat([each.reshape(len(x), -1) for each in ([found] if isinstance(found, Tensor) else found)], 1)

    return call


def solved(solver: Any, epochs: int = 3) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        solver.fit(max_epochs=epochs, tqdm_file=None)
    return solver


ONE: dict[str, tuple[Any, Any]] = {
    "IVP": (lambda u, t: [diff(u, t) + u], IVP(0.0, 1.0)),
    "IVP of order 2": (lambda u, t: [diff(u, t, order=2) + u], IVP(0.0, 0.0, 1.0)),
    "Dirichlet": (lambda u, t: [diff(u, t, order=2) + u], DirichletBVP(0.0, 0.0, 1.0, 1.0)),
    "no condition": (lambda u, t: [diff(u, t) + u], NoCondition()),
    "two ends": (
        lambda u, t: [diff(u, t, order=2) + u],
        DoubleEndedBVP1D(0.0, 1.0, x_min_val=0.0, x_max_val=1.0),
    ),
    "slopes at two ends": (
        lambda u, t: [diff(u, t, order=2) + u],
        DoubleEndedBVP1D(0.0, 1.0, x_min_prime=0.0, x_max_prime=1.0),
    ),
}


@pytest.mark.parametrize("name", ONE)
def test_solutions_of_one_coordinate(name: str) -> None:
    equation, condition = ONE[name]
    solver = solved(Solver1D(equation, [condition], t_min=0.0, t_max=1.0, nets=[FCNN(hidden_units=(12,))]))
    solution = solver.get_solution()
    prove(Case(solution, ("t",), ("u",), 0.0, 1.0, columns(solution), JET_1D))
    prove(Case(solver, ("t",), ("u",), 0.0, 1.0, columns(solution), JET_1D))


def test_a_system() -> None:
    """Two unknowns with a network each."""
    nets = [FCNN(hidden_units=(8,), actv=SinActv) for _ in range(2)]
    conditions = [IVP(0.0, 1.0), IVP(0.0, 2.0)]
    solver = solved(
        Solver1D(lambda u, v, t: [diff(u, t) - v, diff(v, t) + u], conditions, t_min=0.0, t_max=1.0, nets=nets)
    )
    solution = solver.get_solution()
    prove(Case(solution, ("t",), ("u", "v"), 0.0, 1.0, columns(solution), ("u", "v", "ut", "vtt")))


def test_a_bundle_of_initial_values() -> None:
    solver = solved(
        BundleSolver1D(
            lambda u, t, k: [diff(u, t) + k * u],
            [BundleIVP(0.0, None, bundle_param_lookup={"u_0": 0})],
            t_min=0.0,
            t_max=1.0,
            theta_min=[0.5, 1.0],
            theta_max=[1.5, 2.0],
            eq_param_index=(1,),
            nets=[FCNN(3, 1, hidden_units=(8,))],
        )
    )
    solution = solver.get_solution()
    box = ((0.0, 0.5, 1.0), (1.0, 1.5, 2.0))
    prove(Case(solution, ("t", "a", "k"), ("u",), *box, columns(solution), ("u", "ut", "ua", "utk")))


def sine(x: Tensor) -> Tensor:
    return torch.sin(torch.pi * x)


def zero(x: Tensor) -> Tensor:
    return 0 * x


TWO: dict[str, Any] = {
    "Dirichlet": lambda: DirichletBVP2D(0.0, sine, 1.0, zero, 0.0, zero, 1.0, zero),
    "initial and boundary values": lambda: IBVP1D(0.0, 1.0, 0.0, sine, x_min_val=zero, x_max_val=zero),
    "initial values and slopes": lambda: IBVP1D(0.0, 1.0, 0.0, sine, x_min_prime=zero, x_max_prime=zero),
    "mixed": lambda: IBVP1D(0.0, 1.0, 0.0, sine, x_min_val=zero, x_max_prime=zero),
}


@pytest.mark.parametrize("name", TWO)
def test_solutions_of_two_coordinates(name: str) -> None:
    def equation(u: Tensor, x: Tensor, y: Tensor) -> list[Tensor]:
        return [diff(u, x, order=2) + diff(u, y, order=2)]

    nets = [FCNN(2, 1, hidden_units=(12,))]
    solver = solved(Solver2D(equation, [TWO[name]()], (0.0, 0.0), (1.0, 1.0), nets=nets), 1)
    solution = solver.get_solution()
    prove(Case(solution, ("x", "y"), ("u",), 0.0, 1.0, columns(solution), JET_2D))


def test_the_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    nets = [FCNN(hidden_units=(12,), actv=SinActv)]
    solver = solved(Solver1D(*ONE["IVP of order 2"][:1], [IVP(0.0, 0.0, 1.0)], t_min=0.0, t_max=1.0, nets=nets))
    made = run_snippets("neurodiffeq", tmp_path, monkeypatch, solver=solver)
    check_values(made["program"], columns(made["solution"]), points(made["program"], 0.0, 1.0))
    check_bundle(tmp_path / "oscillator")
