"""The numerics profile int16-1: its words, its proof, and the same bits in every form that a model takes."""

from __future__ import annotations

import ctypes
import json
import re
import subprocess
import zlib
from dataclasses import replace
from functools import cache
from itertools import product
from pathlib import Path
from typing import Any

import avr
import numpy as np
import pytest
from artifacts import Artifacts
from compiled import same_bits
from conftest import Need
from elftools.elf.constants import SH_FLAGS
from elftools.elf.elffile import ELFFile
from hypothesis import given, settings
from loops_numpy import Machine as LoopMachine
from numpy.typing import NDArray
from qemu import SEMIHOSTING
from sampled import some
from scipy.special import erf
from strategies import mlp, programs, wild

from kdpinn_edge import zoo
from kdpinn_edge.bundle.fixed_point import SHAPE, Part
from kdpinn_edge.bundle.manifest import Input, read_manifest
from kdpinn_edge.bundle.posed import posed
from kdpinn_edge.bundle.probe import N_DEVICE, timed_points
from kdpinn_edge.bundle.shape import misfits
from kdpinn_edge.certificates.stage import certify
from kdpinn_edge.checks.check import check
from kdpinn_edge.engines import load
from kdpinn_edge.errors import CertificateError, EngineError, ExportError, ProgramError
from kdpinn_edge.export.artifacts.device_bench import MEMORY
from kdpinn_edge.export.artifacts.gnu import MACHINES
from kdpinn_edge.export.bundle import export_bundle
from kdpinn_edge.export.lowering.fixed_kernel import make_fixed_kernel
from kdpinn_edge.export.lowering.kernel import Kernel
from kdpinn_edge.export.measure.emulator import Machine
from kdpinn_edge.export.targets.table import TARGETS
from kdpinn_edge.numerics.fixed_point import PROFILE, words
from kdpinn_edge.numerics.fixed_point.calls import FixedPoint
from kdpinn_edge.numerics.fixed_point.quantise import FUNCTIONS, quantise
from kdpinn_edge.numerics.fixed_point.tables import ATAN, ERF, EXP2, INVERSE_ROOT, RECIPROCAL, SIN, TANH, Table
from kdpinn_edge.numerics.reference import NumpyProgram
from kdpinn_edge.problems import problem
from kdpinn_edge.program.file import read_program
from kdpinn_edge.program.interp import interpret
from kdpinn_edge.program.ir import Add, Affine, Concat, Map, Mul, Program, Scale, Select, Slice, Var
from kdpinn_edge.program.simplify import simplify
from kdpinn_edge.program.verify import verify as check_program

MEANINGS = {
    TANH: lambda x: np.tanh(8 * x),
    SIN: lambda x: np.sin(np.pi * x),
    EXP2: lambda x: 2.0 ** (x - 1),
    RECIPROCAL: lambda x: 1 / (2 + 2 * x),
    ERF: lambda x: erf(4 * x),
    ATAN: lambda x: np.arctan(4 * x) / 2,
    INVERSE_ROOT: lambda x: 1 / (2 * np.sqrt(np.where(x < 0.5, 1 + 2 * x, 4 * x))),
}
STUDENTS = [name for name in zoo.names() if not name.endswith("teacher")]
SOME = (
    "allen_cahn_small",
    "black_scholes_small",
    "burgers_fast",
    "burgers_student",
    "cavity_small",
    "schroedinger_small",
)


@pytest.mark.parametrize("every", [7, pytest.param(1, marks=pytest.mark.proof)])
@pytest.mark.parametrize("table", MEANINGS, ids=lambda table: table.name)
def test_a_table_is_right_at_each_of_its_words(table: Table, every: int) -> None:
    """At both ends of the words of each segment whose upper half of s is the same: in between it is a line.

    A proof looks at each such line, `make test` at one of seven.
    """
    steps = np.arange(0, 1 << (16 + table.bits), every, dtype=np.int64) << (16 - table.bits)
    for u in (steps, steps + (1 << (16 - table.bits)) - 1):
        found = words.polynomial(table, u)
        assert found.min() > -256
        assert found.max() < 1 << 31
        assert np.abs(found / 2.0**31 - MEANINGS[table](u / 2.0**32)).max() < 2.0**-22.8


