"""`load(bundle)`: from the files of a bundle to an Engine, everything checked before anything runs."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Literal, overload

from kdpinn_edge.bundle.fmu import machine_code
from kdpinn_edge.bundle.manifest import ONNX_FILES, PROGRAM_FILES, FunctionName, Manifest, check_files, read_manifest
from kdpinn_edge.errors import EngineError, did_you_mean
from kdpinn_edge.runtime.engine import Engine
from kdpinn_edge.runtime.library_engine import LibraryEngine
from kdpinn_edge.runtime.numpy_engine import NumpyEngine
from kdpinn_edge.runtime.onnx_engine import OnnxEngine

EngineName = Literal["library", "onnx", "numpy"]


@overload
def load(bundle: str | os.PathLike[str], engine: Literal["library"] = ...) -> LibraryEngine: ...
@overload
def load(bundle: str | os.PathLike[str], engine: Literal["onnx"]) -> OnnxEngine: ...
@overload
def load(bundle: str | os.PathLike[str], engine: Literal["numpy"]) -> NumpyEngine: ...
@overload
def load(bundle: str | os.PathLike[str], engine: EngineName) -> Engine: ...


def load(bundle: str | os.PathLike[str], engine: EngineName = "library") -> Engine:
    """The Engine of the bundle in the directory `bundle`.

    "library" is the shared library, "numpy" the same bits in pure NumPy, "onnx" the ONNX model in ONNX Runtime. The
    manifest and the hash of every file are checked first. Raises BundleError where the bundle is not as it was
    exported, EngineError where it cannot run here.

        engine = load("burgers.bundle")
        u = engine(np.array([[0.5, 0.1]], np.float32))
    """
    directory = Path(bundle)
    manifest = read_manifest(directory)
    contents = check_files(directory, manifest)
    match engine:
        case "library":
            return LibraryEngine(manifest, machine_code(manifest.name, manifest.library, contents[manifest.library]))
        case "onnx":
            models = _listed(manifest, ONNX_FILES, engine)
            return OnnxEngine(manifest, {function: contents[file] for function, file in models.items()})
        case "numpy":
            programs = _listed(manifest, PROGRAM_FILES, engine)
            return NumpyEngine(manifest, {function: contents[file] for function, file in programs.items()})
    raise EngineError(
        f"engine {engine!r} is unknown; expected: library, onnx, numpy, or numba in kdpinn_edge.load"
        f"{did_you_mean(engine, ('library', 'onnx', 'numpy'))}"
    )


def _listed(manifest: Manifest, files: Mapping[FunctionName, str], engine: str) -> dict[FunctionName, str]:
    """For each function of the bundle its file among `files`."""
    for function in manifest.functions:
        if files[function] not in manifest.files:
            raise EngineError(
                f"the bundle has no {files[function]}, which engine={engine!r} needs; expected here: engine='library', "
                "or export again"
            )
    return {function: files[function] for function in manifest.functions}
