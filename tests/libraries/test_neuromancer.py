"""NeuroMancer."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from neuromancer.dynamics import integrators, ode
from neuromancer.modules import activations, blocks, rnn
from neuromancer.slim import linear as slim
from neuromancer.system import Node
from proof import Case, check_bundle, check_values, points, prove, run_snippets
from torch import Tensor, nn

from kdpinn_edge import capture
from kdpinn_edge.errors import CaptureError

JET = ("u", "ua", "uab")
IN, OUT = ("a", "b", "c"), ("u", "v", "w")


def case(model: Any, jet: tuple[str, ...] = JET, **options: Any) -> Case:
    return Case(model, IN, OUT, -1.0, 1.0, lambda x: model.double().eval()(x), jet, **options)


def mlp(**options: Any) -> Any:
    torch.manual_seed(0)
    return blocks.MLP(3, 3, **{"hsizes": [8, 8], "nonlin": nn.Tanh, **options})


BLOCKS: dict[str, Callable[[], Any]] = {
    "Linear": lambda: blocks.Linear(3, 3),
    "MLP": mlp,
    "MLP without bias": lambda: mlp(bias=False),
    "ResMLP": lambda: blocks.ResMLP(3, 3, hsizes=[8, 8, 8], nonlin=nn.Tanh),
    "MLP in bounds": lambda: blocks.MLP_bounds(3, 3, hsizes=[8], nonlin=nn.Tanh, min=-1.0, max=2.0),
    "MLP clamped": lambda: blocks.MLP_bounds(3, 3, hsizes=[8], nonlin=nn.Tanh, min=0.0, max=0.2, method="relu_clamp"),
    "stacked": lambda: blocks.StackedMLP(3, 3, h_sf_size=[8], n_stacked_mf_layers=2, linear_map=slim.Linear),
    "input convex": lambda: blocks.InputConvexNN(3, 3, hsizes=[8, 8]),
    "bilinear": lambda: blocks.BilinearTorch(3, 3),
    "basis": lambda: blocks.BasisLinear(3, 3),
    "SINDy": lambda: nn.Sequential(blocks.Poly2(), blocks.Linear(9, 3)),
    "KAN": lambda: blocks.KANBlock(3, 3, hsizes=[4]),
}


@pytest.mark.parametrize("name", BLOCKS)
def test_blocks(name: str) -> None:
    torch.manual_seed(0)
    prove(case(BLOCKS[name](), ("u",) if name in ("KAN", "MLP clamped") else JET))


def test_a_positive_definite_function() -> None:
    model = blocks.PosDef(blocks.InputConvexNN(3, 1, hsizes=[8, 8]))
    prove(Case(model, IN, ("u",), -1.0, 1.0, lambda x: model.double().eval()(x), ("u", "ua")))


NO_SLOPE: dict[str, tuple[str, ...]] = {
    "aplu": (),  # writes in place: autograd refuses it
    "hardsigmoid": (),  # torch's slope is 1/6 rounded to float32, in float64 too
}


@pytest.mark.parametrize("name", activations.activations)
def test_activations(name: str) -> None:
    torch.manual_seed(0)
    prove(case(mlp(nonlin=activations.activations[name]), NO_SLOPE.get(name, ("u", "ua"))))


@pytest.mark.parametrize("name", sorted(slim.maps.keys() - {"schur"}))  # fails in NeuroMancer, with and without bias
def test_linear_maps(name: str) -> None:
    torch.manual_seed(0)
    kind = slim.maps[name]
    maps = [kind(4, 4, bias=name != "trivial_nullspace") for _ in range(2)]
    model = nn.Sequential(nn.Linear(3, 4), maps[0], nn.Tanh(), maps[1], nn.Linear(4, 3))
    if name == "gershgorin":  # makes float32 numbers when it is called
        prove(Case(model, IN, OUT, -1.0, 1.0, model, dtype=torch.float32))
    else:
        prove(case(model, ("u", "ua")))


def test_dropout_that_stays_on_is_refused() -> None:
    with pytest.raises(CaptureError, match="random"):
        capture(blocks.MLPDropout(3, 3, hsizes=[8], dropout=0.1), name="net", inputs=IN, outputs=OUT)


def test_a_cell_of_a_recurrent_network() -> None:
    """One step: what goes in and the state, and the state that comes out."""
    cell = rnn.RNNCell(3, 4, nonlin=torch.tanh)
    prove(Case(cell, (("x", 3), ("h", 4)), (("s", 4),), -1.0, 1.0, lambda x: cell.double()(x[:, :3], x[:, 3:])))


def test_a_node() -> None:
    """Keys are the names of the inputs and outputs."""
    node = Node(mlp(), ["x"], ["y"], name="policy")
    net = node.callable
    prove(Case(node, (("x", 3),), (("y", 3),), -1.0, 1.0, lambda x: net.double()(x)))


def test_a_node_of_two_inputs() -> None:
    node = Node(blocks.MLP(5, 2, hsizes=[8], nonlin=nn.Tanh), ["x", "r"], ["u"], name="policy")
    net = node.callable
    prove(Case(node, (("x", 3), ("r", 2)), (("u", 2),), -1.0, 1.0, lambda x: net.double()(x)))


INTEGRATORS = (
    *(integrators.Euler, integrators.RK2, integrators.RK4),
    *(integrators.Luther, integrators.Runge_Kutta_Fehlberg),
)


@pytest.mark.parametrize("kind", INTEGRATORS)
def test_a_step_of_a_neural_ode(kind: Any) -> None:
    model = kind(blocks.MLP(3, 3, hsizes=[8], nonlin=nn.Tanh), h=0.1)
    prove(Case(model, (("x", 3),), (("y", 3),), -1.0, 1.0, lambda x: model.double().eval()(x)))


def test_a_step_whose_columns_are_named_apart_is_refused() -> None:
    """An integrator is called with x, *args: three names may be three arguments or one."""
    model = integrators.Euler(blocks.MLP(3, 3, hsizes=[8], nonlin=nn.Tanh), h=0.1)
    with pytest.raises(CaptureError, match="can be called in two ways"):
        capture(model, name="step", inputs=IN, outputs=OUT)


def test_a_step_of_an_equation_with_a_network_in_it() -> None:
    block = blocks.MLP(2, 1, hsizes=[8], nonlin=nn.Tanh)
    model = integrators.RK4(ode.LotkaVolterraHybrid(block), h=0.1)
    prove(Case(model, ("a", "b"), ("u", "v"), 0.1, 1.0, lambda x: model.double().eval()(x), ("u", "ua", "vb")))


def test_a_controlled_tank() -> None:
    model = integrators.RK4(ode.TwoTankParam(), h=0.1)

    def call(x: Tensor) -> Tensor:
        return model.double()(x[:, :2], x[:, 2:])

    prove(Case(model, (("x", 2), ("u", 2)), (("y", 2),), 0.1, 0.9, call))


def test_the_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    block = blocks.MLP(5, 2, hsizes=[8], nonlin=nn.GELU)
    made = run_snippets("NeuroMancer", tmp_path, monkeypatch, block=block, Node=Node)
    check_values(made["program"], lambda x: block.double()(x), points(made["program"], -1.0, 1.0))
    check_bundle(tmp_path / "policy")
