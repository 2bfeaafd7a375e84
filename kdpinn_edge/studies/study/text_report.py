"""A study on a terminal: how far it is, and what it found."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
from rich.progress import Progress as Bar
from rich.table import Table

from kdpinn_edge.comparison.text_tables import print_table
from kdpinn_edge.studies.study.page import OTHERS_HEAD, head, other_rows, residuals_note, table_rows
from kdpinn_edge.studies.study.report import StudyReport
from kdpinn_edge.studies.study.run import StudyProgress


@contextmanager
def live(console: Console, title: str) -> Iterator[Callable[[StudyProgress], None]]:
    """Show a bar over the cells, from the first report on; yields the function to give as `report`."""
    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn()
    bar = Bar(*columns, TextColumn("{task.fields[latest]}"), console=console)
    task = bar.add_task(title, total=None, latest="")

    def report(progress: StudyProgress) -> None:
        bar.start()
        bar.update(task, total=progress.cells, completed=progress.done, latest=progress.name or "")

    try:
        yield report
    finally:
        if bar.live.is_started:
            bar.stop()


def told(progress: StudyProgress) -> tuple[float, str]:
    """The share of the cells that is done, and how far the study is in words."""
    return progress.done / progress.cells, f"{progress.done}/{progress.cells} {progress.name or ''}".rstrip()


def print_report(console: Console, found: StudyReport) -> None:
    """Print the tables and verdicts of the page."""
    tables = [(head(found), table_rows(found))]
    if found.reference is not None:
        tables.append((OTHERS_HEAD, other_rows(found)))
    for names, cells in tables:
        table = Table(box=None, pad_edge=False, header_style="bold")
        for name in names:
            table.add_column(name, no_wrap=True)
        for row in cells:
            table.add_row(*row)
        print_table(console, table)
        console.print()
    if found.reference is None:
        console.print(residuals_note(found), soft_wrap=True)
    for verdict in found.verdicts:
        console.print(str(verdict), soft_wrap=True)
