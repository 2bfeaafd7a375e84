"""kdpinn_edge: distilled physics-informed neural networks as small, bit-exact C libraries.

The public list is `__all__`; each name is imported when it is first used, so `import kdpinn_edge` costs nothing.
Folders are nouns, as in `kdpinn_edge.importers.pytorch.module`; functions are verbs, as in `capture`.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from kdpinn_edge.checks.audit import audit as audit
    from kdpinn_edge.checks.check import check as check
    from kdpinn_edge.derive.derivatives import derivatives as derivatives
    from kdpinn_edge.derive.residual import residual_program as residual_program
    from kdpinn_edge.distillation import distill as distill
    from kdpinn_edge.engines import compile as compile
    from kdpinn_edge.engines import load as load
    from kdpinn_edge.errors import KdpinnError as KdpinnError
    from kdpinn_edge.export.bundle import export_bundle as export_bundle
    from kdpinn_edge.importers.onnx_files.model import capture_onnx as capture_onnx
    from kdpinn_edge.importers.pytorch.module import capture as capture
    from kdpinn_edge.program.file import read_program as read_program
    from kdpinn_edge.program.file import write_program as write_program
    from kdpinn_edge.program.interp import interpret as interpret
    from kdpinn_edge.program.ir import Program as Program
    from kdpinn_edge.program.ir import Var as Var
    from kdpinn_edge.program.simplify import simplify as simplify
    from kdpinn_edge.runtime import Engine as Engine
    from kdpinn_edge.training import train as train

_HOME = {
    "Engine": "runtime",
    "KdpinnError": "errors",
    "Program": "program.ir",
    "Var": "program.ir",
    "compile": "engines",
    "audit": "checks.audit",
    "capture": "importers.pytorch.module",
    "capture_onnx": "importers.onnx_files.model",
    "check": "checks.check",
    "derivatives": "derive.derivatives",
    "distill": "distillation",
    "export_bundle": "export.bundle",
    "interpret": "program.interp",
    "load": "engines",
    "read_program": "program.file",
    "residual_program": "derive.residual",
    "simplify": "program.simplify",
    "train": "training",
    "write_program": "program.file",
}

__all__ = [*_HOME]


def __getattr__(name: str) -> object:
    if name not in _HOME:
        raise AttributeError(f"module 'kdpinn_edge' has no attribute {name!r}; it has: {', '.join(_HOME)}")
    return getattr(import_module(f"kdpinn_edge.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return sorted(_HOME)
