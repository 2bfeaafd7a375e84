"""Bundles: what is in them, who can build against them, and what export refuses."""

from __future__ import annotations

import os
import re
import resource
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from artifacts import Artifacts
from conftest import Need
from edited import edit
from hypothesis import given
from hypothesis import strategies as st
from sampled import some
from strategies import mlp, points

from kdpinn_edge.bundle.manifest import Grade, Input, Manifest, Output, Precision, read_manifest
from kdpinn_edge.checks.check import check
from kdpinn_edge.derive.derivatives import derivatives
from kdpinn_edge.errors import BundleError, DerivativeError, ExportError, ProgramError
from kdpinn_edge.export.artifacts.c_files import c_words
from kdpinn_edge.export.bundle import export_bundle
from kdpinn_edge.export.onnx_model import from_onnx
from kdpinn_edge.export.targets.table import TARGETS
from kdpinn_edge.numerics.reference import NumpyProgram
from kdpinn_edge.numerics.storage import store_as_float16
from kdpinn_edge.program.file import read_program
from kdpinn_edge.program.ir import Add, Affine, Map, Program, Scale, Var
from kdpinn_edge.program.simplify import multiply_adds, simplify
from kdpinn_edge.runtime import load
from kdpinn_edge.runtime.load import EngineName

PROGRAM = mlp(2, 12, 2, 1)
INPUTS = (Input("x0", -1.0, 1.0, "m"), Input("x1", 0.0, None, "s"))
OUTPUTS = (Output("u", "K"),)
REQUESTS = ("u", "u_x0", "u_x0_x0", "laplacian(u)")
ENGINES: tuple[EngineName, ...] = ("library", "numpy", "onnx")
STRICT = ("-Wall", "-Wextra", "-Wpedantic", "-Werror")


def make(folder: Path, precision: Precision = "float32", target: str = "native", grade: Grade = "accurate") -> Manifest:
    """A small bundle in `folder`."""
    return export_bundle(PROGRAM, folder, name="net", precision=precision, grade=grade, target=target, inputs=INPUTS)


def heat(program: Program) -> Program:
    """u_x1 - 0.1 u_x0_x0: what is left of a heat equation."""
    terms = derivatives(program, ["u_x1", "u_x0_x0"])
    rate, bend = terms.outputs
    flow, residual = Var("flow", 1), Var("residual", 1)
    ops = (*terms.ops, Scale(flow, bend, [-0.1], [0.0]), Add(residual, rate, flow))
    return Program(program.name, program.inputs, (residual,), ops)


def make_whole(folder: Path, precision: Precision, target: str = "native") -> Manifest:
    """A small bundle with every function."""
    return export_bundle(
        PROGRAM,
        folder,
        name="net",
        precision=precision,
        target=target,
        inputs=INPUTS,
        outputs=OUTPUTS,
        derivatives=REQUESTS,
        residual=heat(PROGRAM),
    )


PROGRAMS = {"eval": simplify(PROGRAM), "jet": derivatives(PROGRAM, REQUESTS), "residual": simplify(heat(PROGRAM))}


@pytest.fixture(scope="module", params=["float32", "float64"])
def bundle(request: pytest.FixtureRequest, artifacts: Artifacts) -> Path:
    """A bundle with every function."""
    return artifacts.made("net", lambda folder: make_whole(folder, request.param), "whole", PROGRAM, request.param)


