"""The peers: other ways from a trained network to numbers on a CPU, each as fast as it can be called on one thread.

`bind(net, x, y)` prepares one peer for one batch: it returns a call without arguments that evaluates at
x (n, 2) and stores into y (n, 1), or returns the values where the peer has no preallocated outputs. Inputs are in the
peer's own memory before the clock runs, shapes are known to those that compile for a shape.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import weakref
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import cffi
import numpy as np
from numpy.typing import NDArray

from kdpinn_edge.errors import BenchError
from kdpinn_edge.ir import Affine, Program
from kdpinn_edge.manifest import ONNX_FILE
from kdpinn_edge.runtime import load
from kdpinn_edge.runtime.c_harness import SOURCE as HARNESS

Array = NDArray[Any]
Call = Callable[[], Any]


@dataclass(frozen=True)
class Net:
    """One network as every peer gets it: `depth` tanh layers of `width` between 2 inputs and 1 output.

    `bundle` holds its ONNX model; values further than `allowed_error` from the float64 Program are not this network's.
    """

    width: int
    depth: int
    program: Program
    bundle: Path
    allowed_error: float

    def __str__(self) -> str:
        return f"{self.depth}×{self.width}"

    @property
    def layers(self) -> list[tuple[Array, Array]]:
        """(weight, bias) of each layer in float32, weight (out, in)."""
        affine = [op for op in self.program.ops if isinstance(op, Affine)]
        return [(op.weight.astype(np.float32), op.bias.astype(np.float32)) for op in affine]

    @property
    def multiply_adds(self) -> int:
        """Multiply-adds of the matrix products per point."""
        return sum(weight.size for weight, _ in self.layers)


@dataclass(frozen=True)
class Peer:
    """One peer: the package that it comes in, and how to bind it to a batch."""

    package: str
    bind: Callable[[Net, Array, Array], Call]


def _onnx_binding(net: Net, x: Array, y: Array) -> Call:
    return load(net.bundle, engine="onnx").bind(x, y)


def _onnx_run(net: Net, x: Array, y: Array) -> Call:
    return load(net.bundle, engine="onnx").bind_run(x)


def _openvino(net: Net, x: Array, y: Array) -> Call:
    import openvino

    core = openvino.Core()
    model = core.read_model(net.bundle / ONNX_FILE)
    model.reshape(list(x.shape))
    properties = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_NUM_THREADS": 1, "INFERENCE_PRECISION_HINT": "f32"}
    request = core.compile_model(model, "CPU", properties).create_infer_request()
    request.set_input_tensor(openvino.Tensor(x, shared_memory=True))
    request.set_output_tensor(openvino.Tensor(y, shared_memory=True))

    def call() -> None:
        request.infer(share_outputs=True)

    return call


def _jax(net: Net, x: Array, y: Array, *, points_in_rows: bool) -> Call:
    import jax

    # one thread also means the caller's own: with asynchronous dispatch n = 1 takes three times as long
    jax.config.update("jax_cpu_enable_async_dispatch", False)
    layers = [(jax.numpy.asarray(weight), jax.numpy.asarray(bias)) for weight, bias in net.layers]

    def affine(v: Any, layer: tuple[Any, Any]) -> Any:
        weight, bias = layer
        return v @ weight.T + bias if points_in_rows else weight @ v + bias[:, None]

    @jax.jit
    def evaluate(v: Any) -> Any:
        v = v if points_in_rows else v.T
        for layer in layers[:-1]:
            v = jax.numpy.tanh(affine(v, layer))
        v = affine(v, layers[-1])
        return v if points_in_rows else v.T

    points = jax.device_put(x)
    return lambda: evaluate(points).block_until_ready()


def _torch(net: Net, x: Array, y: Array) -> Call:
    import torch

    torch.set_num_threads(1)
    torch.compiler.reset()  # torch compiles one function for 8 shapes and nets at most, and then interprets
    layers = [(torch.from_numpy(weight), torch.from_numpy(bias)) for weight, bias in net.layers]

    @torch.compile(dynamic=False, fullgraph=True)
    def evaluate(v: Any) -> Any:
        for weight, bias in layers[:-1]:
            v = torch.tanh(torch.nn.functional.linear(v, weight, bias))
        return torch.nn.functional.linear(v, *layers[-1])

    return torch.inference_mode()(partial(evaluate, torch.from_numpy(x)))


EMX_LIBRARY = """
#include "model.c"
#include "kdpinn_edge.h"

