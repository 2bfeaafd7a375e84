"""From raw samples to rows: percentiles with intervals in which a repetition is expected, and missed deadlines."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

import msgspec
import numpy as np
from numpy.typing import NDArray
from scipy.special import betaincinv, stdtrit

from kdpinn_edge.comparison.record import Cell, Device, Mode, Record
from kdpinn_edge.errors import BenchError

Array = NDArray[Any]

PERCENTILES = (50.0, 90.0, 99.0, 99.9)
BEYOND = 10  # samples beyond a percentile, for it to be one
CONFIDENCE = 0.95
DRAWS = 200
SHORTEST_NS = 0.01  # a sample of 0 has no logarithm


@dataclass(frozen=True)
class Percentile:
    """The p-th percentile in nanoseconds, by nearest rank; a repetition of the run is expected in [low_ns, high_ns]
    in 95 of 100 cases.
    """

    p: float
    ns: float
    low_ns: float
    high_ns: float


@dataclass(frozen=True)
class Misses:
    """Late calls: `count` of `samples` latencies exceeded the deadline. The true share is below `share_bound` with 95 %
    confidence: none in N means below 3/N.
    """

    count: int
    samples: int
    share_bound: float


@dataclass(frozen=True)
class LatencyRow:
    """The summary of one Cell. `percentiles` are those of PERCENTILES that have ten samples beyond them; p50 always.

    `misses` is None where a sample is a mean of several calls.
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
    return tuple(row(cell, record.protocol.deadline_ns) for cell in record.cells)


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
    return document | {"baselines": baselines, "devices": devices, "rows": [asdict(found) for found in rows(record)]}


def row(cell: Cell, deadline_ns: float) -> LatencyRow:
    """The LatencyRow of `cell`."""
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
        misses=misses(pooled, deadline_ns) if cell.batch == 1 else None,
    )


def samples_for(p: float) -> int:
    """The number of samples that the p-th percentile needs: ten lie beyond it. Raises BenchError where p is none."""
    if not 0 < p < 100:
        raise BenchError(f"percentile {p:g}; expected: above 0 and below 100, as in 99.9")
    return round(BEYOND / (1 - p / 100))


def misses(samples_ns: Array, deadline_ns: float) -> Misses:
    """Count how many of `samples_ns` are above the deadline; the bound is that of Clopper and Pearson."""
    count, n = int((samples_ns > deadline_ns).sum()), samples_ns.size
    return Misses(count, n, 1.0 if count == n else float(betaincinv(count + 1, n - count, CONFIDENCE)))


def percentiles(cell: Cell, ps: Sequence[float]) -> tuple[Percentile, ...]:
    """The percentiles `ps` of all samples of `cell`, and where a repetition of the run is expected.

    The bootstrap draws processes with replacement, and of each its blocks: samples of one block resemble each other,
    and so do blocks of one process. With s the standard deviation of the logarithm over the draws and P processes (or
    blocks, where there is one process), a repetition departs from this run by t √2 s √(P / (P − 1)), t being Student's
    quantile for P − 1 degrees of freedom: √2, because it has an error of its own. No interval reaches beyond the
    smallest and the largest sample. Seeded: equal samples, equal rows.
    """
    samples = np.concatenate([block.samples_ns for block in cell.blocks])
    order = np.argsort(samples, kind="stable")
    ordered = samples[order]
    found = ordered[_ranks(np.arange(1, ordered.size + 1)[None], ps)[0]]

    clusters = _clusters(cell)
    P = len(clusters)
    if P == 1:
        return tuple(
            Percentile(p, ns, float(ordered[0]), float(ordered[-1])) for p, ns in zip(ps, found.tolist(), strict=True)
        )
    rng = np.random.default_rng(0)
    drawn = np.empty((DRAWS, len(cell.blocks)), np.int32)  # how often each block is drawn
    times = rng.multinomial(P, np.full(P, 1 / P), DRAWS)
    for c, blocks in enumerate(clusters):
        drawn[:, blocks] = rng.multinomial(times[:, c] * blocks.size, np.full(blocks.size, 1 / blocks.size))
    block_of = np.repeat(np.arange(len(cell.blocks)), [len(block.samples_ns) for block in cell.blocks])[order]
    ranks = _ranks(np.cumsum(drawn[:, block_of], axis=1), ps)
    s = np.log(np.maximum(ordered[ranks], SHORTEST_NS)).std(axis=0)
    factor = np.exp(stdtrit(P - 1, (1 + CONFIDENCE) / 2) * np.sqrt(2 * P / (P - 1)) * s)
    low, high = np.maximum(found / factor, ordered[0]), np.minimum(found * factor, ordered[-1])
    return tuple(map(Percentile, ps, found.tolist(), low.tolist(), high.tolist()))


def _ranks(cumulative: Array, ps: Sequence[float]) -> Array:
    """Where the nearest rank of each percentile lies (rows, len(ps)) among samples of these cumulative weights."""
    wanted = np.ceil(np.asarray(ps) / 100 * cumulative[:, -1:] - 1e-9)
    return np.array([np.searchsorted(row, w) for row, w in zip(cumulative, wanted, strict=True)])


def _clusters(cell: Cell) -> list[Array]:
    """The indices of the blocks of each process; of each block, where there is one process."""
    processes = np.array([block.process for block in cell.blocks])
    labels = np.unique(processes)
    if labels.size == 1:
        return [np.array([i]) for i in range(processes.size)]
    return [np.flatnonzero(processes == label) for label in labels]
