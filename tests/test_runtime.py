"""The runtime: every engine on bundles around a small C model, what they refuse, threads, and the timing layer."""

from __future__ import annotations

import copy
import ctypes
import gc
import json
import os
import pickle
import platform
import re
import resource
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import cache
from multiprocessing import get_context
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter_ns, process_time_ns, sleep
from typing import Any

import numpy as np
import psutil
import pytest
from conftest import Need
from edited import edit
from entrants import busy
from numpy.typing import NDArray
from strategies import mlp

from kdpinn_edge.bundle.manifest import (
    MANIFEST_FILE,
    ONNX_FILE,
    PROGRAM_FILE,
    Errors,
    Function,
    Input,
    Manifest,
    Operations,
    Output,
    Precision,
    Sizes,
    TargetRecord,
    read_manifest,
    write_manifest,
)
from kdpinn_edge.bundle.statement import statement_of
from kdpinn_edge.errors import BenchError, BundleError, EngineError
from kdpinn_edge.export.bundle import export_bundle
from kdpinn_edge.export.onnx_model import to_onnx
from kdpinn_edge.program.file import write_program
from kdpinn_edge.program.ir import Affine, Program, Var
from kdpinn_edge.runtime import load
from kdpinn_edge.runtime.c_harness import DOES_NOTHING, FLAGS, SOURCE, CHarness, CModel, compiled_harness
from kdpinn_edge.runtime.engine import Engine
from kdpinn_edge.runtime.library_engine import ABI, HEADER, CompiledEngine, LibraryEngine, _interface
from kdpinn_edge.runtime.load import EngineName
from kdpinn_edge.runtime.on_core import OnCore
from kdpinn_edge.runtime.onnx_engine import OnnxEngine
from kdpinn_edge.runtime.processor import misfit, missing_instructions
from kdpinn_edge.runtime.timing import Loop, Pace, PythonLoop, find_batch, latency

Array = NDArray[Any]
Build = Callable[..., Path]

ENGINES: tuple[EngineName, ...] = ("library", "onnx", "numpy")
PRECISIONS: tuple[Precision, ...] = ("float32", "float64")

u, p = Var("u", 1), Var("p", 2)
SUM = Program("sum", (p,), (u,), (Affine(u, p, [[1.0, 2.0]], [0.0]),))

MODEL = r"""
#include <stddef.h>
#include <time.h>
#include "kdpinn_edge.h"

/* MEET calls have to be inside at the same time, or all give up after ten seconds. */
static int32_t meet(void) {
#ifdef MEET
    static int inside;
    const struct timespec millisecond = {0, 1000000};
    __atomic_add_fetch(&inside, 1, __ATOMIC_SEQ_CST);
    for (int i = 0; i < 10000 && __atomic_load_n(&inside, __ATOMIC_SEQ_CST) < MEET; i++)
        nanosleep(&millisecond, NULL);
    return __atomic_load_n(&inside, __ATOMIC_SEQ_CST) < MEET ? -9 : 0;
#else
    (void)sizeof(struct timespec);
    return CODE;
#endif
}

int32_t sum_eval(const T *x, T *y, int64_t n) {
    for (int64_t i = 0; i < n; i++)
        y[i] = x[2 * i] + FACTOR * x[2 * i + 1];
    return meet();
}

int64_t sum_outside(const T *x, int64_t n) {
    int64_t count = 0;
    for (int64_t i = 0; i < n; i++)
        count += !(x[2 * i] >= -1 && x[2 * i] <= 1);
    return count;
}

int32_t sum_selftest(void) { return SELFTEST; }

int32_t sum_integrity(void) { return 0; }

/* What keeps CasADi from calling these. */
#define REFUSED(f) int32_t f##_work(void) { return -1; }
REFUSED(sum_eval) REFUSED(sum_outside) REFUSED(sum_selftest) REFUSED(sum_integrity) REFUSED(sum_model)

const kdpinn_model *DESCRIBE(void) {
    static const char *const inputs[] = {INPUTS}, *const outputs[] = {OUTPUTS};
    static const double lower[] = {-1, -1}, upper[] = {UPPER};
    static const kdpinn_function functions[] = {
        {.name = FUNCTION, .program_sha256 = SHA256, .output_names = outputs, .n_out = N_OUT, EVAL = sum_eval}};
    static const kdpinn_model model = {
        .abi = ABI, .scalar_bytes = sizeof(T), .n_in = 2, .n_functions = N_FUNCTIONS, .name = "sum",
        .profile = "fma-2", .target = TARGET, .input_names = inputs, .lower = lower, .upper = upper,
        .functions = functions, OUTSIDE = sum_outside, .selftest = sum_selftest, .integrity = sum_integrity,
        .variants = VARIANTS, .n_variants = N_VARIANTS, .statement_sha256 = STATEMENT};
    return NONE ? NULL : &model;
}
CONSTRUCTOR
"""
MACROS = {
    "ABI": "KDPINN_ABI",
    "CONSTRUCTOR": "",
    "CODE": "0",
    "DESCRIBE": "sum_model",
    "FACTOR": "2",
    "FUNCTION": '"eval"',
    "NONE": "0",
    "N_FUNCTIONS": "1",
    "INPUTS": '"p[0]", "p[1]"',
    "N_OUT": "1",
    "N_VARIANTS": "0",
    "OUTPUTS": '"u"',
    "SELFTEST": "0",
    "SHA256": f'"{SUM.sha256}"',
    "TARGET": '"test"',
    "UPPER": "1, 1",
    "VARIANTS": "NULL",
}
TYPES = {
    "float32": {"T": "float", "EVAL": ".f32", "OUTSIDE": ".outside_f32"},
    "float64": {"T": "double", "EVAL": ".f64", "OUTSIDE": ".outside_f64"},
}


