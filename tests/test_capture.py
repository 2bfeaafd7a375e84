"""Capture: a table of modules that are captured, and tables of what is refused, with the message."""

from __future__ import annotations

import copy
import math
import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import points
from torch import Tensor, nn

from kdpinn_edge.errors import CaptureError, ProgramError
from kdpinn_edge.importers.proof import PARITY
from kdpinn_edge.importers.pytorch.module import capture
from kdpinn_edge.program.interp import interpret
from kdpinn_edge.program.ir import Affine, Array, Map, Program, Var
from kdpinn_edge.program.simplify import multiply_adds, simplify

XT = ("x", "t")
torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


class Of(nn.Module):
    """A module whose `forward` is one expression."""

    def __init__(self, forward: Callable[..., Tensor], **tensors: Tensor) -> None:
        super().__init__()
        self.expression = forward
        for name, tensor in tensors.items():
            self.register_buffer(name, tensor)

    def forward(self, x: Tensor) -> Tensor:
        return self.expression(x)


def mlp(n_in: int, width: int, depth: int, n_out: int, activation: Callable[[], nn.Module] = nn.Tanh) -> nn.Sequential:
    layers: list[nn.Module] = []
    for i in range(depth):
        layers += [nn.Linear(width if i else n_in, width), activation()]
    return nn.Sequential(*layers, nn.Linear(width, n_out))


class Pinn(nn.Module):
    """Burgers: periodic features in x, t scaled to [-1, 1], and the initial condition -sin(pi x) built in."""

    def __init__(self, width: int = 16, harmonics: int = 2) -> None:
        super().__init__()
        self.register_buffer("k", math.pi * torch.arange(1, harmonics + 1))
        self.net = mlp(2 * harmonics + 1, width, 3, 1)

    def forward(self, xt: Tensor) -> Tensor:
        x, t = xt[:, 0:1], xt[:, 1:2]
        angle = x * self.k
        features = torch.cat([torch.cos(angle), torch.sin(angle), 2 * t - 1], dim=1)
        return -torch.sin(math.pi * x) + t * self.net(features)


class Fourier(nn.Module):
    """sin and cos of random directions, as one matrix product."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("B", torch.randn(2, 8))
        self.out = nn.Linear(16, 1)

    def forward(self, x: Tensor) -> Tensor:
        angle = 2 * torch.pi * x @ self.B
        return self.out(torch.cat([angle.sin(), angle.cos()], -1))


class Residual(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(2, 12), nn.Linear(12, 2)
        self.blocks = nn.ModuleList(mlp(12, 12, 1, 12, nn.SiLU) for _ in range(2))
        self.alpha = nn.Parameter(torch.tensor(0.3))

    def forward(self, x: Tensor) -> Tensor:
        h = torch.tanh(self.first(x))
        for block in self.blocks:
            h = h + self.alpha * block(h)
        return self.last(h)


class Gated(nn.Module):
    """The modified MLP of Wang, Teng, Perdikaris: h = (1 - z) * u + z * v."""

    def __init__(self) -> None:
        super().__init__()
        self.u, self.v, self.first = nn.Linear(2, 10), nn.Linear(2, 10), nn.Linear(2, 10)
        self.layers = nn.ModuleList(nn.Linear(10, 10) for _ in range(2))
        self.last = nn.Linear(10, 1)

    def forward(self, x: Tensor) -> Tensor:
        u, v, h = torch.tanh(self.u(x)), torch.tanh(self.v(x)), torch.tanh(self.first(x))
        for layer in self.layers:
            z = torch.sigmoid(layer(h))
            h = (1 - z) * u + z * v
        return self.last(h)


class Scaled(nn.Module):
    """Input scaled from its box with buffers, output with constants."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("lower", torch.tensor([-1.0, 0.0]))
        self.register_buffer("upper", torch.tensor([1.0, 4.0]))
        self.net = mlp(2, 8, 2, 3, nn.SiLU)

    def forward(self, x: Tensor) -> Tensor:
        y = self.net(2 * (x - self.lower) / (self.upper - self.lower) - 1)
        return y * torch.tensor([1.0, 10.0, 1e-3]) + torch.tensor([[0.0, 0.5, 2.0]])


