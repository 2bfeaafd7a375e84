"""Capture of what is calculated: derivatives, float32 in float64, NumPy, changes in place, and whose line it was."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call, grad, hessian, jacfwd, jacrev, jvp, stack_module_state, vjp, vmap

from kdpinn_edge.errors import CaptureError
from kdpinn_edge.importers.pytorch.module import capture
from kdpinn_edge.program.interp import interpret

torch.set_num_threads(1)
torch.manual_seed(0)
NET = nn.Sequential(nn.Linear(2, 6), nn.Tanh(), nn.Linear(6, 6), nn.Softplus(), nn.Linear(6, 2))
DOUBLE = nn.Sequential(nn.Linear(2, 6), nn.Tanh(), nn.Linear(6, 6), nn.Softplus(), nn.Linear(6, 2)).double()
DOUBLE.load_state_dict(NET.state_dict())
XY = ("x", "y")
POINTS = torch.from_numpy(np.random.default_rng(0).uniform(-1, 1, (9, 2)))
DERIVATIVE = 1e-12
"""Derivatives by the recorded backward pass against torch's own, relative to the largest."""


def by_grad(x: Tensor) -> Tensor:
    """Velocities of a stream function, and a pressure."""
    x = x.requires_grad_(True)
    psi, p = NET(x).split(1, dim=1)
    (g,) = torch.autograd.grad(psi.sum(), x, create_graph=True)
    return torch.cat([g[:, 1:2], -g[:, 0:1], p], 1)


def by_grad_of_a_copy(x: Tensor) -> Tensor:
    with torch.enable_grad():
        x = x.detach().clone().requires_grad_(True)
        psi, p = NET(x).split(1, dim=1)
        (g,) = torch.autograd.grad(psi, x, torch.ones_like(psi), create_graph=True)
    return torch.cat([g[:, 1:2], -g[:, 0:1], p], 1)


def by_grad_of_what_is_given(x: Tensor) -> Tensor:
    psi, p = NET(x).split(1, dim=1)
    g = torch.autograd.grad(psi, x, torch.ones_like(psi), create_graph=True)[0]
    return torch.cat([g[:, 1:2], -g[:, 0:1], p], 1)


def by_grad_of_columns(x: Tensor, y: Tensor) -> Tensor:
    psi, p = NET(torch.cat([x, y], 1)).split(1, dim=1)
    u, v = torch.autograd.grad(psi.sum(), (y, x), create_graph=True)
    return torch.cat([u, -v, p], 1)


@torch.no_grad()
def by_jacrev(x: Tensor) -> Tensor:
    g = vmap(jacrev(lambda z: NET(z)[0]))(x)
    return torch.cat([g[:, 1:2], -g[:, 0:1], NET(x)[:, 1:]], 1)


def by_jacfwd(x: Tensor) -> Tensor:
    g = vmap(jacfwd(lambda z: NET(z)[:1]))(x)[:, 0]
    return torch.cat([g[:, 1:2], -g[:, 0:1], NET(x)[:, 1:]], 1)


def by_vmapped_grad(x: Tensor) -> Tensor:
    g = vmap(grad(lambda z: NET(z)[0]))(x)
    return torch.stack([g[:, 1], -g[:, 0], NET(x)[:, 1]], 1)


def by_jvp(x: Tensor) -> Tensor:
    along_x = torch.zeros_like(x)
    along_x[:, 0] = 1
    _, dx = jvp(NET, (x,), (along_x,))
    y, dy = jvp(NET, (x,), (1 - along_x,))
    return torch.cat([dy[:, :1], -dx[:, :1], y[:, 1:]], 1)


def by_vjp(x: Tensor) -> Tensor:
    y, back = vjp(NET, x)
    (g,) = back(torch.tensor([1.0, 0.0], dtype=y.dtype).expand_as(y))
    return torch.cat([g[:, 1:], -g[:, :1], y[:, 1:]], 1)


STREAMS = (
    by_grad, by_grad_of_a_copy, by_grad_of_what_is_given, by_grad_of_columns, by_jacrev, by_jacfwd, by_vmapped_grad,
    by_jvp, by_vjp,
)  # fmt: skip


