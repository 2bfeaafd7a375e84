"""The GNU compiler for a processor without a floating-point unit, whose library has the soft-float helpers."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from kdpinn_edge.errors import ExportError
from kdpinn_edge.export.artifacts.linking import OBJECT, run_in
from kdpinn_edge.export.targets.table import Target

ARM, RISCV = "arm-none-eabi-gcc", "riscv64-unknown-elf-gcc"
MACHINES = {
    "cortex-m0plus": (ARM, "-mthumb", "-mcpu=cortex-m0plus"),
    "cortex-m3": (ARM, "-mthumb", "-mcpu=cortex-m3"),
    "rv32imc": (RISCV, "-mabi=ilp32", "-march=rv32imc"),
    "rv32imac": (RISCV, "-mabi=ilp32", "-march=rv32imac"),
}
PACKAGES = {ARM: "gcc-arm-none-eabi", RISCV: "gcc-riscv64-unknown-elf"}
"""What Debian calls them."""

LAYOUT = """
SECTIONS
{{
    . = {address:#x};
    .text : {{ *(.text .text.*) *(.rodata .rodata.* .srodata .srodata.*) *(.ARM.*) }}
}}
"""


@dataclass(frozen=True)
class Compiler:
    """The command that compiles for one processor."""

    command: Sequence[str]

    @property
    def described(self) -> str:
        """Its name and version."""
        return f"{Path(self.command[0]).name} {self._said('-dumpfullversion')}"

    @property
    def library(self) -> Path:
        """The archive that has the helpers."""
        return Path(self._said("-print-libgcc-file-name"))

    def linked(self, object_code: bytes, address: int) -> bytes:
        """An ELF file of the object with the helpers that it calls, placed at `address`."""
        inputs = {OBJECT: object_code, "layout.ld": LAYOUT.format(address=address).encode()}
        options = ("-nostdlib", "-Wl,--entry=0,--build-id=none,--no-warn-execstack,--no-warn-rwx-segments")
        command = [*self.command, *options, "-T", "layout.ld", "-o", "linked", OBJECT, "-lgcc"]
        return run_in(inputs, command, ["linked"], "compiler")["linked"]

    def _said(self, option: str) -> str:
        command = [*self.command, option]
        done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603
        if done.returncode != 0:
            raise ExportError(f"the compiler failed ({' '.join(command)}):\n{done.stderr.strip()}")
        return done.stdout.strip()


def compiler(target: Target) -> Compiler | None:
    """The GNU compiler for the target, where it is on the PATH."""
    name, *options = MACHINES[target.name]
    path = shutil.which(name)
    return None if path is None else Compiler((path, *options))


def missing(target: Target) -> str:
    """What is missing where there is no `compiler`, and where it comes from."""
    name = MACHINES[target.name][0]
    return f"{name}, whose library has the soft-float helpers, is not on the PATH (Debian: {PACKAGES[name]})"