class DeepONet(nn.Module):
    """A branch and a trunk, two inputs of several columns."""

    def __init__(self) -> None:
        super().__init__()
        self.branch, self.trunk = mlp(5, 8, 1, 6), mlp(2, 8, 1, 6)

    def forward(self, f: Tensor, x: Tensor) -> Tensor:
        return (self.branch(f) * self.trunk(x)).sum(-1, keepdim=True)


class TwoTensors(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.net = mlp(2, 8, 1, 2)

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        return self.net(torch.cat([x, t], dim=1)) * t * (1 - x**2)


class AnyNumber(nn.Module):
    def forward(self, *columns: Tensor) -> Tensor:
        return torch.stack(columns, dim=-1).squeeze(1).sin()


class AtTheBoundary(nn.Module):
    """u(x, t) = N(x, t) - N(0, t): the network evaluated where one coordinate is a constant."""

    def __init__(self) -> None:
        super().__init__()
        self.net = mlp(2, 8, 1, 1)

    def forward(self, xt: Tensor) -> Tensor:
        t = xt[:, 1:]
        return self.net(xt) - self.net(torch.cat([torch.zeros_like(t), t], dim=1))


class Dropped(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Linear(2, 8), nn.Dropout(0.5), nn.Tanh(), nn.Linear(8, 1))

    def forward(self, x: Tensor) -> Tensor:
        return F.dropout(self.net(x), 0.2, self.training)


CAPTURED: dict[str, tuple[Callable[[], nn.Module], tuple[Any, ...], tuple[Any, ...]]] = {
    "mlp": (lambda: mlp(2, 16, 3, 1), XT, ("u",)),
    "mlp silu": (lambda: mlp(1, 7, 2, 1, nn.SiLU), ("x",), ("u",)),
    "mlp sigmoid, no bias": (lambda: nn.Sequential(nn.Linear(2, 5, bias=False), nn.Sigmoid()), XT, (("u", 5),)),
    "several outputs": (lambda: mlp(3, 16, 2, 4), ("x", "y", "z"), ("u", "v", ("w", 2))),
    "burgers": (Pinn, XT, ("u",)),
    "fourier features": (Fourier, XT, ("u",)),
    "residual blocks": (Residual, XT, ("u", "v")),
    "gates": (Gated, XT, ("u",)),
    "scaling by buffers": (Scaled, XT, ("u", "v", "p")),
    "one tensor of pairs": (Scaled, (("xt", 2),), (("uvp", 3),)),
    "branch and trunk": (DeepONet, (("f", 5), ("x", 2)), ("u",)),
    "a tensor for each input": (TwoTensors, XT, ("u", "v")),
    "any number of tensors": (AnyNumber, ("x", "y", "z"), ("u", "v", "w")),
    "network at the boundary": (AtTheBoundary, XT, ("u",)),
    "dropout": (Dropped, XT, ("u",)),
    "weight norm": (lambda: nn.utils.parametrizations.weight_norm(nn.Linear(2, 3)), XT, (("u", 3),)),
    "identity": (nn.Identity, XT, ("u", "v")),
}

BURGERS = """\
burgers: x[1], t[1] -> u[1]
    v0[2]   = affine(x)  weight 2x1
    v1[2]   = cos(v0)
    v2[2]   = sin(v0)
    v3[1]   = 3.1415926535897931 * x + 0
    v4[1]   = sin(v3)
    v5[1]   = -1 * v4 + 0
    v6[5]   = concat(v1, v2, t)
    v7[16]  = affine(v6)  weight 16x5
    v8[16]  = tanh(v7)
    v9[16]  = affine(v8)  weight 16x16
    v10[16] = tanh(v9)
    v11[16] = affine(v10)  weight 16x16
    v12[16] = tanh(v11)
    v13[1]  = affine(v12)  weight 1x16
    v14[1]  = t * v13
    u[1]    = v5 + v14"""

EXPRESSIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "functions": lambda x: torch.cat([x.tanh(), x.sin(), x.cos(), x.exp(), x.sigmoid(), F.silu(x), F.softplus(x)], 1),
    "scalars": lambda x: (3 - 2 * x) / 4 + x * 0.5 - 1 + (-x),
    "tensors": lambda x: (x + torch.tensor([1.0, 2.0])) * torch.tensor([[3.0, 4.0]]) / torch.tensor(5.0),
    "alpha": lambda x: torch.add(torch.sub(x, x.sin(), alpha=2), torch.ones(2), alpha=3),
    "lorentzians": lambda x: (
        1 / (1 + x * x) + x[:, :1] / (x[:, :1] ** 2 + 4) + (0.5 + (2 * x.square() + 1) / 3).reciprocal()
    ),
    "powers": lambda x: x**1 + x**2 + x.square() + x.pow(3) + x**4.0,
    "two variables": lambda x: x[:, :1] * x[:, 1:] + x[:, :1] - x[:, 1:],
    "column over a vector": lambda x: torch.cat([x, x.sin()], 1) * x[:, :1] + x[:, 1:],
    "vector over a column": lambda x: x[:, 1:] - torch.cat([x, x.sin()], 1),
    "column over constants": lambda x: x[:, :1] * torch.arange(5),
    "vectors without an axis": lambda x: torch.stack([x[:, 0] * x[:, 1], x[:, 0] + 1], dim=1),
    "unit axes": lambda x: (x[:, None, :] * x[..., None].mT).view(-1, 2).unsqueeze(2).expand(-1, 2, 3).reshape(-1, 6),
    "reshapes": lambda x: x.reshape(x.shape[0], 1, 2).squeeze(1).view(x.shape[0], 2).contiguous().clone().detach(),
    "chunks": lambda x: torch.cat(x.sin().repeat(1, 3).chunk(3, dim=1)[::-1], dim=1),
    "splits": lambda x: sum(part.cos() for part in torch.split(x, 1, dim=1)) + x.unbind(1)[0].unsqueeze(-1),
    "columns by index": lambda x: x.sin()[:, [1, 0, 1]] + x[:, torch.tensor([0])] + x[..., -1, None],
    "columns in reverse": lambda x: x.flip(1),
    "transposed": lambda x: (torch.ones(3, 2, dtype=x.dtype) @ x.T + 1).T,
    "matrix products": lambda x: torch.addmm(torch.ones(3, dtype=x.dtype), x, torch.ones(2, 3, dtype=x.dtype), alpha=2),
    "matrix by vector": lambda x: (x @ torch.tensor([1.0, 2.0], dtype=x.dtype))[:, None],
    "matrix on a column": lambda x: (torch.ones(3, 2, dtype=x.dtype) @ x[..., None])[..., 0],
    "einsum": lambda x: torch.einsum("ni,oi->no", x, torch.ones(3, 2, dtype=x.dtype)),
    "matrices of both": lambda x: (x[:, None, :] @ x.sin()[:, :, None])[:, 0].expand(-1, 2),
    "several vectors per point": lambda x: F.linear(torch.stack([x, x.sin()], 1), torch.ones(1, 2).double())[..., 0],
    "outer": lambda x: torch.outer(x[:, 0], torch.ones(3, dtype=x.dtype)),
    "sums": lambda x: x.sum(1, keepdim=True) + x.mean(-1, keepdim=True) + (x * x).sum(dim=1)[:, None],
    "sums of groups": lambda x: torch.stack([x, x.sin(), x.cos()], 2).sum(2) + torch.stack([x, x.sin()], 1).mean(1),
    "constants of the batch": lambda x: (
        x * torch.ones(x.shape[0], 1) + torch.full_like(x, 2.0) + x.new_zeros(x.shape[0], 2)
    ),
    "constants calculated": lambda x: x * torch.linspace(0, 1, 2).exp().cumsum(0),
    "in place": lambda x: x.clone().mul_(2).add_(1).sin_(),
    "points below each other": lambda x: torch.cat([x, x.sin()], 0).mul(2).view(2, -1, 2)[1],
    "addcmul": lambda x: torch.addcmul(x, x, x.cos(), value=0.5),
}


