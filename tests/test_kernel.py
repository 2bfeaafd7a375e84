"""The promise: the NumPy program, the printed kernel under NumPy, and the shared library return the same bits."""

from __future__ import annotations

import ctypes
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from compiled import ALWAYS_POINT, ALWAYS_POINTS, RUNNABLE, Library, kernel, same_bits
from conftest import Need
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from strategies import mlp, points, programs

from kdpinn_edge.errors import ExportError, ProgramError
from kdpinn_edge.export.interface import Interface
from kdpinn_edge.export.numba_kernel import load_kernel
from kdpinn_edge.export.shared_library import check_library
from kdpinn_edge.export.target import TARGETS, Target, target
from kdpinn_edge.interp import interpret
from kdpinn_edge.ir import FUNCTIONS, Affine, Program
from kdpinn_edge.manifest import Input, Precision
from kdpinn_edge.numpy_program import NumpyProgram, partial_sums, rounded

PRECISIONS: tuple[Precision, ...] = ("float32", "float64")
ULPS = {"float32": 2.0**-23, "float64": 2.0**-52}
NARROW = next(iter(TARGETS.values()))
compiled_once = settings(
    max_examples=12,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
    phases=[Phase.explicit, Phase.generate],  # shrinking would compile hundreds of libraries
)


def wild(program: Program, n: int, precision: str) -> np.ndarray:
    """Points of every kind: ordinary, huge, subnormal, zeros of both signs, NaN and infinities."""
    x = points(program, n, seed=n).astype(precision)
    info = np.finfo(precision)
    special = [0.0, -0.0, np.nan, np.inf, -np.inf, info.max, -info.max, info.tiny, info.smallest_subnormal, 1e30]
    rng = np.random.default_rng(n)
    chosen = rng.random(x.shape) < 0.2
    return np.where(chosen, rng.choice(np.array(special, precision), x.shape), x).astype(precision)


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("crossover", [ALWAYS_POINTS, ALWAYS_POINT])
@given(program=programs())
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_printed_kernel_is_the_numpy_program(program: Program, crossover: int, precision: Precision) -> None:
    module = load_kernel(kernel({"eval": program}, precision, NARROW, crossover))
    x = wild(program, 20, precision)
    y = np.zeros((20, program.n_out), precision)
    with np.errstate(all="ignore"):
        assert module.eval_all(x.ravel(), y.reshape(-1), 20) == 0
    assert same_bits(y, NumpyProgram(program, precision)(x))


@pytest.mark.slow
@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("chosen", RUNNABLE, ids=lambda t: t.name)
@given(program=programs(), crossover=st.sampled_from([ALWAYS_POINTS, ALWAYS_POINT, 5]))
@compiled_once
def test_library_is_the_numpy_program(program: Program, crossover: int, chosen: Target, precision: Precision) -> None:
    library = Library(program, precision, chosen, crossover)
    reference = NumpyProgram(program, precision)
    assert library.selftest() == 0
    x = wild(program, 200, precision)
    expected = reference(x)
    for n in range(201):
        assert same_bits(library(x[:n]), expected[:n]), n


@pytest.mark.slow
@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("crossover", [ALWAYS_POINTS, ALWAYS_POINT, 5])
@pytest.mark.parametrize("shape", [(20, 3), (33, 2)], ids=str)
def test_many_points(shape: tuple[int, int], crossover: int, precision: Precision) -> None:
    width, depth = shape
    program = mlp(2, width, depth, 3, fn=FUNCTIONS[width % len(FUNCTIONS)])
    library = Library(program, precision, target("native"), crossover)
    x = wild(program, 10_000, precision)
    expected = NumpyProgram(program, precision)(x)
    assert same_bits(library(x), expected)
    assert same_bits(library(x[1:]), expected[1:])


@pytest.fixture(scope="module", params=PRECISIONS)
def library(request: pytest.FixtureRequest) -> Library:
    return Library(mlp(2, 16, 2, 1), request.param, target("native"), 5)


def test_natural_alignment_suffices(library: Library) -> None:
    program = mlp(2, 16, 2, 1)
    size = np.dtype(library.precision).itemsize
    x = points(program, 67).astype(library.precision)
    expected = library(x)
    for shift in range(1, 16):
        raw = np.empty(4096, np.uint8)
        start = -raw.ctypes.data % 64 + shift * size
        moved = raw[start : start + x.nbytes].view(library.precision).reshape(x.shape)
        moved[:] = x
        assert same_bits(library(moved), expected)


