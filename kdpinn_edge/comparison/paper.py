"""`paper_comparison(problem)`: what distilling is worth, and what leaving the framework is worth, told apart.

Teacher and student become a bundle each, so that every backend evaluates both:

    student for teacher    in one runtime, the teacher's time over the student's
    native for framework   of one network, the framework's time over the library's
    both                   the teacher's time in the framework over the student's in the library

Errors depend on the seed of the training, times do not: of several runs all errors are given, and the first is timed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal

import numpy as np

from kdpinn_edge import problems, zoo
from kdpinn_edge.bundle.probe import probe_points
from kdpinn_edge.comparison import selection
from kdpinn_edge.comparison.backend_config import BackendConfig
from kdpinn_edge.comparison.machine import check_system
from kdpinn_edge.comparison.published import PAPER
from kdpinn_edge.comparison.ratios import Ratio, quotient
from kdpinn_edge.comparison.record import Protocol, Record
from kdpinn_edge.comparison.session import MeasurementProgress, measure
from kdpinn_edge.comparison.statistics import LatencyRow, rows, summary
from kdpinn_edge.errors import BenchError, did_you_mean
from kdpinn_edge.export.bundle import export_bundle
from kdpinn_edge.importers.model import Model, find_model
from kdpinn_edge.problems import Problem
from kdpinn_edge.program.ir import Program, parameters
from kdpinn_edge.runtime import load

Role = Literal["teacher", "student"]
Gain = Literal["student for teacher", "native for framework", "both"]

ROLES: tuple[Role, ...] = ("teacher", "student")
FRAMEWORK, NATIVE = "torch, eager", selection.LIBRARY
BACKENDS = (FRAMEWORK, "onnxruntime, run", "numba, in process", NATIVE)
PROTOCOL = replace(
    selection.QUICK, n_points=selection.N_POINTS, turn_seconds=0.1, budget_s=180.0
)  # a teacher in torch takes 0.2 s for 100 000 points
LIMITS_NS = (100_000, 1_000_000, 10_000_000)
REFERENCE_POINTS = 20_000


@dataclass(frozen=True)
class SpeedUp:
    """The Ratio `times` of the entry `slow` to `fast` at n points, both called back to back."""

    gain: Gain
    n: int
    slow: str
    fast: str
    times: Ratio


@dataclass(frozen=True)
class Tail:
    """The p-th percentile of an entry at n points, one call per period; the least of LIMITS_NS that it is within."""

    entry: str
    n: int
    p: float
    ns: float
    limit_ns: int | None


@dataclass(frozen=True)
class Errors:
    """The root-mean-square errors of a teacher and of its student against the reference, over 20 000 random points."""

    teacher: float
    student: float

    @property
    def increase(self) -> float:
        """The share by which the student's is larger."""
        return self.student / self.teacher - 1


