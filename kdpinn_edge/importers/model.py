"""`find_model(source)`: what the command line means by SOURCE."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from kdpinn_edge import problems, zoo
from kdpinn_edge.bundle.manifest import MANIFEST_FILE, Input, Output
from kdpinn_edge.bundle.posed import posed
from kdpinn_edge.bundle.read import open_bundle
from kdpinn_edge.equation.model_name import name_fault
from kdpinn_edge.errors import ProgramError, did_you_mean
from kdpinn_edge.importers.columns import Column, Columns, input_columns, output_columns, read_columns
from kdpinn_edge.problems import Problem
from kdpinn_edge.program.file import read_program
from kdpinn_edge.program.ir import Program, columns
from kdpinn_edge.reading import GIB, MIB, opened, parse_json

if TYPE_CHECKING:
    from kdpinn_edge.training import Pinn


@dataclass(frozen=True)
class Model:
    """A Program, and what is known of its columns and of the equation that it solves: None where nothing is."""

    name: str | None
    program: Program
    inputs: tuple[Input, ...] | None = None
    outputs: tuple[Output, ...] | None = None
    problem: Problem | None = None


@dataclass(frozen=True)
class Stated:
    """What a person says of a foreign file beside its name; None where it is for the file to say."""

    inputs: tuple[Column, ...] | None = None
    outputs: tuple[Column, ...] | None = None
    weights: Path | None = None
    activation: str | None = None


def find_model(
    source: str | os.PathLike[str] | Program,
    *,
    inputs: Columns | None = None,
    outputs: Columns | None = None,
    weights: str | os.PathLike[str] | None = None,
    activation: str | None = None,
) -> Model:
    """The Model that `source` is or names.

    - a Program, a bundle, a program.npz, a problem (its student), another model of the zoo, a run folder, a
      .safetensors file of `train`;
    - a network of somebody else in a file: FOREIGN says which there are.

    `inputs` and `outputs` state the columns of a foreign network, as `parse_columns` reads them or as Columns, and the
    domain in which it is proved to be read right; of any other model they state units and bounds, under its own names.
    `weights` is a file of weights for `model.py:build`, `activation` the function between the dense layers of a file
    that holds nothing but weights.

    A model.npz alone does not say what its library is called: its `name` is None. Raises BundleError, ProgramError,
    TrainError or CaptureError.

        find_model("model.onnx", inputs="x[m]=0:5000, T[K]=300:1500", outputs="u")
    """
    stated = Stated(
        read_columns(inputs, "inputs"),
        read_columns(outputs, "outputs"),
        None if weights is None else Path(weights),
        activation,
    )
    if isinstance(source, Program):
        return _described(Model(source.name, source), stated)
    text = os.fspath(source)
    return _foreign(text, stated) or _described(_own(text), stated)


def _own(text: str) -> Model:
    """The Model in a file or folder that this package wrote, or in the zoo."""
    if (Path(text) / MANIFEST_FILE).exists():
        return _of_bundle(Path(text))
    if text.endswith(".npz"):
        return Model(None, read_program(text))
    if (name := zoo_name(text)) in zoo.names():
        program = read_program(zoo.program(name))
        return _model(program, problems.problem(zoo.record(name)["problem"]))
    if not text or not Path(text).exists():
        raise ProgramError(
            f"no model is called {text!r}, and no folder or file; expected: a problem or a model of the zoo "
            "(`kdpinn-edge problems` lists both), a run folder, a bundle, a program.npz, a .safetensors file, or a "
            f"foreign network in a file: {FOREIGN}"
            f"{did_you_mean(text, (*problems.names(), *zoo.names()))}"
        )
    if Path(text).is_file() and Path(text).suffix != ".safetensors":
        raise ProgramError(
            f"{text} is no file of a model; expected: a program.npz, a .safetensors file, or a foreign network: "
            f"{FOREIGN}"
        )
    if Path(text).is_dir() and not (Path(text) / "model.safetensors").is_file():
        raise ProgramError(
            f"{text} holds no model: neither {MANIFEST_FILE}, as a bundle does, nor model.safetensors, as a run folder "
            "that train or distill has written; expected: one of them. A run that is going on writes it at its end"
        )
    return net_model(find_pinn(text))


def _described(model: Model, stated: Stated) -> Model:
    """A model of ours, its columns with the units and the domain that were stated."""
    if stated.weights or stated.activation:
        what = "--weights" if stated.weights else "--activation"
        raise ProgramError(f"{what} is given, but the model has its own; expected: it with {WITH[what]}")
    program = model.program
    inputs, outputs = model.inputs, model.outputs
    if stated.inputs is not None:
        _check_names("inputs", stated.inputs, columns(program.inputs))
        inputs = input_columns(stated.inputs)
    if stated.outputs is not None:
        _check_names("outputs", stated.outputs, columns(program.outputs))
        outputs = output_columns(stated.outputs)
    return replace(model, inputs=inputs, outputs=outputs)


FOREIGN_SUFFIXES = (".onnx", ".pt2", ".py", ".pt", ".pth", ".ckpt", ".safetensors", ".mdlus")
FOREIGN = (
    "model.onnx, model.pt2, model.py:build (with --weights weights.pt), weights alone of dense layers (.pt, .pth, "
    ".ckpt, .safetensors, with --activation), PhysicsNeMo's model.mdlus"
)
LARGEST_HEADER = 16 * MIB
"""Bytes that the header of a .safetensors file may have."""
WITH = {"--weights": "model.py:build", "--activation": "a file that holds nothing but the weights of dense layers"}


def _check_names(what: str, stated: Sequence[Column], names: tuple[str, ...]) -> None:
    found = tuple(name for column in stated for name in column.names)
    if found != names:
        wrong = next((name for name in found if name not in names), "")
        raise ProgramError(
            f"--{what} states {', '.join(found)}, but the model has {', '.join(names)}; expected: the same, in "
            f"this order{did_you_mean(wrong, names)}"
        )


def _foreign(text: str, stated: Stated) -> Model | None:
    """The Model in a file that this package did not write; None where `text` is something else."""
    if not is_foreign(text):
        return None
    path = _file(text)
    if not path.is_file():
        found = "this is a folder" if path.is_dir() else "no such file"
        raise ProgramError(f"{path}: {found}; expected: {FOREIGN}")
    name = model_name(path)
    if path.suffix == ".onnx":
        from kdpinn_edge.importers.onnx_files.model import read_onnx

        if stated.weights or stated.activation:
            raise ProgramError(f"{text} has weights and activations of its own; expected: neither from outside")
        return Model(name, *read_onnx(path, name, stated.inputs, stated.outputs))
    from kdpinn_edge.importers.pytorch.files import captured_file

    program = captured_file(text, name, stated.inputs, stated.outputs, stated.weights, stated.activation)
    return _described(Model(name, program), replace(stated, weights=None, activation=None))


def is_foreign(source: str | os.PathLike[str] | Program) -> bool:
    """Whether `source` names a file that this package did not write."""
    if isinstance(source, Program):
        return False
    path = _file(os.fspath(source))
    return path.suffix in FOREIGN_SUFFIXES and not (path.suffix == ".safetensors" and _is_ours(path))


def _file(text: str) -> Path:
    """The file in model.py:build, or that `text` names."""
    return Path(text.partition(".py:")[0] + ".py") if ".py:" in text else Path(text)


def _is_ours(path: Path) -> bool:
    """Whether a .safetensors file names its problem or its columns, as ours do; also where it cannot be read at all."""
    try:
        with opened(path, GIB) as (file, _):
            length = int.from_bytes(file.read(8), "little")
            header = parse_json(file.read(min(length, LARGEST_HEADER + 1)), largest=LARGEST_HEADER)
    except (OSError, ValueError):
        return True
    if not isinstance(header, dict):
        return True
    metadata = header.get("__metadata__")
    return isinstance(metadata, dict) and not {"problem", "columns"}.isdisjoint(metadata)


def model_name(path: Path) -> str:
    """What the model in a file is called: the file's name, as far as C allows it."""
    name = re.sub(r"[^a-z0-9]+", "_", path.name.partition(".")[0].lower()).strip("_")[:31]
    return "model" if name_fault(name) else name


