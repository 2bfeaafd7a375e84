"""From raw samples to rows: how many times as long as the library, percentiles, and missed deadlines."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

import msgspec
import numpy as np
from numpy.typing import NDArray
from scipy.special import betaincinv, stdtrit

from kdpinn_edge.comparison.disturbance import is_spoilt
from kdpinn_edge.comparison.record import KNOWN_WORK, Block, Cell, Device, Entry, Mode, Record
from kdpinn_edge.errors import BenchError

Array = NDArray[Any]
Verdict = Literal["held", "missed", "not decidable here"]

PERCENTILES = (50.0, 90.0, 99.0, 99.9)
BEYOND = 10  # samples beyond a percentile, for it to be one
CONFIDENCE = 0.95
DRAWS = 400
WIDEST = 2.0
"""An interval whose ends are further apart than this factor decides nothing."""

REFERENCE = {"kernel in C": "library, C loop", "call from Python": "library, cffi", "framework call": "library, cffi"}
"""For each layer the backend that the others are compared with."""


@dataclass(frozen=True)
class Percentile:
    """The p-th percentile in nanoseconds, by nearest rank."""

    p: float
    ns: float


@dataclass(frozen=True)
class Ratio:
    """How many times as long one call takes as another, in time on the core: `factor`.

    A repetition of the run is expected in [low, high] in 95 of 100 cases. `spread` is the standard error of the
    logarithm, with `freedom` degrees. The three are None, and `freedom` is 0, where there is one turn alone. It rests
    on `turns`; `spoilt` others were left out.
    """

    factor: float
    low: float | None
    high: float | None
    spread: float | None
    freedom: float
    turns: int
    spoilt: int

    @property
    def is_decidable(self) -> bool:
        """Whether the interval is narrow enough to say anything."""
        return self.low is not None and self.high is not None and self.high <= WIDEST * self.low

    @property
    def is_longer(self) -> bool:
        """Whether the call takes longer than the other, beyond noise: how many times as long may be open."""
        return self.low is not None and self.low > 1


@dataclass(frozen=True)
class Misses:
    """Late calls: of `samples`, `count` exceeded the deadline by themselves. `stalled` others exceeded it because the
    machine gave their core to somebody else; they say nothing and are not among the samples.

    With 95 % confidence the true share lies below `share_bound` (none in N means below 3/N), and, also with 95 %
    confidence, above `share_least`: the bounds of Clopper and Pearson.
    """

    count: int
    samples: int
    stalled: int
    share_bound: float
    share_least: float

    def verdict(self, p: float) -> Verdict:
        """Whether the deadline is held at the p-th percentile."""
        if self.share_bound <= 1 - p / 100:
            return "held"
        return "missed" if self.share_least > 1 - p / 100 else "not decidable here"


@dataclass(frozen=True)
class LatencyRow:
    """The summary of one Cell. `percentiles`, in wall time, are those of PERCENTILES that have ten samples beyond them;
    p50 always.

    `ratio` is to the library, called in the same layer: exactly 1 for the library itself, None in modes without pairs.
    `work` is to a loop that is always the same, for the library alone: how its own speed is compared with another run.
    `misses` is None but in periodic modes.
    """

    entry: str
    n: int
    mode: Mode
    samples: int
    batch: int
    period_ns: int | None
    percentiles: tuple[Percentile, ...]
    min_ns: float
    max_ns: float
    ratio: Ratio | None
    work: Ratio | None
    misses: Misses | None

    def percentile(self, p: float) -> Percentile | None:
        """The percentile p, or None where there are too few samples for it."""
        return next((found for found in self.percentiles if found.p == p), None)


@dataclass(frozen=True)
class DeviceRow:
    """The summary of one DeviceCell, per call: in nanoseconds where the rate of the clock is known, else in its cycles.

    `p99` is None where less than ten samples lie beyond it.
    """

    device: str
    function: str
    n: int
    samples: int
    batch: int
    unit: Literal["ns", "cycles"]
    least: float
    median: float
    p99: float | None
    most: float
    error: float


def device_rows(device: Device) -> tuple[DeviceRow, ...]:
    """A DeviceRow for each cell of `device`, in its order."""
    clock = device.clock
    unit: Literal["ns", "cycles"] = "ns" if clock.per_second else "cycles"
    scale = 1e9 / clock.per_second if clock.per_second else 1.0
    found = []
    for cell in device.cells:
        calls = np.array(cell.ticks) * (scale / cell.batch)
        median, p99 = np.quantile(calls, (0.5, 0.99), method="inverted_cdf").tolist()
        found.append(
            DeviceRow(
                device=device.name,
                function=cell.function,
                n=cell.n,
                samples=calls.size,
                batch=cell.batch,
                unit=unit,
                least=float(calls.min()),
                median=median,
                p99=p99 if calls.size >= samples_for(99.0) else None,
                most=float(calls.max()),
                error=cell.error,
            )
        )
    return tuple(found)


def rows(record: Record) -> tuple[LatencyRow, ...]:
    """A LatencyRow for each Cell of `record`, in its order."""
    entries = {entry.name: entry for entry in record.entries}
    return tuple(row(cell, entries.get(cell.entry), record.protocol.deadline_ns) for cell in record.cells)


def summary(record: Record) -> dict[str, Any]:
    """Summarise `record` for JSON, with rows instead of samples."""
    devices = [
        {key: value for key, value in msgspec.to_builtins(device).items() if key != "cells"}
        | {"rows": [asdict(found) for found in device_rows(device)]}
        for device in record.devices
    ]
    document: dict[str, Any] = msgspec.to_builtins(replace(record, cells=(), baselines=(), devices=()))
    del document["cells"]
    baselines = [
        {
            "layer": f.layer,
            "clock_ns": f.clock_ns,
            "rows": [asdict(row(c, None, record.protocol.deadline_ns)) for c in f.cells],
        }
        for f in record.baselines
    ]
    turns, spoilt = spoilt_turns(record)
    return document | {
        "turns": turns,
        "spoilt_turns": spoilt,
        "baselines": baselines,
        "devices": devices,
        "rows": [asdict(found) for found in rows(record)],
    }


def spoilt_turns(record: Record) -> tuple[int, int]:
    """Count the turns of `record`, and those of them that the machine spoilt."""
    blocks = [block for cell in record.cells for block in cell.blocks if block.disturbance]
    return len(blocks), sum(is_spoilt(block.disturbance) for block in blocks)


def is_reference(entry: Entry) -> bool:
    """Whether `entry` is the library that the others of its layer are compared with."""
    return entry.partner == KNOWN_WORK and entry.backend == REFERENCE[entry.layer]


def row(cell: Cell, entry: Entry | None, deadline_ns: float) -> LatencyRow:
    """The LatencyRow of `cell`, which is of `entry`; None where it is of no backend."""
    pooled = np.concatenate([block.samples_ns for block in cell.blocks])
    enough = [p for p in PERCENTILES if p == PERCENTILES[0] or pooled.size >= samples_for(p)]
    of_pairs = ratio(cell) if any(block.pairs_ns for block in cell.blocks) else None
    is_library = entry is not None and is_reference(entry)
    is_other = entry is not None and entry.partner != KNOWN_WORK
    own = of_pairs and replace(of_pairs, factor=1.0, low=1.0, high=1.0, spread=0.0)
    return LatencyRow(
        entry=cell.entry,
        n=cell.n,
        mode=cell.mode,
        samples=pooled.size,
        batch=cell.batch,
        period_ns=cell.period_ns,
        percentiles=percentiles(cell, enough),
        min_ns=float(pooled.min()),
        max_ns=float(pooled.max()),
        ratio=own if is_library else of_pairs if is_other else None,
        work=of_pairs if is_library else None,
        misses=misses(cell.blocks, deadline_ns) if cell.period_ns is not None else None,
    )


def samples_for(p: float) -> int:
    """The number of samples that the p-th percentile needs: ten lie beyond it. Raises BenchError where p is none."""
    if not 0 < p < 100:
        raise BenchError(f"percentile {p:g}; expected: above 0 and below 100, as in 99.9")
    return round(BEYOND / (1 - p / 100))


def misses(blocks: Sequence[Block], deadline_ns: float) -> Misses:
    """Count the late calls of periodic `blocks`, and those that the machine stalled.

    A call was stalled that is late, but would not be on a core that nobody else used. What other virtual machines take
    is counted by the kernel per turn and not per call: of the late calls of a turn those with the least delay count as
    stalled, until what was stolen in it explains no more.
    """
    count = stalled = samples = 0
    for block in blocks:
        late = np.asarray(block.samples_ns) > deadline_ns
        own_ns = np.asarray(block.on_core_ns or block.samples_ns)
        excess_ns = np.sort(own_ns[late & (own_ns > deadline_ns)]) - deadline_ns
        stolen_ns = block.disturbance.stolen_ns if block.disturbance else 0
        explained = int((np.cumsum(excess_ns) <= stolen_ns).sum())
        stalled += int(late.sum()) - excess_ns.size + explained
        count += excess_ns.size - explained
        samples += len(block.samples_ns)
    samples -= stalled
    return Misses(count, samples, stalled, *share_bounds(count, samples))


def share_bounds(count: int, n: int) -> tuple[float, float]:
    """The share below which, and that above which `count` of n says that the true one lies, each with 95 % confidence:
    the bounds of Clopper and Pearson.
    """
    above = 1.0 if count == n else float(betaincinv(count + 1, n - count, CONFIDENCE))
    below = 0.0 if count == 0 else float(betaincinv(count, n - count + 1, 1 - CONFIDENCE))
    return above, below


def percentiles(cell: Cell, ps: Sequence[float]) -> tuple[Percentile, ...]:
    """The percentiles `ps` of all samples of `cell`, by nearest rank."""
    samples = np.concatenate([block.samples_ns for block in cell.blocks])
    found = np.quantile(samples, np.asarray(ps) / 100, method="inverted_cdf")
    return tuple(map(Percentile, ps, found.tolist()))


def ratio(cell: Cell) -> Ratio:
    """The Ratio of the calls of `cell` to those of their partner.

    A turn's figure is the median over its pairs of the difference of logarithms: whatever the machine did to both of a
    pair cancels, and what it did to one is an outlier. A process' figure is the mean of its turns, and the run's the
    mean of its processes. The bootstrap draws processes with replacement, and turns within them, since pairs of one
    turn resemble each other, and so do turns of one process. With s the standard deviation over the draws and P
    processes, the standard error is s √(P / (P − 1)), and a repetition departs from this run by Student's quantile for
    P − 1 degrees of freedom times √2 standard errors: √2, because it has an error of its own. One process alone says
    nothing about others; they are taken to differ as much as its turns do, which is what was seen.
    Turns that the machine spoilt are left out, by the rule of disturbance.py; where all are, none is. Seeded: equal
    pairs, equal ratios.
    """
    sound = [block for block in cell.blocks if not is_spoilt(block.disturbance)] or list(cell.blocks)
    turns = np.array([np.median(-np.diff(np.log(block.pairs_ns), axis=1)) for block in sound])
    processes = np.array([block.process for block in sound])
    labels = np.unique(processes)
    clusters = [turns[processes == label] for label in labels]
    P, centre = len(clusters), float(np.mean([cluster.mean() for cluster in clusters]))
    spoilt = len(cell.blocks) - len(sound)
    if turns.size == 1:
        return Ratio(math.exp(centre), None, None, None, 0.0, turns.size, spoilt)
    if P == 1:
        alone = float(turns.std(ddof=1)) * math.sqrt(1 + 1 / turns.size)
        return _within(centre, alone, turns.size - 1.0, turns.size, spoilt)
    rng = np.random.default_rng(0)
    means = np.empty((DRAWS, P))
    for c, drawn in enumerate(rng.integers(P, size=(P, DRAWS))):
        for k, cluster in enumerate(clusters):
            those = np.flatnonzero(drawn == k)
            means[those, c] = cluster[rng.integers(cluster.size, size=(those.size, cluster.size))].mean(axis=1)
    spread = float(means.mean(axis=1).std()) * math.sqrt(P / (P - 1))
    return _within(centre, spread, P - 1.0, turns.size, spoilt)


def quotient(one: Ratio, other: Ratio) -> Ratio:
    """How many times as long `one` takes as `other`, both being ratios to the same partner."""
    centre, joint = math.log(one.factor / other.factor), _joint(one, other)
    turns, spoilt = one.turns + other.turns, one.spoilt + other.spoilt
    if joint is None:
        return Ratio(math.exp(centre), None, None, None, 0.0, turns, spoilt)
    return _within(centre, *joint, turns, spoilt)


def has_changed(before: Ratio, after: Ratio) -> bool:
    """Whether two runs differ by more than their errors explain, with 95 % confidence."""
    joint = _joint(before, after)
    return joint is not None and abs(math.log(after.factor / before.factor)) > _student(joint[1]) * joint[0]


def _joint(one: Ratio, other: Ratio) -> tuple[float, float] | None:
    """The standard error of a difference of logarithms, and its degrees of freedom by Welch and Satterthwaite; None
    where one of them has no error.
    """
    if one.spread is None or other.spread is None:
        return None
    variance = one.spread**2 + other.spread**2
    inverse = one.spread**4 / max(one.freedom, 1) + other.spread**4 / max(other.freedom, 1)
    return math.sqrt(variance), variance**2 / inverse if inverse else 1.0


def _within(centre: float, spread: float, freedom: float, turns: int, spoilt: int) -> Ratio:
    reach = _student(freedom) * math.sqrt(2) * spread
    low, high = math.exp(centre - reach), math.exp(centre + reach)
    return Ratio(math.exp(centre), low, high, spread, freedom, turns, spoilt)


def _student(freedom: float) -> float:
    """The quantile of Student's distribution that CONFIDENCE needs on two sides."""
    return float(stdtrit(min(freedom, 1e9), (1 + CONFIDENCE) / 2))