def in_the_module(module: nn.Module, x: Array, columns: list[int]) -> Array:
    with torch.no_grad():
        y = copy.deepcopy(module).double().eval()(*torch.from_numpy(x).split(columns, 1))
    result: Array = y.numpy()
    return result


@pytest.mark.parametrize(("build", "inputs", "outputs"), CAPTURED.values(), ids=CAPTURED)
def test_module_is_captured(build: Callable[[], nn.Module], inputs: tuple[Any, ...], outputs: tuple[Any, ...]) -> None:
    module = build()
    program = capture(module, name="p", inputs=inputs, outputs=outputs)
    expected_names = [each if isinstance(each, str) else each[0] for each in (*inputs, *outputs)]
    assert [var.name for var in (*program.inputs, *program.outputs)] == expected_names
    assert program == simplify(program)
    x = points(program, 33, seed=1)
    several = isinstance(module, DeepONet | TwoTensors | AnyNumber)
    columns = [var.size for var in program.inputs] if several else [program.n_in]
    y = in_the_module(module, x, columns)
    np.testing.assert_allclose(interpret(program, x), y, rtol=0, atol=PARITY * abs(y).max())


@pytest.mark.parametrize("expression", EXPRESSIONS.values(), ids=EXPRESSIONS)
def test_expression_is_captured(expression: Callable[[Tensor], Tensor]) -> None:
    module = Of(expression)
    n_out = module(torch.zeros(3, 2, dtype=torch.float64)).shape[1]
    program = capture(module, name="p", inputs=XT, outputs=(("y", n_out),))
    x = points(program, 7, seed=1)
    np.testing.assert_allclose(interpret(program, x), in_the_module(module, x, [2]), rtol=1e-13, atol=1e-14)


