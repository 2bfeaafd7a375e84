"""Rewritings of operators: values, and first and second derivatives, against torch and its automatic differentiation.

Many expressions are captured as the outputs of one module, since capturing takes longer than comparing.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from kdpinn_edge import compile
from kdpinn_edge.derive.derivatives import derivatives
from kdpinn_edge.derive.reverse import adjoint
from kdpinn_edge.importers.pytorch.module import capture
from kdpinn_edge.importers.tensors import rewritings
from kdpinn_edge.importers.tensors.tensors import Refusal, Tensors, Value
from kdpinn_edge.importers.tensors.tensors import Tensor as Entries
from kdpinn_edge.numerics.reference import NumpyProgram
from kdpinn_edge.program.builder import Builder
from kdpinn_edge.program.interp import interpret
from kdpinn_edge.program.ir import Affine, Array, Map, Select, Var

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


def column(layer: nn.Module, *shape: int) -> Expression:
    """One column of what a layer makes of six columns, in the given shape for each point."""
    layer = fixed(layer)
    return lambda x, y: layer(six(x, y).view(-1, *shape)).flatten(1)[:, 1:2]


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
    "layer": column(nn.LayerNorm(6), 6),
    "layer_axes": column(nn.LayerNorm((2, 3)), 2, 3),
    "rms": column(nn.RMSNorm(6), 6),
    "group": column(nn.GroupNorm(2, 6), 6),
    "batch": column(nn.BatchNorm1d(6), 6),
    "batch_axes": column(nn.BatchNorm1d(3), 3, 2),
    "instance": column(nn.InstanceNorm1d(2), 2, 3),
    "attention": lambda x, y: (
        torch.softmax(six(x, y).view(-1, 3, 2) @ six(y, x).view(-1, 2, 3), 2) @ six(x, y).view(-1, 3, 2)
    )[:, 1, :1],
    "bilinear": lambda x, y, layer=fixed(nn.Bilinear(6, 6, 1)): layer(six(x, y), six(y, x)),  # noqa: B008
}


FURTHER: dict[str, Expression] = {
    "convolution": column(nn.Conv1d(2, 4, 2, stride=2, padding=1, groups=2), 2, 3),
    "convolution_2d": column(nn.Conv2d(1, 2, (2, 3), padding=(1, 2), dilation=(1, 2)), 1, 2, 3),
    "max_pool": column(nn.MaxPool1d(2, 1, 1), 2, 3),
    "average_pool": column(nn.AvgPool1d(2, 1), 2, 3),
    "adaptive_pool": column(nn.AdaptiveAvgPool1d(2), 2, 3),
    "recurrent": lambda x, y, layer=fixed(nn.GRUCell(6, 2)): layer(six(x, y))[:, :1],  # noqa: B008
    "written": lambda x, y: written(six(x, y)).sum(1, True),
    "scattered": lambda x, y: x.new_zeros(len(x), 4).index_add(1, torch.tensor([0, 2, 2]), six(x, y)[:, :3])[:, 2:3],
    "padded": lambda x, y: F.pad(six(x, y), (1, 2), value=3.0)[:, 2:3] * F.pad(x, (0, 2))[:, :1],
    "upper": lambda x, y: (six(x, y)[:, :2, None] * six(x, y)[:, None, 2:4]).triu().sum((1, 2))[:, None],
    "solved": lambda x, y: torch.linalg.solve(torch.tensor([[2.0, 1], [0, 3]]).to(x), torch.cat([x, y], 1).T).T[:, :1],
    "entropy": lambda x, y: torch.xlogy(x, y * y + 1) + torch.special.entr(y * y + 0.1) + torch.nan_to_num(x * y),
    "over_each_point": lambda x, y: torch.func.vmap(lambda p: torch.where(p > 0, p, p * p).prod())(six(x, y))[:, None],
}


def written(z: Tensor) -> Tensor:
    """z, changed in place: columns, elements by masks, constants that become variables."""
    z[:, 0] = z[:, 1] * 2
    z[:, [3, 2]] = z[:, 4:6]
    z[z > 1.5] = 0.25
    z[z[:, 0] > 0.5, 1] = 3.0
    z[:, 4].mul_(z[:, 5].clone()).add_(1)
    whole = torch.zeros(len(z), 8, dtype=z.dtype)
    whole[:, 1:7] = z
    return whole


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
INEXACT = ("hardsigmoid",)
"""torch's own slope is 1/6 in float32, and has no derivative."""
UNDECIDED = ("sorted", "topk")
"""Of equal numbers, which one is first is not said."""


