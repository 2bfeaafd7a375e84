"""tract, an inference engine in Rust, on the ONNX model of the bundle, optimised for the shape."""

from __future__ import annotations

from typing import Any

from kdpinn_edge.bundle.manifest import ONNX_FILE
from kdpinn_edge.comparison.backend import Array, Backend, Call, Case, Prepared
from kdpinn_edge.comparison.backends.prepared import has_one_thread, prepared


def prepare(case: Case, threads: int | None) -> Prepared:
    """Prepare a runnable model per shape; a call allocates its output, which tract cannot be given."""
    import tract

    source = case.bundle / ONNX_FILE
    report = has_one_thread(threads)
    scalar = "f32" if case.manifest.precision == "float32" else "f64"

    def bind(x: Array, y: Array) -> Call:
        loaded = tract.onnx().load(str(source))
        loaded.set_input_fact(0, f"{len(x)},{x.shape[1]},{scalar}")
        model = loaded.into_model().into_runnable()
        points = [tract.Tensor.from_numpy(x)]

        def call() -> Any:
            return model.run(points)[0].to_numpy()

        return call

    return prepared(case, bind, report, source.stat().st_size)


TRACT = Backend("tract", "framework call", "same function", ("tract", "numpy"), "peers", prepare, ("tract",))