@pytest.mark.parametrize("function", STREAMS)
def test_a_stream_function(function: Callable[..., Tensor]) -> None:
    x = POINTS.clone().requires_grad_()
    y = DOUBLE(x)
    (g,) = torch.autograd.grad(y[:, 0].sum(), x)
    expected = torch.stack([g[:, 1], -g[:, 0], y[:, 1]], 1).detach().numpy()
    program = capture(function, name="p", inputs=XY, outputs=("u", "v", "p"))
    np.testing.assert_allclose(
        interpret(program, POINTS.numpy()), expected, rtol=0, atol=DERIVATIVE * abs(expected).max()
    )


def second_derivatives(x: Tensor) -> Tensor:
    h = vmap(hessian(lambda z: NET(z)[0]))(x)
    return torch.stack([h[:, 0, 0] + h[:, 1, 1], h[:, 0, 1]], 1)


def second_derivatives_by_grad(x: Tensor) -> Tensor:
    x = x.requires_grad_()
    (g,) = torch.autograd.grad(NET(x)[:, 0].sum(), x, create_graph=True)
    rows = [torch.autograd.grad(g[:, i].sum(), x, create_graph=True)[0] for i in range(2)]
    return torch.stack([rows[0][:, 0] + rows[1][:, 1], rows[0][:, 1]], 1)


@pytest.mark.parametrize("function", [second_derivatives, second_derivatives_by_grad])
def test_second_derivatives(function: Callable[[Tensor], Tensor]) -> None:
    h = torch.func.vmap(torch.func.hessian(lambda z: DOUBLE(z)[0]))(POINTS).detach().numpy()
    expected = np.stack([h[:, 0, 0] + h[:, 1, 1], h[:, 0, 1]], 1)
    program = capture(function, name="p", inputs=XY, outputs=("a", "b"))
    np.testing.assert_allclose(
        interpret(program, POINTS.numpy()), expected, rtol=0, atol=DERIVATIVE * abs(expected).max()
    )


class Ensemble(nn.Module):
    """Networks of one form, evaluated together."""

    def __init__(self) -> None:
        super().__init__()
        nets = [nn.Sequential(nn.Linear(2, 5), nn.Tanh(), nn.Linear(5, 2)) for _ in range(3)]
        stacked, _ = stack_module_state(nets)  # type: ignore[arg-type]
        self.names = list(stacked)
        self.weights = nn.ParameterList(each.detach() for each in stacked.values())
        self.base = [nets[0]]

    def forward(self, x: Tensor) -> Tensor:
        weights = dict(zip(self.names, self.weights, strict=True))
        return vmap(lambda each: functional_call(self.base[0], each, (x,)))(weights).mean(0)


def test_an_ensemble() -> None:
    ensemble = Ensemble()
    before = [each.detach().clone() for each in ensemble.base[0].parameters()]
    program = capture(ensemble, name="p", inputs=XY, outputs=("u", "v"))
    w0, b0, w1, b1 = (each.detach().double().numpy() for each in ensemble.weights)
    hidden = np.tanh(np.einsum("ni,eoi->eno", POINTS.numpy(), w0) + b0[:, None])
    expected = (np.einsum("eni,eoi->eno", hidden, w1) + b1[:, None]).mean(0)
    np.testing.assert_allclose(interpret(program, POINTS.numpy()), expected, rtol=1e-13, atol=1e-14)
    assert all(torch.equal(a, b) for a, b in zip(before, ensemble.base[0].parameters(), strict=True))


S, M = torch.tensor([0.3, 1.7]), torch.tensor([[0.1, 0.2], [0.3, -0.4]])
S64, M64 = S.double().numpy(), M.double().numpy()
LOWER, UPPER = np.array([-1.1, -1.2]), np.array([1.3, 1.4])
F32 = np.float32