def without(expressions: dict[str, Expression], names: tuple[str, ...]) -> dict[str, Expression]:
    return {name: expression for name, expression in expressions.items() if name not in names}


@pytest.mark.parametrize("expressions", [ACTIVATIONS, CHOICES, ELEMENTARY, REDUCTIONS, FURTHER])
def test_values_and_derivatives(expressions: dict[str, Expression]) -> None:
    compared(without(expressions, INEXACT), GENERIC)


@pytest.mark.parametrize("expressions", [ACTIVATIONS, CHOICES])
def test_first_derivatives_at_kinks(expressions: dict[str, Expression]) -> None:
    compared(without(expressions, INEXACT + UNDECIDED), KINKS, orders=1)


def test_smooth_functions_where_their_pieces_meet() -> None:
    names = ("hyperbolic", "asin", "asinh", "atan", "angle", "hypot", "logaddexp", "log_cosh", "logit", "erf")
    compared({name: ELEMENTARY[name] for name in names}, KINKS[(abs(KINKS) < 2).all(axis=1)])


def test_nothing_overflows_on_the_side_that_is_not_taken() -> None:
    far = np.array([[x, y] for x in (-1e3, -40.0, -1e-9, 0, 1e-9, 40, 1e3) for y in (-2.0, 0.5)])
    names = ("elu", "selu", "celu", "gelu", "gelu_tanh", "mish", "softplus_beta", "softsign", "hardswish", "logsigmoid")
    every = {**ACTIVATIONS, **CHOICES, **ELEMENTARY, **REDUCTIONS}
    chosen = {name: every[name] for name in (*names, "where_guarded", "logaddexp", "angle", "softmax", "logsumexp")}
    program = capture(Expressions(chosen), name="p", inputs=("x", "y"), outputs=(*chosen,), probe=GENERIC)
    xy = torch.from_numpy(far).requires_grad_()
    y = Expressions(chosen)(xy)
    for i, name in enumerate(chosen):
        expected = np.column_stack([y[:, i].detach().numpy(), derivative(y[:, i], xy).detach().numpy()])
        defined = np.isfinite(expected).all(axis=1)
        forward = interpret(derivatives(program, [name, f"{name}_x", f"{name}_y"]), far)
        for found in (forward, interpret(adjoint(program, name), far)):
            np.testing.assert_allclose(found[defined], expected[defined], rtol=1e-9, atol=1e-12, err_msg=name)


def test_functions_at_their_ends() -> None:
    ends = {
        "asin": lambda x, y: torch.asin(x),
        "acos": lambda x, y: torch.acos(x),
        "norm": lambda x, y: torch.linalg.vector_norm(torch.cat([0 * x, 0 * y], 1), dim=1, keepdim=True) + x,
        "origin": lambda x, y: torch.hypot(x - x, y - y) + torch.atan2(x - x, y - y) + x,
        "large": lambda x, y: torch.hypot(3e200 * x, 4e200 * x) / 1e200,
        "sinc": lambda x, y: torch.sinc(0 * x) + torch.sinc(1e-9 * x),
        "root": lambda x, y: torch.sqrt(0 * x) + (0 * x) ** 1.5,
        "step": lambda x, y: torch.heaviside(x - 1, torch.tensor(0.25).to(x)) + torch.copysign(y, x),
        "deviation": lambda x, y: torch.cat([x, x], 1).std(1, keepdim=True),
    }
    compared(ends, np.array([[x, 1.5] for x in (-1.0, -0.25, 0, 0.25, 1)]), orders=0)


