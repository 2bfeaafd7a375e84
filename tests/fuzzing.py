"""Run the readers of `fuzz_targets` on mutated files, and count what they make of them."""

from __future__ import annotations

import os
import re
import signal
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory

from fuzz_targets import Target

from kdpinn_edge.errors import KdpinnError

HANGS_AFTER_S = 2.0
MOST_BYTES = 256 << 20
"""Memory that a reader may take for a file of a few kilobytes."""
PER_READING = 500
"""Mutations between two readings of the memory that was used at most."""
REFUSED, ACCEPTED, CHANGED, TRACEBACK, HANG, MEMORY = "refused", "accepted", "changed", "traceback", "hang", "memory"


def folder_in_memory() -> TemporaryDirectory[str]:
    """A folder for the files that are read, without a disk where the system has such: writing would take most of the
    time."""
    memory = Path("/dev/shm")  # noqa: S108 (a folder of its own is made in it)
    return TemporaryDirectory(prefix="kdpinn_edge_fuzz_", dir=memory if memory.is_dir() else None)


class Hang(BaseException):
    """A reader took five times as long as it may."""


@dataclass
class Counts:
    """How many mutations had each end, and an example of each wrong one: the seed and what was seen."""

    ends: Counter[str] = field(default_factory=Counter)
    examples: dict[str, str] = field(default_factory=dict)

    @property
    def wrong(self) -> int:
        """The number of mutations that ended in something else than a refusal or the meaning of the file."""
        return sum(self.ends.values()) - self.ends[REFUSED] - self.ends[ACCEPTED]


def fuzzed(target: Target, seeds: range, keep: Path | None = None) -> Counts:
    """Read the mutations of these seeds. What ended wrong is kept in the folder `keep`, by its seed."""
    counts = Counts()
    for first in range(seeds.start, seeds.stop, PER_READING):
        before = _reset_peak()
        for seed in range(first, min(first + PER_READING, seeds.stop)):
            data = target.mutate(Random(seed), target.data)  # noqa: S311
            end, seen = _end(target, data)
            counts.ends[end] += 1
            if end not in (REFUSED, ACCEPTED):
                counts.examples.setdefault(f"{end} {seen}", f"seed {seed}")
                if keep is not None:
                    (keep / f"{target.path.name}.{seed}").write_bytes(data)
        if (taken := _peak() - before) > MOST_BYTES:
            counts.ends[MEMORY] += 1
            counts.examples.setdefault(MEMORY, f"{taken >> 20} MB, seeds from {first}")
    return counts


def _end(target: Target, data: bytes) -> tuple[str, str]:
    """What a reader makes of `data`, and what was seen where that is wrong."""
    for _ in range(2):  # a machine that is busy elsewhere is slow once
        target.path.write_bytes(data)
        began = time.perf_counter()
        found = _seen(target, data)
        if time.perf_counter() - began <= HANGS_AFTER_S:
            return found
    return HANG, ""


def _seen(target: Target, data: bytes) -> tuple[str, str]:
    try:
        with _limited(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            found = target.read()
        return (ACCEPTED, "") if target.meaning(data, found) else (CHANGED, "")
    except KdpinnError:
        return REFUSED, ""
    except Hang:
        return HANG, ""
    except Exception as error:
        frames = [each for each in traceback.extract_tb(error.__traceback__) if ".venv" not in each.filename]
        return TRACEBACK, f"{type(error).__name__} at {Path(frames[-1].filename).name}:{frames[-1].lineno}"


@contextmanager
def _limited() -> Iterator[None]:
    def stop(number: int, frame: object) -> None:
        raise Hang

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, 5 * HANGS_AFTER_S)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def _reset_peak() -> int:
    """Forget the memory that was used at most; returns what is used now, in bytes."""
    with open("/proc/self/clear_refs", "w") as file:
        file.write("5")
    return _peak()


def _peak() -> int:
    found = re.search(r"^VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text(), re.MULTILINE)
    assert found is not None, os.uname()
    return int(found[1]) << 10
