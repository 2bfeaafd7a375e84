"""The ONNX models of a bundle in the tools that read them, whose values are held to `Parity`, as check holds ours."""

from __future__ import annotations

import ctypes
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from artifacts import Artifacts
from conftest import Need
from nets import mlp_of_everything
from numpy.typing import NDArray

from kdpinn_edge.bundle.manifest import ONNX_FILES, FunctionName, Precision
from kdpinn_edge.bundle.parity import Parity
from kdpinn_edge.bundle.read import open_bundle

pytestmark = pytest.mark.hosts

Array = NDArray[np.floating]
Reader = Callable[[Path, Array, int, Path, Need], Array]
BATCH = 64
IN_FLOAT32 = 4e-6
"""What the CPU plugin of OpenVINO is off by for a model in float64, as a share of the largest value: its arithmetic is
float32, whose parity allows 3.6e-6 of this network."""


def openvino(model: Path, x: Array, n_out: int, folder: Path, need: Need) -> Array:
    package = pytest.importorskip("openvino")
    compiled = package.Core().compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    return np.concatenate([compiled(part)[0] for part in np.split(x, len(x) // BATCH)])


def tract(model: Path, x: Array, n_out: int, folder: Path, need: Need) -> Array:
    package = pytest.importorskip("tract")
    runnable = package.onnx().load(str(model)).into_model().into_runnable()
    parts = np.split(x, len(x) // BATCH)
    return np.concatenate([runnable.run([package.Tensor.from_numpy(part)])[0].to_numpy() for part in parts])


def emx_onnx_cgen(model: Path, x: Array, n_out: int, folder: Path, need: Need) -> Array:
    pytest.importorskip("emx_onnx_cgen")
    source, library = folder / f"{model.stem}.c", folder / f"{model.stem}.so"
    options = ["--model-name", "model", "--large-weight-threshold", "0"]
    subprocess.run([sys.executable, "-m", "emx_onnx_cgen", "compile", model, source, *options], check=True)
    subprocess.run([need("cc"), "-O1", "-shared", "-fPIC", source, "-lm", "-o", library], check=True)
    evaluate, y = ctypes.CDLL(str(library)).model, np.empty((len(x), n_out), x.dtype)
    for at in range(0, len(x), BATCH):
        evaluate(ctypes.c_void_p(x[at:].ctypes.data), ctypes.c_void_p(y[at:].ctypes.data))
    return y


def onnxruntime_web(model: Path, x: Array, n_out: int, folder: Path, need: Need) -> Array:
    packages = Path(sys.prefix)
    if not (packages / "node_modules" / "onnxruntime-web").exists():
        pytest.skip("onnxruntime-web is not installed; make verify-hosts does so")
    points, values = folder / "points", folder / "values"
    x.tofile(points)
    script = Path(__file__).parent / "onnx_web.mjs"
    subprocess.run([need("node"), script, packages, model, points, values, str(x.dtype), str(BATCH)], check=True)
    return np.fromfile(values, x.dtype).reshape(-1, n_out)


READERS: dict[str, Reader] = {
    "openvino": openvino,
    "tract": tract,
    "emx-onnx-cgen": emx_onnx_cgen,
    "onnxruntime-web": onnxruntime_web,
}


@pytest.mark.parametrize("precision", ["float32", "float64"])
@pytest.mark.parametrize("reader", READERS)
def test_it_computes_every_function(
    reader: str, precision: Precision, artifacts: Artifacts, tmp_path: Path, need: Need
) -> None:
    """All operations and functions of a Program; derivatives; a fixed number of points."""
    program = mlp_of_everything(np.random.default_rng(7))
    folder = artifacts.bundle(program, name="net", precision=precision, derivatives=["u[1]", "u[0]_t"], batch=BATCH)
    bundle = open_bundle(folder)
    functions: tuple[FunctionName, ...] = ("eval", "jet")
    for function in functions:
        parity = Parity(bundle.program(function), bundle.manifest)
        y = READERS[reader](folder / ONNX_FILES[function], parity.x, parity.program.n_out, tmp_path, need)
        assert y.dtype == precision
        if (reader, precision) == ("openvino", "float64"):
            assert (parity.errors(y) <= IN_FLOAT32 * parity.scales).all()
            assert (parity.errors(y) > 1e-9 * parity.scales).all()
        else:
            assert parity.holds(y), parity.errors(y) / parity.allowances
