"""Targets: what machine code is compiled for."""

from __future__ import annotations

from dataclasses import dataclass

import llvmlite.binding as llvm

from kdpinn_edge.errors import ExportError
from kdpinn_edge.numpy_program import PRECISIONS


@dataclass(frozen=True)
class Vectors:
    """The vector registers of a CPU: how many numbers each holds, and how many there are."""

    lanes: int
    registers: int


@dataclass(frozen=True)
class Target:
    """One kind of CPU, with its vector registers; `library` is the name pattern of the artifact."""

    name: str
    triple: str
    cpu: str
    features: str
    vector_bytes: int
    registers: int
    library: str = "lib{}.so"

    def vectors(self, precision: str) -> Vectors:
        """Its registers as they hold numbers of this precision."""
        return Vectors(self.vector_bytes // PRECISIONS[precision].itemsize, self.registers)

    def runs_here(self) -> bool:
        """Whether this machine can run the code of this target."""
        try:
            return self.vector_bytes <= TARGETS[_native()].vector_bytes
        except ExportError:
            return False


TARGETS = {
    target.name: target
    for target in (
        Target("x86-64-v3", "x86_64-unknown-linux-gnu", "x86-64-v3", "", 32, 16),
        Target("x86-64-v4", "x86_64-unknown-linux-gnu", "x86-64-v4", "-prefer-256-bit", 64, 32),
    )
}


def target(name: str) -> Target:
    """The target of this name; "native" is the best one that this machine runs.

    Raises ExportError for a name that is not known, and for "native" on a machine that no target fits.
    """
    if name == "native":
        name = _native()
    if name not in TARGETS:
        raise ExportError(f"target {name!r} is not known; accepted: native, {', '.join(TARGETS)}")
    return TARGETS[name]


def _native() -> str:
    triple, features = llvm.get_process_triple(), llvm.get_host_cpu_features()
    if triple.startswith("x86_64") and "linux" in triple:
        if all(features.get(f"avx512{part}") for part in ("f", "bw", "cd", "dq", "vl")):
            return "x86-64-v4"
        if features.get("avx2") and features.get("fma"):
            return "x86-64-v3"
    raise ExportError(
        f"no target fits this machine ({triple}); accepted: Linux on x86-64 with AVX2 and FMA (2013 or later). "
        f"Name a target to export for another machine: {', '.join(TARGETS)}"
    )
