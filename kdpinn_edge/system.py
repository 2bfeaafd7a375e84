"""What POSIX has and other systems have not: what only reads and calculates runs there all the same."""

from __future__ import annotations

import errno
import os
from functools import cache

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]


HAS_LOCKS = fcntl is not None
"""Whether files can be locked, and folders be opened: both as POSIX has it."""


def flags(*names: str) -> int:
    """The flags of `os.open` with these names, in one number; one that the system does not have is left out."""
    total = 0
    for name in names:
        total |= getattr(os, name, 0)
    return total


@cache
def memory() -> int | None:
    """How many bytes of memory this machine has, those on disk among them; None where the system does not say."""
    try:
        with open("/proc/meminfo", encoding="ascii") as file:
            sizes = dict(line.split(":") for line in file)
        return sum(int(sizes[name].split()[0]) << 10 for name in ("MemTotal", "SwapTotal"))
    except (OSError, ValueError, KeyError):
        return None


def lock(descriptor: int, *, wait: bool = True) -> None:
    """Lock what is open, for this process alone, until it is closed.

    Raises OSError where another process has it and `wait` is False, and where there are no such locks.
    """
    if fcntl is None:
        raise OSError(errno.ENOTSUP, "this system has no locks of files as POSIX has")
    fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
