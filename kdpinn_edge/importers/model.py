"""`find_model(source)`: what the command line means by SOURCE."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from kdpinn_edge import problems, zoo
from kdpinn_edge.bundle.manifest import MANIFEST_FILE, Input, Output, check_files, name_fault, read_manifest
from kdpinn_edge.bundle.read import read_function
from kdpinn_edge.derive.residual import outputs_program
from kdpinn_edge.errors import ProgramError
from kdpinn_edge.importers.columns import Column, input_columns, output_columns, parse_columns
from kdpinn_edge.problems import Problem
from kdpinn_edge.program.file import read_program
from kdpinn_edge.program.ir import Program, columns

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


Columns = str | Sequence[Column]
"""Columns, or the text that states them."""


def find_model(
    source: str | os.PathLike[str] | Program, *, inputs: Columns | None = None, outputs: Columns | None = None
) -> Model:
    """The Model that `source` is or names: a Program, a bundle, a program.npz, a model of the zoo, a network of ours.

    `inputs` and `outputs` state units and bounds of its columns, under its own names. A program.npz alone does not say
    what its library is called: its `name` is None. Only a network needs torch, to be captured. Raises BundleError,
    ProgramError, TrainError or CaptureError.
    """
    model = Model(source.name, source) if isinstance(source, Program) else _own(os.fspath(source))
    for what, stated, own in (("inputs", inputs, model.program.inputs), ("outputs", outputs, model.program.outputs)):
        found = [name for column in read_columns(stated, what) or () for name in column.names]
        if found and tuple(found) != columns(own):
            raise ProgramError(
                f"--{what} states {', '.join(found)}, but the model has {', '.join(columns(own))}; expected: the same, "
                "in this order"
            )
    stated_in, stated_out = read_columns(inputs, "inputs"), read_columns(outputs, "outputs")
    return replace(
        model,
        inputs=model.inputs if stated_in is None else input_columns(stated_in),
        outputs=model.outputs if stated_out is None else output_columns(stated_out),
    )


def read_columns(stated: Columns | None, what: str) -> tuple[Column, ...] | None:
    """The columns that are stated, if any; `what` they are called in a message."""
    if isinstance(stated, str):
        return parse_columns(stated, what)
    return None if stated is None else tuple(stated)


def model_name(path: Path) -> str:
    """What the model in a file is called: the file's name, as far as C allows it."""
    name = re.sub(r"[^a-z0-9]+", "_", path.name.partition(".")[0].lower()).strip("_")[:31]
    return "model" if name_fault(name) else name


def _own(text: str) -> Model:
    """The Model in a file or folder that this package wrote, or in the zoo."""
    if (Path(text) / MANIFEST_FILE).exists():
        return _of_bundle(Path(text))
    if text.endswith(".npz"):
        return Model(None, read_program(text))
    if (name := zoo_name(text)) in zoo.names():
        program = read_program(zoo.program(name))
        return _model(program, problems.problem(zoo.record(name)["problem"]))
    if Path(text).suffix == ".onnx":
        raise ProgramError(
            f"{text}: a model in ONNX is not read; expected: the torch module that it was made from, which "
            "kdpinn_edge.capture turns into a Program (docs/training.md)"
        )
    if not Path(text).exists():
        raise ProgramError(
            f"no model is called {text!r}, and no folder or file; expected: a problem ({', '.join(problems.names())}), "
            f"another model of the zoo ({', '.join(zoo.names())}), a run folder, a bundle, a program.npz, a "
            ".safetensors file"
        )
    return net_model(find_pinn(text))


def _of_bundle(folder: Path) -> Model:
    """The model that a bundle evaluates, its hashes checked. Its problem is the one with its equation and columns."""
    manifest = read_manifest(folder)
    check_files(folder, manifest)
    program = read_function(folder, manifest)
    described = manifest.equation, columns(program.inputs), columns(program.outputs)
    known = map(problems.problem, problems.names())
    solved = next((each for each in known if (each.equation, each.inputs, each.outputs) == described), None)
    return Model(manifest.name, program, manifest.inputs, manifest.functions["eval"].outputs, solved)


def net_model(net: Pinn) -> Model:
    """The Model that a network is."""
    return _model(captured(net, net.problem.name), net.problem)


def _model(program: Program, problem: Problem) -> Model:
    """The model that `program` is, with the columns of `problem`."""
    in_units, out_units = problem.units[: len(problem.inputs)], problem.units[len(problem.inputs) :]
    inputs = zip(problem.inputs, problem.lower, problem.upper, in_units, strict=True)
    outputs = zip(problem.outputs, out_units, strict=True)
    return Model(program.name, program, tuple(Input(*i) for i in inputs), tuple(Output(*o) for o in outputs), problem)


def publish(run: str | os.PathLike[str], name: str, folder: Path = zoo.FOLDER) -> None:
    """Put the model of a finished run folder into the zoo as `name`, with its Program."""
    zoo.check_finished(run)
    zoo.publish(run, name, captured(find_pinn(os.fspath(run)), _called(name)), folder)


def _called(name: str) -> str:
    """What the library of a model of the zoo is called: the student of a problem stands for it."""
    return name.removesuffix("_student")


def captured(net: Pinn, name: str) -> Program:
    """The Program of a network: what its ansatz makes, captured, and the outputs that are derivatives of it."""
    from kdpinn_edge.importers.torch_module import capture
    from kdpinn_edge.training.pinn import Made

    problem = net.problem
    box = problem.lower, problem.upper
    return outputs_program(
        capture(Made(net), name=name, inputs=problem.inputs, outputs=problem.made, domain=box), problem
    )


def find_pinn(text: str) -> Pinn:
    """The network in the zoo (a problem's name stands for its student), in a run folder, or in a .safetensors file."""
    from kdpinn_edge.training import load_pinn

    return load_pinn(zoo_name(text))


def zoo_name(text: str) -> str:
    """The name of a model: `text`, or the student of the problem that it names."""
    return f"{text}_student" if text in problems.names() and not Path(text).exists() else text
