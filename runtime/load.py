"""`load(bundle)`: from the files of a bundle to an Engine, everything checked before anything runs."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Literal, overload

from kdpinn_edge.bundle.manifest import ONNX_FILES, PROGRAM_FILES, FunctionName
from kdpinn_edge.bundle.read import Bundle, open_bundle
from kdpinn_edge.errors import EngineError, did_you_mean
from kdpinn_edge.runtime.engine import Engine
from kdpinn_edge.runtime.library_engine import LibraryEngine
from kdpinn_edge.runtime.numpy_engine import NumpyEngine
from kdpinn_edge.runtime.onnx_engine import OnnxEngine

EngineName = Literal["library", "onnx", "numpy"]


Key = str | os.PathLike[str] | None


@overload
def load(
    bundle: str | os.PathLike[str], engine: Literal["library"] = ..., *, key: Key = ..., sha256: str | None = ...
) -> LibraryEngine: ...
@overload
def load(
    bundle: str | os.PathLike[str], engine: Literal["onnx"], *, key: Key = ..., sha256: str | None = ...
) -> OnnxEngine: ...
@overload
def load(
    bundle: str | os.PathLike[str], engine: Literal["numpy"], *, key: Key = ..., sha256: str | None = ...
) -> NumpyEngine: ...
@overload
def load(bundle: str | os.PathLike[str], engine: EngineName, *, key: Key = ..., sha256: str | None = ...) -> Engine: ...


def load(
    bundle: str | os.PathLike[str], engine: EngineName = "library", *, key: Key = None, sha256: str | None = None
) -> Engine:
    """The Engine of the bundle in the directory `bundle`.

    "library" is the shared library, "numpy" the same bits in pure NumPy, "onnx" the ONNX model in ONNX Runtime. Before
    anything is used, all files are read, once, and must have the hashes that the manifest states; the library must
    carry what the manifest states, and loading it must run no code. Raises BundleError where the bundle is not as it
    was exported, EngineError where it cannot run here.

    `key` is the file of a public key: a bundle that its holder has not signed is refused before anything of it is
    parsed. `sha256` is the hash of manifest.json, which `export` prints: another bundle is refused likewise.

        engine = load("burgers.bundle")
        u = engine(np.array([[0.5, 0.1]], np.float32))
    """
    return load_opened(open_bundle(bundle, key=key, sha256=sha256), engine)


def load_opened(bundle: Bundle, engine: EngineName = "library") -> Engine:
    """The Engine of a bundle that was read already. Raises what `load` raises."""
    match engine:
        case "library":
            return LibraryEngine(bundle)
        case "onnx":
            models = _listed(bundle, ONNX_FILES, engine)
            return OnnxEngine(bundle.manifest, models)
        case "numpy":
            _listed(bundle, PROGRAM_FILES, engine)
            return NumpyEngine(bundle)
    raise EngineError(
        f"engine {engine!r} is unknown; expected: library, onnx, numpy, or numba in kdpinn_edge.load"
        f"{did_you_mean(engine, ('library', 'onnx', 'numpy'))}"
    )


def _listed(bundle: Bundle, files: Mapping[FunctionName, str], engine: str) -> dict[FunctionName, bytes]:
    """For each function of the bundle the contents of its file among `files`."""
    for function in bundle.manifest.functions:
        if files[function] not in bundle.contents:
            raise EngineError(
                f"the bundle has no {files[function]}, which engine={engine!r} needs; expected here: engine='library', "
                "or export again"
            )
    return {function: bundle.contents[files[function]] for function in bundle.manifest.functions}
