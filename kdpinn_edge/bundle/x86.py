"""The x86-64 levels: what a processor must have for each, and where that can be read.

`export` writes the bits into libraries that choose for themselves, and asks LLVM by its names for the level of the
machine that it runs on; `runtime` looks for the names in /proc/cpuinfo, or asks Windows by its numbers.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Feature:
    """A bit that has to be set, in a word that the processor reports.

    word      leaf_1 (ecx), leaf_7 (ebx) and leaf_80000001 (ecx) of cpuid, or xcr0: the registers that Linux saves
    linux     the name in the flags of /proc/cpuinfo; "" where it has none
    llvm      the name among LLVM's features of the host; "" where it has none
    windows   the number for IsProcessorFeaturePresent; 0 where it has none
    """

    word: str
    bit: int
    linux: str = ""
    llvm: str = ""
    windows: int = 0


V3 = (
    Feature("leaf_1", 0, "pni", "sse3", 13),
    Feature("leaf_1", 9, "ssse3", "ssse3", 36),
    Feature("leaf_1", 12, "fma", "fma"),
    Feature("leaf_1", 13, "cx16", "cx16", 14),
    Feature("leaf_1", 19, "sse4_1", "sse4.1", 37),
    Feature("leaf_1", 20, "sse4_2", "sse4.2", 38),
    Feature("leaf_1", 22, "movbe", "movbe"),
    Feature("leaf_1", 23, "popcnt", "popcnt"),
    Feature("leaf_1", 27),  # osxsave: Linux saves the registers of xcr0
    Feature("leaf_1", 28, "avx", "avx", 39),
    Feature("leaf_1", 29, "f16c", "f16c"),
    Feature("leaf_7", 3, "bmi1", "bmi"),
    Feature("leaf_7", 5, "avx2", "avx2", 40),
    Feature("leaf_7", 8, "bmi2", "bmi2"),
    Feature("leaf_80000001", 0, "lahf_lm", "sahf"),
    Feature("leaf_80000001", 5, "abm", "lzcnt"),
    Feature("xcr0", 1),  # xmm
    Feature("xcr0", 2),  # ymm
)
V4 = (
    *V3,
    Feature("leaf_7", 16, "avx512f", "avx512f", 41),
    Feature("leaf_7", 17, "avx512dq", "avx512dq"),
    Feature("leaf_7", 28, "avx512cd", "avx512cd"),
    Feature("leaf_7", 30, "avx512bw", "avx512bw"),
    Feature("leaf_7", 31, "avx512vl", "avx512vl"),
    Feature("xcr0", 5),  # opmask
    Feature("xcr0", 6),  # zmm
    Feature("xcr0", 7),  # zmm16 and above
)
LEVELS: Mapping[str, tuple[Feature, ...]] = {"x86-64-v4": V4, "x86-64-v3": V3}
"""The levels of the psABI that libraries are compiled for and that not every processor has; the best comes first."""

CHOOSING = "x86-64"
"""The target whose library has code for all of them, and functions that choose by the processor."""


def masks(level: str) -> dict[str, int]:
    """The bits of each word that have to be set for this level."""
    found: dict[str, int] = defaultdict(int)
    for feature in LEVELS[level]:
        found[feature.word] |= 1 << feature.bit
    return dict(found)


def linux_flags(level: str) -> tuple[str, ...]:
    """The names that /proc/cpuinfo must have for this level; none for what is no level of x86-64."""
    return tuple(feature.linux for feature in LEVELS.get(level, ()) if feature.linux)


def windows_features(level: str) -> dict[str, int]:
    """The features of this level that Windows tells, and their numbers; none for what is no level of x86-64.

    It does not tell fma, movbe, popcnt, f16c, bmi, lahf_lm and lzcnt, which every processor of Intel and AMD with avx2
    has, and those of AVX-512 one by one. Before version 2004 of Windows 10 it told fewer.
    """
    return {feature.linux: feature.windows for feature in LEVELS.get(level, ()) if feature.windows}


def best_level(llvm_features: Mapping[str, bool]) -> str | None:
    """The best level that a processor with these features, named as LLVM does, has."""
    for level, features in LEVELS.items():
        if all(llvm_features.get(feature.llvm) for feature in features if feature.llvm):
            return level
    return None
