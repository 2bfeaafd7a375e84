"""Weights in files, read as data: `.pt`, `.pth`, `.ckpt` and `.safetensors`. No code in a file is run.

read_weights_file   file -> {name: tensor}, the state dict in it
load_into           a state dict -> a module, whatever was wrapped around either
"""

from __future__ import annotations

import io
import pickle
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from kdpinn_edge.archives import is_archive, open_archive, read_entry
from kdpinn_edge.errors import CaptureError, listing
from kdpinn_edge.reading import GIB, read_whole
from kdpinn_edge.training.weights import read_tensors

State = dict[str, Tensor]
LARGEST = 2 * GIB
"""Bytes that a file of weights may have."""

STATE_KEYS = ("state_dict", "model_state_dict", "model_state", "model", "net", "network", "weights", "params")
"""What a checkpoint calls its state dict, the usual names first."""
WRAPPERS = re.compile(r"(?<![^.])(_orig_mod|module)\.")
"""What torch.compile, DataParallel and averaged models put into the names of weights."""
CONVERT = "In Python, where you trust the file: torch.save(net.state_dict(), 'weights.pt')"


def read_weights_file(path: Path) -> State:
    """The state dict in a file. Raises CaptureError or TrainError where there is none, saying what the file is."""
    if path.suffix == ".safetensors":
        return read_tensors(path)[0]
    try:
        data = read_whole(path, LARGEST)
    except OSError as error:
        found = "no such file" if isinstance(error, FileNotFoundError) else error.strerror
        raise CaptureError(f"{path}: {found}; expected: weights in a .pt, .pth, .ckpt or .safetensors file") from error
    if kind := archive_kind(data):
        raise CaptureError(f"{path}: {kind}")
    return state_dict_in(data_only(data, str(path)), str(path))


def archive_kind(data: bytes) -> str | None:
    """What a zip file of torch is where it holds more than weights, and what to do with it; None where it does not."""
    if not is_archive(data):
        return None
    try:
        names = open_archive(data).namelist()
    except ValueError:  # damaged: `data_only` says so
        return None
    if any(name.endswith("/constants.pkl") for name in names):
        return (
            "this is TorchScript, a program and not weights alone; expected: weights, or another form of it. The usual "
            "fix, in Python: kdpinn_edge.capture(torch.jit.load(path), …), or torch.onnx.export to a model.onnx"
        )
    if any(name.endswith("archive_format") for name in names):
        return "this is an ExportedProgram of torch.export; expected: weights. The usual fix: name it model.pt2"
    return None


def data_only(data: bytes, called: str) -> Any:
    """What torch.load makes of a file that holds data alone. Raises CaptureError where it would run code."""
    try:
        if is_archive(data):  # torch itself does not look whether an entry is as it was written
            archive = open_archive(data)
            for name in archive.namelist():
                read_entry(archive, name)
        return torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        found = re.search(r"GLOBAL ([\w.]+)", str(error))
        what = f" (it names {found[1]})" if found else ""
        raise CaptureError(
            f"{called}: this is a pickle of Python objects{what}, which runs code when it is read; expected: a state "
            f"dict. {CONVERT}. Or name your program, as in kdpinn-edge export model.py:build --weights weights.pt"
        ) from error
    except Exception as error:  # damaged bytes reach pickle, zipfile and struct, which raise what they like
        raise CaptureError(
            f"{called}: not a file that torch.save wrote ({type(error).__name__}); expected: a state dict in it, whole"
        ) from error


def state_dict_in(found: Any, called: str) -> State:
    """The one state dict in what a checkpoint holds."""
    if _is_state(found):
        return dict(found)
    inner = {key: value for key, value in found.items() if _is_state(value)} if isinstance(found, Mapping) else {}
    usual = [key for key in STATE_KEYS if key in inner] or list(inner)
    if len(usual) == 1 or (usual and usual[0] in STATE_KEYS):
        return dict(inner[usual[0]])
    holds = f"a dict of {', '.join(map(str, found))}" if isinstance(found, Mapping) else f"a {type(found).__name__}"
    raise CaptureError(f"{called} holds {holds}; expected: one state dict, {{name: tensor}}. {CONVERT}")


def _is_state(found: Any) -> bool:
    return (
        isinstance(found, Mapping)
        and bool(found)
        and all(isinstance(key, str) and isinstance(value, Tensor) for key, value in found.items())
    )


def load_into(module: nn.Module, state: State, called: str) -> None:
    """Put a state dict into a module, past wrappers in the names of either.

    Raises CaptureError with every name that is missing or left over, and every shape that does not fit.
    """
    wanted = {WRAPPERS.sub("", name): name for name in module.state_dict()}
    given = _without_prefix({WRAPPERS.sub("", name): tensor for name, tensor in state.items()}, set(wanted), called)
    own = module.state_dict()
    faults = [f"{name} is missing" for name in wanted if name not in given]
    faults += [f"{name} is not of the module" for name in given if name not in wanted]
    faults += [
        f"{name} has shape {tuple(given[name].shape)}; the module's has {tuple(own[wanted[name]].shape)}"
        for name in wanted
        if name in given and given[name].shape != own[wanted[name]].shape
    ]
    if faults:
        raise CaptureError(
            f"{called}: the weights are not those of {type(module).__name__}: {listing(sorted(faults))}; expected: the "
            "state dict of what was built"
        )
    module.load_state_dict({wanted[name]: tensor for name, tensor in given.items()})


def _without_prefix(given: State, wanted: set[str], called: str) -> State:
    """The weights under the names of the module: a prefix that all names have in the file, or lack, is undone."""
    if not given or not wanted or wanted & set(given):
        return given
    some = min(wanted)
    prefixes = {name.removesuffix(some) for name in given if name.endswith(f".{some}")}
    fitting = sorted(prefix for prefix in prefixes if all(prefix + name in given for name in wanted))
    if len(fitting) > 1:
        raise CaptureError(
            f"{called} holds the weights of several such modules, as {', '.join(fitting)}; expected: one"
        )
    if fitting:
        return {name: given[fitting[0] + name] for name in wanted}
    some = min(given)
    for prefix in sorted(name.removesuffix(some) for name in wanted if name.endswith(f".{some}")):
        if all(prefix + name in wanted for name in given):
            return {prefix + name: tensor for name, tensor in given.items()}
    return given