def test_functions_keep_their_symmetry_and_their_ends() -> None:
    x = np.array([[-(2**31) + 1, -(2**20), 2**20, 2**31 - 1]])
    assert (words.tanh(x, 3) == -words.tanh(-x, 3)).all()
    zero = np.zeros((1, 1), np.int64)
    assert words.tanh(zero, 3) == words.sin(zero, 0, 2) == 0
    assert words.tanh(x, 3)[0, -1] / 2**31 == pytest.approx(1.0, abs=3e-7)
    assert words.sigmoid(x, 3)[0, :2].sum() + words.sigmoid(x, 3)[0, 2:].sum() == pytest.approx(2**32, abs=8)
    assert words.exp(np.array([[-(2**31), -(2**27)]]), 0, 25, 2)[0] == pytest.approx([30, np.exp(-1) * 2**28], abs=32)


def of(program: Program, lower: float = -1.0, upper: float = 1.0) -> FixedPoint:
    return quantise(program, [lower] * program.n_in, [upper] * program.n_in)


def kernel_of(program: Program, fixed: FixedPoint, lanes: int, rows_at_once: int) -> Kernel:
    golden_x = wild(program, 12, "float32")
    golden_x[np.isnan(golden_x)] = 0.5
    return make_fixed_kernel(
        {"eval": program},
        {"eval": fixed},
        lanes,
        narrow=lanes == 1,
        rows_at_once=rows_at_once,
        lower=-np.ones(program.n_in),
        upper=np.ones(program.n_in),
        golden_x=golden_x,
        golden_y={"eval": fixed(golden_x.T).T},
    )


def with_words(program: Program) -> Program:
    """The same Program with functions that have words."""
    ops = (replace(op, fn="tanh") if isinstance(op, Map) and op.fn not in FUNCTIONS else op for op in program.ops)
    return replace(program, ops=tuple(ops))


@settings(max_examples=8)
@given(programs(max_ops=6))
def test_no_word_overflows_and_loops_and_module_have_the_bits(program: Program) -> None:
    program = with_words(program)
    fixed = of(program)
    x = wild(program, 20, "float32")
    values = fixed.values(x.T)
    for call in fixed.calls[:-1]:
        assert np.abs(values[call.out]).max() < 1 << 31
    y = np.ascontiguousarray(values["y"].T)
    points, some = fixed.points(x.T), ~np.isnan(x).any(axis=1)
    integers = fixed.on_integers(points)
    far = (
        None in fixed.calls[-1].arguments
    )  # then words have the digits of the largest result, and floats those of each
    for row, float_row, bits in () if far else zip(integers, y.T, fixed.y_bits, strict=True):
        assert same_bits(words.floats(np.zeros_like(x.T), row[None].astype(np.int64), bits)[0, some], float_row[some])
    for lanes, rows_at_once in ((1, 0), (4, 0), (4, 3)):
        kernel = kernel_of(program, fixed, lanes, rows_at_once)
        machine = LoopMachine(kernel.routines, kernel.arrays)
        found = np.empty_like(y)
        assert machine.call("eval", x.ravel(), found.ravel(), len(x)) == 0
        assert same_bits(found, y)
        assert machine.call("selftest") == 0
        returned = np.empty(y.shape, np.int32)
        assert machine.call("eval_fixed", points.T.ravel(), returned.ravel(), len(x)) == 0
        assert (returned == integers.T).all()
        inside = ((x >= -1) & (x <= 1)).all(axis=1)
        assert machine.call("outside", x.ravel(), len(x)) == (~inside).sum()
    found = np.empty_like(y)
    assert kernel.load().eval_all(x.ravel(), found.ravel(), len(x)) == 0
    assert same_bits(found, y)
    assert kernel.load().eval_fixed_all(points.T.ravel(), returned.ravel(), len(x)) == 0
    assert (returned == integers.T).all()
    assert kernel.load().selftest() == 0
    assert np.isnan(y).all(axis=1)[np.isnan(x).any(axis=1)].all()
    if any(isinstance(op, Select) for op in program.ops):
        return  # near its jump any rounding may choose the other side
    exact = interpret(program, np.clip(x, -1, 1))
    assert np.abs(y - exact)[some].max(initial=0.0) <= 1e-4 * max(np.abs(exact[some]).max(initial=0.0), 1.0)


