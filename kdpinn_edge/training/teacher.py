"""What a student follows: a network of ours, or the Program of any other, be it from a bundle or captured."""

from __future__ import annotations

import hashlib
import os
from functools import cache
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor

from kdpinn_edge.bundle.manifest import MANIFEST_FILE, read_manifest
from kdpinn_edge.bundle.read import read_function
from kdpinn_edge.derive.derivatives import derivatives
from kdpinn_edge.errors import TrainError
from kdpinn_edge.problems import Problem
from kdpinn_edge.program.file import read_program
from kdpinn_edge.program.interp import interpret
from kdpinn_edge.program.ir import Program, columns
from kdpinn_edge.training.jets import Jet
from kdpinn_edge.training.pinn import Pinn
from kdpinn_edge.training.weights import load_pinn

Source = str | os.PathLike[str] | Program


class Teacher(Protocol):
    """A solution of `problem`, as good as it is: a Pinn is one."""

    @property
    def problem(self) -> Problem:
        """The problem that the teacher solves."""

    def __call__(self, x: Tensor) -> Tensor:
        """Its values at the points x (n, n_in), float64: (n, n_out)."""

    def jet(self, x: Tensor, multi_indices: tuple[str, ...]) -> Jet:
        """The derivatives `multi_indices` of the solution at the points x, each (n, n_out)."""


class ProgramTeacher:
    """A Program that computes the outputs of `problem` from its inputs, in float64, with derivatives of its own.

    Raises TrainError where its columns are others.
    """

    def __init__(self, program: Program, problem: Problem) -> None:
        found = columns(program.inputs), columns(program.outputs)
        if found != (problem.inputs, problem.outputs):
            of = " from ".join(", ".join(names) for names in (found[1], found[0]))
            expected = " from ".join(", ".join(names) for names in (problem.outputs, problem.inputs))
            raise TrainError(
                f"the teacher {program.name} computes {of}; expected for {problem.name}: {expected}, in this order. "
                "Capture it with these names: capture(module, inputs=…, outputs=…)"
            )
        self.problem = problem
        self._of = cache(
            lambda multi_indices: derivatives(program, [self._request(w, v) for w in multi_indices for v in found[1]])
        )

    def __call__(self, x: Tensor) -> Tensor:
        """The derivatives `multi_indices` of the Program at the points x, each (n, n_out)."""
        return self.jet(x, ("",))[""]

    def jet(self, x: Tensor, multi_indices: tuple[str, ...]) -> Jet:
        """The derivatives `multi_indices` of the Program at the points x, each (n, n_out)."""
        y = torch.from_numpy(interpret(self._of(multi_indices), x.detach().cpu().numpy())).to(x.device)
        return Jet(multi_indices, y.reshape(len(x), len(multi_indices), -1).movedim(1, 0))

    @staticmethod
    def _request(multi_index: str, output: str) -> str:
        return f"{output}_{multi_index}" if multi_index else output


def default_teacher(problem_name: str) -> str:
    """The name of the teacher of the problem in the zoo."""
    return f"{problem_name}_teacher"


def find_teacher(
    source: Source, problem: Problem, device: torch.device | None = None
) -> tuple[Teacher, dict[str, str]]:
    """The teacher that `source` is, and how a record names it.

    `source` is a Program, a program.npz, a bundle, or what `load_pinn` takes; a network is moved to `device`, a Program
    stays with NumPy. Raises TrainError where it solves another problem, ProgramError where a file is not a Program,
    BundleError for a bundle whose manifest cannot be read.
    """
    if not isinstance(source, Program):
        path = Path(source)
        manifest = read_manifest(path) if (path / MANIFEST_FILE).exists() else None
        if manifest is None and path.suffix != ".npz":
            net = load_pinn(source)
            if net.problem is not problem:
                raise TrainError(
                    f"the teacher {source} solves {net.problem.name}; expected: a teacher of {problem.name}"
                )
            named = {"name": path.name, "sha256": _fingerprint(net)}
            return net.to(device), named
        if manifest is None and not path.exists():
            raise TrainError(f"{path}: no such file; expected: a program.npz, a bundle, a run folder")
        name, program = path.name, read_program(path) if manifest is None else read_function(path, manifest)
        equation = manifest.equation if manifest else None
        if problem.equation and equation not in (None, problem.equation):
            raise TrainError(f"the teacher {source} solves {equation}; expected for {problem.name}: {problem.equation}")
    else:
        name, program = source.name, source
    return ProgramTeacher(program, problem), {"name": name, "sha256": program.sha256}


def _fingerprint(net: Pinn) -> str:
    """SHA-256 of the weights, in the order of the layers, as float64."""
    numbers = b"".join(tensor.detach().numpy().tobytes() for tensor in net.parameters())
    return hashlib.sha256(numbers).hexdigest()
