"""Whether this machine runs the code of a target: a library that would crash is refused instead."""

from __future__ import annotations

import platform
import re
from pathlib import Path

from kdpinn_edge.bundle import fmu
from kdpinn_edge.bundle.manifest import Manifest
from kdpinn_edge.bundle.x86 import linux_flags

CPUINFO = Path("/proc/cpuinfo")

ARM64 = ("aarch64", "arm64")
MACHINES = {"aarch64": ARM64, "arm64": ARM64, "armv7": ("armv7l", "armv8l", *ARM64)}  # by the names of uname


def misfit(manifest: Manifest) -> str | None:
    """The reason why this machine cannot load the library, as far as that shows without loading it, or None."""
    target = manifest.target
    if (system := platform.system()) != "Linux":
        return f"this machine runs {system}, where no library is loaded"
    if manifest.library.endswith(".fmu"):
        here = f"{platform.system()} on {platform.machine()}"
        return None if fmu.platform_here() else f"it has no binary for {here}"
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
    asked = linux_flags(cpu)
    flags = set(reported[1].split()) if reported else set(asked)
    return [flag for flag in asked if flag not in flags]
