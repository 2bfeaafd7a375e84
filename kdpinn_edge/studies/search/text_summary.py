"""A search on a terminal."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table

from kdpinn_edge.comparison.durations import duration
from kdpinn_edge.comparison.text_tables import print_table
from kdpinn_edge.studies.search.run import Found
from kdpinn_edge.studies.search.trial import Outcome, Task
from kdpinn_edge.studies.study.plan import size_name


def line(outcome: Outcome, task: Task) -> str:
    """Describe an outcome in one line."""
    calls = f"{task.points:,} points in {duration(outcome.ns)}"
    return f"{_name(outcome)}: relative L2 {outcome.relative_l2:.1e}, {calls}, {outcome.flash:,} bytes"


def print_found(console: Console, found: Found, task: Task) -> None:
    """Print the front, and the best student with the command that distils it."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("student", f"{task.points:,} points", "relative L2", "bytes", ""):
        table.add_column(name, no_wrap=True)
    for outcome in found.front:
        best = "the best within the limits" if outcome == found.best else ""
        cells = duration(outcome.ns), f"{outcome.relative_l2:.1e}", f"{outcome.flash:,}", best
        table.add_row(_name(outcome), *cells)
    print_table(console, table)
    console.print()
    if found.best is None:
        console.print("no student is within the limits; the table has those that come nearest")
        return
    console.print(line(found.best, task), soft_wrap=True)
    console.print(found.best.command, soft_wrap=True, markup=False)
    lies = f"its run and its bundle are in {found.best.folder} on {found.best.machine}"
    console.print(lies, soft_wrap=True, markup=False)


def _name(outcome: Outcome) -> str:
    chosen = outcome.candidate
    numbers = {"float16": ", weights in float16", "float32": "", "float64": ", float64"}[chosen.storage]
    grade = "" if chosen.grade == "accurate" else f", {chosen.grade}"
    return f"{size_name(chosen.hidden)} {chosen.activation}{grade}{numbers}"
