"""Backends of all manners, and a load. The processes that they run in import this module, so it imports little."""

from __future__ import annotations

import os
import sys
import tempfile
from functools import partial
from pathlib import Path
from time import monotonic, process_time, sleep

from kdpinn_edge.comparison.backend import Array, Case, CFunction, Prepared
from kdpinn_edge.runtime import Engine, load


def numpy_program(case: Case, threads: int | None) -> Prepared:
    engine = load(case.bundle, engine="numpy")
    return Prepared(engine, engine.bind, "threads=1", 100)


def wrong(case: Case, threads: int | None) -> Prepared:
    engine = load(case.bundle, engine="numpy")
    return Prepared(lambda x: engine(x) + x.dtype.type(0.01), engine.bind, "")


def wrong_for_many(case: Case, threads: int | None) -> Prepared:
    """Right at the probe points, and wrong where it is timed with 100 points."""
    engine = load(case.bundle, engine="numpy")
    return Prepared(engine, lambda x, y: lambda: engine(x) * (1 if len(x) == 1 else 2), "")


def dies(case: Case, threads: int | None) -> Prepared:
    print("last words", file=sys.stderr, flush=True)
    os._exit(7)


def cannot(case: Case, threads: int | None) -> Prepared:
    raise RuntimeError("out of luck")


def never_loads(case: Case, threads: int | None) -> Prepared:
    sleep(600)
    raise RuntimeError("it woke up")


def computes_while_loading(case: Case, threads: int | None) -> Prepared:
    while process_time() < 1.6:
        pass
    return numpy_program(case, threads)


def slow(case: Case, threads: int | None) -> Prepared:
    engine = load(case.bundle, engine="numpy")

    def call(x: Array) -> Array:
        sleep(0.1)
        return engine(x)

    return Prepared(engine, lambda x, y: partial(call, x), "")


def leaves_files(case: Case, threads: int | None) -> Prepared:
    (case.folder / "compiled").mkdir()
    Path(tempfile.mkdtemp(), "cache").write_text("left")
    return numpy_program(case, threads)


def library_loop(case: Case, threads: int | None) -> Prepared:
    engine = load(case.bundle)
    return Prepared(engine, lambda x, y: CFunction(engine.path, case.manifest.name), "")


def evaluated(engine: Engine, x: Array) -> Array:
    return engine.eval(x)


def busy(core: int, seconds: float) -> None:
    """Keep one core busy."""
    os.sched_setaffinity(0, {core})
    end_s = monotonic() + seconds
    while monotonic() < end_s:
        pass
