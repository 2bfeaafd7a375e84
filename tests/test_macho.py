"""The reader of Mach-O libraries: it accepts what an export links, and sees whatever the loader of macOS would run.

No test here runs under macOS: what is read is compared with LIEF, and damaged libraries are refused.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from struct import pack_into, unpack_from

import numpy as np
import pytest
from artifacts import Artifacts
from fmus import fmu_bundle

from kdpinn_edge.bundle.fmi_functions import FMI_FUNCTIONS
from kdpinn_edge.bundle.fmu import member
from kdpinn_edge.bundle.loading import loading_faults
from kdpinn_edge.bundle.macho import MachLibrary
from kdpinn_edge.bundle.symbols import exported, visible
from kdpinn_edge.program.ir import Affine, Program, Var

X, U = Var("x", 2), Var("u", 1)
PROGRAM = Program("net", (X,), (U,), (Affine(U, X, [[0.5, 0.25]], [0.1]),))
SYMBOLS = sorted(visible(exported("net", ["eval"], per_call=False, fixed=False)))
SEGMENT, LIBRARY, SYMTAB, DYSYMTAB, SIGNATURE, SOURCE, STORED = 0x19, 0xC, 0x2, 0xB, 0x1D, 0x2A, 0x80000022
REBASE, BIND, WEAK, EXPORTS = 8, 16, 24, 40


@pytest.fixture
def library(artifacts: Artifacts) -> bytearray:
    """A library, which a test may change."""
    return bytearray((artifacts.bundle(PROGRAM, name="net", target="macos-arm64") / "libnet.dylib").read_bytes())


@pytest.fixture
def of_fmu(artifacts: Artifacts) -> bytes:
    """A library that takes memory from the system."""
    archive = (fmu_bundle(artifacts) / "net.fmu").read_bytes()
    return member(archive, "binaries/darwin64/net.dylib")


def commands(library: bytes) -> Iterator[tuple[int, int]]:
    """Each load command, and where it is."""
    at = 32
    for _ in range(unpack_from("<I", library, 16)[0]):
        command, size = unpack_from("<II", library, at)
        yield command, at
        at += size


def command(library: bytes, wanted: int, nth: int = 0) -> int:
    """Where a load command is."""
    return [at for found, at in commands(library) if found == wanted][nth]


def stored(library: bytes, which: int) -> int:
    """Where a stream of the loader's opcodes, or the tree of exports, begins."""
    return int(unpack_from("<I", library, command(library, STORED) + which)[0])


def test_what_an_export_links(library: bytearray, of_fmu: bytes) -> None:
    assert loading_faults(library, SYMBOLS, may_choose=False) == []
    (fault,) = loading_faults(library, SYMBOLS[1:], may_choose=False)
    assert fault.startswith(f"exports ['{SYMBOLS[0]}', ")
    own = visible(exported("net", ["eval", "jet"], per_call=True, fixed=False))
    with_fmi = [*own, *FMI_FUNCTIONS]
    assert loading_faults(of_fmu, with_fmi, may_choose=False, may_need=["calloc", "free"]) == []
    (needs,) = loading_faults(of_fmu, with_fmi, may_choose=False)
    assert needs == "needs the symbols ['calloc', 'free']; expected: none"


def agrees(image: bytes) -> bool:
    """Whether another reader finds the same; it takes a second to import."""
    import lief

    found, binaries = MachLibrary(image), lief.MachO.parse(list(image))
    assert binaries is not None
    other = binaries.at(0)
    assert other is not None
    own = {"__mh_dylib_header", "___dso_handle"}
    exports = {str(s.name).removeprefix("_"): s.value for s in other.exported_symbols if s.name not in own}
    needs = {str(s.name).removeprefix("_") for s in other.imported_symbols if s.name != "dyld_stub_binder"}
    sections = {f"{s.segment_name!s},{s.name!s}": (s.virtual_address, s.offset, s.size) for s in other.sections}
    return (
        found.exports == exports
        and found.needs == needs
        and {n: (s.address, s.offset, s.in_memory) for n, s in found.sections.items()} == sections
        and found.linked_as == str(next(iter(other.libraries)).name)
        and found.signature == other.code_signature.data_offset
    )


def test_another_reader_finds_the_same(library: bytearray, of_fmu: bytes) -> None:
    assert agrees(bytes(library))
    assert agrees(of_fmu)


@pytest.mark.hosts
def test_a_library_for_intel_is_read(tmp_path: Path) -> None:
    """No target is one, and the format is the same; it has no signature."""
    (tmp_path / "net.c").write_text("int net_eval(void) { return 0; }\n")
    options = [
        "-target",
        "x86_64-macos",
        "-O1",
        "-shared",
        "-nostdlib",
        "-lSystem",
        "-s",
        "net.c",
        "-o",
        "libnet.dylib",
    ]
    subprocess.run([sys.executable, "-m", "ziglang", "cc", *options], cwd=tmp_path, check=True)
    found = MachLibrary((tmp_path / "libnet.dylib").read_bytes())
    assert (set(found.exports), found.needs, found.libraries) == ({"net_eval"}, set(), set())
    assert found.faults == ["has no code signature, which arm64 demands"]


def put(where: Callable[[bytes], int], form: str, value: int) -> Callable[[bytearray], None]:
    return lambda library: pack_into(form, library, where(library), value)


