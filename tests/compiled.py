"""Kernels for tests: a Program as a compiled library, without a bundle around it."""

from __future__ import annotations

import ctypes
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kdpinn_edge.export.interface import Interface
from kdpinn_edge.export.machine_code import object_code
from kdpinn_edge.export.numba_kernel import Kernel, print_kernel
from kdpinn_edge.export.shared_library import check_library, link, linker
from kdpinn_edge.export.target import TARGETS, Target
from kdpinn_edge.ir import Program, columns
from kdpinn_edge.manifest import Input, Output, Precision
from kdpinn_edge.numpy_program import NumpyProgram

INTEGER = {"float32": np.int32, "float64": np.int64}
RUNNABLE = [target for target in TARGETS.values() if target.runs_here()]
ALWAYS_POINTS, ALWAYS_POINT = 0, 10**6


def kernel(program: Program, precision: Precision, target: Target, crossover: int) -> Kernel:
    """The printed kernel, with golden vectors from the NumPy program."""
    golden_x = np.random.default_rng(0).uniform(-1, 1, (40, program.n_in)).astype(precision)
    golden_x[-1] = np.nan
    return print_kernel(
        program,
        precision,
        V=target.lanes(precision),
        crossover=crossover,
        lower=-np.ones(program.n_in),
        upper=np.ones(program.n_in),
        golden_x=golden_x,
        golden_y=NumpyProgram(program, precision)(golden_x),
    )


class Library:
    """`program` compiled, linked, gated and loaded."""

    def __init__(
        self, program: Program, precision: Precision, target: Target, crossover: int, name: str = "model"
    ) -> None:
        inputs = tuple(Input(column, -1.0, 1.0) for column in columns(program.inputs))
        outputs = tuple(Output(column) for column in columns(program.outputs))
        interface = Interface(name, program, precision, target, inputs, outputs)
        self.kernel = kernel(program, precision, target, crossover)
        self.bytes = link(object_code(self.kernel, interface), interface, linker())
        self.sizes = check_library(self.bytes, interface)
        self.n_out, self.precision = program.n_out, precision
        with TemporaryDirectory() as folder:
            path = Path(folder) / "model.so"
            path.write_bytes(self.bytes)
            self.c = ctypes.CDLL(str(path))

    def status(self, x: NDArray[Any] | None, y: NDArray[Any] | None, n: int) -> int:
        """What model_eval returns."""
        pointers = [None if a is None else a.ctypes.data_as(ctypes.c_void_p) for a in (x, y)]
        return int(self.c.model_eval(*pointers, ctypes.c_int64(n)))

    def __call__(self, x: NDArray[Any]) -> NDArray[Any]:
        """Evaluate at x (n, n_in); fails if a number outside y is written."""
        guarded = np.full((len(x) + 2, self.n_out), 7.25, self.precision)
        assert self.status(x, guarded[1:], len(x)) == 0
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
