"""Bytes as a file that has no name and that nobody can change: what was checked is what the system loads."""

from __future__ import annotations

import os


class SealedFile:
    """A file in anonymous memory with the bytes `data`; `name` is what the system calls it in its listings.

    `path` opens it, in this process and in those of the same user, until `close`. While it is open no other file has
    this path: glibc knows loaded libraries by their paths, and would return an older one. Linux alone has such files:
    elsewhere `misfit` refuses the library before.
    """

    def __init__(self, name: str, data: bytes) -> None:
        import fcntl

        self._descriptor = os.memfd_create(name, os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        self.path = f"/proc/{os.getpid()}/fd/{self._descriptor}"
        try:
            with open(self._descriptor, "wb", closefd=False) as file:
                file.write(data)
            seals = fcntl.F_SEAL_WRITE | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL
            fcntl.fcntl(self._descriptor, fcntl.F_ADD_SEALS, seals)
        except OSError:
            self.close()
            raise

    def close(self) -> None:
        """Give the memory back, as soon as nothing has it mapped."""
        os.close(self._descriptor)