def test_burgers_reads_like_its_equation() -> None:
    program = capture(Pinn(), name="burgers", inputs=XT, outputs=("u",), domain=((-1, 0), (1, 1)))
    assert str(program) == BURGERS


def test_a_lorentzian_is_one_operation() -> None:
    for expression in (lambda x: 1 / (1 + x * x), lambda x: (x**2 + 1).reciprocal()):
        program = capture(Of(expression), name="p", inputs=(("x", 2),), outputs=(("y", 2),))
        assert program == Program("p", (Var("x", 2),), (Var("y", 2),), (Map(Var("y", 2), Var("x", 2), "lorentzian"),))


def test_scaling_is_folded_away() -> None:
    program = capture(Scaled(), name="p", inputs=XT, outputs=(("u", 3),))
    assert sum(isinstance(op, Affine) for op in program.ops) == 3
    assert sum(isinstance(op, Map) for op in program.ops) == 2
    assert multiply_adds(program) == 2 * 8 + 8 * 8 + 8 * 3


def test_terms_that_cancel_may_round_differently() -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(2, 64), nn.Tanh(), nn.Linear(64, 1)).double()
    with torch.no_grad():
        net[0].weight[32:], net[0].bias[32:] = net[0].weight[:32] + 1e-7, net[0].bias[:32]
        net[2].weight[:, :32] *= 1e7
        net[2].weight[:, 32:] = -net[2].weight[:, :32]
    program = capture(net, name="cancels", inputs=("x", "y"), outputs=("u",), domain=((-1, -1), (1, 1)))
    x = np.random.default_rng(0).uniform(-1, 1, (500, 2))
    y = net(torch.from_numpy(x)).detach().numpy()
    error = np.abs(interpret(program, x) - y).max() / np.abs(y).max()
    assert PARITY < error < 1e-6


