"""The attributes of an object for 32-bit ARM, by which linkers decide what it may be linked with.

"Addenda to, and Errata in, the ABI for the Arm Architecture", section on build attributes (ARM IHI 0045).
"""

from __future__ import annotations

import struct
from io import BytesIO

from elftools.elf.elffile import ELFFile

from kdpinn_edge.errors import ExportError

SECTION, VENDOR, FILE_SCOPE = ".ARM.attributes", b"aeabi\0", 1
VFP_ARGS, COMPATIBLE = 28, 3
"""Tag_ABI_VFP_args, and its value for code in which no function of an interface is given or returns a float."""


def with_compatible_calls(object_code: bytes) -> bytes:
    """The ELF object, with the statement that it may be linked with code of either calling convention for floats.

    That is true of a model, whose functions are given pointers and integers. Without it the linker takes the object
    for one that passes floats in integer registers, and refuses it beside code for `-mfloat-abi=hard`.
    """
    file = ELFFile(BytesIO(object_code))
    index = file.get_section_index(SECTION)
    found = file.get_section(index).data() if index is not None else b""
    head = struct.Struct(f"<cI{len(VENDOR)}sBI")
    if len(found) < head.size:
        raise ExportError(f"the object has no section {SECTION} that can be read")
    version, size, vendor, scope, scope_size = head.unpack_from(found)
    if (version, vendor, scope) != (b"A", VENDOR, FILE_SCOPE) or not size + 1 == len(
        found
    ) == head.size - 5 + scope_size:
        raise ExportError(f"the object has a section {SECTION} of another form: {found.hex()}")
    tag = bytes([VFP_ARGS, COMPATIBLE])
    attributes = head.pack(version, size + len(tag), vendor, scope, scope_size + len(tag)) + found[head.size :] + tag
    moved = bytearray(object_code + attributes)
    at = file["e_shoff"] + index * file["e_shentsize"]
    offset_and_size = struct.Struct("<II")
    offset_and_size.pack_into(moved, at + 16, len(object_code), len(attributes))
    return bytes(moved)
