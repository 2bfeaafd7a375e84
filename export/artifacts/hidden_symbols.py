"""Hidden symbols of an ELF object: a library that it is linked into does not show them."""

from __future__ import annotations

from io import BytesIO

from elftools.elf.elffile import ELFFile

STV_HIDDEN = 2
ST_OTHER = {32: 13, 64: 5}
"""Where the visibility lies in an entry of the symbol table (System V ABI, section "Symbol Table")."""


def with_hidden_symbols(object_code: bytes) -> bytes:
    """The ELF object, with every symbol that it defines for others to be seen within one library or program only."""
    file = ELFFile(BytesIO(object_code))
    table = file.get_section_by_name(".symtab")
    hidden = bytearray(object_code)
    for i, symbol in enumerate(table.iter_symbols()):
        if symbol["st_info"]["bind"] != "STB_LOCAL" and symbol["st_shndx"] != "SHN_UNDEF":
            hidden[table["sh_offset"] + i * table["sh_entsize"] + ST_OTHER[file.elfclass]] = STV_HIDDEN
    return bytes(hidden)