CONSTANTS: dict[str, tuple[Callable[[Tensor], Any], Callable[[np.ndarray], np.ndarray]]] = {
    "float32 of a closure": (lambda x: x * S, lambda x: x * S64),
    "float32 matrix of a closure": (lambda x: x @ M, lambda x: x @ M64),
    "matrix cast": (lambda x: x @ M.to(x.dtype), lambda x: x @ M64),
    "cast of the points": (lambda x: x.float() @ M, lambda x: x @ M64),
    "cast to a type": (lambda x: torch.mm(x.to(torch.bfloat16).float(), M), lambda x: x @ M64),
    "cast of the result": (lambda x: (x * S).half(), lambda x: x * S64),
    "made in float32": (lambda x: x * torch.tensor([0.1, 0.2]), lambda x: x * np.array([0.1, 0.2], F32).astype(float)),
    "made like the points": (lambda x: x * x.new_tensor([0.1, 0.2]), lambda x: x * [0.1, 0.2]),
    "calculated in float32": (lambda x: x * (S / 3), lambda x: x * (S.numpy() / F32(3)).astype(float)),
    "NumPy": (lambda x: 2 * (x - LOWER) / (UPPER - LOWER) - 1, lambda x: 2 * (x - LOWER) / (UPPER - LOWER) - 1),
    "NumPy first": (lambda x: LOWER * x + UPPER - LOWER / (x + 3), lambda x: LOWER * x + UPPER - LOWER / (x + 3)),
    "functions of NumPy": (lambda x: np.sin(x) + np.multiply(x, np.float64(2)), lambda x: np.sin(x) + 2 * x),
    "scalars of NumPy": (lambda x: (x - F32(0.3)) / np.float64(1.7), lambda x: (x - float(F32(0.3))) / 1.7),
    "from_numpy": (lambda x: x + torch.from_numpy(LOWER), lambda x: x + LOWER),
    "autocast": (lambda x: autocast(x), lambda x: x @ M64),
    "written column": (lambda x: written(x), lambda x: np.column_stack([x[:, 1] * x[:, 0], x[:, 1]])),
    "written blank": (lambda x: blank(x), lambda x: np.column_stack([x[:, 1], np.zeros(len(x))])),
    "written twice": (lambda x: twice(x), lambda x: np.column_stack([3 * x[:, 1] + x[:, 0], x[:, 1]])),
    "data": (lambda x: x.data * 2, lambda x: x * 2),
    "checked": (lambda x: checked(x), lambda x: x),
    "branch on constants": (lambda x: x * (1 if S.sum() > 0 and S[0].item() < 1 else 2), lambda x: x),
    "inference mode": (lambda x: inferred(x), lambda x: x @ M64.T),
}


def autocast(x: Tensor) -> Tensor:
    with torch.autocast("cpu", dtype=torch.bfloat16):
        return torch.mm(x, M)


def written(x: Tensor) -> Tensor:
    x = x.clone()
    x[:, 0] *= x[:, 1]
    return x


def blank(x: Tensor) -> Tensor:
    out = torch.zeros(len(x), 2)
    out[:, 0] = x[:, 1]
    return out


def twice(x: Tensor) -> Tensor:
    out = torch.empty_like(x)
    out[:, 1:] = x[:, 1:]
    first = out[:, 0]
    first.copy_(x[:, 1]).mul_(3)
    out[:, 0].add_(x[:, 0])
    return out


def checked(x: Tensor) -> Tensor:
    assert x.shape[1] == 2
    assert not torch.isnan(x).any()
    if not x.isfinite().all() or torch.logical_not(torch.isfinite(x)).any():
        raise ValueError("not finite")
    return x


@torch.inference_mode()
def inferred(x: Tensor) -> Tensor:
    return nn.functional.linear(x, M)


@pytest.mark.parametrize(("function", "expected"), CONSTANTS.values(), ids=CONSTANTS)
def test_constants(function: Callable[[Tensor], Any], expected: Callable[[np.ndarray], np.ndarray]) -> None:
    program = capture(function, name="p", inputs=XY, outputs=("u", "v"))
    x = POINTS.numpy()
    np.testing.assert_allclose(interpret(program, x), expected(x), rtol=1e-15, atol=1e-15)


class Labels(Tensor):
    """A tensor of a library, with labels, whose operations give the like."""

    @staticmethod
    def __new__(cls, x: Tensor, labels: list[str]) -> Labels:
        return super().__new__(cls, x)  # type: ignore[call-arg]

    def __init__(self, x: Tensor, labels: list[str]) -> None:
        super().__init__()
        self.labels = labels

    def extract(self, name: str) -> Labels:
        place = self.labels.index(name)
        return Labels(self.as_subclass(Tensor)[:, place : place + 1], [name])


