"""`train` and `distill`."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape

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
from kdpinn_edge.errors import ProblemError, TrainingWarning
from kdpinn_edge.files import write_whole

if TYPE_CHECKING:
    from kdpinn_edge.training import Trained


def new(name: Annotated[str, typer.Argument(help="Of the problem, as in my_equation: writes NAME.py here.")]) -> None:
    """Write a commented file that defines an equation of your own; it trains as it is."""
    from kdpinn_edge.problems import new_file

    name = name.removesuffix(".py")
    path, text = Path(f"{name}.py"), new_file(name)
    if os.path.lexists(path):
        raise ProblemError(f"{path} exists already; expected: a new name. Nothing was written")
    write_whole(path, text)
    print_facts({"file": str(path), "next": f"kdpinn-edge train ./{path}"})


@option_groups
def train(
    problem: ProblemName,
    options: TrainingOptions,
    out: Annotated[Path | None, typer.Option(help="The run folder.  [default: runs/PROBLEM_teacher]")] = None,
    as_json: AsJson = False,
) -> None:
    """Train a teacher: a network that satisfies the equation. Ctrl-C keeps the best weights."""
    from kdpinn_edge.problems import problem as find

    solved = find(problem)  # before torch is imported, which takes seconds
    from kdpinn_edge.training import TrainConfig
    from kdpinn_edge.training import train as run
    from kdpinn_edge.training.progress_bar import live
    from kdpinn_edge.training.stages import recipe

    folder = out or Path("runs", f"{solved.name}_teacher")
    config = options.configure(recipe(None, TrainConfig, folder, resume=options.resume and not options.force))
    with live(stderr(), solved.name) as report, _unwarned():
        trained = run(solved, folder, config, resume=options.resume, force=options.force, report=report)
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
    from kdpinn_edge.training.stages import recipe

    lesson = stated.find(source)
    folder = out or Path("runs", f"{lesson.problem.name}_student")
    config = options.configure(
        recipe(None, DistillConfig, folder, resume=options.resume and not options.force),
        physics_weight=physics_weight,
        slope_weight=slope_weight,
    )
    with live(stderr(), lesson.problem.name) as report, _unwarned():
        trained = teach(lesson, folder, config, resume=options.resume, force=options.force, report=report)
    _print_trained(trained, as_json)


@contextmanager
def _unwarned() -> Iterator[None]:
    """Let no warning of a run through: it is in the record, and printed with it."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", TrainingWarning)
        yield


def _print_trained(trained: Trained, as_json: bool) -> None:
    from kdpinn_edge.training.trained import run_facts

    if as_json:
        print_json({"folder": str(trained.folder), **trained.record})
    else:
        facts = run_facts(trained.folder, trained.record)
        print_facts({trained.record["role"]: facts.pop("folder"), **{k: v for k, v in facts.items() if k != "warning"}})
    for text in trained.record["warnings"]:
        stderr().print(f"[bold yellow]warning:[/] {escape(text)}", soft_wrap=True)
    if not trained.finished:
        stderr().print(
            f"interrupted: {trained.folder} holds the best weights so far; --resume continues the run", soft_wrap=True
        )
        raise typer.Exit(INTERRUPTED)
