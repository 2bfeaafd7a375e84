"""tract, an inference engine in Rust, on the ONNX model for n points."""

from __future__ import annotations

from typing import Any

from kdpinn_edge.bundle.manifest import ONNX_FILE
from kdpinn_edge.comparison.backend import Array, Backend, Call, Case, Prepared
from kdpinn_edge.comparison.backends.onnx_file import onnx_file
from kdpinn_edge.comparison.backends.prepared import has_one_thread, prepared


def prepare(case: Case, threads: int | None) -> Prepared:
    """Prepare a runnable model per shape; a call allocates its output, which tract cannot be given."""
    import tract

    report = has_one_thread(threads)

    def bind(x: Array, y: Array) -> Call:
        model = tract.onnx().load(str(onnx_file(case, len(x)))).into_model().into_runnable()
        points = [tract.Tensor.from_numpy(x)]

        def call() -> Any:
            return model.run(points)[0].to_numpy()

        return call

    return prepared(case, bind, report, (case.bundle / ONNX_FILE).stat().st_size)


TRACT = Backend("tract", "framework call", "same function", ("tract", "numpy", "onnx"), "peers", prepare, ("tract",))
