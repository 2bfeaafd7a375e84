"""`find_model(text)`: what the command line means by MODEL."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from kdpinn_edge import problems, zoo
from kdpinn_edge.bundle.manifest import MANIFEST_FILE, Input, Output, check_files, read_manifest
from kdpinn_edge.bundle.read import read_function
from kdpinn_edge.derive.residual import outputs_program
from kdpinn_edge.errors import ProgramError
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


def find_model(text: str) -> Model:
    """The Model that `text` names: a bundle, a program.npz, a model of the zoo, or else what `find_pinn` finds.

    A program.npz alone does not say what its library is called: its `name` is None. Only a network needs torch, to be
    captured. Raises BundleError, ProgramError, TrainError or CaptureError.
    """
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
