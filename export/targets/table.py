"""Targets: what machine code is compiled for. `TARGETS` is the table; a line of it is all that a target is."""

from __future__ import annotations

import platform
from collections.abc import Mapping
from dataclasses import dataclass, replace

import llvmlite.binding as llvm

from kdpinn_edge.bundle.manifest import LIBRARY_FILES, Artifact, Grade, Precision
from kdpinn_edge.bundle.x86 import best_level
from kdpinn_edge.errors import ExportError, NoNativeTargetError, did_you_mean
from kdpinn_edge.export.targets import soft_float
from kdpinn_edge.numerics import fixed_point
from kdpinn_edge.numerics.lanes import FAST_SUFFIX


@dataclass(frozen=True)
class Vectors:
    """The registers that numbers of one precision are computed in: how many each holds, and how many there are.

    `in_order` processors start about one instruction in a cycle, so loads cost as much as arithmetic.
    """

    lanes: int
    registers: int
    in_order: bool = False

    @property
    def factors_by_lane(self) -> bool:
        """Whether the weights of several rows are better loaded together, and taken from their lanes one by one."""
        return self.in_order and self.lanes > 1


Registers = Mapping[Precision, Vectors]


@dataclass(frozen=True)
class Target:
    """One kind of machine: `triple`, `cpu` and `features` are LLVM's words for it, `serves` says what it is for.

    `by_precision` has the registers for each precision that it computes in. `profile` is the numerics profile
    that its instructions serve. `flushes` tells that its vector hardware takes subnormal numbers for zero, so that bits
    are those of the profile only where none occurs. `variants` are the names of the targets that it consists of, best
    first, where the library holds the code of several and the processor decides; the registers are then those of the
    best. `helpers` are the functions of the compiler's run-time library that its code may call, where no instruction
    computes with floats.
    """

    name: str
    serves: str
    triple: str
    cpu: str
    features: str
    artifact: Artifact
    by_precision: Registers
    profile: str = "fma-2"
    flushes: bool = False
    helpers: frozenset[str] = frozenset()
    variants: tuple[str, ...] = ()

    @property
    def compiled(self) -> tuple[Target, ...]:
        """The targets that kernels are compiled for: its variants, or itself."""
        return tuple(TARGETS[name] for name in self.variants) or (self,)

    @property
    def fuses(self) -> bool:
        """Whether a multiply-add rounds once in its numerics profile."""
        return self.profile.startswith("fma-")

    def graded(self, grade: Grade) -> Target:
        """The same target with this grade of the activations in its numerics profile."""
        return replace(self, profile=f"{self.profile}{FAST_SUFFIX}") if grade == "fast" else self

    def computing(self, profile: str) -> Target:
        """The same target in this numerics profile: in integers it flushes nothing and calls no function for floats."""
        in_words = profile == fixed_point.PROFILE
        return replace(
            self,
            profile=profile,
            flushes=self.flushes and not in_words,
            helpers=frozenset() if in_words else self.helpers,
        )

    @property
    def lacks_floats(self) -> bool:
        """Whether it has no floating-point unit: what is run or linked for it goes through the GNU compiler."""
        return self.by_precision is SOFT

    @property
    def multiplies(self) -> bool:
        """Whether one instruction has the upper word of a product of two words of 32 bits."""
        return not self.triple.startswith("thumbv6m")

    @property
    def multiplies_in_pairs(self) -> bool:
        """Whether an instruction has the products of every second word of two vectors, with 64 bits."""
        return self.triple.startswith("x86_64")

    @property
    def estimates(self) -> bool:
        """Whether an instruction estimates the inverses of 16 float32 to within 2^-14."""
        return self.cpu == "x86-64-v4"

    @property
    def library(self) -> str:
        """The name pattern of the artifact."""
        return LIBRARY_FILES[self.artifact]

    @property
    def branches(self) -> bool:
        """Whether it can choose between two numbers by a branch only."""
        return self.triple.startswith(("riscv", "thumbv6m"))

    @property
    def widens(self) -> bool:
        """Whether it has an instruction that makes a float32 of a float16."""
        return not (self.lacks_floats or self.triple.startswith(("riscv", "wasm")) or self.cpu == "x86-64-v2")

    @property
    def is_arm32(self) -> bool:
        """Whether it is a 32-bit ARM processor."""
        return self.triple.startswith(("arm", "thumb")) and self.pointer_bits == 32

    @property
    def touches_frames(self) -> bool:
        """Whether its functions touch each page of a frame of several."""
        return self.artifact == "elf" and not self.is_arm32

    @property
    def hardening(self) -> tuple[str, ...]:
        """Attributes of LLVM for its functions: a frame of several pages touches each, a call lands on an instruction
        that is marked as the begin of a function. Windows wants to find its way out of every function that has a frame.
        """
        if self.artifact == "dll":
            return ("uwtable",)
        if not self.touches_frames:
            return ()
        guard = 65536  # bytes, by glibc and GCC
        of_arm = '"branch-target-enforcement"', f'"stack-probe-size"="{guard}"'
        marks = of_arm if self.triple.startswith("aarch64") else ()
        return ('"probe-stack"="inline-asm"', *marks)

    @property
    def branch_protection(self) -> str | None:
        """The name of LLVM's flag for a module whose functions are so marked; None where there are no such marks."""
        if self.artifact != "elf":
            return None
        flags = {"x86_64": "cf-protection-branch", "aarch64": "branch-target-enforcement"}
        return flags.get(self.triple.partition("-")[0])

    @property
    def pointer_bits(self) -> int:
        """How wide an address is."""
        return 64 if self.triple.startswith(("x86_64", "aarch64", "arm64", "riscv64")) else 32

    def vectors(self, precision: Precision) -> Vectors:
        """Its registers as they hold numbers of this precision. Raises ExportError where it has none."""
        if precision not in self.by_precision:
            raise ExportError(
                f"{self.name} does not compute in {precision}; expected: {', '.join(self.by_precision)}. "
                f"Export with --precision {next(iter(self.by_precision))}."
            )
        return self.by_precision[precision]

    def runs_here(self) -> bool:
        """Whether this machine can run the code of this target."""
        try:
            return self.name in RUNS[_native()]
        except ExportError:
            return False


