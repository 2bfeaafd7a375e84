"""From raw samples to rows: how many times as long as the library, percentiles, and missed deadlines."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

import msgspec
import numpy as np
from numpy.typing import NDArray
from scipy.special import betaincinv

from kdpinn_edge.comparison.backend import Layer
from kdpinn_edge.comparison.ratios import CONFIDENCE, OF_LAYER, TO_KNOWN_WORK, Ratio, ratio, undisturbed_ns
from kdpinn_edge.comparison.record import KNOWN_WORK, Block, Cell, Device, Entry, Mode, Record
from kdpinn_edge.errors import BenchError

Array = NDArray[Any]
Verdict = Literal["held", "missed", "not decidable here"]

PERCENTILES = (50.0, 90.0, 99.0, 99.9)
BEYOND = 10  # samples beyond a percentile, for it to be one

REFERENCE = {"kernel in C": "library, C loop", "call from Python": "library, cffi", "framework call": "library, cffi"}
"""For each layer the backend that the others are compared with."""


@dataclass(frozen=True)
class Percentile:
    """The p-th percentile in nanoseconds, by nearest rank."""

    p: float
    ns: float


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
    least = undisturbed_ns(record)
    return tuple(_row(cell, entries[cell.entry], least, record.protocol.deadline_ns) for cell in record.cells)


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
            "rows": [asdict(row(c, record.protocol.deadline_ns)) for c in f.cells],
        }
        for f in record.baselines
    ]
    found = rows(record)
    used, pairs = used_pairs(found)
    return document | {
        "pairs": pairs,
        "used_pairs": used,
        "baselines": baselines,
        "devices": devices,
        "rows": [asdict(each) for each in found],
    }


def used_pairs(found: Sequence[LatencyRow]) -> tuple[int, int]:
    """Count the pairs that the ratios of the rows `found` rest on, and all that were measured."""
    ratios = [measured for each in found if (measured := each.work or each.ratio)]
    used = sum(each.pairs for each in ratios)
    return used, used + sum(each.disturbed for each in ratios)


def is_reference(entry: Entry) -> bool:
    """Whether `entry` is the library that the others of its layer are compared with."""
    return entry.partner == KNOWN_WORK and entry.backend == REFERENCE[entry.layer]


def row(cell: Cell, deadline_ns: float) -> LatencyRow:
    """The LatencyRow of `cell` without ratios."""
    pooled = np.concatenate([block.samples_ns for block in cell.blocks])
    enough = [p for p in PERCENTILES if p == PERCENTILES[0] or pooled.size >= samples_for(p)]
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
        ratio=None,
        work=None,
        misses=misses(cell.blocks, deadline_ns) if cell.period_ns is not None else None,
    )


def _row(cell: Cell, entry: Entry, least: Mapping[Layer, float], deadline_ns: float) -> LatencyRow:
    """The LatencyRow of `cell`, which is of `entry`; the known work takes `least` in a loop of that layer."""
    found = row(cell, deadline_ns)
    if not any(block.pairs_ns for block in cell.blocks):
        return found
    scatter = TO_KNOWN_WORK if entry.partner == KNOWN_WORK else OF_LAYER[entry.layer]
    of_pairs = ratio(cell, least[entry.layer], scatter)
    if is_reference(entry):
        return replace(found, ratio=replace(of_pairs, factor=1.0, low=1.0, high=1.0, spread=0.0), work=of_pairs)
    return replace(found, ratio=of_pairs if entry.partner != KNOWN_WORK else None)


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