ALONE = ("-nostdlib", "-Wl,-z,now", "-Wl,-z,relro", "-Wl,-z,noexecstack")
HOSTED = ("-lc",)


@cache
def compiled(cc: str, *flags: str) -> bytes:
    with TemporaryDirectory() as folder:
        source, library = Path(folder) / "sum.c", Path(folder) / "libsum.so"
        source.write_text(MODEL)
        linked = HOSTED if "-DHOSTED=1" in flags else ALONE
        command = [cc, "-O1", "-shared", "-fPIC", f"-I{HEADER.parent}", *flags, "-o", str(library), str(source)]
        subprocess.run([*command, *linked], check=True)
        return library.read_bytes()


@pytest.fixture
def build(need: Need, tmp_path: Path) -> Build:
    """build() is the directory of a bundle of SUM; macros of MODEL change what its library does."""

    def build(precision: Precision = "float32", directory: Path = tmp_path / "bundle", **macros: str) -> Path:
        directory.mkdir(exist_ok=True)
        (directory / ONNX_FILE).write_bytes(to_onnx(SUM, precision).SerializeToString())
        write_program(SUM, directory / PROGRAM_FILE)
        manifest = Manifest(
            name="sum",
            precision=precision,
            storage=precision,
            profile="fma-2",
            target=TargetRecord("test", f"{platform.machine()}-unknown-linux-gnu", "generic", "", 1),
            inputs=(Input("p[0]", -1.0, 1.0), Input("p[1]", -1.0, 1.0)),
            functions={
                "eval": Function(
                    SUM.sha256,
                    (Output("u"),),
                    Errors((0.0,), (0.0,), (1.0,), 1, "itself"),
                    Operations(2, 0),
                    None,
                    None,
                )
            },
            equation=None,
            sizes=Sizes(100, 100),
            stack=None,
            measured="not measured",
            toolchain={"cc": "any"},
            files=dict.fromkeys(("libsum.so", ONNX_FILE, PROGRAM_FILE), "0" * 64),
            library="libsum.so",
        )
        stated = {"STATEMENT": f'"{statement_of(manifest)}"'}
        flags = [f"-D{name}={value}" for name, value in (MACROS | TYPES[precision] | stated | macros).items()]
        (directory / "libsum.so").unlink(missing_ok=True)
        (directory / "libsum.so").write_bytes(compiled(need("cc"), *flags))
        write_manifest(manifest, directory)
        edit(directory)
        return directory

    return build


def points(n: int, dtype: str, seed: int = 0) -> Array:
    return np.random.default_rng(seed).uniform(-1, 1, (n, 2)).astype(dtype)


def expected(x: Array) -> Array:
    return x[:, :1] + 2 * x[:, 1:]


@pytest.fixture(params=ENGINES)
def engine(request: pytest.FixtureRequest, build: Build) -> Engine:
    name: EngineName = request.param
    return load(build(), name)


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("name", ENGINES)
def test_every_engine(build: Build, name: EngineName, precision: Precision) -> None:
    engine = load(build(precision), name)
    assert (engine.n_in, engine.n_out, engine.dtype) == (2, 1, np.dtype(precision))
    assert engine.manifest.name == "sum"
    for n in (0, 1, 2, 1000):
        x = points(n, precision)
        y = engine(x)
        assert y.dtype == precision
        assert y.shape == (n, 1)
        np.testing.assert_array_equal(y, expected(x))
        bound = np.full((n, 1), 7, precision)
        engine.bind(x, bound)()
        np.testing.assert_array_equal(bound, y)


def test_the_result_is_a_new_array(engine: Engine) -> None:
    x = points(3, "float32")
    first, second = engine(x), engine(x)
    first[:] = 7
    np.testing.assert_array_equal(second, expected(x))


def misaligned(x: Array) -> Array:
    raw = np.empty(x.nbytes + 1, np.uint8)[1:]
    raw[:] = np.frombuffer(x.tobytes(), np.uint8)
    return raw.view(x.dtype).reshape(x.shape)


def read_only(x: Array) -> Array:
    x.setflags(write=False)
    return x