def recommanded(number: int) -> Callable[[bytearray], None]:
    """What makes another command of the version of the sources, which nothing reads."""
    return put(lambda b: command(b, SOURCE), "<I", number)


def renamed(old: bytes, new: bytes) -> Callable[[bytearray], None]:
    def rename(library: bytearray) -> None:
        at = library.index(old)
        library[at : at + len(new)] = new

    return rename


def exported_weakly(library: bytearray) -> None:
    """The first leaf of the tree of exports gets the flag of a weak definition."""
    begin = stored(library, EXPORTS)
    leaf = next(i for i in range(begin + 1, len(library)) if library[i] == 3 and library[i + 1] == 0)
    library[leaf + 1] = 4


CHANGES: dict[str, tuple[Callable[[bytearray], None], str]] = {
    "initialisers of old": (recommanded(0x1A), "has the load command LC_ROUTINES_64, "),
    "a search path": (recommanded(0x8000001C), "has the load command LC_RPATH, "),
    "another library": (
        renamed(b"/usr/lib/libSystem", b"/usr/lib/libOther_"),
        "needs the libraries ['/usr/lib/libOther_",
    ),
    "a library of another": (recommanded(0x8000001F), "has the load command LC_REEXPORT_DYLIB, "),
    "an environment": (recommanded(0x27), "has the load command LC_DYLD_ENVIRONMENT, "),
    "other fixups": (recommanded(0x80000034), "has the load command LC_DYLD_CHAINED_FIXUPS, "),
    "encryption": (recommanded(0x2C), "has the load command 0x2c, "),
    "no signature": (put(lambda b: command(b, SIGNATURE), "<I", SOURCE), "has no code signature"),
    "relocations": (put(lambda b: command(b, DYSYMTAB) + 76, "<I", 1), "has relocations, "),
    "one name space": (put(lambda b: 24, "<I", 0x100005), "has the flags 0x100005, "),
    "weak symbols": (put(lambda b: 24, "<I", 0x108085), "has the flags 0x108085, "),
    "symbols of others": (put(lambda b: command(b, STORED) + WEAK + 4, "<I", 1), "may be those of another library"),
    "initialisers": (renamed(b"__data\0\0\0\0", b"__mod_init"), "has the section __DATA,__mod_init"),
    "a type": (put(lambda b: command(b, SEGMENT, 2) + 72 + 64, "<I", 9), "has the section __DATA,__const of type 0x9"),
    "code that can be written": (put(lambda b: command(b, SEGMENT) + 60, "<I", 7), "has code that can be written"),
    "code elsewhere": (put(lambda b: command(b, SEGMENT, 2) + 60, "<I", 5), "has code in __DATA"),
    "memory without a file": (
        put(lambda b: command(b, SEGMENT, 3) + 32, "<Q", 1 << 20),
        "memory that is not in the file",
    ),
    "half an address": (put(lambda b: stored(b, REBASE), "<B", 0x12), "stores something of type 2, "),
    "addresses in code": (put(lambda b: stored(b, REBASE) + 1, "<B", 0x20), "stores addresses outside of its own data"),
    "an unknown opcode": (put(lambda b: stored(b, REBASE), "<B", 0xF0), "by the opcode 0xf0, which is not known"),
    "a weak export": (exported_weakly, "with the flags 0x4, which no exported library has"),
    "exports without an end": (
        put(lambda b: b.index(0, stored(b, EXPORTS) + 2) + 1, "<B", 0),
        "its table of exports does not end",
    ),
    "exports elsewhere": (put(lambda b: command(b, STORED) + EXPORTS + 4, "<I", 1 << 30), "longer than the file"),
    "a section elsewhere": (
        put(lambda b: command(b, SEGMENT) + 72 + 48, "<I", 4096),
        "which is not where its segment is",
    ),
    "too long a segment": (put(lambda b: command(b, SEGMENT) + 48, "<Q", 1 << 30), "longer than the file"),
    "segments that overlap": (put(lambda b: command(b, SEGMENT) + 32, "<Q", 1 << 20), "has segments that overlap"),
    "a command without an end": (put(lambda b: command(b, SOURCE) + 4, "<I", 0), "a load command without an end"),
    "nothing to store": (
        put(lambda b: command(b, STORED), "<I", SOURCE),
        "it says 0 times what the loader has to store",
    ),
    "a program": (put(lambda b: 12, "<I", 2), "is not a Mach-O library: it is of type 2"),
    "another machine": (put(lambda b: 4, "<I", 7), "for machine 0x7; expected: a library for arm64 or x86-64"),
    "several in one": (put(lambda b: 0, ">I", 0xCAFEBABE), "is none of an ELF library, a PE library, a Mach-O library"),
}


@pytest.mark.parametrize("change", CHANGES)
def test_what_the_loader_would_do_is_seen(library: bytearray, change: str) -> None:
    apply, message = CHANGES[change]
    apply(library)
    assert any(message in fault for fault in loading_faults(bytes(library), SYMBOLS, may_choose=False))


def test_a_file_that_ends_early_is_refused(library: bytearray) -> None:
    signature = MachLibrary(bytes(library)).signature
    assert signature is not None
    for end in np.linspace(0, signature - 1, 60).astype(int):
        assert loading_faults(bytes(library[:end]), SYMBOLS, may_choose=False) != []
