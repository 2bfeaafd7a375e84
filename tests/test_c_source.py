"""C99 source: the NumPy program, bit for bit, whatever compiles it; and it is read, without a warning, by all."""

from __future__ import annotations

import ctypes
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import avr
import numpy as np
import pytest
from compiled import ALWAYS_POINT, ALWAYS_POINTS, Functions, Library, kernel, same_bits
from conftest import Need
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from nets import NETS, with_jet
from sampled import named as by_target
from sampled import sampled
from strategies import mlp, programs, wild
from test_kernel import models

from kdpinn_edge.bundle.manifest import Input, Precision
from kdpinn_edge.errors import ExportError
from kdpinn_edge.export.artifacts.c_files import c_files
from kdpinn_edge.export.artifacts.c_source import c_source
from kdpinn_edge.export.lowering.emit_c import REAL, Source
from kdpinn_edge.export.lowering.kernel import Kernel
from kdpinn_edge.export.lowering.loops import Apply, Get, Let, Routine, Type, Variable
from kdpinn_edge.export.targets.interface import Interface
from kdpinn_edge.export.targets.table import TARGETS, Target
from kdpinn_edge.functions import FUNCTIONS
from kdpinn_edge.numerics.reference import NumpyProgram
from kdpinn_edge.numerics.storage import store_as_float16
from kdpinn_edge.program.ir import Map, Op, Program, Var, columns
from kdpinn_edge.program.verify import verify

PRECISIONS: tuple[Precision, ...] = ("float32", "float64")
GOLDEN = Path(__file__).parent / "golden" / "tiny.c"
BOTH = FUSED, TWICE = TARGETS["c99"], TARGETS["c99-muladd"]
IN_ORDER = replace(FUSED, by_precision=TARGETS["riscv64"].by_precision)
WARNINGS = [
    "-Wall",
    "-Wextra",
    "-Wpedantic",
    "-Wconversion",
    "-Wsign-conversion",
    "-Wdouble-promotion",
    "-Wshadow",
    "-Werror",
]
STRICT = ["-std=c99", *WARNINGS]
COMPILERS = (("gcc", "-O2"), ("clang", "-O2"), ("gcc", "-O3", "-march=native"))
GNU = (("gcc", "-std=gnu17", "-O3", "-march=native"), ("clang", "-std=gnu17", "-O3", "-march=native"))
once = settings(
    max_examples=3,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
    phases=[Phase.explicit, Phase.generate],
)


def named(value: object) -> str | None:
    """What a case is called by its target and its compiler; pytest names the others."""
    if isinstance(value, tuple):
        return "".join(value)
    return "in order" if value is IN_ORDER else by_target(value)


def interface_of(functions: Functions, precision: Precision, target: Target) -> Interface:
    inputs = tuple(Input(column, -1.0, None) for column in columns(functions["eval"].inputs))
    return Interface("model", precision, target, inputs, functions)


def write(folder: Path, kernel: Kernel, interface: Interface) -> Path:
    """model.c and its headers in `folder`."""
    for name, data in {**c_files(interface), "model.c": c_source(kernel, interface)}.items():
        (folder / name).write_bytes(data)
    return folder / "model.c"


