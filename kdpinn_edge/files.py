"""Files that are there whole or not at all, and the folders that they go to."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from stat import S_ISREG

from kdpinn_edge.errors import KdpinnError
from kdpinn_edge.interrupts import undisturbed
from kdpinn_edge.system import HAS_LOCKS, flags, lock
from kdpinn_edge.unfinished import SUFFIX, finished_name, held, new_file, private_name, remove_abandoned

RENAME_EXCHANGE = 2
PLAIN = flags("O_CREAT", "O_NOFOLLOW", "O_NONBLOCK", "O_CLOEXEC")
"""How a file is opened that is not replaced: no link is followed, and no FIFO waited for."""


def write_whole(path: str | os.PathLike[str], data: bytes) -> None:
    """Write `data` to `path`, all of it or nothing, whatever happens to this process or to the machine.

    Raises OSError, with the path, where it cannot be written, or is something else than a file.
    """
    target = Path(path)
    with naming(target):
        if _is_no_file(target):
            raise OSError(errno.EINVAL, "this is no regular file; expected: a new file, or one to replace")
        with new_file(target) as (file, made):
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
            if not HAS_LOCKS:
                file.close()
            made.replace(target)
        _sync(target.parent)


def append(path: Path, text: str) -> None:
    """Add `text` to the file `path`, which is made. Raises OSError, with the path, where that cannot be done."""
    with naming(path), open(_plain(path, os.O_WRONLY | os.O_APPEND), "w", encoding="utf-8") as file:
        file.write(text)


@contextmanager
def alone(path: Path) -> Iterator[None]:
    """Wait until no other process is in here with this file; the system ends the wait when that process dies."""
    with naming(path):
        descriptor = _plain(path, os.O_WRONLY)
    try:  # what is done in here has errors of its own
        lock(descriptor)
        yield
    finally:
        os.close(descriptor)


def _plain(path: Path, access: int) -> int:
    """Open a file that is not replaced, or make it: a descriptor of a regular file."""
    descriptor = os.open(path, access | PLAIN, 0o666)
    if not S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(errno.EINVAL, "this is no regular file")
    return descriptor


def _is_no_file(path: Path) -> bool:
    return path.exists() and not path.is_file()


def _sync(path: Path) -> None:
    """Let what is in a file, or which names are in a folder, outlive a loss of power, where the system can do that."""
    if not HAS_LOCKS:
        return
    descriptor = os.open(path, flags("O_RDONLY", "O_CLOEXEC"))
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno != errno.EINVAL:  # a file system that cannot sync a folder
            raise
    finally:
        os.close(descriptor)


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """Name `path` in every OSError: the system's own names none where a disk is full."""
    try:
        yield
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from error


def check_folder(path: Path, error: type[KdpinnError]) -> None:
    """Raise `error` where no file can be at `path`, since it is a folder or in none: call it before long work."""
    if path.is_dir():
        raise error(f"{path}: this is a folder; expected: the file to write")
    if _is_no_file(path):
        raise error(f"{path}: this is no regular file; expected: a new file, or one to replace")
    if not path.parent.is_dir():
        raise error(f"{path}: there is no folder {path.parent}; make it first")


@dataclass(frozen=True)
class Kind:
    """What a command leaves in a folder of its own: a `word` for it, and patterns of the paths of all its files.

    A folder is of this kind where it has a file of the path `marker`.
    """

    word: str
    marker: str
    patterns: tuple[str, ...]


def check_free(folder: Path, kind: Kind, error: type[KdpinnError], *, force: bool, otherwise: str = "") -> None:
    """Raise `error` unless `folder` is new or empty, or of this `kind` and to be replaced by `force`.

    What a command did not write is never in a folder that may be replaced. `otherwise` is what else can be done where
    it is of this kind.
    """
    if not folder.exists() and not folder.is_symlink():
        above = next(each for each in folder.absolute().parents if each.exists())
        if not above.is_dir():
            raise error(f"{folder}: {above} is no folder, so there can be none in it; expected: another path")
        return
    whole = f"expected: a folder that is new or empty, or a {kind.word} and nothing else, which --force replaces"
    if folder.is_symlink() or not folder.is_dir():
        raise error(f"{folder} is no folder; {whole}. Name another one.")
    found = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if not path.is_dir())
    strange = [path for path in found if not any(fnmatchcase(finished_name(path), each) for each in kind.patterns)]
    found = [path for path in found if path in strange or finished_name(path) == path]  # without what a killed one left
    if not found and (not any(folder.iterdir()) or any(folder.glob(f".*{SUFFIX}"))):
        return
    if kind.marker not in found or strange:
        shown = ", ".join(strange[:3] or found[:3]) + (", …" if len(strange or found) > 3 else "")
        raise error(f"{folder} already holds other files than those of a {kind.word} ({shown}); {whole}.")
    if not force:
        raise error(
            f"{folder} already holds a {kind.word}; expected: a folder that is new or empty. Name another one, "
            f"{otherwise}or replace the {kind.word} by --force (in Python force=True)."
        )


def clear(folder: Path) -> None:
    """Remove what is in `folder` with it, at once: it is renamed first. Nothing is done where there is nothing."""
    if folder.exists() and any(folder.iterdir()):
        with _moved_away(folder):
            pass


def move_into_place(made: Path, folder: Path) -> None:
    """Rename the folder `made`, which lies beside `folder`, to it; what is there now is removed.

    At every moment there is one of them, where the file system can exchange two names. Raises OSError where that cannot
    be done, and leaves what is there.
    """
    for path in (*made.rglob("*"), made):
        _sync(path)
    with undisturbed():
        if not folder.exists() or not _exchanged(made, folder):
            with _moved_away(folder):
                made.rename(folder)
        _sync(folder.parent)
        shutil.rmtree(made, ignore_errors=True)


def _exchanged(made: Path, folder: Path) -> bool:
    """Let two folders have each other's names, at once; False where the file system cannot do that."""
    if not HAS_LOCKS:
        return False
    import ctypes

    renameat2 = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    paths = [os.fsencode(path.absolute()) for path in (made, folder)]
    return renameat2 is not None and renameat2(-1, paths[0], -1, paths[1], RENAME_EXCHANGE) == 0


@contextmanager
def _moved_away(folder: Path) -> Iterator[None]:
    """Let `folder` have another name, and remove it in the end, or bring it back after an error."""
    with undisturbed():
        remove_abandoned(folder)
        if not folder.exists():
            yield
            return
        with held(folder):
            away = private_name(folder)
            folder.rename(away)
            try:
                yield
            except BaseException:
                away.rename(folder)
                raise
            shutil.rmtree(away)
