"""Kernels for tests: a Program as a compiled library, without a bundle around it."""

from __future__ import annotations

import ctypes
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kdpinn_edge.bundle.manifest import FunctionName, Input, Precision
from kdpinn_edge.export.artifacts.gates import check_artifact
from kdpinn_edge.export.artifacts.linking import link, linker
from kdpinn_edge.export.lowering.kernel import Kernel, make_kernel
from kdpinn_edge.export.machine_code import object_code
from kdpinn_edge.export.targets.interface import Interface
from kdpinn_edge.export.targets.table import TARGETS, Target
from kdpinn_edge.numerics.reference import NumpyProgram
from kdpinn_edge.program.ir import Program, columns

INTEGER = {"float32": np.int32, "float64": np.int64}
RUNNABLE = [target for target in TARGETS.values() if target.runs_here() and not target.variants]
ALWAYS_POINTS, ALWAYS_POINT = 0, 10**6


Functions = Mapping[FunctionName, Program]


def kernel(
    functions: Functions, precision: Precision, target: Target, crossover: int, storage: str | None = None
) -> Kernel:
    """The printed kernel, with golden vectors from the NumPy programs."""
    n_in = functions["eval"].n_in
    golden_x = np.random.default_rng(0).uniform(-1, 1, (40, n_in)).astype(precision)
    golden_x[-1] = np.nan
    return make_kernel(
        functions,
        precision,
        profile=target.profile,
        vectors=target.vectors(precision),
        narrow=target.pointer_bits == 32,
        crossover=crossover,
        lower=-np.ones(n_in),
        upper=np.ones(n_in),
        golden_x=golden_x,
        golden_y={
            name: NumpyProgram(program, precision, target.profile)(golden_x) for name, program in functions.items()
        },
        storage=storage,
    )


class Library:
    """The functions of one model compiled, linked, gated and loaded; a Program alone is its `eval`."""

    def __init__(
        self, functions: Functions | Program, precision: Precision, target: Target, crossover: int, name: str = "model"
    ) -> None:
        self.functions: Functions = {"eval": functions} if isinstance(functions, Program) else functions
        inputs = tuple(Input(column, -1.0, 1.0) for column in columns(self.functions["eval"].inputs))
        interface = Interface(name, precision, target, inputs, self.functions)
        self.kernel = kernel(self.functions, precision, target, crossover)
        self.bytes = link(object_code([self.kernel], interface), interface, linker(interface))[interface.library]
        self.sizes = check_artifact(self.bytes, interface).sizes
        self.precision = precision
        with TemporaryDirectory() as folder:
            path = Path(folder) / "model.so"
            path.write_bytes(self.bytes)
            self.c = ctypes.CDLL(str(path))

    def status(self, x: NDArray[Any] | None, y: NDArray[Any] | None, n: int, function: FunctionName = "eval") -> int:
        """What model_eval, or another function, returns."""
        pointers = [None if a is None else a.ctypes.data_as(ctypes.c_void_p) for a in (x, y)]
        return int(self.c[f"model_{function}"](*pointers, ctypes.c_int64(n)))

    def __call__(self, x: NDArray[Any], function: FunctionName = "eval") -> NDArray[Any]:
        """Evaluate at x (n, n_in); fails if a number outside y is written."""
        guarded = np.full((len(x) + 2, self.functions[function].n_out), 7.25, self.precision)
        assert self.status(x, guarded[1:], len(x), function) == 0
        assert (guarded[[0, -1]] == 7.25).all()
        return guarded[1:-1]

    def outside(self, x: NDArray[Any] | None, n: int) -> int:
        """What model_outside returns."""
        self.c.model_outside.restype = ctypes.c_int64
        pointer = None if x is None else x.ctypes.data_as(ctypes.c_void_p)
        return int(self.c.model_outside(pointer, ctypes.c_int64(n)))

    def selftest(self) -> int:
        """What model_selftest returns."""
        return int(self.c.model_selftest())


def same_bits(a: NDArray[Any], b: NDArray[Any]) -> bool:
    """Whether a and b have one type, one shape and the same bits."""
    integer = INTEGER[a.dtype.name]
    return a.dtype == b.dtype and a.shape == b.shape and bool((a.view(integer) == b.view(integer)).all())
