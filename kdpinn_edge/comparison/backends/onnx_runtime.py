"""ONNX Runtime on the ONNX model of the bundle: `run`, which most people write, and io-binding, its fastest call."""

from __future__ import annotations

from functools import partial

from kdpinn_edge.bundle.manifest import ONNX_FILE
from kdpinn_edge.comparison.backend import Array, Backend, Call, Case, Prepared
from kdpinn_edge.runtime.onnx_engine import OnnxEngine


def prepare(case: Case, threads: int | None, *, binding: bool) -> Prepared:
    """Prepare `OnnxEngine`, x and y bound in the caller's memory, or y new at every call."""
    model = (case.bundle / ONNX_FILE).read_bytes()
    engine = OnnxEngine(case.manifest, {"eval": model}, intra_op_threads=threads)
    report = f"intra_op_num_threads={threads}, inter_op_num_threads=1" if threads else "its own choice"

    def run(x: Array, y: Array) -> Call:
        evaluate = engine.bind_run(x)
        return lambda: evaluate()[0]

    return Prepared(engine, engine.bind if binding else run, report, len(model))


PACKAGES = ("onnxruntime", "numpy")
ONNX_RUN = Backend(
    "onnxruntime, run",
    "framework call",
    "same function",
    PACKAGES,
    "bench",
    partial(prepare, binding=False),
    PACKAGES,
)
ONNX_BINDING = Backend(
    "onnxruntime, io-binding",
    "framework call",
    "same function",
    PACKAGES,
    "bench",
    partial(prepare, binding=True),
    PACKAGES,
)
