"""IREE: the ONNX model with n fixed, compiled by its LLVM backend for this processor, called through its VM."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np

from kdpinn_edge.comparison.backend import Array, Backend, Call, Case, Prepared
from kdpinn_edge.comparison.backends.c_source import run
from kdpinn_edge.comparison.backends.onnx_file import onnx_file
from kdpinn_edge.comparison.backends.prepared import prepared, require_float32

FLAGS = (
    "--iree-input-type=onnx",
    "--iree-hal-target-backends=llvm-cpu",
    "--iree-llvmcpu-target-cpu=host",
    "--iree-opt-level=O3",
)


def prepare(case: Case, threads: int | None) -> Prepared:
    """Prepare a module per shape; x is on the device before, y is new at every call; local-sync is the caller's."""
    import iree.runtime

    require_float32(case)
    if threads not in (1, None):
        iree.runtime.flags.parse_flags(f"--task_topology_group_count={threads}")
    config = iree.runtime.Config("local-sync" if threads == 1 else "local-task")

    def bind(x: Array, y: Array) -> Call:
        module = iree.runtime.VmModule.mmap(config.vm_instance, str(compiled(case, len(x))))
        context = iree.runtime.VmContext(config.vm_instance, modules=[*config.default_vm_modules, module])
        function = module.lookup_function(case.program.name)
        points = iree.runtime.asdevicearray(config.device, x)
        arguments = iree.runtime.VmVariantList(1)
        arguments.push_ref(points._buffer_view)

        def call() -> Any:
            results = iree.runtime.VmVariantList(1)
            context.invoke(function, arguments, results)
            return _Values(config.device, results)

        return call

    report = {1: "driver local-sync", None: "driver local-task, its own choice"}.get(
        threads, f"driver local-task, task_topology_group_count={threads}"
    )
    return prepared(case, bind, report, compiled(case, 1).stat().st_size)


class _Values:
    """What a call returned; NumPy sees it when it asks."""

    def __init__(self, device: Any, results: Any) -> None:
        self._device, self._results = device, results

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Array:
        import iree.runtime

        view = self._results.get_as_object(0, iree.runtime.HalBufferView)
        return np.asarray(iree.runtime.DeviceArray(self._device, view).to_host(), dtype)


def compiled(case: Case, n: int) -> Path:
    """The module for n points, made once per case: the ONNX model, imported to MLIR, compiled."""
    result = case.folder / f"{n}.vmfb"
    if result.exists():
        return result
    imported, unfinished = (result.with_suffix(suffix) for suffix in (".mlir", ".unfinished"))
    newer = ("--opset-version", "17")  # the importer has no Slice of opset 10
    run([sys.executable, "-m", "iree.compiler.tools.import_onnx", onnx_file(case, n), "-o", imported, *newer])
    run([sys.executable, "-m", "iree.compiler.tools.scripts.iree_compile", imported, "-o", unfinished, *FLAGS])
    unfinished.replace(result)
    return result


RUNTIME = "iree-base-runtime"
IREE = Backend(
    "iree",
    "framework call",
    "same function",
    ("iree-base-compiler", RUNTIME, "onnx"),
    "peers",
    prepare,
    (RUNTIME,),
)
