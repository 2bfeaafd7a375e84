"""What can be followed, kind by kind: what problem each poses by itself, and how it teaches a problem.

A model that says which equation it solves poses that problem; all others pose the problem of following them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Protocol

import numpy as np

from kdpinn_edge.bundle.manifest import Input, Output
from kdpinn_edge.bundle.probe import probe_points
from kdpinn_edge.errors import TrainError
from kdpinn_edge.importers.model import Model
from kdpinn_edge.problems import Array, Problem
from kdpinn_edge.program.interp import interpret
from kdpinn_edge.program.ir import columns
from kdpinn_edge.training import Pinn
from kdpinn_edge.training.domain import Box, Domain
from kdpinn_edge.training.followed import check_box, follow
from kdpinn_edge.training.outside import check_pointwise
from kdpinn_edge.training.samples import SampledDomain, Samples, SamplesTeacher
from kdpinn_edge.training.teacher import ProgramTeacher, Teacher, fingerprint

N_PROBED = 1024

Taught = tuple[Teacher, Domain, str]
"""A teacher, the domain in which it is followed, and the SHA-256 of what it is."""


class Guide(Protocol):
    """What can be followed."""

    def poses(self, name: str) -> Problem:
        """The problem of following it, called `name`, or the one that it solves."""

    def teaches(self, solved: Problem) -> Taught:
        """It as the teacher of a problem. Raises TrainError where it does not fit."""


@dataclass(frozen=True)
class NetGuide:
    """A network of ours, which knows its problem."""

    net: Pinn
    name: str

    def poses(self, name: str) -> Problem:
        """The problem of the network."""
        return self.net.problem

    def teaches(self, solved: Problem) -> Taught:
        """The network, with its own derivatives."""
        if not self.net.problem.is_same_as(solved):
            raise TrainError(
                f"the teacher {self.name} solves {self.net.problem.name}; expected: a teacher of {solved.name}"
            )
        return (
            self.net,
            Box(self.net.problem if solved.unknowns else solved, self.net),
            fingerprint([tensor.detach().numpy() for tensor in self.net.parameters()]),
        )


@dataclass(frozen=True)
class ModelGuide:
    """A Program, with what is known of its columns."""

    model: Model
    name: str

    def poses(self, name: str) -> Problem:
        """The problem that the model solves, or that of following it over the domain of its inputs."""
        model = self.model
        if model.problem is not None and model.problem.equation:
            return model.problem
        inputs = model.inputs or tuple(map(Input, columns(model.program.inputs)))
        outputs = model.outputs or tuple(map(Output, columns(model.program.outputs)))
        check_box(inputs)
        exact = partial(interpret, model.program)
        x = probe_points(inputs, N_PROBED)
        with np.errstate(all="ignore"):
            return follow(x, exact(x), name, inputs, outputs, exact)

    def teaches(self, solved: Problem) -> Taught:
        """The Program, with its own derivatives."""
        own = self.model.problem
        if solved.equation and own is not None and own.equation and own is not solved:
            raise TrainError(
                f"the teacher {self.name} solves {own.equation}; expected for {solved.name}: {solved.equation}"
            )
        teacher = ProgramTeacher(self.model.program, solved)
        return teacher, Box(solved, teacher), self.model.program.sha256


@dataclass(frozen=True)
class OutsideGuide:
    """A function or a torch module: its values at points, and how it becomes a teacher of a problem."""

    name: str
    values: Callable[[Array, Sequence[str]], Array]
    teacher: Callable[[Problem], Teacher]
    inputs: tuple[Input, ...]
    outputs: tuple[Output, ...]

    def poses(self, name: str) -> Problem:
        """The problem of following it over the domain of its inputs."""
        check_box(self.inputs)
        exact = self._of(tuple(column.name for column in self.outputs))
        x = probe_points(self.inputs, N_PROBED)
        return follow(x, exact(x), name, self.inputs, self.outputs, exact)

    def teaches(self, solved: Problem) -> Taught:
        """It as it is, with the derivatives that it has."""
        sides = zip(solved.inputs, solved.lower, solved.upper, strict=True)
        x = probe_points([Input(*side) for side in sides], N_PROBED)
        found = check_pointwise(self._of(solved.outputs), x, solved.inputs, self.name)
        teacher = self.teacher(solved)
        return teacher, Box(solved, teacher), fingerprint([found])

    def _of(self, outputs: tuple[str, ...]) -> Callable[[Array], Array]:
        return lambda x: self.values(x, outputs)


@dataclass(frozen=True)
class SamplesGuide:
    """Samples, of these columns; a side that is open ends where the samples do."""

    samples: Samples
    inputs: tuple[Input, ...]
    outputs: tuple[Output, ...]

    def poses(self, name: str) -> Problem:
        """The problem of following the samples."""
        lower, upper = self.samples.x.min(axis=0).tolist(), self.samples.x.max(axis=0).tolist()
        inputs = [
            replace(
                column,
                lower=low if column.lower is None else column.lower,
                upper=high if column.upper is None else column.upper,
            )
            for column, low, high in zip(self.inputs, lower, upper, strict=True)
        ]
        check_box(inputs)
        return follow(self.samples.x, self.samples.u, name, inputs, self.outputs)

    def teaches(self, solved: Problem) -> Taught:
        """The samples, which are asked at their points only."""
        x = self.samples.x
        outside = ~np.all((x >= solved.lower) & (x <= solved.upper), axis=1)
        if outside.any():
            raise TrainError(
                f"{outside.sum()} of {len(x)} samples are outside the domain {solved.domain}; the first is "
                f"{x[outside][0].tolist()}. Expected: samples inside, or a wider domain"
            )
        return SamplesTeacher(self.samples, solved), SampledDomain(self.samples, solved), self.samples.sha256