AVX512: Registers = {"float32": Vectors(16, 32), "float64": Vectors(8, 32)}
AVX2: Registers = {"float32": Vectors(8, 16), "float64": Vectors(4, 16)}
SSE: Registers = {"float32": Vectors(4, 16), "float64": Vectors(2, 16)}
NEON64: Registers = {"float32": Vectors(4, 32, in_order=True), "float64": Vectors(2, 32, in_order=True)}
NEON32: Registers = {"float32": Vectors(4, 16, in_order=True), "float64": Vectors(1, 32, in_order=True)}
ANY: Registers = {"float32": Vectors(1, 16), "float64": Vectors(1, 16)}
RISCV: Registers = {"float32": Vectors(1, 32, in_order=True), "float64": Vectors(1, 32, in_order=True)}
FPV4: Registers = {"float32": Vectors(1, 32, in_order=True)}
FPV5: Registers = {"float32": Vectors(1, 32, in_order=True), "float64": Vectors(1, 16, in_order=True)}
SOFT: Registers = {"float32": Vectors(1, 10, in_order=True)}

X86, ARM64 = "x86_64-unknown-linux-gnu", "aarch64-unknown-linux-gnu"
LEVELS = ("x86-64-v4", "x86-64-v3")
ARMV7 = "armv7-unknown-linux-gnueabihf"
M0, M3, RV32 = "thumbv6m-unknown-none-eabi", "thumbv7m-unknown-none-eabi", "riscv32-unknown-none-elf"
RV64GC = "+m,+a,+f,+d,+c"
NO_OVERLAP = "-use-mipipeliner"
"""LLVM overlaps the turns of a loop for the Cortex-M7 alone, and behind it can take the value of an earlier turn, as in
https://github.com/llvm/llvm-project/pull/211723."""

