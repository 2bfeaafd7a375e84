"""The progress of a run, as a bar on a terminal and in words."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from math import isnan

from rich.console import Console
from rich.progress import BarColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.progress import Progress as Bar

from kdpinn_edge.training.progress import ProgressReport, TrainingProgress


def told(progress: TrainingProgress) -> tuple[float, str]:
    """The share of the steps that is done, and the state in words."""
    steps = f"{progress.step}/{progress.steps} {progress.phase}"
    return progress.step / progress.steps, f"{steps}, {_numbers(progress)}, {progress.cpu_seconds:.0f} s"


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
