"""Whether this machine runs the code of a target: a library that would crash is refused instead."""

from __future__ import annotations

import platform
import re
from pathlib import Path

from kdpinn_edge.bundle.manifest import Manifest

CPUINFO = Path("/proc/cpuinfo")

V3 = ("avx", "avx2", "bmi1", "bmi2", "f16c", "fma", "abm", "movbe")
V4 = (*V3, "avx512f", "avx512bw", "avx512cd", "avx512dq", "avx512vl")
ARM64 = ("aarch64", "arm64")
MACHINES = {"aarch64": ARM64, "arm64": ARM64, "armv7": ("armv7l", "armv8l", *ARM64)}  # by the names of uname
FLAGS = {"x86-64-v3": V3, "x86-64-v4": V4}  # x86-64 psABI levels, by the names that Linux gives to their parts


def misfit(manifest: Manifest) -> str | None:
    """The reason why this machine cannot load the library, as far as that shows without loading it, or None."""
    target = manifest.target
    if not manifest.library.endswith(".so"):
        return f"{Path(manifest.library).suffix} is no shared library of Linux"
    machine, architecture = platform.machine(), target.triple.partition("-")[0]
    if machine not in MACHINES.get(architecture, (architecture,)):
        return f"this machine is {machine}"
    if missing := missing_instructions(target.cpu):
        return f"this processor has no {', '.join(missing)}"
    return None


def missing_instructions(cpu: str, cpuinfo: Path = CPUINFO) -> list[str]:
    """The parts of LLVM's `cpu` that Linux does not report; none where either is unknown."""
    try:
        reported = re.search(r"^flags\s*:(.*)$", cpuinfo.read_text(encoding="utf-8"), re.MULTILINE)
    except OSError:
        return []
    flags = set(reported[1].split()) if reported else set(FLAGS.get(cpu, ()))
    return [flag for flag in FLAGS.get(cpu, ()) if flag not in flags]
