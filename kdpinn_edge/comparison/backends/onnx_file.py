"""The ONNX model of a case for a number of points, as tools take it that want all sizes fixed."""

from __future__ import annotations

from pathlib import Path

from kdpinn_edge.bundle.manifest import ONNX_FILE
from kdpinn_edge.comparison.backend import Case


def onnx_file(case: Case, n: int) -> Path:
    """The ONNX model that takes n points: that of the bundle, or one that is written once per case."""
    if case.manifest.batch == n:
        return case.bundle / ONNX_FILE
    path = case.folder / f"{n}.onnx"
    if not path.exists():
        from kdpinn_edge.export.onnx_model import to_onnx

        path.write_bytes(to_onnx(case.program, case.manifest.precision, batch=n).SerializeToString())
    return path
