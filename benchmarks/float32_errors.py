"""What float32 costs the shipped student of Burgers' equation: its values, by whom, and its derivatives.

python benchmarks/float32_errors.py             prints two tables, in seconds
python benchmarks/float32_errors.py --write     into docs/numerics.md and docs/derivatives.md

Errors are differences from the Program in float64, at points that float32 holds.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import onnxruntime
import torch
from numpy.typing import NDArray
from pages import DOCS, insert, table

from kdpinn_edge.comparison.backends.torch_program import TorchProgram
from kdpinn_edge.derive.derivatives import derivatives
from kdpinn_edge.export.onnx_model import to_onnx
from kdpinn_edge.functions import kernel
from kdpinn_edge.importers.model import find_model
from kdpinn_edge.numerics.reference import NumpyProgram
from kdpinn_edge.problems import problem
from kdpinn_edge.program.evaluate import variables
from kdpinn_edge.program.interp import Meaning, interpret
from kdpinn_edge.program.ir import Affine, Program, Scale

NAME = "burgers"
N_POINTS = 20_000
COLUMNS = "u", "u_x", "u_t", "u_xx"
EPSILON = float(np.finfo(np.float32).eps)

Array = NDArray[Any]
Computed = Callable[[Array], Array]
"""Of points (n, n_in) in float32, with values (n, n_out)."""


class OurFunctions(Meaning):
    """The meaning of a Program, but with the functions of the library in float32."""

    def map(self, fn: str, x: Array) -> Array:
        """The function fn(x) as the library computes it."""
        return kernel(fn, "fma-2")(x.astype(np.float32)).astype(np.float64)


def stored(program: Program, meaning: Meaning) -> Computed:
    """Every operation in float64, its parameters and its result as float32 holds them: what storage alone costs."""
    ops = (
        replace(op, weight=held(op.weight), bias=held(op.bias)) if isinstance(op, Affine | Scale) else op
        for op in program.ops
    )
    rounded = replace(program, ops=tuple(ops))
    return lambda x: variables(rounded, meaning, held(x), lambda _, value: held(value))[rounded.outputs[0].name]


def held(x: Array) -> Array:
    """The numbers of x as float32 holds them, in float64."""
    return x.astype(np.float32).astype(np.float64)


def on_onnx_runtime(program: Program) -> Computed:
    """The exported ONNX model, in ONNX Runtime on one thread."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(to_onnx(program, "float32").SerializeToString(), options)
    return lambda x: session.run(None, {"x": x})[0]


def on_torch(program: Program) -> Computed:
    """The operations of the Program in PyTorch, eagerly."""
    module = TorchProgram(program, "float32")

    def computed(x: Array) -> Array:
        with torch.inference_mode():
            values: Array = module(torch.from_numpy(x)).numpy()
        return values

    return computed


def ways(program: Program) -> Mapping[str, Computed]:
    """Who computes the values, and how."""
    return {
        "the library": NumpyProgram(program, "float32"),
        "the library, fast grade": NumpyProgram(program, "float32", "fma-2-fast"),
        "the library, profile `muladd-1`": NumpyProgram(program, "float32", "muladd-1"),
        "exact sums, results stored in float32": stored(program, OurFunctions()),
        "exact sums and functions, results stored in float32": stored(program, Meaning()),
        "ONNX Runtime": on_onnx_runtime(program),
        "PyTorch": on_torch(program),
        "the library in float64": lambda x: NumpyProgram(program, "float64")(x.astype(np.float64)),
    }


def values(program: Program, x: Array) -> Iterator[tuple[str, ...]]:
    """A row for each way: its root mean square error, and its largest."""
    exact = interpret(program, x)
    for title, computed in ways(program).items():
        error = computed(x).astype(np.float64) - exact
        yield title, f"{np.sqrt(np.mean(error**2)):.1e}", f"{np.abs(error).max():.1e}"


def slopes(program: Program, x: Array) -> Iterator[tuple[str, ...]]:
    """A row for each derivative: its largest value, and its largest error."""
    jet = derivatives(program, COLUMNS)
    exact = interpret(jet, x)
    error = np.abs(NumpyProgram(jet, "float32")(x) - exact).max(axis=0)
    for column, largest, missed in zip(COLUMNS, np.abs(exact).max(axis=0), error, strict=True):
        yield f"`{column}`", f"{largest:.2g}", f"{missed:.1e}", f"{missed / (largest * EPSILON):.0f}"


def main() -> None:
    """Print both tables, and write them where that is asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", action="store_true", help="into the pages")
    options = parser.parse_args()
    program, solved = find_model(NAME).program, problem(NAME)
    x = np.random.default_rng(0).uniform(solved.lower, solved.upper, (N_POINTS, 2)).astype(np.float32)
    found = {
        "numerics.md": table(("computed by", "root mean square error", "largest error"), values(program, x)),
        "derivatives.md": table(
            ("column", "largest value", "largest error", "in epsilons of the largest value"), slopes(program, x)
        ),
    }
    for page, text in found.items():
        print(text, end="\n\n")
        if options.write:
            insert(DOCS / page, "float32", text)


if __name__ == "__main__":
    main()
