"""Bundles: what is in them, who can build against them, and what export refuses."""

from __future__ import annotations

import os
import re
import resource
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from conftest import Need
from strategies import mlp, points

from kdpinn_edge.errors import BundleError, ExportError, ProgramError
from kdpinn_edge.export.bundle import export_bundle
from kdpinn_edge.export.onnx_model import from_onnx
from kdpinn_edge.export.target import TARGETS
from kdpinn_edge.ir import Affine, Program, Var
from kdpinn_edge.manifest import Input, Manifest, Output, Precision, read_manifest
from kdpinn_edge.numpy_program import NumpyProgram
from kdpinn_edge.program_file import read_program
from kdpinn_edge.runtime import load
from kdpinn_edge.simplify import simplify
from kdpinn_edge.storage import store_as_float16

PROGRAM = mlp(2, 12, 2, 1)
INPUTS = (Input("x0", -1.0, 1.0, "m"), Input("x1", 0.0, None, "s"))
STRICT = ("-Wall", "-Wextra", "-Wpedantic", "-Werror")


def make(folder: Path, precision: Precision = "float32", target: str = "native") -> Manifest:
    """A small bundle in `folder`."""
    return export_bundle(PROGRAM, folder, name="net", precision=precision, target=target, inputs=INPUTS)


