"""The gates that every artifact passes before it is shipped, whatever system it is for."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from io import BytesIO
from typing import Any, Literal

from elftools.elf.constants import SH_FLAGS
from elftools.elf.elffile import ELFFile

from kdpinn_edge.bundle.elf import SharedLibrary
from kdpinn_edge.bundle.loading import Library
from kdpinn_edge.bundle.macho import MachLibrary
from kdpinn_edge.bundle.manifest import Artifact, Sizes
from kdpinn_edge.bundle.pe import PeLibrary
from kdpinn_edge.errors import ExportError, listing
from kdpinn_edge.export.artifacts import webassembly
from kdpinn_edge.export.artifacts.archive import only_member
from kdpinn_edge.export.targets.interface import Interface

Kind = Artifact | Literal["static"]


@dataclass(frozen=True)
class Contents:
    """What an artifact shows and holds: names of symbols and libraries, names of writable sections, bytes.

    `indirect` are names for which the loader calls a function that chooses among several, `linked_as` is the name that
    a program keeps which is linked with it, where there is such a name; `versions` are
    those of the symbols.
    """

    exports: set[str]
    needs: set[str]
    libraries: set[str]
    writable: set[str]
    sizes: Sizes
    indirect: set[str] = field(default_factory=set)
    linked_as: str | None = None
    versions: set[str] = field(default_factory=set)
    faults: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Surroundings:
    """What an artifact has besides the model: symbols that it exports; symbols and libraries that it may need.

    `linked_as` is the name by which programs find it, where that is not the model's own.
    """

    exports: frozenset[str] = frozenset()
    needs: frozenset[str] = frozenset()
    linked_as: str | None = None


ALONE = Surroundings()


def check_artifact(
    artifact: bytes, interface: Interface, kind: Kind | None = None, around: Surroundings = ALONE
) -> Contents:
    """What an artifact that passes the gates holds; ExportError with every gate that it does not pass.

    `kind` is what it is, by default what the target makes; "static" is the archive beside a library.

    Gates: it exports the functions of its header, what keeps CasADi from calling these, those of `around`, and nothing
    else; it needs no symbol and no library, but for what the system demands of every library (MINIMUM), the soft-float
    helpers of its target, and what `around` names; it has no writable data but what a loader fills in and then protects
    (the addresses in the descriptor); loading an ELF library runs no code, but for what chooses between variants.
    """
    kind = kind or interface.target.artifact
    if kind not in READ:
        raise ExportError(f"{interface.library}: the target {interface.target.name} makes no machine code")
    try:
        found = READ[kind](artifact)
    except Exception as error:  # damaged bytes reach readers of files, which raise what they like
        raise ExportError(f"{interface.library} is not what it should be, {WORDS[kind]}: {error}") from error
    minimum = MINIMUM.get(kind, frozenset()) | interface.target.helpers
    expected = {*interface.visible, *around.exports}
    faults = list(found.faults)
    if found.exports - minimum != expected:
        faults.append(f"exports {sorted(found.exports - minimum)}; expected: exactly {sorted(expected)}")
    for what, names in (
        ("needs the symbols", found.needs),
        ("needs the libraries", found.libraries),
        ("has the writable sections", found.writable),
        ("lets the loader call", set() if interface.target.variants else found.indirect),
    ):
        if names - minimum - around.needs:
            accepted = ", ".join(sorted(minimum | around.needs)) or "none"
            faults.append(f"{what} {sorted(names - minimum - around.needs)}; expected: {accepted}")
    linked_as = around.linked_as or interface.linked_library
    if found.linked_as not in (None, linked_as):
        faults.append(f"has the name {found.linked_as} for programs; expected: {linked_as}")
    if kind == "elf" and not around.linked_as and interface.symbol_version not in found.versions:
        faults.append(f"has no symbols of the version {interface.symbol_version}")
    if faults:
        raise ExportError(f"{interface.library} does not pass its gates: {listing(faults)}")
    return found


WORDS: Mapping[Kind, str] = {
    "elf": "an ELF library",
    "archive": "an archive of an ELF object",
    "static": "an archive of a position-independent ELF object",
    "dylib": "a Mach-O library",
    "dll": "a PE library",
    "wasm": "a WebAssembly module",
}
MINIMUM: Mapping[Kind, frozenset[str]] = {
    "elf": frozenset({".data.rel.ro", ".dynamic", ".got", ".got.plt", ".relro_padding"}),
    "static": frozenset({".data.rel.ro"}),
    "dylib": frozenset({"__DATA,__const", "__DATA,__data", "__DATA,__la_symbol_ptr"}),
    "wasm": frozenset({"memory"}),
}
"""Names of each kind that are always there: what the loader protects, what the system links into every library."""


def _elf(artifact: bytes) -> Contents:
    """Symbols and libraries are those that the loader sees; sizes are those of sections, which it does not."""
    library, file = SharedLibrary(artifact), ELFFile(BytesIO(artifact))
    return replace(
        _elf_contents(file, ()),
        exports=library.exports,
        needs=library.needs,
        libraries=library.libraries,
        indirect=library.indirect,
        linked_as=library.linked_as,
        versions=_versions(file),
        faults=library.faults,
    )


def _versions(file: ELFFile) -> set[str]:
    """The names of the versions that its symbols have."""
    section = file.get_section_by_name(".gnu.version_d")
    return {entry.name for _, entries in section.iter_versions() for entry in entries} if section else set()


def _archive(artifact: bytes) -> Contents:
    file = ELFFile(BytesIO(only_member(artifact)))
    return _elf_contents(file, file.get_section_by_name(".symtab").iter_symbols())


def _elf_contents(file: ELFFile, symbols: Iterable[Any]) -> Contents:
    visible = [s for s in symbols if s["st_info"]["bind"] != "STB_LOCAL" and s.name]
    every = [s for s in file.iter_sections() if s["sh_flags"] & SH_FLAGS.SHF_ALLOC and s["sh_size"]]
    constants = [s for s in every if s.name.startswith((".rodata", ".data.rel.ro"))]
    code = [s for s in every if s["sh_flags"] & SH_FLAGS.SHF_EXECINSTR]
    return Contents(
        exports={s.name for s in visible if s["st_shndx"] != "SHN_UNDEF"},
        needs={s.name for s in visible if s["st_shndx"] == "SHN_UNDEF"},
        libraries=set(),
        writable={s.name for s in every if s["sh_flags"] & SH_FLAGS.SHF_WRITE},
        sizes=Sizes(text=sum(s["sh_size"] for s in code), rodata=sum(s["sh_size"] for s in constants)),
    )


def _dylib(artifact: bytes) -> Contents:
    library = MachLibrary(artifact)
    size = {name: section.in_memory for name, section in library.sections.items()}
    return _of(
        library,
        writable={name for name in size if name.startswith("__DATA,")},
        sizes=Sizes(size["__TEXT,__text"], size.get("__TEXT,__const", 0) + size.get("__DATA,__const", 0)),
        linked_as=library.linked_as.removeprefix("@rpath/"),
    )


def _dll(artifact: bytes) -> Contents:
    library = PeLibrary(artifact)
    text, constants = (library.sections[name].in_memory for name in (".text", ".rdata"))
    return _of(library, writable=set(), sizes=Sizes(text, constants), linked_as=library.linked_as)


def _of(library: Library, *, writable: set[str], sizes: Sizes, linked_as: str) -> Contents:
    """What the loader sees of a library, and what it does not."""
    return Contents(
        exports={*library.exports},
        needs=library.needs,
        libraries=library.libraries,
        writable=writable,
        sizes=sizes,
        indirect={*library.indirect},
        linked_as=linked_as,
        faults=library.faults,
    )


def _wasm(artifact: bytes) -> Contents:
    found = webassembly.sections(artifact)
    exported, code, data = (slice(*found[each]) for each in (webassembly.EXPORT, webassembly.CODE, webassembly.DATA))
    return Contents(
        exports=webassembly.exports(artifact[exported]),
        needs={"an import"} if webassembly.IMPORT in found else set(),
        libraries=set(),
        writable=set(),
        sizes=Sizes(text=code.stop - code.start, rodata=data.stop - data.start),
    )


READ: Mapping[Kind, Callable[[bytes], Contents]] = {
    "elf": _elf,
    "archive": _archive,
    "static": _archive,
    "dylib": _dylib,
    "dll": _dll,
    "wasm": _wasm,
}
