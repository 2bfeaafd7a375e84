"""How long one call takes: percentiles of many samples, taken in one run with the calls that it is compared with.

A sample is the time of `batch` consecutive calls divided by `batch`. batch is 1 unless the clock itself would be more
than 1 % of the sample; a tail shorter than a batch is averaged, so a percentile never goes without its batch. Several
calls take turns in blocks: what disturbs the machine disturbs all of them, and within a block the caches stay warm.
Python's garbage collector is off while a block runs.
"""

from __future__ import annotations

import gc
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from time import perf_counter_ns

Call = Callable[[], object]

CLOCK_SHARE = 0.01  # of a sample
BLOCKS = 20
LEAST_SAMPLES = 100  # fewer have no 99th percentile
MOST_SAMPLES = 10_000


@dataclass(frozen=True)
class Latency:
    """Nanoseconds per call over `samples` samples of `batch` calls each; percentiles are by nearest rank."""

    p50_ns: float
    p99_ns: float
    max_ns: float
    min_ns: float
    samples: int
    batch: int


def latency(samples_ns: Sequence[float], batch: int) -> Latency:
    """Sum up samples, each the mean of `batch` calls."""
    ordered = sorted(samples_ns)

    def percentile(p: float) -> float:
        return ordered[math.ceil(p * len(ordered)) - 1]

    return Latency(percentile(0.50), percentile(0.99), ordered[-1], ordered[0], len(ordered), batch)


def time_calls(call: Call, *, seconds: float = 1.0) -> Latency:
    """The Latency of `call`, measured alone. See `time_interleaved`."""
    return time_interleaved({"call": call}, seconds=seconds)["call"]


def time_interleaved(calls: Mapping[str, Call], *, seconds: float = 1.0) -> dict[str, Latency]:
    """The Latency of each of `calls`, which take turns in 20 blocks, the first of them changing from round to round.

    Every call gets about `seconds`, but at least 100 and at most 10 000 samples. Each block starts with one call that
    is not timed.
    """
    plans = {name: _plan(call, seconds) for name, call in calls.items()}
    samples: dict[str, list[float]] = {name: [] for name in calls}
    names = list(calls)
    for i in range(BLOCKS):
        first = i % len(names)
        for name in names[first:] + names[:first]:
            samples[name] += _block(calls[name], *plans[name])
    return {name: latency(samples[name], plans[name][0]) for name in calls}


def _plan(call: Call, seconds: float) -> tuple[int, int]:
    """(batch, samples per block) for `call`, which this warms up."""
    clock_ns = min(_block(_nothing, 1, 1000))
    batch = 1
    while (sample_ns := batch * min(_block(call, batch, 5))) * CLOCK_SHARE < clock_ns:
        batch *= 2
    samples = min(max(seconds * 1e9 / sample_ns, LEAST_SAMPLES), MOST_SAMPLES)
    return batch, math.ceil(samples / BLOCKS)


def _block(call: Call, batch: int, n_samples: int) -> list[float]:
    """Nanoseconds per call, `n_samples` times, after one call that is not timed."""
    samples_ns = []
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        call()
        for _ in range(n_samples):
            start_ns = perf_counter_ns()
            for _ in range(batch):
                call()
            samples_ns.append((perf_counter_ns() - start_ns) / batch)
    finally:
        if was_enabled:
            gc.enable()
    return samples_ns


def _nothing() -> None:
    pass