@pytest.mark.parametrize("name", some(STUDENTS, SOME))
def test_shipped_students_lose_less_than_they_are_worth(name: str) -> None:
    program, solves = simplify(read_program(zoo.program(name))), problem(name.rpartition("_")[0])
    x = np.random.default_rng(0).uniform(solves.lower, solves.upper, (2000, program.n_in)).astype(np.float32)
    exact = interpret(program, x)
    y = NumpyProgram(program, "float32", PROFILE, (solves.lower, solves.upper))(x)
    lost = np.linalg.norm(y - exact, axis=0) / np.linalg.norm(exact, axis=0)
    assert (lost <= np.maximum(1e-5, np.array(zoo.record(name)["errors"]["outputs_l2"]) / 2)).all()


POSITIVE = ("sqrt", "reciprocal", "power(-0.5)")
"""Functions of what is above zero: `far_words` has their words."""


def far_words(y: Var) -> list[Any]:
    """Operations of every kind on numbers that reach over many powers of ten, as "far3" does; "far" is made of them."""
    one = [Var(f"far{i}", 1) for i in range(12)]
    return [
        Mul(one[0], y, y),
        Scale(one[1], one[0], [0.5], [1e-6]),
        Map(one[2], one[1], "sqrt"),
        Map(one[3], one[2], "reciprocal"),
        Mul(one[4], y, one[3]),
        Scale(one[5], one[3], [0.3], [-2.0]),
        Add(one[6], one[3], one[5]),
        Map(one[7], one[6], "tanh"),
        Scale(one[8], y, [4.0], [0.0]),
        Map(one[9], one[8], "exp"),
        Map(one[10], one[9], "reciprocal"),
        Mul(one[11], one[10], one[7]),
        Add(Var("far", 1), one[11], one[4]),
    ]


def every_word() -> Program:
    """A Program with every operation and every function that has words, and equal words at two scales."""
    x, y = Var("x", 2), Var("y", 1)
    ops: list[Any] = []
    parts = []
    for i, fn in enumerate(fn for fn in FUNCTIONS if fn not in POSITIVE):
        weight = np.random.default_rng(i).normal(0, 1.5, (5, 2))
        ops += [Affine(Var(f"a{i}", 5), x, weight, weight[:, 0] / 3), Map(Var(f"f{i}", 5), Var(f"a{i}", 5), fn)]
        parts.append(Var(f"f{i}", 5))
    n = 5 * len(parts)
    ops += [
        Concat(Var("c", n), tuple(parts)),
        Slice(Var("p", 7), Var("c", n), 2),
        Slice(Var("q", 7), Var("c", n), 11),
        Select(Var("s", 7), Var("p", 7), Var("q", 7), Var("p", 7)),
        Mul(Var("m", 7), Var("s", 7), Var("q", 7)),
        Affine(Var("z", 3), Var("m", 7), np.random.default_rng(9).normal(0, 2, (3, 7)), [0.5, -0.25, 0.0]),
        Scale(Var("v", 3), Var("z", 3), [0.3, -7.0, 1e-3], [1.0, 0.0, 2.0]),
        Scale(Var("w", 1), y, [-1.0], [1.0]),
        Add(Var("once", 1), y, Var("w", 1)),
        *(Scale(Var(f"t{i}", 1), y, [0.3 * i], [0.0]) for i in (1, 2)),
        *(Map(Var(f"sin{i}", 1), Var(f"t{i}", 1), "sin") for i in (1, 2)),
        Add(Var("twice", 1), Var("sin1", 1), Var("sin2", 1)),
        Add(Var("u", 1), Var("once", 1), Var("twice", 1)),
        *far_words(y),
    ]
    outputs = (Var("v", 3), Var("u", 1), Var("m", 7), Var("far", 1), Var("far3", 1))
    return check_program(Program("every", (x, y), outputs, tuple(ops)))


EVERY = every_word()
BOX = (Input("x[0]", -1.0, 1.0), Input("x[1]", -0.5, 3.0), Input("y", -2.0, 0.1))
SIDES = tuple(column.lower for column in BOX), tuple(column.upper for column in BOX)
STATED: dict[str, Any] = {"name": "every", "inputs": BOX, "arithmetic": "int16"}


@cache
def fixed() -> FixedPoint:
    return quantise(simplify(EVERY), *SIDES)


