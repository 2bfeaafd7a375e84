"""Rewritings of operators: values, and first and second derivatives, against torch and its automatic differentiation.

Many expressions are captured as the outputs of one module, since capturing takes longer than comparing.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from kdpinn_edge.derive.derivatives import derivatives
from kdpinn_edge.importers.tensors import Refusal, Tensors
from kdpinn_edge.importers.torch_module import capture
from kdpinn_edge.program.builder import Builder
from kdpinn_edge.program.interp import interpret
from kdpinn_edge.program.ir import Affine, Array, Map, Program, Select, Var
from kdpinn_edge.program.simplify import simplify

VALUE = 1e-12
"""Relative to the largest |value|: both sides round to float64, in another order."""
SLOPE = 1e-10
"""Relative to the largest derivative: torch and the Program differentiate other, equal expressions."""

Expression = Callable[[Tensor, Tensor], Tensor]


class Expressions(nn.Module):
    """Expressions of two columns, as the columns of one tensor."""

    def __init__(self, expressions: dict[str, Expression]) -> None:
        super().__init__()
        self.expressions = expressions

    def forward(self, xy: Tensor) -> Tensor:
        return torch.cat([each(xy[:, :1], xy[:, 1:]) for each in self.expressions.values()], dim=1)


def norm(x: Tensor, layer: nn.Module) -> Tensor:
    return layer(x)[:, 1:2]


def six(x: Tensor, y: Tensor) -> Tensor:
    """Six columns, no two of which are equal."""
    return torch.cat([x, y, x * y, x + 2, y.sin() - 1, x * x], 1)


def fixed(layer: nn.Module) -> nn.Module:
    """A layer in eval mode whose tensors are numbers of their own."""
    layer = layer.double().eval().requires_grad_(False)
    for i, tensor in enumerate((*layer.parameters(), *layer.buffers())):
        if tensor.is_floating_point():
            tensor.copy_(torch.linspace(0.3, 1.7 + i, tensor.numel()).view_as(tensor))
    return layer


ACTIVATIONS: dict[str, Expression] = {
    name: (lambda x, y, act=act: act(x) * (1 + y))
    for name, act in {
        "relu": F.relu,
        "leaky": F.leaky_relu,
        "prelu": fixed(nn.PReLU()),
        "rrelu": fixed(nn.RReLU()),
        "elu": nn.ELU(0.7),
        "selu": F.selu,
        "celu": nn.CELU(2.0),
        "gelu": F.gelu,
        "gelu_tanh": nn.GELU("tanh"),
        "mish": F.mish,
        "softplus": F.softplus,
        "softplus_beta": nn.Softplus(5, 2),
        "softsign": F.softsign,
        "hardtanh": F.hardtanh,
        "relu6": F.relu6,
        "hardsigmoid": F.hardsigmoid,
        "hardswish": F.hardswish,
        "hardshrink": F.hardshrink,
        "softshrink": F.softshrink,
        "tanhshrink": F.tanhshrink,
        "threshold": nn.Threshold(0.5, 0.25),
        "logsigmoid": F.logsigmoid,
        "silu": F.silu,
    }.items()
}
CHOICES: dict[str, Expression] = {
    "absolute": lambda x, y: x.abs() * y,
    "sign": lambda x, y: x.sign() * y,
    "maximum": lambda x, y: torch.maximum(x, y),
    "minimum": lambda x, y: torch.minimum(x * x, y),
    "clamp": lambda x, y: x.clamp(-0.5, 1) * y,
    "clamp_min": lambda x, y: x.clamp_min(0.5) * y,
    "clamp_tensor": lambda x, y: x.clamp(min=-y.abs() - 0.1, max=y.abs() + 0.2),
    "clamp_none": lambda x, y: x.clamp(max=0.5) * y,
    "where": lambda x, y: torch.where(x > 0.5, x * y, y.sin()),
    "where_or": lambda x, y: torch.where((x > 0.5) | (y <= 0), x.exp(), y * y),
    "where_not": lambda x, y: torch.where(~((x >= 0) & (y < 0.5)), x * x * x, 2.0),
    "where_equal": lambda x, y: torch.where(x == 1, y, torch.where(x != 0, x * y, 3 * x)),
    "where_guarded": lambda x, y: torch.where(x > 0, torch.where(x > 0, x, 1.0).log() * y, y),
    "where_xor": lambda x, y: torch.where((x > 0) ^ (y > 0), x * y, x - y),
    "masked": lambda x, y: (x < 0.5).to(x.dtype) * y + (x > 0).float() * x,
    "masked_fill": lambda x, y: (x * y).masked_fill(x < 0, 0.25),
    "logical": lambda x, y: torch.where(torch.logical_and(x > 0, torch.logical_not(y > 0)), x, y),
    "any": lambda x, y: torch.where((torch.cat([x, y], 1) > 0.5).any(1, keepdim=True), x * y, x),
    "all": lambda x, y: torch.where((torch.cat([x, y], 1) > 0.5).all(1, keepdim=True), x * y, x),
    "amax": lambda x, y: torch.cat([x, y, 0.5 * x * y], 1).amax(1, keepdim=True),
    "amin": lambda x, y: torch.stack([x, y, x.sin(), y.cos(), x + y]).amin(0),
    "max_axis": lambda x, y: torch.cat([x * y, y + 0.1], 1).max(1, keepdim=True).values,
    "min_axis": lambda x, y: torch.cat([x * y, y + 0.1, x], 1).min(1)[0][:, None],
    "median": lambda x, y: six(x, y).median(1, keepdim=True).values,
    "sorted": lambda x, y: torch.sort(six(x, y), 1, descending=True).values[:, 2:3],
    "topk": lambda x, y: six(x, y).topk(3, 1).values.sum(1, keepdim=True),
    "hinge": lambda x, y: F.relu(1 - x * y) ** 3,
}
ELEMENTARY: dict[str, Expression] = {
    "quotient": lambda x, y: y / (x * x + y + 4) + 1 / (x.exp() + 1) + (2 - x) / (3 + y),
    "rsqrt": lambda x, y: torch.rsqrt(1 + x * x + y * y),
    "exponents": lambda x, y: (x + 4) ** 1.5 + x**5 + (y + 4) ** -2 + (x + 4) ** 0.5 + (y + 4).pow(-0.5) + x**0,
    "exponents_each": lambda x, y: (torch.cat([x, y, x * y], 1) + 9).pow(torch.tensor([1.0, 2.5, -1.0])).sum(1, True),
    "exponent_varies": lambda x, y: (x + 4) ** y + 2.5**x,
    "logarithms": lambda x, y: torch.log10(x + 4) + torch.log2(y + 4) + torch.log(x * x + 1) + torch.log1p(y * y),
    "exponentials": lambda x, y: torch.expm1(x) + torch.exp2(y),
    "hyperbolic": lambda x, y: torch.sinh(x) + torch.cosh(y),
    "log_cosh": lambda x, y: torch.log(torch.cosh(x * y)),
    "tan": lambda x, y: torch.tan(x / 8 + y / 8),
    "asin": lambda x, y: torch.asin(x / 4) + torch.acos(y / 4),
    "asinh": lambda x, y: torch.asinh(x * y),
    "acosh": lambda x, y: torch.acosh(1.5 + x * x) + torch.atanh(y / 4),
    "atan": lambda x, y: torch.atan(x * y),
    "logit": lambda x, y: torch.logit(0.5 + x / 8) + torch.special.expit(y),
    "angle": lambda x, y: torch.atan2(y - 0.65, x) + torch.atan2(x, y - 0.65) + torch.atan2(y, torch.tensor(-2.0)),
    "hypot": lambda x, y: torch.hypot(x, y) + torch.hypot(1e-3 * y, x),
    "sinc": lambda x, y: torch.sinc(x) + torch.sinc(y * 1e-3),
    "erf": lambda x, y: torch.erf(x) + torch.erfc(y),
    "logaddexp": lambda x, y: torch.logaddexp(x, y),
    "lerp": lambda x, y: torch.lerp(x, y, x * y) + torch.lerp(x, y, 0.25),
    "glu": lambda x, y: F.glu(torch.cat([x, y], 1), 1),
    "radians": lambda x, y: torch.deg2rad(x) + torch.rad2deg(y),
    "addcdiv": lambda x, y: torch.addcdiv(x, y, x.exp(), value=0.3),
}
REDUCTIONS: dict[str, Expression] = {
    "prod": lambda x, y: six(x, y).prod(1, keepdim=True),
    "var": lambda x, y: six(x, y).var(1, keepdim=True) + six(x, y).var(1, correction=0)[:, None],
    "std": lambda x, y: six(x, y).std(1, keepdim=True),
    "std_mean": lambda x, y: torch.cat(torch.std_mean(six(x, y), 1, keepdim=True), 1).sum(1, True),
    "logsumexp": lambda x, y: torch.logsumexp(six(x, y), 1, keepdim=True),
    "softmax": lambda x, y: torch.softmax(six(x, y), 1)[:, 1:2],
    "log_softmax": lambda x, y: F.log_softmax(six(x, y), -1)[:, :1],
    "cumsum": lambda x, y: six(x, y).cumsum(1)[:, 3:4] + six(x, y).cumprod(1)[:, 2:3],
    "norms": lambda x, y: sum(torch.linalg.vector_norm(six(x, y), p, 1, True) for p in (1, 2, 3.0, np.inf, -np.inf)),
    "norm": lambda x, y: six(x, y).norm(dim=1, keepdim=True) + F.normalize(six(x, y))[:, :1],
    "cdist": lambda x, y: torch.cdist(torch.cat([x, y], 1), torch.tensor([[5.0, 1], [6, 7]]).to(x)).sum(1, True),
    "cosine": lambda x, y: F.cosine_similarity(six(x, y), six(y, x))[:, None],
    "layer": lambda x, y, layer=fixed(nn.LayerNorm(6)): norm(six(x, y), layer),
    "layer_axes": lambda x, y, layer=fixed(nn.LayerNorm((2, 3))): norm(six(x, y).view(-1, 2, 3), layer).sum((1, 2))[
        :, None
    ],
    "rms": lambda x, y, layer=fixed(nn.RMSNorm(6)): norm(six(x, y), layer),
    "group": lambda x, y, layer=fixed(nn.GroupNorm(2, 6)): norm(six(x, y), layer),
    "batch": lambda x, y, layer=fixed(nn.BatchNorm1d(6)): norm(six(x, y), layer),
    "instance": lambda x, y, layer=fixed(nn.InstanceNorm1d(2)): norm(six(x, y).view(-1, 2, 3), layer)[:, 0, :1],
}


class Stacked(nn.Module):
    """Products of several matrices at once, as ensembles and operator networks write them."""

    def __init__(self) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(1)
        self.w = nn.Parameter(torch.randn(3, 2, 4, generator=generator))
        self.b = nn.Parameter(torch.randn(3, 1, 4, generator=generator))
        self.v = nn.Parameter(torch.randn(4, 2, generator=generator))

    def forward(self, xy: Tensor) -> Tensor:
        batched = torch.tanh(xy @ self.w + self.b)
        einsum = torch.einsum("ni,kio->nko", xy, self.w).sin()
        return torch.cat(
            [
                batched.mean(0),
                torch.baddbmm(self.b, xy.expand(3, -1, -1), self.w).mean(0),
                einsum.sum(1),
                torch.einsum("nko,nko->nk", einsum, batched.transpose(0, 1)),
                torch.bmm(einsum, einsum.mT).flatten(1),
                (self.v @ xy.T).T,
                F.linear(xy[..., None], self.v[:, :1]).flatten(1),
                F.linear(xy.reshape(-1, 1), self.v[:, :1]).reshape(-1, 8),
                torch.cat([xy, xy.sin()], 0).mul(self.v[:2, :].sum(0)).view(2, -1, 2).sum(0),
            ],
            dim=1,
        )


def compared(expressions: dict[str, Expression], points: Array, orders: int = 2) -> None:
    """Compare values, and derivatives with respect to x up to some order."""
    program = capture(Expressions(expressions), name="p", inputs=("x", "y"), outputs=tuple(expressions), probe=points)
    requests = [name + suffix for suffix in ("", "_x", "_xx")[: orders + 1] for name in expressions]
    found = interpret(derivatives(program, requests), points).reshape(len(points), orders + 1, -1)
    xy = torch.from_numpy(points).requires_grad_()
    for i, (name, expression) in enumerate(expressions.items()):
        y = expression(xy[:, :1], xy[:, 1:])
        for order in range(orders + 1):
            expected = y.detach().numpy()[:, 0]
            error, allowed = abs(found[:, order, i] - expected), (SLOPE if order else VALUE) * abs(expected).max()
            worst = error.argmax()
            described = name, order, points[worst].tolist(), found[worst, order, i], expected[worst]
            assert (error <= allowed).all(), described
            if order < orders:
                y = derivative(y, xy)[:, :1]


def derivative(y: Tensor, x: Tensor) -> Tensor:
    """The gradient of a sum, which does not depend on x where y does not."""
    if not y.requires_grad:
        return torch.zeros_like(x)
    (found,) = torch.autograd.grad(y.sum(), x, create_graph=True, materialize_grads=True)
    return found


GENERIC = np.random.default_rng(3).uniform(-2.5, 2.5, (40, 2))
KINKS = np.array([[x, y] for x in (-6.0, -3, -1, -0.5, 0, 0.5, 1, 3, 4, 6) for y in (0.3, 1.0)])


@pytest.mark.parametrize(
    "expressions",
    [ACTIVATIONS, CHOICES, ELEMENTARY, REDUCTIONS],
    ids=["activations", "choices", "elementary", "reductions"],
)
def test_values_and_derivatives(expressions: dict[str, Expression]) -> None:
    compared(expressions, GENERIC)
