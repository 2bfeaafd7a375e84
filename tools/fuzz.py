"""`make fuzz`: read a million mutated files, and count what every reader makes of them.

Every reader has to refuse such a file by name, or to read what it says. Anything else is wrong, is counted, and is kept
in `build/fuzz` with its seed: a traceback, a changed meaning, more than 2 s, more than 256 MB. A run that is cut off,
by `--seconds` or Ctrl-C, finishes the tasks that it has begun and prints what it has counted.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import signal
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests"))

os.environ["OMP_NUM_THREADS"] = "1"  # a pool of threads waits for a reader of a few kilobytes

from fuzz_targets import WEIGHTS, Target, targets  # noqa: E402
from fuzzing import ACCEPTED, CHANGED, HANG, MEMORY, REFUSED, TRACEBACK, Counts, folder_in_memory, fuzzed  # noqa: E402

KEPT = ROOT / "build" / "fuzz"
ENDS = (REFUSED, ACCEPTED, CHANGED, TRACEBACK, HANG, MEMORY)
PER_WEIGHT = 10
"""Mutations of a task for each of the reader's weight: some seconds of any reader."""
_made: dict[str, dict[str, Target]] = {}


def of(which: str, folder: Path) -> dict[str, Target]:
    """The targets of `which`, made once per process in a folder of its own."""
    if which not in _made:
        _made[which] = targets(folder / str(os.getpid()), which)
    return _made[which]


def read(folder: Path, which: str, name: str, seeds: range) -> Counts:
    """One task of a worker."""
    return fuzzed(of(which, folder)[name], seeds, KEPT)


def plan(mutations: int, only: list[str], first: int) -> Iterator[tuple[str, str, range]]:
    """The tasks: in all so many mutations, of each reader by its weight.

    Those of all readers alternate, so that a run that is cut off has read about the same share for each of them.
    """
    chosen = [
        (which, name, weight)
        for which, weights in WEIGHTS.items()
        for name, weight in weights.items()
        if not only or name in only
    ]
    total = sum(weight for _, _, weight in chosen)
    tasks: list[tuple[float, str, str, range]] = []
    for which, name, weight in chosen:
        count, step = -(-mutations * weight // total), PER_WEIGHT * weight
        tasks += (
            (i / count, which, name, range(first + i, first + min(i + step, count))) for i in range(0, count, step)
        )
    for _, which, name, seeds in sorted(tasks, key=lambda task: task[0]):
        yield which, name, seeds


def main() -> int:
    """Return 1 where a mutation ended wrong."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--mutations", type=int, default=1_000_000, help="of all readers together")
    options.add_argument("--first", type=int, default=0, help="the first seed")
    options.add_argument("--jobs", type=int, default=2)
    names = [name for weights in WEIGHTS.values() for name in weights]
    options.add_argument("--only", action="append", default=[], choices=names, metavar="READER", help="by default all")
    options.add_argument("--seconds", type=float, help="after which no further file is begun; by default no limit")
    given = options.parse_args()
    KEPT.mkdir(parents=True, exist_ok=True)
    planned = list(plan(given.mutations, given.only, given.first))
    began = time.perf_counter()
    workers = ProcessPoolExecutor(given.jobs, multiprocessing.get_context("spawn"))
    with folder_in_memory() as folder, workers as pool:
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})  # which the workers inherit
        tasks = {pool.submit(read, Path(folder), *task): task for task in planned}
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
        try:
            for done, _ in enumerate(as_completed(tasks, given.seconds), 1):
                print(f"\r{done} of {len(tasks)} tasks", end="", file=sys.stderr, flush=True)
        except (KeyboardInterrupt, TimeoutError):
            pool.shutdown(cancel_futures=True)
    seconds = time.perf_counter() - began
    counts = {name: Counts() for _, name, _ in planned}
    for future, (_, name, _) in tasks.items():
        if not future.cancelled():
            own, found = counts[name], future.result()
            own.ends.update(found.ends)
            own.examples |= found.examples
    print(file=sys.stderr)
    print(f"{'reader':20}" + "".join(f"{end:>12}" for end in ENDS))
    for name, own in counts.items():
        print(f"{name:20}" + "".join(f"{own.ends[end]:12,}" for end in ENDS))
        for what, example in own.examples.items():
            print(f"    {what}: {example}")
    whole = {end: sum(own.ends[end] for own in counts.values()) for end in ENDS}
    print(f"{'all':20}" + "".join(f"{whole[end]:12,}" for end in ENDS))
    read_in_all = sum(whole.values())
    print(f"{read_in_all:,} files in {seconds:.0f} s, {read_in_all / seconds:,.0f} per second")
    return int(any(own.wrong for own in counts.values()))


if __name__ == "__main__":
    sys.exit(main())
