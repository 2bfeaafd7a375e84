"""A dense network from weights alone: `Linear, activation, …, Linear`.

A state dict does not say what happens between its matrices: `dense` takes the activation from the caller, and refuses
whatever is no chain of layers.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from itertools import pairwise

import torch
from torch import Tensor, nn

from kdpinn_edge.errors import CaptureError, did_you_mean
from kdpinn_edge.importers.pytorch.weights import State

Function = Callable[[Tensor], Tensor]

ACTIVATIONS: Mapping[str, Function] = {
    "celu": nn.functional.celu,
    "cos": torch.cos,
    "elu": nn.functional.elu,
    "gelu": nn.functional.gelu,
    "hardsigmoid": nn.functional.hardsigmoid,
    "hardswish": nn.functional.hardswish,
    "hardtanh": nn.functional.hardtanh,
    "identity": lambda x: x,
    "leaky_relu": nn.functional.leaky_relu,
    "logsigmoid": nn.functional.logsigmoid,
    "lorentzian": lambda x: 1 / (1 + x * x),
    "mish": nn.functional.mish,
    "relu": torch.relu,
    "selu": nn.functional.selu,
    "sigmoid": torch.sigmoid,
    "silu": nn.functional.silu,
    "sin": torch.sin,
    "softplus": nn.functional.softplus,
    "softsign": nn.functional.softsign,
    "squareplus": lambda x: 0.5 * (x + torch.sqrt(x * x + 4)),
    "swish": nn.functional.silu,
    "tanh": torch.tanh,
    "tanhshrink": nn.functional.tanhshrink,
}
"""What may stand between dense layers, by torch's names."""
LAYER = re.compile(r"(.*?)\.?(weight|bias)")


def find_activation(name: str, called: str) -> Function:
    """The activation of this name. Raises CaptureError where there is none."""
    if name not in ACTIVATIONS:
        raise CaptureError(
            f"{called}: no activation is called {name!r}; expected: {', '.join(ACTIVATIONS)}"
            f"{did_you_mean(name, ACTIVATIONS)}"
        )
    return ACTIVATIONS[name]


class Dense(nn.Module):
    """y = W_k σ(… σ(W_0 x + b_0) …) + b_k."""

    def __init__(self, sizes: list[tuple[int, int]], activation: Function) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(n_in, n_out) for n_in, n_out in sizes)
        self.activation = activation

    def forward(self, x: Tensor) -> Tensor:
        """The value at x (n, n_in)."""
        for layer in self.layers[:-1]:
            x = self.activation(layer(x))
        return self.layers[-1](x)  # type: ignore[no-any-return]


def dense(state: State, activation: str, called: str) -> nn.Module:
    """The dense network with these weights, in the order in which their shapes make a chain."""
    names: dict[str, dict[str, Tensor]] = {}
    for key, tensor in state.items():
        match = LAYER.fullmatch(key)
        if match is None or tensor.ndim != (2 if match[2] == "weight" else 1):
            raise CaptureError(
                f"{called}: {key} {tuple(tensor.shape)} belongs to no dense layer; expected: weights (k, n) and biases "
                "(k,) alone. The usual fix: name the program that makes the network, as in model.py:build --weights"
            )
        names.setdefault(match[1], {})[match[2]] = tensor
    orders = [sorted(names, key=_natural), list(names)]
    chains = [order for order in orders if _is_chain([names[name] for name in order])]
    if not chains or chains[0] != chains[-1]:
        shapes = ", ".join(f"{name} {tuple(names[name].get('weight', torch.empty(0)).shape)}" for name in orders[0])
        what = "make no chain" if not chains else "make a chain in more than one order"
        raise CaptureError(
            f"{called}: the layers {shapes} {what}; expected: each takes what the one before returns. The usual fix: "
            "name the program that makes the network, as in model.py:build --weights"
        )
    layers = [names[name] for name in chains[0]]
    net = Dense(
        [(layer["weight"].shape[1], len(layer["weight"])) for layer in layers], find_activation(activation, called)
    )
    with torch.no_grad():
        for linear, layer in zip(net.layers, layers, strict=True):
            linear.weight.copy_(layer["weight"])  # type: ignore[operator]
            linear.bias.copy_(layer.get("bias", torch.zeros(len(layer["weight"]))))  # type: ignore[operator]
    return net


def _natural(name: str) -> list[tuple[int, str]]:
    """A key that sorts layer2 before layer10."""
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", name)]


def _is_chain(layers: list[dict[str, Tensor]]) -> bool:
    if not all("weight" in layer for layer in layers):
        return False
    shapes = [layer["weight"].shape for layer in layers]
    biased = all("bias" not in layer or layer["bias"].shape == layer["weight"].shape[:1] for layer in layers)
    return biased and all(before[0] == after[1] for before, after in pairwise(shapes))
