"""A part of a library, as the readers of all formats find it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Section:
    """`in_file` bytes at `offset` of the file, which lie at `address` in memory, where they take `in_memory` bytes."""

    address: int
    in_memory: int
    offset: int
    in_file: int
    flags: int = 0

    def holds(self, address: int, size: int) -> bool:
        """Whether so many bytes from `address` are in this part of memory."""
        return self.address <= address and address + size <= self.address + self.in_memory
