"""The promise: the NumPy program, the printed kernel under NumPy, and the shared library return the same bits."""

from __future__ import annotations

import ctypes
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from compiled import ALWAYS_POINT, ALWAYS_POINTS, RUNNABLE, Functions, Library, kernel, same_bits
from conftest import Need
from hypothesis import HealthCheck, Phase, given, reject, settings
from hypothesis import strategies as st
from loops_numpy import Machine
from sampled import named, sampled
from strategies import mlp, points, programs, wild

from kdpinn_edge.bundle.manifest import Input, Precision
from kdpinn_edge.derive.derivatives import derivatives
from kdpinn_edge.derive.names import Derivative, Names
from kdpinn_edge.errors import DerivativeError, EngineError, ExportError, ProgramError
from kdpinn_edge.export.artifacts.gates import check_artifact
from kdpinn_edge.export.lowering.constants import Constants
from kdpinn_edge.export.lowering.kernel import Kernel
from kdpinn_edge.export.lowering.loops import Block, Body, For, Let, Store
from kdpinn_edge.export.targets.interface import Interface
from kdpinn_edge.export.targets.table import TARGETS, Target, Vectors, target
from kdpinn_edge.functions import FUNCTIONS
from kdpinn_edge.numerics.lanes import profile
from kdpinn_edge.numerics.reference import NumpyProgram, rounded
from kdpinn_edge.numerics.words import partial_sums
from kdpinn_edge.program.interp import interpret
from kdpinn_edge.program.ir import Affine, Map, Program, Scale, Var, columns

PRECISIONS: tuple[Precision, ...] = ("float32", "float64")
ULPS = {"float32": 2.0**-23, "float64": 2.0**-52}
NARROW = next(target for target in TARGETS.values() if target.profile == "fma-2")
BY_PROFILE = [NARROW, TARGETS["x86-64-v2"]]
compiled_once = settings(
    suppress_health_check=[HealthCheck.too_slow],
    phases=[Phase.explicit, Phase.generate],  # shrinking would compile hundreds of libraries
)


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("chosen", BY_PROFILE, ids=lambda t: t.profile)
@given(program=programs(any_function=True))
@settings(max_examples=10, suppress_health_check=[HealthCheck.too_slow])
def test_printed_kernel_is_the_numpy_program(program: Program, chosen: Target, precision: Precision) -> None:
    module = kernel({"eval": program}, precision, chosen, 5).load()
    x = wild(program, 20, precision)
    y = np.zeros((20, program.n_out), precision)
    with np.errstate(all="ignore"), profile(chosen.profile):
        assert module.eval_all(x.ravel(), y.reshape(-1), 20) == 0
        assert module.selftest() == 0
    assert same_bits(y, NumpyProgram(program, precision, chosen.profile)(x))


def machine(made: Kernel) -> Machine:
    return Machine(made.routines, made.arrays)


@pytest.mark.parametrize("precision", PRECISIONS)
@given(
    program=programs(any_function=True),
    chosen=st.sampled_from([each for each in TARGETS.values() if not each.variants]),
    crossover=st.sampled_from([ALWAYS_POINTS, ALWAYS_POINT, 5]),
)
@settings(max_examples=15, suppress_health_check=[HealthCheck.too_slow], deadline=None)
def test_loops_of_any_target_are_the_numpy_program(
    program: Program, chosen: Target, crossover: int, precision: Precision
) -> None:
    if precision not in chosen.by_precision:
        reject()
    made = kernel({"eval": program}, precision, chosen, crossover)
    x = wild(program, 19, precision)
    y = np.zeros((19, program.n_out), precision)
    with np.errstate(all="ignore"), profile(chosen.profile):
        assert machine(made).call("eval", x.ravel(), y.reshape(-1), 19) == 0
    assert same_bits(y, NumpyProgram(program, precision, chosen.profile)(x))


@st.composite
def of_one_library(draw: st.DrawFn) -> Functions:
    """Three Programs of the same inputs, as the functions of a model."""
    first = draw(programs(any_function=True))
    second, third = (draw(programs(inputs=first.inputs, any_function=True)) for _ in range(2))
    return {"eval": first, "jet": second, "residual": third}


def assert_library_is_the_numpy_program(
    functions: Functions, precision: Precision, chosen: Target, crossover: int, most: int
) -> None:
    """Every function at up to `most` points."""
    library = Library(functions, precision, chosen, crossover)
    assert library.selftest() == 0
    x = wild(functions["eval"], most, precision)
    for name, program in functions.items():
        expected = NumpyProgram(program, precision, chosen.profile)(x)
        for n in range(most + 1):
            assert same_bits(library(x[:n], name), expected[:n]), (name, n)


