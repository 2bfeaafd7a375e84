"""How long one call takes: raw samples, from a loop around it.

`once` is one call, just so. In `closed`, calls follow each other, after one that is not timed; a sample is the mean
of `batch` calls. `paired` alternates stretches of calls with stretches of a partner's, a quarter of a millisecond each,
so that whatever the machine does, it does to both; a loop that is always the same runs between them and shows what it
does. In `periodic`, call k is meant to start at k periods and its latency is counted from there: what holds one call up
delays those behind it, and that shows. The wake-up from sleep is part of it, as in any periodic task. In `cold`, a
sweep through more memory than the caches hold goes before each call.

Time on the core is what `on_core.py` says. The garbage collector is off while a loop runs. `c_harness.py` has the same
loops in C.
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

from kdpinn_edge.runtime.on_core import SHORTEST_NS, OnCore

Array = NDArray[Any]
Call = Callable[[], object]

CLOCK_SHARE = 0.01  # of a sample
WARM_UP_NS = 10_000_000  # of calls, before their number is chosen
STRETCH_NS = 250_000  # of calls of one of a pair, where a call is not longer
LEAST_PAIRS = 2  # of a turn: each goes first once
KNOWN_WORK = 300  # turns of an empty loop


@dataclass(frozen=True)
class Pace:
    """The pace of one call: `batch` calls make a sample in which the clock is at most 1 %, and a call takes `call_ns`,
    warm and undisturbed.
    """

    batch: int
    call_ns: float

    @property
    def samples(self) -> int:
        """The number of samples in a stretch of a pair."""
        return max(1, round(STRETCH_NS / (self.batch * max(self.call_ns, SHORTEST_NS))))


@dataclass(frozen=True)
class Pairs:
    """The samples (k,) of calls, in wall time; and for each pair of stretches (pairs, 3) the time on the core of one
    call, of one call of the partner, and the longest that the known work took before, between and after them.
    """

    samples_ns: Array
    pairs_ns: Array


class Timed(Protocol):
    """The least that a pace is found with."""

    def clock_ns(self) -> float:
        """Measure what it costs to read the clock."""

    def closed(self, batch: int, count: int) -> Array:
        """Take `count` samples, each the mean of `batch` calls."""


class Loop(Timed, Protocol):
    """The timing of one call. All results are nanoseconds per call."""

    @property
    def partner(self) -> Timed:
        """The timing of the partner that `paired` alternates with."""

    def once(self) -> float:
        """Time one call, with nothing before it: its time on the core."""

    def paired(self, pace: Pace, partner: Pace, seconds: float) -> Pairs:
        """Alternate calls with those of the partner for so many seconds, two pairs at least."""

    def periodic(self, period_ns: int, count: int) -> Array:
        """Measure `count` calls, one every `period_ns`: latencies (count, 2) from their intended starts, and what they
        would be if every call had had the core for itself.
        """

    def cold(self, sweep_bytes: int, count: int) -> Array:
        """Time `count` calls, before each of which `sweep_bytes` of other memory are written."""

    def alone(self, count: int) -> Array:
        """Measure the time on the core of each of `count` calls, after one that is not timed."""


def known_work() -> None:
    """Run a loop that is always the same."""
    for _ in range(KNOWN_WORK):
        pass


class PythonLoop:
    """The Loop around `call` in this process, paired with `partner`."""

    def __init__(self, call: Call, partner: Call = known_work) -> None:
        self._call, self._partner = call, partner

    @property
    def partner(self) -> Timed:
        """The timing of the partner that `paired` alternates with."""
        return PythonLoop(self._partner)

    def clock_ns(self) -> float:
        """Measure what it costs to read the clock."""
        return float(min(_spent(_nothing, 1) for _ in range(1000)))

    def once(self) -> float:
        """Time one call, with nothing before it: its time on the core."""
        with _no_garbage_collection(), OnCore() as watch:
            watch.start()
            self._call()
            return watch.stop()

    def closed(self, batch: int, count: int) -> Array:
        """Take `count` samples, each the mean of `batch` calls."""
        call = self._call
        with _no_garbage_collection():
            call()
            return np.array([_spent(call, batch) / batch for _ in range(count)])

    def paired(self, pace: Pace, partner: Pace, seconds: float) -> Pairs:
        """Alternate calls with those of the partner for so many seconds, two pairs at least."""
        samples: list[float] = []
        pairs: list[tuple[float, float, float]] = []
        with _no_garbage_collection(), OnCore() as watch:
            end_ns = perf_counter_ns() + seconds * 1e9
            while len(pairs) < LEAST_PAIRS or perf_counter_ns() < end_ns:
                work_ns = [_known_work_ns()]
                if len(pairs) % 2:
                    theirs = _stretch(watch, self._partner, partner, [])
                    work_ns.append(_known_work_ns())
                    ours = _stretch(watch, self._call, pace, samples)
                else:
                    ours = _stretch(watch, self._call, pace, samples)
                    work_ns.append(_known_work_ns())
                    theirs = _stretch(watch, self._partner, partner, [])
                work_ns.append(_known_work_ns())
                pairs.append((ours, theirs, max(work_ns)))
        return Pairs(np.array(samples), np.array(pairs))

    def periodic(self, period_ns: int, count: int) -> Array:
        """Measure `count` calls, one every `period_ns`: latencies (count, 2) from their intended starts, and what they
        would be if every call had had the core for itself.
        """
        call, found = self._call, np.empty((count, 2))
        with _no_garbage_collection(), OnCore() as watch:
            call()
            start_ns = perf_counter_ns()
            on_core_ns = 0.0
            for k in range(count):
                start_ns += period_ns
                watch.start()
                ahead_ns = max(start_ns - perf_counter_ns(), 0)
                if ahead_ns:
                    sleep(ahead_ns * 1e-9)
                call()
                late_ns = perf_counter_ns() - start_ns
                on_core_ns = max(on_core_ns - period_ns, 0) + watch.stop(ahead_ns)
                found[k] = late_ns, min(on_core_ns, late_ns)
        return found

    def cold(self, sweep_bytes: int, count: int) -> Array:
        """Time `count` calls after as many sweeps of other memory."""
        call, swept, samples_ns = self._call, np.zeros(sweep_bytes, np.uint8), np.empty(count)
        with _no_garbage_collection():
            for k in range(count):
                swept += 1
                samples_ns[k] = _spent(call, 1)
        return samples_ns

    def alone(self, count: int) -> Array:
        """Measure the time on the core of each of `count` calls, after one that is not timed."""
        samples_ns = np.empty(count)
        with _no_garbage_collection(), OnCore() as watch:
            self._call()
            for k in range(count):
                watch.start()
                self._call()
                samples_ns[k] = watch.stop()
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


def find_batch(loop: Timed) -> tuple[int, float]:
    """Find how many calls make a sample in which the clock is at most 1 %, and the nanoseconds of one call, warm."""
    end_ns = perf_counter_ns() + WARM_UP_NS
    while perf_counter_ns() < end_ns:
        loop.closed(1, 5)
    clock_ns, batch = loop.clock_ns(), 1
    while (least_ns := float(loop.closed(batch, 5).min())) * batch * CLOCK_SHARE < clock_ns:
        batch *= 2
    return batch, least_ns


def _stretch(watch: OnCore, call: Call, pace: Pace, samples: list[float]) -> float:
    """Make the calls of one stretch, after one that is not timed; add the samples; the time on the core of a call."""
    call()
    watch.start()
    for _ in range(pace.samples):
        samples.append(_spent(call, pace.batch) / pace.batch)
    return watch.stop() / (pace.samples * pace.batch)


def _known_work_ns() -> float:
    """The time of the known work in warm caches: whatever ran before it may have emptied them."""
    return min(_spent(known_work, 1) for _ in range(2))


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
