"""The ONNX model of a bundle in ONNX Runtime: for comparison, and where ONNX is what runs anyway."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from kdpinn_edge.errors import BundleError, EngineError
from kdpinn_edge.manifest import ONNX_FILE, Manifest
from kdpinn_edge.runtime.engine import Array, Engine, check_array


class OnnxEngine(Engine):
    """`model`, the bytes of the bundle's ONNX model. Its values are near those of the library, not equal to the bit.

    ONNX Runtime's own threads are off: `threads` splits the points as in every engine. That the bits do not depend on
    the split is not promised here.

    Raises EngineError where ONNX Runtime is not installed or does not take the model, BundleError where that is not of
    the Program that `manifest` names.
    """

    def __init__(self, manifest: Manifest, model: bytes) -> None:
        super().__init__(manifest)
        try:
            import onnxruntime
        except ImportError as error:
            raise EngineError(
                f"the onnx engine needs ONNX Runtime ({error}): pip install 'kdpinn-edge[bench]'"
            ) from error
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.inter_op_num_threads = 1
        options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
        try:
            self._session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # ONNX Runtime's own errors share no narrower type
            raise EngineError(f"ONNX Runtime {onnxruntime.__version__} does not take the model: {error}") from error
        found = self._session.get_modelmeta().custom_metadata_map.get("kdpinn.program_sha256")
        if found != manifest.program_sha256:
            raise BundleError(
                f"{ONNX_FILE} is a model of the Program {found}, the manifest says {manifest.program_sha256}: "
                "export the bundle again"
            )

    def bind_run(self, x: Array) -> Callable[[], list[Array]]:
        """As `bind`, through ONNX Runtime's plain `run`, which returns [y] in new memory at every call."""
        check_array(self.manifest, "x", x)
        return partial(self._session.run, ["y"], {"x": x})

    def _evaluate(self, x: Array, threads: int) -> Array:
        if threads > 1:
            return super()._evaluate(x, threads)
        (y,) = self._session.run(["y"], {"x": x})  # half the time of a binding that serves once
        return np.asarray(y)

    def _bind(self, x: Array, y: Array) -> Callable[[], None]:
        binding = self._session.io_binding()
        binding.bind_input("x", "cpu", 0, x.dtype, x.shape, x.ctypes.data)
        binding.bind_output("y", "cpu", 0, y.dtype, y.shape, y.ctypes.data)
        return partial(_run, self._session.run_with_iobinding, binding, (x, y))


def _run(run: Callable[[Any], None], binding: Any, memory: tuple[Array, Array]) -> None:
    """`memory` is what `binding` points into, and does not keep alive."""
    run(binding)