@pytest.mark.slow
@pytest.mark.parametrize(("chosen", "precision"), sampled(RUNNABLE, PRECISIONS), ids=named)
@given(functions=of_one_library(), crossover=st.sampled_from([ALWAYS_POINTS, ALWAYS_POINT, 5]))
@settings(compiled_once, max_examples=2)
def test_library_is_the_numpy_program(
    functions: Functions, crossover: int, chosen: Target, precision: Precision
) -> None:
    assert_library_is_the_numpy_program(functions, precision, chosen, crossover, 200)


@st.composite
def models(draw: st.DrawFn) -> Functions:
    """A Program, and of one of its outputs the value, a first and a second derivative."""
    program = draw(programs(max_ops=6, any_function=True))
    inputs, outputs = columns(program.inputs), columns(program.outputs)
    column, a, b = draw(st.sampled_from(outputs)), draw(st.sampled_from(inputs)), draw(st.sampled_from(inputs))
    try:
        spell = Names(inputs, outputs).spell
        requests = [spell(Derivative(column, multi_index)) for multi_index in ((), (a,), (a, b))]
    except DerivativeError:  # of an output that is an input, or whose name goes on like a derivative's
        reject()
    return {"eval": program, "jet": derivatives(program, requests)}


@pytest.mark.parametrize(("chosen", "precision"), sampled(BY_PROFILE, PRECISIONS), ids=named)
@given(functions=models())
@settings(max_examples=10, suppress_health_check=[HealthCheck.too_slow])
def test_printed_jets_are_the_numpy_program(functions: Functions, chosen: Target, precision: Precision) -> None:
    module = kernel(functions, precision, chosen, 5).load()
    x = wild(functions["eval"], 20, precision)
    for evaluate, program in ((module.eval_all, functions["eval"]), (module.jet_all, functions["jet"])):
        y = np.zeros((20, program.n_out), precision)
        with np.errstate(all="ignore"), profile(chosen.profile):
            assert evaluate(x.ravel(), y.reshape(-1), 20) == 0
        assert same_bits(y, NumpyProgram(program, precision, chosen.profile)(x))
    with np.errstate(all="ignore"), profile(chosen.profile):
        assert module.selftest() == 0


@pytest.mark.parametrize(
    ("name", "precision"), sampled(["aarch64", "cortex-m7", "x86-64-v4", "c99-muladd"], PRECISIONS)
)
@given(functions=models(), crossover=st.sampled_from([ALWAYS_POINTS, ALWAYS_POINT]))
@settings(max_examples=3, suppress_health_check=[HealthCheck.too_slow], deadline=None)
def test_loops_of_jets_and_the_self_test(functions: Functions, crossover: int, name: str, precision: Precision) -> None:
    chosen = TARGETS[name]
    made = kernel(functions, precision, chosen, crossover)
    x = wild(functions["eval"], 9, precision)
    for function, program in functions.items():
        y = np.zeros((9, program.n_out), precision)
        with np.errstate(all="ignore"), profile(chosen.profile):
            assert machine(made).call(function, x.ravel(), y.reshape(-1), 9) == 0
        assert same_bits(y, NumpyProgram(program, precision, chosen.profile)(x))
    with np.errstate(all="ignore"), profile(chosen.profile):
        assert machine(made).call("selftest") == 0
        made.constants["GOLDEN_JET"][1] += 1
        assert machine(made).call("selftest") == made.constants["GOLDEN_EVAL"].size + 2


@pytest.mark.slow
@pytest.mark.parametrize(("chosen", "precision"), sampled(RUNNABLE, PRECISIONS), ids=named)
@given(functions=models(), crossover=st.sampled_from([ALWAYS_POINTS, ALWAYS_POINT, 5]))
@settings(compiled_once, max_examples=2)
def test_jets_of_a_library_are_the_numpy_program(
    functions: Functions, crossover: int, chosen: Target, precision: Precision
) -> None:
    assert_library_is_the_numpy_program(functions, precision, chosen, crossover, 100)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("shape", "crossover", "precision"),
    sampled([(20, 3), (33, 2)], [ALWAYS_POINTS, ALWAYS_POINT, 5], PRECISIONS),
    ids=named,
)
def test_many_points(shape: tuple[int, int], crossover: int, precision: Precision) -> None:
    width, depth = shape
    program = mlp(2, width, depth, 3, fn=[*FUNCTIONS][width % len(FUNCTIONS)])
    library = Library(program, precision, target("native"), crossover)
    x = wild(program, 10_000 if precision == "float32" else 1_000, precision)  # exact fma in float64 is slow
    expected = NumpyProgram(program, precision)(x)
    assert same_bits(library(x), expected)
    assert same_bits(library(x[1:]), expected[1:])


