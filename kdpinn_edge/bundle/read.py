"""The Programs of a bundle, each held against the manifest."""

from __future__ import annotations

import os
from pathlib import Path

from kdpinn_edge.bundle.manifest import PROGRAM_FILES, FunctionName, Manifest
from kdpinn_edge.errors import BundleError
from kdpinn_edge.program.file import read_program
from kdpinn_edge.program.ir import Program, columns


def read_function(bundle: str | os.PathLike[str], manifest: Manifest, function: FunctionName = "eval") -> Program:
    """The Program of a function of a bundle. Raises BundleError where it is another than the manifest names."""
    path = Path(bundle) / PROGRAM_FILES[function]
    program, stated = read_program(path), manifest.functions[function]
    if program.sha256 != stated.program_sha256:
        raise BundleError(f"{path} holds the Program {program.sha256}, the manifest says {stated.program_sha256}")
    found = columns(program.inputs), columns(program.outputs)
    described = tuple(side.name for side in manifest.inputs), tuple(side.name for side in stated.outputs)
    if found != described:
        raise BundleError(f"{path} has the columns {found}, the manifest says {described}")
    return program
