"""The reader of PE libraries: it accepts what an export links, and sees whatever the loader of Windows would run."""

from __future__ import annotations

from collections.abc import Callable
from struct import pack_into, unpack_from

import numpy as np
import pytest
from artifacts import Artifacts
from fmus import fmu_bundle

from kdpinn_edge.bundle.fmi_functions import FMI_FUNCTIONS
from kdpinn_edge.bundle.fmu import HEAP, member
from kdpinn_edge.bundle.loading import loading_faults
from kdpinn_edge.bundle.pe import PeLibrary
from kdpinn_edge.bundle.symbols import exported, visible
from kdpinn_edge.program.ir import Affine, Program, Var

X, U = Var("x", 2), Var("u", 1)
PROGRAM = Program("net", (X,), (U,), (Affine(U, X, [[0.5, 0.25]], [0.1]),))
SYMBOLS = sorted(visible(exported("net", ["eval"], per_call=False, fixed=False)))
EXPORTS, IMPORTS, EXCEPTIONS, RELOCATIONS = 0, 1, 3, 5


@pytest.fixture
def library(artifacts: Artifacts) -> bytearray:
    """A library, which a test may change."""
    return bytearray((artifacts.bundle(PROGRAM, name="net", target="windows-x86-64") / "net.dll").read_bytes())


@pytest.fixture
def of_fmu(artifacts: Artifacts) -> bytes:
    """A library that takes memory from the system."""
    archive = (fmu_bundle(artifacts) / "net.fmu").read_bytes()
    return member(archive, "binaries/win64/net.dll")


def optional(library: bytes) -> int:
    """Where the optional header is."""
    return int(unpack_from("<I", library, 60)[0]) + 24


def directory(library: bytes, number: int) -> int:
    """Where the entry of a directory is."""
    return optional(library) + 112 + 8 * number


def section(library: bytes, number: int) -> int:
    """Where the header of a section is."""
    return optional(library) + int(unpack_from("<H", library, optional(library) - 4)[0]) + 40 * number


def offset(library: bytes, address: int) -> int:
    """Where in the file an address of memory is."""
    (count,) = unpack_from("<H", library, optional(library) - 18)
    for at in (section(library, i) for i in range(count)):
        size, begin, _, place = unpack_from("<IIII", library, at + 8)
        if begin <= address < begin + size:
            return int(place + address - begin)
    raise AssertionError(address)


def table(library: bytes, number: int) -> int:
    """Where the table of a directory is in the file."""
    return offset(library, unpack_from("<I", library, directory(library, number))[0])


def test_what_an_export_links(library: bytearray, of_fmu: bytes) -> None:
    assert loading_faults(library, SYMBOLS, may_choose=False) == []
    (fault,) = loading_faults(library, SYMBOLS[1:], may_choose=False)
    assert fault.startswith(f"exports ['{SYMBOLS[0]}', ")
    own = visible(exported("net", ["eval", "jet"], per_call=True, fixed=False))
    with_fmi = [*own, *FMI_FUNCTIONS]
    assert loading_faults(of_fmu, with_fmi, may_choose=False, may_need=HEAP) == []
    needs, libraries = loading_faults(of_fmu, with_fmi, may_choose=False)
    assert needs == "needs the symbols ['GetProcessHeap', 'HeapAlloc', 'HeapFree']; expected: none"
    assert libraries == "needs the libraries ['KERNEL32.dll']; expected: none"


def test_another_reader_finds_the_same(of_fmu: bytes) -> None:
    import lief  # which takes a second

    everything = lief.PE.ParserConfig()
    everything.parse_exceptions = True
    found, other = PeLibrary(of_fmu), lief.PE.parse(list(of_fmu), everything)
    assert isinstance(other, lief.PE.Binary)
    assert found.exports == {str(f.name): f.address for f in other.exported_functions}
    assert found.needs == {str(f.name) for f in other.imported_functions}
    assert {n: (s.address, s.in_memory, s.offset) for n, s in found.sections.items()} == {
        str(s.name): (s.virtual_address, s.virtual_size, s.offset) for s in other.sections
    }
    written = [entry.address for block in other.relocations for entry in block.entries if int(entry.type) == 10]
    written += [entry.iat_address for each in other.imports for entry in each.entries]
    assert sorted(found.relocated) == sorted(written)
    assert found.frames == [(each.rva_start, each.rva_end) for each in other.exceptions]


def put(where: Callable[[bytes], int], form: str, value: int) -> Callable[[bytearray], None]:
    return lambda library: pack_into(form, library, where(library), value)


def asking_for(number: int) -> Callable[[bytearray], None]:
    return put(lambda b: directory(b, number), "<I", 0x1000)