@settings(max_examples=8)
@given(
    st.integers(1, 4),
    st.lists(st.tuples(st.integers(1, 20), st.sampled_from((nn.Tanh, nn.SiLU, nn.Sigmoid))), max_size=3),
    st.integers(1, 3),
    st.sampled_from((torch.float32, torch.float64)),
)
def test_any_mlp_is_captured(n_in: int, hidden: list[Any], n_out: int, dtype: torch.dtype) -> None:
    layers: list[nn.Module] = []
    width = n_in
    for size, activation in hidden:
        layers += [nn.Linear(width, size), activation()]
        width = size
    module = nn.Sequential(*layers, nn.Linear(width, n_out)).to(dtype)
    program = capture(module, name="p", inputs=[f"x{i}" for i in range(n_in)], outputs=(("u", n_out),))
    x = points(program, 5)
    y = in_the_module(module, x, [n_in])
    np.testing.assert_allclose(interpret(program, x), y, rtol=0, atol=PARITY * abs(y).max())


def test_module_is_left_as_it_is() -> None:
    module = Dropped()
    before = copy.deepcopy(module.state_dict())
    assert module.training
    program = capture(module, name="p", inputs=XT, outputs=("u",))
    assert all(each.training for each in module.modules())
    assert all(each.dtype == torch.float32 and each.requires_grad for each in module.parameters())
    assert all(torch.equal(before[key], tensor) for key, tensor in module.state_dict().items())
    assert program == capture(module.eval(), name="p", inputs=XT, outputs=("u",))


def test_float32_module_keeps_its_weights() -> None:
    module = nn.Linear(1, 1).requires_grad_(False)
    module.weight[:] = 0.1
    (op,) = capture(module, name="p", inputs=("x",), outputs=("u",)).ops
    assert isinstance(op, Affine)
    assert op.weight[0, 0] == float(np.float32(0.1)) != 0.1