TARGETS = {
    target.name: target
    for target in (
        Target("x86-64-v4", "Linux, AVX-512 (servers from 2017)", X86, "x86-64-v4", "-prefer-256-bit", "elf", AVX512),
        Target("x86-64-v3", "Linux, AVX2 and FMA (from 2013)", X86, "x86-64-v3", "", "elf", AVX2),
        Target("x86-64-v2", "Linux, SSE4.2, no FMA (from 2008)", X86, "x86-64-v2", "", "elf", SSE, "muladd-1"),
        Target("x86-64", "Linux, v4 or v3, as the CPU has it", X86, "x86-64", "", "elf", AVX512, variants=LEVELS),
        Target("aarch64", "Linux, any 64-bit ARM", ARM64, "generic", "", "elf", NEON64),
        Target("cortex-a53", "Linux, Raspberry Pi 3, Zynq UltraScale+", ARM64, "cortex-a53", "", "elf", NEON64),
        Target("cortex-a72", "Linux, Raspberry Pi 4", ARM64, "cortex-a72", "", "elf", NEON64),
        Target("cortex-a76", "Linux, Raspberry Pi 5", ARM64, "cortex-a76", "", "elf", NEON64),
        Target("armv7", "Linux, Cortex-A7, A15, A17", ARMV7, "cortex-a7", "", "elf", NEON32, flushes=True),
        Target("cortex-a9", "Zynq-7000, no FMA", ARMV7, "cortex-a9", "", "elf", NEON32, "muladd-1", flushes=True),
        Target("riscv64", "Linux, RV64GC", "riscv64-unknown-linux-gnu", "generic-rv64", RV64GC, "elf", RISCV),
        Target("cortex-m4", "bare metal, with FPU", "thumbv7em-none-eabihf", "cortex-m4", "", "archive", FPV4),
        Target(
            "cortex-m7", "bare metal, double FPU", "thumbv7em-none-eabihf", "cortex-m7", NO_OVERLAP, "archive", FPV5
        ),
        Target("cortex-m33", "bare metal, with FPU", "thumbv8m.main-none-eabihf", "cortex-m33", "", "archive", FPV4),
        *(
            Target(name, serves, triple, cpu, features, "archive", SOFT, "muladd-1", helpers=helpers)
            for name, serves, triple, cpu, features, helpers in (
                ("cortex-m0plus", "bare metal, RP2040, SAMD21", M0, "cortex-m0plus", "", soft_float.ARM),
                ("cortex-m3", "bare metal, STM32F1", M3, "cortex-m3", "", soft_float.ARM),
                ("rv32imc", "bare metal, ESP32-C3", RV32, "generic-rv32", "+m,+c", soft_float.RISCV),
                ("rv32imac", "bare metal, ESP32-C6", RV32, "generic-rv32", "+m,+a,+c", soft_float.RISCV),
            )
        ),
        Target("wasm", "browsers, Node.js", "wasm32-unknown-unknown", "generic", "+simd128", "wasm", SSE, "muladd-1"),
        Target("windows-x86-64", "Windows, AVX2 and FMA", "x86_64-w64-windows-gnu", "x86-64-v3", "", "dll", AVX2),
        Target("macos-arm64", "macOS 11, Apple silicon", "arm64-apple-macosx11.0.0", "apple-m1", "", "dylib", NEON64),
        Target("c99", "any C99 compiler", "any", "", "", "c99", ANY),
        Target("c99-muladd", "the same, for processors without FMA", "any", "", "", "c99", ANY, "muladd-1"),
        Target("fmu", "FMI 2.0 and 3.0: Linux, Windows, macOS", "any", "", "", "fmu", ANY),
    )
}

RUNS = {
    "x86-64-v4": ("x86-64", "x86-64-v4", "x86-64-v3", "x86-64-v2"),
    "x86-64-v3": ("x86-64", "x86-64-v3", "x86-64-v2"),
    "aarch64": ("aarch64", "cortex-a53", "cortex-a72"),
}
"""For each target that "native" can be, those whose code runs where it does."""

REFUSED = {
    **dict.fromkeys(("cortex-m0", "cortex-m1", "cortex-m23"), "the code of cortex-m0plus runs on it"),
    "riscv32": "there are several; the code of rv32imc runs on any that multiplies and has compressed instructions",
}
"""Names that people try, and why there is no such target."""


def target(name: str) -> Target:
    """The target of this name; "native" is the best one that this machine runs.

    Raises ExportError for an unknown name, NoNativeTargetError for "native" on a machine that no target fits.
    """
    if name == "native":
        name = _native()
    if name in REFUSED:
        raise ExportError(f"target {name!r} is refused: {REFUSED[name]}; expected: {', '.join(TARGETS)}")
    if name not in TARGETS:
        raise ExportError(
            f"target {name!r} is unknown; expected: native, {', '.join(TARGETS)}"
            f"{did_you_mean(name, ('native', *TARGETS, *REFUSED))}"
        )
    return TARGETS[name]


def _native() -> str:
    if platform.system() == "Linux":
        machine = platform.machine()
        if machine == "aarch64":
            return "aarch64"
        if machine == "x86_64" and (level := best_level(llvm.get_host_cpu_features())):
            return level
    raise NoNativeTargetError(
        f"no target fits this machine ({llvm.get_process_triple()}); expected: Linux on 64-bit ARM, or on x86-64 with "
        f"AVX2 and FMA (2013 or later). Name a target to export for another machine: {', '.join(TARGETS)}"
    )