def handled(library: bytearray) -> None:
    """An exception handler for the first function that has a frame."""
    at = offset(library, unpack_from("<I", library, table(library, EXCEPTIONS) + 8)[0])
    library[at] |= 1 << 3


def passed_on(library: bytearray) -> None:
    """The first function becomes the name of one in another library."""
    at = table(library, EXPORTS)
    (names,) = unpack_from("<I", library, at + 12)
    pack_into("<I", library, offset(library, unpack_from("<I", library, at + 28)[0]), names)


CHANGES: dict[str, tuple[Callable[[bytearray], None], str]] = {
    "an entry point": (put(lambda b: optional(b) + 16, "<I", 0x1000), "has an entry point, which the loader calls"),
    "thread-local storage": (asking_for(9), "has thread-local storage, which no exported library has"),
    "a load configuration": (asking_for(10), "has a load configuration, "),
    "delayed imports": (asking_for(13), "has delayed imports, "),
    ".NET": (asking_for(14), "has .NET, "),
    "resources": (asking_for(2), "has resources, "),
    "bound imports": (asking_for(11), "has the directory 11, "),
    "control flow guard": (put(lambda b: optional(b) + 70, "<H", 0x4160), "asks for what no exported library does"),
    "code that can be written": (
        put(lambda b: section(b, 0) + 36, "<I", 0xE0000020),
        "the section .text with the flags",
    ),
    "shared constants": (put(lambda b: section(b, 1) + 36, "<I", 0x50000040), "the section .rdata with the flags"),
    "a function of another library": (passed_on, "on to another library"),
    "an export that is no code": (
        lambda b: pack_into("<I", b, offset(b, unpack_from("<I", b, table(b, EXPORTS) + 28)[0]), 0x2000),
        "which is no function",
    ),
    "an export without a name": (put(lambda b: table(b, EXPORTS) + 24, "<I", 3), "that have no name"),
    "a relocation into code": (put(lambda b: table(b, RELOCATIONS), "<I", 0x1000), "outside of its constants"),
    "a relocation of half an address": (
        put(lambda b: table(b, RELOCATIONS) + 8, "<H", 0x1000),
        "a relocation of type 1",
    ),
    "a handler": (handled, "has code that runs when an exception passes"),
    "frames of no code": (put(lambda b: table(b, EXCEPTIONS), "<I", 0x9000), "unwind information for what is no code"),
    "relocations without an end": (put(lambda b: table(b, RELOCATIONS) + 4, "<I", 4), "without an end"),
    "too long a section": (put(lambda b: section(b, 0) + 16, "<I", 1 << 30), "longer than the file"),
    "memory without a file": (put(lambda b: section(b, 1) + 8, "<I", 1 << 20), "or than its bytes in the file"),
    "sections that overlap": (put(lambda b: section(b, 1) + 12, "<I", 0x1000), "has sections that overlap"),
    "small pages": (put(lambda b: optional(b) + 32, "<I", 512), "it is aligned to 512 bytes in memory"),
    "a program": (put(lambda b: optional(b) - 2, "<H", 0x22), "is not a PE library: it is of kind 0x22"),
    "another machine": (
        put(lambda b: optional(b) - 20, "<H", 0xAA64),
        "for machine 0xaa64; expected: a DLL for x86-64",
    ),
    "no PE": (put(lambda b: optional(b) - 24, "<I", 0), "does not begin as a PE file"),
}


@pytest.mark.parametrize("change", CHANGES)
def test_what_the_loader_would_do_is_seen(library: bytearray, change: str) -> None:
    apply, message = CHANGES[change]
    apply(library)
    assert any(message in fault for fault in loading_faults(bytes(library), SYMBOLS, may_choose=False))


def test_imports_into_code_and_without_names_are_seen(of_fmu: bytes) -> None:
    by_number, into_code = bytearray(of_fmu), bytearray(of_fmu)
    looked_up = offset(of_fmu, unpack_from("<I", of_fmu, table(of_fmu, IMPORTS))[0])
    pack_into("<Q", by_number, looked_up, 1 << 63 | 7)
    assert "number 7" in PeLibrary(bytes(by_number)).needs
    pack_into("<I", into_code, table(of_fmu, IMPORTS) + 16, 0x1000)
    assert "has an address filled in outside of its constants" in PeLibrary(bytes(into_code)).faults


def test_a_file_that_ends_early_is_refused(library: bytearray) -> None:
    for end in np.linspace(0, len(library) - 1, 60).astype(int):
        assert loading_faults(bytes(library[:end]), SYMBOLS, may_choose=False) != []