LAYOUTS: dict[str, Callable[[Array], Array]] = {
    "Fortran order": np.asfortranarray,
    "every second row": lambda x: np.repeat(x, 2, axis=0)[::2],
    "reversed": lambda x: x[::-1].copy()[::-1],
    "transposed": lambda x: x.T.copy().T,
    "broadcast": lambda x: np.broadcast_to(x[:1], x.shape),
    "misaligned": misaligned,
    "read-only": read_only,
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_any_layout_is_copied(engine: Engine, layout: str) -> None:
    x = LAYOUTS[layout](points(5, "float32"))
    np.testing.assert_array_equal(engine(x), expected(x))


def test_nan_and_infinities_pass_through(engine: Engine) -> None:
    x = np.array([[np.nan, 0], [np.inf, 1], [-np.inf, 1], [np.inf, -np.inf], [1, 2]], np.float32)
    np.testing.assert_array_equal(engine(x)[:, 0], [np.nan, np.inf, -np.inf, np.nan, 5])


X_REFUSED: dict[str, tuple[Any, str]] = {
    "a list": (
        [[0.5, 0.1]],
        "x is a list; expected: a NumPy array (n, 2) of float32, as in np.asarray(x, dtype=np.floa",
    ),
    "a number": (0.5, "x is a float"),
    "None": (None, "x is a NoneType"),
    "float64": (
        np.zeros((3, 2)),
        "x has dtype float64; expected: float32, the precision of 'sum'. Convert it: x.astype(n",
    ),
    "integers": (np.zeros((3, 2), np.int32), "x has dtype int32"),
    "masked": (
        np.ma.masked_less(np.zeros((3, 2), np.float32), 1),
        "x is a masked array, and a library computes masked numbers like any other",
    ),
    "big-endian": (np.zeros((3, 2), ">f4"), "x has dtype >f4"),
    "objects": (np.zeros((3, 2), object), "x has dtype object"),
    "one point": (
        np.zeros(2, np.float32),
        "x has shape (2,); expected: (n, 2), the columns being p[0], p[1]. For one poi",
    ),
    "flat": (np.zeros(6, np.float32), "x has shape (6,); expected: (n, 2)"),
    "transposed": (np.zeros((2, 5), np.float32), "x has shape (2, 5); expected: (n, 2)"),
    "three axes": (np.zeros((1, 3, 2), np.float32), "x has shape (1, 3, 2)"),
    "no axis": (np.float32(1) * np.ones((), np.float32)[()], "x is a float32"),
}


@pytest.mark.parametrize("case", X_REFUSED)
def test_x_is_refused(engine: Engine, case: str) -> None:
    x, message = X_REFUSED[case]
    for call in (engine, lambda x: engine.bind(x, np.zeros((3, 1), np.float32))):
        with pytest.raises(EngineError) as raised:
            call(x)
        assert message in str(raised.value)


X = points(4, "float32")
Y = np.zeros((4, 1), np.float32)
BOTH = np.zeros(12, np.float32)
BIND_REFUSED: dict[str, tuple[Array, Any, str]] = {
    "another dtype": (X, Y.astype(np.float64), "y has dtype float64"),
    "a flat y": (X, Y[:, 0], "y has shape (4,); expected: (n, 1), the columns being u. For n points: y[:, None]"),
    "too few values": (X, Y[:3], "x has 4 points and y has 3; expected: as many"),
    "not contiguous x": (np.asfortranarray(X), Y, "x is not C-contiguous and aligned, and a bound call copies nothing"),
    "not contiguous y": (X, np.zeros((8, 1), np.float32)[::2], "y is not C-contiguous"),
    "misaligned y": (X, misaligned(Y), "y is not C-contiguous and aligned"),
    "read-only y": (
        X,
        read_only(Y.copy()),
        "y is read-only; expected: an array to write to, as in y = np.empty((len(x)",
    ),
    "overlap": (BOTH[:8].reshape(4, 2), BOTH[7:11].reshape(4, 1), "x and y overlap"),
}


@pytest.mark.parametrize("case", BIND_REFUSED)
def test_bind_refuses(engine: Engine, case: str) -> None:
    x, y, message = BIND_REFUSED[case]
    with pytest.raises(EngineError) as raised:
        engine.bind(x, y)
    assert message in str(raised.value)


def test_a_bound_call_does_not_write_where_y_was_made_read_only(engine: Engine) -> None:
    for threads in (1, 2):
        y = Y.copy()
        step = engine.bind(X, y, threads=threads)
        y.flags.writeable = False
        with pytest.raises(EngineError, match=r"made read-only after it was bound.*y\.flags\.writeable = True"):
            step()
        np.testing.assert_array_equal(y, Y)
        y.flags.writeable = True
        step()
        np.testing.assert_array_equal(y, expected(X))


@pytest.mark.parametrize("threads", [1, 2])
def test_a_bound_call_does_not_travel(engine: Engine, threads: int) -> None:
    step = engine.bind(X, Y.copy(), threads=threads)
    for travel in (pickle.dumps, copy.deepcopy):
        with pytest.raises(TypeError, match=r"Pickle that, and bind where it arrives: engine\.bind") as raised:
            travel(step)
        assert isinstance(raised.value, EngineError)


def test_points_that_no_machine_has_room_for(engine: Engine) -> None:
    """Views without memory of their own: nothing is allocated before they are refused."""
    one = X[:1]
    for many in (np.broadcast_to(one, (2**40, 2)), np.lib.stride_tricks.as_strided(one, (2**58, 2), (0, 4))):
        for call in (engine, engine.outside) if isinstance(engine, LibraryEngine) else (engine,):
            with pytest.raises(
                EngineError, match=r"points take [\d,.]+ GiB of new memory.*; expected: fewer at a time"
            ):
                call(many)


def test_too_little_memory_is_said(build: Build) -> None:
    engine, x = load(build()), np.broadcast_to(X[:1], (1 << 24, 2))
    taken = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    before = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (taken + (32 << 20), before[1]))
    try:
        with pytest.raises(EngineError, match="too little memory left for 16,777,216 points"):
            engine(x)
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)


