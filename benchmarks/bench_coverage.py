"""How far the comparison can be believed on this machine: quick runs, repeated as it is, and beside a background load.

python benchmarks/bench_coverage.py --out coverage.json

Reported are the share of ratios that lie within the interval that another run printed, within one condition and across
both; the share of rows that `--compare` reports of equal runs; in how many runs a library that evaluates 10 % more
points is found to be slower; whether a backend that computes something else was refused; and the announced seconds
beside those that a run took. Exit 1 where a measure fails.

Every process that is measured imports this file, so that it imports little.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from itertools import pairwise, permutations, product
from pathlib import Path
from tempfile import TemporaryDirectory
from time import monotonic
from typing import Any

import numpy as np

from kdpinn_edge.comparison import selection
from kdpinn_edge.comparison.backend import Array, Backend, Call, Case, Prepared
from kdpinn_edge.comparison.backend_config import BackendConfig
from kdpinn_edge.comparison.background import background
from kdpinn_edge.comparison.compare import Change
from kdpinn_edge.comparison.ratios import Ratio
from kdpinn_edge.comparison.record import Record
from kdpinn_edge.comparison.session import estimate_s, measure
from kdpinn_edge.comparison.statistics import rows
from kdpinn_edge.runtime import load

MORE = 1.1
MANY = 10_000  # points, where a tenth more of them takes a tenth longer
EQUAL, SLOWER, WRONG = "library again", "library, 10 % more points", "wrong on purpose"
LONGEST_S = 600.0
Ratios = dict[tuple[str, int], Ratio]


def prepare(case: Case, threads: int | None, *, more: float, off: float) -> Prepared:
    """Prepare the library on `more` times the points, its values `off` by so much at the probe points."""
    engine = load(case.bundle)

    def bind(x: Array, y: Array) -> Call:
        n = round(more * len(x))
        values = np.empty((n, y.shape[1]), y.dtype)
        evaluate, first = engine.bind(np.resize(x, (n, x.shape[1])), values), values[: len(x)]

        def call() -> Array:
            evaluate()
            return first

        return call

    return Prepared(lambda x: engine(x) + x.dtype.type(off), bind, "threads=1")


def configs(bundle: Path, names: Sequence[str]) -> list[BackendConfig]:
    """The backends called `names`, or those of a quick comparison; and three libraries of our own: an equal one, a
    slower one and a wrong one.
    """
    ours = [
        Backend(name, "call from Python", "same function", ("cffi",), "", partial(prepare, more=more, off=off))
        for name, more, off in ((EQUAL, 1.0, 0.0), (SLOWER, MORE, 0.0), (WRONG, 1.0, 0.01))
    ]
    chosen = selection.named(names, bundle) if names else selection.quick(bundle)
    return [*chosen, *(BackendConfig(backend.name, backend, bundle) for backend in ours)]


@contextmanager
def loaded(processes: int) -> Iterator[None]:
    """Let so many processes compute beside what is done here."""
    cpus = sorted(os.sched_getaffinity(0))
    with background(tuple(cpus[k % len(cpus)] for k in range(processes))) as load_, load_.running(LONGEST_S):
        yield


def ratios(record: Record) -> Ratios:
    """The ratios of a run, those that are measured: of the library to itself there is nothing to be covered."""
    return {(row.entry, row.n): row.ratio for row in rows(record) if row.ratio and row.ratio.spread != 0}


def share_within(runs: Sequence[tuple[Ratios, Ratios]]) -> dict[str, Any]:
    """How many ratios of the second of each two runs lie within the intervals that the first one prints."""
    within = printed = open_ = 0
    for first, second in runs:
        for key in first.keys() & second.keys():
            interval = first[key]
            if not interval.is_decidable or interval.low is None or interval.high is None:
                open_ += 1
                continue
            printed += 1
            within += interval.low <= second[key].factor <= interval.high
    return {"within": within / printed if printed else None, "intervals": printed, "not decidable here": open_}


def share(found: Sequence[bool]) -> float | None:
    """How many of them are so; None of none."""
    return sum(found) / len(found) if found else None


def share_reported(runs: Sequence[tuple[Ratios, Ratios]]) -> float | None:
    """The share of rows that `--compare` reports."""
    return share(
        [
            Change(*key, first[key], second[key]).is_beyond_noise
            for first, second in runs
            for key in first.keys() & second.keys()
        ]
    )


def is_held(document: dict[str, Any]) -> Iterator[tuple[str, bool]]:
    """Each measure of every condition, and whether it is held."""
    conditions = {key: value for key, value in document.items() if isinstance(value, dict) and "runs" in value}
    across = {key: value for key, value in document.items() if isinstance(value, dict) and "within" in value}
    for key, covered in (*((key, found["coverage"]) for key, found in conditions.items()), *across.items()):
        yield f"{key}: at least 95 % of ratios within the interval of another run", (covered["within"] or 0) >= 0.95
    for key, found in conditions.items():
        yield f"{key}: at most 5 % of rows reported of equal runs", (found["reported by --compare"] or 0) <= 0.05
        yield f"{key}: one slower by 10 % found in at least 9 of 10 runs", (found["slower one found"] or 0) >= 0.9
        yield f"{key}: a wrong one never let in", found["wrong one refused"] > 0 and found["wrong one let in"] == 0


def report(found: dict[str, list[Record]], seconds: dict[str, list[float]], announced_s: float) -> dict[str, Any]:
    """All figures of the runs, by their condition; shares are of the runs, or of all pairs of runs.

    The wrong one may also be absent because it was not loaded in time; what is never absent was let in.
    """
    of_runs = {condition: [ratios(record) for record in records] for condition, records in found.items()}
    document: dict[str, Any] = {"announced_s": announced_s, "machine": found[next(iter(found))][0].machine.cpu}
    for condition, runs in of_runs.items():
        slower = [run[SLOWER, MANY].is_longer for run in runs if (SLOWER, MANY) in run]
        refused = [
            absent.kind == "refused" for record in found[condition] for absent in record.absent if absent.name == WRONG
        ]
        widths = [r.high / r.low - 1 for run in runs for r in run.values() if r.low and r.high and r.is_decidable]
        document[condition] = {
            "runs": len(runs),
            "load average": [record.conditions[-1].load_average[0] for record in found[condition]],
            "seconds": seconds[condition],
            "coverage": share_within(list(permutations(runs, 2))),
            "reported by --compare": share_reported(list(pairwise(runs))),
            "median width of an interval": float(np.median(widths)) if widths else None,
            "widest interval": max(widths, default=None),
            "slower one found": share(slower),
            "slower one found by --compare with an equal one": share(
                [
                    Change(SLOWER, MANY, first[EQUAL, MANY], second[SLOWER, MANY]).is_beyond_noise
                    for first, second in permutations(runs, 2)
                    if (EQUAL, MANY) in first and (SLOWER, MANY) in second
                ]
            ),
            "wrong one refused": sum(refused),
            "wrong one let in": len(runs) - len(refused),
        }
    if len(of_runs) > 1:
        one, other = of_runs.values()
        document["coverage across conditions"] = share_within([*product(one, other), *product(other, one)])
    return document


def main() -> None:
    """Measure, and write what was found after every run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="burgers", help="a shipped model, or any that `kdpinn-edge bench` takes")
    parser.add_argument("--repetitions", type=int, default=20, help="runs in each condition")
    parser.add_argument("--load", type=int, default=2, help="processes of the background load; 0 for no such runs")
    parser.add_argument("--backend", action="append", default=[], help="only this one; repeatable")
    parser.add_argument("--seconds", type=float, default=selection.QUICK_S, help="of one run: its turns grow with it")
    parser.add_argument("--out", type=Path, required=True, help="a JSON file")
    options = parser.parse_args()
    if options.repetitions < 2:
        parser.error(f"--repetitions {options.repetitions}; expected: at least 2, to compare one with another")
    longer = options.seconds / selection.QUICK_S
    protocol = replace(selection.QUICK, budget_s=options.seconds, turn_seconds=longer * selection.QUICK.turn_seconds)
    found: dict[str, list[Record]] = {}
    seconds: dict[str, list[float]] = {}
    with TemporaryDirectory() as folder:
        bundle = Path(folder) / "model"
        export = ["export", options.model, "--name", "model", "--out", str(bundle)]
        subprocess.run([sys.executable, "-m", "kdpinn_edge", *export], check=True, capture_output=True)  # noqa: S603
        chosen = configs(bundle, options.backend)
        announced_s = estimate_s(chosen, protocol)
        for k, n_load in product(range(options.repetitions), (0, options.load) if options.load else (0,)):
            condition = f"beside {n_load} processes" if n_load else "as it is"
            with loaded(n_load):
                start_s = monotonic()
                record = measure(chosen, replace(protocol, seed=k), name="coverage")
                seconds.setdefault(condition, []).append(round(monotonic() - start_s, 1))
            found.setdefault(condition, []).append(record)
            done = f"{len(found[condition])} of {options.repetitions} in {seconds[condition][-1]} s"
            print(f"{condition}: {done}", flush=True)
            if min(map(len, found.values())) >= 2:
                document = report(found, seconds, announced_s)
                options.out.write_text(json.dumps(document, indent=1))
    print(options.out.read_text())
    held = dict(is_held(document))
    for measure_, is_so in held.items():
        print("held:  " if is_so else "MISSED:", measure_)
    raise SystemExit(0 if all(held.values()) else 1)


if __name__ == "__main__":
    main()
