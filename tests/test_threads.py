"""Several threads: how points are split, in Python and in C; the bits that come out; when threads come and go."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import weakref
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any, get_args

import cffi
import numpy as np
import pytest
from artifacts import Artifacts
from conftest import Need
from hypothesis import example, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from strategies import mlp

from kdpinn_edge.bundle.manifest import Precision
from kdpinn_edge.errors import EngineError
from kdpinn_edge.runtime import Engine, load
from kdpinn_edge.runtime.library_engine import HEADER
from kdpinn_edge.runtime.load import EngineName
from kdpinn_edge.runtime.threads import TILE, Threads, range_begin, ranges

Array = NDArray[Any]
Bundles = dict[Precision, Path]

ENGINES: tuple[EngineName, ...] = ("library", "onnx", "numpy")
EXAMPLE = Path(__file__).parents[1] / "examples" / "threads.c"
STRICT = ("-Wall", "-Wextra", "-Wpedantic", "-Werror", "-Wshadow", "-Wconversion")
SECONDS = 60  # until a wait that ought to end has failed


def any_part(parts: int) -> st.SearchStrategy[tuple[int, int]]:
    return st.integers(0, parts).map(lambda part: (part, parts))


N = st.integers(0, 2**63 - 1) | st.integers(0, 100 * TILE)
PART = (st.integers(1, 2**63 - 1) | st.integers(1, 200)).flatmap(any_part)


@given(n=N, part=PART)
def test_parts_are_a_balanced_partition(n: int, part: tuple[int, int]) -> None:
    k, parts = part
    begin, end = range_begin(n, k, parts), range_begin(n, min(k + 1, parts), parts)
    assert (range_begin(n, 0, parts), range_begin(n, parts, parts)) == (0, n)
    assert 0 <= begin <= end <= n
    assert begin % TILE == 0 or k == parts
    assert k == parts or abs((end - begin) * parts - n) <= TILE * parts


@given(n=st.integers(0, 50 * TILE), parts=st.integers(1, 60))
@example(n=TILE, parts=2)
@example(n=TILE + 1, parts=2)
def test_ranges_hold_every_point_once_and_in_order(n: int, parts: int) -> None:
    found = ranges(n, parts)
    assert [i for points in found for i in range(n)[points]] == list(range(n))
    sizes = [len(range(n)[points]) for points in found]
    assert len(sizes) == max(1, min(parts, -(-n // TILE)))
    assert min(sizes) > 0 or n == 0
    assert max(sizes) - min(sizes) <= TILE


def test_c_and_python_split_alike(need: Need, tmp_path: Path) -> None:
    """-ftrapv ends the process where C would overflow."""
    declaration = "int64_t begin(int64_t n, int64_t part, int64_t parts);"
    source, library = tmp_path / "begin.c", tmp_path / "begin.so"
    source.write_text(
        f'#include "kdpinn_edge.h"\n{declaration}\n'
        f"{declaration[:-1]} {{ return kdpinn_range_begin(n, part, parts); }}\n"
    )
    command = [need("cc"), "-std=c99", "-ftrapv", *STRICT, "-shared", "-fPIC", f"-I{HEADER.parent}"]
    subprocess.run([*command, "-o", str(library), str(source)], check=True)
    ffi = cffi.FFI()
    ffi.cdef(declaration)
    c = ffi.dlopen(str(library))

    @given(n=N, part=PART)
    @example(n=2**63 - 1, part=(2**63 - 2, 2**63 - 1))
    @example(n=2**63 - 1, part=(2**57 - 2, 2**57 - 1))
    @example(n=2**63 - 1, part=(1, 1))
    def alike(n: int, part: tuple[int, int]) -> None:
        assert c.begin(n, *part) == range_begin(n, *part)

    alike()


@pytest.mark.parametrize(("tool", "language"), [("cc", "-std=c99"), ("c++", "-std=c++11"), ("c++", "-std=c++20")])
def test_a_header_whose_function_nobody_calls_is_clean(need: Need, tmp_path: Path, tool: str, language: str) -> None:
    suffix = "c" if tool == "cc" else "cpp"
    source, target = tmp_path / f"unused.{suffix}", tmp_path / "unused.o"
    source.write_text('#include "kdpinn_edge.h"\nint main(void) { return KDPINN_OK; }\n')
    subprocess.run([need(tool), language, *STRICT, f"-I{HEADER.parent}", "-c", "-o", target, source], check=True)
    assert "range_begin" not in subprocess.run([need("nm"), target], capture_output=True, text=True, check=True).stdout


@pytest.fixture(scope="module")
def bundles(artifacts: Artifacts) -> Bundles:
    """A model called burgers in both precisions."""
    return {p: artifacts.bundle(mlp(2, 12, 2, 2), name="burgers", precision=p) for p in get_args(Precision)}


@pytest.fixture(params=ENGINES)
def engine(request: pytest.FixtureRequest, bundles: Bundles) -> Engine:
    name: EngineName = request.param
    return load(bundles["float32"], name)


def points(engine: Engine, n: int, seed: int = 0) -> Array:
    return np.random.default_rng(seed).uniform(-1, 1, (n, 2)).astype(engine.dtype)


def workers() -> set[threading.Thread]:
    return {thread for thread in threading.enumerate() if thread.name.startswith("kdpinn_edge")}


def both_ways(engine: Engine, x: Array, threads: int) -> tuple[Array, Array]:
    y = np.full((len(x), 2), 7, engine.dtype)
    engine.bind(x, y, threads=threads)()
    return engine.eval(x, threads=threads), y


@pytest.mark.parametrize("precision", ["float32", "float64"])
@pytest.mark.parametrize("name", ["library", "numpy"])
def test_the_bits_do_not_depend_on_threads(bundles: Bundles, name: EngineName, precision: Precision) -> None:
    engine = load(bundles[precision], name)
    x = points(engine, 8 * TILE)
    expected = engine(x)

    @settings(max_examples=30)
    @given(n=st.integers(0, 8 * TILE), threads=st.integers(1, 10) | st.integers(11, 10**6))
    @example(n=0, threads=1)
    @example(n=0, threads=10**6)
    @example(n=1, threads=2)
    @example(n=2 * TILE + 1, threads=3)
    def same(n: int, threads: int) -> None:
        for y in both_ways(engine, x[:n], threads):
            assert y.tobytes() == expected[:n].tobytes()

    same()


@pytest.mark.parametrize("n", [0, 1, 1000])
@pytest.mark.parametrize("threads", [1, 2, 5])
def test_every_engine_takes_threads(engine: Engine, n: int, threads: int) -> None:
    x = points(engine, n)
    for y in both_ways(engine, x, threads):
        np.testing.assert_allclose(y, engine(x), rtol=0, atol=1e-6)


def test_any_layout(bundles: Bundles) -> None:
    engine = load(bundles["float32"])
    x = points(engine, 1000)
    for layout in (np.asfortranarray(x), np.repeat(x, 2, axis=0)[::2], x[::-1].copy()[::-1]):
        assert engine.eval(layout, threads=3).tobytes() == engine(x).tobytes()


def test_several_callers_use_several_threads(bundles: Bundles) -> None:
    before = workers()
    engine = load(bundles["float32"])
    arrays = [points(engine, 1000 + seed, seed) for seed in range(8)]
    expected = [engine(x).tobytes() for x in arrays]
    with ThreadPoolExecutor(4) as callers:
        found = callers.map(lambda i: engine.eval(arrays[i % 8], threads=2 + i % 3).tobytes(), range(400))
        assert list(found) == 50 * expected
    assert len(workers() - before) <= (os.cpu_count() or 1)


@pytest.mark.parametrize("threads", [0, -1, 2.0, "2", None, True, np.int64(2)])
def test_what_is_no_number_of_threads(engine: Engine, threads: Any) -> None:
    x = points(engine, 1)
    with pytest.raises(EngineError, match=r"threads is .*; expected: an int from 1, how many"):
        engine.eval(x, threads=threads)
    with pytest.raises(EngineError, match="threads is "):
        engine.bind(x, np.empty((1, 2), np.float32), threads=threads)


@pytest.mark.parametrize("threads", [1, 2])
def test_a_bound_call_keeps_its_memory(engine: Engine, threads: int) -> None:
    x, y = points(engine, 1000), np.empty((1000, 2), np.float32)
    memory = weakref.ref(x), weakref.ref(y)
    call = engine.bind(x, y, threads=threads)
    del x, y
    assert all(array() is not None for array in memory)
    call()


def test_threads_start_when_they_are_needed_and_stay(engine: Engine) -> None:
    before = workers()
    x = points(engine, 1000)
    engine(x)
    engine.eval(x[:TILE], threads=9)
    assert workers() <= before
    for _ in range(20):
        engine.eval(x, threads=3)
    assert 1 <= len(workers() - before) <= (os.cpu_count() or 1)


@pytest.mark.parametrize("name", ENGINES)
def test_no_thread_outlives_its_engine(bundles: Bundles, name: EngineName) -> None:
    before = workers()
    engine = load(bundles["float32"], name)
    engine.eval(points(engine, 1000), threads=3)
    own = workers() - before
    assert own
    del engine
    for thread in own:
        thread.join(SECONDS)
        assert not thread.is_alive()


def test_calls_run_at_the_same_time() -> None:
    meeting = threading.Barrier(2, timeout=SECONDS)

    def meet() -> None:
        meeting.wait()

    Threads().run([meet, meet], 2)


@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="there is one processor")
def test_the_others_leave_the_processor_of_their_caller() -> None:
    threads, together = Threads(), threading.Barrier(2)
    allowed: dict[int, set[int]] = {}

    def call() -> None:
        together.wait(SECONDS)
        allowed[threading.get_native_id()] = os.sched_getaffinity(0)

    for _ in range(2):  # the first starts them
        threads.run([call, call], 2)
    here = allowed.pop(threading.get_native_id())
    (elsewhere,) = allowed.values()
    assert here == os.sched_getaffinity(0)
    assert elsewhere < here
    assert len(here - elsewhere) == 1


def test_a_caller_does_not_wait_for_threads_that_are_busy() -> None:
    threads, processors = Threads(), os.cpu_count() or 1
    all_busy, release = threading.Barrier(processors + 2, timeout=SECONDS), threading.Event()
    done: list[int] = []

    def hold() -> None:
        all_busy.wait()
        release.wait(SECONDS)

    with ThreadPoolExecutor(1) as other:
        held = other.submit(threads.run, [hold] * (processors + 1), processors + 1)
        all_busy.wait()
        threads.run([lambda: done.append(threading.get_ident())] * 5, 5)
        assert not held.done()
        release.set()
    assert done == 5 * [threading.get_ident()]


@pytest.mark.parametrize("failing", [0, 1, 2])
def test_an_error_is_raised_when_nothing_runs_any_more(failing: int) -> None:
    threads, running = Threads(), set()

    def call(k: int) -> None:
        running.add(k)
        try:
            if k == failing:
                raise EngineError(f"call {k}")
        finally:
            running.remove(k)

    for _ in range(50):
        with pytest.raises(EngineError, match=f"call {failing}"):
            threads.run([partial(call, k) for k in range(3)], 3)
        assert running == set()


SCRIPT = """if True:
    import atexit, os, sys, threading
    import numpy as np
    from kdpinn_edge.runtime import load

    engine = load(sys.argv[1])
    x = np.linspace(-1, 1, 20000, dtype=np.float32).reshape(-1, 2)
    expected = engine(x).tobytes()

    def right():
        return engine.eval(x, threads=2).tobytes() == expected

    assert right()