def test_memory_side_by_side_is_no_overlap(engine: Engine) -> None:
    memory = np.arange(12, dtype=np.float32)
    x, y = memory[:8].reshape(4, 2), memory[8:].reshape(4, 1)
    engine.bind(read_only(x), y)()
    np.testing.assert_array_equal(y, expected(x))


def test_a_bound_call_reads_x_anew_and_keeps_its_arrays(engine: Engine) -> None:
    x, y = points(4, "float32"), np.zeros((4, 1), np.float32)
    call = engine.bind(x, y)
    x_view, y_view = x[:], y[:]
    del engine, x, y
    for seed in range(3):
        x_view[:] = points(4, "float32", seed)
        call()
        np.testing.assert_array_equal(y_view, expected(x_view))


def test_a_code_other_than_0_is_an_error(build: Build) -> None:
    engine = load(build(CODE="-2"))
    with pytest.raises(EngineError, match="sum_eval returned -2"):
        engine(X)


def test_outside(build: Build) -> None:
    engine = load(build("float64"))
    x = np.array([[0, 0], [1, 0], [1.5, 0], [np.nan, 0], [-2, 0]])
    assert engine.outside(x) == 3
    assert engine.outside(np.asfortranarray(x)) == 3
    assert engine.outside(x[:0]) == 0
    with pytest.raises(EngineError, match="x has dtype float32"):
        engine.outside(x.astype(np.float32))


def test_threads_share_an_engine(engine: Engine) -> None:
    def work(seed: int) -> bool:
        x = points(1 + seed, "float32", seed)
        return bool((engine(x) == expected(x)).all())

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(work, range(200)))


def test_the_gil_is_released(build: Build) -> None:
    engine = unguarded(build(MEET="2", HOSTED="1"))
    with ThreadPoolExecutor(2) as pool:
        first, second = pool.map(engine, [X, X])
    np.testing.assert_array_equal(first, second)


def test_the_gil_is_released_in_bound_calls(build: Build) -> None:
    engine = unguarded(build(MEET="3", HOSTED="1"))
    calls = [engine.bind(X, np.zeros((4, 1), np.float32)) for _ in range(3)]
    with ThreadPoolExecutor(3) as pool:
        list(pool.map(lambda call: call(), calls))


def unguarded(bundle: Path) -> Engine:
    """The engine of a library that keeps state and needs the C library, which `load` refuses."""
    library = ctypes.CDLL(str(bundle / "libsum.so"))
    address = ctypes.cast(library.sum_model, ctypes.c_void_p).value
    assert address is not None
    return CompiledEngine(read_manifest(bundle), {"sum_model": address}, library, lambda: unguarded(bundle))


def test_many_threads_load(build: Build) -> None:
    bundle = build()
    barrier = threading.Barrier(4)

    def work(_: int) -> Array:
        barrier.wait()
        return load(bundle)(X)

    with ThreadPoolExecutor(4) as pool:
        for y in pool.map(work, range(4)):
            np.testing.assert_array_equal(y, expected(X))


REFUSED_LIBRARIES: dict[str, tuple[dict[str, str], type[Exception], str]] = {
    "another ABI": ({"ABI": "2"}, BundleError, "has ABI version 2; this version calls 4"),
    "no description": ({"NONE": "sum_selftest() == 0"}, BundleError, "sum_model() returned NULL"),
    "no such symbol": ({"DESCRIBE": "other_model"}, BundleError, "exports ['other_model', "),
    "other inputs": ({"INPUTS": '"p[1]", "p[0]"'}, BundleError, "input_names is ('p[1]', 'p[0]'), the manifest says"),
    "another output": (
        {"OUTPUTS": '"v"'},
        BundleError,
        "functions[0].output_names is ('v',), the manifest says ('u',)",
    ),
    "another domain": ({"UPPER": "1, 2"}, BundleError, "upper is (1.0, 2.0), the manifest says (1.0, 1.0)"),
    "another target": ({"TARGET": '"cray"'}, BundleError, "target is 'cray', the manifest says 'test'"),
    "for several targets": ({"N_VARIANTS": "1"}, BundleError, "target is 'x86-64', the manifest says 'test'"),
    "a constructor": (
        {"CONSTRUCTOR": "__attribute__((constructor)) static void run(void) { __builtin_trap(); }"},
        BundleError,
        "has DT_INIT_ARRAY, which no exported library has",
    ),
    "writable data": ({"CONSTRUCTOR": "int32_t sum_state = 1;"}, BundleError, "has writable data"),
    "symbols from outside": (
        {"CONSTRUCTOR": "extern int puts(const char *); int32_t sum_hi(void) { return puts(TARGET); }"},
        BundleError,
        "needs the symbols ['puts']",
    ),
    "an indirect function": (
        {
            "CONSTRUCTOR": "static void *choose(void) { __builtin_trap(); } "
            'int32_t sum_choice(void) __attribute__((ifunc("choose")));'
        },
        BundleError,
        "chooses by code of its own what these stand for: ['sum_choice']",
    ),
    "another library": ({"HOSTED": "1", "MEET": "1"}, BundleError, "needs the libraries ['libc.so.6']"),
    "another Program": ({"SHA256": '"00"'}, BundleError, "functions[0].program_sha256 is '00', the manifest says"),
    "other sizes": ({"N_OUT": "3"}, BundleError, "functions[0].n_out is 3, the manifest says 1"),
    "another function": ({"FUNCTION": '"jet"'}, BundleError, "functions[0].name is 'jet', the manifest says 'eval'"),
    "no function": ({"N_FUNCTIONS": "0"}, BundleError, "n_functions is 0, the manifest says 1"),
    "selftest": ({"SELFTEST": "12"}, EngineError, "golden number 12 has other bits than at export"),
}


