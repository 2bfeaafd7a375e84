"""One student of a search: distilled, exported, and measured as the library that would be shipped."""

from __future__ import annotations

import platform
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median

import numpy as np

from kdpinn_edge.bundle.manifest import Grade, Precision, Storage
from kdpinn_edge.bundle.probe import timed_points
from kdpinn_edge.export.bundle import export_bundle
from kdpinn_edge.importers.model import find_model
from kdpinn_edge.numerics.reference import NumpyProgram
from kdpinn_edge.numerics.storage import store_as_float16
from kdpinn_edge.problems import problem
from kdpinn_edge.runtime import load
from kdpinn_edge.runtime.timing import PythonLoop, find_batch
from kdpinn_edge.studies.study.measure import against_reference
from kdpinn_edge.studies.study.plan import METHODS
from kdpinn_edge.training import DistillConfig, distill
from kdpinn_edge.training.budget import recipe_within
from kdpinn_edge.training.teacher import find_teacher

BUNDLE = "bundle"
SECONDS = 0.5
LEAST_SAMPLES, MOST_SAMPLES = 5, 200


@dataclass(frozen=True)
class Candidate:
    """The choices for a student: hidden layers, their activation and its grade, and how parameters lie in memory."""

    hidden: tuple[int, ...]
    activation: str
    storage: Storage
    grade: Grade = "accurate"

    @property
    def precision(self) -> Precision:
        """The precision of the computation: float64 where the parameters are, else float32."""
        return "float64" if self.storage == "float64" else "float32"


@dataclass(frozen=True)
class Outcome:
    """The result for a candidate: its error, the median time of a call, its code and constants in bytes.

    `command` distils it again; `folder` has its run and its bundle, on the machine `machine`.
    """

    candidate: Candidate
    relative_l2: float
    ns: float
    flash: int
    command: str
    folder: str
    machine: str


@dataclass(frozen=True)
class Task:
    """The task that every student is made and measured by: one call with `points` points on `threads` threads."""

    problem: str
    teacher: str
    cpu_seconds: float
    points: int
    threads: int


def evaluate(task: Task, candidate: Candidate, folder: Path) -> Outcome:
    """Distil the candidate in `folder` in the task's CPU seconds or one round, export it, and measure the library.

    Raises KeyboardInterrupt where that came while it was distilled.
    """
    config = DistillConfig(hidden=candidate.hidden, activation=candidate.activation, physics_weight=0.0)
    guide, _ = find_teacher(task.teacher, problem(task.problem))
    config = recipe_within(task.cpu_seconds, METHODS["values"].objective(guide, config), guide.problem, config)
    config = replace(config, newton_rounds=max(1, config.newton_rounds))
    trained = distill(task.problem, folder, config, teacher=task.teacher)
    if not trained.finished:
        raise KeyboardInterrupt
    model = find_model(str(folder))
    program = store_as_float16(model.program) if candidate.storage == "float16" else model.program
    manifest = export_bundle(
        model.program,
        folder / BUNDLE,
        name=task.problem,
        precision=candidate.precision,
        storage=candidate.storage,
        grade=candidate.grade,
        inputs=model.inputs,
        outputs=model.outputs,
    )
    deployed = NumpyProgram(program, candidate.precision, manifest.profile)
    found = against_reference(lambda x: deployed(x.astype(candidate.precision)), trained.net.problem)
    return Outcome(
        candidate=candidate,
        relative_l2=found.relative_l2,
        ns=_call_ns(folder / BUNDLE, task),
        flash=manifest.sizes.flash if manifest.sizes else 0,
        command=trained.record["command"],
        folder=str(folder.absolute()),
        machine=platform.node(),
    )


def _call_ns(bundle: Path, task: Task) -> float:
    engine = load(bundle)
    x = timed_points(engine.manifest.inputs, task.points).astype(engine.dtype)
    y = np.empty((task.points, engine.manifest.functions["eval"].n_out), engine.dtype)
    loop = PythonLoop(engine.bind(x, y, threads=task.threads))
    batch, ns = find_batch(loop)
    count = min(max(round(SECONDS * 1e9 / (batch * ns)), LEAST_SAMPLES), MOST_SAMPLES)
    return float(median(loop.closed(batch, count)))
