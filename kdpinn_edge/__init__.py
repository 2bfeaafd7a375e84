"""kdpinn_edge: distilled physics-informed neural networks as small, bit-exact C libraries.

The public list is `__all__`; each name is imported when it is first used, so `import kdpinn_edge` costs nothing.
Folders are nouns, as in `kdpinn_edge.importers.pytorch.module`; functions are verbs, as in `capture`.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from kdpinn_edge.certificates.stage import certify as certify
    from kdpinn_edge.checks.audit import audit as audit
    from kdpinn_edge.checks.check import check as check
    from kdpinn_edge.checks.evidence import evidence as evidence
    from kdpinn_edge.comparison.stage import bench as bench
    from kdpinn_edge.derive.derivatives import derivatives as derivatives
    from kdpinn_edge.derive.residual import residual as residual
    from kdpinn_edge.distillation import distill as distill
    from kdpinn_edge.engines import compile as compile
    from kdpinn_edge.engines import load as load
    from kdpinn_edge.equation.condition import Condition as Condition
    from kdpinn_edge.equation.measurements import measurements as measurements
    from kdpinn_edge.equation.problem import Problem as Problem
    from kdpinn_edge.equation.problem import causal as causal
    from kdpinn_edge.errors import KdpinnError as KdpinnError
    from kdpinn_edge.export.bundle import export_bundle as export_bundle
    from kdpinn_edge.importers.onnx_files.model import capture_onnx as capture_onnx
    from kdpinn_edge.importers.pytorch.module import capture as capture
    from kdpinn_edge.problems import problem as problem
    from kdpinn_edge.program.file import read_program as read_program
    from kdpinn_edge.program.file import write_program as write_program
    from kdpinn_edge.program.interp import interpret as interpret
    from kdpinn_edge.program.ir import Program as Program
    from kdpinn_edge.program.ir import Var as Var
    from kdpinn_edge.program.simplify import simplify as simplify
    from kdpinn_edge.runtime import Engine as Engine
    from kdpinn_edge.studies.stages import search as search
    from kdpinn_edge.studies.stages import study as study
    from kdpinn_edge.training import DistillConfig as DistillConfig
    from kdpinn_edge.training import TrainConfig as TrainConfig
    from kdpinn_edge.training import load_pinn as load_pinn
    from kdpinn_edge.training import train as train

    __version__: str

_HOME = {
    "Condition": "equation.condition",
    "DistillConfig": "training",
    "Engine": "runtime",
    "KdpinnError": "errors",
    "Problem": "equation.problem",
    "Program": "program.ir",
    "TrainConfig": "training",
    "Var": "program.ir",
    "audit": "checks.audit",
    "bench": "comparison.stage",
    "capture": "importers.pytorch.module",
    "capture_onnx": "importers.onnx_files.model",
    "causal": "equation.problem",
    "certify": "certificates.stage",
    "check": "checks.check",
    "compile": "engines",
    "derivatives": "derive.derivatives",
    "distill": "distillation",
    "evidence": "checks.evidence",
    "export_bundle": "export.bundle",
    "interpret": "program.interp",
    "load": "engines",
    "load_pinn": "training",
    "measurements": "equation.measurements",
    "problem": "problems",
    "read_program": "program.file",
    "residual": "derive.residual",
    "search": "studies.stages",
    "simplify": "program.simplify",
    "study": "studies.stages",
    "train": "training",
    "write_program": "program.file",
}

__all__ = [*_HOME]


def __getattr__(name: str) -> object:
    if name == "__version__":
        from importlib.metadata import version

        return version("kdpinn-edge")
    if name not in _HOME:
        raise AttributeError(f"module 'kdpinn_edge' has no attribute {name!r}; it has: {', '.join(_HOME)}")
    return getattr(import_module(f"kdpinn_edge.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return sorted((*_HOME, "__version__"))
