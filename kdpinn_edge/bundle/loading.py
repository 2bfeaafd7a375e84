"""What loading a library would do, for the systems that have one: read from its bytes before anything is loaded."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Set
from typing import Protocol

from kdpinn_edge.bundle.elf import SharedLibrary
from kdpinn_edge.bundle.macho import MachLibrary
from kdpinn_edge.bundle.pe import PeLibrary


class Library(Protocol):
    """What each reader finds: `exports` and `needs` are names of symbols, `libraries` of files.

    For `indirect` the loader calls a function of the library that chooses among several. `faults` says what it would do
    beyond mapping the file and storing addresses.
    """

    needs: set[str]
    libraries: set[str]
    faults: list[str]

    @property
    def exports(self) -> Collection[str]:
        """The symbols that it shows."""

    @property
    def indirect(self) -> Set[str]:
        """The symbols that the loader asks a function for."""


READERS: Mapping[bytes, tuple[str, Callable[[bytes], Library]]] = {
    b"\x7fELF": ("an ELF library", SharedLibrary),
    b"MZ": ("a PE library", PeLibrary),
    b"\xcf\xfa\xed\xfe": ("a Mach-O library", MachLibrary),
}
"""By the bytes that a file begins with, as loaders know them: those of Linux, Windows and macOS."""


def loading_faults(
    image: bytes, symbols: Collection[str], *, may_choose: bool, may_need: Collection[str] = ()
) -> list[str]:
    """Every reason not to load the library `image`: none where that runs no code, and needs and shows what it should.

    It shows exactly `symbols`. `may_choose`: it may have functions that choose among others by the processor.
    `may_need`: symbols and libraries that it may take from elsewhere.
    """
    known = next((reader for begin, reader in READERS.items() if image.startswith(begin)), None)
    if known is None:
        return [f"is none of {', '.join(word for word, _ in READERS.values())}"]
    word, reader = known
    try:
        library = reader(image)
    except ValueError as error:
        return [f"is not {word}: {error}"]
    faults = list(library.faults)
    if {*library.exports} != set(symbols):
        faults.append(f"exports {sorted(library.exports)}; expected: exactly {sorted(symbols)}")
    for what, names in (
        ("needs the symbols", library.needs - set(may_need)),
        ("needs the libraries", library.libraries - set(may_need)),
        ("chooses by code of its own what these stand for:", set() if may_choose else library.indirect),
    ):
        if names:
            faults.append(f"{what} {sorted(names)}; expected: none")
    return faults
