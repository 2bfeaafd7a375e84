"""`find_model(text)`: what the command line means by MODEL."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from kdpinn_edge.errors import ProgramError
from kdpinn_edge.ir import Program
from kdpinn_edge.manifest import Input, Output
from kdpinn_edge.program_file import read_program

PICKLES = (".pt", ".pth", ".pkl", ".ckpt", ".bin")


@dataclass(frozen=True)
class Model:
    """A Program, and what is known of its columns: None where nothing is."""

    name: str | None
    program: Program
    inputs: tuple[Input, ...] | None = None
    outputs: tuple[Output, ...] | None = None
    equation: str | None = None


def find_model(text: str) -> Model:
    """The Model in a program.npz, in a run folder, or in the zoo under this name.

    A program.npz does not say what it is called. Raises ProgramError, TrainError or CaptureError.
    """
    path = Path(text)
    if path.suffix in PICKLES:
        raise ProgramError(
            f"{text}: a {path.suffix} file is a pickle, which runs code when it is read; accepted: a model of the zoo, "
            "a run folder, a program.npz. In Python: capture(module), then write_program."
        )
    if path.suffix == ".npz" or path.is_file():
        return Model(None, read_program(path))
    raise NotImplementedError
