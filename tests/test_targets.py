"""Every target returns the bits of the NumPy program of its profile: run under QEMU, as a program without a system.

`make test` holds a small network of each kind to it, `make verify-targets` the networks of `nets.py` at 10 000 points.
"""

from __future__ import annotations

import subprocess
import sys
import zlib
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
from artifacts import BOX, SMALL, Artifacts
from compiled import Functions, kernel
from conftest import Need
from nets import NETS, with_jet
from numpy.typing import NDArray
from qemu import SEMIHOSTING
from sampled import named
from strategies import mlp, wild

from kdpinn_edge.bundle.manifest import Input, Precision, Storage, read_manifest
from kdpinn_edge.errors import ExportError
from kdpinn_edge.export.artifacts.c_files import filled_template
from kdpinn_edge.export.artifacts.device_bench import MEMORY, built, start
from kdpinn_edge.export.bundle import export_bundle
from kdpinn_edge.export.machine_code import object_code
from kdpinn_edge.export.targets.interface import Interface
from kdpinn_edge.export.targets.table import REFUSED, TARGETS, Target, target
from kdpinn_edge.numerics.reference import NumpyProgram
from kdpinn_edge.program.file import write_program
from kdpinn_edge.program.ir import columns

ROOMY = MEMORY | {"cortex-m0plus": MEMORY["cortex-m3"]}
"""Machines with memory for all points: a Cortex-M3 runs the code for the M0+, whose own machines have too little."""

EMULATORS = {"aarch64": "qemu-aarch64", "armv7": "qemu-arm", "riscv64": "qemu-riscv64", "x86_64": "qemu-x86_64"}
EMULATED = [
    t
    for t in TARGETS.values()
    if t.name in MEMORY or (t.artifact == "elf" and (t.name != "x86-64-v4" or t.runs_here()))  # QEMU has no AVX-512
]
OF_ONE_KIND = (
    "cortex-a53",
    "cortex-a72",
    "cortex-a76",
    "x86-64-v2",
    "x86-64-v3",
    "cortex-m33",
    "cortex-m4",
    "cortex-m3",
    "rv32imc",
)
"""Targets with the code of another one, in another order or with fewer instructions, or tested in test_kernel.py."""

PROGRAM = """
#include <stdint.h>
#include "model.h"

static int32_t bench(void);

{machine}
enum {{ N = {n}, MOST_OUT = {most_out} }};

static const uint32_t POINTS[] = {{{points}}};
static float y[N * MOST_OUT];

static void write_crc(const float *numbers, int32_t size)
{{
    const uint8_t *bytes = (const uint8_t *)numbers;
    uint32_t crc = 0xFFFFFFFFu;
    char text[10];
    int32_t i, bit;

    for (i = 0; i < 4 * size; i++) {{
        crc ^= bytes[i];
        for (bit = 0; bit < 8; bit++) {{
            crc = crc >> 1 ^ (0xEDB88320u & (0u - (crc & 1u)));
        }}
    }}
    crc = ~crc;
    for (i = 0; i < 8; i++) {{
        text[i] = "0123456789abcdef"[crc >> (28 - 4 * i) & 15u];
    }}
    text[8] = '\\n';
    text[9] = 0;
    write_text(text);
}}

static int32_t bench(void)
{{
    const float *x = (const float *)POINTS;
    int32_t status = model_selftest(), i;

    (void)N_POINTS;
    (void)clock_ticks;
{calls}
    return status;
}}
"""
CALL = """
    status |= model_{function}(x, y, N);
    write_crc(y, N * {n_out});
    for (i = 0; i < 100; i++) {{
        status |= model_{function}(x + i * {n_in}, y + i * {n_out}, 1);
    }}
    write_crc(y, N * {n_out});
"""


def image(functions: Functions, chosen: Target, x: NDArray[np.float32]) -> bytes:
    """A program that evaluates the functions at x, together and some points one by one, and prints a CRC of each."""
    inputs = tuple(Input(column, -1.0, 1.0) for column in columns(functions["eval"].inputs))
    interface = Interface("model", "float32", chosen, inputs, functions)
    template, words = start(chosen)
    source = PROGRAM.format(
        machine=filled_template(template, interface, words).decode(),
        n=len(x),
        most_out=max(program.n_out for program in functions.values()),
        points=", ".join(map(str, x.view(np.uint32).flat)),
        calls="".join(
            CALL.format(function=name, n_in=program.n_in, n_out=program.n_out) for name, program in functions.items()
        ),
    )
    sources = {"main.c": source.encode()}
    if chosen.name in ROOMY:
        sources["main.ld"] = filled_template("bench_bare_metal.ld", interface, asdict(ROOMY[chosen.name]))
    code = object_code([kernel(functions, "float32", each, 5) for each in chosen.compiled], interface)
    return built(code, interface, sources, "main")