static int32_t eval(const float *x, float *y, int64_t n) {{
    for (int64_t i = 0; i < n; i += {block})
        model((const float (*)[2])(x + 2 * i), (float (*)[1])(y + i));
    return KDPINN_OK;
}}

static int32_t selftest(void) {{ return 0; }}

const kdpinn_model *emx_model(void) {{
    static const kdpinn_function functions[] = {{{{.name = "eval", .f32 = eval, .n_out = 1}}}};
    static const kdpinn_model description = {{
        .abi = KDPINN_ABI, .scalar_bytes = 4, .n_in = 2, .n_functions = 1, .functions = functions,
        .selftest = selftest}};
    return &description;
}}

int32_t emx_eval(const float *x, float *y, int64_t n) {{ return eval(x, y, n); }}
"""
EMX_BLOCK = 64  # most points per call of its C, a divisor of n: larger batches are slower, their temporaries leave L1


def emx_library(net: Net, n: int, level: str) -> Path:
    """The C of emx-onnx-cgen for n points, compiled with `level` into a library that harness.c takes for a model.

    Made once, beside the bundle. Raises BenchError where the generator or the C compiler fails.
    """
    compiler = shutil.which("cc")
    if compiler is None:
        raise BenchError("the C compiler 'cc' is not on PATH; install one (on Debian: apt install gcc)")
    block = max(b for b in range(1, EMX_BLOCK + 1) if n % b == 0)
    folder = net.bundle.with_name(f"{net.bundle.name}_emx_{block}")
    source, unit, library = folder / "model.c", folder / "emx.c", folder / f"emx{level}.so"
    if not folder.exists():
        folder.mkdir()
        options = ["--input-dim", f"n={block}", "--large-weight-threshold", "0"]
        _run([sys.executable, "-m", "emx_onnx_cgen", "compile", net.bundle / ONNX_FILE, source, *options])
        unit.write_text(EMX_LIBRARY.format(block=block), encoding="utf-8")
    if not library.exists():
        # linked without the level: -Ofast would add a constructor that makes the whole process flush subnormal numbers
        compiled = library.with_suffix(".o")
        flags = [level, "-march=native", "-fPIC", "-fno-semantic-interposition", f"-I{HARNESS.parent}"]
        _run([compiler, *flags, "-c", unit, "-o", compiled])
        _run([compiler, "-shared", compiled, "-o", library, "-lm"])
    return library


def _emx(net: Net, x: Array, y: Array, *, level: str) -> Call:
    ffi = cffi.FFI()
    ffi.cdef("int32_t emx_eval(const float *x, float *y, int64_t n);")
    library = ffi.dlopen(str(emx_library(net, len(x), level)))
    evaluate, n = library.emx_eval, len(x)
    points, values = ffi.from_buffer("float[]", x), ffi.from_buffer("float[]", y, require_writable=True)

    def call() -> None:
        evaluate(points, values, n)

    weakref.finalize(call, ffi.dlclose, library)  # cffi's functions do not keep their library open
    return call


def _run(command: list[Any]) -> None:
    done = subprocess.run(list(map(os.fspath, command)), capture_output=True, text=True, check=False)  # noqa: S603
    if done.returncode != 0:
        raise BenchError(f"{command[0]} failed with exit code {done.returncode}: {done.stderr.strip()}")


EMX_LEVELS = ("-Ofast", "-O3")
PEERS = {
    "ort-binding": Peer("onnxruntime", _onnx_binding),
    "ort-run": Peer("onnxruntime", _onnx_run),
    "openvino": Peer("openvino", _openvino),
    "jax": Peer("jax", partial(_jax, points_in_rows=True)),
    "jax-columns": Peer("jax", partial(_jax, points_in_rows=False)),
    "torch-compile": Peer("torch", _torch),
    **{f"emx{level}": Peer("emx-onnx-cgen", partial(_emx, level=level)) for level in EMX_LEVELS},
}
