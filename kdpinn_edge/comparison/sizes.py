"""What a runtime weighs on disk: the files of its distributions and of all that they require."""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import cache
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path


def installed_bytes(packages: Iterable[str]) -> int:
    """Bytes on disk of `packages` and, through their requirements without extras, of everything that they need here."""
    found: dict[str, Distribution] = {}
    wanted = list(packages)
    while wanted:
        name = wanted.pop()
        if name in found:
            continue
        try:
            found[name] = distribution(name)
        except PackageNotFoundError:
            continue  # required on other systems
        wanted += (_name(line) for line in found[name].requires or () if "extra ==" not in line)
    return sum(_bytes(name) for name in found)


def _name(requirement: str) -> str:
    matched = re.match(r"[A-Za-z0-9._-]+", requirement)
    return re.sub(r"[-_.]+", "-", matched[0]).lower() if matched else ""


@cache
def _bytes(name: str) -> int:
    total = 0
    for file in distribution(name).files or ():
        path = Path(file.locate())
        total += path.stat().st_size if path.is_file() else 0
    return total
