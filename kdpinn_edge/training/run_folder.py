"""A run folder: `config.json`, `metrics.jsonl`, `checkpoint.safetensors` while it runs; `model.*` when it stops."""

from __future__ import annotations

import hashlib
import json
import os
import platform
from collections.abc import Iterator
from dataclasses import dataclass, fields
from importlib.metadata import version
from math import isnan
from pathlib import Path
from typing import Any, TypeVar

import msgspec
import safetensors.torch
import torch
from torch import Tensor

from kdpinn_edge import zoo
from kdpinn_edge.errors import TrainError, listing
from kdpinn_edge.files import Kind, append, check_free, clear, write_whole
from kdpinn_edge.reading import LARGEST_JSON, MIB, parse_json, read_whole
from kdpinn_edge.training.config import TrainConfig
from kdpinn_edge.training.optimisers import Memory
from kdpinn_edge.training.trained_for import converted
from kdpinn_edge.training.weights import RECORD_FILE, WEIGHTS_FILE, read_tensors

CONFIG_FILE = "config.json"
METRICS_FILE = "metrics.jsonl"
CHECKPOINT_FILE = "checkpoint.safetensors"
RUN = Kind("run", CONFIG_FILE, (CONFIG_FILE, METRICS_FILE, CHECKPOINT_FILE, WEIGHTS_FILE, RECORD_FILE))

LARGEST_METRICS = 64 * MIB

Config = TypeVar("Config", bound=TrainConfig)
Read = TypeVar("Read")


@dataclass(frozen=True, eq=False)
class State:
    """Everything that a run is after a step; never changed, only replaced, so that it is whole at any interrupt."""

    step: int
    cpu_seconds: float
    loss: float
    relative_l2: float
    best_score: float
    theta: Tensor
    best_theta: Tensor
    points: Tensor
    weights: Tensor
    targets: Tensor
    adam: Memory
    newton: Memory
    conditions: Memory


NUMBERS = tuple(field.name for field in fields(State) if field.type in ("int", "float"))
TENSORS = tuple(field.name for field in fields(State) if field.type == "Tensor")
MEMORIES = tuple(field.name for field in fields(State) if field.type == "Memory")


def open_run(folder: Path, description: dict[str, Any], *, resume: bool, force: bool = False) -> None:
    """Make `folder` for a new run of this description, or find the same run in it, maybe with other rounds.

    Raises TrainError where a new run would meet other files than those of a run that `force` removes, or a resumed run
    another description.
    """
    described = json.loads(json.dumps(description))
    if resume and force:
        raise TrainError("--force begins a new run and --resume goes on with one; expected: one of them")
    if not resume:
        check_free(folder, RUN, TrainError, force=force, otherwise="continue the run by --resume (resume=True), ")
        clear(folder)
        folder.mkdir(parents=True, exist_ok=True)
        try:
            write_json(folder / CONFIG_FILE, {**described, "versions": versions()})
        except OSError:
            folder.rmdir()
            raise
        return
    found = read_json(folder / CONFIG_FILE)
    if faults := list(_changes(found, described)):
        raise TrainError(
            f"{folder} holds another run; resume it with the options it was started with: {listing(faults)}"
        )
    _check_same_problem(folder, found.get("trained_for"), described["trained_for"])
    rows = read_metrics(folder) if (folder / METRICS_FILE).exists() else []
    if rows and rows[-1]["step"] > (steps := _steps(described["config"])):
        raise TrainError(
            f"{folder} has already done {rows[-1]['step']} steps, and this recipe has {steps}; expected: as many "
            "rounds or more"
        )
    if found.get("config") != described["config"]:
        write_json(folder / CONFIG_FILE, {**described, "versions": found.get("versions")})


def _steps(config: dict[str, Any]) -> int:
    steps: int = config["adam_rounds"] * config["adam_steps"] + config["newton_rounds"] * config["newton_steps"]
    return steps


def _changes(found: dict[str, Any], now: dict[str, Any]) -> Iterator[str]:
    """What is another now than it was, but for what a run may have more of: the rounds after Adam."""
    config = found.get("config")
    before, after = dict(config) if isinstance(config, dict) else {}, dict(now.get("config") or {})
    changed = before.pop("newton_rounds", None) != after.pop("newton_rounds", None)
    if changed and after.get("optimiser") == "soap":
        yield "the rate of SOAP falls over all of its rounds, so that there cannot be other rounds"
    for key in (key for key in now if key not in ("command", "config", "trained_for") and found.get(key) != now[key]):
        yield f"{key} was {found.get(key)!r}, is now {now[key]!r}"
    for key in (key for key in after if before.get(key) != after[key]):
        yield f"{key} was {before.get(key)!r}, is now {after[key]!r}"


