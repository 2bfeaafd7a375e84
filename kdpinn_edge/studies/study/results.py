"""What a study found: every cell, medians and spread over the seeds, and whether distilling paid."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median

from kdpinn_edge.errors import StudyError, listing
from kdpinn_edge.studies.study.measure import NetAccuracy
from kdpinn_edge.studies.study.plan import METHODS, Plan, StudyCell, size_name
from kdpinn_edge.studies.study.run import ACCURACY_FILE, TEACHER
from kdpinn_edge.studies.study.significance import LEVEL, p_value, seeds_needed
from kdpinn_edge.training.run_folder import read_json, record_of, typed

UNEVEN = 0.1
"""From which difference on the CPU times of two methods are said to differ."""


@dataclass(frozen=True)
class CellResult:
    """The measurements of one cell of a study."""

    cell: StudyCell
    accuracy: NetAccuracy
    parameters: int
    cpu_seconds: float


@dataclass(frozen=True)
class Spread:
    """The median over the seeds, and the least and the largest."""

    median: float
    low: float
    high: float

    @staticmethod
    def of(values: Sequence[float]) -> Spread:
        """The spread of `values`, at least one."""
        return Spread(median(values), min(values), max(values))


@dataclass(frozen=True)
class MethodRow:
    """One method at one size. `rmse_ratio` is the median RMSE over that of the teacher.

    `errors` are those of the single seeds, of which `relative_l2` is the spread. All errors are what a NetAccuracy
    holds: residuals where there is no reference, and then no slopes.
    """

    hidden: tuple[int, ...]
    method: str
    seeds: int
    parameters: int
    cpu_seconds: float
    errors: tuple[float, ...]
    relative_l2: Spread
    max_abs: float
    rmse_ratio: float
    slopes_l2: Spread | None


@dataclass(frozen=True)
class MethodVerdict:
    """Whether `distilled`, a way to distil, and `other`, which may be training from scratch, differ beyond chance.

    `factor` is the median of `other` over that of `distilled`. `p` is that of the exact rank test over the seeds, times
    the number of distillations that this one was `chosen_from`, or that are compared with `other`; `seeds` are those of
    the method that has fewer. `cpu_ratio` is the CPU time of `distilled` over that of `other`, medians.
    """

    hidden: tuple[int, ...]
    distilled: str
    other: str
    factor: float
    p: float
    seeds: int
    chosen_from: int
    cpu_ratio: float

    @property
    def is_significant(self) -> bool:
        """Whether the methods differ by the test."""
        return self.p <= LEVEL

    def __str__(self) -> str:
        said = compared(self.factor)
        needed = seeds_needed(chosen_from=self.chosen_from)
        if self.is_significant:
            said = f"{said} (p = {self.p:.2g})"
        elif self.seeds < needed:
            said = f"{said} in the median, of which {self.seeds} seeds prove nothing ({needed} are needed)"
        else:
            said = f"{said} in the median, which may be chance (p = {self.p:.2g})"
        uneven = abs(self.cpu_ratio - 1) > UNEVEN and not METHODS[self.other].with_teacher
        return (
            f"{size_name(self.hidden)}: “{METHODS[self.distilled].title}” is {said}, compared with "
            f"“{METHODS[self.other].title}”{f', in {self.cpu_ratio:.2g} times its CPU time' if uneven else ''}"
        )


def compared(factor: float) -> str:
    """As in "better by 2.3", where the other method errs so many times as much; of less than 1.1, a digit more."""
    larger = max(factor, 1 / factor)
    return f"{'better' if factor > 1 else 'worse'} by {larger:.{3 if larger < 1.1 else 2}g}"


def results(plan: Plan, folder: Path) -> list[CellResult]:
    """All cells that are measured, in the order of the plan."""
    found = []
    for cell in plan.cells:
        if (folder / cell.name / ACCURACY_FILE).exists():
            run = folder / cell.name
            made = record_of(run)
            found.append(CellResult(cell, read_accuracy(run), made.architecture.parameters, made.training_cpu_seconds))
    return found


def parameters_of(model: str | os.PathLike[str]) -> int:
    """The number of parameters of the network of a run folder or the zoo has."""
    return record_of(model).architecture.parameters


def read_accuracy(run: Path) -> NetAccuracy:
    """Read the accuracy that was measured of the network in a run folder."""
    path = run / ACCURACY_FILE
    try:
        found = typed(read_json(path), NetAccuracy)
        if wrong := [
            f"{name} is {value:g}" for name, value in asdict(found).items() if value is not None and value < 0
        ]:
            raise ValueError(f"{listing(wrong)}; expected: an error, which is not negative")
        return found
    except ValueError as error:
        raise StudyError(f"{path}: not the accuracy of a network ({error}); delete it to measure it again") from error


def rows(found: Sequence[CellResult], teacher: NetAccuracy) -> list[MethodRow]:
    """A row per size and method, the smallest size first, methods in the order of METHODS."""
    keys = dict.fromkeys((result.cell.config.hidden, result.cell.method) for result in found)
    made = [_row(hidden, method, found, teacher) for hidden, method in keys]
    return sorted(made, key=lambda row: (row.parameters, list(METHODS).index(row.method)))


def _row(hidden: tuple[int, ...], method: str, found: Sequence[CellResult], teacher: NetAccuracy) -> MethodRow:
    own = [each for each in found if (each.cell.config.hidden, each.cell.method) == (hidden, method)]
    errors = [each.accuracy.relative_l2 for each in own]
    slopes = [each.accuracy.slopes_l2 for each in own if each.accuracy.slopes_l2 is not None]
    return MethodRow(
        hidden=hidden,
        method=method,
        seeds=len(own),
        parameters=own[0].parameters,
        cpu_seconds=median(each.cpu_seconds for each in own),
        errors=tuple(errors),
        relative_l2=Spread.of(errors),
        max_abs=median(each.accuracy.max_abs for each in own),
        rmse_ratio=median(each.accuracy.rmse for each in own) / teacher.rmse,
        slopes_l2=Spread.of(slopes) if slopes else None,
    )


def verdicts(table: Sequence[MethodRow]) -> Iterator[MethodVerdict]:
    """Compare at every size the best distillation with each training from scratch, the others with values alone."""
    for hidden in dict.fromkeys(row.hidden for row in table):
        own = [row for row in table if row.hidden == hidden]
        distilled = [row for row in own if METHODS[row.method].distils]
        for scratch in own:
            if distilled and not METHODS[scratch.method].distils:
                best = min(distilled, key=lambda row: row.relative_l2.median)
                yield _verdict(best, scratch, chosen_from=len(distilled))
        for values in distilled:
            if values.method == "values":
                others = [row for row in distilled if row is not values]
                yield from (_verdict(row, values, chosen_from=len(others)) for row in others)


def _verdict(distilled: MethodRow, other: MethodRow, *, chosen_from: int) -> MethodVerdict:
    return MethodVerdict(
        distilled.hidden,
        distilled.method,
        other.method,
        factor=other.relative_l2.median / distilled.relative_l2.median,
        p=p_value(distilled.errors, other.errors, chosen_from=chosen_from),
        seeds=min(distilled.seeds, other.seeds),
        chosen_from=chosen_from,
        cpu_ratio=distilled.cpu_seconds / max(other.cpu_seconds, 1e-9),
    )


def read_teacher(folder: Path) -> NetAccuracy:
    """Read the accuracy that was measured of the teacher."""
    return read_accuracy(folder / TEACHER)
