"""Files that are there whole or not at all, and the folders that they go to."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from kdpinn_edge.errors import KdpinnError


def write_whole(path: str | os.PathLike[str], data: bytes) -> None:
    """Write `data` to `path`, all of it or nothing. Raises OSError where it cannot be written."""
    target = Path(path)
    unfinished = target.with_name(f"{target.name}.unfinished")
    try:
        unfinished.write_bytes(data)
        unfinished.replace(target)
    finally:
        unfinished.unlink(missing_ok=True)


def check_folder(path: Path, error: type[KdpinnError]) -> None:
    """Raise `error` where the folder that the file `path` goes to is not there: call it before long work."""
    if not path.parent.is_dir():
        raise error(f"{path}: there is no folder {path.parent}; make it first")


@contextmanager
def undisturbed() -> Iterator[None]:
    """Let no signal of this thread interrupt what is done in here: it comes afterwards."""
    blocked = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGALRM})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
