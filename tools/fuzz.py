"""`make fuzz`: read a million mutated files, and count what every reader makes of them.

Every reader has to refuse such a file by name, or to read what it says. Anything else is wrong, is counted, and is kept
in `build/fuzz` with its seed: a traceback, a changed meaning, more than 2 s, more than 256 MB.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import sys
import tempfile
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path
from random import Random

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests"))

os.environ["OMP_NUM_THREADS"] = "1"  # a pool of threads waits for a reader of a few kilobytes

from fuzz_targets import MAKERS, WEIGHTS, Target, targets  # noqa: E402
from fuzzing import ACCEPTED, CHANGED, HANG, MEMORY, REFUSED, TRACEBACK, Counts, fuzzed  # noqa: E402

KEPT = ROOT / "build" / "fuzz"
ENDS = (REFUSED, ACCEPTED, CHANGED, TRACEBACK, HANG, MEMORY)
PER_TASK = 1000
_made: dict[str, dict[str, Target]] = {}


def of(which: str) -> dict[str, Target]:
    """The targets of `which`, made once per process in a folder of its own."""
    if which not in _made:
        _made[which] = targets(Path(tempfile.mkdtemp(prefix="kdpinn_edge_fuzz_")), which)
    return _made[which]


def read(which: str, name: str, seeds: range) -> Counts:
    """One task of a worker."""
    return fuzzed(of(which)[name], seeds, KEPT)


def plan(mutations: int, only: list[str], first: int) -> Iterator[tuple[str, str, range]]:
    """The tasks: in all so many mutations, of each reader by its weight."""
    chosen = [(which, name) for which in MAKERS for name in of(which) if not only or name in only]
    total = sum(WEIGHTS[name] for _, name in chosen)
    for which, name in chosen:
        last = first - (-mutations * WEIGHTS[name] // total)
        yield from ((which, name, range(i, min(i + PER_TASK, last))) for i in range(first, last, PER_TASK))


def main() -> int:
    """Return 1 where a mutation ended wrong."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--mutations", type=int, default=1_000_000, help="of all readers together")
    options.add_argument("--first", type=int, default=0, help="the first seed")
    options.add_argument("--jobs", type=int, default=2)
    options.add_argument("--only", action="append", default=[], help="a reader; by default all")
    given = options.parse_args()
    KEPT.mkdir(parents=True, exist_ok=True)
    counts: dict[str, Counts] = {}
    with ProcessPoolExecutor(given.jobs, multiprocessing.get_context("spawn")) as pool:
        planned = list(plan(given.mutations, given.only, given.first))
        # An interrupted run has then seen something of each reader.
        Random(0).shuffle(planned)  # noqa: S311
        tasks = {pool.submit(read, *task): task for task in planned}
        try:
            for done, future in enumerate(as_completed(tasks), 1):
                found, (_, name, _) = future.result(), tasks[future]
                own = counts.setdefault(name, Counts())
                own.ends.update(found.ends)
                own.examples |= found.examples
                print(f"\r{done} of {len(tasks)} tasks", end="", file=sys.stderr, flush=True)
        except KeyboardInterrupt:
            pool.shutdown(wait=False, cancel_futures=True)
    print(file=sys.stderr)
    print(f"{'reader':20}" + "".join(f"{end:>12}" for end in ENDS))
    for name, own in counts.items():
        print(f"{name:20}" + "".join(f"{own.ends[end]:12,}" for end in ENDS))
        for what, example in own.examples.items():
            print(f"    {what}: {example}")
    whole = {end: sum(own.ends[end] for own in counts.values()) for end in ENDS}
    print(f"{'all':20}" + "".join(f"{whole[end]:12,}" for end in ENDS))
    return int(any(own.wrong for own in counts.values()))


if __name__ == "__main__":
    sys.exit(main())
