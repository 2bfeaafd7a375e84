"""kdpinn_edge: distilled physics-informed neural networks as small, bit-exact C libraries.

The public list is `__all__`; each name is imported when it is first used, so `import kdpinn_edge` costs nothing.
Stages that share their module's name are imported from it: `from kdpinn_edge.capture import capture`.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from kdpinn_edge.errors import KdpinnError as KdpinnError
    from kdpinn_edge.export.bundle import export_bundle as export_bundle
    from kdpinn_edge.interp import interpret as interpret
    from kdpinn_edge.ir import Program as Program
    from kdpinn_edge.ir import Var as Var
    from kdpinn_edge.program_file import read_program as read_program
    from kdpinn_edge.program_file import write_program as write_program
    from kdpinn_edge.runtime import Engine as Engine
    from kdpinn_edge.runtime import load as load

_HOME = {
    "Engine": "runtime",
    "KdpinnError": "errors",
    "Program": "ir",
    "Var": "ir",
    "export_bundle": "export.bundle",
    "interpret": "interp",
    "load": "runtime",
    "read_program": "program_file",
    "write_program": "program_file",
}

__all__ = [*_HOME]


def __getattr__(name: str) -> object:
    if name not in _HOME:
        raise AttributeError(f"module 'kdpinn_edge' has no attribute {name!r}; it has: {', '.join(_HOME)}")
    return getattr(import_module(f"kdpinn_edge.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return sorted(_HOME)
