"""`train` and `distill`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from kdpinn_edge.cli.options import AsJson, FoundTeacher, ProblemName, TrainingOptions, finite, option_groups
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
        trained = run(problem, folder, config, resume=options.resume, report=report)
    _print_trained(trained, as_json)


@option_groups
def distill(
    problem: Annotated[str, typer.Argument(help="One of `kdpinn-edge problems`, or a bundle to follow.")],
    options: TrainingOptions,
    out: Annotated[Path | None, typer.Option(help="The run folder.  [default: runs/PROBLEM_student]")] = None,
    teacher: FoundTeacher = None,
    physics_weight: Annotated[
        float | None,
        typer.Option(min=0, callback=finite, help="Of the equation; 0 to follow the teacher alone.  [default: 1]"),
    ] = None,
    slope_weight: Annotated[
        float | None, typer.Option(min=0, callback=finite, help="Of the teacher's first derivatives.  [default: 0]")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Distill a student: a small network that follows a teacher and the equation. Ctrl-C keeps the best weights."""
    from kdpinn_edge.training import DistillConfig
    from kdpinn_edge.training import distill as run
    from kdpinn_edge.training.progress_bar import live

    folder = out or Path("runs", f"{Path(problem).name}_student")
    config = options.configure(DistillConfig(), physics_weight=physics_weight, slope_weight=slope_weight)
    with live(stderr(), problem) as report:
        trained = run(problem, folder, config, teacher=teacher, resume=options.resume, report=report)
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
