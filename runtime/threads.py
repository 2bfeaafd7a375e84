"""One evaluation on several threads: the points in ranges, of which each thread takes the next when it is free.

A thread needs some 0.1 ms to wake up, and a machine has other things to do: with more ranges than threads the one that
comes late does less, and all end at almost the same time.

A thread that Linux wakes on the processor of its caller waits there, often until the caller is done: of periodic calls
that take 4 ms on two processors, most took 8. So the others are kept off the caller's.
"""

from __future__ import annotations

import ctypes
import os
import sys
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from functools import cache
from itertools import pairwise

TILE = 64
RANGES_PER_THREAD = 16


def range_begin(n: int, part: int, parts: int) -> int:
    """The first of n points in part `part` of `parts`; n for part = parts. `kdpinn_range_begin` of kdpinn_edge.h."""
    each, more = divmod(n // TILE, parts)
    return n if part == parts else TILE * (part * each + min(part, more))


def ranges(n: int, parts: int) -> list[slice]:
    """Divide n points into up to `parts` ranges, in order: as many as there are tiles for, but at least one."""
    parts = max(1, min(parts, -(-n // TILE)))
    begins = [range_begin(n, part, parts) for part in range(parts + 1)]
    return [slice(begin, end) for begin, end in pairwise(begins)]


class Threads:
    """Threads that start when there is work, then wait for more, and end when this object is collected.

    There are never more of them than the machine has processors, however many callers there are.
    """

    def __init__(self) -> None:
        self._start()

    def run(self, calls: Sequence[Callable[[], None]], threads: int) -> None:
        """Make each of `calls` once, in this thread and up to `threads` - 1 others; none is running afterwards.

        Where threads are busy or cannot be had, the fewer that there are make all calls, if need be this one alone.
        Raises what a call raised.
        """
        if os.getpid() != self._process:  # a fork: the threads stayed behind
            self._start()
        shared = iter(calls)

        def work() -> None:
            for call in shared:
                call()

        self._leave_this_processor()
        others: list[Future[None]] = []
        with suppress(RuntimeError):  # no more threads, or the interpreter is about to exit
            for _ in range(min(threads, len(calls)) - 1):
                others.append(self._pool.submit(work))
        try:
            work()
        finally:
            errors = [other.exception() for other in others if not other.cancel()]
        for error in errors:
            if error is not None:
                raise error

    def _start(self) -> None:
        ids: list[int] = []
        self._ids = ids  # the threads must not hold this object: they end with it
        self._pool = ThreadPoolExecutor(
            os.cpu_count() or 1, "kdpinn_edge", lambda: ids.append(threading.get_native_id())
        )
        self._process = os.getpid()

    def _leave_this_processor(self) -> None:
        """Let the others run anywhere but here."""
        if sys.platform == "linux":
            others = os.sched_getaffinity(0) - {_libc().sched_getcpu()}
            for thread in self._ids if others else ():
                with suppress(OSError):  # it has just ended
                    os.sched_setaffinity(thread, others)


@cache
def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None)
