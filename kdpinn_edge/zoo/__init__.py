"""Shipped teachers and students: `<name>.safetensors` and `<name>.json` as a run folder has them, and `<name>.npz`.

The last is the Program of the network, so that a shipped model is exported without torch.
"""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

from kdpinn_edge.errors import TrainError, did_you_mean
from kdpinn_edge.program.file import write_program
from kdpinn_edge.program.ir import Program
from kdpinn_edge.reading import LARGEST_JSON, parse_json, read_whole

FOLDER = Path(__file__).parent


def names() -> tuple[str, ...]:
    """The names of all models, sorted: `<problem>_<word>`, the word "teacher", or that of a student."""
    return tuple(sorted(path.stem for path in FOLDER.glob("*.safetensors")))


def weights(name: str) -> Path:
    """The .safetensors file of the model; `kdpinn_edge.training.load_pinn(name)` reads it."""
    return _file(name, ".safetensors")


def program(name: str) -> Path:
    """The .npz file of the model's Program; `kdpinn_edge.program.file.read_program` reads it."""
    return _file(name, ".npz")


def record(name: str) -> dict[str, Any]:
    """The record of how the model was made, and its errors."""
    found: dict[str, Any] = json.loads(record_file(name).read_bytes())
    return found


def record_file(name: str) -> Path:
    """The .json file with the record of how the model was made."""
    return _file(name, ".json")


def check_finished(run: str | os.PathLike[str]) -> None:
    """Raise TrainError where `run` is not the folder of a run that has finished."""
    try:
        finished = parse_json(read_whole(Path(run) / "model.json", LARGEST_JSON))["finished"]
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise TrainError(
            f"{run}: no run that was trained; expected: the folder of a finished run ({type(error).__name__}: {error})"
        ) from error
    if not finished:
        raise TrainError(f"{run}: the run was interrupted; expected: a finished run. Resume it first.")


def publish(run: str | os.PathLike[str], name: str, program: Program, folder: Path = FOLDER) -> None:
    """Copy the model of a finished run folder into the zoo as `name`, with its Program, replacing its predecessor."""
    for suffix in (".safetensors", ".json"):
        shutil.copyfile(Path(run) / f"model{suffix}", folder / f"{name}{suffix}")
    write_program(program, folder / f"{name}.npz")


def _file(name: str, suffix: str) -> Path:
    if name not in names():
        raise TrainError(
            f"no model of the zoo is called {name!r}; expected: {', '.join(names())}{did_you_mean(name, names())}"
        )
    return FOLDER / f"{name}{suffix}"
