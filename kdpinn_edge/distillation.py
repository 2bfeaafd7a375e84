"""`distill(source)`: the student of a problem, or of anything that has values."""

from __future__ import annotations

import os
from pathlib import Path

from kdpinn_edge.importers.columns import Columns
from kdpinn_edge.importers.lesson import Source, find_lesson
from kdpinn_edge.training import DistillConfig, Trained, teach
from kdpinn_edge.training.progress import ProgressReport
from kdpinn_edge.training.stages import recipe


def distill(
    source: Source,
    folder: str | os.PathLike[str] | None = None,
    config: DistillConfig | None = None,
    *,
    seed: int | None = None,
    teacher: Source | None = None,
    inputs: Columns | None = None,
    outputs: Columns | None = None,
    weights: str | os.PathLike[str] | None = None,
    activation: str | None = None,
    resume: bool = False,
    force: bool = False,
    cpu_seconds: float | None = None,
    report: ProgressReport | None = None,
) -> Trained:
    """Teacher → Student: minimise divergence from the teacher plus physics loss (`training.objective.distillation`).

    `source` is a problem: its name, the Python file that defines it, or itself. Then `teacher` is what the student
    follows, by default the zoo's teacher. Or it is itself what is followed, as `teacher` may be:

    - what `train` returned;
    - a model: what the command line calls SOURCE (a run folder, a bundle, a program.npz, …), or a Program;
    - a torch module, which need not be one that can be captured: its derivatives are those of autograd;
    - a function f(x) -> u of NumPy arrays (n, n_in) and (n, n_out), which has no derivatives;
    - samples (x, u) or (x, u, du), du (n, n_out, n_in): arrays, or an .npz file that holds them by these names.

    A model that solves a problem of the package has that problem's student. Of all others no equation is known: the
    student is a plain network over the domain, scaled to [-1, 1], and its error that against the teacher at points
    of its own, or against samples that were held out. `inputs` and `outputs` then state the columns, where the source
    does not: "x[m]=0:5000, t=0:1" and "u". The domain of samples is by default the box that they fill. `weights` and
    `activation` are said of a file of a foreign network, as in `importers.model.find_model`.

    The folder is by default runs/NAME_student; seed, interrupt, resume, force, cpu_seconds and report are as for
    `train`. Raises
    TrainError, before anything is written, where source, columns, config or folder do not fit; ProblemError,
    ProgramError or BundleError where the source cannot be read.

        student = distill("burgers", "runs/student", teacher="runs/teacher").net
        distill(f, "runs/f", DistillConfig(hidden=(16, 16)), inputs="x=0:1, t=0:1", outputs="u")
    """
    lesson = find_lesson(
        source, teacher=teacher, inputs=inputs, outputs=outputs, weights=weights, activation=activation
    )
    run = Path(folder) if folder is not None else Path("runs", f"{lesson.problem.name}_student")
    config = recipe(config, DistillConfig, run, seed=seed, resume=resume and not force)
    return teach(lesson, run, config, resume=resume, force=force, cpu_seconds=cpu_seconds, report=report)
