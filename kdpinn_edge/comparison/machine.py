"""What the figures depend on and no package says: the machine, and its condition before and after."""

from __future__ import annotations

import os
import platform
import re
from collections.abc import Iterable
from contextlib import suppress
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import psutil

from kdpinn_edge.comparison.record import Conditions, Machine
from kdpinn_edge.errors import BenchError

HIDDEN = "not visible"
CPU, CLOCK = Path("/sys/devices/system/cpu"), Path("/sys/devices/system/clocksource/clocksource0/current_clocksource")
CACHE_BYTES = 32 << 20  # where the kernel does not say


def check_system() -> None:
    """Raise BenchError where the system is not one that a comparison can be made on: call it before anything else."""
    if not hasattr(os, "sched_getaffinity"):
        raise BenchError(
            f"a comparison needs Linux, which says when it let a process run and where; this machine runs "
            f"{platform.system()}. For another machine: export --with-bench, and run the program there."
        )


def this_machine() -> Machine:
    """The Machine that this process runs on."""
    return Machine(
        cpu=_cpu(),
        cores=os.cpu_count() or 1,
        affinity=tuple(sorted(os.sched_getaffinity(0))),
        governor=_read(CPU / "cpu0/cpufreq/scaling_governor"),
        clocksource=_read(CLOCK),
        cache_bytes=max(map(_cache_bytes, CPU.glob("cpu0/cache/index*/size")), default=CACHE_BYTES),
        memory_bytes=psutil.virtual_memory().total,
        kernel=platform.platform(),
        python=platform.python_version(),
    )


def conditions() -> Conditions:
    """The Conditions of this machine now."""
    stolen = getattr(psutil.cpu_times(), "steal", 0.0)
    return Conditions(datetime.now(UTC).isoformat(timespec="seconds"), os.getloadavg(), stolen)


def versions(packages: Iterable[str]) -> dict[str, str]:
    """The version of each of `packages` that is installed."""
    found = {}
    for package in packages:
        with suppress(PackageNotFoundError):
            found[package] = version(package)
    return found


def _cpu() -> str:
    found = re.search(r"^model name\s*:\s*(.+)$", Path("/proc/cpuinfo").read_text(), flags=re.M)
    return found[1] if found else platform.machine()


def _read(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError:
        return HIDDEN


def _cache_bytes(path: Path) -> int:
    kib = re.fullmatch(r"(\d+)K", _read(path))
    return int(kib[1]) << 10 if kib else 0