def run(*command: str | Path) -> str:
    result = subprocess.run([*map(str, command)], check=False, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    assert not result.stderr
    return result.stdout


class CLibrary(Library):
    """The C99 source of some functions, compiled and loaded."""

    def __init__(self, source: Path, functions: Functions, precision: Precision, compiler: Sequence[str]) -> None:
        self.functions, self.precision = functions, precision
        with TemporaryDirectory() as folder:
            library = Path(folder) / "model.so"  # another path each time: what has the path of a loaded one is not read
            run(compiler[0], "-std=c99", *compiler[1:], *WARNINGS, "-shared", "-fPIC", "-o", library, source, "-lm")
            self.c = ctypes.CDLL(str(library))


def assert_compilers_agree(
    folder: Path,
    functions: Functions,
    precision: Precision,
    *,
    target: Target = FUSED,
    crossover: int = 1,
    n: int = 500,
    compilers: Sequence[Sequence[str]] = COMPILERS,
) -> None:
    """Every function of the source has the bits of the NumPy program at wild points, by every compiler."""
    source = write(folder, kernel(functions, precision, target, crossover), interface_of(functions, precision, target))
    x = wild(functions["eval"], n, precision)
    expected = {name: NumpyProgram(program, precision, target.profile)(x) for name, program in functions.items()}
    for compiler in compilers:
        library = CLibrary(source, functions, precision, compiler)
        assert library.selftest() == 0
        for name, y in expected.items():
            assert same_bits(library(x, name), y), (compiler, name)
            assert same_bits(library(x[:1], name), y[:1]), (compiler, name)


TINY: Functions = {"eval": mlp(2, 4, 1, 1)}


def tiny_source() -> bytes:
    return c_source(kernel(TINY, "float32", FUSED, 1), interface_of(TINY, "float32", FUSED))


@pytest.fixture(autouse=True)
def compilers(need: Need) -> None:
    for tool in ("gcc", "clang"):
        need(tool)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("compiler", "fn", "target", "precision"), sampled(COMPILERS, ("tanh", "silu"), BOTH, PRECISIONS), ids=named
)
def test_a_net_and_its_jet(
    compiler: Sequence[str], fn: str, target: Target, precision: Precision, tmp_path: Path
) -> None:
    functions = with_jet(mlp(2, 12, 2, 1, fn=fn))
    assert_compilers_agree(tmp_path, functions, precision, target=target, compilers=[compiler])


@pytest.mark.proof  # compilers take seconds for each
@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("target", BOTH, ids=lambda target: target.name)
@pytest.mark.parametrize("net", NETS)
def test_nets_and_their_jets(net: str, target: Target, precision: Precision, tmp_path: Path) -> None:
    assert_compilers_agree(tmp_path, with_jet(NETS[net]), precision, target=target, n=1_000)


@pytest.mark.proof  # NumPy has no fma, and exact ones take their time
@pytest.mark.parametrize("target", BOTH, ids=lambda target: target.name)
@pytest.mark.parametrize("net", NETS)
def test_nets_and_their_jets_at_10_000_points(net: str, target: Target, tmp_path: Path) -> None:
    assert_compilers_agree(tmp_path, with_jet(NETS[net]), "float32", target=target, n=10_000)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("target", "precision", "compiler"), sampled((*BOTH, IN_ORDER), PRECISIONS, COMPILERS[:2]), ids=named
)
@given(data=st.data(), model=models())
@once
def test_any_program_and_its_jet(
    model: Functions, data: st.DataObject, target: Target, precision: Precision, compiler: Sequence[str], tmp_path: Path
) -> None:
    """And another Program of the same inputs, in the place of a residual."""
    functions: Functions = {**model, "residual": data.draw(programs(inputs=model["eval"].inputs))}
    assert_compilers_agree(tmp_path, functions, precision, target=target, n=100, compilers=[compiler])


@pytest.mark.slow
@pytest.mark.parametrize(
    ("crossover", "compiler", "precision"), sampled((ALWAYS_POINTS, ALWAYS_POINT), COMPILERS, PRECISIONS), ids=named
)
def test_every_activation_in_both_schedules(
    crossover: int, compiler: Sequence[str], precision: Precision, tmp_path: Path
) -> None:
    functions: Functions = {"eval": every_activation(5)}
    assert_compilers_agree(tmp_path, functions, precision, crossover=crossover, compilers=[compiler])


def every_activation(size: int) -> Program:
    """Each function of a vector of so many numbers."""
    x = Var("x", size)
    ops: list[Op] = [Map(Var(f"{fn}_x", size), x, fn) for fn in FUNCTIONS]
    return verify(Program("all", (x,), tuple(op.out for op in ops), tuple(ops)))