@pytest.mark.parametrize(("chosen", "crossover"), sampled(RUNNABLE, [ALWAYS_POINTS, ALWAYS_POINT]), ids=named)
def test_the_fast_grade_is_that_of_the_numpy_program(chosen: Target, crossover: int) -> None:
    program, fast = mlp(2, 20, 2, 3), chosen.graded("fast")
    model: Functions = {"eval": program, "jet": derivatives(program, ["u[0]_x0", "u[2]_x1_x1"])}
    library = Library(model, "float32", fast, crossover)
    assert library.selftest() == 0
    x = wild(program, 100, "float32")
    for name, each in model.items():
        accurate, expected = (NumpyProgram(each, "float32", profile)(x) for profile in (chosen.profile, fast.profile))
        assert not same_bits(accurate, expected)
        assert same_bits(library(x, name), expected)


def test_the_fast_grade_is_for_float32() -> None:
    with pytest.raises(EngineError, match="profile fma-2-fast has no float64; expected: float32"):
        NumpyProgram(mlp(2, 4, 1, 1), "float64", "fma-2-fast")


@pytest.mark.parametrize("precision", PRECISIONS)
def test_the_profiles_differ_where_the_target_does(precision: Precision) -> None:
    """x86-64-v2 has no fma: without the second profile its library would have to call libm."""
    program = mlp(2, 20, 2, 3, fn="sin")
    x = points(program, 300).astype(precision)
    expected = {name: NumpyProgram(program, precision, name)(x) for name in ("fma-2", "muladd-1")}
    assert not same_bits(*expected.values())
    library = Library(program, precision, TARGETS["x86-64-v2"], 5)
    assert library.selftest() == 0
    assert same_bits(library(x), expected["muladd-1"])


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


def selftest_of_changed(library: Library, constants: str, number: int, folder: Path) -> int:
    """What the selftest of a copy of `library` returns, in which a middle bit of one constant is another."""
    array = library.kernel.arrays[constants]
    changed = bytearray(library.bytes)
    changed[changed.index(array.tobytes()) + number * array.itemsize + array.itemsize - 2] ^= 0x08
    path = folder / f"{constants}_{number}.so"
    path.write_bytes(changed)
    return int(ctypes.CDLL(str(path)).model_selftest())


def test_selftest_notices_one_changed_weight(library: Library, tmp_path: Path) -> None:
    first = int(np.flatnonzero(library.kernel.weights["W_EVAL"])[0])
    assert selftest_of_changed(library, "W_EVAL", first, tmp_path) > 0


@pytest.fixture(scope="module")
def jets() -> Library:
    """A model with its first and second derivatives."""
    program = mlp(2, 16, 3, 1)
    jet = derivatives(program, ["u", "u_x0", "u_x1", "u_x0_x0"])
    return Library({"eval": program, "jet": jet}, "float32", target("native"), 5)


def test_functions_share_their_weights(jets: Library) -> None:
    """The jet has of its own what the value has not, and the value's weights are those that it has alone."""
    alone = kernel({"eval": jets.functions["eval"]}, "float32", target("native"), 5).weights
    together = jets.kernel.weights
    assert together["W_EVAL"].tobytes() == alone["W_EVAL"].tobytes()
    assert 0 < together["W_JET"].size < 0.5 * alone["W_EVAL"].size


def test_selftest_counts_golden_numbers_through_the_functions(jets: Library, tmp_path: Path) -> None:
    n_eval, n_jet = (jets.kernel.constants[f"GOLDEN_{function}"].size for function in ("EVAL", "JET"))
    assert n_jet == 4 * n_eval
    assert jets.selftest() == 0
    assert selftest_of_changed(jets, "GOLDEN_EVAL", 2, tmp_path) == 3
    assert selftest_of_changed(jets, "GOLDEN_JET", 0, tmp_path) == n_eval + 1
    assert selftest_of_changed(jets, "GOLDEN_JET", n_jet - 5, tmp_path) == n_eval + n_jet - 4


def test_selftest_notices_a_weight_that_only_the_jet_reads(jets: Library, tmp_path: Path) -> None:
    first = int(np.flatnonzero(jets.kernel.weights["W_JET"])[0])
    assert selftest_of_changed(jets, "W_JET", first, tmp_path) > jets.kernel.constants["GOLDEN_EVAL"].size