@cache
def meaning() -> NumpyProgram:
    return NumpyProgram(simplify(EVERY), "float32", PROFILE, SIDES)


def edges(n: int) -> NDArray[np.float32]:
    """Points of every kind: in the box and beyond it, at its corners, with NaN and infinities."""
    corners = np.array(list(product(*zip(*SIDES, strict=True))), np.float32)
    with np.errstate(over="ignore"):
        x: NDArray[np.float32] = np.concatenate([3 * wild(EVERY, n, "float32"), corners])
    return np.nextafter(x, np.float32(0)) if n % 2 else x


def integers(n: int) -> NDArray[np.int32]:
    """Points of words: any ones, the first and the last there are, and those around the sides of the domain."""
    random = np.random.default_rng(n)
    ends = np.array([-(2**31), 2**31 - 1, 0, -1])
    sides = fixed().points(np.array(SIDES, np.float32).T).T.astype(np.int64)
    near = sides[random.integers(0, 2, (n, 3)), [0, 1, 2]] + random.integers(-2, 3, (n, 3))
    kinds = [random.integers(-(2**31), 2**31, (n, 3)), random.choice(ends, (n, 3)), near]
    return np.choose(random.integers(0, 3, (n, 1)), kinds).astype(np.int32)


def in_words(x: NDArray[np.int32]) -> NDArray[np.int32]:
    """What the fixed-point program makes of words, which are first held in the domain box."""
    sides = fixed().points(np.array(SIDES, np.float32).T).T
    return fixed().on_integers(np.clip(x, *sides).T).T


def reference(x: NDArray[np.float32]) -> NDArray[np.float32]:
    y: NDArray[np.float32] = meaning()(x)
    return y


HERE = [target.name for target in TARGETS.values() if target.runs_here() and not target.variants]


@pytest.mark.parametrize("target", some(HERE, HERE[:1]))
def test_a_library_has_the_bits(target: str, artifacts: Artifacts) -> None:
    bundle = artifacts.bundle(EVERY, target=target, **STATED)
    engine, by_numpy = load(bundle), load(bundle, engine="numpy")
    for n in (1, 2, 7, 300):
        x = edges(n)
        assert same_bits(np.asarray(engine(x)), reference(x))
    assert engine.manifest.profile == PROFILE
    for n in (1, 9, 300):
        x = integers(n)
        assert (engine.eval_fixed(x) == in_words(x)).all()
        assert (by_numpy.eval_fixed(x) == in_words(x)).all()
    assert by_numpy(edges(9)).tobytes() == reference(edges(9)).tobytes()


@pytest.mark.parametrize("compiler", some(["gcc -O0", "gcc -O2", "clang -O0", "clang -O2"], ["gcc -O2", "clang -O0"]))
def test_c_has_the_bits(compiler: str, tmp_path: Path, artifacts: Artifacts, need: Need) -> None:
    bundle, made = artifacts.bundle(EVERY, target="c99", **STATED), tmp_path / "libevery.so"
    strict = ("-std=c99", "-pedantic", "-Wall", "-Wextra", "-Wconversion", "-Werror")
    called, level = compiler.split()
    command = [need(called), level, *strict, "-fPIC", "-shared", "-o", made, bundle / "every.c"]
    subprocess.run(command, check=True)
    library, x = ctypes.CDLL(str(made)), edges(200)
    y = np.empty((len(x), EVERY.n_out), np.float32)
    pointers = [each.ctypes.data_as(ctypes.c_void_p) for each in (x, y)]
    assert library.every_eval(*pointers, ctypes.c_int64(len(x))) == 0
    assert same_bits(y, reference(x))
    given, found = integers(50), np.empty((50, EVERY.n_out), np.int32)
    pointers = [each.ctypes.data_as(ctypes.c_void_p) for each in (given, found)]
    assert library.every_eval_fixed(*pointers, ctypes.c_int64(len(given))) == 0
    assert (found == in_words(given)).all()
    assert library.every_selftest() == library.every_integrity() == 0


@pytest.mark.hosts
def test_a_processor_of_8_bits_has_the_bits(tmp_path: Path, artifacts: Artifacts, need: Need) -> None:
    bundle = artifacts.bundle(EVERY, target="c99", **STATED)
    found = avr.printed(bundle / "every.c", 'printf("self-test %ld|", (long)every_selftest());', tmp_path, need)
    assert "self-test 0|" in found


