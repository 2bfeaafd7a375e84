"""A search on a terminal."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console
from rich.table import Table

from kdpinn_edge.comparison.durations import duration
from kdpinn_edge.comparison.text_tables import print_table
from kdpinn_edge.studies.search.candidate import Candidate, Cost
from kdpinn_edge.studies.search.goal import Goal
from kdpinn_edge.studies.search.run import Found, SearchProgress
from kdpinn_edge.studies.search.trial import BUNDLE, Outcome, Task
from kdpinn_edge.studies.search.winner import Winner
from kdpinn_edge.studies.study.plan import size_name


def line(outcome: Outcome, task: Task) -> str:
    """Describe an outcome in one line."""
    calls = f"{_points(task)} in {_price(outcome)}"
    return f"{_name(outcome.candidate)}: relative L2 {outcome.relative_l2:.1e}, {calls}, {_bytes(outcome.cost)}"


def told(progress: SearchProgress, task: Task) -> tuple[float, str]:
    """The share of the trials that is done, and the latest in words."""
    return progress.done / progress.trials, f"{progress.done}/{progress.trials} {line(progress.outcome, task)}"


@contextmanager
def lines(console: Console, task: Task) -> Iterator[Callable[[SearchProgress], None]]:
    """Print a line for each student; yields the function to give as `report`."""
    yield lambda progress: console.print(told(progress, task)[1], soft_wrap=True, markup=False)


def print_front(console: Console, found: Found, task: Task) -> None:
    """Print the front of price and error, and how many were too dear to be trained."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("student", _points(task), "relative L2", "flash", ""):
        table.add_column(name, no_wrap=True)
    for outcome in found.front:
        best = "the best within the limits" if outcome == found.best else ""
        error = f"{outcome.relative_l2:.1e}"
        table.add_row(_name(outcome.candidate), _price(outcome), error, _bytes(outcome.cost), best)
    if found.front:
        print_table(console, table)
        console.print()
    if found.rejected:
        console.print(f"{len(found.rejected)} candidates cost more than the limits allow and were not trained")


def print_nearest(console: Console, found: Found, goal: Goal, task: Task) -> None:
    """Say that nothing is within the limits, and what comes nearest."""
    if found.nearest is not None:
        missed = _missed(goal.excesses(found.nearest))
        console.print(
            f"no student is within the limits; nearest: {line(found.nearest, task)}; {missed}", soft_wrap=True
        )
        return
    candidate, cost = min(found.rejected, key=lambda each: max(goal.cost_excesses(each[1]).values()))
    took = _bytes(cost) if cost.instructions is None else f"{cost.instructions:,} instructions, {_bytes(cost)}"
    missed = _missed(goal.cost_excesses(cost))
    console.print(
        f"no student is within the limits, whatever it learns; nearest: {_name(candidate)}: {took}; {missed}",
        soft_wrap=True,
    )


def print_winner(console: Console, winner: Winner, task: Task) -> None:
    """Print the student that a search ends with, the command that distils it, its bundle, and what was checked."""
    outcome = winner.outcome
    if _missed(winner.excesses):
        console.print(f"no student is within the limits; this one comes nearest: {_missed(winner.excesses)}")
    console.print(line(outcome, task), soft_wrap=True)
    console.print(outcome.command, soft_wrap=True, markup=False)
    passed = sum(each.result == "passed" for each in winner.checks)
    console.print(
        f"its bundle is {Path(outcome.folder, BUNDLE)} on {outcome.machine}: {passed} of {len(winner.checks)} checks "
        f"passed, {sum(each.result == 'skipped' for each in winner.checks)} need another machine or package",
        soft_wrap=True,
        markup=False,
    )
    for each in (each for each in winner.checks if each.result == "failed"):
        console.print(f"failed: {each.name}: {each.detail}", soft_wrap=True, markup=False)


def _missed(excesses: dict[str, float]) -> str:
    over = [f"{name} is {share:.0%} over its limit" for name, share in excesses.items() if share > 0]
    return ", ".join(over)


def _points(task: Task) -> str:
    return "1 point" if task.points == 1 else f"{task.points:,} points"


def _price(outcome: Outcome) -> str:
    return duration(outcome.ns) if outcome.ns is not None else f"{outcome.cost.instructions:,} instructions"


def _bytes(cost: Cost) -> str:
    return "flash not known" if cost.flash is None else f"{cost.flash:,} bytes"


def _name(chosen: Candidate) -> str:
    said = {"float16": ", weights in float16", "float32": "", "float64": ", float64", "int32": ", int16"}
    grade = "" if chosen.grade == "accurate" else f", {chosen.grade}"
    return f"{size_name(chosen.hidden)} {chosen.activation}{grade}{said[chosen.storage]}"
