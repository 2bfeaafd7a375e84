"""What the loader of Linux does with an ELF library, read from its bytes alone: nothing is loaded.

The loader reads segments, the dynamic table, symbols and relocations; sections, which it never sees, are not read here
either. Structures: "System V Application Binary Interface", chapters 4 and 5 (gabi), and <elf.h> of glibc.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from struct import Struct

from kdpinn_edge.bundle.section import inside_the_file

PAGE = 4096
LITTLE_ENDIAN, SHARED_LIBRARY = 1, 3
LOAD, DYNAMIC, STACK, RELRO = 1, 2, 0x6474E551, 0x6474E552
SEGMENTS = {
    LOAD: "LOAD",
    DYNAMIC: "DYNAMIC",
    STACK: "GNU_STACK",
    RELRO: "GNU_RELRO",
    4: "NOTE",
    6: "PHDR",
    0x6474E550: "GNU_EH_FRAME",
    0x6474E553: "GNU_PROPERTY",
    0x70000001: "ARM_EXIDX",
    0x70000003: "ATTRIBUTES",
}
"""The kinds of segments that a library may have. TLS and INTERP are none of them."""
EXECUTABLE, WRITABLE = 1, 2
MOST_PADDING = 1 << 16
"""The largest page of a target: how far a writable segment may go on in memory behind its bytes in the file."""

NEEDED, STRTAB, SYMTAB, STRSZ, SONAME, HASH, GNU_HASH = 1, 5, 6, 10, 14, 4, 0x6FFFFEF5
FLAGS, FLAGS_1 = 30, 0x6FFFFFFB
TABLES = ((7, 8, True), (17, 18, False), (23, 2, None))
"""Tags with the place and the size of each table of relocations, and whether they have addends; JMPREL: see PLTREL."""
PLTREL, RELA = 20, 7
ALLOWED_FLAGS = {FLAGS: 0x2 | 0x8, FLAGS_1: 0x1}  # SYMBOLIC, BIND_NOW; NOW
ALLOWED = frozenset(
    {0, NEEDED, HASH, GNU_HASH, STRTAB, SYMTAB, STRSZ, 11, FLAGS, FLAGS_1, PLTREL}
    | {14, 16, 24, 3, 9, 19, 0x6FFFFFF9, 0x6FFFFFFA}  # SONAME, SYMBOLIC, BIND_NOW, PLTGOT, sizes and counts
    | {0x6FFFFFF0, 0x6FFFFFFC, 0x6FFFFFFD}  # VERSYM, VERDEF, VERDEFNUM
    | {tag for place, size, _ in TABLES for tag in (place, size)}
)
"""The tags that only say where something is. NEEDED is judged by its names."""
ALLOWED_BY_MACHINE = {183: {0x70000001, 0x70000003}}  # AArch64: BTI_PLT, PAC_PLT
"""Tags of a machine that only say how its code is guarded."""
RUNS = {
    12: "INIT",
    13: "FINI",
    25: "INIT_ARRAY",
    26: "FINI_ARRAY",
    32: "PREINIT_ARRAY",
    22: "TEXTREL",
    15: "RPATH",
    29: "RUNPATH",
    0x7FFFFFFD: "AUXILIARY",
    0x7FFFFFFF: "FILTER",
    0x6FFFFEFC: "AUDIT",
}
"""Names for messages: tags by which a library runs code when it is loaded, or has others loaded."""

SET, INDIRECT = "sets an address", "asks a function for an address"
RELOCATIONS: Mapping[int, Mapping[int, str]] = {
    3: {1: SET, 6: SET, 7: SET, 8: SET, 42: INDIRECT},
    40: {2: SET, 21: SET, 22: SET, 23: SET, 160: INDIRECT},
    62: {1: SET, 6: SET, 7: SET, 8: SET, 37: INDIRECT},
    183: {257: SET, 1025: SET, 1026: SET, 1027: SET, 1032: INDIRECT},
    243: {1: SET, 2: SET, 3: SET, 5: SET, 58: INDIRECT},
}
"""For each machine the relocations that store an address: absolute, GLOB_DAT, JUMP_SLOT, RELATIVE; and IRELATIVE."""
INDIRECT_FUNCTION = 10
UNDEFINED, ABSOLUTE = 0, 0xFFF1
"""Sections of symbols that stand for no place in the library."""


@dataclass(frozen=True)
class Segment:
    """A part of the file, and where it lies in memory."""

    kind: int
    flags: int
    offset: int
    address: int
    in_file: int
    in_memory: int

    def holds(self, address: int, size: int) -> bool:
        """Whether so many bytes from `address` are in this part of memory."""
        return self.address <= address and address + size <= self.address + self.in_memory


@dataclass(frozen=True)
class Symbol:
    """A name in the dynamic table. `is_indirect`: the loader calls a function to find out what it stands for."""

    name: str
    is_defined: bool
    is_indirect: bool

    @property
    def is_known(self) -> bool:
        """Whether it is in the library, or at least has a name, by which the loader looks for it elsewhere."""
        return self.is_defined or self.name != ""


class SharedLibrary:
    """An ELF library, by what its loader reads: `exports` and `needs` are names of symbols, `libraries` of files.
    `linked_as` is the name that a program keeps which is linked with it; "none" where it has none.

    `faults` says what the loader would do beyond mapping the file and storing addresses in memory that it then
    protects. Raises ValueError for bytes that are no such library.
    """

    def __init__(self, image: bytes) -> None:
        self._image = image
        with inside_the_file():
            self._read()

    def _read(self) -> None:
        image = self._image
        if image[:4] != b"\x7fELF" or image[5] != LITTLE_ENDIAN or image[4] not in (1, 2):
            raise ValueError("it does not begin as a little-endian ELF file does")
        self._is_wide = image[4] == 2
        header = Struct("<HHIQQQIHHH" if self._is_wide else "<HHIIIIIHHH").unpack_from(image, 16)
        kind, self.machine, _, _, at, _, _, _, size, count = header
        if kind != SHARED_LIBRARY or self.machine not in RELOCATIONS:
            raise ValueError(f"it is of type {kind} for machine {self.machine}; expected: a shared library of a target")
        self.segments = [self._segment(at + i * size) for i in range(count)]
        self._check_layout()
        self.faults = list(self._segment_faults())
        self._table = self._dynamic_table()
        self._symbols = list(self._all_symbols())
        named = [symbol for symbol in self._symbols if symbol.name]
        self.linked_as = self._text(self._one(SONAME)) if SONAME in self._table else "none"
        self.exports = {symbol.name for symbol in named if symbol.is_defined}
        self.needs = {symbol.name for symbol in named if not symbol.is_defined}
        self.libraries = {self._text(at) for at in self._table.get(NEEDED, [])}
        self.indirect = {symbol.name for symbol in named if symbol.is_indirect}
        self.faults += [*self._dynamic_faults(), *sorted(set(self._relocation_faults()))]

    def _segment(self, at: int) -> Segment:
        if self._is_wide:
            kind, flags, offset, address, _, in_file, in_memory = Struct("<IIQQQQQ").unpack_from(self._image, at)
        else:
            kind, offset, address, _, in_file, in_memory, flags = Struct("<7I").unpack_from(self._image, at)
        return Segment(kind, flags, offset, address, in_file, in_memory)

    def _of_kind(self, kind: int) -> list[Segment]:
        return [segment for segment in self.segments if segment.kind == kind]

    def _check_layout(self) -> None:
        """Raise ValueError unless the segments are in the file, and follow each other in memory."""
        end = -1
        for segment in self._of_kind(LOAD):
            if segment.offset + segment.in_file > len(self._image) or segment.in_file > segment.in_memory:
                raise ValueError("it has a segment that is longer than the file, or than its memory")
            if (segment.offset - segment.address) % PAGE or segment.address // PAGE <= end:
                raise ValueError("it has segments that overlap, or are not aligned to pages")
            end = (segment.address + max(segment.in_memory, 1) - 1) // PAGE

    def _segment_faults(self) -> Iterator[str]:
        for segment in self.segments:
            if segment.kind not in SEGMENTS:
                yield f"has a segment of kind {segment.kind:#x}; expected: {', '.join(SEGMENTS.values())}"
        stacks = self._of_kind(STACK)
        if len(stacks) != 1 or stacks[0].flags & EXECUTABLE:
            yield "asks for a stack that can be executed"
        for segment in self._of_kind(LOAD):
            if segment.in_memory - segment.in_file > (MOST_PADDING if segment.flags & WRITABLE else 0):
                yield "has memory that is not in the file"
            if segment.flags & WRITABLE:
                yield from self._writable_faults(segment)

    def _writable_faults(self, segment: Segment) -> Iterator[str]:
        if segment.flags & EXECUTABLE:
            yield "has code that can be written"
        protected = self._of_kind(RELRO)
        covers = len(protected) == 1 and protected[0].holds(segment.address, segment.in_memory)
        if not covers or (protected[0].address + protected[0].in_memory) % PAGE:
            yield "has writable data, beyond what the loader fills in and then protects (PT_GNU_RELRO)"

    def _dynamic_table(self) -> dict[int, list[int]]:
        tables = self._of_kind(DYNAMIC)
        if len(tables) != 1:
            raise ValueError(f"it has {len(tables)} dynamic tables; expected: 1")
        entry = Struct("<qQ" if self._is_wide else "<iI")
        found: dict[int, list[int]] = {}
        at = self._offset(tables[0].address, tables[0].in_file)
        for tag, value in entry.iter_unpack(self._image[at : at + tables[0].in_file // entry.size * entry.size]):
            if tag == 0:
                break
            found.setdefault(tag, []).append(value)
        return found

    def _offset(self, address: int, size: int = 0) -> int:
        """Where in the file the bytes at `address` in memory are. Raises ValueError where they are not."""
        for segment in self._of_kind(LOAD):
            if segment.address <= address and address + size <= segment.address + segment.in_file:
                return segment.offset + address - segment.address
        raise ValueError(f"it points to {size} bytes at {address:#x}, which are in none of its segments")

    def _one(self, tag: int) -> int:
        return self._table[tag][0]

    def _text(self, at: int) -> str:
        """The text at `at` of the table of names."""
        size = self._one(STRSZ)
        begin = self._offset(self._one(STRTAB), size)
        end = self._image.index(b"\0", begin + at, begin + size)
        return self._image[begin + at : end].decode("ascii")

    def _all_symbols(self) -> Iterator[Symbol]:
        entry = Struct("<IBBHQQ" if self._is_wide else "<IIIBBH")
        count = self._symbol_count()
        at = self._offset(self._one(SYMTAB), count * entry.size)
        for i in range(count):
            fields = entry.unpack_from(self._image, at + i * entry.size)
            name, info, section = (fields[0], fields[1], fields[3]) if self._is_wide else (fields[0], *fields[3::2])
            is_here = section not in (UNDEFINED, ABSOLUTE)
            named = name if section != ABSOLUTE else 0  # what GNU ld defines for each version of symbols
            yield Symbol(self._text(named) if named else "", is_here, info & 0xF == INDIRECT_FUNCTION)

    def _symbol_count(self) -> int:
        """How many symbols there are, by the hash table that the loader uses: the GNU one where there is one."""
        if GNU_HASH not in self._table:
            return int(Struct("<II").unpack_from(self._image, self._offset(self._one(HASH), 8))[1])
        at = self._offset(self._one(GNU_HASH), 16)
        n_buckets, first, n_bloom, _ = Struct("<4I").unpack_from(self._image, at)
        at += 16 + n_bloom * (8 if self._is_wide else 4)
        last = max(Struct(f"<{n_buckets}I").unpack_from(self._image, at), default=0) if n_buckets < PAGE else -1
        if last < first:
            return int(first)
        word, chain = Struct("<I"), at + 4 * n_buckets
        while not word.unpack_from(self._image, chain + 4 * (last - first))[0] & 1:
            last += 1
        return int(last) + 1

    def _dynamic_faults(self) -> Iterator[str]:
        allowed = ALLOWED | ALLOWED_BY_MACHINE.get(self.machine, set())
        for tag, values in self._table.items():
            if tag not in allowed:
                yield f"has DT_{RUNS.get(tag, f'{tag & 0xFFFFFFFF:#x}')}, which no exported library has"
            elif len(values) > 1 and tag != NEEDED:
                yield f"has the dynamic tag {tag:#x} twice"
            elif tag in ALLOWED_FLAGS and values[0] & ~ALLOWED_FLAGS[tag]:
                yield f"has the flags {values[0]:#x} in the dynamic tag {tag:#x}, which no exported library has"

    def _relocation_faults(self) -> Iterator[str]:
        kinds, size = RELOCATIONS[self.machine], 8 if self._is_wide else 4
        for place, kind, index in self._relocations():
            if kind not in kinds:
                yield f"has a relocation of type {kind}, which does more than to set an address"
            elif kinds[kind] is INDIRECT:
                self.indirect.add("a relocation")
            if index and (index >= len(self._symbols) or not self._symbols[index].is_known):
                yield "has a relocation against a symbol that it neither defines nor names"
            if not any(s.flags & WRITABLE and s.holds(place, size) for s in self._of_kind(LOAD)):
                yield "has a relocation outside of its own writable segment"

    def _relocations(self) -> Iterator[tuple[int, int, int]]:
        """The address, the type and the symbol of each."""
        for where, how_long, has_addend in TABLES:
            if where not in self._table:
                continue
            added = self._one(PLTREL) == RELA if has_addend is None else has_addend
            entry = Struct(("<QQ" if self._is_wide else "<II") + ("q" if self._is_wide else "i") * added)
            size = self._one(how_long) // entry.size * entry.size
            at = self._offset(self._one(where), size)
            for place, info, *_ in entry.iter_unpack(self._image[at : at + size]):
                yield (place, info & 0xFFFFFFFF, info >> 32) if self._is_wide else (place, info & 0xFF, info >> 8)