INTEGER_ONLY = ("cortex-m0plus", "cortex-m3", "rv32imc", "rv32imac")


@pytest.mark.parametrize("target", some(INTEGER_ONLY, ["cortex-m0plus", "rv32imc"]))
def test_a_core_without_floats_has_the_bits_and_calls_nothing(target: str, artifacts: Artifacts, need: Need) -> None:
    need(MACHINES[target][0])
    bundle = artifacts.bundle(EVERY, target=target, **STATED)
    manifest, x = read_manifest(bundle), edges(40)
    machine = Machine(TARGETS[target].computing(PROFILE), (bundle / "libevery.a").read_bytes())
    y = machine.values("every_eval", x, EVERY.n_out)
    assert same_bits(y, reference(x))
    assert manifest.helpers == ()
    given = integers(40)
    assert (machine.values("every_eval_fixed", given, EVERY.n_out) == in_words(given)).all()
    assert manifest.helpers == ()
    counts = {machine.evaluate("every_eval", x[i : i + 1], EVERY.n_out)[1].instructions for i in range(8)}
    assert len(counts) == 1


@pytest.mark.proof
@pytest.mark.parametrize("target", INTEGER_ONLY)
@pytest.mark.parametrize("name", STUDENTS)
def test_every_student_and_its_slopes_have_the_bits(name: str, target: str, tmp_path: Path, need: Need) -> None:
    need(MACHINES[target][0])
    inputs, outputs = posed(problem(name.rpartition("_")[0]))
    program = read_program(zoo.program(name))
    stated: dict[str, Any] = {"target": target, "arithmetic": "int16", "inputs": inputs, "outputs": outputs}
    export_bundle(program, tmp_path / "net", name="net", derivatives=["jacobian"], **stated)
    machine = Machine(TARGETS[target].computing(PROFILE), (tmp_path / "net" / "libnet.a").read_bytes())
    engine = load(tmp_path / "net", engine="numpy")
    sides = np.array([(column.lower, column.upper) for column in inputs]).T
    x = np.random.default_rng(1).uniform(*sides, (500, program.n_in)).astype(np.float32)
    for function, y in (("eval", engine.eval(x)), ("jet", np.stack([*engine.jet(x).values()], axis=1))):
        assert same_bits(machine.values(f"net_{function}", x, y.shape[1]), np.ascontiguousarray(y))


@pytest.mark.proof
@pytest.mark.parametrize("target", ["cortex-m0plus", "cortex-m3"])
def test_the_program_for_the_device_prints_the_bits_under_qemu(target: str, tmp_path: Path, need: Need) -> None:
    need(MACHINES[target][0])
    export_bundle(EVERY, tmp_path / "net", with_bench=True, target=target, **STATED)
    emulator = [need(MEMORY["cortex-m3"].emulator), "-M", MEMORY["cortex-m3"].machine, *SEMIHOSTING, "-kernel"]
    command = [*emulator, tmp_path / "net" / "every_bench.elf"]
    printed = subprocess.run(command, capture_output=True, text=True, check=True, timeout=300).stdout
    results = json.loads(printed)
    assert results["selftest"] == 0
    y = reference(timed_points(BOX, N_DEVICE).astype(np.float32))
    for row in results["functions"][0]["rows"]:
        assert row["crc32"] == zlib.crc32(np.resize(y, (row["n"], EVERY.n_out)).tobytes())


MOST = {"cortex-m0plus": 6000, "cortex-m3": 4000, "rv32imc": 6000}


@pytest.mark.parametrize("bits", ["a", None, 1.5, True, 61, -61, []])
def test_fraction_bits_of_a_manifest_are_whole_numbers(bits: object) -> None:
    (fault,) = misfits([29, bits], SHAPE["x_bits"], "x_bits")
    assert fault == f"x_bits[1]: {json.dumps(bits)}; expected: a whole number from -60 to 60"


