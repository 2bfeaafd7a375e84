"""A table of coefficients that stands for a function: its meaning, in NumPy and float64. `table_c.py` writes it in C.

    u_o(x) = sign_o(x) Σ_i Σ_j … B_i(place(x_0)) B_j(place(x_1)) … c_oij…

A place is folded and graded as `coordinates.py` has it, and B are the functions of `bases.py`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np

from kdpinn_edge.classical.bases import Basis
from kdpinn_edge.classical.coordinates import Coordinate
from kdpinn_edge.problems import Array


@dataclass(frozen=True)
class Axis:
    """One input of a table."""

    coordinate: Coordinate
    basis: Basis


@dataclass(frozen=True, eq=False)
class Table:
    """The coefficients (n_out, size, size, …) of a function of as many inputs as there are axes."""

    axes: tuple[Axis, ...]
    coefficients: Array

    @property
    def n_out(self) -> int:
        """How many outputs there are."""
        return len(self.coefficients)

    @property
    def numbers(self) -> int:
        """How many numbers are stored."""
        return self.coefficients.size

    def __call__(self, x: Array) -> Array:
        """The values (n, n_out) at the points x (n, n_in), float64; beyond the box the outermost polynomials go on."""
        firsts, weights, factor = [], [], np.ones((len(x), 1))
        for axis, column in zip(self.axes, np.asarray(x, np.float64).T, strict=True):
            place, signs = axis.coordinate.place(column)
            first, values = axis.basis.weights(place)
            firsts.append(first)
            weights.append(values)
            factor = factor * signs
        y, by_place = np.zeros((len(x), self.n_out)), np.moveaxis(self.coefficients, 0, -1)
        for offsets in product(*(range(axis.basis.support) for axis in self.axes)):
            weight = np.prod([w[:, k] for w, k in zip(weights, offsets, strict=True)], axis=0)
            places = tuple(first + k for first, k in zip(firsts, offsets, strict=True))
            y += weight[:, None] * by_place[places]
        return y * factor

    def rounded(self, precision: str) -> Table:
        """The table whose coefficients are such as `precision` holds."""
        return Table(self.axes, self.coefficients.astype(precision).astype(np.float64))


def name(axes: Sequence[Axis]) -> str:
    """The sizes of a table, as in "35×35"."""
    return "×".join(str(axis.basis.size) for axis in axes)