def _check_same_problem(folder: Path, found: object, now: object) -> None:
    """Raise TrainError where the run in `folder` trains for a problem of this name that is another one now."""
    try:
        then = converted(found)
    except ValueError as error:
        raise TrainError(
            f"{folder / CONFIG_FILE} does not say for which features and ansatz the run trains ({error}): the usual "
            "cause is an earlier version. Begin it again with --force (force=True)"
        ) from error
    if changed := converted(now).changed(then):
        raise TrainError(
            f"{folder} trains for a problem as it was in kdpinn_edge {then.version}, and since then its "
            f"{' and its '.join(changed)} changed; expected: the same problem. Begin it again with --force (force=True)"
        )


def run_config(folder: Path, kind: type[Config]) -> Config:
    """The recipe of the run in `folder`. Raises TrainError where it holds none of this kind."""
    found = read_json(folder / CONFIG_FILE).get("config")
    try:
        return typed(found, kind)
    except ValueError as error:
        stage = "train" if kind is TrainConfig else "distill"
        raise TrainError(f"{folder} holds no run of {stage} ({error}); expected: one that it made") from error


def write_checkpoint(folder: Path, state: State) -> None:
    """Replace the checkpoint by `state`."""
    numbers = torch.tensor([getattr(state, name) for name in NUMBERS], dtype=torch.float64)
    tensors = {name: tensor.to("cpu", copy=True) for name, tensor in _tensors(state).items()}
    tensors["numbers"] = numbers
    write_whole(folder / CHECKPOINT_FILE, safetensors.torch.save(tensors, {"sha256": _digest(tensors)}))


def _digest(tensors: dict[str, Tensor]) -> str:
    """The SHA-256 of all tensors and what they are called: numbers alone do not show that one of them was damaged."""
    found = hashlib.sha256()
    for name, tensor in sorted(tensors.items()):
        found.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        found.update(tensor.contiguous().view(-1).view(torch.uint8).numpy().tobytes() if tensor.numel() else b"")
    return found.hexdigest()


def _tensors(state: State) -> dict[str, Tensor]:
    """Every tensor of `state` by its name, those of a memory as in "newton.0"."""
    tensors = {name: getattr(state, name) for name in TENSORS}
    for name in MEMORIES:
        tensors |= {f"{name}.{i}": tensor for i, tensor in enumerate(getattr(state, name))}
    return tensors


def read_checkpoint(folder: Path, like: State) -> State | None:
    """The state that the run was left in, shaped and placed `like` its first one; None before its first checkpoint.

    Raises TrainError where the file holds the state of another run, or is not as it was written.
    """
    path = folder / CHECKPOINT_FILE
    if not os.path.lexists(path):
        return None
    tensors, metadata = read_tensors(path)
    first = _tensors(like)
    kinds = {"numbers": (torch.float64, (len(NUMBERS),))} | {name: _kind(tensor) for name, tensor in first.items()}
    if {name: _kind(tensor) for name, tensor in tensors.items()} != kinds:
        raise TrainError(f"{path}: not a checkpoint of this run; delete it to start the run again")
    step, *numbers = tensors["numbers"].tolist()
    if metadata.get("sha256") != _digest(tensors) or not (step >= 0 and step.is_integer()):
        raise TrainError(f"{path}: damaged, or of an older version; delete it to start the run again")
    del tensors["numbers"]
    # A product's last bits depend on how its operands are aligned, and a file's tensors lie anywhere.
    tensors = {name: tensor.to(first[name].device, copy=True) for name, tensor in tensors.items()}
    memories = [tuple(tensors[f"{name}.{i}"] for i in range(len(getattr(like, name)))) for name in MEMORIES]
    return State(int(step), *numbers, *(tensors[name] for name in TENSORS), *memories)


def _kind(tensor: Tensor) -> tuple[torch.dtype, tuple[int, ...]]:
    return tensor.dtype, tuple(tensor.shape)


def append_metrics(folder: Path, row: dict[str, Any]) -> None:
    """Add one line to the metrics; what is not known of it, a NaN, is null."""
    known = {key: None if isinstance(value, float) and isnan(value) else value for key, value in row.items()}
    append(folder / METRICS_FILE, json.dumps(known) + "\n")


