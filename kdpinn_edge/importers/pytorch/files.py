"""Networks of torch in files: each becomes a module, and `capture` makes it a Program.

model.py:build          the user's own program, run because it is named; weights from a file
model.pt2               an ExportedProgram, read as data
.pt .pth .ckpt          weights of dense layers alone, read as data
.safetensors            the same
.mdlus                  PhysicsNeMo's FullyConnected, read as data
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from torch import nn

from kdpinn_edge.errors import CaptureError, ProgramError
from kdpinn_edge.importers.columns import EXAMPLE, Column
from kdpinn_edge.importers.pytorch.archive import read_pt2
from kdpinn_edge.importers.pytorch.dense import ACTIVATIONS, dense
from kdpinn_edge.importers.pytorch.module import capture
from kdpinn_edge.importers.pytorch.physicsnemo import read_mdlus
from kdpinn_edge.importers.pytorch.weights import load_into, read_weights_file
from kdpinn_edge.program.ir import Program
from kdpinn_edge.user_program import running


def captured_file(
    text: str,
    name: str,
    inputs: tuple[Column, ...] | None,
    outputs: tuple[Column, ...] | None,
    weights: Path | None,
    activation: str | None,
) -> Program:
    """The Program of the network in a file, or of what `model.py:build` makes.

    Raises CaptureError, ProgramError or TrainError before anything is captured where something is missing.
    """
    if inputs is None or outputs is None:
        missing = " and ".join(what for what, given in (("--inputs", inputs), ("--outputs", outputs)) if given is None)
        raise ProgramError(
            f'{text} does not say what its columns are called; add {missing}, as in --inputs "{EXAMPLE}" '
            '--outputs "u, v"'
        )
    module = _module(text, weights, activation)
    if isinstance(module, Program):
        return module
    return capture(module, name=name, inputs=inputs, outputs=outputs)


def _module(text: str, weights: Path | None, activation: str | None) -> Any:
    file, _, factory = text.rpartition(":") if ".py:" in text else (text, "", "")
    path = Path(file)
    suffix = path.suffix
    if weights is not None and suffix != ".py":
        raise ProgramError(f"--weights goes with model.py:build; {text} has its own weights")
    if suffix == ".py":
        return _built(path, factory, weights)
    if suffix == ".pt2":
        return read_pt2(path)
    if suffix == ".mdlus":
        return read_mdlus(path)
    state = read_weights_file(path)
    if activation is None:
        raise ProgramError(
            f"{text} holds weights and not what happens between them; add --activation for dense layers (of "
            f"distill and search: --source-activation), one of "
            f"{', '.join(ACTIVATIONS)}; or name the program that makes the network, as in model.py:build --weights "
            "weights.pt"
        )
    return dense(state, activation, text)


def _built(path: Path, factory: str, weights: Path | None) -> Any:
    """What the user's program makes under this name, with weights from a file where one is given."""
    if not factory:
        raise ProgramError(
            f"{path} is a program; expected: also the function in it that makes the network, as in {path}:build"
        )
    built = _called(path, factory)
    if weights is not None:
        if not isinstance(built, nn.Module):
            raise ProgramError(
                f"{path}:{factory} is a {type(built).__name__}; expected: a torch.nn.Module for --weights"
            )
        load_into(built, read_weights_file(weights), str(weights))
    return built


def _called(path: Path, factory: str) -> Any:
    """The object of this name in the user's program, called where it is a function or a class of modules."""
    with running(path, CaptureError, f"{factory} without arguments makes the network") as program:
        if not hasattr(program, factory):
            raise ProgramError(f"{path} has no {factory}; expected: a function or a module of this name")
        found = getattr(program, factory)
        return found if isinstance(found, nn.Module | Program) or not callable(found) else found()
