"""The bytes of an artifact at the addresses where an emulated processor runs them."""

from __future__ import annotations

from io import BytesIO

from elftools.elf.constants import SH_FLAGS
from elftools.elf.elffile import ELFFile

from kdpinn_edge.bundle.macho import MachLibrary
from kdpinn_edge.errors import ExportError
from kdpinn_edge.export.artifacts.archive import MAGIC, only_member
from kdpinn_edge.export.artifacts.gnu import compiler, missing
from kdpinn_edge.export.targets.table import Target

CODE = 0x10_0000
"""Where the artifact lies."""

ELF = b"\x7fELF"
ARM_ABS32, ARM_REL32, ARM_THM_CALL, ARM_THM_JUMP24, ARM_THM_MOVW_ABS, ARM_THM_MOVT_ABS = 2, 3, 10, 30, 47, 48
"""Relocations of an object for Arm."""

Parts = list[tuple[int, bytes]]


def image(artifact: bytes, target: Target) -> tuple[Parts, dict[str, int]]:
    """The bytes of a library, an object or an archive of one at the addresses where they run; those of its functions.

    Raises ExportError where it cannot be read, or there is no compiler to link it with its soft-float helpers.
    """
    if artifact.startswith(MAGIC):
        artifact = only_member(artifact)
    if not artifact.startswith(ELF):
        return _mach_o(artifact)
    if target.lacks_floats:
        return _linked(artifact, target)
    file = ELFFile(BytesIO(artifact))
    if file["e_type"] == "ET_REL":
        return _relocated(file)
    loaded = (segment for segment in file.iter_segments("PT_LOAD"))
    parts = [(CODE + segment["p_vaddr"], segment.data()) for segment in loaded]
    return parts, {s.name: CODE + s["st_value"] for s in file.get_section_by_name(".dynsym").iter_symbols()}


def _linked(object_code: bytes, target: Target) -> tuple[Parts, dict[str, int]]:
    found = compiler(target)
    if found is None:
        raise ExportError(f"{target.name} cannot be emulated: {missing(target)}")
    file = ELFFile(BytesIO(found.linked(object_code, CODE)))
    parts = [(section["sh_addr"], section.data()) for section in file.iter_sections() if section["sh_addr"]]
    return parts, {s.name: s["st_value"] for s in file.get_section_by_name(".symtab").iter_symbols()}


def _mach_o(artifact: bytes) -> tuple[Parts, dict[str, int]]:
    try:
        library = MachLibrary(artifact)
    except ValueError as error:
        raise ExportError(f"the emulator cannot read the artifact ({error}); expected: ELF or Mach-O") from error
    segments = [segment for segment in library.segments.values() if segment.in_file]
    parts = [(CODE + s.address, artifact[s.offset : s.offset + s.in_file]) for s in segments]
    return parts, {name: CODE + address for name, address in library.exports.items()}


def _relocated(file: ELFFile) -> tuple[Parts, dict[str, int]]:
    """The sections of an object one behind the other, with the addresses that they contain filled in."""
    contents: dict[int, bytearray] = {}
    places: dict[int, int] = {}
    end = CODE
    for i, section in enumerate(file.iter_sections()):
        if section["sh_flags"] & SH_FLAGS.SHF_ALLOC and section["sh_type"] == "SHT_PROGBITS":
            places[i] = -(-end // 64) * 64
            contents[i] = bytearray(section.data())
            end = places[i] + len(contents[i])
    table = file.get_section_by_name(".symtab")
    for relocations in file.iter_sections("SHT_REL"):
        for each in relocations.iter_relocations() if relocations["sh_info"] in contents else ():
            symbol = table.get_symbol(each["r_info_sym"])
            address = places[symbol["st_shndx"]] + symbol["st_value"]
            patched = relocations["sh_info"]
            place = places[patched] + each["r_offset"]
            _relocate(contents[patched], each["r_offset"], each["r_info_type"], address, place)
    parts = [(places[i], bytes(contents[i])) for i in contents]
    functions = (s for s in table.iter_symbols() if s["st_info"]["type"] == "STT_FUNC")
    return parts, {s.name: places[s["st_shndx"]] + s["st_value"] for s in functions}


def _relocate(code: bytearray, at: int, kind: int, address: int, place: int) -> None:
    """Add `address` to what `code` has at a place: to a word, to half of one in a Thumb instruction, or to a branch.

    `place` is the address of that place itself, which a branch and a distance are relative to. What half of a word has
    is a number of 16 bits with a sign.

    ELF for the Arm Architecture, 5.6 Relocation: R_ARM_ABS32, R_ARM_REL32, R_ARM_THM_MOVW_ABS_NC, R_ARM_THM_MOVT_ABS,
    R_ARM_THM_CALL, R_ARM_THM_JUMP24.
    """
    first, second = (int.from_bytes(code[i : i + 2], "little") for i in (at, at + 2))
    if kind in (ARM_ABS32, ARM_REL32):
        word = first + (second << 16) + address - (place if kind == ARM_REL32 else 0)
        code[at : at + 4] = (word & 0xFFFFFFFF).to_bytes(4, "little")
        return
    if kind in (ARM_THM_MOVW_ABS, ARM_THM_MOVT_ABS):
        addend = (first & 0xF) << 12 | (first >> 10 & 1) << 11 | (second >> 12 & 7) << 8 | second & 0xFF
        addend -= (addend & 0x8000) << 1
        value = addend + address >> (16 if kind == ARM_THM_MOVT_ABS else 0)
        first = first & 0xFBF0 | value >> 12 & 0xF | (value >> 11 & 1) << 10
        second = second & 0x8F00 | (value >> 8 & 7) << 12 | value & 0xFF
    elif kind in (ARM_THM_CALL, ARM_THM_JUMP24):
        sign = first >> 10 & 1
        upper = [(second >> bit & 1) ^ sign ^ 1 for bit in (13, 11)]
        addend = upper[0] << 23 | upper[1] << 22 | (first & 0x3FF) << 12 | (second & 0x7FF) << 1
        distance = addend - (sign << 24) + (address & ~1) - place
        sign = int(distance < 0)
        first = first & 0xF800 | sign << 10 | distance >> 12 & 0x3FF
        j1, j2 = ((distance >> bit & 1) ^ sign ^ 1 for bit in (23, 22))
        second = second & 0xD000 | j1 << 13 | j2 << 11 | distance >> 1 & 0x7FF
    else:
        raise ExportError(f"the emulator does not know the relocation {kind} of the artifact")
    code[at : at + 4] = first.to_bytes(2, "little") + second.to_bytes(2, "little")
