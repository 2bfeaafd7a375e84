"""`study` and `search`."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from kdpinn_edge.cli.options import (
    AsJson,
    BudgetPoints,
    CpuSeconds,
    Device,
    FoundTeacher,
    OptimiserChoice,
    ProblemName,
    finite,
    layers,
)
from kdpinn_edge.cli.output import FAILED, INTERRUPTED, print_json, stderr, stdout


def study(
    problem: ProblemName,
    teacher: Annotated[
        str | None, typer.Option(help="A run folder or a model of the zoo.  [default: the zoo's]")
    ] = None,
    size: Annotated[
        list[str] | None,
        typer.Option(help="A student's hidden layers, as in 16,16; repeatable.  [default: 8 to 32,32,32,32]"),
    ] = None,
    method: Annotated[
        list[str] | None,
        typer.Option(help="scratch, scratch_long, paper, values or slopes; repeatable.  [default: all]"),
    ] = None,
    seeds: Annotated[int, typer.Option(min=1, help="Students per method and size.")] = 5,
    seconds: CpuSeconds = 60.0,
    optimiser: Annotated[OptimiserChoice, typer.Option(help="What follows Adam.")] = OptimiserChoice.lm,
    device: Device = "cpu",
    jobs: Annotated[int, typer.Option(min=1, help="How many are trained at a time, each on one thread.")] = 2,
    out: Annotated[
        Path | None,
        typer.Option(help="The study's folder; what is there is kept.  [default: runs/PROBLEM_study]"),
    ] = None,
    page: Annotated[Path | None, typer.Option(help="Write what came out as a page: an .md file, with a .png.")] = None,
    as_json: AsJson = False,
) -> None:
    """Find out whether distilling pays: students of several sizes, distilled and from scratch. Ctrl-C pauses."""
    from kdpinn_edge.studies.study import make_plan, read_plan
    from kdpinn_edge.studies.study import study as run
    from kdpinn_edge.studies.study.page import check_page, write_page
    from kdpinn_edge.studies.study.plan import METHODS, SIZES
    from kdpinn_edge.studies.study.report import report
    from kdpinn_edge.studies.study.text_report import live, print_report

    if page:
        check_page(page)
    folder = out or Path("runs", f"{problem}_study")
    stderr().print("counting the steps that fit into each budget")
    plan = make_plan(
        problem,
        teacher=teacher,
        sizes=[layers(text, "--size") for text in size] if size else SIZES,
        seeds=seeds,
        methods=method or tuple(METHODS),
        optimiser=optimiser.value,
        device=device,
        cpu_seconds=seconds,
        known=read_plan(folder),
    )
    with live(stderr(), problem) as progress:
        finished = run(plan, folder, jobs=jobs, report=progress)
    if not finished:
        stderr().print(f"interrupted: the same command goes on with {folder}", soft_wrap=True, markup=False)
        raise typer.Exit(INTERRUPTED)
    found = report(plan, folder)
    if page:
        write_page(found, page)
    if as_json:
        print_json(found.document())
    else:
        print_report(stdout(), found)


def search(
    problem: ProblemName,
    budget: Annotated[str | None, typer.Option(help="For a call with POINTS points, as in 10ms.")] = None,
    points: BudgetPoints = 1,
    threads: Annotated[int, typer.Option(min=1, help="How many evaluate them.")] = 1,
    max_error: Annotated[
        float | None, typer.Option(min=0, callback=finite, help="Largest relative L2 error; the fastest student wins.")
    ] = None,
    max_flash: Annotated[str | None, typer.Option(help="For code and constants, as in 32k.")] = None,
    teacher: FoundTeacher = None,
    trials: Annotated[int, typer.Option(min=1, help="Students that all workers make together.")] = 30,
    seconds: CpuSeconds = 30.0,
    storage: Annotated[
        str | None, typer.Option(help="A database that workers share, as Optuna takes it.  [default: SQLite in OUT]")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="The folder of the runs.  [default: runs/PROBLEM_search]")] = None,
    as_json: AsJson = False,
) -> None:
    """Find the student that fits: layers, activation, precision, timed as compiled. Start it again to add a worker."""
    from kdpinn_edge.comparison.durations import parse_duration
    from kdpinn_edge.export.measure.resources import parse_bytes
    from kdpinn_edge.studies.search import Goal
    from kdpinn_edge.studies.search import search as run
    from kdpinn_edge.studies.search.text_summary import line, print_found
    from kdpinn_edge.studies.search.trial import Task
    from kdpinn_edge.training.teacher import default_teacher

    goal = Goal(
        budget_ns=parse_duration(budget) if budget is not None else None,
        max_error=max_error,
        max_flash=parse_bytes(max_flash) if max_flash is not None else None,
    )
    task = Task(problem, teacher or default_teacher(problem), seconds, points, threads)
    found = run(
        task,
        goal,
        out or Path("runs", f"{problem}_search"),
        trials=trials,
        storage=storage,
        report=lambda n, outcome: stderr().print(f"{n}/{trials} {line(outcome, task)}", soft_wrap=True, markup=False),
    )
    if as_json:
        print_json(asdict(found))
    else:
        print_found(stdout(), found, task)
    if found.best is None:
        raise typer.Exit(FAILED)
