"""The functions of one place in [0, 1] whose products a table adds up: cubic B-splines, or Chebyshev polynomials."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.polynomial.chebyshev import chebvander
from numpy.typing import NDArray

from kdpinn_edge.classical.coordinates import Edge
from kdpinn_edge.problems import Array

Indices = NDArray[np.int64]


class Basis(Protocol):
    """`size` functions, of which `support` are not 0 at any one place."""

    @property
    def size(self) -> int:
        """How many functions there are."""

    @property
    def support(self) -> int:
        """How many neighbours contribute to a value."""

    def weights(self, place: Array) -> tuple[Indices, Array]:
        """The first of those that contribute at each place (n,), as integers, and their values (n, support)."""

    def constraint(self, edges: tuple[Edge, Edge], output: int) -> Array:
        """A matrix (size, free): the coefficients that it makes of free numbers are as the edges have it."""


@dataclass(frozen=True)
class Cubic:
    """Cubic B-splines on `cells` equal cells, at least 4: twice continuously differentiable; the outermost go on."""

    cells: int

    @property
    def size(self) -> int:
        """How many functions there are."""
        return self.cells + 3

    @property
    def support(self) -> int:
        """How many neighbours contribute to a value."""
        return 4

    def weights(self, place: Array) -> tuple[Indices, Array]:
        """The cell of each place, and the four pieces there."""
        cell = (place * self.cells).astype(np.int64).clip(0, self.cells - 1)
        u = place * self.cells - cell
        v = 1 - u
        pieces = v**3, 3 * u**3 - 6 * u**2 + 4, 3 * v**3 - 6 * v**2 + 4, u**3
        return cell, np.stack(pieces, axis=-1) / 6

    def constraint(self, edges: tuple[Edge, Edge], output: int) -> Array:
        """The outermost coefficients, and for odd functions that of the edge, follow from their neighbours."""
        matrix, free = np.eye(self.size), np.ones(self.size, np.bool_)
        for edge, (outside, at, inside) in zip(edges, ((0, 1, 2), (-1, -2, -3)), strict=True):
            parity = edge.parities[output]
            if parity is None:
                continue
            free[outside] = False
            if parity == 0:  # (outside + 4 at + inside)/6 is the value
                matrix[outside] = -4 * matrix[at] - matrix[inside]
            else:
                matrix[outside] = parity * matrix[inside]
            if parity < 0:
                free[at], matrix[at] = False, 0
        return matrix[:, free]


@dataclass(frozen=True)
class Chebyshev:
    """The first `terms` Chebyshev polynomials of 2 place − 1. What is known at the edges they take from the values."""

    terms: int

    @property
    def size(self) -> int:
        """How many functions there are."""
        return self.terms

    @property
    def support(self) -> int:
        """How many contribute to a value: all."""
        return self.terms

    def weights(self, place: Array) -> tuple[Indices, Array]:
        """The values of all polynomials."""
        values = chebvander(2 * place - 1, self.terms - 1).astype(np.float64)
        return np.zeros(place.shape, np.int64), values

    def constraint(self, edges: tuple[Edge, Edge], output: int) -> Array:
        """None."""
        return np.eye(self.size)
