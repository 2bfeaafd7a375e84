"""Weights as safetensors: a format that holds numbers and no code. The file names its problem, and so suffices.

It also says what the weights were trained for, and is refused where the problem of that name is another one now.
"""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import msgspec
import safetensors.torch
import torch
from torch import Tensor

from kdpinn_edge import zoo
from kdpinn_edge.errors import ProblemError, TrainError, did_you_mean, listing
from kdpinn_edge.files import write_whole
from kdpinn_edge.problems import Problem, is_shipped, remembered
from kdpinn_edge.reading import GIB, LARGEST_JSON, MIB, parse_json, read_whole
from kdpinn_edge.training.followed import Followed, followed, read_columns
from kdpinn_edge.training.pinn import Pinn
from kdpinn_edge.training.trained_for import read, trained_for

WEIGHTS_FILE, RECORD_FILE = "model.safetensors", "model.json"
TANH = "tanh"
"""The activation of a network whose weights name none."""
LARGEST, LARGEST_HEADER = GIB, 16 * MIB
"""Bytes that a file of weights, and what it says of them, may have."""
NUMBERS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
AGAIN = (
    "Where you know that the problem has not changed since, write the weights again, with Pinn and write_weights from "
    "kdpinn_edge.training, the tensors of the file and the network's own hidden layers (docs/training.md): "
    "net = Pinn(problem('burgers'), hidden=(16, 16)); net.load_state_dict(tensors); "
    "write_weights(net, 'again.safetensors')"
)
"""What helps where weights do not say what they are for."""
PICKLE_STARTS = (b"\x80", b"PK\x03\x04")


def load_pinn(model: str | os.PathLike[str], problem: Problem | None = None) -> Pinn:
    """The network in a .safetensors file, in a run folder, or in the zoo under this name; float64, in eval mode.

    `problem` is what it solves, where that was defined in Python; else the file says it, and a problem of the user's
    own is read from its file again. Raises TrainError where there is none, where the file is a pickle, damaged, or
    does not hold a Pinn, and where the problem, or its file, is not as it was.
    """
    path = Path(model)
    if str(model) in zoo.names():
        path = zoo.weights(str(model))
    elif path.is_dir():
        return read_weights(path / WEIGHTS_FILE, problem, _recorded(path / RECORD_FILE))
    return read_weights(path, problem)


@dataclass(frozen=True)
class Stated:
    """What the record of a run states of its weights."""

    sha256: str
    command: str = ""
    versions: dict[str, str] = field(default_factory=dict)


def _recorded(record: Path) -> Stated | None:
    """What the record of a run states of its weights; None where the run has none yet."""
    if not os.path.lexists(record):
        return None
    try:
        return msgspec.convert(parse_json(read_whole(record, LARGEST_JSON)), Stated)
    except (OSError, ValueError, msgspec.ValidationError) as error:
        raise TrainError(f"{record}: not the record of a run ({error}); the usual cause is an edited file") from error


def write_weights(net: Pinn, path: Path) -> None:
    """Write the weights of `net` as float64. The same weights give the same bytes."""
    tensors = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    metadata = {"problem": net.problem.name, "trained_for": trained_for(net.problem).text()}
    if net.activation != TANH:
        metadata["activation"] = net.activation
    if net.problem.origin is not None:
        metadata["origin"] = json.dumps(asdict(net.problem.origin))
    elif isinstance(net.problem, Followed):
        metadata["columns"] = json.dumps(asdict(net.problem.columns))
    elif not is_shipped(net.problem):
        metadata["origin"] = "{}"
    write_whole(path, _ordered(safetensors.torch.save(tensors, metadata)))


def read_weights(path: Path, solved: Problem | None = None, stated: Stated | None = None) -> Pinn:
    """The network in the .safetensors file `path`, of which a record may state something; see `load_pinn`."""
    tensors, metadata = read_tensors(path, stated.sha256 if stated else None)
    if "problem" not in metadata:
        raise TrainError(
            f"{path}: the file does not say which problem it solves; expected: metadata with the key 'problem', as "
            f"train, distill and write_weights write it. {AGAIN}"
        )
    try:
        problem = _solved(metadata, solved)
        _check_trained_for(problem, metadata.get("trained_for"), stated)
        net = Pinn(problem, _hidden(tensors), activation=metadata.get("activation", TANH))
    except (ProblemError, TrainError) as error:
        raise TrainError(f"{path}: {error}") from error
    if faults := _faults(net.state_dict(), tensors):
        raise TrainError(f"{path}: the tensors are not those of a Pinn with hidden layers {net.hidden}: {faults}")
    net.load_state_dict(tensors)
    net.problem = net.problem.settled(net.found)
    return net.eval()


