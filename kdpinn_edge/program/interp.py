"""The meaning of a Program, in float64 NumPy. Every other backend is judged against this file."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from kdpinn_edge.errors import EngineError
from kdpinn_edge.functions import find_function
from kdpinn_edge.program.evaluate import evaluate
from kdpinn_edge.program.ir import Affine, Array, Program, Scale


def interpret(program: Program, x: ArrayLike) -> Array:
    """Evaluate `program` at the points x (n, n_in); returns (n, n_out), float64, or long double where x is.

    Columns are the inputs, and the outputs, in the order of the Program, one after another. Raises EngineError where
    x has another shape.
    """
    points = np.asarray(x)
    points = points.astype(np.promote_types(points.dtype, np.float64), copy=False)
    if points.ndim != 2 or points.shape[1] != program.n_in:
        raise EngineError(f"x has shape {points.shape}; expected: (n, {program.n_in}), one row per point")
    with np.errstate(all="ignore"):
        return evaluate(program, Meaning(), points).copy()


class Meaning:
    """The meaning of each operation, for points in rows."""

    def affine(self, op: Affine, x: Array) -> Array:
        """The vector weight @ x + bias."""
        return x @ op.weight.T + op.bias

    def scale(self, op: Scale, x: Array) -> Array:
        """The product weight * x plus bias, elementwise."""
        return op.weight * x + op.bias

    def map(self, fn: str, x: Array) -> Array:
        """The function fn(x), elementwise; ProgramError where there is no such function."""
        return find_function(fn).exact(x)

    def add(self, a: Array, b: Array) -> Array:
        """The sum a + b, elementwise."""
        return a + b

    def mul(self, a: Array, b: Array) -> Array:
        """The product a * b, elementwise."""
        return a * b

    def select(self, c: Array, a: Array, b: Array) -> Array:
        """The entries of a where c > 0, and those of b elsewhere."""
        return np.where(c > 0, a, b)

    def concat(self, xs: Sequence[Array]) -> Array:
        """The entries of all xs, one after another."""
        return np.concatenate(xs, axis=1)

    def slice(self, x: Array, start: int, size: int) -> Array:
        """The entries x[start : start + size]."""
        return x[:, start : start + size]
