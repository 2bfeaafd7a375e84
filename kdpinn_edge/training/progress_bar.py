"""The live progress bar of a run, in rich."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from math import isnan

from rich.console import Console
from rich.progress import BarColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.progress import Progress as Bar

from kdpinn_edge.training.progress import ProgressReport, TrainingProgress


@contextmanager
def live(console: Console, title: str) -> Iterator[ProgressReport]:
    """Show a bar with phase, loss, relative L2 error, elapsed and remaining time; yields the `report`.

    It appears with the first report, so that input that is refused is not announced as work.
    """
    bar = Bar(
        TextColumn("{task.description}"),
        TextColumn("{task.fields[phase]}"),
        BarColumn(bar_width=8),
        TextColumn("loss {task.fields[loss]} rel. L2 {task.fields[error]}"),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        console=console,
    )
    task = bar.add_task(title, total=None, phase="", loss="–", error="–")

    def report(progress: TrainingProgress) -> None:
        bar.start()
        bar.update(
            task,
            total=progress.steps,
            completed=progress.step,
            phase=progress.phase,
            loss=f"{progress.loss:.2e}",
            error="–" if isnan(progress.relative_l2) else f"{progress.relative_l2:.2e}",
        )

    try:
        yield report
    finally:
        if bar.live.is_started:
            bar.stop()
