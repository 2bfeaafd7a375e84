"""One library for several CPUs: what is chosen, that it is what its target alone would get, what an old CPU gets."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import Any

import cffi
import numpy as np
import pytest
from artifacts import BOX, Artifacts
from compiled import kernel, same_bits
from conftest import Need
from sampled import some
from strategies import mlp, points

from kdpinn_edge.bundle.manifest import Input, read_manifest
from kdpinn_edge.bundle.x86 import LEVELS, best_level
from kdpinn_edge.checks.check import check
from kdpinn_edge.derive.derivatives import derivatives
from kdpinn_edge.export.bundle import export_bundle
from kdpinn_edge.export.machine_code import object_code
from kdpinn_edge.export.targets.interface import ABI, NO_VARIANT, SCALAR, Interface
from kdpinn_edge.export.targets.table import TARGETS
from kdpinn_edge.numerics.reference import NumpyProgram
from kdpinn_edge.program.ir import columns
from kdpinn_edge.program.simplify import multiply_adds, simplify
from kdpinn_edge.runtime import library_engine, load
from kdpinn_edge.runtime.processor import missing_instructions

TARGET = TARGETS["x86-64"]
REQUESTS = ("u", "u_x0", "u_x1_x1")
PROGRAM = mlp(2, 16, 2, 1)
PROGRAMS = {"eval": simplify(PROGRAM), "jet": derivatives(PROGRAM, REQUESTS)}
STRICT = ("-Wall", "-Wextra", "-Wpedantic", "-Werror")
SIZES = (0, 1, 5, 33, 300)

pytestmark = pytest.mark.skipif(not TARGET.runs_here(), reason="this machine is no x86-64 with AVX2 and FMA")


@pytest.fixture(scope="module", params=["float32", "float64"])
def bundle(request: pytest.FixtureRequest, artifacts: Artifacts) -> Path:
    stated = {"precision": request.param, "target": "x86-64", "inputs": BOX, "derivatives": REQUESTS}
    return artifacts.bundle(PROGRAM, name="net", **stated)


class Described:
    """The description of the library in a bundle, which lies in memory as long as this does."""

    def __init__(self, bundle: Path) -> None:
        self.ffi = cffi.FFI()
        self.ffi.include(library_engine._interface())
        self.ffi.cdef("const kdpinn_model *net_model(void);")
        self.library = self.ffi.dlopen(str(bundle / "libnet.so"))
        self.model = self.library.net_model()
        self.variants = {self.text(v.target): v for v in (self.model.variants[i] for i in range(self.model.n_variants))}

    def text(self, pointer: Any) -> str:
        return bytes(self.ffi.string(pointer)).decode()

    def call(self, model: Any, i: int, x: Any, y: Any) -> int:
        """Function i of `model` at the points x."""
        scalar = {4: "float", 8: "double"}[model.scalar_bytes]
        function = model.functions[i].f32 if model.scalar_bytes == 4 else model.functions[i].f64
        return int(function(*(self.ffi.cast(f"{scalar} *", a.ctypes.data) for a in (x, y)), len(x)))


def test_the_library_describes_what_it_chose(bundle: Path) -> None:
    described, precision = Described(bundle), read_manifest(bundle).precision
    chosen = next(target for target in TARGET.variants if not missing_instructions(target))
    assert load(bundle).target == described.text(described.model.target) == chosen
    assert list(described.variants) == list(TARGET.variants)
    assert described.model == described.variants[chosen]
    for model in described.variants.values():
        assert (model.abi, model.n_variants, model.variants) == (ABI, 2, described.model.variants)
        assert [described.text(model.functions[i].name) for i in range(model.n_functions)] == list(PROGRAMS)
        assert [described.text(model.functions[i].program_sha256) for i in range(model.n_functions)] == [
            program.sha256 for program in PROGRAMS.values()
        ]
        assert (model.functions[0].f32 != described.ffi.NULL) == (precision == "float32")
    assert len({model.selftest for model in described.variants.values()}) == 2


def test_the_chosen_functions(bundle: Path) -> None:
    engine, precision = load(bundle), read_manifest(bundle).precision
    for function, program in PROGRAMS.items():
        x = points(program, max(SIZES)).astype(precision)
        expected = NumpyProgram(program, precision)(x)
        for n in SIZES:
            y = np.empty_like(expected[:n])
            engine.bind(x[:n], y, function=function)()
            assert same_bits(y, expected[:n])


@pytest.mark.parametrize("target", TARGET.variants)
def test_a_variant_by_force(bundle: Path, target: str) -> None:
    if missing := missing_instructions(target):
        pytest.skip(f"this CPU has no {', '.join(missing)}")
    described, precision = Described(bundle), read_manifest(bundle).precision
    model = described.variants[target]
    assert model.selftest() == 0
    for i, program in enumerate(PROGRAMS.values()):
        x = points(program, max(SIZES)).astype(precision)
        x[3] = np.nan
        expected = NumpyProgram(program, precision)(x)
        for n in SIZES:
            y = np.empty_like(expected[:n])
            assert described.call(model, i, x[:n], y) == 0
            assert same_bits(y, expected[:n])


@pytest.mark.parametrize("bundle", some(["float32", "float64"], ["float32"]), indirect=True)
def test_check_accepts_it(bundle: Path) -> None:
    assert [verdict for verdict in check(bundle) if verdict.result == "failed"] == []


def test_symbols(bundle: Path, need: Need) -> None:
    done = subprocess.run([need("nm"), "-D", bundle / "libnet.so"], capture_output=True, text=True, check=True)
    kinds = {line.split()[2].partition("@")[0]: line.split()[1] for line in done.stdout.splitlines()}
    assert (kinds.pop("net_outside"), kinds.pop("net_integrity")) == ("T", "T")
    assert {kinds.pop(name) for name in list(kinds) if name.endswith("_work")} == {"T"}
    assert [kinds.pop(name) for name in list(kinds) if kinds[name] == "A"] == ["A"]  # the version, by GNU ld
    assert kinds == dict.fromkeys(("net_eval", "net_jet", "net_selftest", "net_model"), "i")


def test_every_kernel_is_there_to_read(bundle: Path) -> None:
    manifest = read_manifest(bundle)
    kernels = {file for file in manifest.files if "kernel" in file}
    assert kernels == {"net_kernel.x86-64-v4.py", "net_kernel.x86-64-v3.py"}


def test_equal_constants_are_there_once(tmp_path: Path) -> None:
    """The weights of 64 neurons lie alike for 8 and for 16 lanes."""
    wide = mlp(2, 64, 2, 1)
    sizes = export_bundle(wide, tmp_path / "net", name="net", target="x86-64").sizes
    assert 1 < sizes.rodata / (4 * multiply_adds(wide)) < 1.5


def test_a_variant_is_the_code_that_its_target_alone_gets(tmp_path: Path, need: Need) -> None:
    together = _functions(need("objdump"), "x86-64", tmp_path)
    for target in TARGET.variants:
        alone = _functions(need("objdump"), target, tmp_path)
        others = ("_outside", "_integrity", "_model", "_work")
        kernels = [code for name, code in alone.items() if not name.endswith(others)]
        assert len(kernels) == 5  # two wrappers, two kernels, the self-test
        assert all(code in together.values() for code in kernels)


def _functions(objdump: str, name: str, folder: Path) -> dict[str, list[str]]:
    """The instructions of every function, without the addresses in them and the padding between them."""
    target = TARGETS[name]
    interface = Interface("net", "float32", target, tuple(map(Input, columns(PROGRAM.inputs))), PROGRAMS)
    kernels = [kernel(PROGRAMS, "float32", variant, 5) for variant in target.compiled]
    (folder / name).write_bytes(object_code(kernels, interface))
    done = subprocess.run(
        [objdump, "--disassemble", "--no-show-raw-insn", folder / name], capture_output=True, text=True, check=True
    )
    functions = {}
    for block in re.split(r"^(?=[0-9a-f]+ <)", done.stdout, flags=re.M)[1:]:
        symbol, *lines = block.splitlines()
        code = [re.sub(r"<.*|#.*|0x\w+(?=\(%rip\))", "", line.partition("\t")[2]).strip() for line in lines]
        code = [re.sub(r"^(j\w+|call) .*", r"\1", line) for line in code]
        functions[symbol[symbol.index("<") + 1 : -2]] = [line for line in code if line and "nop" not in line]
    return functions


MAIN = """
#include <stdio.h>
#include "net.h"

