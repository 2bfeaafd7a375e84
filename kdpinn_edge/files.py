"""Files that are there whole or not at all, and the folders that they go to."""

from __future__ import annotations

import os
import shutil
import signal
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

from kdpinn_edge.errors import KdpinnError


def write_whole(path: str | os.PathLike[str], data: bytes) -> None:
    """Write `data` to `path`, all of it or nothing. Raises OSError, with the path, where it cannot be written."""
    target = Path(path)
    unfinished = target.with_name(f"{target.name}.unfinished")
    with naming(target):
        try:
            unfinished.write_bytes(data)
            unfinished.replace(target)
        finally:
            unfinished.unlink(missing_ok=True)


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
    if not found and not any(folder.iterdir()):
        return
    strange = [path for path in found if not any(fnmatchcase(path, pattern) for pattern in kind.patterns)]
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

    Raises OSError where that cannot be done, and leaves what is there.
    """
    with _moved_away(folder):
        made.rename(folder)


@contextmanager
def _moved_away(folder: Path) -> Iterator[None]:
    """Let `folder` have another name, and remove it in the end, or bring it back after an error."""
    with undisturbed():
        away = None
        if folder.exists():
            away = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
            folder.rename(away)  # onto an empty folder
        try:
            yield
        except BaseException:
            if away is not None:
                away.rename(folder)
            raise
        if away is not None:
            shutil.rmtree(away)


@contextmanager
def undisturbed() -> Iterator[None]:
    """Let no signal of this thread interrupt what is done in here: it comes afterwards."""
    blocked = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGALRM})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