@pytest.mark.slow
@pytest.mark.parametrize(("compiler", "target"), sampled(GNU, BOTH), ids=named)
def test_the_dialect_of_gnu_contracts_nothing(compiler: Sequence[str], target: Target, tmp_path: Path) -> None:
    assert_compilers_agree(tmp_path, with_jet(mlp(2, 16, 2, 1)), "float32", target=target, compilers=[compiler])


@pytest.mark.slow
@pytest.mark.parametrize(("level", "target", "precision"), sampled(("-O1", "-O3"), BOTH, PRECISIONS), ids=named)
def test_clang_that_is_told_to_contract_fuses_nothing(
    level: str, target: Target, precision: Precision, tmp_path: Path
) -> None:
    """It then takes no notice of pragmas."""
    told = ("clang", level, "-march=native", "-ffp-contract=fast")
    assert_compilers_agree(tmp_path, with_jet(mlp(2, 16, 2, 1)), precision, target=target, compilers=[told])


TWO_MODELS = """
#include "one.c"
#include "two.c"
#include <stdio.h>
int main(void) { printf("%d %d", (int)one_selftest(), (int)two_selftest()); return !one_matches() || !two_matches(); }
"""


@pytest.mark.parametrize("compiler", ["gcc", "clang"])
def test_two_models_are_one_file_for_the_compiler(compiler: str, tmp_path: Path) -> None:
    """As in builds that put all sources into one: of both precisions, whose multiply-adds have one name in a macro."""
    for name, precision in (("one", PRECISIONS[0]), ("two", PRECISIONS[1])):
        inputs = tuple(Input(column, -1.0, None) for column in columns(TINY["eval"].inputs))
        interface = Interface(name, precision, FUSED, inputs, with_jet(TINY["eval"]))
        made = kernel(interface.functions, precision, FUSED, 1)
        for file, data in {**c_files(interface), f"{name}.c": c_source(made, interface)}.items():
            (tmp_path / file).write_bytes(data)
    (tmp_path / "main.c").write_text(TWO_MODELS)
    for option in ("-O1", "-march=native"):
        run(compiler, *STRICT, option, tmp_path / "main.c", "-o", tmp_path / "main", "-lm")
        assert run(tmp_path / "main") == "0 0"


AVR_STATEMENTS = """
    float x[2] = {0.25f, -0.5f};
    union { float number; uint32_t bits; } y;
    model_eval(x, &y.number, 1);
    printf("%ld %08lx %d|", (long)model_selftest(), (unsigned long)y.bits, (int)model_outside(x, 1));
"""