@dataclass(frozen=True)
class PaperComparison:
    """Teacher and student of one problem through the same backends. `record` has every sample of the pair that was
    timed, and both RMSE; `others` are the errors of the pairs of other seeds.
    """

    problem: str
    record: Record
    others: tuple[Errors, ...] = ()

    def errors(self) -> tuple[Errors, ...]:
        """The errors of every pair, that of the timed one first."""
        return (Errors(self.rmse("teacher"), self.rmse("student")), *self.others)

    def rmse(self, role: Role) -> float:
        """Root-mean-square error of the deployed network against the reference solution, over 20 000 random points."""
        name = _subject_name(self.problem, role)
        return next(subject.rmse or 0.0 for subject in self.record.subjects if subject.name == name)

    def speed_ups(self) -> tuple[SpeedUp, ...]:
        """Every SpeedUp of what was measured."""
        ratios = {(row.entry, row.n): row.ratio for row in rows(self.record) if row.ratio}
        wanted: list[tuple[Gain, str, str]] = [
            ("student for teacher", entry_name(backend, "teacher"), entry_name(backend, "student"))
            for backend in dict.fromkeys(entry.backend for entry in self.record.entries)
        ]
        wanted += [("native for framework", entry_name(FRAMEWORK, role), entry_name(NATIVE, role)) for role in ROLES]
        wanted.append(("both", entry_name(FRAMEWORK, "teacher"), entry_name(NATIVE, "student")))
        return tuple(
            SpeedUp(gain, n, slow, fast, quotient(ratios[slow, n], ratios[fast, n]))
            for gain, slow, fast in wanted
            for n in self.record.protocol.n_points
            if (slow, n) in ratios and (fast, n) in ratios
        )

    def tails(self) -> tuple[Tail, ...]:
        """The limit that each row is within, judged at p99 or the highest percentile that the samples support."""
        return tuple(_tail(row) for row in rows(self.record) if row.mode == "periodic")

    @property
    def precision(self) -> str:
        """The precision in which both networks are evaluated, by every backend."""
        return self.record.subjects[0].precision

    @property
    def threads(self) -> int | None:
        """The threads of every backend; None where they are its own choice."""
        return self.record.entries[0].threads

    def points_within(self, ns: float) -> dict[str, int]:
        """How many points of the student each backend evaluates in `ns`, at its pace for the most that were timed."""
        paces: dict[str, tuple[int, float]] = {}
        for row in rows(self.record):
            if row.mode == "closed" and row.entry.endswith(entry_name("", "student")):
                paces[row.entry] = max(paces.get(row.entry, (0, 0.0)), (row.n, row.percentiles[0].ns))
        backends = {entry.name: entry.backend for entry in self.record.entries}
        return {backends[name]: int(ns * n / call_ns) for name, (n, call_ns) in paces.items()}

    def document(self) -> dict[str, Any]:
        """The comparison as a document for JSON."""
        return summary(self.record) | {
            "problem": self.problem,
            "precision": self.precision,
            "threads": self.threads,
            "paper": asdict(PAPER) | {"points_within_student_ns": self.points_within(PAPER.student_ns)},
            "rmse": {role: self.rmse(role) for role in ROLES},
            "rmse_of_seeds": [asdict(found) for found in self.errors()],
            "speed_ups": [asdict(found) for found in self.speed_ups()],
            "tails": [asdict(found) for found in self.tails()],
        }


def pairs() -> tuple[str, ...]:
    """The problems of which the zoo has a teacher and a student."""
    return tuple(name for name in problems.names() if {f"{name}_{role}" for role in ROLES} <= set(zoo.names()))


def paper_comparison(
    problem: str,
    *,
    teacher: Sequence[str] = (),
    student: Sequence[str] = (),
    backends: Sequence[str] = BACKENDS,
    n_points: Sequence[int] = (),
    protocol: Protocol = PROTOCOL,
    out: Path | None = None,
    resume: bool = False,
    force: bool = False,
    report: Callable[[MeasurementProgress], None] = lambda progress: None,
) -> PaperComparison:
    """Compare teacher and student of `problem` in each of `backends`, as `protocol` has it, at its n or at `n_points`.

    They are those of the zoo, or what `find_model` finds: of several runs, each with its own seed, as many of the one
    as of the other, in the same order. All have errors, and the first pair is timed. `out`, `resume`, `force` and
    `report` are as for `measure`. Raises BenchError where the zoo lacks one that is wanted of it, where a model solves
    another problem or has another size than the first, and as `measure` does.
    """
    check_system()
    if not (teacher and student) and problem not in pairs():
        raise BenchError(
            f"the zoo has no teacher and student of {problem!r}; expected: {', '.join(pairs())}"
            f"{did_you_mean(problem, pairs())}"
        )
    solved = problems.problem(problem)
    named = {"teacher": teacher or [f"{problem}_teacher"], "student": student or [f"{problem}_student"]}
    if len(named["teacher"]) != len(named["student"]):
        raise BenchError(
            f"{len(named['teacher'])} teachers and {len(named['student'])} students; expected: as many of the one "
            "as of the other, each student with its teacher in the same place"
        )
    models, *others = (
        {role: _model(name, role, solved) for role, name in zip(ROLES, pair, strict=True)}
        for pair in zip(*(named[role] for role in ROLES), strict=True)
    )
    _check_sizes(models, others)
    with TemporaryDirectory(prefix="kdpinn_edge_") as folder:
        configs = [
            config for role in ROLES for config in _configs(models[role], role, solved, backends, Path(folder) / role)
        ]
        errors = tuple(_errors(pair, solved, Path(folder) / str(k)) for k, pair in enumerate(others, 1))
        chosen = replace(protocol, n_points=tuple(n_points)) if n_points else protocol
        record = measure(configs, chosen, name=problem, out=out, resume=resume, force=force, report=report)
    return PaperComparison(problem, record, errors)


