"""Sections of a WebAssembly module: https://webassembly.github.io/spec/core/binary/modules.html"""

from __future__ import annotations

IMPORT, EXPORT, CODE, DATA = 2, 7, 10, 11
ACTIVE, I32_CONST = 0, 0x41


def sections(module: bytes) -> dict[int, tuple[int, int]]:
    """For each section by its number where its content begins in the file, and where it ends.

    Raises ValueError where the module is none.
    """
    if module[:8] != b"\0asm\1\0\0\0":
        raise ValueError("it does not begin as WebAssembly 1.0 does")
    found: dict[int, tuple[int, int]] = {}
    at = 8
    while at < len(module):
        number, (size, start) = module[at], unsigned(module, at + 1)
        found[number] = start, start + size
        at = start + size
    return found


def exports(section: bytes) -> set[str]:
    """The names that an export section has."""
    count, at = unsigned(section, 0)
    names = set()
    for _ in range(count):
        size, at = unsigned(section, at)
        names.add(section[at : at + size].decode())
        _, at = unsigned(section, at + size + 1)
    return names


def segments(module: bytes) -> list[tuple[int, int, int]]:
    """Of each segment of data its address in memory, where it lies in the file, and its size."""
    at, _ = sections(module)[DATA]
    count, at = unsigned(module, at)
    found = []
    for _ in range(count):
        if (module[at], module[at + 1]) != (ACTIVE, I32_CONST):
            raise ValueError("it has a segment of data that does not begin at a number")
        address, at = unsigned(module, at + 2)
        size, at = unsigned(module, at + 1)
        found.append((address, at, size))
        at += size
    return found


def unsigned(data: bytes, at: int) -> tuple[int, int]:
    """The LEB128 number at `at`, and where it ends."""
    value = shift = 0
    while True:
        byte = data[at]
        value, shift, at = value | (byte & 0x7F) << shift, shift + 7, at + 1
        if byte < 0x80:
            return value, at
