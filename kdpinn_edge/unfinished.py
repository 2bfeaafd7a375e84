"""What is being written lies beside its place, under a private name, until it is whole: `.NAME.<16 hex>.unfinished`.

The name cannot be foreseen and nothing that is there is ever opened, so a planted link is not followed and two
writers never share a file. The writer holds a lock, which the system releases when it dies: thereby the next writer of
the same place tells what a killed one left, which it removes, from what another is still writing.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from secrets import token_hex
from stat import S_ISDIR, S_ISREG
from typing import BinaryIO

from kdpinn_edge.interrupts import undisturbed
from kdpinn_edge.system import HAS_LOCKS, flags, lock

TOKEN_BYTES = 8
SUFFIX = ".unfinished"
PRIVATE = re.compile(rf"\.(.+)\.[0-9a-f]{{{2 * TOKEN_BYTES}}}{re.escape(SUFFIX)}", re.DOTALL)


def private_name(target: Path) -> Path:
    """A name beside `target` that nothing has."""
    return target.with_name(f".{target.name}.{token_hex(TOKEN_BYTES)}{SUFFIX}")


def finished_name(path: str) -> str:
    """The path that is being written as `path`; itself where it is no name of `private_name`."""
    folder, slash, name = path.rpartition("/")
    found = PRIVATE.fullmatch(name)
    return f"{folder}{slash}{found[1]}" if found else path


@contextmanager
def new_file(target: Path) -> Iterator[tuple[BinaryIO, Path]]:
    """A new file beside `target`, open for writing, and its path; in the end it is gone, unless it was renamed.

    Where files can be locked it has to stay open until it is renamed; elsewhere it has to be closed before.
    """
    remove_abandoned(target)
    while True:
        path = private_name(target)
        descriptor = os.open(path, flags("O_WRONLY", "O_CREAT", "O_EXCL", "O_CLOEXEC"), 0o666)
        file = open(descriptor, "wb")  # noqa: SIM115
        try:
            if _locked(descriptor, path):
                yield file, path
                return
        finally:
            try:
                file.close()
            finally:
                path.unlink(missing_ok=True)


@contextmanager
def new_folder(target: Path) -> Iterator[Path]:
    """A new folder beside `target`; in the end it is gone, unless it was renamed."""
    remove_abandoned(target)
    while True:
        path = private_name(target)
        try:
            with undisturbed():
                path.mkdir()
            with held(path) as is_held:
                if is_held:
                    yield path
                    return
        finally:
            with undisturbed():
                shutil.rmtree(path, ignore_errors=True)


@contextmanager
def held(folder: Path) -> Iterator[bool]:
    """Hold the lock of `folder`; yields whether it is still where it was. Without locks nobody removes it."""
    if not HAS_LOCKS:
        yield True
        return
    descriptor = os.open(folder, flags("O_RDONLY", "O_DIRECTORY", "O_NOFOLLOW", "O_CLOEXEC"))
    try:
        yield _locked(descriptor, folder)
    finally:
        os.close(descriptor)


def remove_abandoned(target: Path) -> None:
    """Remove what writers of `target` left that were killed: ours by its name and its owner, and locked by nobody.

    Without locks that cannot be told, and nothing is removed.
    """
    if not HAS_LOCKS:
        return
    with suppress(FileNotFoundError), os.scandir(target.parent) as entries:
        names = [(entry.name, PRIVATE.fullmatch(entry.name)) for entry in entries]
        for path in [target.with_name(name) for name, found in names if found and found[1] == target.name]:
            with suppress(OSError):
                _remove_unlocked(path)


def _remove_unlocked(path: Path) -> None:
    """Remove `path`, a file or folder. Raises OSError where a writer holds it, or it is something else."""
    descriptor = os.open(path, flags("O_RDONLY", "O_NOFOLLOW", "O_NONBLOCK", "O_CLOEXEC"))
    try:
        found = os.fstat(descriptor)
        if found.st_uid != os.geteuid():
            return
        lock(descriptor, wait=False)
        if os.path.samestat(found, os.lstat(path)):
            if S_ISDIR(found.st_mode):
                shutil.rmtree(path)
            elif S_ISREG(found.st_mode):
                path.unlink()
    finally:
        os.close(descriptor)


def _locked(descriptor: int, path: Path) -> bool:
    """Lock what is open; False where another writer found it before it was locked, and removed it."""
    with suppress(OSError):  # a file system without locks: there nobody gets one, and nothing is removed
        lock(descriptor)
    try:
        return os.path.samestat(os.fstat(descriptor), os.lstat(path))
    except FileNotFoundError:
        return False
