"""A model as a function of PyTorch that autograd and `torch.func` differentiate, once or twice."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import torch
from torch import Tensor

from kdpinn_edge.errors import EngineError
from kdpinn_edge.runtime.engine import Engine
from kdpinn_edge.runtime.hosts.derivative import check_given, derivative
from kdpinn_edge.runtime.hosts.host_function import HostFunction

NO_FORWARD_MODE = (
    "a model is differentiated in reverse mode and not forward: PyTorch nests forward mode around the functions of "
    "others with wrong results (pytorch/pytorch#197867). Use torch.func.jacrev, jacrev(jacrev(f)) for hessian(f)"
)
Function = Callable[[Tensor], Tensor]


def torch_function(engine: Engine) -> Function:
    """The values of `engine` at tensors (…, n_in) of its precision on the CPU: (…, n_out)."""
    return HostFunction(_derivative, engine)


def _derivative(engine: Engine, order: int = 0) -> Function:
    @cache
    def next_order() -> Function:
        return _derivative(engine, order + 1)

    class Derivative(torch.autograd.Function):
        @staticmethod
        def forward(x: Tensor) -> Tensor:
            _check(engine, x)
            return torch.from_numpy(derivative(engine, order, x.detach().resolve_neg().numpy()))

        @staticmethod
        def setup_context(ctx: Any, inputs: tuple[Tensor], output: Tensor) -> None:
            ctx.save_for_backward(*inputs)

        @staticmethod
        def backward(ctx: Any, *cotangents: Tensor) -> Tensor:
            (x,), (cotangent,) = ctx.saved_tensors, cotangents
            return (cotangent.unsqueeze(-1) * next_order()(x)).flatten(x.dim() - 1, -2).sum(-2)

        @staticmethod
        def jvp(ctx: Any, *tangents: Tensor) -> Tensor:
            raise EngineError(NO_FORWARD_MODE)

        @staticmethod
        def vmap(info: Any, in_dims: tuple[int], x: Tensor) -> tuple[Tensor, int]:
            return evaluate(x.movedim(in_dims[0], 0)), 0

    def evaluate(x: Tensor) -> Tensor:
        found: Tensor = Derivative.apply(x)  # type: ignore[no-untyped-call]
        return found

    return evaluate


def _check(engine: Engine, x: Tensor) -> None:
    if not isinstance(x, Tensor):
        raise EngineError(f"x is a {type(x).__name__}; expected: a tensor, as in torch.tensor(x)")
    if x.layout != torch.strided:
        raise EngineError(f"x has the layout {x.layout}; expected: a dense tensor, as in x.to_dense()")
    if x.device.type != "cpu":
        raise EngineError(f"x is on {x.device}; expected: a tensor on the CPU, as in x.cpu()")
    check_given(engine, tuple(x.shape), x.dtype, f"Convert it: x.to(torch.{engine.dtype})")