@pytest.mark.parametrize("target", MOST)
def test_the_smallest_student_of_burgers_is_ten_times_cheaper_than_by_soft_float(
    target: str, artifacts: Artifacts, need: Need, tmp_path: Path
) -> None:
    need(MACHINES[target][0])
    inputs, outputs = posed(problem("burgers"))
    stated: dict[str, Any] = {"name": "burgers", "inputs": inputs, "outputs": outputs, "arithmetic": "int16"}
    bundle = artifacts.bundle(read_program(zoo.program("burgers_small")), target=target, **stated)
    manifest = read_manifest(bundle)
    counted = manifest.functions["eval"].instructions
    assert counted is not None
    assert counted["1"] <= MOST[target]
    if target == "cortex-m0plus":
        assert not any(verdict.result == "failed" for verdict in check(bundle))
    found = manifest.fixed_point["eval"]
    assert found.x_bits == (29, 29)
    assert found.instructions is not None
    assert found.instructions["1"] <= MOST[target]
    assert max(part.rms[0] for part in (found.weights, found.functions, found.sums)) < found.float32.rms[0]
    command = [MACHINES[target][0], *MACHINES[target][1:], "-nostdlib", "-Wl,--gc-sections,-e,burgers_eval"]
    subprocess.run(
        [*command, "-o", bundle.parent / "linked", bundle / "libburgers.a", "-Wl,-u,burgers_eval"], check=True
    )
    with (bundle.parent / "linked").open("rb") as file:
        taken = sum(s["sh_size"] for s in ELFFile(file).iter_sections() if s["sh_flags"] & SH_FLAGS.SHF_ALLOC)
    assert taken <= 4096


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"precision": "float64"}, "does not go with precision float64"),
        ({"grade": "fast"}, "does not go with grade fast"),
        ({"storage": "float16"}, "does not go with storage float16"),
        ({"per_call": ["y"]}, "does not go with per_call"),
        ({"residual": EVERY}, "does not go with residual: its terms cancel"),
        ({"inputs": (Input("x[0]"), *BOX[1:])}, r"input x\[0\] has an open domain, .* expected: both bounds"),
        ({"inputs": (Input("x[0]", 0, 1e9), *BOX[1:])}, "the argument of tanh may be .*; expected: up to"),
        ({"arithmetic": "int8"}, "arithmetic 'int8' is unknown; expected: float, int16"),
        ({"max_relative_error": 1e-9}, "in int16, rounding makes an error of"),
    ],
    ids=str,
)
def test_what_does_not_go_with_integers_is_refused(changed: dict[str, Any], said: str, tmp_path: Path) -> None:
    with pytest.raises((ExportError, ProgramError), match=said):
        export_bundle(EVERY, tmp_path / "every", **{**STATED, "target": "c99", **changed})
    assert not list(tmp_path.iterdir())


def test_a_function_without_words_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ProgramError, match=r"log has no form in fixed point; expected: tanh, .*, power\(-0\.5\)\. "):
        export_bundle(
            mlp(1, 3, 1, 1, "log"), tmp_path / "net", name="net", arithmetic="int16", inputs=[Input("x0", 0, 1)]
        )


def test_no_certificate_is_about_integers(artifacts: Artifacts) -> None:
    with pytest.raises(CertificateError, match=r"int16-1, of integers, .* without --arithmetic int16"):
        certify(artifacts.bundle(EVERY, target="c99", **STATED))


ONLY_INTEGERS = """
#include "every.h"
int32_t x[EVERY_N_IN], y[EVERY_EVAL_N_OUT];
int main(void) { return (int)every_eval_fixed(x, y, 1); }
"""


def symbols_of(program: Path) -> set[str]:
    """The names of the functions and of the data in a linked program."""
    with program.open("rb") as file:
        return {symbol.name for symbol in ELFFile(file).get_section_by_name(".symtab").iter_symbols()}


def float_functions(symbols: set[str]) -> set[str]:
    """The names among them that compilers' libraries have for arithmetic of floats, and for their conversion."""
    return {name for name in symbols if re.fullmatch(r"__(aeabi_[fd].*|aeabi_\w+2[fd]|\w*[sd]f\w*|fp_\w+)", name)}


