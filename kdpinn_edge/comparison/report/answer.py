"""What the measurements say, in sentences: the backend to use, what it costs, and whether the limit is held."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from kdpinn_edge.comparison.conclusion import (
    CALLED,
    PLACES,
    Choice,
    Place,
    Rival,
    RowTable,
    choose,
    needed_bytes,
    start_ns,
)
from kdpinn_edge.comparison.ratios import Ratio
from kdpinn_edge.comparison.record import Entry, Mode, Subject
from kdpinn_edge.comparison.report import quantities as q
from kdpinn_edge.comparison.statistics import LatencyRow, Misses, Percentile, Verdict

ASKED_PERCENTILE = 99.9
MOST_NAMED = 3


@dataclass(frozen=True)
class Limit:
    """Whether the limit is held by one entry at one n at p99.9, in every way of calling, and how the sentence goes on.

    `shown` has the highest percentile up to which it is shown to be held in each way; None where it is missed.
    """

    verdict: Verdict
    reason: str
    shown: Mapping[Mode, float | None]


@dataclass(frozen=True)
class Pick:
    """A Choice in words: what is as fast, what is slower, how exact, how large and how quick to start it is."""

    place: Place
    entry: Entry
    median: Percentile
    rivals: tuple[str, ...]
    accuracy: str
    size: str
    start: str
    limit: Limit


@dataclass(frozen=True)
class Answer:
    """The backends to use for n points; `limit` says whether the limit is held by all of them."""

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
    found = []
    for n in table.asked():
        chosen = [choice for place in PLACES if (choice := choose(table, entries, n, place))]
        picks = tuple(_pick(table, choice, subject) for choice in chosen)
        if picks:
            found.append(Answer(n, picks, _limit(table, picks)))
    return tuple(found)


def judge(table: RowTable, entry: Entry, n: int) -> Limit:
    """Whether the limit is held by `entry` at n points at p99.9, in every way of calling at a fixed rate.

    It is held where the share of late calls is below 0.1 % with 95 % confidence, missed where it is above that with the
    same confidence, and not decidable here in between. Calls that the machine stalled say nothing.
    """
    found = {mode: row for mode in table.modes if (row := table.row(entry, n, mode)) and row.misses}
    single = {mode: (row, row.misses) for mode, row in found.items() if row.misses}
    if not single:
        return Limit("not decidable here", "it was not called at a fixed rate.", {})
    shown = {mode: _shown(misses) for mode, (_, misses) in single.items()}
    mode = max(single, key=lambda way: (shown[way] is None, single[way][1].share_bound, single[way][0].max_ns))
    row, misses = single[mode]
    worst, asked = shown[mode], q.percentile(ASKED_PERCENTILE)
    how = f"when called {called(row)}: {_lateness(misses)}"
    slowest = f" The slowest took {q.duration(max(row.max_ns for row, _ in single.values()))}."
    surely = [CALLED[way] for way, p in shown.items() if way != mode and p is not None and p >= ASKED_PERCENTILE]
    elsewhere = f" It is held at {asked} when called {' and '.join(surely)}." if surely else ""
    if worst is None:
        return Limit("missed", f"{how}.{elsewhere}{slowest}", shown)
    if worst < ASKED_PERCENTILE:
        held = f"it is held at {q.percentile(worst)} " if worst > 0 else ""
        return Limit("not decidable here", f"at {asked}; {held}{how}.{elsewhere}{slowest}", shown)
    load = ", also beside a background load" if "periodic, load" in single else ""
    bound = f"so fewer than {q.percent_above(misses.share_bound)} are (95 % confidence)"
    return Limit("held", f"at {asked}{load}: {_lateness(misses)}, {bound}.{slowest}", shown)


def late(misses: Misses) -> str:
    """Describe how many calls were late and stalled, and the share that is excluded with 95 % confidence."""
    stalled = f", {q.count(misses.stalled)} stalled" if misses.stalled else ""
    if misses.samples and misses.count == misses.samples:
        return f"all {q.count(misses.samples)} late{stalled}"
    said = f"{q.count(misses.count)} of {q.count(misses.samples)} late"
    return f"{said}, <{q.NO_BREAK}{q.percent_above(misses.share_bound)}{stalled}"


def interval(ratio: Ratio) -> str:
    """Write a factor and where a repetition is expected, or that it is not decidable here."""
    if not ratio.is_decidable or ratio.low is None or ratio.high is None:
        return "not decidable here"
    if ratio.spread == 0:
        return q.significant(ratio.factor)
    return f"{q.significant(ratio.factor)} ({q.significant(ratio.low)} – {q.significant(ratio.high)})"


def _pick(table: RowTable, choice: Choice, subject: Subject) -> Pick:
    median = table.median(choice.entry, choice.n)
    if median is None:
        raise ValueError(f"{choice.entry.name} was not measured at {choice.n}")
    return Pick(
        place=choice.place,
        entry=choice.entry,
        median=median,
        rivals=tuple(_rivals(choice)),
        accuracy=_accuracy(choice.entry, subject),
        size=_size(choice.entry),
        start=q.duration(start_ns(choice.entry)) if choice.entry.starts else "Not measured",
        limit=judge(table, choice.entry, choice.n),
    )


def _limit(table: RowTable, picks: Sequence[Pick]) -> str:
    """Whether the limit is held by all `picks`, and in which way of calling it is not."""
    limit, asked = q.round_duration(table.record.protocol.deadline_ns), q.percentile(ASKED_PERCENTILE)
    found = {mode: [pick.limit.shown[mode] for pick in picks if mode in pick.limit.shown] for mode in table.modes}
    missed = [CALLED[mode] for mode, shown in found.items() if None in shown]
    kept = [p for shown in found.values() if None not in shown for p in shown if p is not None]
    if not kept:
        return f"The {limit} limit is missed at {asked}." if missed else f"Whether {limit} are held was not measured."
    level = min(kept)
    shown_at = asked if level >= ASKED_PERCENTILE else q.percentile(level)
    if missed:
        return f"The {limit} limit is missed when called {' and '.join(missed)}; otherwise it is held at {shown_at}."
    if level <= 0:
        return f"Whether the {limit} limit is held is not decidable here: the machine stalled the calls."
    few = "" if level >= ASKED_PERCENTILE else f"; {asked} is not decidable here"
    return f"The {limit} limit is held at {shown_at}{few}."


def _rivals(choice: Choice) -> list[str]:
    """Who is as fast, of whom it is not decidable, who is far smaller, who is the fastest on the other side."""
    said, named = [], {rival.entry.name for rival in (*choice.equals, *choice.open)}
    if choice.equals:
        said.append(f"As fast, within the noise: {_names(choice.equals)}.")
    if choice.open:
        said.append(f"Not decidable here: {_names(choice.open)}.")
    if choice.smaller and choice.smaller.entry.name not in named:
        size = q.size(needed_bytes(choice.smaller.entry))
        said.append(f"Far smaller: {_compared(choice.smaller)} and {size} in all.")
        named.add(choice.smaller.entry.name)
    if choice.other and choice.other.entry.name not in named:
        is_ours = choice.entry.promise == "same bits"
        who = "Fastest outside this project" if is_ours else "Fastest of this project"
        said.append(f"{who}: {_compared(choice.other)}.")
    if choice.way:
        error = q.error(choice.way.entry.error)
        said.append(f"The solution in another way: {_compared(choice.way)}; it differs from the network by {error}.")
    return said


def _names(rivals: Sequence[Rival]) -> str:
    names = [rival.entry.name for rival in rivals]
    more = len(names) - MOST_NAMED
    return quoted(names) if more <= 1 else f"{quoted(names[:MOST_NAMED])}, and {more} more"


def _compared(rival: Rival) -> str:
    return f"{quoted([rival.entry.name])}, {interval(rival.times)}{q.NO_BREAK}times as long"


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


def _shown(misses: Misses) -> float | None:
    """The highest percentile, in hundredths, at which the limit is held with 95 % confidence; None where missed."""
    if misses.verdict(ASKED_PERCENTILE) == "missed":
        return None
    return math.floor(1e4 * (1 - misses.share_bound)) / 100


def _lateness(misses: Misses) -> str:
    late = f"{q.count(misses.count)} of {q.count(misses.samples)} calls were late"
    if not misses.stalled:
        return late
    return f"{late}, and {q.count(misses.stalled)} more that the machine stalled"
