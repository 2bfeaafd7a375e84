"""The reader of ELF libraries: it accepts what an export links, and sees whatever a loader would run or write."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from struct import pack_into, unpack_from

import numpy as np
import pytest
from artifacts import Artifacts

from kdpinn_edge.bundle.elf import SharedLibrary
from kdpinn_edge.bundle.loading import loading_faults
from kdpinn_edge.bundle.symbols import exported, visible
from kdpinn_edge.program.ir import Affine, Program, Var

X, U = Var("x", 2), Var("u", 1)
PROGRAM = Program("net", (X,), (U,), (Affine(U, X, [[0.5, 0.25]], [0.1]),))
SYMBOLS = sorted(visible(exported("net", ["eval"], per_call=False, fixed=False)))
TARGETS = ("x86-64-v2", "x86-64", "aarch64", "armv7", "riscv64")

LOAD, DYNAMIC, STACK, RELRO, TLS = 1, 2, 0x6474E551, 0x6474E552, 7
HEADER, ENTRY = 64, 56
SONAME, FLAGS = 14, 30


def image(artifacts: Artifacts, target: str) -> bytes:
    return (artifacts.bundle(PROGRAM, name="net", target=target) / "libnet.so").read_bytes()


@pytest.fixture
def library(artifacts: Artifacts) -> bytearray:
    """A library for 64 bits, which a test may change."""
    return bytearray(image(artifacts, "x86-64-v2"))


@pytest.mark.parametrize("target", TARGETS)
def test_what_an_export_links(artifacts: Artifacts, target: str) -> None:
    found = image(artifacts, target)
    chooses = target == "x86-64"
    assert loading_faults(found, SYMBOLS, may_choose=chooses) == []
    if chooses:
        (fault,) = loading_faults(found, SYMBOLS, may_choose=False)
        assert "chooses by code of its own" in fault
    (fault,) = loading_faults(found, SYMBOLS[1:], may_choose=chooses)
    assert fault.startswith(f"exports ['{SYMBOLS[0]}', ")


def test_sections_are_not_believed(library: bytearray) -> None:
    """Without its table of sections, which a loader does not read, it is the same library."""
    pack_into("<Q", library, 40, 0)
    pack_into("<HHH", library, 58, 0, 0, 0)
    assert loading_faults(bytes(library), SYMBOLS, may_choose=False) == []


def segments(library: bytearray) -> list[tuple[int, int]]:
    """The kind of each segment, and where its entry is."""
    (count,) = unpack_from("<H", library, 56)
    return [(unpack_from("<I", library, HEADER + i * ENTRY)[0], HEADER + i * ENTRY) for i in range(count)]


def segment(library: bytearray, kind: int, nth: int = 0) -> int:
    return [at for found, at in segments(library) if found == kind][nth]


def writable(library: bytearray) -> int:
    return next(at for kind, at in segments(library) if kind == LOAD and unpack_from("<I", library, at + 4)[0] & 2)


def tag(library: bytearray, wanted: int) -> int:
    """Where an entry of the dynamic table is."""
    begin, size = (unpack_from("<Q", library, segment(library, DYNAMIC) + field)[0] for field in (8, 32))
    return next(at for at in range(begin, begin + size, 16) if unpack_from("<q", library, at)[0] == wanted)


def relocation(library: bytearray) -> int:
    (address,) = unpack_from("<Q", library, tag(library, 7) + 8)
    return int(address)  # the first segment begins at 0, in the file and in memory


def retagged(number: int) -> Callable[[bytearray], None]:
    """What makes another entry of DT_SONAME, which nothing needs."""
    return lambda library: pack_into("<q", library, tag(library, SONAME), number)


def patched(what: Callable[[bytearray], int], field: int, form: str, value: int) -> Callable[[bytearray], None]:
    return lambda library: pack_into(form, library, what(library) + field, value)


CHANGES: dict[str, tuple[Callable[[bytearray], None], str]] = {
    "INIT": (retagged(12), "has DT_INIT, "),
    "FINI": (retagged(13), "has DT_FINI, "),
    "INIT_ARRAY": (retagged(25), "has DT_INIT_ARRAY, "),
    "FINI_ARRAY": (retagged(26), "has DT_FINI_ARRAY, "),
    "PREINIT_ARRAY": (retagged(32), "has DT_PREINIT_ARRAY, "),
    "TEXTREL": (retagged(22), "has DT_TEXTREL, "),
    "RUNPATH": (retagged(29), "has DT_RUNPATH, "),
    "AUDIT": (retagged(0x6FFFFEFC), "has DT_AUDIT, "),
    "FILTER": (retagged(0x7FFFFFFF), "has DT_FILTER, "),
    "RELR": (retagged(36), "has DT_0x24, "),
    "needed": (retagged(1), "needs the libraries ['libnet.so."),
    "flags twice": (retagged(0x6FFFFFFB), "the dynamic tag 0x6ffffffb twice"),
    "flags": (lambda b: pack_into("<Q", b, tag(b, FLAGS) + 8, 12), "has the flags 0xc in the dynamic tag 0x1e"),
    "stack": (patched(lambda b: segment(b, STACK), 4, "<I", 7), "asks for a stack that can be executed"),
    "no stack": (patched(lambda b: segment(b, STACK), 0, "<I", 4), "asks for a stack that can be executed"),
    "thread-local data": (patched(lambda b: segment(b, STACK), 0, "<I", TLS), "has a segment of kind 0x7"),
    "code that can be written": (patched(lambda b: segment(b, LOAD, 1), 4, "<I", 7), "has code that can be written"),
    "data that stays writable": (patched(lambda b: segment(b, RELRO), 40, "<Q", 16), "has writable data"),
    "data without a file": (patched(writable, 40, "<Q", 1 << 20), "has memory that is not in the file"),
    "another order": (patched(writable, 16, "<Q", 0), "it has segments that overlap"),
    "longer than the file": (patched(lambda b: segment(b, LOAD, 1), 32, "<Q", 1 << 30), "longer than the file"),
    "a relocation that copies": (patched(relocation, 8, "<Q", 5), "has a relocation of type 5"),
    "a relocation that asks": (patched(relocation, 8, "<Q", 37), "chooses by code of its own"),
    "a relocation elsewhere": (patched(relocation, 0, "<Q", 1 << 40), "outside of its own writable segment"),
    "a relocation into code": (patched(relocation, 0, "<Q", 0x1000), "outside of its own writable segment"),
    "an unknown symbol": (patched(relocation, 8, "<Q", 77 << 32 | 1), "that it neither defines nor names"),
    "no shared library": (lambda b: pack_into("<H", b, 16, 2), "is not an ELF library: it is of type 2"),
    "another machine": (lambda b: pack_into("<H", b, 18, 8), "for machine 8"),
    "big-endian": (lambda b: pack_into("<B", b, 5, 2), "does not begin as a little-endian"),
    "no dynamic table": (patched(lambda b: segment(b, DYNAMIC), 0, "<I", 4), "it has 0 dynamic tables"),
}


@pytest.mark.parametrize("change", CHANGES)
def test_what_a_loader_would_do(library: bytearray, change: str) -> None:
    make, message = CHANGES[change]
    make(library)
    assert any(message in fault for fault in loading_faults(bytes(library), SYMBOLS, may_choose=False))


@pytest.mark.parametrize("target", TARGETS)
def test_any_bytes(artifacts: Artifacts, target: str) -> None:
    """What is not read is said to be no library, quickly, and never ends in another exception."""
    whole = np.frombuffer(image(artifacts, target), np.uint8)
    random = np.random.default_rng(0)
    tables = min(len(whole), 2048)
    for _ in range(400):
        found = whole.copy()
        for _ in range(random.integers(1, 4)):
            found[random.integers(tables)] = random.choice([0, 1, 0x7F, 0xFF, random.integers(256)])
        end = random.choice([len(whole), random.integers(len(whole))])
        loading_faults(found.tobytes()[:end], SYMBOLS, may_choose=True)
    for short in range(70):
        assert loading_faults(whole[:short].tobytes(), SYMBOLS, may_choose=True)


def test_a_library_of_the_system() -> None:
    """It is read, whatever it has that no exported library does."""
    import _ctypes

    place = Path(_ctypes.__file__)
    if place.suffix != ".so":
        pytest.skip("no extension module here")
    found = SharedLibrary(place.read_bytes())
    assert "PyInit__ctypes" in found.exports
    assert any(name.startswith("libc.so") for name in found.libraries)
    assert "PyErr_SetString" in found.needs or "PyErr_Format" in found.needs
    assert any("DT_INIT" in fault for fault in found.faults)
