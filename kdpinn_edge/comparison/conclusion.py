"""Which backend to use: the rule, the same for the terminal and for the page.

Only what somebody would deploy is recommended: no engine for development, and no other function. Called from C, or from
Python, the fastest is chosen by the ratios to the library. Of those that are not slower than it beyond noise (within
EQUAL they are called as fast in any case), one that is far better in another respect is preferred: in bytes on disk,
else in the time to its first value, else in its error.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from kdpinn_edge.comparison.ratios import Ratio, quotient
from kdpinn_edge.comparison.record import Entry, Mode, Record
from kdpinn_edge.comparison.statistics import LatencyRow, Percentile, rows

Place = Literal["from C", "from Python"]
PLACES: tuple[Place, ...] = ("from C", "from Python")
ASKED_N = (1, 10_000)
EQUAL = 1.05
FAR = 4.0
"""A size, a start or an error that is so many times as small is far better."""

NEAR = 2.0

CALLED: dict[Mode, str] = {
    "closed": "back to back",
    "periodic": "at a fixed rate",
    "periodic, load": "at a fixed rate, beside a background load",
}


class RowTable:
    """The rows of a record, found by entry, n and mode."""

    def __init__(self, record: Record) -> None:
        self.record = record
        self.rows = rows(record)
        self.n_points = sorted({row.n for row in self.rows})
        self.modes = [mode for mode in CALLED if any(row.mode == mode for row in self.rows)]
        self._rows = {(row.entry, row.n, row.mode): row for row in self.rows}

    def row(self, entry: Entry, n: int, mode: Mode = "closed") -> LatencyRow | None:
        """The LatencyRow of `entry` at n points, or None where it was not measured."""
        return self._rows.get((entry.name, n, mode))

    def median(self, entry: Entry, n: int, mode: Mode = "closed") -> Percentile | None:
        """The median of `entry` at n points, or None where it was not measured."""
        row = self.row(entry, n, mode)
        return row.percentiles[0] if row else None

    def ratio(self, entry: Entry, n: int) -> Ratio | None:
        """How many times as long as the library `entry` takes for n points; None where it has no ratio."""
        row = self.row(entry, n)
        return row.ratio if row else None

    def ranked(self, entries: Sequence[Entry], n: int) -> list[Entry]:
        """The ones of `entries` that were measured at n points, the fastest first."""
        found = [(row.ratio.factor if row.ratio else row.percentiles[0].ns, i) for i, row in self._closed(entries, n)]
        return [entries[i] for _, i in sorted(found)]

    def asked(self) -> list[int]:
        """The n that the answer is about: 1 and 10 000; where neither was measured, the least and the most points."""
        return [n for n in ASKED_N if n in self.n_points] or sorted({*self.n_points[:1], *self.n_points[-1:]})

    def _closed(self, entries: Sequence[Entry], n: int) -> list[tuple[int, LatencyRow]]:
        return [(i, row) for i, entry in enumerate(entries) if (row := self.row(entry, n))]


@dataclass(frozen=True)
class Rival:
    """Another backend, and how many times as long it takes as the one that is chosen."""

    entry: Entry
    times: Ratio


@dataclass(frozen=True)
class Choice:
    """The backend to use for n points at one place. `equals` are as fast, `open` are those of which that is not
    decidable here, `smaller` is the fastest of those that take up to NEAR times as long and are far smaller, and
    `other` the fastest on the other side: of this project, or outside it. `way` is the fastest of those that evaluate
    the solution in another way, which are never recommended: their error is their distance to the network.
    """

    n: int
    place: Place
    entry: Entry
    equals: tuple[Rival, ...]
    open: tuple[Rival, ...]
    smaller: Rival | None
    other: Rival | None
    way: Rival | None


def place_of(entry: Entry) -> Place:
    """Where `entry` is called from."""
    return "from C" if entry.layer == "kernel in C" else "from Python"


def choose(table: RowTable, entries: Sequence[Entry], n: int, place: Place) -> Choice | None:
    """The Choice among `entries` for n points; None where none of them qualifies."""
    here = [e for e in entries if place_of(e) == place and e.is_deployed and table.ratio(e, n)]
    ranked = table.ranked([entry for entry in here if entry.promise != "another function"], n)
    if not ranked:
        return None
    others = table.ranked([entry for entry in here if entry.promise == "another function"], n)
    fastest = ranked[0]
    equals = [entry for entry in ranked if _is_equal(table, entry, fastest, n)]
    entry = next((other for other in equals if is_far_better(other, fastest)), fastest)
    rivals = [Rival(other, times(table, other, entry, n)) for other in ranked if other is not entry]
    is_ours = entry.promise == "same bits"
    return Choice(
        n=n,
        place=place,
        entry=entry,
        equals=tuple(r for r in rivals if r.entry in equals and r.times.is_decidable),
        open=tuple(r for r in rivals if not r.times.is_decidable and not r.times.is_longer),
        smaller=next((r for r in rivals if r.times.factor < NEAR and _is_far_smaller(r.entry, entry)), None),
        other=next((r for r in rivals if (r.entry.promise == "same bits") != is_ours), None),
        way=next((Rival(other, times(table, other, entry, n)) for other in others), None),
    )


def choices(table: RowTable, entries: Sequence[Entry]) -> list[Choice]:
    """Every Choice, at each n that is asked for and at each place."""
    found = [choose(table, entries, n, place) for n in table.asked() for place in PLACES]
    return [choice for choice in found if choice]


def times(table: RowTable, one: Entry, other: Entry, n: int) -> Ratio:
    """How many times as long `one` takes as `other`; both have a ratio to the same library."""
    a, b = table.ratio(one, n), table.ratio(other, n)
    if a is None or b is None:
        raise ValueError(f"{one.name} or {other.name} has no ratio at {n}")
    return quotient(a, b)


def needed_bytes(entry: Entry) -> float:
    """The bytes to install for one model; infinite where nobody knows."""
    return math.inf if entry.installed_bytes is None else entry.installed_bytes + (entry.artifact_bytes or 0)


def start_ns(entry: Entry) -> float:
    """The median time from a new process to the first value; infinite where nobody knows."""
    found = [start.process_ns + start.load_ns + start.first_call_ns for start in entry.starts]
    return statistics.median(found) if found else math.inf


def is_far_better(one: Entry, other: Entry) -> bool:
    """Whether `one` is far smaller than `other`; as large and far quicker to start; or both, and far more exact."""
    for cost in (needed_bytes, start_ns, lambda entry: entry.error):
        if FAR * cost(one) < cost(other):
            return True
        if cost(one) > FAR * cost(other):
            return False
    return False


def _is_far_smaller(one: Entry, other: Entry) -> bool:
    return FAR * needed_bytes(one) < needed_bytes(other)


def sentence(record: Record) -> str:
    """Which backend to use, how many times as fast as which other: one sentence; "" where nothing was measured."""
    table = RowTable(record)
    entries = [entry for entry in record.entries if entry.threads is not None]
    found = choices(table, entries)
    # who calls from Python has frameworks to compare with; a C program's loop has none where no other C is measured
    place = next((p for p in reversed(PLACES) if any(c.place == p and c.other for c in found)), None)
    parts = [_part(choice) for choice in found if choice.place == place and choice.other]
    if not parts:
        return f"Nothing was there to compare {found[0].entry.name} with." if found else ""
    ways = [said for choice in found if (said := _way(choice))]
    return f"Called {place}, {'; '.join([*parts, *ways])}."


def _way(choice: Choice) -> str:
    if choice.way is None or not choice.way.times.is_decidable:
        return ""
    n = f"{choice.n:,} point{'s' if choice.n != 1 else ''}"
    factor = three_digits(choice.way.times.factor)
    return f"{choice.place}, {choice.way.entry.name} takes {factor} times as long as {choice.entry.name} for {n}"


def _part(choice: Choice) -> str:
    other, n = choice.other, f"{choice.n:,} point{'s' if choice.n != 1 else ''} per call"
    if other is None:
        return choice.entry.name
    if not other.times.is_longer and not other.times.is_decidable:
        return f"it is not decidable here whether {choice.entry.name} is faster than {other.entry.name} for {n}"
    if not other.times.is_longer:
        return f"{choice.entry.name} is as fast as {other.entry.name} for {n}"
    if not other.times.is_decidable or other.times.low is None or other.times.high is None:
        return f"{choice.entry.name} is faster than {other.entry.name} for {n}, how much is not decidable here"
    low, high = three_digits(other.times.low), three_digits(other.times.high)
    factor = three_digits(other.times.factor)
    return f"{choice.entry.name} is {factor} ({low} to {high}) times as fast as {other.entry.name} for {n}"


def three_digits(value: float) -> str:
    """Write a factor with three digits: 0.987, 36.2, 1,210."""
    if value >= 100:
        return f"{round(value, -math.floor(math.log10(value)) + 2):,.0f}"
    return f"{value:.{2 if value >= 0.9995 else 3}f}" if value < 9.995 else f"{value:.1f}"


def _is_equal(table: RowTable, entry: Entry, fastest: Entry, n: int) -> bool:
    found = times(table, entry, fastest, n)
    return found.factor <= EQUAL or (found.is_decidable and not found.is_longer)
