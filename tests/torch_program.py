"""A Program as a torch function of one point: an independent meaning, whose derivatives torch.func takes."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor
from torch.func import jvp

from kdpinn_edge.program.evaluate import evaluate
from kdpinn_edge.program.ir import Affine, Array, Program, Scale, columns
from kdpinn_edge.training.torch_functions import torch_function

with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)  # torch 2.13 scripts these when jvp is first called
    import torch._decomp.decompositions_for_jvp

DIFFERENTIABLE: Mapping[str, Callable[[Tensor], Tensor]] = {
    "silu": lambda x: x * torch.sigmoid(x),  # the derivative of torch.nn.functional.silu has none
    "softplus": lambda x: -torch.log(torch.sigmoid(-x)),
}

PointMap = Callable[[Tensor], Tensor]


def torch_program(program: Program) -> PointMap:
    """`program` as a function of x (..., n_in) to (..., n_out)."""
    return lambda point: evaluate(program, OnTensors(), point)


class OnTensors:
    """The operations on tensors whose last axis has the entries of a variable."""

    def affine(self, op: Affine, x: Tensor) -> Tensor:
        return x @ torch.tensor(op.weight).T + torch.tensor(op.bias)

    def scale(self, op: Scale, x: Tensor) -> Tensor:
        return torch.tensor(op.weight) * x + torch.tensor(op.bias)

    def map(self, fn: str, x: Tensor) -> Tensor:
        return DIFFERENTIABLE.get(fn, torch_function(fn))(x)

    def add(self, a: Tensor, b: Tensor) -> Tensor:
        return a + b

    def mul(self, a: Tensor, b: Tensor) -> Tensor:
        return a * b

    def select(self, c: Tensor, a: Tensor, b: Tensor) -> Tensor:
        return torch.where(c > 0, a, b)

    def concat(self, xs: Sequence[Tensor]) -> Tensor:
        return torch.cat(list(xs), dim=-1)

    def slice(self, x: Tensor, start: int, size: int) -> Tensor:
        return x[..., start : start + size]


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