def _check_trained_for(problem: Problem, said: str | None, stated: Stated | None) -> None:
    """Raise TrainError where weights were not trained for `problem` as it is now, or do not say what for."""
    again = f"train it again by `{stated.command}`" if stated and stated.command else "train it again"
    if said is None:
        made = stated.versions.get("kdpinn_edge") if stated else None
        raise TrainError(
            f"the file{f' of kdpinn_edge {made}' if made else ''} does not say with which features and ansatz of "
            f"{problem.name} it was trained, and within others its weights give wrong values; expected: the metadata "
            f"'trained_for'. The usual fix: {again}. {AGAIN}"
        )
    try:
        then = read(said)
    except ValueError as error:
        raise TrainError(f"the metadata 'trained_for' says nothing ({error}); the usual cause is an edit") from error
    if changed := trained_for(problem).changed(then):
        raise TrainError(
            f"the network was trained for {problem.name} as it was in kdpinn_edge {then.version}, and since then its "
            f"{' and its '.join(changed)} changed, so that these weights would give wrong values; expected: the same "
            f"{problem.name}. The usual fix: {again}"
        )


def _solved(metadata: dict[str, str], given: Problem | None) -> Problem:
    """The problem that weights name: the one that is `given`, where it has that name and was defined in Python."""
    if "columns" in metadata:
        return followed(read_columns(metadata["columns"]))
    try:
        origin = None if "origin" not in metadata else _origin(parse_json(metadata["origin"].encode(), strict=True))
    except ValueError as error:
        raise TrainError(f"the metadata 'origin' names no file ({error}); the usual cause is an edit") from error
    if origin == {} and given is not None and given.name == metadata["problem"]:
        return given
    return remembered(metadata["problem"], origin, "the network")


def _origin(document: Any) -> dict[str, str]:
    """Where a problem was defined: nowhere, or in a file. Raises ValueError where the document says something else."""
    known = isinstance(document, dict) and set(document) in (set(), {"path", "sha256"})
    if not known or not all(isinstance(each, str) and "\0" not in each for each in document.values()):
        raise ValueError(f"found {document!r:.80}; expected: path and sha256, or nothing")
    return dict(document)


def read_tensors(path: Path, sha256: str | None = None) -> tuple[dict[str, Tensor], dict[str, str]]:
    """The tensors and the metadata of a .safetensors file, whose SHA-256 may be known.

    Raises TrainError where it is missing, not one, or another.
    """
    try:
        data = read_whole(path, LARGEST)
    except FileNotFoundError as error:
        raise TrainError(
            f"{path}: no such file; expected: a .safetensors file, a run folder, or a model of the zoo (`kdpinn-edge "
            f"problems` lists them){did_you_mean(str(path), zoo.names())}"
        ) from error
    except OSError as error:
        raise TrainError(f"{path}: cannot be read ({error.strerror}); expected: a .safetensors file") from error
    if sha256 is not None and (found := hashlib.sha256(data).hexdigest()) != sha256:
        raise TrainError(
            f"{path} has the SHA-256 {found}, and {RECORD_FILE} says {sha256}; expected: both of one run. The "
            "usual cause is an edited file, or a run that was killed at its end: resume it"
        )
    if data.startswith(PICKLE_STARTS) and data[8:9] != b"{":  # safetensors: eight bytes of length, then JSON
        raise TrainError(
            f"{path}: this is a pickle, which runs code when it is read; expected: safetensors. Where you "
            "trust it and it is a network of train or distill, tensors = torch.load(path, weights_only=True). "
            f"{AGAIN}. Capture any other from Python (docs/training.md)"
        )
    try:
        length = int.from_bytes(data[:8], "little")
        header = parse_json(data[8 : 8 + length], strict=True, largest=LARGEST_HEADER)
        return safetensors.torch.load(data), header.get("__metadata__") or {}
    except Exception as error:  # damaged bytes reach safetensors and torch, which raise what they like
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
    """The sizes of all layers but the last, as far as `layers.0.weight, layers.1.weight, …` are matrices that fit."""
    sizes: list[int] = []
    while (weight := tensors.get(f"layers.{len(sizes)}.weight")) is not None and weight.ndim == 2 and weight.numel():
        if sizes and weight.shape[1] != sizes[-1]:  # else a small file would make a network of any size
            raise TrainError(f"layers.{len(sizes)}.weight has {weight.shape[1]} columns; expected: {sizes[-1]}")
        sizes.append(len(weight))
    return sizes[:-1]


def _faults(expected: dict[str, Tensor], found: dict[str, Tensor]) -> str:
    faults = [f"{name} is missing" for name in expected.keys() - found.keys()]
    faults += [f"{name} is not expected" for name in found.keys() - expected.keys()]
    for name in expected.keys() & found.keys():
        if found[name].shape != expected[name].shape:
            faults.append(f"{name} has shape {tuple(found[name].shape)}; expected: {tuple(expected[name].shape)}")
        elif found[name].dtype not in NUMBERS or not torch.isfinite(found[name]).all():
            faults.append(f"{name} holds something else than finite floating-point numbers")
    return listing(sorted(faults)) if faults else ""
