"""The functions of a Program in torch: torch's own where their records name one, else composed of its operators."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache, partial
from operator import attrgetter

import torch
from torch import Tensor

from kdpinn_edge.errors import TrainError
from kdpinn_edge.functions import find_function
from kdpinn_edge.functions.recipe import chosen, composed, unsupported

OPERATORS: Mapping[str, Callable[..., Tensor]] = {
    "Abs": torch.abs,
    "Acos": torch.acos,
    "Acosh": torch.acosh,
    "Add": torch.add,
    "Asin": torch.asin,
    "Asinh": torch.asinh,
    "Atan": torch.atan,
    "Atanh": torch.atanh,
    "Cos": torch.cos,
    "Cosh": torch.cosh,
    "Div": torch.div,
    "Erf": torch.erf,
    "Exp": torch.exp,
    "Log": torch.log,
    "Max": lambda a, b: torch.maximum(a, torch.as_tensor(b, dtype=a.dtype)),
    "Min": lambda a, b: torch.minimum(a, torch.as_tensor(b, dtype=a.dtype)),
    "Mul": torch.mul,
    "Neg": torch.neg,
    "Pow": torch.pow,
    "Reciprocal": torch.reciprocal,
    "Relu": torch.relu,
    "Sigmoid": torch.sigmoid,
    "Sign": torch.sign,
    "Sin": torch.sin,
    "Sinh": torch.sinh,
    "Softplus": lambda x: torch.logaddexp(x, torch.zeros_like(x)),  # softplus of torch is x itself from 20 on
    "Sqrt": torch.sqrt,
    "Sub": torch.sub,
    "Tan": torch.tan,
    "Tanh": torch.tanh,
}
"""Operators of ONNX, as torch calls them."""


@cache
def torch_function(name: str) -> Callable[[Tensor], Tensor]:
    """The function of this name on tensors. Raises TrainError where torch cannot make it."""
    function = find_function(name)
    if function.torch:
        found: Callable[[Tensor], Tensor] = attrgetter(function.torch)(torch)
        return found
    recipe = chosen(function.onnx, OPERATORS.__contains__)
    if recipe is None:
        raise TrainError(f"{unsupported(name, function.onnx, OPERATORS)}, which torch has not")
    return partial(composed, recipe, OPERATORS)
