"""What a search chooses of a student, and what that costs on its target: this is known before it is trained."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import get_args

from kdpinn_edge.bundle.manifest import Arithmetic, Grade, Manifest, Precision, Storage
from kdpinn_edge.export.bundle import export_bundle
from kdpinn_edge.export.targets.table import target as find_target
from kdpinn_edge.importers.model import Model, net_model
from kdpinn_edge.numerics.fixed_point.quantise import quantise
from kdpinn_edge.problems import Problem
from kdpinn_edge.program.simplify import simplify
from kdpinn_edge.training.activations import ACTIVATIONS
from kdpinn_edge.training.pinn import untrained

DEPTHS = (1, 2, 3, 4)
WIDTHS = (8, 12, 16, 20, 24, 32, 48, 64)
STORAGES: tuple[Storage, ...] = ("float16", "float32", "float64")
IN_WORDS: Storage = "int32"
"""How the parameters of a student in integers lie in memory."""


@dataclass(frozen=True)
class Candidate:
    """The choices for a student: hidden layers, their activation and its grade, and how parameters lie in memory."""

    hidden: tuple[int, ...]
    activation: str
    storage: Storage
    grade: Grade = "accurate"

    @property
    def arithmetic(self) -> Arithmetic:
        """What it calculates with."""
        return "int16" if self.storage == IN_WORDS else "float"

    @property
    def precision(self) -> Precision:
        """The precision of the computation: float64 where the parameters are, else float32."""
        return "float64" if self.storage == "float64" else "float32"

    @property
    def name(self) -> str:
        """The name of its folder, as in "16x16_tanh_float32_fast"."""
        grade = "" if self.grade == "accurate" else f"_{self.grade}"
        kept = self.arithmetic if self.storage == IN_WORDS else self.storage
        return f"{'x'.join(map(str, self.hidden))}_{self.activation}_{kept}{grade}"

    def within(self, other: Candidate) -> bool:
        """Whether this is a part of `other`, which then costs as much or more: no deeper, no wider, else the same."""
        alike = (self.activation, self.storage, self.grade) == (other.activation, other.storage, other.grade)
        return alike and len(self.hidden) <= len(other.hidden) and self.hidden[0] <= other.hidden[0]


@dataclass(frozen=True)
class Cost:
    """What a call of a student takes: instructions, and bytes of code and constants; None where it was not counted.

    `how` says by what it was counted, or why not.
    """

    instructions: int | None
    flash: int | None
    how: str


def smallest(target: str, arithmetic: Arithmetic) -> Iterator[Candidate]:
    """The smallest candidate of each kind, of which any other contains one."""
    for storage in storages(target, arithmetic):
        for grade in grades(storage):
            for activation in ACTIVATIONS:
                yield Candidate((WIDTHS[0],) * DEPTHS[0], activation, storage, grade)


def storages(target: str, arithmetic: Arithmetic) -> tuple[Storage, ...]:
    """How a target can keep parameters: as float64 where it computes with them, and as words in integers."""
    if arithmetic == "int16":
        return (IN_WORDS,)
    return tuple(each for each in STORAGES if each != "float64" or "float64" in find_target(target).by_precision)


def grades(storage: Storage) -> tuple[Grade, ...]:
    """The grades of activations that there are for parameters that lie in memory so."""
    return ("accurate",) if storage in ("float64", IN_WORDS) else get_args(Grade)


def exported(model: Model, candidate: Candidate, target: str, folder: Path, equation: str | None) -> Manifest:
    """Export a student as the candidate has it."""
    return export_bundle(
        model.program,
        folder,
        name=model.program.name,
        precision=candidate.precision,
        storage=None if candidate.storage == IN_WORDS else candidate.storage,
        arithmetic=candidate.arithmetic,
        grade=candidate.grade,
        target=target,
        inputs=model.inputs,
        outputs=model.outputs,
        equation=equation,
    )


def cost_of(manifest: Manifest, points: int) -> Cost:
    """The cost of a call with so many points, as a manifest states it."""
    counts = manifest.functions["eval"].instructions
    instructions = None if counts is None else counts.get(str(points))
    return Cost(instructions, manifest.sizes.flash if manifest.sizes else None, manifest.measured)


def predicted(problem: Problem, candidate: Candidate, target: str, points: int) -> Cost:
    """The cost of a candidate before it is trained: that of a network of its shape with other weights.

    What runs does not depend on the weights, and no count does.
    """
    model = net_model(untrained(problem, candidate.hidden, candidate.activation))
    with TemporaryDirectory(prefix="kdpinn_edge_") as folder:
        return cost_of(exported(model, candidate, target, Path(folder, "bundle"), None), points)


def check_arithmetic(problem: Problem, target: str, arithmetic: Arithmetic) -> None:
    """Raise ProgramError where no student of the problem can be made of words."""
    if arithmetic == "int16":
        first = next(smallest(target, arithmetic))
        program = net_model(untrained(problem, first.hidden, first.activation)).program
        quantise(simplify(program), problem.lower, problem.upper)
