"""OpenVINO's CPU plugin on the ONNX model for n points, tensors in the caller's memory."""

from __future__ import annotations

from kdpinn_edge.bundle.manifest import ONNX_FILE
from kdpinn_edge.comparison.backend import Array, Backend, Call, Case, Prepared
from kdpinn_edge.comparison.backends.onnx_file import onnx_file
from kdpinn_edge.comparison.backends.prepared import prepared, require_float32


def prepare(case: Case, threads: int | None) -> Prepared:
    """Prepare a compiled model per shape, with the hint LATENCY, in float32: its own choice may be bfloat16."""
    import openvino

    require_float32(case, "in which the CPU plugin computes whatever a model says")
    core = openvino.Core()
    properties: dict[str, str | int] = {
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_PRECISION_HINT": "f32",
        "SNIPPETS_MODE": "DISABLE",  # OpenVINO 2026.4 crashes in its fused elementwise code at n = 1; no slower without
    }
    if threads is not None:
        properties["INFERENCE_NUM_THREADS"] = threads

    def bind(x: Array, y: Array) -> Call:
        request = core.compile_model(core.read_model(onnx_file(case, len(x))), "CPU", properties).create_infer_request()
        request.set_input_tensor(openvino.Tensor(x, shared_memory=True))
        request.set_output_tensor(openvino.Tensor(y, shared_memory=True))

        def call(*, kept: tuple[Array, Array] = (x, y)) -> None:  # shared memory that OpenVINO does not keep
            request.infer(share_outputs=True)

        return call

    report = f"INFERENCE_NUM_THREADS={threads}" if threads else "its own choice"
    return prepared(case, bind, report, (case.bundle / ONNX_FILE).stat().st_size)


OPENVINO = Backend(
    "openvino", "framework call", "same function", ("openvino", "numpy", "onnx"), "peers", prepare, ("openvino",)
)
