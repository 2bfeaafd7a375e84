"""`load(bundle)`: from the files of a bundle to an Engine, everything checked before anything runs."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Literal, overload

from kdpinn_edge.errors import EngineError
from kdpinn_edge.manifest import ONNX_FILE, PROGRAM_FILE, Manifest, check_files, read_manifest
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
            return LibraryEngine(manifest, contents[manifest.library])
        case "onnx":
            return OnnxEngine(manifest, contents[_listed(manifest, ONNX_FILE, engine)])
        case "numpy":
            return NumpyEngine(manifest, directory / _listed(manifest, PROGRAM_FILE, engine))
    raise EngineError(f"engine {engine!r} is not known; accepted: library, onnx, numpy")


def _listed(manifest: Manifest, file: str, engine: str) -> str:
    if file not in manifest.files:
        raise EngineError(
            f"the bundle has no {file}, which engine={engine!r} needs; accepted here: engine='library', or export again"
        )
    return file
