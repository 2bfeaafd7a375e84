"""What the measurements say, in sentences: the backend to use, what it costs, and whether the limit holds."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from kdpinn_edge.comparison.record import Entry, Mode, Record, Subject
from kdpinn_edge.comparison.report import quantities as q
from kdpinn_edge.comparison.statistics import LatencyRow, Percentile

ASKED_N = (1, 10_000)
ASKED_PERCENTILE = 99.9
CALLED: dict[Mode, str] = {
    "closed": "back to back",
    "periodic": "at a fixed rate",
    "periodic, load": "at a fixed rate, beside a background load",
}
"""The modes that the limit is judged in, and how calls follow each other there."""

FROM_C, FROM_PYTHON = "from C", "from Python"
EQUAL, NEAR = 1.05, 1.25
"""Medians nearer than EQUAL are called as fast, and up to NEAR where the interval of the faster holds the other."""

FAR_SMALLER = 4

LimitVerdict = Literal["holds", "missed", "open"]
Ranked = Sequence[tuple[Entry, Percentile]]


class RowTable:
    """The rows of a record, found by entry, n and mode."""

    def __init__(self, record: Record, rows: Sequence[LatencyRow]) -> None:
        self.record = record
        self.n_points = sorted({row.n for row in rows})
        self.modes = [mode for mode in CALLED if any(row.mode == mode for row in rows)]
        self._rows = {(row.entry, row.n, row.mode): row for row in rows}

    def row(self, entry: Entry, n: int, mode: Mode = "closed") -> LatencyRow | None:
        """The LatencyRow of `entry` at n points, or None where it was not measured."""
        return self._rows.get((entry.name, n, mode))

    def rows(self, entry: Entry, n: int) -> dict[Mode, LatencyRow]:
        """The rows of `entry` at n points that the limit is judged in."""
        return {mode: row for mode in self.modes if (row := self.row(entry, n, mode))}

    def median(self, entry: Entry, n: int, mode: Mode = "closed") -> Percentile | None:
        """The median of `entry` at n points, or None where it was not measured."""
        row = self.row(entry, n, mode)
        return row.percentiles[0] if row else None

    def fastest(self, entries: Sequence[Entry], n: int) -> Ranked:
        """The ones of `entries` that were measured at n points, with their medians, the fastest first."""
        found = [(entry, median) for entry in entries if (median := self.median(entry, n))]
        return sorted(found, key=lambda pair: pair[1].ns)


@dataclass(frozen=True)
class Limit:
    """Whether the limit holds for one entry at one n, how the sentence goes on, and up to which percentile it is shown
    to hold in each way of calling; None where it is missed.
    """

    verdict: LimitVerdict
    reason: str
    shown: Mapping[Mode, float | None]


@dataclass(frozen=True)
class Pick:
    """The choice among those that are called `where` ("from C"): the fastest, or one as fast that is far smaller."""

    where: str
    entry: Entry
    median: Percentile
    rivals: tuple[str, ...]
    accuracy: str
    size: str
    limit: Limit


@dataclass(frozen=True)
class Answer:
    """The backends to use for n points; `limit` says whether the limit holds for all of them."""

    n: int
    picks: tuple[Pick, ...]
    limit: str


def called(row: LatencyRow) -> str:
    """Describe how the calls of `row` followed each other, with the period where there is one."""
    if row.period_ns is None:
        return CALLED[row.mode]
    return CALLED[row.mode].replace("at a fixed rate", f"every {q.round_duration(row.period_ns)}")


def points(n: int) -> str:
    """Write n as in "1 point" and "10 000 points"."""
    return f"{q.count(n)} point{'s' if n != 1 else ''}"


def quoted(names: Sequence[str]) -> str:
    """Quote names for a sentence: they may hold commas."""
    *most, last = (f"“{name}”" for name in names)
    return f"{', '.join(most)} and {last}" if most else last


def answers(table: RowTable, entries: Sequence[Entry], subject: Subject) -> tuple[Answer, ...]:
    """The answers at n = 1 and at n = 10 000; where neither was measured, at the least and the most points."""
    wanted = [n for n in ASKED_N if n in table.n_points] or sorted({*table.n_points[:1], *table.n_points[-1:]})
    same = [entry for entry in entries if entry.promise != "another function"]
    places = {
        FROM_C: [entry for entry in same if entry.layer == "kernel in C"],
        FROM_PYTHON: [entry for entry in same if entry.layer != "kernel in C"],
    }
    found = []
    for n in wanted:
        ranks = {where: table.fastest(kept, n) for where, kept in places.items()}
        picks = tuple(_pick(table, n, where, ranked, subject) for where, ranked in ranks.items() if ranked)
        if picks:
            found.append(Answer(n, picks, _limit(table, picks)))
    return tuple(found)


def judge(table: RowTable, entry: Entry, n: int) -> Limit:
    """Whether the limit holds for `entry` at n points at p99.9, in every way of calling.

    It holds where the share of late calls is below 0.1 % with 95 % confidence, is missed where the share that was
    measured is above that, and is open in between. Means of several calls say nothing about one call.
    """
    single = {mode: row for mode, row in table.rows(entry, n).items() if row.misses}
    if not single:
        return Limit("open", "each sample is the mean of several calls.", {})
    shown = {mode: _shown(row) for mode, row in single.items()}
    mode = max(single, key=lambda way: (shown[way] is None, _bound(single[way]), single[way].max_ns))
    row = single[mode]
    worst, asked = shown[mode], q.percentile(ASKED_PERCENTILE)
    how = f"when called {called(row)}: {_lateness(row)}"
    slowest = f" The slowest took {q.duration(max(row.max_ns for row in single.values()))}."
    surely = [CALLED[way] for way, p in shown.items() if way != mode and p is not None and p >= ASKED_PERCENTILE]
    elsewhere = f" It holds at {asked} when called {' and '.join(surely)}." if surely else ""
    if worst is None:
        tail = row.percentiles[-1]
        reason = f"{how}, {q.percentile(tail.p)} is {q.duration(tail.ns)}.{elsewhere}"
        return Limit("missed", reason + slowest, shown)
    if worst < ASKED_PERCENTILE:
        return Limit("open", f"at {asked}; it holds at {q.percentile(worst)} {how}.{elsewhere}{slowest}", shown)
    load = ", also beside a background load" if "periodic, load" in single else ""
    bound = f"so fewer than {q.percent_above(_bound(row))} are (95 % confidence)"
    return Limit("holds", f"at {asked}{load}: {_lateness(row)}, {bound}.{slowest}", shown)


def late(row: LatencyRow) -> str:
    """Describe how many calls were late, and the share excluded with 95 % confidence; "" for means of several calls."""
    if row.misses is None:
        return ""
    missed, samples = q.count(row.misses.count), q.count(row.misses.samples)
    if row.misses.count == row.misses.samples:
        return f"all {samples} late"
    return f"{missed} of {samples} late, <{q.NO_BREAK}{q.percent_above(row.misses.share_bound)}"


def _pick(table: RowTable, n: int, where: str, ranked: Ranked, subject: Subject) -> Pick:
    first = ranked[0][1]
    equal = [pair for pair in ranked if pair[1].ns <= max(min(first.high_ns, NEAR * first.ns), EQUAL * first.ns)]
    smallest = min(equal, key=lambda pair: needed_bytes(pair[0]))
    entry, median = smallest if _is_far_smaller(smallest[0], ranked[0][0]) else ranked[0]
    rivals = _rivals(entry, median, [e.name for e, _ in equal if e is not entry], ranked)
    return Pick(where, entry, median, tuple(rivals), _accuracy(entry, subject), _size(entry), judge(table, entry, n))


def _limit(table: RowTable, picks: Sequence[Pick]) -> str:
    """Whether the limit holds for all `picks`, and in which way of calling it does not."""
    limit, asked = q.round_duration(table.record.protocol.deadline_ns), q.percentile(ASKED_PERCENTILE)
    found = {mode: [pick.limit.shown[mode] for pick in picks if mode in pick.limit.shown] for mode in table.modes}
    missed = [CALLED[mode] for mode, shown in found.items() if None in shown]
    kept = [p for shown in found.values() if None not in shown for p in shown if p is not None]
    if not kept:
        return f"The {limit} limit is missed at {asked}." if missed else f"Whether {limit} hold was not measured."
    level = min(kept)
    holds = f"holds at {asked}" if level >= ASKED_PERCENTILE else f"holds at {q.percentile(level)}"
    if missed:
        return f"The {limit} limit is missed when called {' and '.join(missed)}; otherwise it {holds}."
    few = "" if level >= ASKED_PERCENTILE else f"; there are too few samples for {asked}"
    return f"The {limit} limit {holds}{few}."


def _rivals(entry: Entry, median: Percentile, equals: Sequence[str], ranked: Ranked) -> list[str]:
    """Who is as fast, who is nearly as fast and far smaller, and who is the fastest on the other side."""
    said, named = [], {*equals}
    if equals:
        said.append(f"As fast, within the noise: {quoted(equals)}.")
    small = [(e, m) for e, m in ranked if e.name not in named and m.ns < 2 * median.ns and _is_far_smaller(e, entry)]
    if small:
        said.append(f"Far smaller: {_compared(*small[0], median)} and {q.size(needed_bytes(small[0][0]))} in all.")
        named.add(small[0][0].name)
    is_ours = entry.promise == "same bits"
    other = next(((e, m) for e, m in ranked if (e.promise == "same bits") != is_ours), None)
    if other and other[0].name not in named:
        who = "Fastest outside this project" if is_ours else "Fastest of this project"
        said.append(f"{who}: {_compared(*other, median)}.")
    return said


def _compared(entry: Entry, found: Percentile, best: Percentile) -> str:
    return f"{quoted([entry.name])}, {q.duration(found.ns)}, {q.ratio(found.ns / best.ns)}{q.NO_BREAK}times as long"


def _accuracy(entry: Entry, subject: Subject) -> str:
    off = f"Off by {q.error(entry.error)} at most, with values up to {subject.scale:.3g}."
    if subject.rmse and entry.error and subject.rmse >= 2 * entry.error:
        off += f" The network’s own error is {q.ratio(subject.rmse / entry.error)} times that."
    return off


def _size(entry: Entry) -> str:
    if entry.artifact_bytes is None and entry.installed_bytes is None:
        return "Not measured."
    model = "no file of its own" if entry.artifact_bytes is None else f"{q.size(entry.artifact_bytes)} for the model"
    if entry.installed_bytes is None:
        return f"{model[0].upper()}{model[1:]}."
    runtime = f"{q.size(entry.installed_bytes)} of runtime" if entry.installed_bytes else "no runtime"
    return f"{model[0].upper()}{model[1:]}, {runtime}."


def needed_bytes(entry: Entry) -> float:
    """The bytes to install for one model; infinite where nobody knows."""
    return math.inf if entry.installed_bytes is None else entry.installed_bytes + (entry.artifact_bytes or 0)


def _is_far_smaller(one: Entry, other: Entry) -> bool:
    return FAR_SMALLER * needed_bytes(one) < needed_bytes(other)


def _count(row: LatencyRow) -> int:
    return row.misses.count if row.misses else 0


def _bound(row: LatencyRow) -> float:
    return row.misses.share_bound if row.misses else 0.0


def _shown(row: LatencyRow) -> float | None:
    """The highest percentile, in hundredths, at which the limit holds with 95 % confidence; None where it is missed."""
    if _count(row) / row.samples > 1 - ASKED_PERCENTILE / 100:
        return None
    return math.floor(1e4 * (1 - _bound(row))) / 100


def _lateness(row: LatencyRow) -> str:
    return f"{q.count(_count(row))} of {q.count(row.samples)} calls were late"