def emulator(chosen: Target, need: Need) -> Sequence[str]:
    """The command that runs a program of this target: nothing where this machine does."""
    if chosen.runs_here():
        return ()
    if chosen.name in ROOMY:
        memory = ROOMY[chosen.name]
        return (need(memory.emulator), "-M", memory.machine, *SEMIHOSTING, "-kernel")
    return (need(EMULATORS[chosen.triple.partition("-")[0]]),)


def check_bits(functions: Functions, chosen: Target, folder: Path, need: Need, n: int) -> None:
    """What the program prints against the NumPy program; without subnormal numbers where the hardware flushes them."""
    command = emulator(chosen, need)
    x = wild(functions["eval"], n, "float32")
    if chosen.flushes:
        x = np.where(np.abs(x) < np.finfo(np.float32).tiny, np.copysign(np.float32(0), x), x)
    program = folder / "main"
    program.write_bytes(image(functions, chosen, x))
    program.chmod(0o755)
    done = subprocess.run([*command, program], stdin=subprocess.DEVNULL, capture_output=True, text=True, check=True)
    expected = []
    for each in functions.values():
        y = NumpyProgram(each, "float32", chosen.profile)(x)
        expected += [f"{zlib.crc32(y.tobytes()):08x}"] * 2
    assert done.stdout.split() == expected


@pytest.mark.slow
@pytest.mark.parametrize(
    "chosen", [pytest.param(t, marks=[pytest.mark.proof] if t.name in OF_ONE_KIND else []) for t in EMULATED], ids=named
)
def test_bits_of_a_small_network(chosen: Target, tmp_path: Path, need: Need) -> None:
    check_bits(with_jet(mlp(2, 12, 2, 1, fn="silu")), chosen, tmp_path, need, 500)


@pytest.mark.proof
@pytest.mark.parametrize("net", NETS)
@pytest.mark.parametrize("chosen", EMULATED, ids=lambda t: t.name)
def test_bits_at_10_000_points(chosen: Target, net: str, tmp_path: Path, need: Need) -> None:
    check_bits(with_jet(NETS[net]), chosen, tmp_path, need, 500 if chosen.helpers else 10_000)


@pytest.mark.parametrize("name", REFUSED)
def test_processors_that_run_the_code_of_others_name_them(name: str) -> None:
    with pytest.raises(ExportError, match=r"is refused: .*the code of (cortex-m0plus|rv32imc) runs on"):
        target(name)


def test_a_precision_that_the_hardware_lacks(tmp_path: Path) -> None:
    with pytest.raises(ExportError, match="cortex-m4 does not compute in float64; expected: float32"):
        export_bundle(mlp(2, 4, 1, 1), tmp_path / "net", name="net", precision="float64", target="cortex-m4")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("name", "precision", "storage"),
    [
        ("x86-64-v2", "float32", "float16"),
        ("riscv64", "float32", "float16"),
        ("wasm", "float32", "float16"),
        ("cortex-m7", "float64", "float64"),
    ],
)
def test_numbers_that_a_target_has_not_or_its_emulator_had_not(
    name: str, precision: Precision, storage: Storage, tmp_path: Path
) -> None:
    """Three have no instruction that widens float16. The self-test passes where the library runs, or is emulated."""
    net = mlp(2, 4, 1, 1)
    manifest = export_bundle(net, tmp_path / "net", name="net", precision=precision, storage=storage, target=name)
    assert (manifest.precision, manifest.storage) == (precision, storage)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["aarch64", "cortex-m7"])
def test_export_without_any_compiler(name: str, tmp_path: Path) -> None:
    """By pip packages alone: nothing is on the PATH."""
    write_program(mlp(2, 8, 2, 1), tmp_path / "net.npz")
    arguments = ("export", tmp_path / "net.npz", "--name", "net", "--out", tmp_path / "net", "--target", name)
    environment = {"PATH": str(tmp_path), "HOME": str(tmp_path)}
    subprocess.run([sys.executable, "-m", "kdpinn_edge", *arguments], env=environment, check=True, capture_output=True)
    assert read_manifest(tmp_path / "net").target.name == name


@pytest.mark.slow
@pytest.mark.parametrize("name", ["aarch64", "cortex-m7", "wasm", "windows-x86-64", "macos-arm64"])
def test_equal_bytes_from_two_folders(
    name: str, artifacts: Artifacts, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    there = artifacts.small(name)
    monkeypatch.chdir(tmp_path)
    export_bundle(SMALL, "net", name="net", target=name, inputs=BOX, derivatives=["u", "u_x0"])
    contents = [{path.name: path.read_bytes() for path in folder.iterdir()} for folder in (there, Path("net"))]
    assert contents[0] == contents[1]
