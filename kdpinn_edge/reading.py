"""What others may have written is read here: regular files alone, of a size that is limited before anything is read.

A folder, a FIFO, a socket or a device is refused before it is opened, so nothing waits and nothing is unbounded. The
errors are OSErrors whose `strerror` says what was found; each reader makes its own error of it.
"""

from __future__ import annotations

import errno
import json
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from stat import S_ISDIR, S_ISLNK, S_ISREG
from typing import Any, BinaryIO

from kdpinn_edge.system import flags

KIB, MIB, GIB = 1 << 10, 1 << 20, 1 << 30
LARGEST_JSON = 4 * MIB
"""Bytes of a document that describes one thing. In memory it takes up to 25 times as much."""
DEEPEST_JSON = 64
STRING = re.compile(rb'"(?:[^"\\]|\\.?)*+"?', re.DOTALL)
OTHERS = bytes(set(range(256)) - set(b"[]{}"))
SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")


@contextmanager
def opened(path: str | os.PathLike[str], largest: int, *, link: bool = True) -> Iterator[tuple[BinaryIO, int]]:
    """A regular file of at most `largest` bytes, open for reading, and its size; unless `link`, no symbolic link.

    Raises OSError where it is something else, or larger.
    """
    _check_regular(os.stat(path) if link else os.lstat(path), path)
    way = flags("O_RDONLY", "O_NONBLOCK", "O_NOCTTY", "O_CLOEXEC", "O_BINARY") | (0 if link else flags("O_NOFOLLOW"))
    with open(os.open(path, way), "rb") as file:
        found = os.fstat(file.fileno())
        _check_regular(found, path)  # it may be another by now
        if found.st_size > largest:
            excess = f"it has {found.st_size:,} bytes; expected: at most {largest:,}"
            raise OSError(errno.EFBIG, excess, os.fspath(path))
        yield file, found.st_size


def _check_regular(found: os.stat_result, path: str | os.PathLike[str]) -> None:
    if S_ISDIR(found.st_mode):
        raise OSError(errno.EISDIR, os.strerror(errno.EISDIR), os.fspath(path))
    if S_ISLNK(found.st_mode):
        raise OSError(errno.ELOOP, "a symbolic link; expected: a regular file", os.fspath(path))
    if not S_ISREG(found.st_mode):
        raise OSError(errno.EINVAL, "not a regular file", os.fspath(path))


def read_whole(path: str | os.PathLike[str], largest: int, *, link: bool = True) -> bytes:
    """The contents of the regular file `path`, at most `largest` bytes. Raises OSError as `opened` does."""
    with opened(path, largest, link=link) as (file, size):
        data = file.read(size)
        if len(data) < size or file.read(1):
            raise OSError(errno.EIO, "it changes while it is read", os.fspath(path))
        return data


def parse_json(data: bytes, *, strict: bool = False, largest: int = LARGEST_JSON) -> Any:
    """The value of a JSON text in UTF-8. Raises ValueError where it is none, too large, or too deep.

    `strict` refuses what JSON itself does not have, NaN and the infinities, and a key that occurs twice in an object.
    """
    if len(data) > largest:
        raise ValueError(f"{len(data):,} bytes; expected: at most {largest:,}")
    text = data.decode("utf-8")
    if _is_deep(data):
        raise ValueError(f"nested too deep; expected: at most {DEEPEST_JSON} deep")
    pairs, constant = (_unique, _no_constant) if strict else (None, None)
    found = json.loads(text, object_pairs_hook=pairs, parse_constant=constant)
    if SURROGATE.search(text):
        json.dumps(found, ensure_ascii=False).encode()  # half a character cannot be printed
    return found


def _is_deep(data: bytes) -> bool:
    """Whether the objects and lists of a JSON text lie too deep in each other for a parser that calls itself."""
    left = STRING.sub(b"", data).translate(bytes.maketrans(b"{}", b"[]"), OTHERS)
    for _ in range(DEEPEST_JSON):
        left = left.replace(b"[]", b"")  # the innermost
    return left.count(b"[") > DEEPEST_JSON


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    record = dict(pairs)
    if len(record) < len(pairs):
        raise ValueError("a key occurs twice in one object")
    return record


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is not a JSON number")