def entry_name(backend: str, role: Role) -> str:
    """The name of `backend` in the record, evaluating the network of that role."""
    return f"{backend}: {role}"


def _subject_name(problem: str, role: Role) -> str:
    """What the library of the network of that role is called, which may be in the record without any entry."""
    return f"{problem}_{role}"


def _model(name: str, role: Role, solved: Problem) -> Model:
    found = find_model(name)
    if found.problem is not solved:
        other = found.problem.name if found.problem else "an equation that it does not name"
        raise BenchError(f"the {role} {name} solves {other}; expected: a model of {solved.name}")
    return found


def _configs(model: Model, role: Role, solved: Problem, backends: Sequence[str], bundle: Path) -> list[BackendConfig]:
    rmse = _exported_rmse(model, role, solved, bundle)
    return [
        BackendConfig(entry_name(config.name, role), config.backend, bundle, rmse=rmse)
        for config in selection.named(backends, bundle)
    ]


def _check_sizes(first: Mapping[Role, Model], others: Sequence[Mapping[Role, Model]]) -> None:
    """Raise BenchError where a network differs from the first one in more than its weights: one is timed for all."""
    for role in ROLES:
        shapes = [_shapes(pair[role].program) for pair in (first, *others)]
        for k, found in enumerate(shapes):
            if found != shapes[0]:
                raise BenchError(
                    f"{role} number {k + 1} has another size than the first; expected: runs that differ in their seed. "
                    "Compare networks of other sizes in another command."
                )


def _shapes(program: Program) -> list[tuple[str, list[tuple[int, ...]]]]:
    return [(type(op).__name__, [array.shape for array in parameters(op)]) for op in program.ops]


def _errors(pair: Mapping[Role, Model], solved: Problem, folder: Path) -> Errors:
    return Errors(*(_exported_rmse(pair[role], role, solved, folder / role) for role in ROLES))


def _exported_rmse(model: Model, role: Role, solved: Problem, bundle: Path) -> float:
    """Export `model` into `bundle`, and return its error."""
    name = _subject_name(solved.name, role)
    export_bundle(model.program, bundle, name=name, inputs=model.inputs, outputs=model.outputs)
    return _rmse(bundle, solved)


def _rmse(bundle: Path, problem: Problem) -> float:
    engine = load(bundle)
    x = probe_points(engine.manifest.inputs, REFERENCE_POINTS, seed=4).astype(engine.dtype)
    inside = np.clip(x.astype(np.float64), problem.lower, problem.upper)  # rounding may have left the box
    return float(np.sqrt(np.mean((engine(x) - problem.reference(inside)) ** 2)))


def _tail(row: LatencyRow) -> Tail:
    found = max((percentile for percentile in row.percentiles if percentile.p <= 99), key=lambda each: each.p)
    limit_ns = next((limit_ns for limit_ns in LIMITS_NS if found.ns <= limit_ns), None)
    return Tail(row.entry, row.n, found.p, found.ns, limit_ns)
