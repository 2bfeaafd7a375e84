"""`NAME_integrity` as LLVM IR: the CRC-32 of the bytes of the model, as they lie in memory, against a stated one.

The bytes are those of the ranges in a record, each by its distance from the record. The code has no table.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Mapping
from typing import Any

from numpy.typing import NDArray

from kdpinn_edge.export.targets.interface import Interface

MAGIC = bytes.fromhex("e3b65a7c91d2084f")
"""What the record begins with, by which it is found in an artifact."""

ROOM = 10
"""How many ranges a record has room for: the weights of three functions, each in three arrays, and the domain box."""

HEAD = struct.Struct("<8sI")
RANGE = struct.Struct("<iI")
"""The magic number and the CRC; for each range the distance of its first byte from the record, and its size."""

CODE = """
@{record} = internal externally_initialized constant {{[8 x i8], i32, [{room} x [2 x i32]]}} {{
  [8 x i8] c"{magic}", i32 {crc}, [{room} x [2 x i32]] [{ranges}]}}, align 8{section_of_record}

define i32 @"{symbol}"() {attributes}{section} {{
entry:
  %record = ptrtoint ptr @{record} to {address}
  br label %range
range:
  %r = phi i32 [0, %entry], [%r_next, %next]
  %crc = phi i32 [-1, %entry], [%crc_r, %next]
  %distance_at = getelementptr {{[8 x i8], i32, [{room} x [2 x i32]]}}, ptr @{record}, i32 0, i32 2, i32 %r, i32 0
  %size_at = getelementptr i32, ptr %distance_at, i32 1
  %distance = load i32, ptr %distance_at
  %size = load i32, ptr %size_at
  %far = {widen}
  %begin = add {address} %record, %far
  %first = inttoptr {address} %begin to ptr
  %none = icmp eq i32 %size, 0
  br i1 %none, label %next, label %byte
byte:
  %i = phi i32 [0, %range], [%i_next, %read]
  %crc_i = phi i32 [%crc, %range], [%crc_b, %read]
  %at = getelementptr i8, ptr %first, i32 %i
  %found = load i8, ptr %at
  %wide = zext i8 %found to i32
  %mixed = xor i32 %crc_i, %wide
  br label %bit
bit:
  %b = phi i32 [8, %byte], [%b_next, %bit]
  %c = phi i32 [%mixed, %byte], [%crc_b, %bit]
  %low = and i32 %c, 1
  %mask = sub i32 0, %low
  %term = and i32 %mask, u0xedb88320
  %half = lshr i32 %c, 1
  %crc_b = xor i32 %half, %term
  %b_next = sub i32 %b, 1
  %more_bits = icmp ne i32 %b_next, 0
  br i1 %more_bits, label %bit, label %read
read:
  %i_next = add i32 %i, 1
  %more_bytes = icmp ne i32 %i_next, %size
  br i1 %more_bytes, label %byte, label %next
next:
  %crc_r = phi i32 [%crc, %range], [%crc_b, %read]
  %r_next = add i32 %r, 1
  %more_ranges = icmp ne i32 %r_next, {room}
  br i1 %more_ranges, label %range, label %compare
compare:
  %crc_at = getelementptr {{[8 x i8], i32, [{room} x [2 x i32]]}}, ptr @{record}, i32 0, i32 1
  %stated = load i32, ptr %crc_at
  %inverse = xor i32 %stated, -1
  %differs = icmp ne i32 %crc_r, %inverse
  %result = zext i1 %differs to i32
  ret i32 %result
}}
"""
RECORD = "kdpinn_ranges"


def integrity(interface: Interface, arrays: Mapping[str, NDArray[Any]], attributes: str) -> str:
    """The function and its record, which states the CRC of `arrays`, constants of the same module, by their symbols.

    What is linked here gets another record afterwards (`artifacts/integrity.py`). Where an object has no distances
    between symbols, the record has no range until then.
    """
    target = interface.target
    here = target.artifact in ("elf", "archive")
    covered = arrays if here else {}
    address = f"i{target.pointer_bits}"

    def distance(symbol: str) -> str:
        ends = (f"{address} ptrtoint (ptr @{each} to {address})" for each in (symbol, RECORD))
        difference = f"sub ({', '.join(ends)})"
        return difference if target.pointer_bits == 32 else f"trunc ({address} {difference} to i32)"

    ranges = [f"[2 x i32] [i32 {distance(symbol)}, i32 {array.nbytes}]" for symbol, array in covered.items()]
    ranges += ["[2 x i32] zeroinitializer"] * (ROOM - len(ranges))
    symbol = interface.symbol("integrity")
    in_archive = target.artifact == "archive"
    return CODE.format(
        record=RECORD,
        room=ROOM,
        magic="".join(f"\\{byte:02x}" for byte in MAGIC),
        crc=zlib.crc32(b"".join(array.tobytes() for array in covered.values())),
        ranges=", ".join(ranges),
        symbol=symbol,
        address=address,
        attributes=attributes,
        widen="add i32 %distance, 0" if target.pointer_bits == 32 else "sext i32 %distance to i64",
        section=f' section ".text.{symbol}"' if in_archive else "",
        section_of_record=f', section ".rodata.{RECORD}"' if in_archive else "",
    )
