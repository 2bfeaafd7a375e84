"""What the machine does to a turn, as its kernel counts it; a turn is spoilt of which others took a large part."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from os import sysconf
from pathlib import Path
from time import perf_counter_ns
from typing import TypeVar

import psutil

from kdpinn_edge.comparison.record import Disturbance
from kdpinn_edge.runtime.c_harness import CLoop
from kdpinn_edge.runtime.timing import Loop

T = TypeVar("T")

STOLEN = 0.25  # of a turn
STOLEN_FIELD = 8  # of a line cpuN in /proc/stat, the name of the processor being field 0


def is_spoilt(disturbance: Disturbance | None) -> bool:
    """Whether other virtual machines took more than STOLEN of the turn."""
    return disturbance is not None and disturbance.stolen_ns > STOLEN * disturbance.wall_ns


def watched(loop: Loop, cpus: Sequence[int], work: Callable[[], T]) -> tuple[T, Disturbance]:
    """Do `work`, calls of `loop` on `cpus`, and say what the machine did meanwhile."""
    process = psutil.Process(loop.pid if isinstance(loop, CLoop) else None)
    waited, stolen, switches = _waited_ns(process.pid), _stolen_ns(cpus), process.num_ctx_switches().involuntary
    start_ns = perf_counter_ns()
    result = work()
    wall_ns = perf_counter_ns() - start_ns
    waited, stolen = _waited_ns(process.pid) - waited, _stolen_ns(cpus) - stolen
    switches = process.num_ctx_switches().involuntary - switches
    return result, Disturbance(wall_ns, max(waited, 0), stolen, switches)


def _waited_ns(pid: int) -> int:
    """How long all threads of the process have waited for a core; 0 where the kernel does not count it."""
    total = 0
    for path in Path(f"/proc/{pid}/task").glob("*/schedstat"):
        with suppress(OSError):  # a thread that has ended
            total += int(path.read_bytes().split()[1])
    return total


def _stolen_ns(cpus: Sequence[int]) -> int:
    """What other virtual machines have taken of these processors, in steps of the kernel's tick."""
    names = {f"cpu{cpu}" for cpu in cpus}
    lines = (line.split() for line in Path("/proc/stat").read_text().splitlines())
    ticks = sum(int(line[STOLEN_FIELD]) for line in lines if line and line[0] in names and len(line) > STOLEN_FIELD)
    return ticks * (1_000_000_000 // sysconf("SC_CLK_TCK"))