def run(*command: str | Path, cwd: Path | None = None, env: dict[str, str] | None = None) -> str:
    done = subprocess.run(
        [str(word) for word in command], cwd=cwd, env=env, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_files(bundle: Path) -> None:
    manifest = read_manifest(bundle)
    assert sorted(path.name for path in bundle.iterdir()) == sorted([*manifest.files, "manifest.json"])
    assert {"libnet.so", "net.h", "kdpinn_edge.h", "net_kernel.py", "net-config.cmake", "net.pc"} < set(manifest.files)
    assert list(manifest.functions) == list(PROGRAMS)
    for function, program in PROGRAMS.items():
        stem = {"eval": ("program", "model")}.get(function, (function, function))
        assert read_program(bundle / f"{stem[0]}.npz") == program
        if manifest.precision == "float64":
            assert from_onnx((bundle / f"{stem[1]}.onnx").read_bytes()) == program
        stated = manifest.functions[function]
        assert stated.program_sha256 == program.sha256
        assert stated.operations.multiply_adds == multiply_adds(program)
        assert stated.operations.activations == 24
    assert manifest.functions["eval"].operations.multiply_adds == 2 * 12 + 12 * 12 + 12


def test_columns_have_names_and_units(bundle: Path) -> None:
    described = {name: function.outputs for name, function in read_manifest(bundle).functions.items()}
    assert described == {
        "eval": OUTPUTS,
        "jet": (Output("u", "K"), Output("u_x0", "K/m"), Output("u_x0_x0", "K/m²"), Output("laplacian(u)")),
        "residual": (Output("residual"),),
    }


def test_error_is_measured(bundle: Path) -> None:
    manifest = read_manifest(bundle)
    limit = {"float32": 2e-6, "float64": 4e-15}[manifest.precision]
    for function, program in PROGRAMS.items():
        errors = manifest.functions[function].errors
        assert len(errors.max_abs) == program.n_out
        for rms, max_abs, scale in zip(errors.rms, errors.max_abs, errors.scale, strict=True):
            assert 0 < rms < max_abs < limit * scale


def test_every_engine_of_a_bundle(bundle: Path) -> None:
    precision = read_manifest(bundle).precision
    x = points(PROGRAM, 500).astype(precision)
    expected = {function: NumpyProgram(program, precision)(x) for function, program in PROGRAMS.items()}
    for name in ENGINES:
        engine = load(bundle, name)
        jet = engine.jet(x)
        assert tuple(jet) == REQUESTS
        found = {"eval": engine(x), "jet": np.stack([*jet.values()], axis=1), "residual": engine.residual(x)}
        for function in PROGRAMS:
            y = np.full_like(expected[function], 7)
            engine.bind(x, y, function=function)()
            for values in (found[function], y):
                if name == "onnx":
                    np.testing.assert_allclose(values, expected[function], rtol=0, atol=20 * np.finfo(precision).eps)
                else:
                    assert values.tobytes() == expected[function].tobytes()


def test_a_bundle_of_the_profile_without_fma(tmp_path: Path) -> None:
    if not TARGETS["x86-64-v2"].runs_here():
        pytest.skip("x86-64-v2 does not run here")
    folder = tmp_path / "net"
    manifest = make(folder, target="x86-64-v2")
    assert manifest.profile == "muladd-1"
    for file in ("net.h", "net_kernel.py"):
        assert "numerics profile muladd-1" in (folder / file).read_text(encoding="utf-8")
    program = read_program(folder / "program.npz")
    x = points(program, 500).astype(np.float32)
    separate, fused = (NumpyProgram(program, "float32", profile)(x).tobytes() for profile in ("muladd-1", "fma-2"))
    assert load(folder)(x).tobytes() == load(folder, "numpy")(x).tobytes() == separate != fused
    verdicts = {verdict.name: verdict for verdict in check(folder)}
    assert {name: verdict.result for name, verdict in verdicts.items() if verdict.result != "passed"} == {
        "eval, numba kernel": "skipped"
    }
    assert re.search(r"this machine, \S+, computes in fma-2: expected ", verdicts["eval, numba kernel"].detail)
    assert "profile muladd-1" in verdicts["eval, library"].detail


@pytest.mark.parametrize("target", ["native", "c99"])
def test_a_bundle_of_the_fast_grade(target: str, tmp_path: Path) -> None:
    folder = tmp_path / "net"
    manifest = make(folder, target=target, grade="fast")
    assert manifest.profile == "fma-2-fast"
    for file in ("net.h", "net_kernel.py"):
        assert "numerics profile fma-2-fast" in (folder / file).read_text(encoding="utf-8")
    verdicts = {verdict.name: verdict for verdict in check(folder)}
    assert {verdict.result for verdict in verdicts.values()} <= {"passed", "skipped"}
    program = read_program(folder / "program.npz")
    x = points(program, 500).astype(np.float32)
    fast, accurate = (NumpyProgram(program, "float32", profile)(x) for profile in ("fma-2-fast", "fma-2"))
    assert load(folder, "numpy")(x).tobytes() == fast.tobytes() != accurate.tobytes()
    np.testing.assert_allclose(fast, accurate, rtol=0, atol=4e-6 * np.abs(accurate).max())  # 5 ULP, through 2 layers
    if target == "native":
        assert load(folder)(x).tobytes() == fast.tobytes()
        assert "profile fma-2-fast" in verdicts["eval, numba kernel"].detail
        assert verdicts["eval, numba kernel"].result == "passed"


def test_check_of_a_profile_that_is_not_known(tmp_path: Path) -> None:
    make(tmp_path / "net")
    edit(tmp_path / "net", profile="fma-3")
    *_, last = check(tmp_path / "net")
    assert (last.name, last.result) == ("programs", "failed")
    assert (
        "is 'fma-3'; this version computes fma-2, muladd-1, fma-2-fast, muladd-1-fast, int16-1: update kdpinn_edge"
        in last.detail
    )


@pytest.mark.parametrize("bundle", some(["float32", "float64"], ["float32"]), indirect=True)
def test_export_is_deterministic(bundle: Path, tmp_path: Path) -> None:
    manifest = read_manifest(bundle)
    assert make_whole(tmp_path / "elsewhere", manifest.precision) == manifest


def test_symbols(bundle: Path, need: Need) -> None:
    listing = run(need("nm"), "-D", bundle / "libnet.so").split("\n")
    symbols = [line.partition("@@")[0].split()[-2:] for line in listing if line]
    functions = [f"net_{each}" for each in ("eval", "integrity", "jet", "model", "outside", "residual", "selftest")]
    assert sorted(name for kind, name in symbols if kind == "T") == sorted(
        functions + [f"{function}_work" for function in functions]
    )
    others = [name for kind, name in symbols if kind != "T"]
    assert [re.fullmatch("net_[0-9a-f]{12}", name) is not None for name in others] == [True]  # the version, by GNU ld


def test_a_model_may_be_called_as_a_part_of_its_library(tmp_path: Path) -> None:
    export_bundle(PROGRAM, tmp_path / "kernel", name="kernel", inputs=INPUTS)
    x = points(PROGRAM, 20).astype(np.float32)
    assert load(tmp_path / "kernel")(x).tobytes() == NumpyProgram(PROGRAM, "float32")(x).tobytes()


@pytest.mark.parametrize(("tool", "language"), [("cc", "-std=c99"), ("c++", "-std=c++11")])
def test_a_program_builds_by_hand(bundle: Path, tmp_path: Path, need: Need, tool: str, language: str) -> None:
    source = bundle / "example.c"
    if tool == "c++":
        source = tmp_path / "example.cpp"
        source.write_text((bundle / "example.c").read_text())
    flags = [f"-I{bundle}", f"-L{bundle}", "-lnet", f"-Wl,-rpath,{bundle}"]
    run(need(tool), language, *STRICT, source, *flags, "-o", tmp_path / "example")
    output = run(tmp_path / "example")
    assert "self-test: passed" in output
    _same_numbers(output, bundle)


def _same_numbers(output: str, bundle: Path) -> None:
    """The numbers that the example prints are those of the Python engine."""
    engine = load(bundle)
    _, *blocks = re.split(r"^(eval|jet|residual)$", output, flags=re.M)
    assert blocks[::2] == list(PROGRAMS)
    for function, block in zip(blocks[::2], blocks[1::2], strict=True):
        columns = [column.name for column in engine.manifest.functions[function].outputs]
        names = [name.strip() for name in re.findall(r"([^=]+?) = +\S+", block.splitlines()[1])]
        assert names == ["x0", "x1", *columns]
        numbers = np.array([re.findall(r"= *(\S+)", line) for line in block.split("\n")[1:6]], dtype=np.float64)
        y = np.empty((5, len(columns)), engine.dtype)
        engine.bind(numbers[:, :2].astype(engine.dtype), y, function=function)()
        np.testing.assert_allclose(numbers[:, 2:], y, rtol=1e-6)


def test_the_header_names_every_column(bundle: Path, tmp_path: Path, need: Need) -> None:
    constants = {
        "NET_N_IN": 2,
        "NET_EVAL_U": 0,
        "NET_EVAL_N_OUT": 1,
        "NET_JET_U": 0,
        "NET_JET_U_X0": 1,
        "NET_JET_U_X0_X0": 2,
        "NET_JET_LAPLACIAN_U": 3,
        "NET_JET_N_OUT": 4,
        "NET_RESIDUAL_RESIDUAL": 0,
        "NET_RESIDUAL_N_OUT": 1,
    }
    checks = "".join(f"typedef char is_{name}[{name} == {value} ? 1 : -1];\n" for name, value in constants.items())
    (tmp_path / "columns.c").write_text(f'#include "net.h"\n{checks}')
    run(need("cc"), "-std=c99", *STRICT, f"-I{bundle}", "-c", tmp_path / "columns.c", "-o", tmp_path / "columns.o")


DESCRIBE = r"""
#include <stdio.h>
#include "net.h"
int main(void)
{
    const kdpinn_model *m = net_model();
    int32_t i, c;
    printf("%d %d %d %s %s %s\n", m->abi == KDPINN_ABI, m->scalar_bytes, m->n_in, m->name, m->profile, m->target);
    for (c = 0; c < m->n_in; c++) printf("%s %g %g\n", m->input_names[c], m->lower[c], m->upper[c]);
    for (i = 0; i < m->n_functions; i++) {
        const kdpinn_function *f = &m->functions[i];
        printf("%s %s %d%d", f->name, f->program_sha256, f->f32 != NULL, f->f64 != NULL);
        for (c = 0; c < f->n_out; c++) printf(" %s", f->output_names[c]);
        printf("\n");
    }
    return 0;
}
"""


def test_the_description_is_that_of_the_manifest(bundle: Path, tmp_path: Path, need: Need) -> None:
    (tmp_path / "describe.c").write_text(DESCRIBE)
    flags = [f"-I{bundle}", f"-L{bundle}", "-lnet", f"-Wl,-rpath,{bundle}"]
    run(need("cc"), "-std=c99", *STRICT, tmp_path / "describe.c", *flags, "-o", tmp_path / "describe")
    manifest = read_manifest(bundle)
    single = manifest.precision == "float32"
    assert run(tmp_path / "describe").splitlines() == [
        f"1 {4 if single else 8} 2 net {manifest.profile} {manifest.target.name}",
        "x0 -1 1",
        "x1 0 inf",
        *(
            f"{name} {function.program_sha256} {'10' if single else '01'} "
            + " ".join(column.name for column in function.outputs)
            for name, function in manifest.functions.items()
        ),
    ]


def test_a_header_of_another_version_is_told_from_its_own(bundle: Path, tmp_path: Path, need: Need) -> None:
    digests = {function: stated.program_sha256 for function, stated in read_manifest(bundle).functions.items()}
    header, other = (bundle / "net.h").read_text(), tmp_path / "other"
    for function, digest in digests.items():
        assert f'#define NET_{function.upper()}_SHA256 "{digest}"' in header
    other.mkdir()
    shutil.copy(bundle / "kdpinn_edge.h", other)
    last = digests["residual"]
    (other / "net.h").write_text(header.replace(last, last[:-1] + ("0" if last[-1] != "0" else "1")))
    source = tmp_path / "main.c"
    source.write_text('#include "net.h"\nint main(void) { return net_matches(); }\n')
    for include, expected in ((bundle, 1), (other, 0)):
        program = tmp_path / f"matches{expected}"
        flags = [f"-I{include}", f"-L{bundle}", "-lnet", f"-Wl,-rpath,{bundle}"]
        run(need("cc"), *STRICT, source, *flags, "-o", program)
        assert subprocess.run([program], check=False).returncode == expected


def test_words_for_columns_are_c_and_unique() -> None:
    names = ["u", "U", "u_2", "v[0]_x", "v_0_x", "laplacian(u, x, y)", "n_out", "N_OUT_2"]
    words = c_words(names)
    assert words == ("U", "U_2", "U_2_2", "V_0_X", "V_0_X_2", "LAPLACIAN_U_X_Y", "N_OUT_2", "N_OUT_2_2")


@given(st.lists(st.text("uUxX_0123[](), ", min_size=1), unique=True))
def test_any_columns_get_unique_words(names: list[str]) -> None:
    words = c_words(names)
    assert len({*words, "N_OUT"}) == len(names) + 1
    assert all(re.fullmatch("[A-Z0-9_]*", word) for word in words)


@pytest.mark.parametrize("bundle", some(["float32", "float64"], ["float32"]), indirect=True)
def test_a_program_builds_by_cmake(bundle: Path, tmp_path: Path, need: Need) -> None:
    (tmp_path / "CMakeLists.txt").write_text(
        "cmake_minimum_required(VERSION 3.16)\n"
        "project(app C CXX)\n"
        "find_package(net CONFIG REQUIRED)\n"
        f'add_executable(app "{bundle}/example.c")\n'
        "target_link_libraries(app kdpinn::net)\n"
    )
    run(
        need("cmake"),
        "-S",
        tmp_path,
        "-B",
        tmp_path / "build",
        f"-Dnet_DIR={bundle}",
        f"-DCMAKE_C_FLAGS={' '.join(STRICT)}",
    )
    run(need("cmake"), "--build", tmp_path / "build")
    assert "self-test: passed" in run(tmp_path / "build" / "app")


def test_a_program_builds_by_pkg_config(bundle: Path, tmp_path: Path, need: Need) -> None:
    env = {**os.environ, "PKG_CONFIG_PATH": str(bundle)}
    flags = run(need("pkg-config"), "--cflags", "--libs", "net", env=env).split()
    run(need("cc"), *STRICT, bundle / "example.c", *flags, f"-Wl,-rpath,{bundle}", "-o", tmp_path / "app")
    assert "self-test: passed" in run(tmp_path / "app")


MEMORY = """
#include <stdlib.h>
#include <string.h>
#include "net.h"
int main(void)
{
    int64_t n, i;
    for (n = 0; n <= 70; n++) {
        float *x = malloc((size_t)n * NET_N_IN * sizeof *x + 1);
        float *y = malloc((size_t)n * NET_EVAL_N_OUT * sizeof *y + 1);
        float *jet = malloc((size_t)n * NET_JET_N_OUT * sizeof *jet + 1);
        for (i = 0; i < NET_N_IN * n; i++) x[i] = (float)i / 100;
        if (net_eval(x, y, n) != 0 || net_jet(x, jet, n) != 0 || net_outside(x, n) < 0) return 1;
        for (i = 0; i < NET_EVAL_N_OUT * n; i++) if (!(y[i] > -100 && y[i] < 100)) return 2;
        for (i = 0; i < NET_JET_N_OUT * n; i++) if (!(jet[i] > -100 && jet[i] < 100)) return 3;
        free(x);
        free(y);
        free(jet);
    }
    return net_selftest();
}
"""


@pytest.mark.slow
def test_memory_is_touched_as_documented(tmp_path: Path, need: Need) -> None:
    """Valgrind 3.19 knows no AVX-512, hence the narrower target."""
    bundle = tmp_path / "net"
    make_whole(bundle, "float32", "x86-64-v3")
    (tmp_path / "memory.c").write_text(MEMORY)
    flags = [f"-I{bundle}", f"-L{bundle}", "-lnet", f"-Wl,-rpath,{bundle}"]
    run(need("cc"), "-g", *STRICT, tmp_path / "memory.c", *flags, "-o", tmp_path / "memory")
    run(need("valgrind"), "--quiet", "--error-exitcode=9", "--leak-check=full", tmp_path / "memory")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"name": "Net"}, "'Net' is not a model name"),
        ({"name": "../net"}, "is not a model name"),
        ({"name": "float"}, "is taken by C"),
        ({"precision": "int8"}, "precision 'int8' is unknown; expected: float32, float64"),
        ({"storage": "float64"}, "does not go with precision 'float32'; expected: float32 or float16"),
        ({"precision": "float64", "storage": "float16"}, "expected: float64; float16 goes with float32"),
        ({"grade": "quick"}, "grade 'quick' is unknown; expected: accurate, fast"),
        ({"precision": "float64", "grade": "fast"}, "grade fast does not go with precision float64; expected: float32"),
        ({"target": "z80"}, "target 'z80' is unknown; expected: native, x86-64-v4, x86-64-v3"),
        ({"inputs": [Input("x"), Input("t")]}, r"described as \('x', 't'\); expected: .*\('x0', 'x1'\)"),
        ({"derivatives": ["u_y"]}, "'u_y' is no column and no derivative of one"),
        ({"derivatives": "u, u_x0"}, "derivatives is the text 'u, u_x0'; expected: a list"),
        ({"derivatives": ["u", "u"]}, "u is asked for twice"),
        ({"residual": mlp(3, 4, 1, 1)}, r"residual: the inputs are x0\[1\], x1\[1\], x2\[1\]; expected: those of the"),
        ({"outputs": [Output("v")]}, r"outputs: .*expected: .*\('u',\)"),
        ({"cc": ["/nonexistent/cc"]}, "the linker /nonexistent/cc cannot be run: No such file"),
        ({"cc": ["false"]}, "the linker failed"),
    ],
)
def test_bad_arguments(arguments: dict[str, object], message: str, tmp_path: Path) -> None:
    with pytest.raises((ExportError, BundleError, DerivativeError), match=message):
        export_bundle(PROGRAM, tmp_path / "net", **{"name": "net", **arguments})
    assert list(tmp_path.iterdir()) == []


