"""Tables that come nearest to a function: of given sizes, of as many numbers, or of as few as an error needs.

The function is sampled once, at Chebyshev's places along each input, where either basis is well conditioned. Along one
input after the other the samples are replaced by the coefficients that fit them in the sense of least squares, weighted
so that the sum is an integral over the box. How far a table of any size misses follows from one input at a time: the
errors along different inputs are nearly orthogonal, so that their squares add up.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from itertools import product
from math import prod

import numpy as np
from numpy.polynomial.chebyshev import chebpts1

from kdpinn_edge.classical.bases import Basis, Cubic
from kdpinn_edge.classical.coordinates import Coordinate, coordinates
from kdpinn_edge.classical.table import Axis, Table
from kdpinn_edge.errors import ProblemError
from kdpinn_edge.problems import Array, Problem

SAMPLES = 2**13, 2**15, 2**17, 2**19
"""Of a function, in all: more where fewer do not tell enough."""
MOST_PER_INPUT = 1024
SAMPLES_PER_NUMBER = 16
MOST_PER_SAMPLE = 0.4
LEAST = 4
"""Cells or terms along each input."""
GROWTH = 1.15
NEGLIGIBLE = 1e-8
"""A relative error that float32 does not show."""
MOST_INPUTS = 3


Kind = Callable[[int], Basis]
"""Cubic, or Chebyshev: the basis of a size."""
Function = Callable[[Array], Array]
"""Of points (n, n_in), with values (n, n_out)."""


@dataclass(frozen=True, eq=False)
class Samples:
    """The values (per axis …, n_out) of a function at Chebyshev's places of each of `axes`."""

    axes: tuple[Coordinate, ...]
    values: Array

    @staticmethod
    def of(function: Function, problem: Problem, count: int, *, graded: bool) -> Samples:
        """Sample `function` over the box of `problem` about `count` times, in places as its solution is known to need.

        Raises ProblemError where there are more inputs than a table can have.
        """
        axes = coordinates(problem, graded=graded)
        if len(axes) > MOST_INPUTS:
            raise ProblemError(
                f"{problem.name} has {len(axes)} inputs; expected: up to {MOST_INPUTS}, a table grows with their power"
            )
        per_axis = min(round(count ** (1 / len(axes))), MOST_PER_INPUT)
        columns = [axis.points(_places(per_axis)) for axis in axes]
        points = np.stack(np.meshgrid(*columns, indexing="ij"), axis=-1).reshape(-1, len(axes))
        values = function(points.clip(problem.lower, problem.upper))
        return Samples(axes, values.reshape(*[per_axis] * len(axes), -1))

    def fitted(self, bases: Sequence[Basis]) -> Table:
        """The table of these bases that comes nearest."""
        outputs = []
        for output in range(self.values.shape[-1]):
            coefficients = self._weighted[..., output]
            for k, basis in enumerate(bases):
                q, solve = self._along(k, basis, output)
                coefficients = np.moveaxis(np.tensordot(solve @ q.T, coefficients, (1, k)), 0, k)
            outputs.append(coefficients)
        axes = tuple(Axis(*pair) for pair in zip(self.axes, bases, strict=True))
        return Table(axes, np.ascontiguousarray(outputs))

    def missed(self, axis: int, basis: Basis) -> float:
        """The relative error of the samples where `basis` alone stands for them along `axis`."""
        squares = 0.0
        for output in range(self.values.shape[-1]):
            q, _ = self._along(axis, basis, output)
            values = np.moveaxis(self._weighted[..., output], axis, 0).reshape(len(q), -1)
            squares += float(np.sum((values - q @ (q.T @ values)) ** 2))
        return float(np.sqrt(squares) / np.linalg.norm(self._weighted))

    @cached_property
    def _weighted(self) -> Array:
        """The samples times the roots of their weights in an integral over the box."""
        weighted = self.values
        for k in range(len(self.axes)):
            weighted = weighted * self._root(k).reshape(-1, *[1] * (len(self.axes) - k))
        return weighted

    def _root(self, axis: int) -> Array:
        places = _places(self.values.shape[axis])
        root: Array = np.sqrt(self.axes[axis].stretch(places) * np.sqrt(places * (1 - places)))
        return root

    def _along(self, axis: int, basis: Basis, output: int) -> tuple[Array, Array]:
        """An orthonormal basis (samples, free) of what weighted samples along `axis` can be, and what makes
        coefficients (size, free) of its components.
        """
        places = _places(self.values.shape[axis])
        first, weights = basis.weights(places)
        matrix = np.zeros((len(places), basis.size))
        for k in range(basis.support):
            matrix[np.arange(len(places)), first + k] = weights[:, k]
        free = basis.constraint(self.axes[axis].edges, output)
        q, r = np.linalg.qr(self._root(axis)[:, None] * (matrix @ free))
        return q, free @ np.linalg.inv(r)


