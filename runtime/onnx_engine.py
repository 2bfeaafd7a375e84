"""The ONNX models of a bundle in ONNX Runtime: for comparison, and where ONNX is what runs anyway."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import numpy as np

from kdpinn_edge.bundle.manifest import ONNX_FILES, FunctionName, Manifest
from kdpinn_edge.errors import BundleError, EngineError
from kdpinn_edge.runtime.bound import BoundCall
from kdpinn_edge.runtime.engine import Array, Engine, check_function, check_points


class OnnxEngine(Engine):
    """An engine for the bytes `models` of the bundle's ONNX models: values near those of the library, not equal bits.

    Models that take `manifest.batch` points are run once for every so many; the last time is filled up with copies of
    the last point.

    ONNX Runtime's own threads are off unless `intra_op_threads` says how many one call of it may use, None leaving that
    to it; `threads` splits the points as in every engine. That the bits do not depend on either is not promised here.

    Raises EngineError where ONNX Runtime is not installed or does not take a model, BundleError where that is not of
    the Program that `manifest` names.
    """

    def __init__(
        self, manifest: Manifest, models: Mapping[FunctionName, bytes], *, intra_op_threads: int | None = 1
    ) -> None:
        super().__init__(manifest)
        self._made_of = models, intra_op_threads
        try:
            import onnxruntime
        except ImportError as error:
            raise EngineError(
                f"the onnx engine needs ONNX Runtime ({error}): pip install 'kdpinn-edge[bench]'"
            ) from error
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = intra_op_threads or 0
        options.inter_op_num_threads = 1
        options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
        self._sessions: dict[FunctionName, Any] = {}
        for function, model in models.items():
            try:
                session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
            except Exception as error:  # ONNX Runtime's own errors share no narrower type
                raise EngineError(
                    f"ONNX Runtime {onnxruntime.__version__} does not take {ONNX_FILES[function]}: {error}"
                ) from error
            found = session.get_modelmeta().custom_metadata_map.get("kdpinn.program_sha256")
            expected = manifest.functions[function].program_sha256
            if found != expected:
                raise BundleError(
                    f"{ONNX_FILES[function]} is a model of the Program {found}, the manifest says {expected}: "
                    "export the bundle again"
                )
            points, stated = session.get_inputs()[0].shape[0], manifest.batch or "n"
            if points != stated:
                raise BundleError(
                    f"{ONNX_FILES[function]} takes {points} points, the manifest says {stated}: export the bundle again"
                )
            self._sessions[function] = session

    def __reduce__(self) -> tuple[Any, ...]:
        models, intra_op_threads = self._made_of
        return partial(OnnxEngine, intra_op_threads=intra_op_threads), (self.manifest, models)

    def bind_run(self, x: Array, *, function: FunctionName = "eval") -> Callable[[], list[Array]]:
        """Bind as `bind` does, through ONNX Runtime's plain `run`, which returns [y] in new memory at every call."""
        check_function(self.manifest, function)
        check_points(self.manifest, x)
        if self.manifest.batch in (None, len(x)):
            return partial(self._sessions[function].run, ["y"], {"x": x})

        def run() -> list[Array]:
            y = np.empty((len(x), self.manifest.functions[function].n_out), self.dtype)
            self._in_batches(function, x, y)
            return [y]

        return run

    def _evaluate(self, function: FunctionName, x: Array, threads: int) -> Array:
        if threads > 1:
            return super()._evaluate(function, x, threads)
        (y,) = self.bind_run(x, function=function)()  # half the time of a binding that serves once
        return np.asarray(y)

    def _in_batches(self, function: FunctionName, x: Array, y: Array) -> None:
        """Store the values at x in y, by calls of as many points as the model takes."""
        batch = self.manifest.batch or len(x)
        for at in range(0, len(x), batch):
            points = x[np.minimum(np.arange(at, at + batch), len(x) - 1)]
            (values,) = self._sessions[function].run(["y"], {"x": points})
            y[at : at + batch] = values[: len(x) - at]

    def _bind(self, function: FunctionName, x: Array, y: Array) -> BoundCall:
        if self.manifest.batch not in (None, len(x)):
            return BoundCall(self, function, self._in_batches, (function, x, y), y)
        session = self._sessions[function]
        binding = session.io_binding()
        binding.bind_input("x", "cpu", 0, x.dtype, x.shape, x.ctypes.data)
        binding.bind_output("y", "cpu", 0, y.dtype, y.shape, y.ctypes.data)
        return BoundCall(self, function, _run, (session.run_with_iobinding, binding, x), y)


def _run(run: Callable[[Any], None], binding: Any, x: Array) -> None:
    """x is what `binding` points into, and does not keep alive."""
    run(binding)
