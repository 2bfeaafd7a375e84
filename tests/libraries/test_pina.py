"""PINA (pina-mathlab)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pina.adaptive_function
import pytest
import torch
from pina import Condition, LabelTensor, Trainer
from pina.domain import CartesianDomain
from pina.equation import Equation, FixedValue
from pina.model import (
    DeepONet,
    FeedForward,
    KolmogorovArnoldNetwork,
    MIONet,
    PirateNet,
    ResidualFeedForward,
)
from pina.model.block import EnhancedLinear, FourierFeatureEmbedding, PeriodicBoundaryEmbedding, ResidualBlock
from pina.operator import laplacian
from pina.problem import SpatialProblem
from pina.solver import PINN
from proof import Case, check_bundle, check_values, points, prove, run_snippets
from torch import Tensor, nn

from kdpinn_edge import capture
from kdpinn_edge.errors import CaptureError

JET = ("u", "ux", "uy", "uxx", "uxy")
ADAPTIVE = [name for name in pina.adaptive_function.__all__ if name.startswith("Adaptive") and "Interface" not in name]


def labelled(model: nn.Module, labels: Sequence[str]) -> Callable[[Tensor], Tensor]:
    """The network, called with labelled points."""
    return lambda x: model.double()(LabelTensor(x, list(labels))).as_subclass(Tensor)


def case(model: Any, inputs: Sequence[str] = ("x", "y"), jet: tuple[str, ...] = JET, **options: Any) -> Case:
    call = labelled(model.model if isinstance(model, PINN) else model, inputs)
    return Case(model, tuple(inputs), ("u",), 0.0, 1.0, call, jet, **options)


@pytest.mark.parametrize("func", [nn.Tanh, nn.Softplus, nn.GELU, nn.SiLU, nn.Mish, [nn.Tanh, nn.Sigmoid]], ids=str)
def test_feed_forward(func: Any) -> None:
    prove(case(FeedForward(2, 1, layers=[20, 20], func=func)))


def test_residual_feed_forward() -> None:
    prove(case(ResidualFeedForward(2, 1, inner_size=20, n_layers=3)))


def test_residual_blocks() -> None:
    prove(case(nn.Sequential(EnhancedLinear(nn.Linear(2, 8), nn.Tanh()), ResidualBlock(8, 8, 16), nn.Linear(8, 1))))


def test_pirate_net() -> None:
    prove(case(PirateNet(input_dimension=2, inner_size=16, output_dimension=1, n_layers=2)))


def test_a_network_that_looks_at_its_data_is_refused() -> None:
    """Splines that ask whether any point lies at their end."""
    with pytest.raises(CaptureError, match="depends on the data"):
        capture(KolmogorovArnoldNetwork([2, 4, 1]), name="net", inputs=("x", "y"), outputs=("u",))


@pytest.mark.parametrize("name", ADAPTIVE)
def test_adaptive_functions(name: str) -> None:
    prove(case(FeedForward(2, 1, layers=[10, 10], func=getattr(pina.adaptive_function, name)), jet=("u", "ux")))


def test_periodic_embedding() -> None:
    net = nn.Sequential(PeriodicBoundaryEmbedding(1, 2.0), FeedForward(3, 1, layers=[10, 10]))
    prove(case(net, ("x",), ("u", "ux", "uxx")))


def test_periodic_embedding_of_one_of_two() -> None:
    net = nn.Sequential(PeriodicBoundaryEmbedding(2, {0: 1.0, 1: 2.0}), FeedForward(6, 1, layers=[10]))
    prove(case(net))


class Multiscale(nn.Module):
    """Fourier features of two scales."""

    def __init__(self) -> None:
        super().__init__()
        self.low, self.high = (FourierFeatureEmbedding(2, 20, sigma) for sigma in (1.0, 5.0))
        self.layers = FeedForward(20, 20, layers=[20])
        self.final = nn.Linear(40, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.final(torch.cat([self.layers(self.low(x)), self.layers(self.high(x))], dim=-1))


def test_fourier_embeddings() -> None:
    prove(case(Multiscale()))


class Hard(nn.Module):
    """A hard constraint in x, y and t."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(3, 20), nn.Tanh(), nn.Linear(20, 1))

    def forward(self, p: LabelTensor) -> Tensor:
        x, y, t = (p.extract([name]) for name in ("x", "y", "t"))
        initial = torch.sin(torch.pi * x) * torch.sin(torch.pi * y) * torch.cos(2**0.5 * torch.pi * t)
        return x * (1 - x) * y * (1 - y) * self.layers(p) * t + initial