"""
ENDINGS = {
    "idle threads": "",
    "an exit handler that evaluates": "atexit.register(lambda: right() or os._exit(3))",
    "a daemon thread that evaluates": "threading.Thread(target=lambda: all(iter(right, False)), daemon=True).start()",
    "a fork": "child = os.fork(); assert right() and threading.active_count() == 2; "
    "child and os.waitpid(child, 0)[1] and os._exit(3)",
}


@pytest.mark.parametrize("ending", ENDINGS)
def test_a_process_ends(bundles: Bundles, ending: str) -> None:
    command = [sys.executable, "-c", f"{SCRIPT}    {ENDINGS[ending]}\n", str(bundles["float32"])]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=SECONDS)
    assert done.returncode == 0, done.stderr
    assert "Error" not in done.stderr


def test_the_example_in_c(bundles: Bundles, need: Need, tmp_path: Path) -> None:
    bundle, program = bundles["float32"], tmp_path / "threads"
    flags = [f"-I{bundle}", f"-L{bundle}", "-lburgers", f"-Wl,-rpath,{bundle}", "-pthread", "-o", str(program)]
    subprocess.run([need("cc"), "-std=c99", "-O2", *STRICT, str(EXAMPLE), *flags], check=True)
    for threads in (1, 2, 7, 64):
        done = subprocess.run([program, str(threads)], capture_output=True, text=True, check=True)
        assert done.stdout == f"100000 points on {threads} threads: the bits of one thread\n"
    for refused in ("0", "65", "two"):
        assert subprocess.run([program, refused], capture_output=True, check=False).returncode == 1