def read_metrics(folder: Path) -> list[dict[str, Any]]:
    """The whole lines of the metrics. Raises TrainError where there are none, or one is no line of metrics."""
    path = folder / METRICS_FILE
    try:
        lines = read_whole(path, LARGEST_METRICS).splitlines(keepends=True)
    except OSError as error:
        raise TrainError(f"{path}: {error.strerror}; expected: the folder of a run") from error
    return [_row(line, f"{path}, line {i}") for i, line in enumerate(lines, 1) if line.endswith(b"\n")]


def drop_metrics_after(folder: Path, step: int) -> None:
    """Keep the metrics up to `step`: what a run that was killed wrote after its checkpoint will be written again.

    Raises TrainError where a line is none of metrics, and leaves them as they are.
    """
    path = folder / METRICS_FILE
    rows = read_metrics(folder) if path.exists() else []
    write_whole(path, "".join(json.dumps(row) + "\n" for row in rows if row["step"] <= step).encode())


@dataclass(frozen=True)
class _Row:
    """What a line of metrics has at least."""

    step: int
    phase: str
    loss: float | None
    best_score: float | None
    relative_l2: float | None


def _row(line: bytes, where: str) -> dict[str, Any]:
    try:
        found: dict[str, Any] = parse_json(line)
        msgspec.convert(found, _Row)
    except (ValueError, msgspec.ValidationError) as error:
        shown = line.strip().decode(errors="replace")
        raise TrainError(
            f"{where}: {shown!r:.200} is no line of metrics ({error}); expected: a JSON "
            "object with its step. The usual cause is an edited file: delete the line"
        ) from error
    return found


def write_json(path: Path, document: dict[str, Any]) -> None:
    """Write `document` as readable JSON."""
    write_whole(path, (json.dumps(document, indent=2, ensure_ascii=False) + "\n").encode())


def read_json(path: Path) -> dict[str, Any]:
    """The JSON object in `path`. Raises TrainError where there is none."""
    try:
        document = parse_json(read_whole(path, LARGEST_JSON))
    except FileNotFoundError as error:
        raise TrainError(f"{path}: no such file, so {path.parent} holds no run; start one without resume") from error
    except OSError as error:
        raise TrainError(f"{path}: {error.strerror}; expected: a file of a run") from error
    except ValueError as error:
        raise TrainError(f"{path}: not JSON ({error}); the usual cause is an edited file") from error
    if not isinstance(document, dict):
        raise TrainError(f"{path}: holds a {type(document).__name__}; expected: a JSON object")
    return document


def typed(document: object, kind: type[Read]) -> Read:
    """`document` as the dataclass `kind`, all of whose fields it has and no others. Raises ValueError else."""
    wanted = {field.name for field in fields(kind)}  # type: ignore[arg-type]
    if isinstance(document, dict) and (wrong := set(document) ^ wanted):
        raise ValueError(f"it lacks {', '.join(sorted(wrong & wanted))}" if wrong & wanted else f"it has {min(wrong)}")
    try:
        return msgspec.convert(document, kind)
    except (msgspec.ValidationError, TrainError) as error:
        raise ValueError(str(error)) from error


@dataclass(frozen=True)
class Made:
    """What the record of a run says of how its network was made, as far as other stages read it."""

    command: str
    training_cpu_seconds: float
    architecture: Architecture


@dataclass(frozen=True)
class Architecture:
    """The size of a network."""

    parameters: int


def record_of(model: str | os.PathLike[str]) -> Made:
    """The record of how a model in a run folder, or in the zoo, was made. Raises TrainError where nothing says."""
    path = zoo.record_file(str(model)) if str(model) in zoo.names() else Path(model) / RECORD_FILE
    try:
        return msgspec.convert(read_json(path), Made)
    except msgspec.ValidationError as error:
        raise TrainError(f"{path}: {error}; the usual cause is an edited file") from error


def versions() -> dict[str, str]:
    """The versions of the packages that the numbers of a run depend on."""
    return {
        "kdpinn_edge": version("kdpinn-edge"),
        "torch": torch.__version__,
        "python": platform.python_version(),
        "machine": platform.machine(),
    }


def run_files(folder: str | os.PathLike[str]) -> tuple[Path, Path]:
    """The weights and the record of the run in `folder`."""
    return Path(folder) / WEIGHTS_FILE, Path(folder) / RECORD_FILE