@pytest.mark.parametrize("target", ["cortex-m0plus", "rv32imc"])
def test_a_program_of_integers_has_no_function_for_floats(
    target: str, tmp_path: Path, artifacts: Artifacts, need: Need
) -> None:
    need(MACHINES[target][0])
    bundle = artifacts.bundle(EVERY, target=target, **STATED)
    (tmp_path / "main.c").write_text(ONLY_INTEGERS)
    options = ("-Os", "-ffreestanding", "-nostdlib", "-Wl,--gc-sections,-e,main,--no-warn-rwx-segments")
    command = [*MACHINES[target], *options, f"-I{bundle}", tmp_path / "main.c", bundle / "libevery.a", "-lgcc"]
    subprocess.run([*command, "-o", tmp_path / "main"], check=True)
    found = symbols_of(tmp_path / "main")
    assert "every_eval_fixed" in found
    assert "every_eval" not in found
    assert not float_functions(found)


@pytest.mark.hosts
def test_a_program_of_integers_on_8_bits_has_no_function_for_floats(
    tmp_path: Path, artifacts: Artifacts, need: Need
) -> None:
    bundle = artifacts.bundle(EVERY, target="c99", **STATED)
    (tmp_path / "main.c").write_text(ONLY_INTEGERS)
    options = (*avr.OPTIONS, "-ffunction-sections", "-fdata-sections", "-Wl,--gc-sections")
    command = [need("avr-gcc"), *options, f"-I{bundle}", bundle / "every.c", tmp_path / "main.c"]
    subprocess.run([*command, "-o", tmp_path / "main"], check=True)
    found = symbols_of(tmp_path / "main")
    assert "every_eval_fixed" in found
    assert not float_functions(found)


def test_scales_stand_in_the_header_and_in_the_manifest(artifacts: Artifacts) -> None:
    bundle = artifacts.bundle(EVERY, target="c99", **STATED)
    stated, header = read_manifest(bundle).fixed_point["eval"], (bundle / "every.h").read_text()
    macros = dict(re.findall(r"#define EVERY_BITS_EVAL_(\w+) \(?(-?\d+)", header))
    assert tuple(map(int, macros.values())) == (*stated.x_bits, *stated.y_bits)
    assert list(macros)[:3] == ["X_0", "X_1", "Y"]
    engine = load(bundle, engine="numpy")
    x = np.random.default_rng(0).uniform(*SIDES, (50, 3))
    y = stated.numbers(engine.eval_fixed(stated.integers(x)))
    exact = interpret(simplify(EVERY), x)
    assert np.abs(y - exact).max() < 1e-5 * np.abs(exact).max()


def test_words_are_asked_for_by_name(artifacts: Artifacts) -> None:
    engine = load(artifacts.bundle(EVERY, target="c99", **STATED), engine="numpy")
    with pytest.raises(EngineError, match=r"expected: int32, words of 'every'. Convert numbers: engine.manifest"):
        engine.eval_fixed(np.zeros((1, 3), np.float32))
    floats = load(artifacts.bundle(mlp(1, 3, 1, 1), name="net", target="c99"), engine="numpy")
    with pytest.raises(EngineError, match="calculates with floats: export it with --arithmetic int16"):
        floats.eval_fixed(np.zeros((1, 1), np.int32))


def test_parts_of_the_error_are_those_of_weights_functions_and_sums(artifacts: Artifacts) -> None:
    """A model whose weights are words has no error of weights, one without functions none of tables."""
    x, y = Var("x", 2), Var("y", 2)
    layer = Affine(y, x, [[0.75, -1.5], [2.0, 0.125]], [0.5, -0.25])
    exact = check_program(Program("exact", (x,), (y,), (layer,)))
    stated: dict[str, Any] = {"name": "net", "target": "c99", "arithmetic": "int16"}
    stated["inputs"] = [Input(f"x[{i}]", -1.0, 1.0) for i in range(2)]
    manifest = read_manifest(artifacts.bundle(exact, **stated))
    found, errors = manifest.fixed_point["eval"], manifest.functions["eval"].errors
    assert found.weights.max_abs == found.functions.max_abs == (0.0, 0.0)
    assert found.sums == Part(errors.max_abs, errors.rms)
    assert min(found.sums.max_abs) > 0
    manifest = read_manifest(artifacts.bundle(EVERY, target="c99", **STATED))
    found, errors = manifest.fixed_point["eval"], manifest.functions["eval"].errors
    parts = np.array([part.max_abs for part in (found.weights, found.functions, found.sums)])
    assert (parts > 0).sum() >= 2 * EVERY.n_out
    assert (np.array(errors.max_abs) <= parts.sum(axis=0) * (1 + 1e-9)).all()