@pytest.fixture(scope="module", params=["float32", "float64"])
def bundle(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bundles") / "net"
    make(folder, request.param)
    return folder


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
    program = read_program(bundle / "program.npz")
    assert program == simplify(PROGRAM)
    stated = manifest.functions["eval"]
    assert program.sha256 == stated.program_sha256
    assert stated.operations.multiply_adds == 2 * 12 + 12 * 12 + 12
    assert stated.operations.activations == 24
    if manifest.precision == "float64":
        assert from_onnx((bundle / "model.onnx").read_bytes()) == program


def test_error_is_measured(bundle: Path) -> None:
    manifest = read_manifest(bundle)
    limit = {"float32": 5e-7, "float64": 1e-15}[manifest.precision]
    errors = manifest.functions["eval"].errors
    assert 0 < errors.rms[0] < errors.max_abs[0] < limit * errors.scale[0]


def test_every_engine_of_a_bundle(bundle: Path) -> None:
    precision = read_manifest(bundle).precision
    x = points(PROGRAM, 500).astype(precision)
    expected = NumpyProgram(simplify(PROGRAM), precision)(x)
    assert (load(bundle, "library")(x) == expected).all()
    assert (load(bundle, "numpy")(x) == expected).all()
    np.testing.assert_allclose(load(bundle, "onnx")(x), expected, rtol=0, atol=20 * np.finfo(precision).eps)


def test_export_is_deterministic(bundle: Path, tmp_path: Path) -> None:
    manifest = read_manifest(bundle)
    again = make(tmp_path / "elsewhere", manifest.precision)
    assert again == manifest


def test_symbols(bundle: Path, need: Need) -> None:
    listing = run(need("nm"), "-D", bundle / "libnet.so").split("\n")
    symbols = [line.split()[-2:] for line in listing if line]
    assert sorted(name for kind, name in symbols if kind == "T") == [
        "net_eval",
        "net_model",
        "net_outside",
        "net_selftest",
    ]
    assert [name for kind, name in symbols if kind != "T"] == []


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
    rows = re.findall(r"x0 = *(\S+) +x1 = *(\S+) +u = *(\S+)", output)
    numbers = np.array(rows, dtype=np.float64)
    assert numbers.shape == (5, 3)
    engine = load(bundle)
    y = engine(numbers[:, :2].astype(engine.dtype))
    np.testing.assert_allclose(numbers[:, 2:], y, rtol=1e-6)


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
        float *x = malloc((size_t)n * 2 * sizeof *x + 1), *y = malloc((size_t)n * sizeof *y + 1);
        for (i = 0; i < 2 * n; i++) x[i] = (float)i / 100;
        if (net_eval(x, y, n) != 0 || net_outside(x, n) < 0) return 1;
        for (i = 0; i < n; i++) if (!(y[i] > -100 && y[i] < 100)) return 2;
        free(x);
        free(y);
    }
    return net_selftest();
}
"""


@pytest.mark.slow
def test_memory_is_touched_as_documented(tmp_path: Path, need: Need) -> None:
    """Valgrind 3.19 knows no AVX-512, hence the narrower target."""
    bundle = tmp_path / "net"
    make(bundle, target="x86-64-v3")
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
        ({"precision": "int8"}, "precision 'int8' is not known; accepted: float32, float64"),
        ({"storage": "float64"}, "does not go with precision 'float32'; accepted: float32 or float16"),
        ({"precision": "float64", "storage": "float16"}, "accepted: float64; float16 goes with float32"),
        ({"target": "z80"}, "target 'z80' is not known; accepted: native, x86-64-v3, x86-64-v4"),
        ({"inputs": [Input("x"), Input("t")]}, r"described as \('x', 't'\); accepted: .*\('x0', 'x1'\)"),
        ({"outputs": [Output("v")]}, r"outputs: .*accepted: .*\('u',\)"),
        ({"cc": ["/nonexistent/cc"]}, "the linker /nonexistent/cc cannot be run: No such file"),
        ({"cc": ["false"]}, "the linker failed"),
    ],
)
def test_bad_arguments(arguments: dict[str, object], message: str, tmp_path: Path) -> None:
    with pytest.raises((ExportError, BundleError), match=message):
        export_bundle(PROGRAM, tmp_path / "net", **{"name": "net", **arguments})
    assert list(tmp_path.iterdir()) == []


def test_an_existing_folder_is_kept(tmp_path: Path) -> None:
    (tmp_path / "net").mkdir()
    (tmp_path / "net" / "precious").write_text("mine")
    with pytest.raises(ExportError, match="exists already"):
        make(tmp_path / "net")
    assert (tmp_path / "net" / "precious").read_text() == "mine"


def test_a_missing_compiler(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setitem(sys.modules, "ziglang", None)
    with pytest.raises(
        ExportError, match=r"no linker: .* Install a C compiler, or: pip install 'kdpinn-edge\[cross\]'"
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


def test_every_target_is_compiled(tmp_path: Path) -> None:
    for name in TARGETS:
        assert make(tmp_path / name, target=name).target.name == name


def test_half_storage_computes_in_float32(tmp_path: Path) -> None:
    program = mlp(2, 33, 3, 2, fn="silu")
    manifest = export_bundle(program, tmp_path / "half", name="net", storage="float16")
    full = export_bundle(program, tmp_path / "full", name="net")
    assert (manifest.precision, manifest.storage, full.storage) == ("float32", "float16", "float32")
    assert manifest.sizes.rodata < 0.6 * full.sizes.rodata
    errors = manifest.functions["eval"].errors
    assert 1e-5 < errors.max_abs[0] < 2e-3 * errors.scale[0]
    stored = read_program(tmp_path / "half" / "program.npz")
    assert stored == store_as_float16(simplify(program))
    x = points(program, 300).astype(np.float32)
    x[7] = np.nan
    engine = load(tmp_path / "half")
    expected = NumpyProgram(stored, "float32")(x)
    for n in (0, 1, 5, 33, 300):
        assert engine(x[:n]).tobytes() == expected[:n].tobytes()


def test_a_weight_that_float16_cannot_hold(tmp_path: Path) -> None:
    x, u = Var("x", 1), Var("u", 1)
    program = Program("large", (x,), (u,), (Affine(u, x, [[7e4]], [0.0]),))
    with pytest.raises(ProgramError, match=r"a parameter is 7e\+04, which float16 cannot hold"):
        export_bundle(program, tmp_path / "net", name="net", storage="float16")
    assert list(tmp_path.iterdir()) == []
