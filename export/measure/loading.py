"""A library of this machine, loaded into the process that has made it."""

from __future__ import annotations

import ctypes
from pathlib import Path
from tempfile import TemporaryDirectory


def loaded_copy(library: bytes, file_name: str) -> ctypes.CDLL:
    """The library in a copy of its own, since what is loaded stays mapped.

    A mapped file that somebody overwrites in place ends the process, at the latest when it loads the next library.
    """
    with TemporaryDirectory() as folder:
        copy = Path(folder) / file_name
        copy.write_bytes(library)
        return ctypes.CDLL(str(copy))
