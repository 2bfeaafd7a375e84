"""A program of the user's own, run because the user named it: a file that makes a network, or defines a problem."""

from __future__ import annotations

import importlib.util
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType

from kdpinn_edge.errors import KdpinnError
from kdpinn_edge.reading import MIB, read_whole

LARGEST_PROGRAM = 16 * MIB
"""Bytes that a program of the user's own may have."""


@contextmanager
def running(path: Path, error: type[KdpinnError], expected: str) -> Iterator[ModuleType]:
    """Run the Python file `path` as a module, which finds those beside it; yields the module.

    Raises `error`, with the line in the file and what is `expected`, where the file cannot be run, or what is done with
    the module in the context fails.
    """
    try:
        read_whole(path, LARGEST_PROGRAM)
    except OSError as found:
        raise error(f"{path}: {found.strerror}; expected: {expected}") from found
    name = f"{path.stem}_program"  # no other module is called so
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise error(f"{path} cannot be run as a program; expected: a Python file")
    program = importlib.util.module_from_spec(spec)
    sys.modules[name] = program
    folder = str(path.parent.absolute())
    sys.path.insert(0, folder)
    try:
        spec.loader.exec_module(program)
        yield program
    except KdpinnError as found:
        if line := _line(path, found):
            raise type(found)(f"{line}: {found}") from found
        raise
    except (Exception, SystemExit) as found:
        raise error(
            f"{_line(path, found) or path}: the program fails: {type(found).__name__}: {found}; expected: {expected}"
        ) from found
    finally:
        sys.path.remove(folder)


def _line(path: Path, found: BaseException) -> str:
    """The innermost line of the file in which an error arose, as "file.py:12"; empty where it did in none."""
    if isinstance(found, SyntaxError) and found.filename and Path(found.filename).resolve() == path.resolve():
        return f"{path}:{found.lineno}"
    frames = traceback.extract_tb(found.__traceback__)
    own = [frame for frame in frames if Path(frame.filename).resolve() == path.resolve()]
    return f"{path}:{own[-1].lineno}" if own else ""
