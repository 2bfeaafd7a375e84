"""What the loader of macOS does with a Mach-O library for 64 bits, read from its bytes alone: nothing is loaded.

Structures: <mach-o/loader.h> and <mach-o/nlist.h> of xnu. The opcodes of LC_DYLD_INFO_ONLY say what the
loader stores where.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import pairwise
from struct import Struct

from kdpinn_edge.bundle.section import Section, inside_the_file

MAGIC, LIBRARY = 0xFEEDFACF, 6
PAGES = {0x01000007: 4096, 0x0100000C: 16384}
"""The size of a page of each machine: x86-64, arm64."""
FLAGS, TWO_LEVELS = 0x1 | 0x4 | 0x80 | 0x100000, 0x80
"""NOUNDEFS, DYLDLINK, TWOLEVEL, NO_REEXPORTED_DYLIBS; by TWOLEVEL a symbol is looked up in one library alone."""
SEGMENT, ITSELF, NEEDED, SYMBOLS, STORED, SIGNATURE = 0x19, 0xD, 0xC, 0xB, 0x80000022, 0x1D
COMMANDS = frozenset(
    {SEGMENT, ITSELF, NEEDED, SYMBOLS, STORED, SIGNATURE, 0x2, 0xE, 0x1B, 0x24, 0x26, 0x29, 0x2A, 0x2B, 0x32}
)
"""The load commands that a library may have. Those without a name here are not read by the loader of a library, or run
nothing: the table of symbols, the loader of a program, its UUID, versions, where functions begin."""
RUNS = {
    0x1A: "LC_ROUTINES_64",
    0x1F: "LC_REEXPORT_DYLIB",
    0x27: "LC_DYLD_ENVIRONMENT",
    0x80000018: "LC_LOAD_WEAK_DYLIB",
    0x8000001C: "LC_RPATH",
    0x8000001F: "LC_REEXPORT_DYLIB",
    0x80000023: "LC_LOAD_UPWARD_DYLIB",
    0x80000034: "LC_DYLD_CHAINED_FIXUPS",
}
"""Names for messages."""
WRITABLE, EXECUTABLE = 2, 4
SECTIONS: Mapping[str, int] = {
    "__TEXT,__text": 0,
    "__TEXT,__const": 0,
    "__TEXT,__cstring": 2,
    "__TEXT,__literal4": 3,
    "__TEXT,__literal8": 4,
    "__TEXT,__literal16": 14,
    "__TEXT,__stubs": 8,
    "__TEXT,__stub_helper": 0,
    "__TEXT,__unwind_info": 0,
    "__TEXT,__eh_frame": 11,
    "__DATA_CONST,__got": 6,
    "__DATA_CONST,__const": 0,
    "__DATA,__la_symbol_ptr": 7,
    "__DATA,__const": 0,
    "__DATA,__data": 0,
}
"""The sections that a library may have, and the type of each: none for initialisers, thread-local data, Objective-C."""

SYSTEM_LIBRARY, BINDER = "/usr/lib/libSystem.B.dylib", "dyld_stub_binder"
"""What every library needs that is linked for macOS."""
OF_THE_LINKER = frozenset({"__mh_dylib_header", "___dso_handle"})
"""What linkers define in every library."""

LONGEST_NAME = 1024
NUMBERS_OF_BIND: Mapping[int, int] = {0x20: 1, 0x60: 1, 0x70: 1, 0x80: 1, 0xA0: 1, 0xC0: 2}
NUMBERS_OF_REBASE: Mapping[int, int] = {0x20: 1, 0x30: 1, 0x60: 1, 0x70: 1, 0x80: 2}
"""How many numbers follow the opcodes by which addresses of other libraries, and of the library itself, are stored."""
NAME_OF_BIND, TYPE_OF_BIND, PLACE_OF_BIND, LAST_OF_BIND = 0x40, 0x50, 0x70, 0xC0
TYPE_OF_REBASE, PLACE_OF_REBASE, LAST_OF_REBASE = 0x10, 0x20, 0x80
POINTER = 1


class MachLibrary:
    """A Mach-O library, by what its loader reads: `needs` are names of symbols, `libraries` of files.

    What macOS demands of every library, and what linkers define in every one, is left out, and so is the underscore
    before the names of C. `exports` has the address of every symbol, `sections` the parts by the names of segment and
    section, `segments` those that are mapped, `signature` where its code signature begins, or None. `linked_as` is the
    name that a program keeps which is linked with it. `faults` says what the loader would do beyond mapping the file,
    storing addresses in its data, and looking up what the library needs. Raises ValueError for bytes that are no such
    library.
    """

    indirect: frozenset[str] = frozenset()

    def __init__(self, image: bytes) -> None:
        self._image = image
        with inside_the_file():
            self._read()

    def _read(self) -> None:
        magic, machine, _, kind, count, _, flags, _ = Struct("<8I").unpack_from(self._image)
        if magic != MAGIC:
            raise ValueError("it does not begin as a Mach-O file for 64 bits does")
        if kind != LIBRARY or machine not in PAGES:
            raise ValueError(f"it is of type {kind} for machine {machine:#x}; expected: a library for arm64 or x86-64")
        self._page = PAGES[machine]
        self.segments: dict[str, Section] = {}
        self.sections: dict[str, Section] = {}
        self.exports: dict[str, int] = {}
        self.needs: set[str] = set()
        self.libraries: set[str] = set()
        self.linked_as = "none"
        self.signature: int | None = None
        self.faults: list[str] = []
        if flags & ~FLAGS or not flags & TWO_LEVELS:
            self.faults.append(f"has the flags {flags:#x}, which no exported library has")
        stored = [where for command, where in self._commands(count) if command == STORED]
        self._check_layout()
        self.faults += self._segment_faults()
        if len(stored) != 1:
            raise ValueError(f"it says {len(stored)} times what the loader has to store; expected: once")
        if self.signature is None:
            self.faults.append("has no code signature, which arm64 demands")
        self.faults += sorted(set(self._stored_faults(stored[0])))

    def _commands(self, count: int) -> Iterator[tuple[int, int]]:
        """Read the load commands: of each what it is, and where it is."""
        word, at = Struct("<II"), 32
        for _ in range(count):
            command, size = word.unpack_from(self._image, at)
            if size < word.size:
                raise ValueError("it has a load command without an end")
            if command not in COMMANDS:
                self.faults.append(
                    f"has the load command {RUNS.get(command, hex(command))}, which no exported library has"
                )
            elif command == SEGMENT:
                self._read_segment(at)
            elif command == ITSELF:
                self.linked_as = self._named(at)
            elif command == NEEDED:
                self.libraries |= {self._named(at)} - {SYSTEM_LIBRARY}
            elif command == SIGNATURE:
                (self.signature,) = Struct("<I").unpack_from(self._image, at + 8)
            elif command == SYMBOLS and any(Struct("<4I").unpack_from(self._image, at + 64)):
                self.faults.append("has relocations, which no exported library has")
            yield command, at
            at += size

    def _read_segment(self, at: int) -> None:
        segment, section = Struct("<16s4Q4I"), Struct("<16s16s2Q8I")
        name, address, in_memory, offset, in_file, _, protection, count, _ = segment.unpack_from(self._image, at + 8)
        found = Section(address, in_memory, offset, in_file, protection)
        self.segments[_name(name)] = found
        for i in range(count):
            its, owner, address, size, offset, _, _, _, flags, *_ = section.unpack_from(
                self._image, at + 72 + i * section.size
            )
            full = f"{_name(owner)},{_name(its)}"
            self.sections[full] = Section(address, size, offset, size, flags & 0xFF)
            if owner != name or not found.holds(address, size) or offset - address != found.offset - found.address:
                raise ValueError(f"it has the section {full}, which is not where its segment is")

    def _named(self, at: int) -> str:
        """The name of a library in the load command at `at`."""
        (offset,) = Struct("<I").unpack_from(self._image, at + 8)
        return self._text(at + offset)

    def _text(self, at: int) -> str:
        end = self._image.index(b"\0", at)
        if end - at > LONGEST_NAME:
            raise ValueError(f"it has a name of more than {LONGEST_NAME} letters")
        return self._image[at:end].decode("ascii")

    def _check_layout(self) -> None:
        """Raise ValueError unless the segments are in the file, and follow each other in memory."""
        for segment in self.segments.values():
            if segment.offset + segment.in_file > len(self._image) or segment.in_file > segment.in_memory:
                raise ValueError("it has a segment that is longer than the file, or than its memory")
            if segment.address % self._page or segment.offset % self._page:
                raise ValueError("it has a segment that is not aligned to pages")
        if any(a.address + a.in_memory > b.address for a, b in pairwise(self.segments.values())):
            raise ValueError("it has segments that overlap")

    def _segment_faults(self) -> Iterator[str]:
        for name, segment in self.segments.items():
            if segment.in_memory - segment.in_file >= self._page:
                yield "has memory that is not in the file"
            if segment.flags & WRITABLE and segment.flags & EXECUTABLE:
                yield "has code that can be written"
            if segment.flags & EXECUTABLE and name != "__TEXT":
                yield f"has code in {name}"
        for name, section in self.sections.items():
            if SECTIONS.get(name) != section.flags:
                yield f"has the section {name} of type {section.flags:#x}, which no exported library has"

    def _stored_faults(self, at: int) -> Iterator[str]:
        """Read what it exports and needs."""
        fields = Struct("<10I").unpack_from(self._image, at + 8)
        rebase, bind, weak, lazy, exported = (self._stream(*fields[i : i + 2]) for i in range(0, 10, 2))
        if weak:
            yield "has symbols that may be those of another library"
        yield from self._opcode_faults(rebase, NUMBERS_OF_REBASE, TYPE_OF_REBASE, PLACE_OF_REBASE, LAST_OF_REBASE)
        for stream in (bind, lazy):
            yield from self._opcode_faults(stream, NUMBERS_OF_BIND, TYPE_OF_BIND, PLACE_OF_BIND, LAST_OF_BIND)
        yield from self._export_faults(exported)

    def _stream(self, offset: int, size: int) -> bytes:
        if offset + size > len(self._image):
            raise ValueError("it has a table that is longer than the file")
        return self._image[offset : offset + size]

    def _opcode_faults(
        self, stream: bytes, numbers: Mapping[int, int], kind: int, place: int, last: int
    ) -> Iterator[str]:
        """Read the names in a stream of opcodes. `kind` sets the type, `place` the segment, `last` is the highest."""
        segments, at = list(self.segments.values()), 0
        while at < len(stream):
            opcode, operand = stream[at] & 0xF0, stream[at] & 0xF
            at += 1
            if opcode > last:
                raise ValueError(f"it stores addresses by the opcode {opcode:#x}, which is not known")
            if opcode == kind and operand != POINTER:
                yield f"stores something of type {operand}, which is no address"
            if opcode == place and not (operand < len(segments) and segments[operand].flags & WRITABLE):
                yield "stores addresses outside of its own data"
            if opcode == NAME_OF_BIND and numbers is NUMBERS_OF_BIND:
                end = stream.index(b"\0", at)
                self.needs |= {_in_c(stream[at:end].decode("ascii"))} - {BINDER}
                at = end + 1
            for _ in range(numbers.get(opcode, 0)):
                _, at = _number(stream, at)

    def _export_faults(self, trie: bytes) -> Iterator[str]:
        """Read the names of what it exports: a tree of prefixes, whose nodes say where they are."""
        waiting, seen = [(0, "")] if trie else [], set()
        while waiting:
            at, name = waiting.pop()
            if at in seen or len(name) > LONGEST_NAME:
                raise ValueError("its table of exports does not end")
            seen.add(at)
            size, at = _number(trie, at)
            children = at + size
            if size:
                flags, at = _number(trie, at)
                address, _ = _number(trie, at)
                if flags:
                    yield f"exports {name} with the flags {flags:#x}, which no exported library has"
                if name not in OF_THE_LINKER:
                    self.exports[_in_c(name)] = address
            at = children + 1
            for _ in range(trie[children]):
                end = trie.index(b"\0", at)
                child, more = _number(trie, end + 1)
                waiting.append((child, name + trie[at:end].decode("ascii")))
                at = more


def _name(padded: bytes) -> str:
    return padded.rstrip(b"\0").decode("ascii")


def _in_c(symbol: str) -> str:
    return symbol.removeprefix("_")


def _number(data: bytes, at: int) -> tuple[int, int]:
    """A number of seven bits in each byte (ULEB128), and where the next thing is."""
    value = shift = 0
    while True:
        byte = data[at]
        value |= (byte & 0x7F) << shift
        shift, at = shift + 7, at + 1
        if byte < 0x80:
            return value, at
        if shift > 63:
            raise ValueError("it has a number of more than 64 bits")
