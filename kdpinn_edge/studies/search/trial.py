"""One student of a search: distilled, exported, and measured as the library that would be shipped."""

from __future__ import annotations

import platform
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median

import numpy as np

from kdpinn_edge.bundle.manifest import MANIFEST_FILE, Arithmetic, Manifest, read_manifest
from kdpinn_edge.bundle.probe import timed_points
from kdpinn_edge.classical.accuracy import against, against_reference
from kdpinn_edge.export.targets.table import target as find_target
from kdpinn_edge.importers.model import Model, net_model
from kdpinn_edge.numerics.reference import NumpyProgram
from kdpinn_edge.numerics.storage import store_as_float16
from kdpinn_edge.problems import Array
from kdpinn_edge.runtime import load
from kdpinn_edge.runtime.timing import PythonLoop, find_batch
from kdpinn_edge.studies.search.candidate import Candidate, Cost, cost_of, exported
from kdpinn_edge.training import DistillConfig, Trained, teach
from kdpinn_edge.training.budget import recipe_within
from kdpinn_edge.training.domain import Box
from kdpinn_edge.training.lesson import Lesson

BUNDLE, LOCK_FILE = "bundle", "best.lock"
SECONDS = 0.5
LEAST_SAMPLES, MOST_SAMPLES = 5, 200


@dataclass(frozen=True)
class Outcome:
    """The result for a candidate: its error, the median time of a call where the target runs here, and its cost.

    `command` distils it again; `folder` has its run and its bundle, on the machine `machine`.
    """

    candidate: Candidate
    relative_l2: float
    ns: float | None
    cost: Cost
    command: str
    folder: str
    machine: str

    @property
    def price(self) -> float:
        """What makes it fast: the time of a call, on a machine that is not here its instructions."""
        return self.ns if self.ns is not None else float(self.cost.instructions or 0)


@dataclass(frozen=True)
class Task:
    """The task that every student is made and measured by: one call with `points` points on `threads` threads.

    `teacher` is the SHA-256 of what is followed, `target` what is exported for, `arithmetic` what it calculates with.
    """

    problem: str
    teacher: str
    cpu_seconds: float
    points: int
    threads: int
    target: str = "native"
    arithmetic: Arithmetic = "float"

    @property
    def runs_here(self) -> bool:
        """Whether a call can be timed."""
        return find_target(self.target).runs_here()


def evaluate(task: Task, lesson: Lesson, candidate: Candidate, folder: Path) -> Outcome:
    """Distil the candidate in `folder` in the task's CPU seconds or one round, export it, and measure the library.

    Raises KeyboardInterrupt where that came while it was distilled.
    """
    config = DistillConfig(hidden=candidate.hidden, activation=candidate.activation, physics_weight=0.0)
    config = recipe_within(task.cpu_seconds, lesson.objective(config), lesson.domain, config)
    config = replace(config, newton_rounds=max(1, config.newton_rounds))
    trained = teach(lesson, folder, config)
    if not trained.finished:
        raise KeyboardInterrupt
    return measured(task, lesson, candidate, trained)


def measured(task: Task, lesson: Lesson, candidate: Candidate, trained: Trained) -> Outcome:
    """Export a student into its run folder, unless that was done, and measure the library."""
    model, bundle = net_model(trained.net), trained.folder / BUNDLE
    if (bundle / MANIFEST_FILE).exists():
        manifest = read_manifest(bundle)
    else:
        manifest = exported(model, candidate, task.target, bundle, lesson.problem.equation or None)
    return Outcome(
        candidate=candidate,
        relative_l2=_relative_l2(lesson, candidate, model, manifest),
        ns=_call_ns(bundle, task) if task.runs_here else None,
        cost=cost_of(manifest, task.points),
        command=trained.record["command"],
        folder=str(trained.folder.absolute()),
        machine=platform.node(),
    )


def _relative_l2(lesson: Lesson, candidate: Candidate, model: Model, manifest: Manifest) -> float:
    """The error of a student as it is deployed, against the solution, or against the teacher where none is known."""
    program = store_as_float16(model.program) if candidate.storage == "float16" else model.program
    deployed = NumpyProgram(program, candidate.precision, manifest.profile, manifest.box)

    def u(x: Array) -> Array:
        y: Array = deployed(x.astype(candidate.precision))
        return y

    reference = lesson.domain.reference()
    if reference is None or (isinstance(lesson.domain, Box) and lesson.problem.equation and lesson.problem.exact):
        return against_reference(u, lesson.problem).relative_l2
    return against(u, reference.points, reference.values).relative_l2


def _call_ns(bundle: Path, task: Task) -> float:
    engine = load(bundle)
    x = timed_points(engine.manifest.inputs, task.points).astype(engine.dtype)
    y = np.empty((task.points, engine.manifest.functions["eval"].n_out), engine.dtype)
    loop = PythonLoop(engine.bind(x, y, threads=task.threads))
    batch, ns = find_batch(loop)
    count = min(max(round(SECONDS * 1e9 / (batch * ns)), LEAST_SAMPLES), MOST_SAMPLES)
    return float(median(loop.closed(batch, count)))
