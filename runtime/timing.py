"""How long one call takes: raw samples, from a loop around it.

`once` is one call, just so. In `closed`, calls follow each other, after one that is not timed; a sample is the mean
of `batch` calls. In `periodic`, call k is meant to start at k periods and its latency is counted from there: what holds
one call up delays those behind it, and that shows. The wake-up from sleep is part of it, as in any periodic task.
In `cold`, a sweep through more memory than the caches hold goes before each call.

The garbage collector is off while a loop runs. `c_harness.py` has the same loops in C.
"""

from __future__ import annotations

import gc
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from time import perf_counter_ns, sleep
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
Call = Callable[[], object]

CLOCK_SHARE = 0.01  # of a sample
WARM_UP_NS = 10_000_000  # of calls, before their number is chosen


class Loop(Protocol):
    """The timing of one call. All results are nanoseconds per call."""

    def clock_ns(self) -> float:
        """Measure what it costs to read the clock."""

    def once(self) -> float:
        """Time one call, with nothing before it."""

    def closed(self, batch: int, count: int) -> Array:
        """Take `count` samples, each the mean of `batch` calls."""

    def periodic(self, period_ns: int, count: int) -> Array:
        """Measure the latencies of `count` calls, from their intended starts, one every `period_ns`."""

    def cold(self, sweep_bytes: int, count: int) -> Array:
        """Time `count` calls, before each of which `sweep_bytes` of other memory are written."""


class PythonLoop:
    """The Loop around `call` in this process."""

    def __init__(self, call: Call) -> None:
        self._call = call

    def clock_ns(self) -> float:
        """Measure what it costs to read the clock."""
        return float(min(_spent(_nothing, 1) for _ in range(1000)))

    def once(self) -> float:
        """Time one call, with nothing before it."""
        with _no_garbage_collection():
            return float(_spent(self._call, 1))

    def closed(self, batch: int, count: int) -> Array:
        """Take `count` samples, each the mean of `batch` calls."""
        call = self._call
        with _no_garbage_collection():
            call()
            return np.array([_spent(call, batch) / batch for _ in range(count)])

    def periodic(self, period_ns: int, count: int) -> Array:
        """Measure the latencies of `count` calls, one every `period_ns`."""
        call, samples_ns = self._call, np.empty(count)
        with _no_garbage_collection():
            call()
            start_ns = perf_counter_ns()
            for k in range(count):
                start_ns += period_ns
                ahead_ns = start_ns - perf_counter_ns()
                if ahead_ns > 0:
                    sleep(ahead_ns * 1e-9)
                call()
                samples_ns[k] = perf_counter_ns() - start_ns
        return samples_ns

    def cold(self, sweep_bytes: int, count: int) -> Array:
        """Time `count` calls after as many sweeps of other memory."""
        call, swept, samples_ns = self._call, np.zeros(sweep_bytes, np.uint8), np.empty(count)
        with _no_garbage_collection():
            for k in range(count):
                swept += 1
                samples_ns[k] = _spent(call, 1)
        return samples_ns


@dataclass(frozen=True)
class Latency:
    """Nanoseconds per call over `samples` samples of `batch` calls each; percentiles are by nearest rank."""

    p50_ns: float
    p99_ns: float
    max_ns: float
    min_ns: float
    samples: int
    batch: int


def latency(samples_ns: Sequence[float] | Array, batch: int) -> Latency:
    """Sum up samples, each the mean of `batch` calls."""
    ordered = np.sort(samples_ns).tolist()

    def percentile(p: float) -> float:
        return float(ordered[math.ceil(p * len(ordered)) - 1])

    return Latency(percentile(0.50), percentile(0.99), ordered[-1], ordered[0], len(ordered), batch)


def find_batch(loop: Loop) -> tuple[int, float]:
    """Find how many calls make a sample in which the clock is at most 1 %, and the nanoseconds of one call, warm."""
    end_ns = perf_counter_ns() + WARM_UP_NS
    while perf_counter_ns() < end_ns:
        loop.closed(1, 5)
    clock_ns, batch = loop.clock_ns(), 1
    while (least_ns := float(loop.closed(batch, 5).min())) * batch * CLOCK_SHARE < clock_ns:
        batch *= 2
    return batch, least_ns


def _spent(call: Call, batch: int) -> int:
    start_ns = perf_counter_ns()
    for _ in range(batch):
        call()
    return perf_counter_ns() - start_ns


@contextmanager
def _no_garbage_collection() -> Iterator[None]:
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


def _nothing() -> None:
    pass
