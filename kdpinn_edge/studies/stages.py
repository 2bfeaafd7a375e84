"""`study(problem)` and `search(source)`: the two stages that make many networks, as Python calls them."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from kdpinn_edge.bundle.manifest import Arithmetic
from kdpinn_edge.display import facts_html, facts_text, new_figure
from kdpinn_edge.importers.columns import Columns
from kdpinn_edge.importers.lesson import Source, find_lesson
from kdpinn_edge.problems import ProblemSource, problem
from kdpinn_edge.studies.search.goal import Goal
from kdpinn_edge.studies.search.run import Found, SearchProgress
from kdpinn_edge.studies.search.run import search as search_for
from kdpinn_edge.studies.search.text_summary import line, lines
from kdpinn_edge.studies.search.text_summary import told as told_of_search
from kdpinn_edge.studies.search.trial import Outcome, Task
from kdpinn_edge.studies.search.winner import Winner, finish
from kdpinn_edge.studies.study.plan import CPU_SECONDS, METHODS, OPTIMISER, SEEDS, SIZES, Plan, make_plan, read_plan
from kdpinn_edge.studies.study.report import StudyReport
from kdpinn_edge.studies.study.report import report as report_of
from kdpinn_edge.studies.study.run import JOBS, StudyProgress, check_shared
from kdpinn_edge.studies.study.run import study as run_plan
from kdpinn_edge.studies.study.shared import find_shared, share
from kdpinn_edge.studies.study.text_report import live, told
from kdpinn_edge.training import DistillConfig
from kdpinn_edge.training.progress import ProgressReport
from kdpinn_edge.watching import Report, watched

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def study(
    source: ProblemSource,
    folder: str | os.PathLike[str] | None = None,
    *,
    teacher: str | os.PathLike[str] | None = None,
    sizes: Sequence[tuple[int, ...]] = SIZES,
    methods: Sequence[str] = tuple(METHODS),
    seeds: int = SEEDS,
    cpu_seconds: float = CPU_SECONDS,
    teacher_cpu_seconds: float | None = None,
    optimiser: str = OPTIMISER,
    device: str = "cpu",
    jobs: int | None = None,
    storage: str | None = None,
    report: Report[StudyProgress] | None = None,
) -> StudyReport:
    """Find out whether distilling pays: students of several sizes, distilled and from scratch, each on one thread.

    `source` is the name of a problem, or the file that defines one: its workers are processes of their own. The folder
    is by default runs/NAME_study; what is in it is kept and not done again. So many `jobs`, by default two, train at a
    time; or workers share a `storage`, a database as for `search`: each call trains one student at a time and returns
    when all are finished. `teacher_cpu_seconds` is what the teacher takes on this machine, by default what its record
    says. Raises StudyError where the study cannot be planned; KeyboardInterrupt where that came, and the same call goes
    on. Of a problem without a reference solution residuals are compared, and the result says so. `report` is told how
    the study goes on; by default it is a bar where somebody watches, on a terminal or in a notebook.

        study("burgers", sizes=[(8, 8), (16, 16)], seeds=3, cpu_seconds=20).plot()
    """
    check_shared(storage, jobs)
    solved = problem(source)
    kept = Path(folder) if folder is not None else Path("runs", f"{solved.name}_study")
    plan = make_plan(
        source,
        teacher=None if teacher is None else os.fspath(teacher),
        sizes=sizes,
        seeds=seeds,
        methods=methods,
        optimiser=optimiser,
        device=device,
        cpu_seconds=cpu_seconds,
        teacher_cpu_seconds=teacher_cpu_seconds,
        known=find_shared(storage, solved.name) if storage else read_plan(kept),
    )
    whole: Plan | None
    with watched(solved.name, report, bar=live, told=told) as reported:
        if storage:
            whole = share(plan, kept, storage, solved.name, report=reported)
        else:
            whole = plan if run_plan(plan, kept, jobs=jobs or JOBS, report=reported) else None
    if whole is None:
        raise KeyboardInterrupt
    return report_of(whole, kept)


@dataclass(frozen=True, repr=False)
class SearchResult:
    """What a search found, and its `winner`: None where no student could keep the limits."""

    task: Task
    found: Found
    winner: Winner | None

    def __repr__(self) -> str:
        return facts_text(f"search for a student of {self.task.problem}", self._facts())

    def _repr_html_(self) -> str:
        return facts_html(f"search for a student of {self.task.problem}", self._facts())

    def _facts(self) -> dict[str, str]:
        facts = {f"{i}": line(outcome, self.task) for i, outcome in enumerate(self.found.front, 1)}
        if self.winner is None:
            return facts | {"winner": "none: no student is within the limits"}
        return facts | {"winner": line(self.winner.outcome, self.task), "folder": self.winner.outcome.folder}

    def plot(self) -> Figure:
        """Draw the error of every student over its price, with those that no other beats in both."""
        figure, axes = new_figure(6.4, 4.0)
        for outcomes, label, style in ((self.found.outcomes, "tried", "o"), (self.found.front, "unbeaten", "o-")):
            axes.loglog([o.price for o in outcomes], [o.relative_l2 for o in outcomes], style, label=label)
        if self.winner is not None:
            chosen: Outcome = self.winner.outcome
            axes.loglog([chosen.price], [chosen.relative_l2], "*", markersize=14, label="winner")
        axes.set_xlabel("ns per call" if self.task.runs_here else "instructions per call")
        axes.set_ylabel("relative L2 error")
        axes.legend()
        return figure


def search(
    source: Source,
    folder: str | os.PathLike[str] | None = None,
    *,
    teacher: Source | None = None,
    inputs: Columns | None = None,
    outputs: Columns | None = None,
    target: str = "native",
    arithmetic: Arithmetic = "float",
    budget: str | None = None,
    max_error: float | None = None,
    max_flash: str | None = None,
    max_instructions: int | None = None,
    points: int = 1,
    threads: int = 1,
    trials: int = 30,
    cpu_seconds: float = 30.0,
    rounds: int | None = None,
    storage: str | None = None,
    report_trial: Report[SearchProgress] | None = None,
    report: ProgressReport | None = None,
) -> SearchResult:
    """Find the student that fits: layers, activation and precision; the winner is distilled in full, and exported.

    `source` and `teacher` are as in `distill`. The limits are of a call with so many `points`: `budget` is a time, as
    in "10ms", `max_flash` bytes, as in "32k". `arithmetic` is what all students calculate with, "int16" for integers.
    `cpu_seconds` are for each of the `trials`, `rounds` for the winner. The
    folder is by default runs/NAME_search; its bundle lies in `result.winner.outcome.folder`. Raises SearchError where a
    limit cannot be measured, or the folder holds the search of another task; KeyboardInterrupt where that came.
    `report_trial` is told each student, `report` how the winner's run goes on; by default both are shown where somebody
    watches, on a terminal or in a notebook.

        search("burgers", budget="1us", trials=10, cpu_seconds=10).winner
    """
    from kdpinn_edge.comparison.durations import parse_duration
    from kdpinn_edge.export.measure.resources import parse_bytes

    goal = Goal(
        budget_ns=None if budget is None else parse_duration(budget),
        max_error=max_error,
        max_flash=None if max_flash is None else parse_bytes(max_flash),
        max_instructions=max_instructions,
    )
    lesson = find_lesson(source, teacher=teacher, inputs=inputs, outputs=outputs)
    name = lesson.problem.name
    task = Task(name, lesson.named["sha256"], cpu_seconds, points, threads, target, arithmetic)
    kept = Path(folder) if folder is not None else Path("runs", f"{name}_search")
    bar, said = lambda console, title: lines(console, task), partial(told_of_search, task=task)
    with watched(name, report_trial, bar=bar, told=said) as reported:
        found = search_for(lesson, task, goal, kept, trials=trials, storage=storage, report=reported)
    finalist = found.best or found.nearest
    if finalist is None or not goal.could_keep(finalist):
        return SearchResult(task, found, None)
    recipe = DistillConfig() if rounds is None else DistillConfig(newton_rounds=rounds)
    return SearchResult(task, found, finish(task, lesson, goal, finalist, kept, recipe=recipe, report=report))
