"""`study` and `search`."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from kdpinn_edge.cli.completion import model_names
from kdpinn_edge.cli.options import (
    ArithmeticName,
    AsJson,
    BudgetPoints,
    Calculated,
    CpuSeconds,
    Device,
    DistilledSource,
    Force,
    LessonOptions,
    OptimiserChoice,
    ProblemName,
    TargetName,
    finite,
    layers,
    option_groups,
)
from kdpinn_edge.cli.output import FAILED, INTERRUPTED, print_json, stderr, stdout


def study(
    problem: ProblemName,
    teacher: Annotated[
        str | None,
        typer.Option(help="A run folder or a model of the zoo.  [default: the zoo's]", autocompletion=model_names),
    ] = None,
    size: Annotated[
        list[str] | None,
        typer.Option(help="A student's hidden layers, as in 16,16; repeatable.  [default: 8 and 16,16,16]"),
    ] = None,
    method: Annotated[
        list[str] | None,
        typer.Option(help="scratch, scratch_long, paper, values or slopes; repeatable.  [default: all]"),
    ] = None,
    seeds: Annotated[int, typer.Option(min=1, help="Students per method and size.")] = 5,
    seconds: CpuSeconds = 10.0,
    teacher_seconds: Annotated[
        float | None,
        typer.Option(
            min=0, callback=finite, help="CPU time that the teacher takes here.  [default: as its record says]"
        ),
    ] = None,
    optimiser: Annotated[OptimiserChoice, typer.Option(help="What follows Adam.")] = OptimiserChoice.lm,
    device: Device = "cpu",
    jobs: Annotated[
        int | None, typer.Option(min=1, help="How many are trained at a time, each on one thread.  [default: 2]")
    ] = None,
    storage: Annotated[
        str | None,
        typer.Option(help="A database that workers share, as search has it: each trains one student at a time."),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(help="The study's folder; what is there is kept.  [default: runs/PROBLEM_study]"),
    ] = None,
    force: Force = False,
    page: Annotated[
        Path | None, typer.Option(help="Write what came out as a page: an .md file, a .png, a .json.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Find out whether distilling pays: students of several sizes, distilled and from scratch. Ctrl-C pauses."""
    from kdpinn_edge.problems import problem as find

    solved = find(problem)  # before torch is imported, which takes seconds
    from kdpinn_edge.studies.study import make_plan
    from kdpinn_edge.studies.study import study as run
    from kdpinn_edge.studies.study.page import check_page, write_page
    from kdpinn_edge.studies.study.plan import METHODS, SIZES
    from kdpinn_edge.studies.study.report import report
    from kdpinn_edge.studies.study.run import JOBS, check_shared, find_plan
    from kdpinn_edge.studies.study.text_report import live, print_report

    if page:
        check_page(page)
    check_shared(storage, jobs, force=force)
    folder = out or Path("runs", f"{solved.name}_study")
    if storage:  # which needs Optuna
        from kdpinn_edge.studies.study.shared import find_shared, share

        known = find_shared(storage, solved.name)
    else:
        known = find_plan(folder, force=force)
    plan = make_plan(
        solved,
        teacher=teacher,
        sizes=[layers(text, "--size") for text in size] if size else SIZES,
        seeds=seeds,
        methods=method or tuple(METHODS),
        optimiser=optimiser.value,
        device=device,
        cpu_seconds=seconds,
        teacher_cpu_seconds=teacher_seconds,
        known=known,
        report=stderr().print,
    )
    with live(stderr(), solved.name) as progress:
        if storage:
            whole = share(plan, folder, storage, solved.name, report=progress)
        else:
            whole = plan if run(plan, folder, jobs=jobs or JOBS, force=force, report=progress) else None
    if whole is None:
        stderr().print(f"interrupted: the same command goes on with {folder}", soft_wrap=True, markup=False)
        raise typer.Exit(INTERRUPTED)
    found = report(whole, folder)
    if page:
        write_page(found, page)
    if as_json:
        print_json(found.document())
    else:
        print_report(stdout(), found)


@option_groups
def search(
    source: DistilledSource,
    stated: LessonOptions,
    target: TargetName = "native",
    arithmetic: ArithmeticName = Calculated.float,
    budget: Annotated[str | None, typer.Option(help="For a call with POINTS points here, as in 10ms.")] = None,
    max_instructions: Annotated[
        int | None, typer.Option(min=1, help="For the same call, on targets that are not here; counted exactly.")
    ] = None,
    points: BudgetPoints = 1,
    threads: Annotated[int, typer.Option(min=1, help="How many evaluate them.")] = 1,
    max_error: Annotated[
        float | None, typer.Option(min=0, callback=finite, help="Largest relative L2 error; the fastest student wins.")
    ] = None,
    max_flash: Annotated[str | None, typer.Option(help="For code and constants, as in 32k.")] = None,
    trials: Annotated[int, typer.Option(min=1, help="Students that all workers make together.")] = 30,
    seconds: CpuSeconds = 30.0,
    rounds: Annotated[
        int | None, typer.Option(min=1, help="Rounds in which the winner is distilled again.  [default: 60]")
    ] = None,
    storage: Annotated[
        str | None, typer.Option(help="A database that workers share, as Optuna takes it.  [default: SQLite in OUT]")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="The folder of the runs.  [default: runs/NAME_search]")] = None,
    force: Force = False,
    as_json: AsJson = False,
) -> None:
    """Find the student that fits: layers, activation, precision; the winner is distilled in full, exported and checked.

    Each is timed as compiled, or for another machine its instructions are counted. Start it again to add a worker.
    """
    from kdpinn_edge.comparison.durations import parse_duration
    from kdpinn_edge.export.measure.resources import parse_bytes
    from kdpinn_edge.studies.search import Goal, Task, finish
    from kdpinn_edge.studies.search import search as run
    from kdpinn_edge.studies.search.text_summary import lines, print_front, print_nearest, print_winner
    from kdpinn_edge.training import DistillConfig
    from kdpinn_edge.training.progress_bar import live

    goal = Goal(
        budget_ns=parse_duration(budget) if budget is not None else None,
        max_error=max_error,
        max_flash=parse_bytes(max_flash) if max_flash is not None else None,
        max_instructions=max_instructions,
    )
    lesson = stated.find(source)
    name = lesson.problem.name
    task = Task(name, lesson.named["sha256"], seconds, points, threads, target, arithmetic.value)
    folder = out or Path("runs", f"{name}_search")
    with lines(stderr(), task) as told:
        found = run(lesson, task, goal, folder, trials=trials, storage=storage, force=force, report=told)
    finalist = found.best or found.nearest
    winner = None
    if finalist is not None and goal.could_keep(finalist):
        recipe = DistillConfig() if rounds is None else DistillConfig(newton_rounds=rounds)
        with live(stderr(), f"{name}, in full") as report:
            winner = finish(task, lesson, goal, finalist, folder, recipe=recipe, report=report)
    if as_json:
        print_json(asdict(found) | {"winner": asdict(winner) if winner else None})
    else:
        print_front(stdout(), found, task)
        if winner is None:
            print_nearest(stdout(), found, goal, task)
        else:
            print_winner(stdout(), winner, task)
    if winner is None or not winner.passed:
        raise typer.Exit(FAILED)