@pytest.mark.parametrize("case", REFUSED_LIBRARIES)
def test_a_library_is_refused(build: Build, case: str) -> None:
    macros, error, message = REFUSED_LIBRARIES[case]
    bundle = build(**macros)
    with pytest.raises(error) as raised:
        load(bundle)
    assert message in str(raised.value)
    np.testing.assert_array_equal(load(bundle, "numpy")(X), expected(X))


def test_a_library_without_the_functions_for_constant_inputs_is_refused(build: Build) -> None:
    bundle = build()
    manifest = read_manifest(bundle)
    edit(bundle, per_call=(manifest.inputs[0].name,))
    with pytest.raises(BundleError, match=r"exports .* expected: exactly .*sum_eval_for"):
        load(bundle)


@pytest.mark.parametrize("name", ENGINES)
@pytest.mark.parametrize(
    "change",
    [
        {"equation": "u = 0"},
        {"inputs": (Input("p[0]", -1.0, 50.0), Input("p[1]", -1.0, 1.0))},
        {"inputs": (Input("p[0]", -1.0, 1.0, "inch"), Input("p[1]", -1.0, 1.0))},
        {"inputs": (Input("p[1]", -1.0, 1.0), Input("p[0]", -1.0, 1.0))},
        {"per_call": ("p[1]",)},
        {"toolchain": {"cc": "another"}},
    ],
)
def test_a_manifest_that_states_something_else_is_refused_by_every_engine(
    build: Build, name: EngineName, change: dict[str, Any]
) -> None:
    bundle = build()
    edit(bundle, restated=False, **change)
    with pytest.raises(BundleError, match=r"libsum.so was not made for this manifest.json"):
        load(bundle, name)


def test_every_disagreement_is_listed(build: Build) -> None:
    bundle = build()
    edit(bundle, precision="float64", profile="fma-3", inputs=(Input("x"),))
    with pytest.raises(BundleError) as raised:
        load(bundle)
    for fault in ("scalar_bytes is 4, the manifest says 8", "n_in is 2", "profile is 'fma-2'"):
        assert f"\n  - {fault}" in str(raised.value)


@pytest.mark.parametrize("name", ENGINES)
@pytest.mark.parametrize("file", ["libsum.so", ONNX_FILE, PROGRAM_FILE])
def test_an_edited_or_truncated_file_is_refused_by_every_engine(build: Build, name: EngineName, file: str) -> None:
    bundle = build()
    data = (bundle / file).read_bytes()
    for edited in (data[:-1], data[:-1] + bytes([data[-1] ^ 1]), b""):
        (bundle / file).write_bytes(edited)
        with pytest.raises(BundleError, match=f"{file}: SHA-256 is"):
            load(bundle, name)
    (bundle / file).unlink()
    with pytest.raises(BundleError, match=f"{file}: No such file"):
        load(bundle, name)


@pytest.mark.parametrize("name", ENGINES)
def test_an_edited_manifest_is_refused_by_every_engine(build: Build, name: EngineName) -> None:
    bundle = build()
    record = json.loads((bundle / MANIFEST_FILE).read_text())
    changes = {
        "schema 1": {"schema": 1},
        "SHA-256 is": {"files": record["files"] | {"libsum.so": "0" * 64}},
        "plain file name": {"library": "../libsum.so"},
    }
    for message, change in changes.items():
        (bundle / MANIFEST_FILE).write_text(json.dumps(record | change))
        with pytest.raises(BundleError, match=message):
            load(bundle, name)


def test_not_a_library(build: Build) -> None:
    bundle = build()
    statement = statement_of(read_manifest(bundle)).encode()
    (bundle / "libsum.so").write_bytes(b"not ELF" + statement)
    edit(bundle)
    with pytest.raises(BundleError, match=r"libsum.so is not loaded, .* is none of an ELF library, "):
        load(bundle)


def test_a_processor_without_the_instructions(build: Build, tmp_path: Path) -> None:
    cpuinfo = tmp_path / "cpuinfo"
    v2 = "pni ssse3 cx16 sse4_1 sse4_2 popcnt lahf_lm"
    cpuinfo.write_text(f"processor : 0\nflags\t\t: fpu {v2} avx avx2 bmi1 bmi2 f16c fma abm movbe\n\nprocessor : 1\n")
    assert missing_instructions("x86-64-v3", cpuinfo) == []
    assert missing_instructions("x86-64-v4", cpuinfo) == ["avx512f", "avx512dq", "avx512cd", "avx512bw", "avx512vl"]
    assert missing_instructions("cortex-a72", cpuinfo) == []
    assert missing_instructions("x86-64-v4", tmp_path / "nowhere") == []


