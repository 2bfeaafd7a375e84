"""A PaperComparison on a terminal."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median

from rich.console import Console
from rich.table import Table

from kdpinn_edge.comparison.durations import duration
from kdpinn_edge.comparison.paper import Errors, PaperComparison, SpeedUp
from kdpinn_edge.comparison.published import PAPER
from kdpinn_edge.comparison.text_tables import interval, print_absent, print_table, times


def print_paper(console: Console, comparison: PaperComparison) -> None:
    """Print errors, speed-ups with their intervals, latencies with the limit that they are within."""
    record = comparison.record
    console.print(f"[bold]{comparison.problem}[/]: {errors_line(comparison.errors())}", soft_wrap=True)

    own = "threads of its own choice"
    threads = own if comparison.threads is None else f"{comparison.threads} thread(s)"
    console.print(
        f"{comparison.precision}, {threads}; n is the number of points per call. "
        '"Student for teacher" compares both in one runtime.',
        soft_wrap=True,
        markup=False,
    )

    speed_ups = comparison.speed_ups()
    table = _table(("speed-up", "from → to"), record.protocol.n_points)
    for gain, slow, fast in dict.fromkeys((s.gain, s.slow, s.fast) for s in speed_ups):
        found = {s.n: s for s in speed_ups if (s.gain, s.slow, s.fast) == (gain, slow, fast)}
        cells = [_factor(found[n]) if n in found else "" for n in record.protocol.n_points]
        table.add_row(gain, f"{slow} → {fast}", *cells)
    print_table(console, table)

    tails = {(tail.entry, tail.n): tail for tail in comparison.tails()}
    table = _table(("backend",), record.protocol.n_points)
    for entry in record.entries:
        cells = []
        for n in record.protocol.n_points:
            tail = tails.get((entry.name, n))
            within = "over" if tail is None or tail.limit_ns is None else f"≤ {duration(tail.limit_ns)}"
            cells.append("" if tail is None else f"p{tail.p:g} {duration(tail.ns)} {within}")
        table.add_row(entry.name, *cells)
    console.print("\nlatency, one call per period, and the limit that it is within: 100 µs, 1 ms, 10 ms")
    print_table(console, table)
    print_absent(console, record.absent)
    print_published(console, comparison)


def errors_line(errors: Sequence[Errors]) -> str:
    """Write the errors of teacher and student: of several seeds their medians, and from where to where they reach."""
    if len(errors) == 1:
        (only,) = errors
        return (
            f"RMSE against the reference: teacher {only.teacher:.1e}, student {only.student:.1e} ({only.increase:+.2%})"
        )
    teachers, students, increases = zip(*((e.teacher, e.student, e.increase) for e in errors), strict=True)
    return (
        f"RMSE against the reference, median and range of {len(errors)} seeds: teacher {_spread(teachers, '.1e')}, "
        f"student {_spread(students, '.1e')}, the student's larger by {_spread(increases, '+.2%')}"
    )


def _spread(values: Sequence[float], form: str) -> str:
    return f"{median(values):{form}} ({min(values):{form}} to {max(values):{form}})"


def print_published(console: Console, comparison: PaperComparison) -> None:
    """Print the paper's figures, and how much of this student is evaluated in its mean latency."""
    paper = duration(PAPER.student_ns)
    console.print(f"\nThe paper ({PAPER.source}): {PAPER.claims}.", soft_wrap=True, markup=False, highlight=False)
    console.print(f"Not stated: {PAPER.unstated}. So {paper} compares with nothing here, but as", soft_wrap=True)
    for backend, points in comparison.points_within(PAPER.student_ns).items():
        console.print(f"  {points:>13,} points of this student in {paper}: {backend}", markup=False, highlight=False)


def _table(names: Sequence[str], n_points: Sequence[int]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in names:
        table.add_column(name, no_wrap=True)
    for n in n_points:
        table.add_column(f"n = {n:,}", justify="right", no_wrap=True)
    return table


def _factor(found: SpeedUp) -> str:
    return f"{times(found.times)} {interval(found.times)}"
