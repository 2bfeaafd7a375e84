"""A Program as a torch function of one point: an independent meaning, whose derivatives torch.func takes."""

from __future__ import annotations

import warnings
from collections.abc import Callable

import torch
from torch import Tensor
from torch.func import jvp

from kdpinn_edge.program.ir import Add, Affine, Array, Concat, Map, Mul, Op, Program, Scale, Slice, columns

with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)  # torch 2.13 scripts these when jvp is first called
    import torch._decomp.decompositions_for_jvp

FUNCTION: dict[str, Callable[[Tensor], Tensor]] = {
    "tanh": torch.tanh,
    "sin": torch.sin,
    "cos": torch.cos,
    "exp": torch.exp,
    "sigmoid": torch.sigmoid,
    "silu": lambda x: x * torch.sigmoid(x),  # the derivative of torch.nn.functional.silu has none
    "softplus": lambda x: -torch.log(torch.sigmoid(-x)),
    "lorentzian": lambda x: 1 / (1 + x * x),
}

PointMap = Callable[[Tensor], Tensor]


def torch_program(program: Program) -> PointMap:
    """`program` as a function of x (..., n_in) to (..., n_out)."""

    def evaluate(point: Tensor) -> Tensor:
        values = dict(
            zip(
                (var.name for var in program.inputs),
                torch.split(point, [var.size for var in program.inputs], dim=-1),
                strict=True,
            )
        )
        for op in program.ops:
            values[op.out.name] = _value(op, values)
        return torch.cat([values[var.name] for var in program.outputs], dim=-1)

    return evaluate


def _value(op: Op, values: dict[str, Tensor]) -> Tensor:
    match op:
        case Affine(x=x, weight=weight, bias=bias):
            return values[x.name] @ torch.tensor(weight).T + torch.tensor(bias)
        case Scale(x=x, weight=weight, bias=bias):
            return torch.tensor(weight) * values[x.name] + torch.tensor(bias)
        case Map(x=x, fn=fn):
            return FUNCTION[fn](values[x.name])
        case Add(a=a, b=b):
            return values[a.name] + values[b.name]
        case Mul(a=a, b=b):
            return values[a.name] * values[b.name]
        case Concat(xs=xs):
            return torch.cat([values[x.name] for x in xs], dim=-1)
        case Slice(out=out, x=x, start=start):
            return values[x.name][..., start : start + out.size]


def differentiated(program: Program, multi_index: tuple[str, ...], x: Array) -> Array:
    """The derivative of every output column by the input columns of `multi_index`, by nested jvp: (n, n_out)."""
    function = torch_program(program)
    names = columns(program.inputs)
    for column in multi_index:
        direction = torch.zeros(x.shape, dtype=torch.float64)
        direction[:, names.index(column)] = 1
        function = _along(function, direction)
    with torch.no_grad():
        result: Array = function(torch.tensor(x)).numpy()
    return result


def _along(function: PointMap, direction: Tensor) -> PointMap:
    def derivative(x: Tensor) -> Tensor:
        result: Tensor = jvp(function, (x,), (direction,))[1]
        return result

    return derivative
