"""TorchPhysics."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torchphysics as tp
from proof import Case, check_bundle, check_values, points, prove, run_snippets
from torch import Tensor, nn
from torchphysics.problem.spaces import Points

X, T, U, V = tp.spaces.R1("x"), tp.spaces.R1("t"), tp.spaces.R1("u"), tp.spaces.R1("v")
PLANE, FIELDS = tp.spaces.R2("x"), tp.spaces.R2("u")
JET = ("u", "ux", "ut", "uxx", "uxt")
BOX = tp.domains.Interval(X, 0, 2) * tp.domains.Interval(T, 0, 5)


def called(model: Any, space: Any = X * T) -> Callable[[Tensor], Tensor]:
    """The model, called with points of a space."""
    return lambda x: model.double()(Points(x, space)).as_tensor


def case(model: Any, jet: tuple[str, ...] = JET, space: Any = X * T) -> Case:
    return Case(model, ("x", "t"), ("u",), (0.0, 0.0), (2.0, 5.0), called(model, space), jet)


MODELS: dict[str, Callable[[], Any]] = {
    "FCN": lambda: tp.models.FCN(X * T, U, hidden=(20, 20)),
    "FCN with an activation per layer": lambda: tp.models.FCN(X * T, U, (8, 8), [nn.Tanh(), tp.models.Sinus()]),
    "FCN with an output activation": lambda: tp.models.FCN(X * T, U, (8,), activation_fn_output=nn.Softplus()),
    "adaptive": lambda: tp.models.FCN(X * T, U, (8,), tp.models.AdaptiveActivationFunction(nn.Tanh(), 0.5, 3.0)),
    "harmonic": lambda: tp.models.Harmonic_FCN(X * T, U, max_frequenz=3, hidden=(12,)),
    "polynomial": lambda: tp.models.Polynomial_FCN(X * T, U, polynomial_degree=2, hidden=(6, 6)),
    "polynomial, residual": lambda: tp.models.Polynomial_FCN(X * T, U, 2, (6, 6, 6), res_connection=True),
    "QRES": lambda: tp.models.QRES(X * T, U, hidden=(12, 12)),
    "Deep Ritz": lambda: tp.models.DeepRitzNet(X * T, U, width=12, depth=2),
    "normalised": lambda: tp.models.Sequential(tp.models.NormalizationLayer(BOX), tp.models.FCN(X * T, U, (12,))),
    "normalised Deep Ritz": lambda: tp.models.Sequential(
        tp.models.NormalizationLayer(BOX), tp.models.DeepRitzNet(X * T, U, width=8, depth=1)
    ),
}


@pytest.mark.parametrize("name", MODELS)
def test_models(name: str) -> None:
    prove(case(MODELS[name]()))


def test_relu_to_a_power() -> None:
    """A function with a backward pass of its own."""
    prove(case(tp.models.FCN(X * T, U, (8, 8), tp.models.ReLUn(3)), ("u", "ux")))


def test_columns_in_the_order_of_the_names() -> None:
    """A model of (x, t), its points named t, x: the space of the model says which is which."""
    model = tp.models.FCN(X * T, U, hidden=(8,))
    prove(Case(model, ("t", "x"), ("u",), 0.0, 1.0, called(model, T * X), ("u", "ux", "ut")))


def test_a_space_of_two_dimensions() -> None:
    model = tp.models.FCN(PLANE * T, FIELDS, hidden=(8,))
    call = called(model, PLANE * T)
    prove(Case(model, (("x", 2), "t"), (("u", 2),), 0.0, 1.0, call))
    prove(Case(model, ("a", "b", "t"), ("u", "v"), 0.0, 1.0, call, ("u", "ua", "vtt")))


def test_parallel_models() -> None:
    model = tp.models.Parallel(tp.models.FCN(X * T, U, (8,)), tp.models.FCN(X, V, (8,)))
    prove(Case(model, ("x", "t"), ("u", "v"), 0.0, 1.0, called(model), ("u", "ux", "vxx")))


def test_a_hard_constraint() -> None:
    model = tp.models.FCN(X * T, U, (8,))
    prove(case(tp.models.HardConstraint(model, lambda u, x, t: u * x * (2 - x) * t + torch.sin(x))))


def test_a_trained_model_with_its_solver() -> None:
    model = tp.models.FCN(X * T, U, hidden=(10,))
    sampler = tp.samplers.RandomUniformSampler(BOX, n_points=50)

    def heat(u: Tensor, x: Tensor, t: Tensor) -> Tensor:
        return tp.utils.laplacian(u, x) - tp.utils.grad(u, t)

    condition = tp.conditions.PINNCondition(model, sampler, heat)
    solver = tp.solver.Solver([condition], optimizer_setting=tp.OptimizerSetting(torch.optim.Adam, lr=1e-3))
    import pytorch_lightning as pl

    quiet = {"enable_progress_bar": False, "enable_model_summary": False, "logger": False}
    pl.Trainer(max_steps=3, accelerator="cpu", enable_checkpointing=False, **quiet).fit(solver)
    prove(case(model))


def deeponet(trunk_input_copied: bool, dimension: Any = U) -> Any:
    functions = tp.spaces.FunctionSpace(T, tp.spaces.R1("f"))
    grid = Points(torch.linspace(0, 1, 6)[:, None], T)
    trunk = tp.models.FCTrunkNet(X, torch.zeros(1, 4, 1), hidden=(10,), trunk_input_copied=trunk_input_copied)
    branch = tp.models.FCBranchNet(functions, grid, hidden=(12,))
    return tp.models.DeepONet(trunk, branch, dimension, output_neurons=8)


@pytest.mark.parametrize("copied", [True, False])
def test_deeponet_of_a_function_that_is_fixed(copied: bool) -> None:
    """The branch is evaluated once, and the trunk for each point."""
    model = deeponet(copied)
    model.fix_branch_input(torch.sin(torch.linspace(0, 1, 6))[:, None])

    def call(x: Tensor) -> Tensor:
        model.double()
        model.branch.current_out = model.branch.current_out.double()
        return model(Points(x[None], X)).as_tensor[0]

    prove(Case(model, ("x",), ("u",), 0.0, 1.0, call, ("u", "ux", "uxx")))


def test_deeponet_of_a_function_per_point() -> None:
    model = deeponet(trunk_input_copied=False)

    class Operator(nn.Module):
        """A function of six values and a place."""

        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def forward(self, f: Tensor, x: Tensor) -> Tensor:
            return self.model(Points(x[:, None], X), f[:, :, None]).as_tensor[:, 0]

    operator = Operator()

    def call(x: Tensor) -> Tensor:
        return operator.double()(x[:, :6], x[:, 6:])

    prove(Case(operator, (("f", 6), "x"), ("u",), -1.0, 1.0, call, ("u", "ux", "uxx")))


def test_the_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trained, model = (MODELS["normalised"]() for _ in range(2))
    trained.save(tmp_path / "heat.pt")
    made = run_snippets("TorchPhysics", tmp_path, monkeypatch, model=model)
    check_values(made["program"], called(trained), points(made["program"], (0, 0), (2, 5)))
    check_bundle(tmp_path / "heat")