def test_hard_constraints_with_labels() -> None:
    prove(case(Hard(), ("x", "y", "t"), ("u", "ut", "utt", "uxy")))


class Features(nn.Module):
    """An extra feature with a label of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.net = FeedForward(3, 1, layers=[10, 10])

    def forward(self, p: LabelTensor) -> Tensor:
        wave = torch.sin(p.extract(["x"]) * torch.pi) * torch.sin(p.extract(["y"]) * torch.pi)
        return self.net(p.append(LabelTensor(wave.as_subclass(Tensor), ["wave"])))


def test_extra_features_that_are_appended() -> None:
    prove(case(Features()))


class TwoFields(nn.Module):
    """Two outputs with labels."""

    def __init__(self) -> None:
        super().__init__()
        self.net = FeedForward(2, 2, layers=[10])

    def forward(self, p: LabelTensor) -> Tensor:
        y = self.net(p)
        y = y.as_subclass(Tensor) * torch.exp(-p.extract("x").as_subclass(Tensor))
        return LabelTensor(y, ["u", "v"])


def test_outputs_with_labels() -> None:
    model = TwoFields()
    prove(Case(model, ("x", "y"), ("u", "v"), 0.0, 1.0, labelled(model, ("x", "y")), ("u", "vx", "uxy")))


@pytest.mark.parametrize("reduction", ["+", "mean", "*"])
@pytest.mark.parametrize("by", ["labels", "numbers"])
def test_deeponet(by: str, reduction: str) -> None:
    sensors, places = (["a", "b"], ["x"]) if by == "labels" else ([0, 1], [2])
    net = DeepONet(
        branch_net=FeedForward(2, 10, layers=[20]),
        trunk_net=FeedForward(1, 10, layers=[20]),
        input_indeces_branch_net=sensors,
        input_indeces_trunk_net=places,
        reduction=reduction,
        aggregator="*",
    )
    prove(case(net, ("a", "b", "x"), ("u", "ux", "uxx")))


def test_mionet() -> None:
    networks = {FeedForward(1, 10): ["a"], FeedForward(1, 10, layers=[8]): ["b"], FeedForward(1, 10): ["x"]}
    net = MIONet(networks=networks, reduction="+", aggregator="*")
    prove(case(net, ("a", "b", "x"), ("u", "ux", "uxx")))


class Poisson(SpatialProblem):
    """Poisson's equation on a square."""

    output_variables = ["u"]  # noqa: RUF012
    spatial_domain = CartesianDomain({"x": [0, 1], "y": [0, 1]})
    domains = {  # noqa: RUF012
        "D": CartesianDomain({"x": [0, 1], "y": [0, 1]}),
        "g": CartesianDomain({"x": [0, 1], "y": 1.0}),
    }
    conditions = {  # noqa: RUF012
        "D": Condition(
            domain="D",
            equation=Equation(
                lambda i, o: laplacian(o, i, components=["u"], d=["x", "y"]) - torch.sin(i.extract(["x"]) * torch.pi)
            ),
        ),
        "g": Condition(domain="g", equation=FixedValue(0.0)),
    }


def trained(folder: Path) -> tuple[PINN, Any]:
    """A solver after a few epochs, and its trainer."""
    problem = Poisson()
    for domain in ("D", "g"):
        problem.discretise_domain(50, "random", domains=domain)
    solver = PINN(problem, FeedForward(2, 1, layers=[20, 20]))
    quiet = {"enable_progress_bar": False, "enable_model_summary": False, "logger": False}
    trainer = Trainer(solver, max_epochs=5, accelerator="cpu", default_root_dir=folder, train_size=1.0, **quiet)
    trainer.train()
    return solver, trainer


def test_a_solver_and_its_checkpoint(tmp_path: Path) -> None:
    solver, trainer = trained(tmp_path)
    prove(case(solver))
    trainer.save_checkpoint(tmp_path / "poisson.ckpt")
    again = PINN.load_from_checkpoint(
        tmp_path / "poisson.ckpt", problem=solver.problem, model=FeedForward(2, 1, layers=[20, 20]), weights_only=False
    )
    prove(case(again))


def test_the_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    solver, trainer = trained(tmp_path)
    trainer.save_checkpoint(tmp_path / "poisson.ckpt")
    network = FeedForward(2, 1, layers=[20, 20])
    made = run_snippets("PINA", tmp_path, monkeypatch, PINN=PINN, problem=solver.problem, network=network)
    check_values(made["program"], labelled(solver.model, ("x", "y")), points(made["program"], 0.0, 1.0))
    check_bundle(tmp_path / "poisson")
