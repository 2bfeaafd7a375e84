"""OpenVINO's CPU plugin on the ONNX model of the bundle, the shape compiled in, tensors in the caller's memory."""

from __future__ import annotations

from kdpinn_edge.bundle.manifest import ONNX_FILE
from kdpinn_edge.comparison.backend import Array, Backend, Call, Case, Prepared
from kdpinn_edge.comparison.backends.prepared import prepared


def prepare(case: Case, threads: int | None) -> Prepared:
    """Prepare a compiled model per shape, with the hint LATENCY, in float32: its own choice may be bfloat16."""
    import openvino

    core = openvino.Core()
    source = case.bundle / ONNX_FILE
    properties: dict[str, str | int] = {
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_PRECISION_HINT": "f32",
        "SNIPPETS_MODE": "DISABLE",  # OpenVINO 2026.4 crashes in its fused elementwise code at n = 1; no slower without
    }
    if threads is not None:
        properties["INFERENCE_NUM_THREADS"] = threads

    def bind(x: Array, y: Array) -> Call:
        model = core.read_model(source)
        model.reshape(list(x.shape))
        request = core.compile_model(model, "CPU", properties).create_infer_request()
        request.set_input_tensor(openvino.Tensor(x, shared_memory=True))
        request.set_output_tensor(openvino.Tensor(y, shared_memory=True))

        def call(*, kept: tuple[Array, Array] = (x, y)) -> None:  # shared memory that OpenVINO does not keep
            request.infer(share_outputs=True)

        return call

    report = f"INFERENCE_NUM_THREADS={threads}" if threads else "its own choice"
    return prepared(case, bind, report, source.stat().st_size)


OPENVINO = Backend(
    "openvino", "framework call", "same function", ("openvino", "numpy"), "peers", prepare, ("openvino",)
)
