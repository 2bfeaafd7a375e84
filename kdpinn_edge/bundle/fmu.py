"""The two functional mock-up units (FMUs) of a bundle: what they are called, and where each has which machine code.

`NAME.fmu` is for importers of FMI 2.0 and `NAME_fmi3.fmu` for those of FMI 3.0. Both have the same binaries, in folders
that each version of the standard calls differently.
"""

from __future__ import annotations

import platform
from dataclasses import dataclass

from kdpinn_edge.archives import open_archive, read_entry
from kdpinn_edge.bundle.fmi_functions import FMI_FUNCTIONS
from kdpinn_edge.errors import BundleError
from kdpinn_edge.reading import GIB

FMI3_FILE = "{}_fmi3.fmu"
"""What the FMU for FMI 3.0 is called, for a model of this name; that for 2.0 is the library of the bundle."""


@dataclass(frozen=True)
class Platform:
    """Machines that an FMU has one binary for: `target` in the table of targets, its folders, the end of its name.

    A binary may need `needs`, symbols and libraries of the system by which it takes memory.
    """

    target: str
    fmi2: str
    fmi3: str
    suffix: str
    needs: frozenset[str] = frozenset({"calloc", "free"})

    def binary(self, name: str, fmi: int) -> str:
        """The place of the binary of model `name` in the archive for FMI 2.0 or 3.0."""
        return f"binaries/{self.fmi2 if fmi == 2 else self.fmi3}/{name}{self.suffix}"


LINUX = ("Linux", "x86_64")
HEAP = frozenset({"GetProcessHeap", "HeapAlloc", "HeapFree", "KERNEL32.dll"})

PLATFORMS = {
    LINUX: Platform("x86-64", "linux64", "x86_64-linux", ".so"),
    ("Linux", "aarch64"): Platform("aarch64", "aarch64-linux", "aarch64-linux", ".so"),
    ("Windows", "AMD64"): Platform("windows-x86-64", "win64", "x86_64-windows", ".dll", HEAP),
    ("Darwin", "arm64"): Platform("macos-arm64", "darwin64", "aarch64-darwin", ".dylib"),
}
"""By the names of `platform.system()` and `platform.machine()`. FMI 2.0 has no name for 64-bit ARM under Linux."""


def platform_here() -> Platform | None:
    """The one that this machine is, or None."""
    return PLATFORMS.get((platform.system(), platform.machine()))


@dataclass(frozen=True)
class Image:
    """Machine code as it is loaded, and the target that it was compiled for.

    It exports `exports` besides the functions of the model, and may need the symbols `needs`.
    """

    data: bytes
    target: str
    exports: frozenset[str] = frozenset()
    needs: frozenset[str] = frozenset()


def image_of(name: str, library: str, data: bytes, target: str) -> Image:
    """What is loaded of the file `library` of a model, made for `target`: of an FMU the binary for this machine.

    That for Linux, where it has none for this machine. Raises BundleError where the FMU cannot be read.
    """
    if not library.endswith(".fmu"):
        return Image(data, target)
    here = platform_here() or PLATFORMS[LINUX]
    return Image(member(data, here.binary(name, 2)), target_here(library, target), FMI_FUNCTIONS, here.needs)


def target_here(library: str, target: str) -> str:
    """What the code in the file `library`, made for `target`, is compiled for as far as this machine loads it."""
    return (platform_here() or PLATFORMS[LINUX]).target if library.endswith(".fmu") else target


def member(fmu: bytes, name: str) -> bytes:
    """The file `name` of an FMU. Raises BundleError where it has none."""
    try:
        with open_archive(fmu, GIB) as archive:
            return read_entry(archive, name)
    except ValueError as error:
        raise BundleError(f"the FMU has no {name} that can be read ({error}): export the bundle again") from error