def test_sinc_has_all_derivatives_at_0() -> None:
    program = capture(Expressions({"u": lambda x, y: torch.sinc(x) * y}), name="p", inputs=("x", "y"), outputs=("u",))
    found = interpret(derivatives(program, ["u_x", "u_xx"]), np.array([[0.0, 1.0], [1e-9, 1.0]]))
    np.testing.assert_allclose(found, [[0, -(np.pi**2) / 3], [-1e-9 * np.pi**2 / 3, -(np.pi**2) / 3]], rtol=1e-12)


class Differentiated(nn.Module):
    """The slopes of the sum of expressions."""

    def __init__(self, expressions: dict[str, Expression]) -> None:
        super().__init__()
        self.inner = Expressions(expressions)

    def forward(self, xy: Tensor) -> Tensor:
        xy = xy.detach().requires_grad_()
        return derivative(self.inner(xy), xy)


def test_derivatives_within_forward() -> None:
    names = ("clamp", "where", "amax", "prod", "std", "logsumexp", "softmax", "cumsum", "norms", "cdist", "layer")
    every = {**CHOICES, **REDUCTIONS}
    chosen = {**without(ACTIVATIONS, INEXACT), **{name: every[name] for name in names}}
    capture(Differentiated(chosen), name="p", inputs=("x", "y"), outputs=("u", "v"), probe=GENERIC)


def test_stacked_matrices() -> None:
    module = Stacked().double()
    expected = module(torch.from_numpy(GENERIC)).detach().numpy()
    program = capture(module, name="p", inputs=("x", "y"), outputs=(("u", expected.shape[1]),))
    np.testing.assert_allclose(interpret(program, GENERIC), expected, rtol=0, atol=VALUE * abs(expected).max())


def test_compiled_code_has_the_bits_of_numpy() -> None:
    chosen = {**CHOICES, **{name: ACTIVATIONS[name] for name in ("elu", "gelu", "softplus", "hardswish", "softshrink")}}
    program = capture(Expressions(chosen), name="p", inputs=("x", "y"), outputs=(*chosen,), probe=GENERIC)
    x = np.concatenate([GENERIC, KINKS]).astype(np.float32)
    np.testing.assert_array_equal(compile(program)(x), NumpyProgram(program, "float32")(x))


X = Var("x", 3)
NUMBERS = np.array([[0.5, -1.0, 2.0], [0.0, 1.0, -3.0]])


def given(points: int = 5) -> tuple[Tensors, Entries]:
    tensors = Tensors(Builder((X,)), points)
    return tensors, tensors.tensor(X)


def evaluated(tensors: Tensors, y: Value) -> Array:
    """The numbers of y, for each of NUMBERS."""
    return interpret(tensors.builder.program("p", {"y": tensors.vector(y)}), NUMBERS)


def test_moves_cost_no_operation() -> None:
    t, x = given()
    y = t.move(lambda a, b: np.concatenate([a[:, ::-1, None], np.broadcast_to(b, (5, 3, 2))], 2), x, [[1.0, 2.0]] * 3)
    assert t.builder.ops == ()
    np.testing.assert_array_equal(evaluated(t, y)[0], [2, 1, 2, -1, 1, 2, 0.5, 1, 2])


def test_constants_alone_are_calculated_at_once() -> None:
    t, x = given()
    assert rewritings.softmax(t, np.log([1.0, 3.0])).tolist() == [0.25, 0.75]
    mixed = t.map(t.concatenate([x, np.full((5, 2), np.log(4))], 1), "exp")
    last = t.move(lambda table: table[:, 3:], t.scale(mixed, 2.0, 1.0))
    assert isinstance(last, np.ndarray)
    np.testing.assert_allclose(last, 9, rtol=1e-15)
    assert sum(op.out.size for op in t.builder.ops if isinstance(op, Map)) == 3


