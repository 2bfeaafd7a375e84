"""Which instructions of a target this processor lacks: a library that would crash is refused instead."""

from __future__ import annotations

import re
from pathlib import Path

CPUINFO = Path("/proc/cpuinfo")

V3 = ("avx", "avx2", "bmi1", "bmi2", "f16c", "fma", "abm", "movbe")
V4 = (*V3, "avx512f", "avx512bw", "avx512cd", "avx512dq", "avx512vl")
FLAGS = {"x86-64-v3": V3, "x86-64-v4": V4}  # x86-64 psABI levels, by the names that Linux gives to their parts


def missing_instructions(cpu: str, cpuinfo: Path = CPUINFO) -> list[str]:
    """The parts of LLVM's `cpu` that Linux does not report; none where either is not known."""
    try:
        reported = re.search(r"^flags\s*:(.*)$", cpuinfo.read_text(encoding="utf-8"), re.MULTILINE)
    except OSError:
        return []
    flags = set(reported[1].split()) if reported else set(FLAGS.get(cpu, ()))
    return [flag for flag in FLAGS.get(cpu, ()) if flag not in flags]
