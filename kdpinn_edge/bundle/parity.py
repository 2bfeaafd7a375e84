"""Parity: whether a backend computes the function that a Program means, judged at probe points."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from kdpinn_edge.bundle.manifest import Manifest
from kdpinn_edge.bundle.probe import probe_points
from kdpinn_edge.numerics.reference import NumpyProgram
from kdpinn_edge.program.interp import interpret
from kdpinn_edge.program.ir import Array, Program

N_POINTS = 1024
SLACK = 16


class Parity:
    """The values that backends of one function of a bundle are held to at points `x` (1024, n_in), in its precision.

    `bits` are the values of the NumPy program, which a kernel of its profile returns exactly. Any other backend rounds
    elsewhere, so an output may be off by 16 times what the NumPy program itself is off there, or by 16 epsilons of the
    output's largest value: u and u_xx are of different size. `allowed` and `scale` are the largest of all outputs.
    """

    def __init__(self, program: Program, manifest: Manifest) -> None:
        self.program = program
        self.profile = manifest.profile
        reference = NumpyProgram(program, manifest.precision, manifest.profile, manifest.box)
        self.x: NDArray[Any] = probe_points(manifest.inputs, N_POINTS, seed=2).astype(reference.dtype)
        self.exact = interpret(program, self.x)
        self.bits = reference(self.x)
        self.scales: Array = np.abs(self.exact).max(axis=0)
        rounding = np.finfo(reference.dtype).eps * self.scales
        self.allowances: Array = SLACK * np.maximum(self.errors(self.bits), rounding)
        self.scale = float(self.scales.max())
        self.allowed = float(self.allowances.max())

    def errors(self, y: NDArray[Any]) -> Array:
        """The errors: for each output the largest absolute difference of y (1024, n_out) to the Program in float64."""
        largest: Array = np.abs(y - self.exact).max(axis=0)
        return largest

    def error(self, y: NDArray[Any]) -> float:
        """The largest absolute difference of y (1024, n_out) to the Program in float64."""
        return float(self.errors(y).max())

    def holds(self, y: NDArray[Any]) -> bool:
        """Whether y is the same function, up to rounding in another order."""
        return bool((self.errors(y) <= self.allowances).all())

    def is_exact(self, y: NDArray[Any]) -> bool:
        """Whether y has the bits of the NumPy program."""
        return y.dtype == self.bits.dtype and y.shape == self.bits.shape and y.tobytes() == self.bits.tobytes()
