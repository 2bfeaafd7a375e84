"""Bytes as a file that others cannot change: what was checked is what the system loads.

Linux has files in anonymous memory, which can be sealed: nobody can change them, and no other file has their path.
Elsewhere it is a file of a new folder that is the user's alone. Windows lets nobody write to a file, replace or remove
it, while it is open for that only. Under macOS another process of the same user can still change it; the system then
ends the process that runs it, since the pages do not have the hashes of the signature.
"""

from __future__ import annotations

import errno
import os
import shutil
import sys
from contextlib import ExitStack
from pathlib import Path
from tempfile import mkdtemp

from kdpinn_edge.reading import read_whole
from kdpinn_edge.system import flags


class SealedFile:
    """A file with the bytes `data` of a library; `name` is what Linux calls it in its listings.

    `path` opens it, in this process and in those of the same user, until `close`. While it is open no other file has
    this path: loaders know loaded libraries by their paths, and would return an older one. `outlives_process` says
    whether it is still there when this process has ended without `close`.
    """

    def __init__(self, name: str, data: bytes) -> None:
        self.outlives_process = not hasattr(os, "memfd_create")
        with ExitStack() as opened:
            self.path = _in_folder(data, opened) if self.outlives_process else _in_memory(name, data, opened)
            self._opened = opened.pop_all()

    def close(self) -> None:
        """Give it back, as soon as nothing has it mapped."""
        self._opened.close()


def _in_memory(name: str, data: bytes, opened: ExitStack) -> str:
    import fcntl

    descriptor = os.memfd_create(name, os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    opened.callback(os.close, descriptor)
    with open(descriptor, "wb", closefd=False) as file:
        file.write(data)
    seals = fcntl.F_SEAL_WRITE | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL
    fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, seals)
    return f"/proc/{os.getpid()}/fd/{descriptor}"


def _in_folder(data: bytes, opened: ExitStack) -> str:
    folder = Path(mkdtemp(prefix="kdpinn_edge_"))
    opened.callback(shutil.rmtree, folder, ignore_errors=True)
    path = folder / ("library.dll" if sys.platform == "win32" else "library.dylib")
    way = flags("O_WRONLY", "O_CREAT", "O_EXCL", "O_NOFOLLOW", "O_CLOEXEC")
    with open(os.open(path, way, 0o600), "wb") as file:
        file.write(data)
    if sys.platform == "win32":
        opened.callback(os.close, _only_for_reading(path))
    if read_whole(path, len(data), link=False) != data:
        raise OSError(errno.EIO, "it was changed as soon as it was written", str(path))
    return str(path)


if sys.platform == "win32":
    import ctypes
    import msvcrt

    GENERIC_READ, FILE_SHARE_READ, OPEN_EXISTING = 0x80000000, 1, 3

    def _only_for_reading(path: Path) -> int:
        """A descriptor of `path`; while it is open nobody can open it for anything but to read it."""
        create = ctypes.WinDLL("kernel32", use_last_error=True).CreateFileW
        word, address = ctypes.c_uint32, ctypes.c_void_p
        create.restype = address
        create.argtypes = ctypes.c_wchar_p, word, word, address, word, word, address
        handle = create(str(path), GENERIC_READ, FILE_SHARE_READ, None, OPEN_EXISTING, 0, None)
        if handle == ctypes.c_void_p(-1).value:
            raise ctypes.WinError(ctypes.get_last_error())
        return msvcrt.open_osfhandle(handle, os.O_RDONLY)