class Unknown(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.pool = nn.Linear(2, 4), nn.AdaptiveMaxPool1d(2)

    def forward(self, x: Tensor) -> Tensor:
        h = torch.floor(self.first(x))
        h = self.pool(h)
        return rounded(h)[:, :1]


def rounded(x: Tensor) -> Tensor:
    return torch.remainder(x, 0.5)


def test_every_unknown_operation_is_named_with_its_line_and_rewrite() -> None:
    with pytest.raises(CaptureError) as caught:
        capture(Unknown(), name="p", inputs=XT, outputs=("u",))
    first = Unknown.forward.__code__.co_firstlineno
    lines = str(caught.value).splitlines()[1:]
    expected = [
        rf"test_capture.py:{first + 1}: h = torch.floor\(self.first\(x\)\): floor is not captured: it rounds",
        rf"test_capture.py:{first + 2}: h = self.pool\(h\), layer pool \(AdaptiveMaxPool1d\): .* it is unknown: write",
        rf"test_capture.py:{rounded.__code__.co_firstlineno + 1}: return torch.rem.*: remainder is not captured",
    ]
    assert len(lines) == len(expected)
    for line, pattern in zip(lines, expected, strict=True):
        assert re.search(pattern, line)


MIXES = "mixes points across the batch"
UNKNOWN: dict[str, tuple[Callable[[Tensor], Tensor], str]] = {
    "layer without a line": (
        nn.AdaptiveMaxPool1d(2),
        r"layer expression \(AdaptiveMaxPool1d\): .* it is unknown: write",
    ),
    "power of a negative constant": (lambda x: (-2.0) ** x, "pow is not captured: .* that is not positive"),
    "large power": (
        lambda x: (x + 2) ** 2000.5,
        "pow is not captured: an exponent of 2000.5; expected: one up to 1000",
    ),
    "place of the largest": (lambda x: x * x.argmax(1, keepdim=True), "argmax is not captured: it gives the place"),
    "whole numbers": (lambda x: x.long() * x, "_to_copy is not captured: it rounds"),
    "complex numbers": (lambda x: torch.fft.fft(x).real, "_fft_r2c is not captured: it calculates with complex"),
    "variance of one": (lambda x: x[:, :1].var(1, keepdim=True).expand(-1, 2), "the variance of 1 number"),
    "statistics of the batch": (nn.BatchNorm1d(2, track_running_stats=False), MIXES),
    "floor division": (lambda x: torch.div(x, 2, rounding_mode="floor"), "div is not captured"),
    "unknown function": (torch.special.bessel_j0, "bessel_j0 is not captured: it is unknown: write it with"),
    "random": (lambda x: x + torch.randn(2), "randn is not captured: it is random"),
    "dropout": (lambda x: F.dropout(x, 0.5), "dropout is not captured: it is random: use nn.Dropout"),
    "constant not finite": (lambda x: x / 0, "a constant is a NaN or an infinity"),
    "constant matrix per point": (
        lambda x: (torch.arange(x.shape[0]).double()[:, None, None].expand(-1, 2, 2) @ x[..., None])[..., 0],
        "bmm is not captured: a constant",
    ),
    "mean over points": (lambda x: x - x.mean(0), MIXES),
    "sum of everything": (lambda x: x * x.sum(), MIXES),
    "norm over points": (lambda x: x / x.std(0), "std|var"),
    "points in reverse": (lambda x: x.flip(0), MIXES),
    "first point": (lambda x: x - x[0], MIXES),
    "first points": (lambda x: x[:1].expand(x.shape[0], 2), MIXES),
    "every other point": (lambda x: x[::2].repeat(2, 1), r"returns shape \(6, 2\) for n = 5; expected: one tensor"),
    "all pairs": (lambda x: (x[:, :1] - x[:, 0]).sum(1, keepdim=True) + x, MIXES),
    "reshape across points": (lambda x: x.reshape(2, -1).T, MIXES),
    "numbered points": (lambda x: x + torch.arange(x.shape[0])[:, None], "a constant differs from point to point"),
    "points at random": (lambda x: x[torch.randperm(x.shape[0])], "randperm is not captured: it is random"),
    "number of points": (lambda x: x * x.shape[0], "differs from the module at x = .*number of points"),
    "control flow": (lambda x: x if x.sum() > 0 else -x, "test_capture.py:.*control flow depends on the data"),
    "out of torch": (lambda x: torch.from_numpy(np.sin(x.numpy())), "cannot be exported: .*test_capture.py:"),
    "shapes that do not fit": (
        lambda x: F.linear(x, torch.ones(1, 3).double()),
        r"float64 with \(n, 2\), fails: .*test_capture.py:",
    ),
    "not finite here": (
        lambda x: (1e3 * x).exp(),
        "returns .*inf.* expected: finite numbers. The usual fix: give the domain",
    ),
    "one column without an axis": (
        lambda x: x[:, 0],
        r"returns shape \(1024,\) for n = 1024; expected: one tensor \(n, 2\)",
    ),
    "too few columns": (lambda x: x[:, :1], r"returns shape \(1024, 1\) for n = 1024; expected: one tensor \(n, 2\)"),
    "transposed": (lambda x: x.T, r"returns shape \(2, 1024\)"),
    "a constant": (lambda x: torch.zeros_like(x), r"returns a constant; expected: a tensor that depends"),
    "several tensors": (lambda x: (x, x), r"returns shape \(1024, 2\) for n = 1024; expected: \(n, 1\) as part 1"),
}


@pytest.mark.parametrize(("expression", "message"), UNKNOWN.values(), ids=UNKNOWN)
def test_expression_is_refused(expression: Callable[[Tensor], Tensor], message: str) -> None:
    with pytest.raises(CaptureError, match=message):
        capture(Of(expression), name="p", inputs=XT, outputs=("u", "v"))


def test_proof_names_the_worst_point_and_both_values() -> None:
    with pytest.raises(CaptureError) as caught:
        capture(
            Of(lambda x: x * x.shape[0]), name="p", inputs=XT, outputs=("u", "v"), probe=[[0.5, 0.25], [0.125, 1.0]]
        )
    assert "at x = 0.125, t = 1.0: v is 2.0 in the module and 5.0 in the Program" in str(caught.value)


def test_proof_takes_place_in_the_domain() -> None:
    kinked = Of(lambda x: x + 1e-3 * (100 * (x - 5)).exp())
    capture(kinked, name="p", inputs=XT, outputs=("u", "v"), domain=(-1, [1, 2]))
    with pytest.raises(CaptureError, match="expected: finite numbers"):
        capture(kinked, name="p", inputs=XT, outputs=("u", "v"), domain=(-1, [1, 20]))


def broken(value: float) -> nn.Module:
    module = nn.Sequential(nn.Linear(2, 2)).requires_grad_(False)
    module[0].bias[1] = value
    return module


ARGUMENTS: dict[str, tuple[dict[str, Any], str]] = {
    "not a network": ({"module": 3}, "an int was given; expected: a torch.nn.Module"),
    "NaN in a parameter": ({"module": broken(math.nan)}, "parameters that are not finite: 0.bias holds"),
    "infinity in a parameter": ({"module": broken(math.inf)}, "0.bias holds a NaN or an infinity"),
    "output named as an input": ({"outputs": ("u", "x")}, "x names an input and an output"),
    "no outputs": ({"outputs": ()}, r"outputs is \(\)"),
    "too many inputs": (
        {"module": TwoTensors(), "inputs": ("x", "y", "t")},
        r"takes 2 arguments \(x, t\), but 3 inputs",
    ),
    "columns that do not fit": (
        {"inputs": ("x", "y", "t")},
        r"called in float64 with \(n, 3\), fails: .*mat1 and mat2",
    ),
    "probe and domain": ({"probe": [[0, 0]], "domain": (0, 1)}, "probe and domain are both given"),
    "probe of another shape": ({"probe": [0, 0]}, r"probe has shape \(2,\); expected"),
    "probe without points": ({"probe": np.zeros((0, 2))}, r"probe has shape \(0, 2\)"),
    "probe not finite": ({"probe": [[0, np.nan]]}, "expected: finite numbers"),
    "domain upside down": ({"domain": (1, -1)}, "with lower < upper"),
    "domain of another size": ({"domain": ((0, 0, 0), (1, 1, 1))}, "each a number or 2"),
    "domain not finite": ({"domain": (0, math.inf)}, "with lower < upper"),
}


@pytest.mark.parametrize(("changes", "message"), ARGUMENTS.values(), ids=ARGUMENTS)
def test_arguments_that_do_not_fit(changes: dict[str, Any], message: str) -> None:
    arguments = {"module": nn.Linear(2, 2), "inputs": XT, "outputs": ("u", "v"), **changes}
    with pytest.raises(CaptureError, match=message):
        capture(arguments.pop("module"), name="p", **arguments)


def test_names_are_names() -> None:
    with pytest.raises(ProgramError, match="'u v' is not a name"):
        capture(nn.Linear(1, 1), name="p", inputs=("x",), outputs=("u v",))


def test_columns_are_stated_in_a_text() -> None:
    """As to `capture_onnx`: names, sizes, and bounds, from which the points of the proof are drawn."""
    module = Of(lambda x: torch.cat([x[:, :1].log(), x[:, 1:3]], 1)).double()
    captured = capture(module, name="p", inputs="h[m]=1:2, q[3]", outputs="u, v[2]")
    pairs = capture(
        module, name="p", inputs=("h", ("q", 3)), outputs=("u", ("v", 2)), domain=([1, -1, -1, -1], [2, 1, 1, 1])
    )
    assert captured == pairs
    assert (captured.inputs, captured.outputs) == ((Var("h", 1), Var("q", 3)), (Var("u", 1), Var("v", 2)))


def test_a_text_of_columns_is_refused_where_it_is_wrong() -> None:
    for message, options in (
        ("inputs: 'x; t' is no column", {"inputs": "x; t"}),
        ("inputs: x is named twice", {"inputs": "x, x"}),
        (
            "inputs states bounds of t, and domain is given; expected: one of them",
            {"inputs": "x, t=0:1", "domain": (0, 1)},
        ),
    ):
        with pytest.raises(ProgramError, match=message):
            capture(nn.Linear(2, 2), name="p", **{"inputs": "x, t", "outputs": "u, v", **options})


def test_captured_twice_is_the_same_program() -> None:
    module = Gated()
    first, second = (capture(module, name="p", inputs=XT, outputs=("u",)) for _ in range(2))
    assert isinstance(first, Program)
    assert first.sha256 == second.sha256
