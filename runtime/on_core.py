"""Time on the core: what a piece of work takes, less the time for which the kernel gave its core to others.

On a machine that others use, wall time says more about them than about the work. The kernel counts, for each thread and
in nanoseconds, how long it could have run and did not (the second number of /proc/…/schedstat), at every switch of
threads; with it

    time on the core = max(processor time of the process, wall time − what its threads waited for the core)

The difference keeps sleeping, which is the work's own. The maximum keeps the work of threads that waited for each other
on one core. For a single thread that does not sleep both are the same number. Nothing has to be running beside the work
to see this: a witness that spins on the same core would take half of it away.

Where a process may use several cores its threads wait for different ones, and the difference means nothing: there, and
where the kernel does not count, time on the core is wall time.
"""

from __future__ import annotations

import os
from contextlib import ExitStack, suppress
from pathlib import Path
from time import perf_counter_ns, process_time_ns
from typing import Self

OVERHEAD_READINGS = 200
SHORTEST_NS = 0.01  # of a measured time: 0 has no logarithm


class OnCore:
    """A stopwatch of time on the core, for this process and the threads that it has when the context is entered."""

    def __enter__(self) -> Self:
        """Find the threads, and what a reading costs."""
        self._stack = ExitStack()
        self._threads: list[int] = []
        self._is_alone = len(os.sched_getaffinity(0)) == 1
        for path in Path("/proc/self/task").glob("*/schedstat") if self._is_alone else ():
            with suppress(OSError):  # a thread that has ended
                self._threads.append(os.open(path, os.O_RDONLY))
                self._stack.callback(os.close, self._threads[-1])
        self._overhead_ns = 0
        self._overhead_ns = min(self._empty() for _ in range(OVERHEAD_READINGS)) if self._threads else 0
        return self

    def __exit__(self, *exception: object) -> None:
        """Close the files of the kernel."""
        self._stack.close()

    def start(self) -> None:
        """Begin. What was waited is read outside of the wall time: too much of it is corrected by processor time."""
        self._waited_ns = self.waited_ns()
        self._cpu_ns = process_time_ns()
        self._wall_ns = perf_counter_ns()

    def stop(self, idle_ns: float = 0) -> float:
        """The nanoseconds on the core since `start`, without `idle_ns` that were slept through on purpose."""
        wall_ns = perf_counter_ns() - self._wall_ns - idle_ns
        if not self._threads:
            return max(wall_ns, SHORTEST_NS)
        cpu_ns = process_time_ns() - self._cpu_ns - self._overhead_ns
        return max(cpu_ns, wall_ns - (self.waited_ns() - self._waited_ns), SHORTEST_NS)

    def waited_ns(self) -> int:
        """Read how long the threads have waited for the core, all together."""
        total = 0
        for thread in self._threads:
            with suppress(OSError):
                total += waited_ns(thread)
        return total

    def _empty(self) -> int:
        start_ns = process_time_ns()
        perf_counter_ns()
        perf_counter_ns()
        return process_time_ns() - start_ns


def waited_ns(schedstat: int) -> int:
    """Read how long a thread has waited for a core, from its open file `schedstat`."""
    return int(os.pread(schedstat, 80, 0).split()[1])
