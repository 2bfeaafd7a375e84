"""`train` and `distill`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from kdpinn_edge.cli.options import (
    AsJson,
    DistilledSource,
    LessonOptions,
    ProblemName,
    TrainingOptions,
    finite,
    option_groups,
)
from kdpinn_edge.cli.output import INTERRUPTED, print_facts, print_json, stderr

if TYPE_CHECKING:
    from kdpinn_edge.training import Trained


@option_groups
def train(
    problem: ProblemName,
    options: TrainingOptions,
    out: Annotated[Path | None, typer.Option(help="The run folder.  [default: runs/PROBLEM_teacher]")] = None,
    as_json: AsJson = False,
) -> None:
    """Train a teacher: a network that satisfies the equation. Ctrl-C keeps the best weights."""
    from kdpinn_edge.training import TrainConfig
    from kdpinn_edge.training import train as run
    from kdpinn_edge.training.progress_bar import live

    folder = out or Path("runs", f"{problem}_teacher")
    config = options.configure(TrainConfig())
    with live(stderr(), problem) as report:
        trained = run(problem, folder, config, resume=options.resume, force=options.force, report=report)
    _print_trained(trained, as_json)


@option_groups
def distill(
    source: DistilledSource,
    options: TrainingOptions,
    stated: LessonOptions,
    out: Annotated[Path | None, typer.Option(help="The run folder.  [default: runs/NAME_student]")] = None,
    physics_weight: Annotated[
        float | None,
        typer.Option(
            min=0,
            callback=finite,
            help="Of the equation; 0 to follow the teacher alone.  [default: 1, or 0 without one]",
        ),
    ] = None,
    slope_weight: Annotated[
        float | None, typer.Option(min=0, callback=finite, help="Of the teacher's first derivatives.  [default: 0]")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Distill a student: a small network that follows a teacher and the equation. Ctrl-C keeps the best weights.

    SOURCE is a problem, whose teacher is then followed; or it is followed itself: a model, or samples in an .npz file.
    """
    from kdpinn_edge.training import DistillConfig, teach
    from kdpinn_edge.training.progress_bar import live

    config = options.configure(DistillConfig(), physics_weight=physics_weight, slope_weight=slope_weight)
    lesson = stated.find(source)
    folder = out or Path("runs", f"{lesson.problem.name}_student")
    with live(stderr(), lesson.problem.name) as report:
        trained = teach(lesson, folder, config, resume=options.resume, force=options.force, report=report)
    _print_trained(trained, as_json)


def _print_trained(trained: Trained, as_json: bool) -> None:
    record, errors = trained.record, trained.record["errors"]
    if as_json:
        print_json({"folder": str(trained.folder), **record})
    else:
        print_facts(
            {
                record["role"]: f"{trained.folder}, {record['architecture']['parameters']:,} parameters",
                "error": f"relative L2 {errors['relative_l2']:.2e}, at most {errors['max_abs']:.2e}, against the "
                f"reference ({errors['n_points']:,} points)",
                "time": f"{record['training_cpu_seconds']:,.0f} s of CPU",
            }
        )
    if not trained.finished:
        stderr().print(
            f"interrupted: {trained.folder} holds the best weights so far; --resume continues the run", soft_wrap=True
        )
        raise typer.Exit(INTERRUPTED)