def test_a_jet_refuses_bad_arguments_as_eval_does(jets: Library) -> None:
    x, y = np.zeros((3, 2), np.float32), np.zeros((3, 4), np.float32)
    assert jets.status(x, y, -1, "jet") == -2
    assert jets.status(None, y, 3, "jet") == jets.status(x, None, 3, "jet") == -1
    assert jets.status(None, None, 0, "jet") == 0


@pytest.mark.parametrize("precision", PRECISIONS)
@given(program=programs())
@settings(max_examples=100)
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
        check_artifact(result.read_bytes(), interface)
    for part in ("exports", "malloc", "needs the libraries", ".data"):
        assert part in str(error.value)


def test_a_wide_layer_is_within_the_grammar() -> None:
    program = mlp(3, 300, 1, 2, fn="silu")
    assert any(isinstance(op, Affine) and op.out.size == 300 for op in program.ops)
    library = Library(program, "float32", target("native"), 5)
    x = wild(program, 150, "float32")
    assert same_bits(library(x), NumpyProgram(program, "float32")(x))


@pytest.mark.parametrize(
    ("width", "precision", "lanes", "apart"),
    [
        (64, "float32", 16, 64),
        (100, "float32", 16, 112),
        (128, "float32", 16, 144),
        (128, "float32", 4, 132),
        (160, "float32", 16, 160),
        (64, "float64", 8, 64),
        (128, "float64", 8, 136),
    ],
)
def test_columns_that_share_few_sets_of_the_cache_are_kept_apart(
    width: int, precision: Precision, lanes: int, apart: int
) -> None:
    square = next(op for op in mlp(2, width, 2, 1).ops if isinstance(op, Affine) and op.x.size == width)
    assert Constants(precision, Vectors(lanes, 32)).strides(square) == (1, apart)


@pytest.mark.parametrize("crossover", [ALWAYS_POINTS, ALWAYS_POINT])
def test_columns_kept_apart_change_no_bit(crossover: int) -> None:
    program = mlp(2, 128, 2, 1)
    library = Library(program, "float32", target("native"), crossover)
    x = wild(program, 40, "float32")
    assert same_bits(library(x), NumpyProgram(program, "float32")(x))


def lanes_of(made: Kernel) -> set[int]:
    """How many lanes the variables of the single-point kernel have, and those of the batch kernel."""

    def found(body: Body) -> Iterator[int]:
        for statement in body:
            match statement:
                case Let(variable, _):
                    yield variable.type.lanes
                case Store(_, _, value):
                    yield value.type.lanes
                case For(body=inner) | Block(body=inner):
                    yield from found(inner)

    return {lanes for step in made.functions["eval"].schedules["single"].steps for lanes in found(step)}


@pytest.mark.parametrize(("chosen", "width"), sampled([*TARGETS.values()], [3, 12, 20, 28, 40, 48, 56, 72]), ids=named)
def test_vectors_are_powers_of_two(chosen: Target, width: int) -> None:
    """LLVM keeps others between two blocks of instructions one number at a time."""
    precision: Precision = next(iter(chosen.by_precision))
    lanes = lanes_of(kernel({"eval": mlp(2, width, 2, 1)}, precision, chosen, ALWAYS_POINT))
    assert lanes
    assert all(number & (number - 1) == 0 for number in lanes), lanes


def test_an_activation_takes_rows_alike_together_and_others_one_by_one() -> None:
    """Two rows of a batch of two vectors, on processors with AVX2; a Scale with a number of its own for every row."""
    x, y, z = Var("x", 4), Var("y", 4), Var("z", 4)
    numbers = np.arange(1.0, 5.0)
    programs = [
        Program("model", (x,), (z,), (Scale(y, x, weight, numbers[:1].repeat(4)), Map(z, y, "tanh")))
        for weight in (numbers[:1].repeat(4), numbers)
    ]
    kernels = [kernel({"eval": program}, "float32", TARGETS["x86-64-v3"], 0) for program in programs]
    widest = [
        max(statement.value.type.lanes for statement in _stores(made.functions["eval"].schedules["batch"].steps[0]))
        for made in kernels
    ]
    assert widest == [32, 16]


def _stores(body: Body) -> Iterator[Store]:
    for statement in body:
        match statement:
            case Store():
                yield statement
            case For(body=inner) | Block(body=inner):
                yield from _stores(inner)