def from_the_boundary(net: nn.Module, x: Tensor) -> Tensor:
    """A network and its slope at the boundary, for every point, as boundary conditions are built in."""
    start = torch.full_like(x, -1.0, requires_grad=True)
    at_start = net(start)
    (slope,) = torch.autograd.grad(at_start, start, torch.ones_like(at_start), create_graph=True)
    return net(x) - at_start + slope


def equal_but_for_rounding(x: Tensor) -> Tensor:
    """A constant whose rows differ in the last place, as those of a product of equal rows may."""
    return x + 0.3 * (1 + 2.0**-52 * (torch.arange(len(x))[:, None] % 2).double())


def test_what_is_the_same_for_all_points_but_for_rounding() -> None:
    program = capture(lambda x: from_the_boundary(NET, x), name="p", inputs=XY, outputs=("u", "v"))
    expected = from_the_boundary(DOUBLE, POINTS).detach().numpy()
    np.testing.assert_allclose(interpret(program, POINTS.numpy()), expected, rtol=1e-13, atol=1e-13)
    program = capture(equal_but_for_rounding, name="p", inputs=XY, outputs=("u", "v"))
    np.testing.assert_array_equal(interpret(program, POINTS.numpy()), POINTS.numpy() + 0.3)


def test_a_subclass_that_forward_makes() -> None:
    def forward(x: Tensor) -> Tensor:
        labels = Labels(x, ["x", "y"])
        return torch.cat([labels.extract("y") * NET(labels)[:, :1], labels.extract("x")], 1)

    program = capture(forward, name="p", inputs=XY, outputs=("u", "v"))
    x = POINTS.numpy()
    expected = np.column_stack([x[:, 1] * DOUBLE(POINTS)[:, 0].detach().numpy(), x[:, 0]])
    np.testing.assert_allclose(interpret(program, x), expected, rtol=1e-13, atol=1e-14)


def rounded(x: Tensor) -> Tensor:
    y = 2 * x
    return torch.round(y)


class Closure(nn.Module):
    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.layer, self.function = nn.Linear(2, 2), function

    def forward(self, x: Tensor) -> Tensor:
        return self.function(self.layer(x))


def test_the_line_of_a_closure_is_named() -> None:
    with pytest.raises(CaptureError) as caught:
        capture(Closure(rounded), name="p", inputs=XY, outputs=("u", "v"))
    line = rounded.__code__.co_firstlineno + 2
    assert re.search(
        rf"test_capture_trace.py:{line}: return torch.round\(y\): round is not captured: it rounds", str(caught.value)
    )


def branch(x: Tensor) -> Tensor:
    if x.sum() > 0:
        return x
    return -x


REFUSED: dict[str, tuple[Callable[[Tensor], Any], str]] = {
    "branch": (branch, r"cannot be recorded: .*test_capture_trace.py:\d+: if x.sum\(\) > 0:: control flow depends on"),
    "branch on numbers": (lambda x: x if float(x[0, 0]) > 2 else -x, "control flow depends on the data"),
    "equality": (lambda x: x if torch.equal(x, x) else -x, "control flow depends on the data"),
    "mask": (lambda x: x[x[:, 0] > -9], "how many numbers it picks depends on the data"),
    "out of torch": (lambda x: torch.from_numpy(np.sin(x.numpy())), r"numpy\(\) leaves torch"),
    "list": (lambda x: torch.tensor(x.tolist()), r"tolist\(\) leaves torch"),
    "random": (lambda x: x + torch.randn(2), r"randn is not captured: it is random"),
    "random like": (lambda x: x + torch.randn_like(x), r"randn_like is not captured: it is random"),
    "random by NumPy": (lambda x: x + np.random.default_rng().normal(), "at the first call and .* at the second"),
    "complex": (lambda x: torch.view_as_real(torch.exp(1j * x[:, 0])), "complex numbers"),
    "across points": (lambda x: x - x.mean(0), "mixes points"),
    "points in reverse": (lambda x: x.flip(0), "mixes points"),
    "number of points": (lambda x: x * len(x), "differs from the network|differs from the module"),
}


@pytest.mark.parametrize(("function", "message"), REFUSED.values(), ids=REFUSED)
def test_refusals(function: Callable[[Tensor], Any], message: str) -> None:
    with pytest.raises(CaptureError, match=message) as caught:
        capture(function, name="p", inputs=XY, outputs=("u", "v"))
    assert len(str(caught.value)) < 600