def test_an_existing_folder_is_kept(tmp_path: Path) -> None:
    (tmp_path / "net").mkdir()
    (tmp_path / "net" / "precious").write_text("mine")
    with pytest.raises(ExportError, match=r"already holds other files than those of a bundle \(precious\)"):
        make(tmp_path / "net")
    assert (tmp_path / "net" / "precious").read_text() == "mine"


def test_a_missing_compiler(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setitem(sys.modules, "ziglang", None)
    with pytest.raises(
        ExportError, match=r"no linker for .*: .* Install a C compiler, or: pip install 'kdpinn-edge\[cross\]'"
    ):
        make(tmp_path / "net")
    assert list(tmp_path.iterdir()) == []


def test_the_linker_of_ziglang(tmp_path: Path) -> None:
    pytest.importorskip("ziglang")
    command = [sys.executable, "-m", "ziglang", "cc"]
    export_bundle(PROGRAM, tmp_path / "net", name="net", cc=command)
    x = points(PROGRAM, 100).astype(np.float32)
    assert (load(tmp_path / "net")(x) == NumpyProgram(simplify(PROGRAM), "float32")(x)).all()


def test_a_full_disk_leaves_nothing_behind(tmp_path: Path) -> None:
    """A limit on file size stands in for the full disk: writes fail in the middle in the same way."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    library = make(tmp_path / "whole").sizes
    resource.setrlimit(resource.RLIMIT_FSIZE, (library.text // 2, before[1]))
    try:
        with pytest.raises(ExportError):
            make(tmp_path / "net")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert [path.name for path in tmp_path.iterdir()] == ["whole"]


def test_a_weight_that_float32_cannot_hold(tmp_path: Path) -> None:
    x, u = Var("x", 1), Var("u", 1)
    program = Program("large", (x,), (u,), (Affine(u, x, [[1e39]], [0.0]),))
    with pytest.raises(ProgramError, match="float32 cannot hold"):
        export_bundle(program, tmp_path / "net", name="net")
    assert list(tmp_path.iterdir()) == []


COMPILED = TARGETS.keys() - {"fmu"}
"""All targets but that of tests/test_fmu.py."""


@pytest.mark.parametrize("name", sorted(COMPILED))
def test_every_target_is_compiled(name: str, artifacts: Artifacts) -> None:
    assert read_manifest(artifacts.small(name)).target.name == name


@pytest.mark.parametrize("name", sorted({TARGETS[name].artifact: name for name in sorted(COMPILED)}.values()))
def test_a_model_without_a_parameter_is_exported(name: str, tmp_path: Path) -> None:
    """For a target of each kind of artifact."""
    x, u = Var("x", 1), Var("u", 1)
    program = Program("least", (x,), (u,), (Map(u, x, "tanh"),))
    assert export_bundle(program, tmp_path / "net", name="net", target=name).target.name == name


def test_half_storage_computes_in_float32(tmp_path: Path) -> None:
    program, requests = mlp(2, 61, 2, 2, fn="silu"), ["u[0]", "u[1]_x0"]
    manifest = export_bundle(program, tmp_path / "half", name="net", storage="float16", derivatives=requests)
    full = export_bundle(program, tmp_path / "full", name="net", derivatives=requests)
    assert (manifest.precision, manifest.storage, full.storage) == ("float32", "float16", "float32")
    assert manifest.sizes.rodata < 0.6 * full.sizes.rodata
    for function in manifest.functions.values():
        stored, computed = function.storage_errors, function.errors
        assert stored
        for of_storage, of_arithmetic, scale in zip(stored.max_abs, computed.max_abs, stored.scale, strict=True):
            assert 1e-5 < of_storage < 4e-3 * scale
            assert of_arithmetic < 1e-5 * scale
    assert all(function.storage_errors is None for function in full.functions.values())
    stored = {
        "eval": read_program(tmp_path / "half" / "program.npz"),
        "jet": read_program(tmp_path / "half" / "jet.npz"),
    }
    assert stored["eval"] == store_as_float16(simplify(program))
    assert stored["jet"] == store_as_float16(derivatives(program, requests))
    x = points(program, 300).astype(np.float32)
    x[7] = np.nan
    engine = load(tmp_path / "half")
    for function, of_half in stored.items():
        expected = NumpyProgram(of_half, "float32")(x)
        for n in (0, 1, 5, 33, 300):
            y = np.empty_like(expected[:n])
            engine.bind(x[:n], y, function=function)()
            assert y.tobytes() == expected[:n].tobytes()


def test_a_weight_that_float16_cannot_hold(tmp_path: Path) -> None:
    x, u = Var("x", 1), Var("u", 1)
    program = Program("large", (x,), (u,), (Affine(u, x, [[7e4]], [0.0]),))
    with pytest.raises(ProgramError, match=r"a parameter is 7e\+04, which float16 cannot hold"):
        export_bundle(program, tmp_path / "net", name="net", storage="float16")
    assert list(tmp_path.iterdir()) == []
