"""Polynomials of a few numbers e in [-1, 1], up to a total degree: what their products are, and what is left out."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from itertools import combinations_with_replacement

import numpy as np

from kdpinn_edge.certificates.intervals import U
from kdpinn_edge.program.ir import Array


@dataclass(frozen=True, eq=False)
class Monomials:
    """The products of `n` numbers e, of up to `degree` factors: the constant 1, each e, then products by their degree.

    degrees  the number of factors of each
    times    times[a][b] is the place of the product of the monomials a and b, where it has at most `degree` factors
    squares  the places of products of squares, whose values lie in [0, 1]; those of others lie in [-1, 1]
    """

    n: int
    degree: int
    degrees: tuple[int, ...]
    times: tuple[tuple[int, ...], ...]
    squares: tuple[int, ...]

    def __len__(self) -> int:
        return len(self.times)

    @property
    def slack(self) -> float:
        """More than the relative errors of the roundings of one coefficient of a product together."""
        return 4 * (len(self) + 8) * U

    def product(self, a: Array, b: Array) -> Array:
        """The product of the polynomials with coefficients a and b (monomials, ...), without what has more factors."""
        result: Array = a[0] * b
        term = np.empty_like(a[0])
        present = [j for j, row in enumerate(b) if row.any()]
        for i in range(1, len(self)):
            if a[i].any():
                for j in present:
                    if j >= len(self.times[i]):
                        break
                    result[self.times[i][j]] += np.multiply(a[i], b[j], out=term)
        return result

    def by_degree(self, polynomial: Array) -> Array:
        """The sums (degree + 1, ...) of the magnitudes of the coefficients (monomials, ...) of each degree."""
        sums = np.zeros((self.degree + 1, *polynomial.shape[1:]))
        term = np.empty_like(sums[0])
        for degree, row in zip(self.degrees, polynomial, strict=True):
            sums[degree] += np.abs(row, out=term)
        return sums


def left_out(a: Array, b: Array) -> Array:
    """The sum of the magnitudes of all products of terms of two polynomials that have more factors than are kept.

    By degree, a and b (degree + 1, ...) have the sums of the magnitudes of the coefficients.
    """
    bound: Array = np.zeros_like(a[0])
    tail = np.zeros_like(a[0])
    for i in range(1, len(a)):
        tail += b[-i]
        bound += a[i] * tail
    return bound


@cache
def monomials(n: int, degree: int) -> Monomials:
    """The monomials of n numbers up to this degree."""
    degree = degree if n else 0
    factors = [f for d in range(degree + 1) for f in combinations_with_replacement(range(n), d)]
    places = {f: i for i, f in enumerate(factors)}
    times = tuple(tuple(places[tuple(sorted(a + b))] for b in factors if len(a) + len(b) <= degree) for a in factors)
    squares = tuple(i for i, f in enumerate(factors) if f and all(f.count(e) % 2 == 0 for e in f))
    return Monomials(n, degree, tuple(map(len, factors)), times, squares)