def test_what_holds_the_same_is_calculated_once() -> None:
    t, x = given()
    y = t.map(t.move(lambda table: np.broadcast_to(table[:, None], (5, 4, 3)), x), "sin")
    assert [op.out.size for op in t.builder.ops] == [3]
    np.testing.assert_array_equal(evaluated(t, y), np.tile(np.sin(NUMBERS), 4))


def test_points_may_lie_anywhere() -> None:
    t, x = given()
    weight = np.array([[1.0, 2.0]])
    rows = t.matmul(t.move(lambda table: table.T.reshape(-1, 1), x), weight)
    y = t.move(lambda table: table.reshape(3, 5, 2).swapaxes(0, 1), t.map(rows, "tanh"))
    np.testing.assert_array_equal(evaluated(t, y), np.tanh(NUMBERS[..., None] * weight).reshape(2, -1))
    alone = Tensors(Builder((X,)), points=1)
    total = alone.sum(alone.multiply(alone.tensor(X), [1.0, 2.0, 3.0]))
    np.testing.assert_array_equal(evaluated(alone, total)[:, 0], NUMBERS @ [1, 2, 3])


MIXING = {
    "difference": lambda t, x: t.subtract(x, t.move(lambda table: table[::-1], x)),
    "all pairs": lambda t, x: t.add(t.move(lambda table: table[:, :1], x), t.move(lambda table: table[:, :1].T, x)),
    "sum": lambda t, x: t.sum(x, [0]),
    "product": lambda t, x: rewritings.product(t, x, [0]),
    "matrix": lambda t, x: t.matmul(np.ones((2, 5)), x),
    "first point": lambda t, x: t.move(lambda table: table[:1], x),
    "order": lambda t, x: t.vector(t.move(lambda table: table[::-1], x)),
    "choice": lambda t, x: t.select(x, t.move(lambda table: table[::-1], x), 0.0),
}


@pytest.mark.parametrize("mixing", MIXING.values(), ids=MIXING)
def test_points_are_not_mixed(mixing: Callable[[Tensors, Entries], object]) -> None:
    with pytest.raises(Refusal, match="mixes points"):
        mixing(*given())


def test_constants_are_the_same_for_all_points_and_finite() -> None:
    t, x = given()
    each = np.arange(5.0)[:, None]
    for differs in (
        lambda: t.add(x, each),
        lambda: t.matmul(t.move(lambda a: a[:, None], x), each[:, None] * np.eye(3)),
    ):
        with pytest.raises(Refusal, match="a constant differs from point to point"):
            differs()
    with pytest.raises(Refusal, match="a constant differs from point to point"):
        t.vector(t.concatenate([x, each], 1))
    with pytest.raises(Refusal, match="NaN or an infinity"):
        t.divide(x, 0.0)
    with pytest.raises(Refusal, match="NaN or an infinity"):
        t.vector(t.concatenate([x, np.full((5, 1), np.nan)], 1))


def test_equal_sums_are_one_matrix() -> None:
    t, x = given()
    t.matmul(x, np.arange(24.0).reshape(4, 3, 2))
    (op,) = t.builder.ops
    assert isinstance(op, Affine)
    assert op.weight.shape == (8, 3)


def test_a_choice_by_a_mask_is_one_operation_more_than_its_sides() -> None:
    t, x = given()
    y = t.select(rewritings.greater(t, x, np.array([0.0, 1, 2])), x, 2.0)
    assert isinstance(t.builder.ops[-1], Select)
    np.testing.assert_array_equal(evaluated(t, y), np.where(NUMBERS > [0, 1, 2], NUMBERS, 2))


def test_long_lists_are_not_sorted() -> None:
    t, x = given()
    with pytest.raises(Refusal, match="sorts 33 numbers per point; expected: at most 32"):
        rewritings.sort(t, t.move(lambda table: np.tile(table, 11), x))
