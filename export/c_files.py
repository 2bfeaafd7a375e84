"""The files beside the library for those who build against it: headers, an example, CMake and pkg-config files."""

from __future__ import annotations

import re
from importlib.metadata import version
from importlib.resources import files

from kdpinn_edge.export.interface import Interface
from kdpinn_edge.numpy_program import PROFILE

COMMON_HEADER = "kdpinn_edge.h"
TEMPLATES = {
    "model.h": "{}.h",
    "example.c": "example.c",
    "config.cmake": "{}-config.cmake",
    "model.pc": "{}.pc",
}


def c_files(interface: Interface) -> dict[str, bytes]:
    """File name → contents."""
    program, target = interface.program, interface.target
    values = {
        "name": interface.name,
        "NAME": interface.name.upper(),
        "precision": interface.precision,
        "scalar": interface.scalar,
        "profile": PROFILE,
        "target": target.name,
        "library": target.library.format(interface.name),
        "version": version("kdpinn-edge"),
        "sha256": program.sha256,
        "program": "\n".join(f" *     {line}" for line in str(program).splitlines()),
        "n_in": str(program.n_in),
        "n_out": str(program.n_out),
        "inputs": ", ".join(column.name for column in interface.inputs),
        "outputs": ", ".join(column.name for column in interface.outputs),
    }
    folder = files("kdpinn_edge")
    result = {COMMON_HEADER: (folder / "runtime" / COMMON_HEADER).read_bytes()}
    for template, name in TEMPLATES.items():
        text = (folder / "export" / "templates" / template).read_text(encoding="utf-8")
        filled = re.sub(r"@(\w+)@", lambda match: values[match[1]], text)
        result[name.format(interface.name)] = filled.encode()
    return result
