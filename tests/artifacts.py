"""What tests read and none changes, made once in a session for all of its workers: bundles above all."""

from __future__ import annotations

import fcntl
import hashlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from strategies import mlp

from kdpinn_edge.bundle.manifest import Input, Precision, read_manifest
from kdpinn_edge.export.bundle import export_bundle
from kdpinn_edge.program.ir import Program

SMALL, BOX = mlp(2, 8, 2, 1), (Input("x0", -1.0, 1.0), Input("x1", -1.0, 1.0))


@dataclass(frozen=True)
class Artifacts:
    """`folder` is that of one session; what is in it is found by what it was made from.

    A test that changes a bundle copies it first.
    """

    folder: Path

    def bundle(self, program: Program, **arguments: Any) -> Path:
        """The bundle that `export_bundle(program, …, **arguments)` writes; its folder has the name of the model."""

        def export(folder: Path) -> None:
            assert export_bundle(program, folder, **arguments) == read_manifest(folder)

        return self.made(arguments["name"], export, program, arguments)

    def small(self, target: str, precision: Precision = "float32", **options: Any) -> Path:
        """The bundle of SMALL in BOX with a slope: what tests of all targets share."""
        stated = {"target": target, "precision": precision, "inputs": BOX, "derivatives": ["u", "u_x0"]}
        return self.bundle(SMALL, name="net", **stated, **options)

    def made(self, name: str, make: Callable[[Path], object], *parts: object) -> Path:
        """The file or folder `name` that `make(path)` writes; `parts` are all that it depends on."""
        place = self.folder / hashlib.sha256(_text((name, *parts)).encode()).hexdigest()[:16]
        place.mkdir(parents=True, exist_ok=True)
        with (place / "lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not (place / "whole").exists():
                make(place / name)
                (place / "whole").touch()
        return place / name


def _text(part: object) -> str:
    """Everything that is in `part`, in words."""
    match part:
        case Program():
            return f"{part.name} {part.sha256} {part}"
        case str():
            return repr(part)
        case Mapping():
            return _text(sorted(part.items()))
        case Iterable():
            return f"({', '.join(map(_text, part))})"
        case _:
            return repr(part)
