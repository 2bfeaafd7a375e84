"""DeepXDE, with its PyTorch backend."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ["DDE_BACKEND"] = "pytorch"

import deepxde as dde
import numpy as np
import pytest
import torch
from proof import Case, check_bundle, check_compiled, check_values, points, prove, run_snippets
from torch import Tensor

ACTIVATIONS = ["elu", "gelu", "relu", "selu", "sigmoid", "silu", "sin", "swish", "tanh", "LAAF-10 tanh", "LAAF-5 sin"]
LOWER, UPPER = (-1.0, 0.0), (1.0, 1.0)
JET = ("u", "ux", "ut", "uxx", "uxt")
FOURIER = torch.randn(2, 16, generator=torch.Generator().manual_seed(0))
SCALE = torch.tensor([3.0, 0.1])
SENSORS = 30
SPOTS = np.linspace(0, 1, 7)[:, None].astype(np.float32)

Net = Any


def fnn(sizes: list[Any], activation: Any = "tanh") -> Net:
    """A fully connected network."""
    dde.config.set_random_seed(3)
    return dde.nn.FNN(sizes, activation, "Glorot normal")


def case(net: Net, lower: Any = LOWER, upper: Any = UPPER, jet: tuple[str, ...] = JET, **options: Any) -> Case:
    """A network of x and t."""
    return Case(net, ("x", "t"), ("u",), lower, upper, doubled(net), jet, **options)


def doubled(net: Net) -> Callable[[Tensor], Tensor]:
    """The network in float64, as DeepXDE has it with `set_default_float`; it is converted when it is called."""
    return lambda x: net.double()(x)


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_activations(activation: str) -> None:
    prove(case(fnn([2, 12, 12, 1], activation), jet=("u", "ux", "uxx")))


def test_an_activation_per_layer_and_one_of_the_user() -> None:
    prove(case(fnn([2, 12, 12, 1], ["tanh", lambda x: x * torch.sigmoid(1.5 * x), "sin"])))


def with_transforms(features: Any = None, outputs: Any = None, wide: int = 2, high: int = 1) -> Net:
    net = fnn([wide, 12, 12, high])
    if features:
        net.apply_feature_transform(features)
    if outputs:
        net.apply_output_transform(outputs)
    return net


def polar(x: Tensor) -> Tensor:
    """Distance and angle."""
    return torch.stack([torch.sqrt(x[:, 0] ** 2 + x[:, 1] ** 2), torch.atan2(x[:, 1], x[:, 0])], 1)


def column_written(x: Tensor) -> Tensor:
    """The features with one column replaced, in place."""
    z = x.clone()
    z[:, 0] = torch.sin(np.pi * z[:, 0])
    return z


FEATURES: dict[str, tuple[Any, int]] = {
    "harmonics": (lambda x: torch.cat([x, *(torch.sin(k * x[:, 0:1]) for k in (1, 2, 3))], dim=1), 5),
    "NumPy constants": (lambda x: x * np.float32(2.0) + np.array([0.5, -0.5]).mean(), 2),
    "scaled by a tensor": (lambda x: x * SCALE.to(x), 2),
    "Fourier features": (lambda x: torch.cat([torch.sin(2 * np.pi * x @ FOURIER.to(x)), x], dim=1), 18),
    "a column in place": (column_written, 2),
    "periodic": (lambda x: torch.cat([torch.cos(np.pi * x[:, :1]), torch.sin(np.pi * x[:, :1]), x[:, 1:]], 1), 3),
}


@pytest.mark.parametrize("name", FEATURES)
def test_feature_transforms(name: str) -> None:
    features, wide = FEATURES[name]
    prove(case(with_transforms(features, wide=wide)))


def test_polar_features() -> None:
    prove(case(with_transforms(polar), (0.1, 0.1), (1.0, 1.0)))


OUTPUTS: dict[str, Any] = {
    "hard boundary": lambda x, y: x[:, 0:1] * (1 - x[:, 0:1]) * x[:, 1:2] * y + torch.sin(np.pi * x[:, 0:1]),
    "Allen-Cahn": lambda x, y: x[:, :1] ** 2 * torch.cos(np.pi * x[:, :1]) + x[:, 1:] * (1 - x[:, :1] ** 2) * y,
    "decay": lambda x, y: (1 - torch.exp(-5 * x[:, 1:2])) * y,
    "abs": lambda x, y: torch.abs(y),
    "softplus": lambda x, y: torch.nn.functional.softplus(y),
    "quotient": lambda x, y: y / (1.5 + torch.sin(x[:, 0:1])),
    "clamped": lambda x, y: torch.clamp(y, -0.1, 0.1),
    "where": lambda x, y: torch.where(x[:, 0:1] > 0, y, 2 * y),
    "distance": lambda x, y: y * torch.sqrt(x[:, 0:1] ** 2 + (x[:, 1:2] + 0.5) ** 2),
    "a minimum": lambda x, y: y * torch.minimum(1 - x[:, 0:1], 1 + x[:, 0:1]),
    "log": lambda x, y: torch.log(torch.exp(y) + 1),
    "a power": lambda x, y: y * (x[:, 1:2] + 0.5) ** 1.5,
    "tensor constants": lambda x, y: y * torch.tensor(2.0) + torch.tensor([[0.5]]),
    "float32 constants": lambda x, y: y * SCALE[0] + SCALE[1],
    "NumPy constants": lambda x, y: y * np.float64(0.3) + np.pi * np.float32(0.25),
    "pi of NumPy": lambda x, y: torch.sin(np.pi * x[:, 0:1]) + y * x[:, 1:2],
}


@pytest.mark.parametrize("name", OUTPUTS)
def test_output_transforms(name: str) -> None:
    prove(case(with_transforms(outputs=OUTPUTS[name])))


def test_an_output_transform_with_two_fields() -> None:
    net = with_transforms(
        lambda t: torch.cat([t, torch.sin(t), torch.sin(2 * t)], dim=1),
        lambda t, y: torch.cat([y[:, 0:1] * torch.tanh(t) + 100 / 200, y[:, 1:2] * torch.tanh(t) + 15 / 200], dim=1),
        3,
        2,
    )
    prove(Case(net, ("t",), ("r", "p"), (0.0,), (1.0,), doubled(net), ("r", "rt", "ptt")))


PARALLEL = [[3, [8] * 3, [8] * 3, 3], [3, 8, [8] * 3, 3], [3, [8] * 2, [2, 1]]]


@pytest.mark.parametrize("sizes", PARALLEL, ids=str)
def test_parallel_networks(sizes: list[Any]) -> None:
    net = dde.nn.PFNN(sizes, "tanh", "Glorot normal")
    prove(Case(net, ("x", "y", "t"), ("u", "v", "p"), -1.0, 1.0, doubled(net), ("u", "ux", "vyy", "pxy")))


def pair(net: Net) -> Callable[[Tensor], Tensor]:
    """A DeepONet, called for one function per point."""
    return lambda x: net.double()((x[:, :SENSORS], x[:, SENSORS:]))


def trunk(net: Net) -> Callable[[Tensor], Tensor]:
    """A DeepONet of the Cartesian product, called for one function and one place at a time."""

    def call(x: Tensor) -> Tensor:
        net.double()
        each = (net((row[None, :SENSORS], row[None, SENSORS:])) for row in x)
        return torch.cat([y.reshape(1, -1) for y in each])

    return call


STRATEGIES = ["independent", "split_both", "split_branch", "split_trunk"]


def operator(kind: Any, strategy: str | None, places: int = 1) -> Net:
    branch, last = {"split_branch": (20, 10), "split_trunk": (10, 20)}.get(str(strategy), (10, 10))
    outputs = {} if strategy is None else {"num_outputs": 2, "multi_output_strategy": strategy}
    return kind([SENSORS, 16, branch], [places, 16, last], "tanh", "Glorot normal", **outputs)


@pytest.mark.parametrize("strategy", [None, *STRATEGIES])
def test_deeponet(strategy: str | None) -> None:
    net = operator(dde.nn.DeepONet, strategy)
    outputs = ("u",) if strategy is None else ("u", "v")
    prove(Case(net, (("f", SENSORS), "x"), outputs, -1.0, 1.0, pair(net), ("u", "ux", "uxx")))


@pytest.mark.parametrize("activation", ["relu", {"branch": "relu", "trunk": "tanh"}], ids=str)
def test_deeponet_with_activations(activation: Any) -> None:
    net = dde.nn.DeepONet([SENSORS, 16, 10], [2, 16, 10], activation, "Glorot normal")
    prove(Case(net, (("f", SENSORS), ("x", 2)), ("u",), -1.0, 1.0, pair(net)))


def test_deeponet_with_transforms() -> None:
    net = operator(dde.nn.DeepONet, None)
    net.apply_feature_transform(lambda x: torch.sin(np.pi * x))
    net.apply_output_transform(lambda inputs, y: inputs[1] * (1 - inputs[1]) * y)
    prove(Case(net, (("f", SENSORS), "x"), ("u",), -1.0, 1.0, pair(net), ("u", "ux", "uxx")))


@pytest.mark.parametrize("strategy", [None, *STRATEGIES])
def test_deeponet_of_the_cartesian_product(strategy: str | None) -> None:
    net = operator(dde.nn.DeepONetCartesianProd, strategy)
    outputs = ("u",) if strategy is None else ("u", "v")
    prove(Case(net, (("f", SENSORS), "x"), outputs, -1.0, 1.0, trunk(net), ("u", "ux", "uxx")))


def test_deeponet_with_a_basis() -> None:
    basis = np.random.default_rng(0).normal(size=(20, 8)).astype(np.float32)
    net = dde.nn.PODDeepONet(basis, [SENSORS, 16, 8], "tanh", "Glorot normal")

    class OfFunctions(torch.nn.Module):
        """The network alone: its places are those of the basis."""

        def __init__(self) -> None:
            super().__init__()
            self.net = net

        def forward(self, f: Tensor) -> Tensor:
            return self.net((f, None))

    model = OfFunctions()
    prove(Case(model, (("f", SENSORS),), (("u", 20),), -1.0, 1.0, model, dtype=torch.float32))


def test_mionet() -> None:
    net = dde.nn.MIONetCartesianProd([4, 16, 10], [3, 16, 10], [1, 16, 10], "tanh", "Glorot normal")

    def call(x: Tensor) -> Tensor:
        net.double()
        return torch.cat([net((r[None, :4], r[None, 4:7], r[None, 7:])).reshape(1, -1) for r in x])

    prove(Case(net, (("f", 4), ("g", 3), "x"), ("u",), -1.0, 1.0, call, ("u", "ux")))


def burgers() -> Any:
    """The model of DeepXDE's example, after a few steps."""

    def pde(x: Tensor, y: Tensor) -> Tensor:
        u_x, u_t = dde.grad.jacobian(y, x, i=0, j=0), dde.grad.jacobian(y, x, i=0, j=1)
        return u_t + y * u_x - 0.01 / np.pi * dde.grad.hessian(y, x, i=0, j=0)

    space = dde.geometry.GeometryXTime(dde.geometry.Interval(-1, 1), dde.geometry.TimeDomain(0, 0.99))
    boundary = dde.icbc.DirichletBC(space, lambda x: 0, lambda _, on_boundary: on_boundary)
    initial = dde.icbc.IC(space, lambda x: -np.sin(np.pi * x[:, 0:1]), lambda _, on_initial: on_initial)
    data = dde.data.TimePDE(space, pde, [boundary, initial], num_domain=100, num_boundary=20, num_initial=20)
    model = dde.Model(data, fnn([2, 20, 20, 20, 1]))
    model.compile("adam", lr=1e-3)
    model.train(iterations=30, display_every=1000, verbose=0)
    return model


