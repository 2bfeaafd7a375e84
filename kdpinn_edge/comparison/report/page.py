"""What the page shows, in the order of the page: made from a record, without a word of HTML."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product

import numpy as np
from markupsafe import Markup

from kdpinn_edge.comparison.backend import Layer
from kdpinn_edge.comparison.conclusion import CALLED, RowTable, needed_bytes, times
from kdpinn_edge.comparison.record import (
    Absent,
    Block,
    Device,
    Disturbance,
    Entry,
    Mode,
    NoiseBaseline,
    Record,
    Start,
    Subject,
)
from kdpinn_edge.comparison.report import figures, svg
from kdpinn_edge.comparison.report import quantities as q
from kdpinn_edge.comparison.report.answer import (
    ASKED_PERCENTILE,
    MOST_NAMED,
    Answer,
    answers,
    called,
    interval,
    judge,
    late,
    points,
    quoted,
)
from kdpinn_edge.comparison.report.figures import Distribution, Point, Series
from kdpinn_edge.comparison.report.look import Look, looks
from kdpinn_edge.comparison.statistics import (
    PERCENTILES,
    DeviceRow,
    LatencyRow,
    device_rows,
    is_reference,
    row,
    used_pairs,
)
from kdpinn_edge.runtime.on_core import SHORTEST_NS

KIND: dict[str, str] = {
    "refused": "Refused: computes something else",
    "failed": "Failed",
    "not installed": "Not installed",
}
MODES: dict[Mode, str] = {
    "closed": "calls follow each other back to back, and alternate every quarter of a millisecond with calls of the "
    "library in the same process; a sample is one call, or the mean of several where one is too short for the clock",
    "periodic": "one call per period, timed from the moment it should have begun: what holds one up delays those "
    "behind it, and that counts; waking up is part of it",
    "periodic, load": "the same, while a process on each core writes through memory",
    "cold": "one call after the caches were swept",
    "first": "the first call of a process",
}
LAYERS: Mapping[Layer, str] = {
    "kernel in C": "called in a C program",
    "call from Python": "called from Python",
    "framework call": "called from Python",
}


@dataclass(frozen=True)
class Figure:
    """A drawing under its title; `n` names it where there is one per n."""

    title: str
    drawing: Markup


@dataclass(frozen=True)
class LimitCell:
    """The tail of one entry at one n, which limit it is under (0 … 3, as `Page.limits`), and how many were late."""

    value: str
    percentile: str
    grade: int
    late: str
    is_late: bool


@dataclass(frozen=True)
class LimitTable:
    """One way of calling: for each entry a cell per n, None where it was not measured."""

    called: str
    lines: tuple[tuple[Entry, tuple[LimitCell | None, ...]], ...]


@dataclass(frozen=True)
class RatioTable:
    """Where the library and the others are called; for each entry its ratio at each n, "" where there is none."""

    called: str
    library: str
    lines: tuple[tuple[Entry, tuple[str, ...]], ...]


@dataclass(frozen=True)
class SizeLine:
    """The sizes and times that one entry costs: text for each column, "" where it was not measured."""

    entry: Entry
    artifact: str
    installed: str
    memory: str
    load: str
    first: str
    start: str
    cold: str
    warm: str


@dataclass(frozen=True)
class NumberLine:
    """One LatencyRow in full."""

    entry: str
    n: str
    called: str
    ratio: str
    median: str
    tails: tuple[str, ...]
    most: str
    samples: str
    error: str


@dataclass(frozen=True)
class DeviceLine:
    """One DeviceRow in full."""

    device: str
    target: str
    function: str
    n: str
    figures: tuple[str, ...]
    samples: str
    error: str


@dataclass(frozen=True)
class Speedup:
    """The factor by which one entry is faster than another at each n, and where a repetition is expected; "" where one
    is missing.
    """

    slow: str
    fast: str
    times: tuple[str, ...]


@dataclass(frozen=True)
class Page:
    """The data that page.html.jinja asks for."""

    record: Record
    subject: Subject
    entries: tuple[Entry, ...]
    n_points: tuple[int, ...]
    modes: Mapping[Mode, str]
    looks: Mapping[str, Look]
    limit: str
    limits: tuple[str, ...]
    answers: tuple[Answer, ...]
    held: tuple[str, ...]
    ratios: tuple[RatioTable, ...]
    limit_tables: tuple[LimitTable, ...]
    latency: tuple[Figure, ...]
    spread: tuple[Figure, ...]
    errors: tuple[Figure, ...]
    sizes: tuple[SizeLine, ...]
    networks: tuple[Subject, ...]
    speedups: Mapping[str, tuple[Speedup, ...]]
    own_threads: tuple[tuple[Entry, tuple[str, ...]], ...]
    devices: tuple[DeviceLine, ...]
    absent: tuple[tuple[str, tuple[Absent, ...]], ...]
    numbers: tuple[NumberLine, ...]
    baselines: tuple[str, ...]
    has_means: bool
    n_samples: int
    n_pairs: int
    n_used: int
    taken: str
    stolen: str


def page(record: Record) -> Page:
    """The page of `record`: about its smallest network with equal threads for all; the rest is set beside that."""
    record = _above_zero(record)
    table = RowTable(record)
    subject = min(record.subjects, key=lambda subject: subject.multiply_adds)
    equal = sorted(
        (entry for entry in record.entries if entry.threads is not None),
        key=lambda entry: (entry.subject != subject.name, list(LAYERS).index(entry.layer)),
    )
    entries = tuple(entry for entry in equal if entry.subject == subject.name)
    look = {
        entry.name: replace(found, is_thin=entry.subject != subject.name)
        for entry, found in zip(record.entries, looks(entry.name for entry in record.entries).values(), strict=True)
    }
    deadline_ns = float(record.protocol.deadline_ns)
    limits_ns = sorted({*figures.LIMITS_NS, deadline_ns})
    limits_ns = limits_ns[: limits_ns.index(deadline_ns) + 1]
    found = answers(table, entries, subject)
    asked = [answer.n for answer in found]
    n_used, n_pairs = used_pairs(table.rows)
    return Page(
        record=record,
        subject=subject,
        entries=entries,
        n_points=tuple(table.n_points),
        modes=MODES,
        looks=look,
        limit=q.round_duration(deadline_ns),
        limits=tuple(map(q.round_duration, limits_ns)),
        answers=found,
        held=tuple(_held(table, entries, n) for n in asked),
        ratios=_ratios(table, equal),
        limit_tables=tuple(_limit_table(table, equal, mode, limits_ns) for mode in table.modes if mode != "closed"),
        latency=_latency(table, equal, look),
        spread=tuple(_spread(table, entries, look, n) for n in table.n_points),
        errors=tuple(_errors(table, entries, look, subject, n) for n in asked),
        sizes=tuple(_size_line(table, entry) for entry in entries),
        networks=record.subjects,
        speedups=_speedups(table, subject),
        own_threads=tuple((entry, _medians(table, entry)) for entry in record.entries if entry.threads is None),
        devices=tuple(_device_line(device, row) for device in record.devices for row in device_rows(device)),
        absent=tuple(
            (title, kept) for kind, title in KIND.items() if (kept := tuple(a for a in record.absent if a.kind == kind))
        ),
        numbers=tuple(
            _number_line(entry, row)
            for entry in record.entries
            for n in table.n_points
            for mode in table.modes
            if (row := table.row(entry, n, mode))
        ),
        baselines=tuple(map(_baseline, record.baselines)),
        has_means=any(cell.batch > 1 for cell in record.cells),
        n_samples=sum(len(block.samples_ns) for cell in record.cells for block in cell.blocks),
        n_pairs=n_pairs,
        n_used=n_used,
        taken=_share(record, lambda found: found.waited_ns),
        stolen=_share(record, lambda found: found.stolen_ns),
    )


def _share(record: Record, of: Callable[[Disturbance], int]) -> str:
    """The share of the time of all turns that something took."""
    found = [block.disturbance for cell in record.cells for block in cell.blocks if block.disturbance]
    return q.percent(sum(map(of, found)) / sum(turn.wall_ns for turn in found)) if found else ""


def _ratios(table: RowTable, entries: Sequence[Entry]) -> tuple[RatioTable, ...]:
    """How many times as long as the library of its layer each of the others takes."""
    found = []
    for place in dict.fromkeys(LAYERS.values()):
        here = [entry for entry in entries if LAYERS[entry.layer] == place]
        library = next((entry.name for entry in here if is_reference(entry)), "")
        lines = [
            (entry, tuple(interval(r) if (r := table.ratio(entry, n)) else "" for n in table.n_points))
            for entry in here
            if not is_reference(entry)
        ]
        if kept := tuple(line for line in lines if any(line[1])):
            found.append(RatioTable(place, library, kept))
    return tuple(found)


def _above_zero(record: Record) -> Record:
    """`record`, where samples of a coarse clock are at least SHORTEST_NS: 0 has neither a logarithm nor a ratio."""

    def block(found: Block) -> Block:
        if min(found.samples_ns) >= SHORTEST_NS:
            return found
        return replace(found, samples_ns=tuple(max(ns, SHORTEST_NS) for ns in found.samples_ns))

    return replace(record, cells=tuple(replace(cell, blocks=tuple(map(block, cell.blocks))) for cell in record.cells))


def _held(table: RowTable, entries: Sequence[Entry], n: int) -> str:
    """How many of the entries hold the limit at n points, which miss it, and of how many it is not decidable."""
    limit, asked = q.round_duration(table.record.protocol.deadline_ns), q.percentile(ASKED_PERCENTILE)
    verdicts = {entry.name: found.verdict for entry in entries if (found := judge(table, entry, n)).shown}
    if not verdicts:
        return ""
    by_verdict = {word: [name for name, found in verdicts.items() if found == word] for word in verdicts.values()}
    held, missed, open_ = (by_verdict.get(word, []) for word in ("held", "missed", "not decidable here"))
    parts = [f"{len(held)} of {len(verdicts)} backends hold {limit} at {asked}"]
    for those, what in (
        (missed, ("misses it", "miss it")),
        (open_, ("is not decidable here", "are not decidable here")),
    ):
        if those:
            parts.append(f"{quoted(those) if len(those) <= MOST_NAMED else len(those)} {what[len(those) > 1]}")
    return f"With {points(n)}, {'; '.join(parts)}."


def _limit_table(table: RowTable, entries: Sequence[Entry], mode: Mode, limits_ns: Sequence[float]) -> LimitTable:
    def cell(found: LatencyRow | None) -> LimitCell | None:
        if found is None or found.misses is None:
            return None
        tail = found.percentiles[-1]
        return LimitCell(
            value=q.duration(tail.ns),
            percentile=q.percentile(tail.p),
            grade=sum(tail.ns > limit for limit in limits_ns),
            late=late(found.misses),
            is_late=bool(found.misses.count),
        )

    lines = [(entry, tuple(cell(table.row(entry, n, mode)) for n in table.n_points)) for entry in entries]
    return LimitTable(CALLED[mode], tuple(line for line in lines if any(line[1])))


def _latency(table: RowTable, entries: Sequence[Entry], look: Mapping[str, Look]) -> tuple[Figure, ...]:
    """Two drawings: the median, and the highest percentile that the samples support."""

    def series(of: Callable[[LatencyRow], tuple[str, float]]) -> list[Series]:
        found = []
        for entry in entries:
            measured = [row for n in table.n_points if (row := table.row(entry, n))]
            told = [(row.n, *of(row)) for row in measured]
            marks = (Point(n, ns, f"{entry.name}, {points(n)}\n{p} {q.duration(ns)}") for n, p, ns in told)
            if measured:
                found.append(Series(entry.name, look[entry.name], tuple(marks)))
        return found

    deadline_ns = table.record.protocol.deadline_ns
    of_median = series(lambda row: ("median", row.percentiles[0].ns))
    of_tail = series(lambda row: (q.percentile(row.percentiles[-1].p), row.percentiles[-1].ns))
    if not of_median:
        return ()
    reach = svg.around([deadline_ns, *(point.y for one in (*of_median, *of_tail) for point in one.points)], margin=0.04)
    label = "{} of one call against the number of points, one line per backend; the numbers are in “All figures”."
    return (
        Figure("Median", figures.latency_against_n(of_median, reach, deadline_ns, label.format("Median time"))),
        Figure(
            "Tail: the highest percentile with enough samples, up to p99.9",
            figures.latency_against_n(of_tail, reach, deadline_ns, label.format("Tail latency")),
        ),
    )


def _spread(table: RowTable, entries: Sequence[Entry], look: Mapping[str, Look], n: int) -> Figure:
    cells = {cell.entry: cell for cell in table.record.cells if (cell.n, cell.mode) == (n, "closed")}
    found = []
    for entry in table.ranked(entries, n):
        row = table.row(entry, n)
        if row is None:
            continue
        samples = np.sort(np.concatenate([block.samples_ns for block in cells[entry.name].blocks]))
        told = [f"{q.percentile(p.p)} {q.duration(p.ns)}" for p in row.percentiles]
        told += [f"slowest {q.duration(row.max_ns)}", f"{q.count(row.samples)} samples"]
        if row.batch > 1:
            told[-1] += f", each the mean of {q.count(row.batch)} calls"
        found.append(Distribution(entry.name, look[entry.name], samples, "\n".join([entry.name, *told])))
    label = f"Distribution of the time of one call with {points(n)}: a row per backend."
    drawing = figures.distributions(found, table.record.protocol.deadline_ns, label) if found else Markup()
    return Figure(points(n), drawing)


def _errors(table: RowTable, entries: Sequence[Entry], look: Mapping[str, Look], subject: Subject, n: int) -> Figure:
    series = []
    for entry in table.ranked(entries, n):
        median = table.median(entry, n)
        if median is None:
            continue
        tip = f"{entry.name}\nmedian {q.duration(median.ns)}\nerror {q.error(entry.error)}"
        series.append(
            Series(
                entry.name, look[entry.name], (Point(max(entry.error, subject.allowed_error / 1e4), median.ns, tip),)
            )
        )
    lines = [("refused beyond", subject.allowed_error)]
    if subject.rmse:
        lines.append(("the network’s own", subject.rmse))
    label = f"Largest error and median time with {points(n)}, one mark per backend."
    return Figure(points(n), figures.error_against_latency(series, lines, label))


def _size_line(table: RowTable, entry: Entry) -> SizeLine:
    def typical(of: Callable[[Start], float], shown: Callable[[float], str]) -> str:
        return shown(statistics.median(map(of, entry.starts))) if entry.starts else ""

    def median(mode: Mode) -> str:
        medians = [table.median(entry, n, mode) for n in table.n_points[:1]]
        return q.duration(medians[0].ns) if medians and medians[0] else ""

    return SizeLine(
        entry=entry,
        artifact="" if entry.artifact_bytes is None else q.size(entry.artifact_bytes),
        installed="" if entry.installed_bytes is None else q.size(entry.installed_bytes),
        memory=typical(lambda start: start.added_bytes, q.size),
        load=typical(lambda start: start.load_ns, q.duration),
        first=typical(lambda start: start.first_call_ns, q.duration),
        start=typical(lambda start: start.process_ns + start.load_ns + start.first_call_ns, q.duration),
        cold=median("cold"),
        warm=median("closed"),
    )


def _medians(table: RowTable, entry: Entry) -> tuple[str, ...]:
    medians = (table.median(entry, n) for n in table.n_points)
    return tuple(q.duration(median.ns) if median else "" for median in medians)


def _device_line(device: Device, row: DeviceRow) -> DeviceLine:
    shown = q.duration if row.unit == "ns" else q.cycles
    figures = (row.median, row.p99, row.most, row.median / row.n)
    return DeviceLine(
        device=device.name,
        target=device.target,
        function=row.function,
        n=q.count(row.n),
        figures=tuple("" if figure is None else shown(figure) for figure in figures),
        samples=_samples(row),
        error=q.error(row.error),
    )


def _samples(row: LatencyRow | DeviceRow) -> str:
    batch = f" × {q.count(row.batch)}" if row.batch > 1 else ""
    return f"{q.count(row.samples)}{batch}"


def _number_line(entry: Entry, row: LatencyRow) -> NumberLine:
    median = row.percentiles[0]
    tails = (row.percentile(p) for p in PERCENTILES[1:])
    return NumberLine(
        entry=entry.name,
        n=q.count(row.n),
        called=called(row),
        ratio=interval(row.ratio) if row.ratio else "",
        median=q.duration(median.ns),
        tails=tuple(q.duration(tail.ns) if tail else "" for tail in tails),
        most=q.duration(row.max_ns),
        samples=_samples(row),
        error=q.error(entry.error),
    )


def _speedups(table: RowTable, smallest: Subject) -> dict[str, tuple[Speedup, ...]]:
    """What a smaller network brings in one runtime, what another runtime brings for one network, and both together.

    Runtimes are compared as they are called from Python: each framework with this project's smallest backend.
    """
    entries = table.record.entries
    work = {subject.name: subject.multiply_adds for subject in table.record.subjects}
    ours = [entry for entry in entries if (entry.layer, entry.promise) == ("call from Python", "same bits")]
    network, runtime, both = [], [], []
    for slow, fast in product(entries, repeat=2):
        is_smaller = _problem(slow.subject) == _problem(fast.subject) and work[slow.subject] > work[fast.subject]
        if is_smaller and (slow.backend, slow.threads) == (fast.backend, fast.threads):
            network.append(_speedup(table, slow, fast))
    for slow in entries:
        if slow.layer != "framework call" or slow.promise == "same bits":
            continue
        alike = [entry for entry in ours if entry.threads == slow.threads]
        if same := [entry for entry in alike if entry.subject == slow.subject]:
            runtime.append(_speedup(table, slow, min(same, key=needed_bytes)))
        small = [entry for entry in alike if entry.subject == smallest.name]
        if small and slow.subject != smallest.name and _problem(slow.subject) == _problem(smallest.name):
            both.append(_speedup(table, slow, min(small, key=needed_bytes)))
    found = {
        "A smaller network, in the same runtime": tuple(network),
        "Another runtime, for the same network": tuple(runtime),
        "Both": tuple(both),
    }
    return {title: lines for title, lines in found.items() if lines}


def _problem(subject: str) -> str:
    return subject.removesuffix("_teacher").removesuffix("_student")


def _speedup(table: RowTable, slow: Entry, fast: Entry) -> Speedup:
    def factor(n: int) -> str:
        is_there = table.ratio(slow, n) and table.ratio(fast, n)
        return interval(times(table, slow, fast, n)) if is_there else ""

    return Speedup(slow.name, fast.name, tuple(map(factor, table.n_points)))


def _baseline(baseline: NoiseBaseline) -> str:
    """What a call that does nothing takes, in each way of calling: its median, and its highest percentile."""
    said = []
    for cell in baseline.cells:
        found = row(cell, 1).percentiles
        tail = f", {q.percentile(found[-1].p)} {q.duration(found[-1].ns)}" if len(found) > 1 else ""
        said.append(f"{CALLED.get(cell.mode, cell.mode)} {q.duration(found[0].ns)}{tail}")
    return "; ".join(said)
