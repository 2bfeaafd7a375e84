"""The progress of a run where somebody watches: a bar of rich on a terminal, a line in a notebook."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from math import isnan
from time import monotonic

from rich.console import Console
from rich.progress import BarColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.progress import Progress as Bar

from kdpinn_edge.training.progress import ProgressReport, TrainingProgress, silent

REFRESH_S = 0.3
WIDTH = 20


@contextmanager
def watched(title: str, report: ProgressReport | None) -> Iterator[ProgressReport]:
    """The `report` that is given, or what shows the run on a terminal or in a notebook; nothing anywhere else."""
    console = Console(stderr=True, highlight=False)
    if report is not None:
        yield report
    elif console.is_jupyter:
        yield in_notebook(title)
    elif console.is_terminal:
        with live(console, title) as shown:
            yield shown
    else:
        yield silent


def in_notebook(title: str) -> ProgressReport:
    """Show a line below the cell that changes; it needs IPython and no widgets."""
    from IPython.display import display

    handle = display({"text/plain": title}, raw=True, display_id=True)
    shown = -REFRESH_S

    def report(progress: TrainingProgress) -> None:
        nonlocal shown
        if progress.step < progress.steps and monotonic() - shown < REFRESH_S:
            return
        shown = monotonic()
        done = WIDTH * progress.step // progress.steps
        bar = "█" * done + "░" * (WIDTH - done)
        line = f"{title} {bar} {progress.step}/{progress.steps} {progress.phase}, {_numbers(progress)}"
        handle.update({"text/plain": f"{line}, {progress.cpu_seconds:.0f} s"}, raw=True)

    return report


def _numbers(progress: TrainingProgress) -> str:
    error = "" if isnan(progress.relative_l2) else f" rel. L2 {progress.relative_l2:.2e}"
    return f"loss {progress.loss:.2e}{error}"


@contextmanager
def live(console: Console, title: str) -> Iterator[ProgressReport]:
    """Show a bar with phase, loss, relative L2 error, elapsed and remaining time; yields the `report`.

    It appears with the first report, so that input that is refused is not announced as work.
    """
    bar = Bar(
        TextColumn("{task.description}"),
        TextColumn("{task.fields[phase]}"),
        BarColumn(bar_width=8),
        TextColumn("{task.fields[numbers]}"),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        console=console,
    )
    task = bar.add_task(title, total=None, phase="", numbers="")

    def report(progress: TrainingProgress) -> None:
        bar.start()
        bar.update(
            task,
            total=progress.steps,
            completed=progress.step,
            phase=progress.phase,
            numbers=_numbers(progress),
        )

    try:
        yield report
    finally:
        if bar.live.is_started:
            bar.stop()
