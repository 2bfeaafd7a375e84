"""The shared library of the bundle: through cffi from Python, and in a C program's own loop."""

from __future__ import annotations

import os
from functools import partial
from time import perf_counter_ns

from kdpinn_edge.comparison.backend import Array, Backend, Call, Case, CFunction, Prepared
from kdpinn_edge.comparison.backends.prepared import has_one_thread
from kdpinn_edge.runtime import load
from kdpinn_edge.runtime.library_engine import LibraryEngine

WORTH_THREADS_NS = 200_000  # of work for one thread: what Engine.eval says


def prepare(case: Case, threads: int | None) -> Prepared:
    """Prepare `LibraryEngine.bind`. Its own threading: all processors where one would take longer than 0.2 ms."""
    engine = load(case.bundle)
    size = engine.path.stat().st_size
    if threads is not None:
        return Prepared(engine, partial(engine.bind, threads=threads), f"bind(x, y, threads={threads})", size)
    processors = len(os.sched_getaffinity(0))
    report = f"bind(x, y, threads={processors}) where one thread takes over 0.2 ms, else threads=1"
    return Prepared(engine, partial(_bind_to_best, engine, processors), report, size)


def _bind_to_best(engine: LibraryEngine, processors: int, x: Array, y: Array) -> Call:
    call = engine.bind(x, y)
    call()
    start_ns = perf_counter_ns()
    call()
    is_long = perf_counter_ns() - start_ns > WORTH_THREADS_NS
    return engine.bind(x, y, threads=processors) if is_long else call


def prepare_loop(case: Case, threads: int | None) -> Prepared:
    """Prepare the library in harness.c."""
    engine = load(case.bundle)

    def bind(x: Array, y: Array) -> CFunction:
        return CFunction(engine.path, case.manifest.name)

    return Prepared(engine, bind, has_one_thread(threads), engine.path.stat().st_size)


CFFI = ("cffi", "numpy")
LIBRARY = Backend("library, cffi", "call from Python", "same bits", CFFI, "", prepare, CFFI)
LIBRARY_C_LOOP = Backend("library, C loop", "kernel in C", "same bits", CFFI, "", prepare_loop)
