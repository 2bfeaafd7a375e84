"""PhysicsNeMo's `.mdlus`: an archive of `args.json`, which says what the network is, and `model.pt`, its state dict.

    FullyConnected: x ↦ W_k h_k + b_k, h_{i+1} = σ(a · (W_i h_i + b_i)), with its options

        weight_norm           W_i = weight_g · weight / |weight|, row by row
        weight_fact           W_i = g · v
        adaptive_activations  a is a parameter, else 1
        skip_connections      h after every second layer has that of two layers before added

PhysicsNeMo is not needed to read it, and nothing in the archive is run. Newer versions write zip, older ones tar.
"""

from __future__ import annotations

import io
import re
import tarfile
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from kdpinn_edge.archives import is_archive, open_archive, read_entry
from kdpinn_edge.errors import CaptureError
from kdpinn_edge.importers.pytorch.dense import ACTIVATIONS, Function
from kdpinn_edge.importers.pytorch.weights import State, data_only, state_dict_in
from kdpinn_edge.reading import GIB, parse_json, read_whole

LARGEST = GIB
"""Bytes that a file may have; nothing in it is compressed."""
SAME = "relu elu celu selu silu gelu sigmoid logsigmoid softplus softsign tanh tanhshrink hardtanh identity squareplus"
OWN_ACTIVATIONS: dict[str, Function] = {
    **{name: ACTIVATIONS[name] for name in SAME.split()},
    "relu6": nn.functional.relu6,
}
"""PhysicsNeMo's activations without weights, by its names."""
LAYER = re.compile(r"(?:layers\.(\d+)|final_layer)\.(?:linear\.(weight|bias|weight_g|g|v)|activation_par)")
WAY = "The usual fix: name the program that makes it, as in model.py:build --weights, or export it to ONNX"


class FullyConnected(nn.Module):
    """A network with these layers, each (weight, bias); the last has no activation."""

    def __init__(
        self, layers: list[tuple[Tensor, Tensor]], activations: list[Function], slope: Tensor | None, *, skips: bool
    ) -> None:
        super().__init__()
        self.weights = nn.ParameterList(weight for weight, _ in layers)
        self.biases = nn.ParameterList(bias for _, bias in layers)
        self.slope = None if slope is None else nn.Parameter(slope)
        self.activations, self.skips = activations, skips

    def forward(self, x: Tensor) -> Tensor:
        """The value at x (n, n_in)."""
        kept = None
        *hidden, (last, offset) = zip(self.weights, self.biases, strict=True)
        for i, ((weight, bias), activation) in enumerate(zip(hidden, self.activations, strict=True)):
            x = nn.functional.linear(x, weight, bias)
            x = activation(x if self.slope is None else self.slope * x)
            if self.skips and i % 2 == 0:
                x, kept = (x if kept is None else x + kept), x
        return nn.functional.linear(x, last, offset)


def read_mdlus(path: Path) -> nn.Module:
    """The network in a `.mdlus` file. Raises CaptureError where it is another one than FullyConnected, or damaged."""
    try:
        description = parse_json(_entry(path, "args.json"))
        name, options = str(description["__name__"]), dict(description["__args__"])
    except (ValueError, TypeError, LookupError) as error:
        raise CaptureError(
            f"{path}: args.json does not say what the network is; expected: as PhysicsNeMo writes it"
        ) from error
    if name != "FullyConnected":
        raise CaptureError(f"{path}: the network is a {name} of PhysicsNeMo; expected: a FullyConnected. {WAY}")
    called = f"{path}: model.pt"
    return _fully_connected(state_dict_in(data_only(_entry(path, "model.pt"), called), called), options, str(path))


def _entry(path: Path, name: str) -> bytes:
    """The bytes of one file in the archive, which is not unpacked."""
    try:
        data = read_whole(path, LARGEST)
        if is_archive(data):
            return read_entry(open_archive(data), name)
        with tarfile.open(fileobj=io.BytesIO(data), mode="r:") as tar:  # nothing that is compressed
            member = next(each for each in tar if each.isfile() and each.name.removeprefix("./") == name)
            file = tar.extractfile(member)
            return file.read() if file is not None else b""
    except Exception as error:  # damaged bytes reach tarfile, which raises what it likes
        raise CaptureError(
            f"{path}: not an archive with {name} in it ({type(error).__name__}: {error}); expected: a .mdlus file, "
            "whole"
        ) from error


def _fully_connected(state: State, options: dict[str, Any], called: str) -> nn.Module:
    parts: dict[int, dict[str, Tensor]] = {}
    state = {key.removeprefix("module."): tensor for key, tensor in state.items() if key != "device_buffer"}
    for key, tensor in state.items():
        match = LAYER.fullmatch(key)
        if match is None:
            raise CaptureError(f"{called}: {key} is not of a FullyConnected; expected: its layers alone. {WAY}")
        at = int(match[1]) if match[1] else len(state)
        parts.setdefault(at, {})[match[2] or "activation_par"] = tensor
    layers = [_layer(parts[at], called) for at in sorted(parts)]
    chained = all(a[0].shape[0] == b[0].shape[1] for a, b in pairwise(layers))
    if not chained or len(layers) < 2:
        raise CaptureError(f"{called}: the layers make no chain; expected: those of a FullyConnected, whole")
    slopes = [part["activation_par"] for part in parts.values() if "activation_par" in part]
    named = options.get("activation_fn", "silu")
    names = list(named) if isinstance(named, list) else [named]
    names = (names + names[-1:] * len(layers))[: len(layers) - 1]
    if unknown := sorted({str(name) for name in names} - set(OWN_ACTIVATIONS)):
        raise CaptureError(
            f"{called}: the activation {', '.join(unknown)} is unknown; expected: {', '.join(OWN_ACTIVATIONS)}. {WAY}"
        )
    skips = bool(options.get("skip_connections", False))
    return FullyConnected(layers, [OWN_ACTIVATIONS[name] for name in names], slopes[0] if slopes else None, skips=skips)


def _layer(part: dict[str, Tensor], called: str) -> tuple[Tensor, Tensor]:
    """The matrix of a layer, its factors multiplied in float64, and its bias."""
    match {name: tensor.double() for name, tensor in part.items() if name not in ("bias", "activation_par")}:
        case {"weight": weight, "weight_g": g, **rest} if not rest:
            weight = g * weight / weight.norm(dim=1, keepdim=True)
        case {"weight": weight, **rest} if not rest:
            pass
        case {"g": g, "v": v, **rest} if not rest:
            weight = g * v
        case other:
            raise CaptureError(
                f"{called}: a layer has {', '.join(other) or 'no weight'}; expected: weight and bias. {WAY}"
            )
    bias = part.get("bias", torch.zeros(len(weight))).double()
    if weight.ndim != 2 or bias.shape != weight.shape[:1]:
        raise CaptureError(f"{called}: a layer has a weight {tuple(weight.shape)} and a bias {tuple(bias.shape)}")
    return weight, bias
