"""What the readers of libraries of all formats share: a part of a library, and tables that lead out of the file."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from struct import error as StructError


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


@contextmanager
def inside_the_file() -> Iterator[None]:
    """Raise ValueError where what is read inside leads out of the file, or is no text or number."""
    try:
        yield
    except (StructError, IndexError, KeyError, UnicodeDecodeError, OverflowError) as error:
        raise ValueError(f"its tables lead out of the file ({type(error).__name__}: {error})") from error