@pytest.mark.parametrize(
    ("triple", "machine", "fits"),
    [
        ("x86_64-unknown-linux-gnu", "x86_64", True),
        ("x86_64-unknown-linux-gnu", "aarch64", False),
        ("aarch64-unknown-linux-gnu", "aarch64", True),
        ("aarch64-unknown-linux-gnu", "x86_64", False),
        ("arm64-apple-macosx11.0.0", "arm64", True),
        ("armv7-unknown-linux-gnueabihf", "armv7l", True),
        ("armv7-unknown-linux-gnueabihf", "riscv64", False),
        ("riscv64-unknown-linux-gnu", "riscv64", True),
        ("thumbv7em-none-eabihf", "x86_64", False),
    ],
)
def test_a_library_for_another_architecture(
    triple: str, machine: str, fits: bool, build: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle = build()
    manifest = read_manifest(bundle)
    monkeypatch.setattr(platform, "machine", lambda: machine)
    target = replace(manifest.target, name="other", triple=triple)
    assert misfit(replace(manifest, target=target)) == (None if fits else f"this machine is {machine}")
    if not fits:
        edit(bundle, target=target)
        with pytest.raises(EngineError, match=rf"libsum\.so was made for other; this machine is {machine}\. Export"):
            load(bundle)
        np.testing.assert_array_equal(load(bundle, "numpy")(X), expected(X))


def test_a_new_library_at_the_same_path_is_the_one_that_is_loaded(build: Build) -> None:
    old = load(build())
    new = load(build(FACTOR="3"))
    np.testing.assert_array_equal(old(X), X[:, :1] + 2 * X[:, 1:])
    np.testing.assert_array_equal(new(X), X[:, :1] + 3 * X[:, 1:])


def test_a_running_engine_does_not_see_its_file_change(build: Build) -> None:
    bundle = build()
    engine = load(bundle)
    with (bundle / "libsum.so").open("r+b") as file:
        file.write(bytes(len(file.read())))
        file.truncate(0)
    np.testing.assert_array_equal(engine(X), expected(X))


def test_engines_give_back_what_they_hold(build: Build) -> None:
    bundle = build()
    descriptors = Path("/proc/self/fd")
    load(bundle)
    gc.collect()
    before = len(list(descriptors.iterdir()))
    for _ in range(5):
        load(bundle)(X)
    gc.collect()
    assert len(list(descriptors.iterdir())) == before


def test_an_unknown_engine(build: Build) -> None:
    with pytest.raises(EngineError, match="engine 'torch' is unknown; expected: library, onnx, numpy"):
        load(build(), "torch")  # type: ignore[call-overload]


def test_a_bundle_without_a_model_for_the_engine(build: Build) -> None:
    bundle = build()
    manifest = read_manifest(bundle)
    (bundle / ONNX_FILE).unlink()
    (bundle / PROGRAM_FILE).unlink()
    edit(bundle, files={"libsum.so": manifest.files["libsum.so"]})
    for name, file in (("onnx", ONNX_FILE), ("numpy", PROGRAM_FILE)):
        with pytest.raises(EngineError, match=f"the bundle has no {file}"):
            load(bundle, name)  # type: ignore[call-overload]
    load(bundle)


def test_the_numpy_engine_proves_the_program(build: Build) -> None:
    bundle = build()
    write_program(replace(SUM, name="other"), bundle / PROGRAM_FILE)
    edit(bundle)
    with pytest.raises(BundleError, match=r"program\.npz holds the Program"):
        load(bundle, "numpy")


def test_the_numpy_engine_refuses_a_profile_that_it_does_not_know(build: Build) -> None:
    bundle = build()
    edit(bundle, profile="fma-3")
    message = "'fma-3'; this version computes fma-2, muladd-1, fma-2-fast, muladd-1-fast, int16-1: update kdpinn_edge"
    with pytest.raises(EngineError, match=message):
        load(bundle, "numpy")


def test_onnx_runtime_is_missing(build: Build, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(EngineError, match=r"pip install 'kdpinn-edge\[bench\]'"):
        load(build(), "onnx")


def test_onnx_runtime_does_not_take_the_model(build: Build) -> None:
    bundle = build()
    (bundle / ONNX_FILE).write_bytes(b"junk")
    edit(bundle)
    with pytest.raises(EngineError, match=r"ONNX Runtime .* does not take model\.onnx"):
        load(bundle, "onnx")


def test_the_onnx_engine_proves_the_program(build: Build) -> None:
    bundle = build()
    (bundle / ONNX_FILE).write_bytes(to_onnx(replace(SUM, name="other"), "float32").SerializeToString())
    edit(bundle)
    with pytest.raises(BundleError, match=r"model\.onnx is a model of the Program"):
        load(bundle, "onnx")


def test_plain_run_of_onnx_runtime(build: Build) -> None:
    engine = load(build(), "onnx")
    assert isinstance(engine, OnnxEngine)
    (y,) = engine.bind_run(X)()
    np.testing.assert_array_equal(y, expected(X))
    with pytest.raises(EngineError, match="x has dtype float64"):
        engine.bind_run(X.astype(np.float64))


def test_a_fresh_process_loads_only_what_it_needs(build: Build) -> None:
    script = """if True:
        import sys, numpy
        from kdpinn_edge.runtime import load
        print(load(sys.argv[1])(numpy.array([[1, 2]], numpy.float32))[0, 0])
        print(*sorted({"torch", "onnx", "onnxruntime", "numba", "llvmlite", "typer", "rich"} & set(sys.modules)))
    """
    command = [sys.executable, "-W", "error", "-c", script, str(build())]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["5.0"]
    assert done.stderr == ""


def test_the_description_in_the_manual_is_that_of_the_header() -> None:
    manual = (Path(__file__).parents[1] / "docs" / "abi.md").read_text()
    (declared,) = re.findall(r"```c\n(.*?)```", manual, flags=re.S)
    assert declared in HEADER.read_text()
    for code in (
        "KDPINN_OK` (0)",
        "KDPINN_NULL_POINTER` (-1",
        "KDPINN_NEGATIVE_COUNT` (-2)",
        "KDPINN_UNSUPPORTED_CPU` (-3",
    ):
        assert code in manual
    assert f"ABI version {ABI}" in manual


def test_cffi_and_c_see_one_layout(need: Need, tmp_path: Path) -> None:
    ffi = _interface()
    fields = [(type, name) for type in ("kdpinn_function", "kdpinn_model") for name, _ in ffi.typeof(type).fields]
    offsets = "".join(f'printf("%zu ", offsetof({type}, {name}));' for type, name in fields)
    source = tmp_path / "layout.c"
    source.write_text(
        '#include <stdio.h>\n#include <stddef.h>\n#include "kdpinn_edge.h"\n'
        f'int main(void) {{ {offsets} printf("%zu %zu", sizeof(kdpinn_function), sizeof(kdpinn_model)); return 0; }}\n'
    )
    program = tmp_path / "layout"
    subprocess.run([need("cc"), *FLAGS, f"-I{HEADER.parent}", "-o", str(program), str(source)], check=True)
    printed = subprocess.run([str(program)], capture_output=True, text=True, check=True).stdout
    assert list(map(int, printed.split())) == [
        *(ffi.offsetof(type, name) for type, name in fields),
        ffi.sizeof("kdpinn_function"),
        ffi.sizeof("kdpinn_model"),
    ]


def test_percentiles_are_by_nearest_rank() -> None:
    samples = np.random.default_rng(0).permutation(np.arange(1.0, 201.0)).tolist()
    found = latency(samples, 4)
    assert (found.min_ns, found.p50_ns, found.p99_ns, found.max_ns) == (1, 100, 198, 200)
    assert (found.samples, found.batch) == (200, 4)
    assert latency([3.0], 1).p99_ns == 3.0


def check_loop(loop: Loop) -> None:
    """Every loop gives what it was asked for, in nanoseconds that are possible."""
    assert loop.once() > 0
    assert loop.clock_ns() >= 0
    closed, cold, alone = loop.closed(3, 7), loop.cold(1 << 16, 5), loop.alone(4)
    assert (closed.shape, cold.shape, alone.shape) == ((7,), (5,), (4,))
    assert (loop.partner.closed(2, 3) > 0).all()
    assert all((samples > 0).all() for samples in (closed, cold, alone))
    begun_ns = perf_counter_ns()
    latencies_ns, on_core_ns = loop.periodic(100_000, 20).T
    assert perf_counter_ns() - begun_ns >= 20 * 100_000
    assert (latencies_ns >= on_core_ns).all()
    assert (on_core_ns > 0).all()
    pace = Pace(3, 50_000.0)
    found = loop.paired(pace, pace, 1e-4)
    assert pace.samples == 2
    assert len(found.pairs_ns) >= 2
    assert found.samples_ns.shape == (2 * len(found.pairs_ns),)
    assert found.pairs_ns.shape[1] == 3
    assert (found.pairs_ns > 0).all()


def test_the_loops_of_python() -> None:
    calls: list[int] = []
    loop = PythonLoop(lambda: calls.append(len(calls)), int)
    check_loop(loop)
    n_paired = len(calls) - (1 + (1 + 3 * 7) + 5 + (1 + 4) + (1 + 20))
    assert n_paired % (1 + 2 * 3) == 0
    assert gc.isenabled()


def test_a_stall_delays_the_calls_behind_it() -> None:
    """No coordinated omission: latency is counted from the intended start. Sleeping is the call's own time."""
    calls: list[int] = []

    def stalls_once() -> None:
        calls.append(0)
        if len(calls) == 3:
            sleep(0.05)

    latencies_ns, on_core_ns = PythonLoop(stalls_once).periodic(10_000_000, 6).T
    assert (latencies_ns[1:4] >= [49e6, 39e6, 29e6]).all()
    assert (on_core_ns[1:4] >= [49e6, 39e6, 29e6]).all()


@pytest.fixture
def contended() -> Iterator[None]:
    """This process and another one share a core."""
    affinity = os.sched_getaffinity(0)
    core = min(affinity)
    other = get_context("spawn").Process(target=busy, args=(core, 30.0), daemon=True)
    other.start()
    os.sched_setaffinity(0, {core})
    try:
        while psutil.Process(other.pid).cpu_times().user < 0.1:
            sleep(0.01)
        yield
    finally:
        os.sched_setaffinity(0, affinity)
        other.kill()
        other.join()


@pytest.mark.usefixtures("contended")
def test_what_others_take_from_the_core_is_not_the_works_own() -> None:
    """The other process never sleeps, so it gets about half of the core."""
    with OnCore() as watch:
        watch.start()
        begun_ns, cpu_ns = perf_counter_ns(), process_time_ns()
        while process_time_ns() - cpu_ns < 100e6:
            pass
        own_ns, wall_ns = watch.stop(), perf_counter_ns() - begun_ns
        assert own_ns == pytest.approx(100e6, rel=0.05)
        assert wall_ns > 1.2 * own_ns
        watch.start()
        sleep(0.05)
        assert watch.stop() > 40e6  # less what passed until the core was free again, as the kernel counts it


def test_a_call_that_fails_is_not_hidden() -> None:
    def fail() -> None:
        raise EngineError("as it should")

    for loop in ("once", "closed", "periodic", "cold"):
        with pytest.raises(EngineError, match="as it should"):
            getattr(PythonLoop(fail), loop)(*() if loop == "once" else (1, 1))
    assert gc.isenabled()


def test_a_short_call_is_timed_in_batches_and_a_long_one_alone() -> None:
    assert find_batch(PythonLoop(int))[0] > 1
    batch, call_ns = find_batch(PythonLoop(lambda: sum(range(100_000))))
    assert (batch, call_ns > 0) == (1, True)


def test_the_loops_of_c(build: Build, harness: CHarness) -> None:
    bundle, x = build("float32"), points(5, "float32")
    with harness.loop(bundle / "libsum.so", "sum", x) as loop:
        assert loop.load_ns > 0
        assert loop.process_ns > 0
        check_loop(loop)
        np.testing.assert_array_equal(loop.values(x.dtype), expected(x).ravel())
    partner = CModel(bundle / "libsum.so", "sum", x)
    with harness.loop(DOES_NOTHING, "nothing", x, partner) as loop:
        check_loop(loop)
        paces = (Pace(1000, 1.0), Pace(1, 1000.0))
        own_ns, partner_ns, _ = np.median(loop.paired(*paces, 1e-3).pairs_ns, axis=0)
        assert own_ns < partner_ns  # nothing, and sums
        with pytest.raises(BenchError, match="not understood: closed 0 1"):
            loop.closed(0, 1)


@pytest.mark.parametrize("precision", PRECISIONS)
def test_the_c_harness(build: Build, need: Need, precision: Precision) -> None:
    bundle = build(precision)
    with compiled_harness(need("cc")) as harness:
        for n in (0, 1, 1000):
            x = points(n, precision)
            found, y = harness.time(bundle, np.asfortranarray(x), seconds=1e-3)
            np.testing.assert_array_equal(y, expected(x))
            assert y.dtype == precision
            assert 0 < found.min_ns <= found.p50_ns <= found.p99_ns <= found.max_ns
            assert found.samples >= 100
        with pytest.raises(EngineError, match="x has shape"):
            harness.time(bundle, points(3, precision)[0])
        (bundle / "libsum.so").write_bytes(b"")
        with pytest.raises(BundleError, match="SHA-256 is"):
            harness.time(bundle, x)
        executable = harness.executable
    assert not executable.exists()


@pytest.mark.parametrize("precision", PRECISIONS)
def test_an_exported_bundle(harness: CHarness, tmp_path: Path, precision: Precision) -> None:
    program = mlp(2, 20, 2, 1)
    bundle = tmp_path / "net"
    box = (Input("x0", -1.0, 1.0), Input("x1", 0.0, 1.0))
    export_bundle(program, bundle, name="net", precision=precision, inputs=box)
    library, onnx_model, numpy_program = (load(bundle, name) for name in ENGINES)
    for n in (0, 1, 7, 300):
        x = points(n, precision)
        y = library(x)
        assert y.tobytes() == numpy_program(x).tobytes()
        assert y.tobytes() == harness.time(bundle, x, seconds=1e-3)[1].tobytes()
        np.testing.assert_allclose(onnx_model(x), y, rtol=0, atol=64 * np.finfo(precision).eps)
        assert load(bundle).outside(x) == (x[:, 1] < 0).sum()


def test_the_c_harness_says_why_it_failed(build: Build, harness: CHarness) -> None:
    with pytest.raises(BenchError, match="harness failed with exit code 1: harness: sum_model: selftest found"):
        harness.time(build(SELFTEST="3"), X, seconds=1e-3)
    with pytest.raises(BenchError, match="eval: returned an error code"):
        harness.time(build(CODE="-1"), X, seconds=1e-3)


def test_a_missing_or_failing_compiler(tmp_path: Path) -> None:
    with pytest.raises(BenchError, match="the C compiler 'no-such-cc' is not on PATH"), compiled_harness("no-such-cc"):
        pass
    broken = tmp_path / "broken-cc"
    broken.write_text("#!/bin/sh\necho no space left >&2\nexit 4\n")
    broken.chmod(0o755)
    unreadable = tmp_path / "script-without-interpreter"
    unreadable.write_text("#!/nowhere/sh\n")
    unreadable.chmod(0o755)
    with pytest.raises(BenchError, match="cannot be started: No such file"), compiled_harness(str(unreadable)):
        pass
    with (
        pytest.raises(BenchError, match="broken-cc failed with exit code 4: no space left"),
        compiled_harness(str(broken)),
    ):
        pass


def test_the_harness_is_clean_c(need: Need, tmp_path: Path) -> None:
    strict = ["-Wshadow", "-Wconversion", "-Wstrict-prototypes", "-Wcast-qual"]
    subprocess.run(
        [need("cc"), *FLAGS, *strict, f"-I{HEADER.parent}", "-c", "-o", str(tmp_path / "harness.o"), str(SOURCE)],
        check=True,
    )
