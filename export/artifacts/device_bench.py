"""`device_bench`: a program for the device that runs the model's self-test, times its functions, and prints JSON.

It is the model's machine code and one C file without a C library, compiled by ziglang: an executable for Linux that
makes its system calls itself, and an image for bare metal with its own start-up code that speaks semihosting. The
soft-float helpers are those of the GNU compiler. What it prints, `kdpinn-edge bench --add` reads.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from importlib.util import find_spec

from kdpinn_edge.bundle.probe import DEVICE_SCHEMA, N_DEVICE, timed_points
from kdpinn_edge.errors import ExportError
from kdpinn_edge.export.artifacts.c_files import c_files, filled_template
from kdpinn_edge.export.artifacts.gnu import MACHINES, compiler, missing
from kdpinn_edge.export.artifacts.linking import OBJECT, ZIG, run_in
from kdpinn_edge.export.artifacts.templates import template
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

    emulator: str
    machine: str
    flash: str
    flash_size: str
    ram: str
    ram_size: str


MPS2, VIRT = ("0x00000000", "4M", "0x20000000", "4M"), ("0x80000000", "4M", "0x80400000", "4M")
MEMORY = {
    "cortex-m0plus": Memory("qemu-system-arm", "microbit", "0x00000000", "256K", "0x20000000", "16K"),
    "cortex-m3": Memory("qemu-system-arm", "mps2-an385", *MPS2),
    "cortex-m4": Memory("qemu-system-arm", "mps2-an386", *MPS2),
    "cortex-m7": Memory("qemu-system-arm", "mps2-an500", *MPS2),
    "cortex-m33": Memory("qemu-system-arm", "mps2-an505", "0x10000000", "4M", "0x38000000", "2M"),
    "rv32imc": Memory("qemu-system-riscv32", "virt", *VIRT),
    "rv32imac": Memory("qemu-system-riscv32", "virt", *VIRT),
}
"""The machines of QEMU, and boards of the same name. The core of microbit is a Cortex-M0, which lacks nothing here."""

SYSTEMS = {
    "x86_64": "x86_64-linux-none",
    "aarch64": "aarch64-linux-none",
    "armv7": "arm-linux-eabihf",
    "riscv64": "riscv64-linux-none",
}
"""What Zig calls Linux on each architecture."""

RISCV = "riscv32"
UNALTERED = "-fno-tree-loop-distribute-patterns"
"""GCC would make a loop that clears memory a call of the C library."""


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
    if target.lacks_floats and compiler(target) is None:
        raise ExportError(f"the bench for the device cannot be linked: {missing(target)}")


def device_bench(object_code: bytes, interface: Interface) -> dict[str, bytes]:
    """File name → contents: the program, its source, and for bare metal its linker script.

    `object_code` is the model's own. Equal models give equal bytes. Raises ExportError as `check_bench` does.
    """
    name = BENCH.format(interface.name)
    check_bench(interface.target)
    sources = bench_sources(interface)
    return {**sources, bench_program(interface): built(object_code, interface, sources, name)}


def bench_program(interface: Interface) -> str:
    """The file name of the program."""
    return f"{BENCH.format(interface.name)}{'.elf' if interface.target.name in MEMORY else ''}"


def bench_sources(interface: Interface) -> dict[str, bytes]:
    """File name → contents of what the program is built from, beside the model's own files."""
    name, memory = BENCH.format(interface.name), MEMORY.get(interface.target.name)
    sources = {f"{name}.c": _source(interface, *start(interface.target))}
    if memory is not None:
        sources[f"{name}.ld"] = filled_template("bench_bare_metal.ld", interface, asdict(memory))
    return sources


def start(target: Target) -> tuple[str, dict[str, str]]:
    """The template of what runs before and below the bench on this machine, and the words to fill it with."""
    memory = MEMORY.get(target.name)
    if memory is None:
        return "bench_linux.c", {}
    by_gcc = (*MACHINES[target.name], UNALTERED) if target.lacks_floats else ("zig", "cc", *machine(target))
    words = {
        "compiler": " ".join(by_gcc),
        "helpers": "-lgcc " if target.lacks_floats else "",
        "machine": memory.machine,
        "bare_metal": template("bench_bare_metal.c"),
    }
    return f"bench_{'riscv32' if target.triple.startswith(RISCV) else 'cortex_m'}.c", words


def machine(target: Target) -> tuple[str, ...]:
    """The options by which Zig compiles for the target."""
    if target.name not in MEMORY:
        return "-target", SYSTEMS[target.triple.partition("-")[0]]
    if target.triple.startswith(RISCV):
        return "-target", "riscv32-freestanding", f"-mcpu=generic_rv32{target.features.replace(',', '')}+zicsr"
    return (
        "-target",
        f"thumb-freestanding-{'eabi' if target.lacks_floats else 'eabihf'}",
        f"-mcpu={target.cpu.replace('-', '_')}",
    )


def _source(interface: Interface, start: str, words: Mapping[str, str]) -> bytes:
    x = timed_points(interface.inputs, N_DEVICE).astype(PRECISIONS[interface.precision])
    suffix = "f" if interface.precision == "float32" else ""
    numbers = [f"{float(value).hex()}{suffix}" for value in x.flat]
    lines = (numbers[i : i + NUMBERS_PER_LINE] for i in range(0, len(numbers), NUMBERS_PER_LINE))
    measured = {
        "machine": filled_template(start, interface, words).decode(),
        "schema": str(DEVICE_SCHEMA),
        "n_points": str(N_DEVICE),
        "most_out": str(max(program.n_out for program in interface.functions.values())),
        "points": ",\n".join(f"    {', '.join(line)}" for line in lines),
    }
    return filled_template("bench.c", interface, measured)


def built(object_code: bytes, interface: Interface, sources: Mapping[str, bytes], name: str) -> bytes:
    """`name`.c among `sources`, linked with `object_code`, on bare metal by `name`.ld.

    Raises ExportError with the words of the compiler or of the linker if that fails.
    """
    target, script = interface.target, f"{name}.ld"
    layout = (f"--script={script}", "-z", "max-page-size=4096") if script in sources else ()
    helpers = [str(found.library)] if target.lacks_floats and (found := compiler(target)) else []
    given = {**c_files(interface), **sources, OBJECT: object_code}
    compile_it = (*ZIG, "cc", *machine(target), *COMPILE, "-o", "bench.o", f"{name}.c")
    given |= run_in(given, compile_it, ["bench.o"], "compiler")
    link_it = (*ZIG, "ld.lld", *LINK, *layout, "-o", name, "bench.o", OBJECT, *helpers)
    return run_in(given, link_it, [name], "linker")[name]