def test_threads_may_call_at_once(library: Library) -> None:
    x = points(mlp(2, 16, 2, 1), 3000).astype(library.precision)
    expected = library(x)
    with ThreadPoolExecutor(4) as pool:
        assert all(same_bits(y, expected) for y in pool.map(lambda _: library(x), range(40)))


def test_error_codes(library: Library) -> None:
    x = np.zeros((3, 2), library.precision)
    y = np.zeros((3, 1), library.precision)
    assert library.status(x, y, -1) == -2
    assert library.status(None, y, 3) == -1
    assert library.status(x, None, 3) == -1
    assert library.status(None, None, 0) == 0
    assert library.outside(None, 3) == -1
    assert library.outside(x, -3) == -2
    assert library.outside(None, 0) == 0


def test_outside_counts_points_not_coordinates(library: Library) -> None:
    x = np.array([[0, 0], [1, -1], [1.5, 2], [np.nan, 0], [0, -np.inf], [-1.01, 1]], library.precision)
    assert library.outside(x, len(x)) == 4
    assert library.outside(x, 2) == 0


def test_selftest_notices_one_changed_weight(library: Library, tmp_path: Path) -> None:
    weights = library.kernel.constants["W"]
    first = int(np.flatnonzero(weights)[0])
    changed = bytearray(library.bytes)
    changed[changed.index(weights.tobytes()) + first * weights.itemsize + weights.itemsize - 2] ^= 0x08
    path = tmp_path / "changed.so"
    path.write_bytes(changed)
    assert ctypes.CDLL(str(path)).model_selftest() > 0


@pytest.mark.parametrize("precision", PRECISIONS)
@given(program=programs())
@settings(max_examples=100, deadline=None)
def test_numpy_program_means_the_program(program: Program, precision: Precision) -> None:
    """Tolerance: values stay below 64 and pass at most 20 ops, each sensitive to its operands by at most 64."""
    x = points(program, 50).astype(precision)
    found, exact = NumpyProgram(program, precision)(x), interpret(program, x)
    np.testing.assert_allclose(found, exact, rtol=0, atol=20 * 64 * 64 * ULPS[precision])


def test_parameter_that_float32_cannot_hold() -> None:
    with pytest.raises(ProgramError, match="1e\\+39, which float32 cannot hold"):
        rounded(np.array([1e39]), "float32")


def test_order_of_summation_is_pinned() -> None:
    """A change of this table is a new numerics profile."""
    table = {(n_in, n_out): partial_sums(n_in, n_out) for n_in in (2, 3, 4, 15, 16, 64) for n_out in (1, 4, 5, 64)}
    assert {shape: sums for shape, sums in table.items() if sums == 1} == {
        (n_in, n_out): 1 for n_in in (2, 3) for n_out in (1, 4, 5, 64)
    }
    assert {shape for shape, sums in table.items() if sums == 8} == {(16, 1), (16, 4), (64, 1), (64, 4)}


def test_gates_refuse_another_kind_of_library(tmp_path: Path, need: Need) -> None:
    source, result = tmp_path / "other.c", tmp_path / "other.so"
    source.write_text("#include <stdlib.h>\nint counter = 1;\nvoid *other(void) { counter++; return malloc(8); }\n")
    subprocess.run([need("cc"), "-shared", "-fPIC", "-o", str(result), str(source)], check=True)
    program = mlp(1, 4, 1, 1)
    interface = Interface("model", "float32", target("native"), (Input("x0"),), {"eval": program})
    with pytest.raises(ExportError) as error:
        check_library(result.read_bytes(), interface)
    for part in ("exports", "malloc", "needs the libraries", ".data"):
        assert part in str(error.value)


def test_a_wide_layer_is_within_the_grammar() -> None:
    program = mlp(3, 300, 1, 2, fn="silu")
    assert any(isinstance(op, Affine) and op.out.size == 300 for op in program.ops)
    library = Library(program, "float32", target("native"), 5)
    x = wild(program, 150, "float32")
    assert same_bits(library(x), NumpyProgram(program, "float32")(x))
