"""The extras of the package: which of them each command needs, and which brings a package that is missing.

What an extra brings is read from the metadata of the installed package, and so stated in pyproject.toml alone.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from importlib.metadata import requires

DISTRIBUTIONS = {"elftools": "pyelftools", "sklearn": "scikit-learn"}
"""What installs the modules whose names differ."""

COMMANDS: Mapping[str, Sequence[str]] = {
    "problems": ("export",),
    "new": ("export",),
    "train": ("train",),
    "distill": ("train",),
    "study": ("export", "train", "compare"),
    "search": ("search",),
    "export": ("export",),
    "layout": ("export",),
    "targets": ("export",),
    "check": ("export",),
    "certify": ("export",),
    "evidence": ("export", "bench"),
    "bench": ("export", "compare"),
    "bench-zoo": ("export", "train", "compare"),
    "audit": ("export",),
    "info": ("export",),
}
"""The extras with which each command does its usual work, in the order of `kdpinn-edge --help`."""


def pip_install(extras: Sequence[str]) -> str:
    """Write the command that installs `extras`."""
    return f"pip install 'kdpinn-edge[{','.join(extras)}]'"


def what_is_missing(module: str, command: str) -> str:
    """Write the message for a `module` that is not installed and that `command` has tried to import."""
    package = module.partition(".")[0]
    package = DISTRIBUTIONS.get(package, package).replace("_", "-").lower()
    needed = COMMANDS.get(command, ())
    if package in set().union(*map(_brought_by, needed)):
        return f"{package} is not installed, which `kdpinn-edge {command}` needs: {pip_install(needed)}"
    bringing = [extra for extra, packages in _extras().items() if package in packages]
    if bringing:
        return f"{package} is not installed, which is needed for this: {pip_install(bringing[:1])}"
    return f"{package} is not installed, and no extra of kdpinn-edge brings it; install it by itself"


def _brought_by(extra: str) -> set[str]:
    """The packages that `extra` brings, itself or by another one that it names."""
    found: set[str] = set()
    for package in _extras()[extra]:
        own = re.fullmatch(r"kdpinn-edge\[([\w,-]+)\]", package)
        found |= set().union(*map(_brought_by, own[1].split(","))) if own else {package}
    return found


def _extras() -> dict[str, list[str]]:
    """The packages that each extra names, in the order of pyproject.toml."""
    found: dict[str, list[str]] = {}
    for requirement in requires("kdpinn-edge") or ():
        if match := re.fullmatch(r"([\w.-]+(?:\[[^]]*\])?)[^;]*;\s*extra == [\"']([\w-]+)[\"']", requirement):
            found.setdefault(match[2], []).append(match[1].lower())
    return found