def _of_bundle(folder: Path) -> Model:
    """The model that a bundle evaluates, its hashes checked. Its problem is the one with its equation and columns."""
    bundle = open_bundle(folder)
    manifest, program = bundle.manifest, bundle.program()
    described = manifest.equation, columns(program.inputs), columns(program.outputs)
    known = map(problems.problem, problems.names())
    solved = next((each for each in known if (each.equation, each.inputs, each.outputs) == described), None)
    return Model(manifest.name, program, manifest.inputs, manifest.functions["eval"].outputs, solved)


def net_model(net: Pinn) -> Model:
    """The Model that a network is."""
    return _model(captured(net, net.problem.name), net.problem)


def _model(program: Program, problem: Problem) -> Model:
    """The model that `program` is, with the columns of `problem`."""
    return Model(program.name, program, *posed(problem), problem)


def publish(run: str | os.PathLike[str], name: str, folder: Path = zoo.FOLDER) -> None:
    """Put the model of a finished run folder into the zoo as `name`, with its Program."""
    zoo.check_finished(run)
    zoo.publish(run, name, captured(find_pinn(os.fspath(run)), _called(name)), folder)


def _called(name: str) -> str:
    """What the library of a model of the zoo is called: the student of a problem stands for it."""
    return name.removesuffix("_student")


def captured(net: Pinn, name: str) -> Program:
    """The Program of a network, under this name."""
    from kdpinn_edge.importers.pytorch.module import capture

    return capture(net, name=name)


def find_pinn(text: str) -> Pinn:
    """The network in the zoo (a problem's name stands for its student), in a run folder, or in a .safetensors file."""
    from kdpinn_edge.training import load_pinn

    return load_pinn(zoo_name(text))


def zoo_name(text: str) -> str:
    """The name of a model: `text`, or the student of the problem that it names."""
    return f"{text}_student" if text in problems.names() and not Path(text).exists() else text
