"""The record of `NAME_integrity` in an artifact that is linked: which of its bytes are the same in every process."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from io import BytesIO

from elftools.elf.constants import SH_FLAGS
from elftools.elf.elffile import ELFFile

from kdpinn_edge.bundle.macho import MachLibrary
from kdpinn_edge.bundle.manifest import Artifact
from kdpinn_edge.bundle.pe import PeLibrary
from kdpinn_edge.bundle.section import Section
from kdpinn_edge.errors import ExportError
from kdpinn_edge.export.artifacts.code_signature import signed_again
from kdpinn_edge.export.artifacts.webassembly import segments
from kdpinn_edge.export.targets.integrity import HEAD, MAGIC, RANGE, ROOM
from kdpinn_edge.export.targets.interface import Interface


@dataclass(frozen=True)
class Part:
    """`size` bytes that lie at `offset` in the file and at `address` in memory, the same in both."""

    address: int
    offset: int
    size: int

    def without(self, begin: int, end: int) -> list[Part]:
        """What is left of it outside of the addresses from `begin` to before `end`."""
        before = min(max(begin - self.address, 0), self.size)
        after = min(max(end - self.address, 0), self.size)
        if before >= after:
            return [self]
        behind = Part(self.address + after, self.offset + after, self.size - after)
        return [part for part in (Part(self.address, self.offset, before), behind) if part.size]


def with_record(image: bytes, interface: Interface) -> bytes:
    """`image` with the record of the ranges that it has.

    Every constant and, but in WebAssembly, all code is in one: what the loader reads and never writes, apart from the
    record. Raises ExportError where there is no record, or more than one.
    """
    name, artifact = interface.library, interface.target.artifact
    if image.count(MAGIC) != 1:
        raise ExportError(f"{name} has {image.count(MAGIC)} records of its ranges; expected: one")
    at = image.index(MAGIC)
    parts, written = READ[artifact](image)
    home = next((part for part in parts if part.offset <= at < part.offset + part.size), None)
    if home is None:
        raise ExportError(f"{name} has the record of its ranges where a loader writes; expected: among the constants")
    record, size = home.address + at - home.offset, HEAD.size + ROOM * RANGE.size
    for begin, end in _joined([(record, record + size), *written], ROOM - len(parts)):
        parts = [left for part in parts for left in part.without(begin, end)]
    crc = zlib.crc32(b"".join(image[part.offset : part.offset + part.size] for part in parts))
    ranges = b"".join(RANGE.pack(part.address - record, part.size) for part in parts)
    filled = HEAD.pack(MAGIC, crc) + ranges + bytes(size - HEAD.size - len(ranges))
    image = image[:at] + filled + image[at + size :]
    if artifact != "dylib":
        return image
    signature = MachLibrary(image).signature
    return image if signature is None else signed_again(image, signature)


def _joined(holes: Iterable[tuple[int, int]], most: int) -> list[tuple[int, int]]:
    """The holes in order; those with the least between them are one, until there are no more than `most`."""
    found = sorted(holes)
    while len(found) > max(most, 1):
        i = min(range(len(found) - 1), key=lambda i: found[i + 1][0] - found[i][1])
        found[i : i + 2] = [(found[i][0], max(found[i][1], found[i + 1][1]))]
    return found


Contents = tuple[list[Part], list[tuple[int, int]]]
"""The parts of an image that are mapped and not writable, and the addresses in them where the loader writes."""


def _merged(parts: Iterable[Part]) -> list[Part]:
    """The parts in order; those that lie one behind the other in file and memory alike are one."""
    found: list[Part] = []
    for part in sorted(parts, key=lambda part: part.address):
        gap = part.address - (found[-1].address + found[-1].size) if found else -1
        if found and 0 <= gap < 64 and part.offset - part.address == found[-1].offset - found[-1].address:
            found[-1] = Part(found[-1].address, found[-1].offset, found[-1].size + gap + part.size)
        else:
            found.append(part)
    return found


def _elf(image: bytes) -> Contents:
    sections = ELFFile(BytesIO(image)).iter_sections()
    kept = (s for s in sections if s["sh_flags"] & SH_FLAGS.SHF_ALLOC and not s["sh_flags"] & SH_FLAGS.SHF_WRITE)
    return _merged(Part(s["sh_addr"], s["sh_offset"], s["sh_size"]) for s in kept if s["sh_size"]), []


def _dylib(image: bytes) -> Contents:
    """Mach-O, where the loader writes in other segments than that of the code and its constants."""
    sections = (part for name, part in MachLibrary(image).sections.items() if name.startswith("__TEXT,"))
    return _merged(_part(section) for section in sections if section.in_file), []


def _dll(image: bytes) -> Contents:
    """PE, where addresses in the constants are relocated, and those of imported functions are filled in."""
    library = PeLibrary(image)
    sections = (library.sections[name] for name in (".text", ".rdata"))
    return [_part(section) for section in sections], [(address, address + 8) for address in library.relocated]


def _part(section: Section) -> Part:
    return Part(section.address, section.offset, section.in_file)


def _wasm(image: bytes) -> Contents:
    return [Part(*segment) for segment in segments(image)], []


READ: Mapping[Artifact, Callable[[bytes], Contents]] = {"elf": _elf, "dylib": _dylib, "dll": _dll, "wasm": _wasm}