@pytest.mark.hosts
def test_a_processor_whose_double_has_32_bits(tmp_path: Path, need: Need) -> None:
    """An 8-bit AVR of 16 KB RAM, simulated; with fused multiply-add the source says what to do instead."""
    source = write(tmp_path, kernel(TINY, "float32", TWICE, 1), interface_of(TINY, "float32", TWICE))
    found = avr.printed(source, AVR_STATEMENTS, tmp_path, need)
    y = NumpyProgram(TINY["eval"], "float32", TWICE.profile)(np.array([[0.25, -0.5]], np.float32))
    assert f"0 {y.view(np.uint32).item():08x} 0" in found
    write(tmp_path, kernel(TINY, "float32", FUSED, 1), interface_of(TINY, "float32", FUSED))
    refused = subprocess.run(
        [need("avr-gcc"), *avr.OPTIONS, "-c", source], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert "export with --target c99-muladd" in refused.stderr


@pytest.mark.slow
def test_parameters_of_16_bits_stay_so(tmp_path: Path) -> None:
    functions: Functions = {"eval": store_as_float16(mlp(2, 20, 2, 2))}
    halves = kernel(functions, "float32", FUSED, 5, storage="float16")
    source = write(tmp_path, halves, interface_of(functions, "float32", FUSED))
    size = halves.weights["W_EVAL"].size
    assert f"static const uint16_t KDPINN_MODEL_W_EVAL[{size}]" in source.read_text()
    x = wild(functions["eval"], 500, "float32")
    for compiler in COMPILERS:
        library = CLibrary(source, functions, "float32", compiler)
        assert library.selftest() == 0
        assert same_bits(library(x), NumpyProgram(functions["eval"], "float32")(x))


@pytest.mark.parametrize(
    ("crossover", "called"), [(ALWAYS_POINTS, {"batch"}), (1, {"batch", "single"}), (ALWAYS_POINT, {"single"})]
)
def test_the_source_has_the_kernels_that_are_called(crossover: int, called: set[str]) -> None:
    text = c_source(kernel(TINY, "float32", FUSED, crossover), interface_of(TINY, "float32", FUSED)).decode()
    assert {kind for kind in ("batch", "single") if f"model_eval_{kind}(" in text} == called


def test_the_text_is_as_committed_and_runs(tmp_path: Path) -> None:
    """After a change that is meant: `python tests/test_c_source.py` writes the file again."""
    assert GOLDEN.read_bytes() == tiny_source()
    assert_compilers_agree(tmp_path, TINY, "float32", compilers=COMPILERS[:1])


def test_bad_arguments_and_the_domain(tmp_path: Path) -> None:
    source = write(tmp_path, kernel(TINY, "float32", FUSED, 1), interface_of(TINY, "float32", FUSED))
    library = CLibrary(source, TINY, "float32", COMPILERS[0])
    x, y = np.zeros((3, 2), np.float32), np.zeros((3, 1), np.float32)
    assert library.status(x, y, -1) == -2
    assert library.status(None, y, 3) == library.status(x, None, 3) == -1
    assert library.status(None, None, 0) == 0
    x[0, 0], x[1, 1] = np.nan, -1.5
    assert library.outside(x, 3) == 2
    assert library.outside(x, -1) == -2


def test_the_description(tmp_path: Path) -> None:
    """A C program reads it, and the self-test of a source with another weight names the first number that differs."""
    source = write(tmp_path, kernel(TINY, "float32", FUSED, 1), interface_of(TINY, "float32", FUSED))
    main = tmp_path / "main.c"
    main.write_text(
        """#include <stdio.h>
#include "model.h"
int main(void)
{
    const kdpinn_model *m = model_model();
    const kdpinn_function *f = m->functions;
    printf("%d %d %d %d %s %s %s %s %s", m->abi == KDPINN_ABI, (int)m->scalar_bytes, (int)m->n_in, (int)m->n_functions,
           m->name, m->profile, m->target, m->input_names[0], m->input_names[1]);
    printf(" %g %g %s %s %s %d %d %d %d", m->lower[0], m->upper[1], f->name, f->program_sha256, f->output_names[0],
           f->f32 == model_eval, f->f64 == NULL, m->outside_f32 == model_outside, (int)m->selftest());
    return 0;
}
"""
    )
    run("gcc", *STRICT, source, main, "-o", tmp_path / "main")
    sha = TINY["eval"].sha256
    expected = f"1 4 2 1 model {FUSED.profile} c99 x0 x1 -1 inf eval {sha} u 1 1 1 0"
    assert run(tmp_path / "main") == expected
    weight = REAL["float32"].literal(kernel(TINY, "float32", FUSED, 1).weights["W_EVAL"][0].item())
    source.write_text(source.read_text().replace(weight, "0.5f", 1))
    run("gcc", *STRICT, source, main, "-o", tmp_path / "main")
    assert run(tmp_path / "main") == expected.removesuffix("0") + "1"


@pytest.mark.parametrize(("compiler", "level", "target"), sampled(("gcc", "clang"), ("-O2", "-O3"), BOTH), ids=named)
def test_float32_needs_no_library(compiler: str, level: str, target: Target, tmp_path: Path, need: Need) -> None:
    functions: Functions = {"eval": every_activation(2)}
    source = write(tmp_path, kernel(functions, "float32", target, 1), interface_of(functions, "float32", target))
    run(compiler, level, *STRICT, "-ffreestanding", "-nostdlib", "-fno-pic", "-c", source, "-o", tmp_path / "model.o")
    assert run(need("nm"), "--undefined-only", tmp_path / "model.o") == ""
    assert "math.h" not in run(compiler, level, "-E", source)


@pytest.mark.parametrize("flag", ["-ffast-math", "-Ofast", "-ffinite-math-only"])
@pytest.mark.parametrize("compiler", ["gcc", "clang"])
def test_what_changes_bits_is_refused(compiler: str, flag: str, tmp_path: Path) -> None:
    source = write(tmp_path, kernel(TINY, "float32", FUSED, 1), interface_of(TINY, "float32", FUSED))
    result = subprocess.run([compiler, flag, "-c", source, "-o", tmp_path / "x.o"], capture_output=True, text=True)
    assert result.returncode != 0
    assert "compile it without" in result.stderr


@pytest.mark.proof  # ziglang builds a C library for each
@pytest.mark.parametrize(
    ("triple", "emulator"),
    [
        ("x86_64-linux-musl", "qemu-x86_64"),
        ("aarch64-linux-musl", "qemu-aarch64"),
        ("arm-linux-musleabihf", "qemu-arm"),
        ("riscv64-linux-musl", "qemu-riscv64"),
    ],
)
@pytest.mark.parametrize("precision", PRECISIONS)
def test_other_processors(precision: Precision, triple: str, emulator: str, tmp_path: Path, need: Need) -> None:
    functions = with_jet(mlp(2, 16, 2, 1))
    source = write(tmp_path, kernel(functions, precision, FUSED, 1), interface_of(functions, precision, FUSED))
    main = tmp_path / "main.c"
    main.write_text('#include "model.h"\nint main(void) { return (int)model_selftest(); }\n')
    zig = (sys.executable, "-m", "ziglang", "cc", "-target", triple)
    run(*zig, "-static", "-O2", *STRICT, source, main, "-lm", "-o", tmp_path / "main")
    run(need(emulator), tmp_path / "main")


@pytest.mark.parametrize("precision", PRECISIONS)
@given(functions=models(), target=st.sampled_from([t for t in TARGETS.values() if not t.variants]))
@settings(max_examples=15, suppress_health_check=[HealthCheck.too_slow])
def test_every_kernel_can_be_said(functions: Functions, target: Target, precision: Precision) -> None:
    if precision in target.by_precision:
        text = c_source(kernel(functions, precision, target, 1), interface_of(functions, precision, target))
        assert text.count(b"{") == text.count(b"}")


def test_what_has_no_meaning_in_c_is_refused() -> None:
    x = Variable("x", Type("float32"))
    source = Source("float32", {}, lambda name: ("static ", name))
    with pytest.raises(ExportError, match="the operation 'cbrt' has no meaning in C here"):
        source.routine(Routine("f", "A function.", (), (Let(x, Apply(x.type, "cbrt", (Get(x),))),)))


def test_numbers_are_exact_and_as_short_as_they_can_be() -> None:
    single, double = REAL["float32"], REAL["float64"]
    assert [single.literal(x) for x in (0.0, -0.0, 1.0, -2.5, 0.1)] == [
        "0.0f",
        "-0.0f",
        "1.0f",
        "-2.5f",
        "0x1.99999ap-4f",
    ]
    for real, dtype in ((single, np.float32), (double, np.float64)):
        info = np.finfo(dtype)
        for x in (info.max, info.tiny, info.smallest_subnormal, -info.eps, dtype(1 / 3), dtype(1e30)):
            text = real.literal(float(x)).removesuffix("f") if real is single else real.literal(float(x))
            assert dtype(float.fromhex(text)) == x
        for x in (np.inf, -np.inf, np.nan):  # C99 has no literal for them
            bits = np.array(int(real.bits_of(x).removesuffix("u"), 16), f"uint{real.width}").view(dtype)
            np.testing.assert_array_equal(bits, dtype(x))


if __name__ == "__main__":
    GOLDEN.write_bytes(tiny_source())
