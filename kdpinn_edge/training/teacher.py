"""What a student follows: a network of ours, the Program of any other, a function, a torch module, samples."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from functools import cache
from typing import Protocol

import torch
from torch import Tensor

from kdpinn_edge.derive.derivatives import derivatives
from kdpinn_edge.errors import TrainError
from kdpinn_edge.problems import Array, Problem
from kdpinn_edge.program.interp import interpret
from kdpinn_edge.program.ir import Program, columns
from kdpinn_edge.training.jets import Jet, letters


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
        self._named = {letter: name for name, letter in letters(problem.inputs).items()}
        self._of = cache(
            lambda multi_indices: derivatives(program, [self._request(w, v) for w in multi_indices for v in found[1]])
        )

    def __call__(self, x: Tensor) -> Tensor:
        """The values of the Program at the points x, (n, n_out)."""
        return self.jet(x, ("",))[""]

    def jet(self, x: Tensor, multi_indices: tuple[str, ...]) -> Jet:
        """The derivatives `multi_indices` of the Program at the points x, each (n, n_out)."""
        y = torch.from_numpy(interpret(self._of(multi_indices), x.detach().cpu().numpy())).to(x.device)
        return Jet(multi_indices, y.reshape(len(x), len(multi_indices), -1).movedim(1, 0))

    def _request(self, multi_index: str, output: str) -> str:
        return "_".join((output, *(self._named[letter] for letter in multi_index)))


def default_teacher(problem_name: str) -> str:
    """The name of the teacher of the problem in the zoo."""
    return f"{problem_name}_teacher"


def fingerprint(arrays: Sequence[Array]) -> str:
    """SHA-256 of the numbers in `arrays`, in this order, as float64."""
    return hashlib.sha256(b"".join(array.tobytes() for array in arrays)).hexdigest()