int main(void) {
    const kdpinn_model *model = net_model();
    const T x[NET_N_IN] = {0.5, 2.5};
    T y = 7, jet[NET_JET_N_OUT] = {7}, same = 7;
    int32_t codes[] = {net_eval(x, &y, 1), net_jet(x, jet, 1), net_selftest(),
                       model->functions[0].IN_T(x, &same, 1), model->selftest()};
    printf("%s %d %d %d %d %d ", model->target, codes[0], codes[1], codes[2], codes[3], codes[4]);
    printf("%d %d %a %a\\n", (int)net_outside(x, 1), model->n_variants, (double)y, (double)same);
    return 0;
}
"""


@pytest.mark.parametrize(
    ("cpu", "target"),
    [(None, None), ("Haswell", "x86-64-v3"), ("Nehalem", NO_VARIANT), ("SandyBridge", NO_VARIANT)],
)
def test_a_c_program(bundle: Path, tmp_path: Path, cpu: str | None, target: str | None, need: Need) -> None:
    """Linked with the library, so that the loader chooses; on this CPU, and on others that QEMU emulates."""
    precision = read_manifest(bundle).precision
    scalar, executable = SCALAR[precision], tmp_path / "main"
    (tmp_path / "main.c").write_text(MAIN)
    flags = ["-std=c99", *STRICT, f"-DT={scalar}", f"-DIN_T=f{8 * np.dtype(precision).itemsize}", f"-I{bundle}"]
    link = [f"-L{bundle}", "-lnet", f"-Wl,-rpath,{bundle}", "-o", executable]
    subprocess.run([need("cc"), tmp_path / "main.c", *flags, *link], check=True)
    emulator = [need("qemu-x86_64"), "-cpu", cpu] if cpu else []
    done = subprocess.run([*emulator, executable], capture_output=True, text=True, check=True)
    found, *codes, outside, n_variants, y, same = done.stdout.split()
    untouched = target == NO_VARIANT
    u = 7.0 if untouched else NumpyProgram(PROGRAMS["eval"], precision)(np.array([[0.5, 2.5]], precision)).item()
    assert found == (target or load(bundle).target)
    assert codes == ["-3" if untouched else "0"] * 5
    assert (outside, n_variants) == ("1", "2")
    assert [float.fromhex(y), float.fromhex(same)] == [u, u]


def test_the_levels_are_those_that_compilers_mean() -> None:
    host = {feature.llvm: True for feature in LEVELS["x86-64-v3"] if feature.llvm}
    assert best_level(host) == "x86-64-v3"
    assert best_level(host | dict.fromkeys(("avx512f", "avx512bw", "avx512cd", "avx512dq", "avx512vl"), True)) == (
        "x86-64-v4"
    )
    assert best_level(host | {"movbe": False}) is None
    assert tuple(LEVELS) == TARGET.variants
    for level in LEVELS:
        named = [feature for feature in LEVELS[level] if feature.linux or feature.llvm]
        assert all(feature.linux and feature.llvm for feature in named)
        assert len({(feature.word, feature.bit) for feature in LEVELS[level]}) == len(LEVELS[level])


def test_one_abi() -> None:
    assert (ABI, NO_VARIANT) == (library_engine.ABI, library_engine.NO_VARIANT)
