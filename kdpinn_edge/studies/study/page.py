"""A study as a page of Markdown and a figure."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from kdpinn_edge.comparison.machine import this_machine
from kdpinn_edge.display import new_figure
from kdpinn_edge.errors import StudyError
from kdpinn_edge.files import check_folder, write_whole
from kdpinn_edge.studies.study.baselines import KINDS
from kdpinn_edge.studies.study.front import front
from kdpinn_edge.studies.study.latency import MANY, NetLatency
from kdpinn_edge.studies.study.plan import METHODS, size_name
from kdpinn_edge.studies.study.results import Spread
from kdpinn_edge.studies.study.run import TEACHER
from kdpinn_edge.training.run_folder import record_of, versions

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from kdpinn_edge.studies.study.report import StudyReport

Cells = Sequence[str]

ERRORS = "relative L2", "largest error", "RMSE", "slopes"
RESIDUALS = "residual", "largest residual", "√mean r²"
OTHERS_HEAD = "function", "numbers", "relative L2", "largest error", "one point", "per point"

INTRODUCTION = """\
{equation}. {finished} of {cells} runs, {seeds} seeds, torch {torch}: {commands}

A student has {seconds:g} s of CPU time on one thread and ends after {rounds}; the teacher
(`{teacher}`) took {teacher_seconds:g} s. {errors} Latencies: the exported library in a C loop, one thread; per point of
{many:,}, on {cpu}.
"""
TIMED, UNTIMED = "the round in which they are used", "as many rounds as fit by a measurement"
AGAINST_REFERENCE = """\
Errors are of the float32 library, against the reference (itself within {exact_error:g}): medians over the seeds, in
brackets the least and the largest. *Slopes*: relative L2 over all first derivatives. *RMSE*: over that of the teacher,
also in float32. Students follow the teacher in float64, where it errs by {teacher_error:.1e}.\
"""
BY_RESIDUALS = """\
{name} has no reference solution, so these are residuals of the float32 library and no errors, and a smaller residual
is not always a smaller error. *Residual*: its L2 norm over that of the equation's largest term, medians over the seeds,
in brackets the least and the largest. *√mean r²*: over that of the teacher.\
"""
TESTED = """\
The distillation with the least median is compared with each training from scratch, and those that have more than the
teacher's values with values alone. *p*: the two-sided exact rank test of Mann and Whitney over the seeds, times the
number of distillations compared (Bonferroni); the level is 5 %.\
"""
TABLES = """\
Tables that come nearest to the teacher, each output on about as many numbers as a student has parameters,
laid out by what is known of the solution: as C in float32, in turns with the networks.
"""


def check_page(path: Path) -> None:
    """Raise StudyError where `path` is not one that `write_page` can write: call it before a long study."""
    if path.suffix != ".md":
        raise StudyError(f"{path}: the suffix {path.suffix!r} is unknown; expected: .md")
    check_folder(path, StudyError)


def write_page(found: StudyReport, path: Path) -> None:
    """Write the page to `path`; beside it its figure, .png, and the plan with what was measured of each seed, .json.

    Raises StudyError as `check_page`.
    """
    check_page(path)
    figure = path.with_suffix(".png")
    draw(found, figure)
    write_whole(path.with_suffix(".json"), (json.dumps(found.document(), indent=1) + "\n").encode())
    write_whole(path, (page(found, figure.name) + "\n").encode())


def page(found: StudyReport, figure: str) -> str:
    """The page as Markdown."""
    plan = found.plan
    said = INTRODUCTION.format(
        equation=found.problem.equation,
        finished=found.finished,
        cells=len(plan.cells),
        seeds=plan.seeds,
        commands=" and ".join(f"`{command}`" for command in plan.commands),
        torch=versions()["torch"],
        seconds=plan.cpu_seconds,
        rounds=UNTIMED if plan.optimiser == "soap" else TIMED,
        teacher=record_of(plan.teacher).command,
        teacher_seconds=plan.teacher_cpu_seconds,
        errors=BY_RESIDUALS.format(name=found.problem.name)
        if found.teacher_in_float64 is None
        else AGAINST_REFERENCE.format(
            exact_error=found.problem.exact_error, teacher_error=found.teacher_in_float64.relative_l2
        ),
        many=MANY,
        cpu=this_machine().cpu,
    )
    lines = [
        f"# Study: {found.problem.name}",
        "",
        said,
        *_table(head(found), table_rows(found)),
        "",
        f"![Errors over latency and over what is stored]({figure})",
        "",
        "## Did distilling pay?",
        "",
        TESTED,
        "",
        *(f"- {verdict}." for verdict in found.verdicts),
    ]
    if found.reference is not None:
        lines += [
            "",
            "## Without a network",
            "",
            *TABLES.splitlines(),
            "",
            *_table(OTHERS_HEAD, other_rows(found)),
        ]
    return "\n".join(lines)


def head(found: StudyReport) -> Cells:
    """The names of the columns of `table_rows`."""
    errors = RESIDUALS if found.reference is None else ERRORS
    return "size", "method", "seeds", *errors, "CPU-s", "parameters", "multiply-adds", "one point", "per point"


def residuals_note(found: StudyReport) -> str:
    """What is to be known of a study without a reference, as one line."""
    return BY_RESIDUALS.format(name=found.problem.name).replace("\n", " ").replace("*", "")


def table_rows(found: StudyReport) -> Iterator[Cells]:
    """The teacher, and every method at every size, under `head`."""
    teacher = found.teacher
    latency = found.latencies[TEACHER]
    yield (
        "teacher",
        "",
        "1",
        f"{teacher.relative_l2:.1e}",
        f"{teacher.max_abs:.1e}",
        "1",
        *([] if teacher.slopes_l2 is None else [f"{teacher.slopes_l2:.1e}"]),
        f"{found.plan.teacher_cpu_seconds:.0f}",
        f"{found.teacher_parameters:,}",
        f"{found.multiply_adds[TEACHER]:,}",
        *_times(latency),
    )
    for row in found.rows:
        yield (
            size_name(row.hidden),
            METHODS[row.method].title,
            str(row.seeds),
            _spread(row.relative_l2),
            f"{row.max_abs:.1e}",
            f"{row.rmse_ratio:.3g}",
            *([] if row.slopes_l2 is None else [_spread(row.slopes_l2)]),
            f"{row.cpu_seconds:.0f}",
            f"{row.parameters:,}",
            f"{found.multiply_adds[size_name(row.hidden)]:,}",
            *_times(found.latencies[size_name(row.hidden)]),
        )


def other_rows(found: StudyReport) -> Iterator[Cells]:
    """Tables, the closed form and the reference, under OTHERS_HEAD."""
    for each in found.baselines:
        accuracy, numbers = each.accuracy, f"{each.numbers:,}" if each.numbers else ""
        yield each.name, numbers, f"{accuracy.relative_l2:.1e}", f"{accuracy.max_abs:.1e}", *_times(each.latency)
    if (exact := found.reference) is not None:
        yield exact.name, "", "", f"{exact.accuracy.max_abs:.0e}", *_times(exact.latency)


def _spread(spread: Spread) -> str:
    return f"{spread.median:.1e} [{spread.low:.1e}, {spread.high:.1e}]"


def _times(latency: NetLatency) -> Cells:
    return _ns(latency.one_ns), _ns(latency.per_point_ns)


def _ns(ns: float) -> str:
    return f"{ns:.3g} ns" if ns < 1000 else f"{ns / 1000:.3g} µs"


def _table(head: Cells, cells: Iterator[Cells]) -> Iterator[str]:
    for row in (head, ["---"] * len(head), *cells):
        yield f"| {' | '.join(row)} |"


def draw(found: StudyReport, path: Path) -> None:
    """Write the figure of a study."""
    png = BytesIO()
    figure_of(found).savefig(png, format="png", dpi=110)
    write_whole(path, png.getvalue())


def figure_of(found: StudyReport) -> Figure:
    """Relative L2 over the latency per point, with the Pareto front; and over how many numbers are stored."""
    figure, (by_latency, by_numbers) = new_figure(11.0, 5.4, nrows=1, ncols=2, sharey=True)
    figure.suptitle(f"{found.problem.name}: {found.problem.equation}")
    for method in dict.fromkeys(row.method for row in found.rows):
        own = [row for row in found.rows if row.method == method]
        errors = [row.relative_l2.median for row in own]
        bars = [
            [row.relative_l2.median - row.relative_l2.low for row in own],
            [row.relative_l2.high - row.relative_l2.median for row in own],
        ]
        style: dict[str, Any] = {"yerr": bars, "fmt": "o", "capsize": 2, "label": METHODS[method].title}
        by_latency.errorbar([found.latencies[size_name(row.hidden)].per_point_ns for row in own], errors, **style)
        by_numbers.errorbar([row.parameters for row in own], errors, **style)
    by_latency.step(*zip(*pareto(found), strict=True), where="post", color="0.6", label="Pareto front", zorder=0)
    for marker, kind in zip("+x*", (*KINDS, "closed form"), strict=True):
        others = [each for each in found.baselines if each.name.startswith(kind)]
        rival: dict[str, Any] = {"marker": marker, "color": "0.3", "label": kind}
        errors = [each.accuracy.relative_l2 for each in others]
        by_latency.plot([each.latency.per_point_ns for each in others], errors, **rival, lw=0)
        by_numbers.plot([each.numbers or np.nan for each in others], errors, **rival, lw=0.5)
    for axes, label in (
        (by_latency, f"ns per point of {MANY:,}, in C"),
        (by_numbers, "numbers stored"),
    ):
        axes.axhline(found.teacher.relative_l2, color="black", linestyle="--", linewidth=1, label="teacher, in float32")
        axes.set_xscale("log")
        axes.set_yscale("log")
        axes.set_xlabel(label)
        axes.grid(visible=True, which="major", alpha=0.3)
    by_latency.set_ylabel("relative L2" if found.reference else "residual over the largest term (no reference)")
    labelled: dict[str, Any] = {}
    for axes in (by_latency, by_numbers):
        handles, labels = axes.get_legend_handles_labels()
        labelled |= dict(zip(labels, handles, strict=True))
    figure.legend(labelled.values(), labelled.keys(), loc="outside lower center", ncols=3, fontsize="small")
    return figure


def pareto(found: StudyReport) -> list[tuple[float, float]]:
    """Latency and median error of every row than which no other is both faster and more accurate, the fastest first."""
    points = ((found.latencies[size_name(row.hidden)].per_point_ns, row.relative_l2.median) for row in found.rows)
    return front(points, lambda point: point)
