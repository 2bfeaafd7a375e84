"""What the loader of Windows does with a PE library for x86-64, read from its bytes alone: nothing is loaded.

Structures: Microsoft, "PE Format" and "x64 exception handling".
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from struct import Struct

from kdpinn_edge.bundle.section import Section, inside_the_file

PAGE, SECTOR = 4096, 512
X86_64, PE32_PLUS, LIBRARY = 0x8664, 0x20B, 0x2002
EXPORTS, IMPORTS, EXCEPTIONS, RELOCATIONS = 0, 1, 3, 5
ALLOWED = frozenset({EXPORTS, IMPORTS, EXCEPTIONS, RELOCATIONS, 6, 12})
"""The directories that a library may have: also that for debuggers, and where the addresses of its imports are."""
DIRECTORIES = {2: "resources", 9: "thread-local storage", 10: "a load configuration", 13: "delayed imports", 14: ".NET"}
"""Names for messages: directories by which a library runs code when it is loaded, or has others loaded."""
CHARACTERISTICS = 0x20 | 0x40 | 0x100 | 0x400 | 0x8000
"""HIGH_ENTROPY_VA, DYNAMIC_BASE, NX_COMPAT, NO_SEH, TERMINAL_SERVER_AWARE: none of them asks for anything."""
EXECUTABLE, CODE, CONSTANTS, DISCARDABLE = 0x20000000, 0x60000020, 0x40000040, 0x02000000
PADDING, ADDRESS = 0, 10
"""Types of relocations: none, and a whole address (DIR64)."""
MOST_LIBRARIES, LONGEST_NAME = 16, 1024
HANDLERS = 1 | 2
"""Flags of unwind information by which code runs when an exception passes."""


class PeLibrary:
    """A PE library, by what its loader reads: `needs` are names of symbols, `libraries` of files.

    `exports` has the address of every symbol, `sections` the parts by their names; `relocated` are the addresses where
    the loader writes, `frames` the functions that exceptions and debuggers find their way out of, from the first byte
    to behind the last. `faults` says what the loader would do beyond mapping the file, storing addresses among the
    constants, and looking up what the library needs. Raises ValueError for bytes that are no such library.
    """

    indirect: frozenset[str] = frozenset()

    def __init__(self, image: bytes) -> None:
        self._image = image
        with inside_the_file():
            self._read()

    def _read(self) -> None:
        image = self._image
        (at,) = Struct("<I").unpack_from(image, 60)
        if image[:2] != b"MZ" or image[at : at + 4] != b"PE\0\0":
            raise ValueError("it does not begin as a PE file does")
        machine, count, _, _, _, size, kind = Struct("<HHIIIHH").unpack_from(image, at + 4)
        optional = at + 24
        (magic,) = Struct("<H").unpack_from(image, optional)
        if machine != X86_64 or magic != PE32_PLUS or kind & LIBRARY != LIBRARY:
            raise ValueError(f"it is of kind {kind:#x} for machine {machine:#x}; expected: a DLL for x86-64")
        (entry,), (asked,) = (
            Struct("<I").unpack_from(image, optional + 16),
            Struct("<H").unpack_from(image, optional + 70),
        )
        aligned, (n_directories,) = (
            Struct("<II").unpack_from(image, optional + 32),
            Struct("<I").unpack_from(image, optional + 108),
        )
        if aligned != (PAGE, SECTOR):
            raise ValueError(
                f"it is aligned to {aligned[0]} bytes in memory and {aligned[1]} in the file; expected: 4096, 512"
            )
        pairs = Struct("<II").iter_unpack(image[optional + 112 : optional + 112 + 8 * min(n_directories, 16)])
        self._directories = list(pairs) + [(0, 0)] * 16
        self.sections = dict(self._sections(optional + size, count))
        self._parts = list(self.sections.values())
        self._check_layout(count)
        self.relocated: list[int] = []
        self.libraries: set[str] = set()
        self.needs: set[str] = set()
        self.faults = ["has an entry point, which the loader calls"] if entry else []
        if asked & ~CHARACTERISTICS:
            self.faults.append(f"asks for what no exported library does (DllCharacteristics {asked:#x})")
        self.faults += self._section_faults()
        self.faults += self._directory_faults()
        self._read_exports()
        self.frames = list(self._frames())
        self.faults += sorted({*self._import_faults(), *self._relocation_faults(), *self._frame_faults()})

    def _sections(self, at: int, count: int) -> Iterator[tuple[str, Section]]:
        entry = Struct("<8sIIIIIIHHI")
        for i in range(count):
            name, in_memory, address, in_file, offset, *_, flags = entry.unpack_from(self._image, at + i * entry.size)
            if offset + in_file > len(self._image) or in_memory > in_file:
                raise ValueError("it has a section that is longer than the file, or than its bytes in the file")
            yield name.rstrip(b"\0").decode("ascii"), Section(address, in_memory, offset, in_memory, flags)

    def _check_layout(self, count: int) -> None:
        """Raise ValueError unless the sections are in the file, and follow each other in memory."""
        if len(self._parts) != count:
            raise ValueError("it has two sections of one name")
        for section in self._parts:
            if section.address % PAGE or section.offset % SECTOR or not section.in_memory:
                raise ValueError("it has a section that is empty, or not aligned")
        if any(a.address + a.in_memory > b.address for a, b in pairwise(self._parts)):
            raise ValueError("it has sections that overlap")

    def _section_faults(self) -> Iterator[str]:
        for name, section in self.sections.items():
            if section.flags & ~DISCARDABLE not in (CODE, CONSTANTS):
                yield f"has the section {name} with the flags {section.flags:#x}; expected: code, or constants"

    def _directory_faults(self) -> Iterator[str]:
        for i, (address, size) in enumerate(self._directories):
            if (address or size) and i not in ALLOWED:
                yield f"has {DIRECTORIES.get(i, f'the directory {i}')}, which no exported library has"

    def _offset(self, address: int, size: int) -> int:
        """Where in the file the bytes at `address` in memory are. Raises ValueError where they are not."""
        for section in self._parts:
            if section.holds(address, size):
                return section.offset + address - section.address
        raise ValueError(f"it points to {size} bytes at {address:#x}, which are in none of its sections")

    def _text(self, address: int) -> str:
        begin = self._offset(address, 1)
        return self._image[begin : self._image.index(b"\0", begin, begin + LONGEST_NAME)].decode("ascii")

    def _numbers(self, form: str, address: int, count: int) -> list[tuple[int, ...]]:
        """The entries of a table."""
        entry = Struct(form)
        at = self._offset(address, count * entry.size)
        return list(entry.iter_unpack(self._image[at : at + count * entry.size]))

    def _is_code(self, address: int, size: int) -> bool:
        return any(section.flags & EXECUTABLE and section.holds(address, size) for section in self._parts)

    def _is_constant(self, address: int, size: int) -> bool:
        return any(not section.flags & EXECUTABLE and section.holds(address, size) for section in self._parts)

    def _read_exports(self) -> None:
        begin, size = self._directories[EXPORTS]
        if not begin:
            raise ValueError("it exports nothing")
        ((_, _, _, _, name, _, n_functions, n_names, functions, names, ordinals),) = self._numbers(
            "<IIHHIIIIIII", begin, 1
        )
        self.linked_as = self._text(name)
        addresses = [address for (address,) in self._numbers("<I", functions, n_functions)]
        places = zip(self._numbers("<I", names, n_names), self._numbers("<H", ordinals, n_names), strict=True)
        self.exports = {self._text(place): addresses[ordinal] for (place,), (ordinal,) in places}
        if n_functions != len(self.exports):
            self.faults.append("exports functions that have no name, or several")
        for symbol, address in self.exports.items():
            if begin <= address < begin + size:
                self.faults.append(f"passes the calls of {symbol} on to another library")
            elif not self._is_code(address, 1):
                self.faults.append(f"exports {symbol}, which is no function")

    def _import_faults(self) -> Iterator[str]:
        """Read what it needs; where the loader stores the addresses of these, among others in `relocated`."""
        at, _ = self._directories[IMPORTS]
        for _ in range(MOST_LIBRARIES if at else 0):
            ((looked_up, _, _, name, stored),) = self._numbers("<5I", at, 1)
            if not name:
                return
            self.libraries.add(self._text(name))
            yield from self._imports_of(looked_up or stored, stored)
            at += 20
        if at:
            raise ValueError(f"it needs more than {MOST_LIBRARIES} libraries")

    def _imports_of(self, looked_up: int, stored: int) -> Iterator[str]:
        while place := self._numbers("<Q", looked_up, 1)[0][0]:
            self.needs.add(f"number {place & 0xFFFF}" if place >> 63 else self._text(place + 2))
            self.relocated.append(stored)
            if not self._is_constant(stored, 8):
                yield "has an address filled in outside of its constants"
            looked_up, stored = looked_up + 8, stored + 8

    def _relocation_faults(self) -> Iterator[str]:
        at, size = self._directories[RELOCATIONS]
        end = at + size
        while at < end:
            ((page, length),) = self._numbers("<II", at, 1)
            if length < 8:
                raise ValueError("it has a table of relocations without an end")
            for (entry,) in self._numbers("<H", at + 8, (length - 8) // 2):
                kind, address = entry >> 12, page + (entry & 0xFFF)
                if kind == ADDRESS:
                    self.relocated.append(address)
                    if not self._is_constant(address, 8):
                        yield "has a relocation outside of its constants"
                elif kind != PADDING:
                    yield f"has a relocation of type {kind}, which does more than to set an address"
            at += length

    def _frames(self) -> Iterator[tuple[int, int]]:
        address, size = self._directories[EXCEPTIONS]
        for begin, end, _ in self._numbers("<3I", address, size // 12) if size else ():
            yield begin, end

    def _frame_faults(self) -> Iterator[str]:
        address, size = self._directories[EXCEPTIONS]
        for begin, end, place in self._numbers("<3I", address, size // 12) if size else ():
            if not self._is_code(begin, end - begin) or end <= begin:
                yield "has unwind information for what is no code"
            if self._image[self._offset(place, 4)] >> 3 & HANDLERS:
                yield "has code that runs when an exception passes"
        if any(before[1] > after[0] for before, after in pairwise(self.frames)):
            yield "has unwind information that is not in order"
