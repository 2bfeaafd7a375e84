"""`device_bench`: a program for the device that runs the model's self-test, times its functions, and prints JSON.

It is the model's machine code and one C file without a C library, compiled by ziglang: an executable for Linux that
makes its system calls itself, and an image for Cortex-M with its own start-up code that speaks semihosting. What it
prints, `kdpinn-edge bench --add` reads.
"""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from pathlib import Path

from kdpinn_edge.bundle.probe import DEVICE_SCHEMA, N_DEVICE, timed_points
from kdpinn_edge.errors import ExportError
from kdpinn_edge.export.artifacts.c_files import c_files, filled_template
from kdpinn_edge.export.artifacts.linking import ZIG
from kdpinn_edge.export.targets.interface import Interface
from kdpinn_edge.export.targets.table import TARGETS, Target
from kdpinn_edge.numerics.reference import PRECISIONS

BENCH = "{}_bench"
COMPILE = (
    *("-c", "-O2", "-std=c99", "-ffreestanding", "-fno-pic", "-fno-stack-protector", "-fno-sanitize=undefined"),
    *("-fno-unwind-tables", "-fno-asynchronous-unwind-tables", "-Wall", "-Wextra", "-Werror"),
)
LINK = ("-static", "--no-pie", "--build-id=none", "--strip-all", "--fatal-warnings", "-z", "noexecstack")
NUMBERS_PER_LINE = 8


@dataclass(frozen=True)
class Memory:
    """Where a machine that serves semihosting has its code and its data: addresses and sizes as a linker reads them."""

    machine: str
    flash: str
    flash_size: str
    ram: str
    ram_size: str


MEMORY = {
    "cortex-m4": Memory("mps2-an386", "0x00000000", "4M", "0x20000000", "4M"),
    "cortex-m7": Memory("mps2-an500", "0x00000000", "4M", "0x20000000", "4M"),
    "cortex-m33": Memory("mps2-an505", "0x10000000", "4M", "0x38000000", "2M"),
}
"""The machines of QEMU, and Arm's boards of the same name."""

SYSTEMS = {"x86_64": "x86_64-linux-none", "aarch64": "aarch64-linux-none", "armv7": "arm-linux-eabihf"} | {
    "riscv64": "riscv64-linux-none"
}
"""What Zig calls Linux on each architecture."""


def check_bench(target: Target) -> None:
    """Raise ExportError for a target that has no bench for the device, and where ziglang is missing."""
    if target.name not in MEMORY and target.artifact != "elf":
        accepted = (t.name for t in TARGETS.values() if t.name in MEMORY or t.artifact == "elf")
        raise ExportError(f"{target.name} has no bench for the device; expected: {', '.join(accepted)}. Leave it out.")
    if find_spec("ziglang") is None:
        raise ExportError(
            "the bench for the device is compiled by the package ziglang, which is not installed: "
            "pip install 'kdpinn-edge[cross]'"
        )


def device_bench(object_code: bytes, interface: Interface) -> dict[str, bytes]:
    """File name → contents: the program, its source, and for Cortex-M its linker script.

    `object_code` is the model's own. Equal models give equal bytes. Raises ExportError as `check_bench` does.
    """
    name, target = BENCH.format(interface.name), interface.target
    check_bench(target)
    sources = bench_sources(interface)
    layout: tuple[str, ...] = ()
    if target.name in MEMORY:
        layout = (f"--script={name}.ld", "-z", "max-page-size=4096")
    program = _built(object_code, {**c_files(interface), **sources}, name, _machine(target), layout)
    return {**sources, bench_program(interface): program}


def bench_program(interface: Interface) -> str:
    """The file name of the program."""
    return f"{BENCH.format(interface.name)}{'.elf' if interface.target.name in MEMORY else ''}"


def bench_sources(interface: Interface) -> dict[str, bytes]:
    """File name → contents of what the program is built from, beside the model's own files."""
    name, target = BENCH.format(interface.name), interface.target
    memory = MEMORY.get(target.name)
    if memory is None:
        return {f"{name}.c": _source(interface, "bench_linux.c", {})}
    words = {"compiler": " ".join(_machine(target)), "machine": memory.machine}
    return {
        f"{name}.c": _source(interface, "bench_cortex_m.c", words),
        f"{name}.ld": filled_template("bench_cortex_m.ld", interface, asdict(memory)),
    }


def _machine(target: Target) -> tuple[str, ...]:
    """What Zig is told of the target."""
    if target.name in MEMORY:
        return ("-target", "thumb-freestanding-eabihf", f"-mcpu={target.cpu.replace('-', '_')}")
    return ("-target", SYSTEMS[target.triple.partition("-")[0]])


def _source(interface: Interface, machine: str, words: Mapping[str, str]) -> bytes:
    x = timed_points(interface.inputs, N_DEVICE).astype(PRECISIONS[interface.precision])
    suffix = "f" if interface.precision == "float32" else ""
    numbers = [f"{float(value).hex()}{suffix}" for value in x.flat]
    lines = (numbers[i : i + NUMBERS_PER_LINE] for i in range(0, len(numbers), NUMBERS_PER_LINE))
    measured = {
        "machine": filled_template(machine, interface, words).decode(),
        "schema": str(DEVICE_SCHEMA),
        "n_points": str(N_DEVICE),
        "most_out": str(max(program.n_out for program in interface.functions.values())),
        "points": ",\n".join(f"    {', '.join(line)}" for line in lines),
    }
    return filled_template("bench.c", interface, measured)


def _built(
    object_code: bytes, files: Mapping[str, bytes], name: str, machine: Sequence[str], layout: Sequence[str]
) -> bytes:
    """`name`.c among `files`, linked with `object_code`. Raises ExportError with the compiler's words if that fails."""
    with tempfile.TemporaryDirectory() as folder, tempfile.TemporaryDirectory() as cache:
        for file, data in {**files, "kernel.o": object_code}.items():
            (Path(folder) / file).write_bytes(data)
        commands = (
            (*ZIG, "cc", *machine, *COMPILE, "-o", "bench.o", f"{name}.c"),
            (*ZIG, "ld.lld", *LINK, *layout, "-o", name, "bench.o", "kernel.o"),
        )
        environment = {**os.environ, "ZIG_GLOBAL_CACHE_DIR": cache, "ZIG_LOCAL_CACHE_DIR": cache}
        for command in commands:
            done = subprocess.run(  # noqa: S603
                command, cwd=folder, env=environment, capture_output=True, text=True, check=False
            )
            if done.returncode != 0:
                raise ExportError(
                    f"the bench for the device cannot be built ({' '.join(command)}):\n{done.stderr.strip()}"
                )
        return (Path(folder) / name).read_bytes()