def test_a_trained_model_and_its_restored_checkpoint(tmp_path: Path) -> None:
    model = burgers()

    def predict(x: Tensor) -> Tensor:
        return torch.from_numpy(model.predict(x.numpy()))

    prove(Case(model, ("x", "t"), ("u",), LOWER, UPPER, predict, dtype=torch.float32))
    file = model.save(str(tmp_path / "burgers"))
    again = burgers()
    again.restore(file, verbose=0)
    prove(Case(again, ("x", "t"), ("u",), LOWER, UPPER, doubled(again.net), JET))


def test_the_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = burgers()
    file = Path(model.save(str(tmp_path / "burgers")))
    assert file.name == "burgers-30.pt"
    made = run_snippets("DeepXDE", tmp_path, monkeypatch, model=model)
    check_values(made["program"], doubled(model.net), points(made["program"], LOWER, UPPER))
    check_bundle(tmp_path / "burgers")


def test_a_model_in_float64() -> None:
    dde.config.set_default_float("float64")
    try:
        model = burgers()
        prove(Case(model, ("x", "t"), ("u",), LOWER, UPPER, lambda x: torch.from_numpy(model.predict(x.numpy()))))
    finally:
        dde.config.set_default_float("float32")


def test_an_inverse_problem_with_lbfgs() -> None:
    """A model with external variables and an optimiser in it."""
    c = dde.Variable(2.0)
    x = np.linspace(0, 1, 20)[:, None]
    observed = dde.icbc.PointSetBC(x, np.exp(-x), component=0)
    space = dde.geometry.TimeDomain(0, 1)
    data = dde.data.PDE(space, lambda t, y: dde.grad.jacobian(y, t) + c * y, [observed], num_domain=20, anchors=x)
    model = dde.Model(data, fnn([1, 10, 10, 1]))
    model.compile("adam", lr=1e-2, external_trainable_variables=[c])
    model.train(iterations=10, verbose=0)
    model.compile("L-BFGS", external_trainable_variables=[c])
    dde.optimizers.config.set_LBFGS_options(maxiter=5)
    model.train(verbose=0)
    prove(Case(model, ("t",), ("u",), 0.0, 1.0, doubled(model.net), ("u", "ut", "utt")))


def test_a_large_network() -> None:
    net = fnn([8, *[64] * 4, 10])
    inputs, outputs = tuple("abcdefgh"), tuple("klmnopqrst")
    program = prove(Case(net, inputs, outputs, -1.0, 1.0, doubled(net), ("k", "ka", "thh")))
    check_compiled(program, -1.0, 1.0)
