"""Whether this machine runs the code of a target: a library that would crash is refused instead."""

from __future__ import annotations

import ctypes
import platform
import re
import sys
from pathlib import Path

from kdpinn_edge.bundle import fmu
from kdpinn_edge.bundle.manifest import Manifest
from kdpinn_edge.bundle.x86 import linux_flags, windows_features

CPUINFO = Path("/proc/cpuinfo")

LIBRARIES = {"Linux": ".so", "Windows": ".dll", "Darwin": ".dylib"}
"""How the name of a shared library ends, by what `platform.system` calls the systems."""

ARM64, X86_64 = ("aarch64", "arm64"), ("x86_64", "AMD64")
MACHINES = {"aarch64": ARM64, "arm64": ARM64, "armv7": ("armv7l", "armv8l", *ARM64), "x86_64": X86_64}
"""What `platform.machine` calls the processors that run the code of each architecture."""


def misfit(manifest: Manifest) -> str | None:
    """The reason why this machine cannot load the library, as far as that shows without loading it, or None."""
    system, machine, target = platform.system(), platform.machine(), manifest.target
    if system not in LIBRARIES:
        return f"this machine runs {system}, where no library is loaded"
    if manifest.library.endswith(".fmu"):
        return None if fmu.platform_here() else f"it has no binary for {system} on {machine}"
    if not manifest.library.endswith(LIBRARIES[system]):
        return f"{Path(manifest.library).suffix} is no shared library of {system}"
    architecture = target.triple.partition("-")[0]
    if machine not in MACHINES.get(architecture, (architecture,)):
        return f"this machine is {machine}"
    if missing := missing_instructions(target.cpu):
        return f"this processor has no {', '.join(missing)}"
    return None


def missing_instructions(cpu: str, cpuinfo: Path = CPUINFO) -> list[str]:
    """The parts of LLVM's `cpu` that the system does not report; none where either is unknown.

    Linux reports all of them and Windows some, as `windows_features` says. macOS is asked for none: every processor
    that is called arm64 there is an M1 or newer.
    """
    if sys.platform == "win32":
        has = ctypes.windll.kernel32.IsProcessorFeaturePresent
        return [name for name, number in windows_features(cpu).items() if not has(number)]
    try:
        reported = re.search(r"^flags\s*:(.*)$", cpuinfo.read_text(encoding="utf-8"), re.MULTILINE)
    except OSError:
        return []
    asked = linux_flags(cpu)
    flags = set(reported[1].split()) if reported else set(asked)
    return [flag for flag in asked if flag not in flags]
