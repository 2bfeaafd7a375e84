"""What CMake and pkg-config read of a bundle: where its library is, and for which machine."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from textwrap import wrap

from kdpinn_edge.bundle.manifest import STATIC_FILES, Artifact
from kdpinn_edge.export.artifacts.versions import version
from kdpinn_edge.export.targets.interface import Interface

CMAKE: Mapping[str, str] = {
    "CMakeLists.txt": "CMakeLists.txt",
    "config.cmake": "{}-config.cmake",
    "config-version.cmake": "{}-config-version.cmake",
}
PKG_CONFIG: Mapping[str, str] = {"model.pc": "{}.pc"}

SYSTEMS: Mapping[Artifact, str] = {"elf": "Linux", "dylib": "Darwin", "dll": "Windows"}
PROCESSORS: Mapping[str, str] = {
    "x86_64": "x86_64|AMD64|amd64",
    "aarch64": "aarch64|arm64",
    "arm64": "aarch64|arm64",
    "armv7": "arm|armv7.*|armv8l",
    "riscv64": "riscv64",
}
"""What CMake calls the systems and the processors: CMAKE_SYSTEM_NAME, and a pattern of CMAKE_SYSTEM_PROCESSOR."""

Blocks = Mapping[str, Sequence[Mapping[str, str]]]


def needs_libm(interface: Interface) -> bool:
    """Whether the source calls `fma` of the C library where the processor has no such instruction."""
    target = interface.target
    return target.artifact == "c99" and target.fuses and interface.precision == "float64"


def compiler_advice(interface: Interface) -> str | None:
    """What a compiler of the source has to be told to be fast, None where it has not."""
    if interface.target.artifact != "c99" or not interface.target.fuses:
        return None
    return (
        "on x86-64 compile with -march=x86-64-v3, or -mfma: without this instruction every multiply-add is emulated, "
        "and a call takes 10 to 30 times as long"
    )


def build_words(interface: Interface) -> dict[str, str]:
    """What stands in these files for @…@."""
    name, artifact = interface.name, interface.target.artifact
    linked = interface.linked_library
    libm = " -lm" if needs_libm(interface) else ""
    major, minor, *_ = version("kdpinn-edge").split(".")
    return {
        "linked": linked,
        "soname": f"@rpath/{linked}" if artifact == "dylib" else linked,
        "libs": f"${{prefix}}/{interface.library}{libm}" if artifact == "c99" else f"-L${{prefix}} -l{name}",
        "major": major,
        "minor": minor,
    }


def build_blocks(interface: Interface) -> Blocks:
    """The parts of these files that only some artifacts have: once for each entry."""
    name, artifact = interface.name, interface.target.artifact
    static = []
    if artifact == "archive":
        static.append({"to_link": name, "archive": interface.library})
    if artifact in STATIC_FILES:
        static.append({"to_link": f"{name}-static", "archive": STATIC_FILES[artifact].format(name)})
    imported = [] if artifact == "c99" else [name, *(each["to_link"] for each in static if each["to_link"] != name)]
    advice = compiler_advice(interface)
    processors = PROCESSORS.get(interface.target.triple.partition("-")[0], "")
    return {
        "shared": [{}] if artifact in ("elf", "dylib") else [],
        "dll": [{}] if artifact == "dll" else [],
        "static": static,
        "source": [{}] if artifact == "c99" else [],
        "advice": [{"advice": "\n * ".join(wrap(advice, 115))}] if advice else [],
        "libm": [{}] if needs_libm(interface) else [],
        "imported": [{"to_link": each} for each in imported],
        "machine": [{"system": SYSTEMS[artifact], "processors": processors}] if artifact in SYSTEMS else [],
    }