def _places(count: int) -> Array:
    """The zeros of the Chebyshev polynomial of this degree, in [0, 1]."""
    places: Array = (1 + chebpts1(count)) / 2
    return places


@dataclass(frozen=True, eq=False)
class Family:
    """Tables of one kind through the same samples, from the smallest on: `sizes` along each axis, and their errors."""

    samples: Samples
    make: Kind
    sizes: tuple[tuple[int, ...], ...]
    missed: tuple[tuple[float, ...], ...]

    @staticmethod
    def of(samples: Samples, make: Kind) -> Family:
        """The family of the bases that `make` makes."""
        sizes, missed = [], []
        for axis, count in enumerate(samples.values.shape[:-1]):
            found: dict[int, float] = {}
            for size in _ladder(round(count * MOST_PER_SAMPLE)):
                found[size] = samples.missed(axis, make(size))
                if found[size] < NEGLIGIBLE:
                    break
            sizes.append(tuple(found))
            missed.append(tuple(found.values()))
        return Family(samples, make, tuple(sizes), tuple(missed))

    def candidates(self) -> Iterator[tuple[int, float, tuple[Basis, ...]]]:
        """For every combination of sizes the numbers per output, the expected relative error, and the bases."""
        for choice in product(*(range(len(each)) for each in self.sizes)):
            bases = tuple(self.make(each[k]) for each, k in zip(self.sizes, choice, strict=True))
            error = float(np.sqrt(sum(each[k] ** 2 for each, k in zip(self.missed, choice, strict=True))))
            yield prod(basis.size for basis in bases), error, bases


def of_numbers(function: Function, problem: Problem, numbers: int, make: Kind = Cubic) -> Table | None:
    """The table that promises the least error among those of at most so many numbers per output, if there is one."""
    count = next((count for count in SAMPLES if count >= SAMPLES_PER_NUMBER * numbers), SAMPLES[-1])
    found = _families(function, problem, count, make)
    fitting = [(error, bases, f) for f in found for size, error, bases in f.candidates() if size <= numbers]
    if not fitting:
        return None
    _, bases, family = min(fitting, key=lambda each: each[0])
    return family.samples.fitted(bases)


def of_error(function: Function, problem: Problem, error: float, measured: Callable[[Table], float]) -> Table | None:
    """The smallest cubic table of which `measured` is at most `error`; None where the samples are too few for one.

    The expected errors choose the order; where one is measured to miss more than it promised, the next has to promise
    more.
    """
    for count in SAMPLES:
        found = _families(function, problem, count, Cubic)
        ordered = sorted(((*each, f) for f in found for each in f.candidates()), key=lambda each: each[0])
        promised = error
        for _, expected, bases, family in ordered:
            if expected <= promised:
                table = family.samples.fitted(bases)
                missed = measured(table)
                if missed <= error:
                    return table
                promised = min(promised, expected) * error / missed
    return None


@lru_cache(maxsize=4)
def _families(function: Function, problem: Problem, count: int, make: Kind) -> list[Family]:
    """Tables on uniform places and, where a front is known, on graded ones."""
    has_front = any(axis.width for axis in coordinates(problem, graded=True))
    return [
        Family.of(Samples.of(function, problem, count, graded=graded), make)
        for graded in ((False, True) if has_front else (False,))
    ]


def _ladder(most: int) -> Iterator[int]:
    size = LEAST
    while size <= most:
        yield size
        size = max(size + 1, round(size * GROWTH))
