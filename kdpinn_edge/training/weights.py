"""Weights as safetensors: a format that holds numbers and no code. The file names its problem, and so suffices."""

from __future__ import annotations

import json
import os
from dataclasses import asdict
from pathlib import Path

import safetensors.torch
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from kdpinn_edge import zoo
from kdpinn_edge.errors import ProblemError, TrainError, did_you_mean, listing
from kdpinn_edge.files import write_whole
from kdpinn_edge.problems import Problem, is_shipped, remembered
from kdpinn_edge.training.followed import Followed, followed, read_columns
from kdpinn_edge.training.pinn import Pinn

WEIGHTS_FILE = "model.safetensors"
TANH = "tanh"
"""The activation of a network whose weights name none."""
PICKLE_STARTS = (b"\x80", b"PK\x03\x04")


def load_pinn(model: str | os.PathLike[str], problem: Problem | None = None) -> Pinn:
    """The network in a .safetensors file, in a run folder, or in the zoo under this name; float64, in eval mode.

    `problem` is what it solves, where that was defined in Python; else the file says it, and a problem of the user's
    own is read from its file again. Raises TrainError where there is none, where the file is a pickle, damaged, or
    does not hold a Pinn, and where the problem's file is not as it was.
    """
    path = Path(model)
    if str(model) in zoo.names():
        path = zoo.weights(str(model))
    elif path.is_dir():
        path = path / WEIGHTS_FILE
    return read_weights(path, problem)


def write_weights(net: Pinn, path: Path) -> None:
    """Write the weights of `net` as float64. The same weights give the same bytes."""
    tensors = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    metadata = {"problem": net.problem.name}
    if net.activation != TANH:
        metadata["activation"] = net.activation
    if net.problem.origin is not None:
        metadata["origin"] = json.dumps(asdict(net.problem.origin))
    elif isinstance(net.problem, Followed):
        metadata["columns"] = json.dumps(asdict(net.problem.columns))
    elif not is_shipped(net.problem):
        metadata["origin"] = "{}"
    write_whole(path, _ordered(safetensors.torch.save(tensors, metadata)))


def read_weights(path: Path, solved: Problem | None = None) -> Pinn:
    """The network in the .safetensors file `path`; see `load_pinn`."""
    tensors, metadata = read_tensors(path)
    if "problem" not in metadata:
        raise TrainError(
            f"{path}: the file does not say which problem it solves; expected: metadata with the key 'problem', "
            "as in safetensors.torch.save_file(net.state_dict(), path, metadata={'problem': 'burgers'})"
        )
    try:
        net = Pinn(_solved(metadata, solved), _hidden(tensors), activation=metadata.get("activation", TANH))
    except (ProblemError, TrainError) as error:
        raise TrainError(f"{path}: {error}") from error
    if faults := _faults(net.state_dict(), tensors):
        raise TrainError(f"{path}: the tensors are not those of a Pinn with hidden layers {net.hidden}: {faults}")
    net.load_state_dict(tensors)
    return net.eval()


def _solved(metadata: dict[str, str], given: Problem | None) -> Problem:
    """The problem that weights name: the one that is `given`, where it has that name and was defined in Python."""
    if "columns" in metadata:
        return followed(read_columns(metadata["columns"]))
    try:
        origin = None if "origin" not in metadata else dict(json.loads(metadata["origin"]))
    except (TypeError, ValueError) as error:
        raise TrainError(f"the metadata 'origin' names no file ({error}); the usual cause is an edit") from error
    if origin == {} and given is not None and given.name == metadata["problem"]:
        return given
    return remembered(metadata["problem"], origin, "the network")


def read_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """The tensors and the metadata of a .safetensors file. Raises TrainError where it is missing or not one."""
    try:
        with path.open("rb") as file:
            head = file.read(9)  # of safetensors: eight bytes of length, then JSON
            if head.startswith(PICKLE_STARTS) and not head.endswith(b"{"):
                raise TrainError(
                    f"{path}: this is a pickle, which runs code when it is read; expected: safetensors. Where you "
                    "trust it and it is a network of train or distill, convert it: safetensors.torch.save_file("
                    "torch.load(path, weights_only=True), 'model.safetensors', metadata={'problem': 'burgers'}); "
                    "capture any other from Python (docs/training.md)"
                )
        with safe_open(path, framework="pt") as archive:
            return {name: archive.get_tensor(name) for name in archive.keys()}, archive.metadata() or {}  # noqa: SIM118
    except FileNotFoundError as error:
        raise TrainError(
            f"{path}: no such file; expected: a .safetensors file, a run folder, or a model of the zoo (`kdpinn-edge "
            f"problems` lists them){did_you_mean(str(path), zoo.names())}"
        ) from error
    except (OSError, SafetensorError) as error:
        raise TrainError(
            f"{path}: not a safetensors file ({error}). The usual cause is a truncated or edited file: copy it again."
        ) from error


def _ordered(data: bytes) -> bytes:
    """The same file, its metadata in the order of their keys: safetensors 0.8 writes them in any."""
    end = 8 + int.from_bytes(data[:8], "little")
    header = json.loads(data[8:end])
    header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)  # the numbers are aligned
    return len(text).to_bytes(8, "little") + text + data[end:]


def _hidden(tensors: dict[str, Tensor]) -> list[int]:
    """The sizes of all layers but the last, as far as `layers.0.weight, layers.1.weight, …` are matrices."""
    sizes: list[int] = []
    while (weight := tensors.get(f"layers.{len(sizes)}.weight")) is not None and weight.ndim == 2 and weight.numel():
        sizes.append(len(weight))
    return sizes[:-1]


def _faults(expected: dict[str, Tensor], found: dict[str, Tensor]) -> str:
    faults = [f"{name} is missing" for name in expected.keys() - found.keys()]
    faults += [f"{name} is not expected" for name in found.keys() - expected.keys()]
    for name in expected.keys() & found.keys():
        if found[name].shape != expected[name].shape:
            faults.append(f"{name} has shape {tuple(found[name].shape)}; expected: {tuple(expected[name].shape)}")
        elif not found[name].is_floating_point() or not torch.isfinite(found[name]).all():
            faults.append(f"{name} holds something else than finite floating-point numbers")
    return listing(sorted(faults)) if faults else ""
