"""The weights and biases of a kernel: an array for each of its functions."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from math import gcd
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kdpinn_edge.export.lowering.fusion import Step, terms_in_lanes
from kdpinn_edge.export.lowering.loops import Buffer, Linear, Scalar
from kdpinn_edge.export.targets.table import Vectors
from kdpinn_edge.numerics.reference import rounded
from kdpinn_edge.program.ir import Affine, Op, Scale

LINE, SETS, WAYS = 64, 64, 8
"""Of a cache of the first level, as most are: bytes of a line, and how many sets of how many lines."""


@dataclass(frozen=True)
class Place:
    """Where numbers begin: in which array, and at which of its numbers."""

    array: Buffer
    at: int


class Constants:
    """The weights and biases of a kernel's Programs, each on a vector boundary, equal ones once.

    Each function has an array of what no function before it has: a program that calls only the first is linked with its
    numbers alone.

    A matrix is stored by columns, each padded with zeros to whole vectors: neurons fill the lanes. That of a layer
    with few outputs is stored by rows: terms fill the lanes. They are computed with in `precision`, and lie in memory
    as `storage` says.
    """

    def __init__(self, precision: Scalar, vectors: Vectors, storage: Scalar | None = None) -> None:
        self.vectors = vectors
        self._dtype = np.dtype(precision)
        self._storage: Scalar = storage or precision
        self.widens = storage == "float16"
        self._arrays: list[tuple[Buffer, list[NDArray[Any]]]] = []
        self._found: dict[bytes, Place] = {}
        self._places: dict[Op, tuple[Place, Place]] = {}

    def place(self, steps: Iterable[Step], array: str) -> None:
        """Give the parameters of `steps` a place each; new ones in `array`, of which there is none of this name yet."""
        self._arrays.append((Buffer(array, self._storage, Linear(0), constant=True), []))
        self._places |= {op: self._place(op) for step in steps for op in step.ops}

    @property
    def numbers(self) -> dict[str, NDArray[Any]]:
        """What the arrays hold, as it is stored; those that hold nothing are left out."""
        return {array.name: np.concatenate(parts).astype(self._storage) for array, parts in self._arrays if parts}

    def of(self, op: Op) -> tuple[Place, Place]:
        """Where the weight and the bias of `op` begin."""
        return self._places[op]

    def padded(self, size: int) -> int:
        """`size` rounded up to whole vectors, or to a power of two below one vector."""
        return (
            -(-size // self.vectors.lanes) * self.vectors.lanes
            if size >= self.vectors.lanes
            else 1 << (size - 1).bit_length()
        )

    def strides(self, op: Affine) -> tuple[int, int]:
        """How far apart the weights of neighbouring outputs, and of neighbouring terms, are.

        A batch reads one line of every column for some rows, and again for the next: columns are a vector further apart
        than they need to be where they would share so few sets of a cache that these lines displace each other.
        """
        n_out, n_in = op.weight.shape
        if terms_in_lanes(op):
            return n_in + -n_in % terms_in_lanes(op), 1
        down = self.padded(n_out)
        sets = SETS // gcd(down * self._dtype.itemsize // LINE, SETS)
        return 1, down + (self.vectors.lanes if n_in > sets * WAYS else 0)

    @property
    def _nowhere(self) -> Place:
        """The place of what is not stored."""
        return Place(self._arrays[-1][0], 0)

    def _place(self, op: Op) -> tuple[Place, Place]:
        match op:
            case Affine(weight=weight, bias=bias):
                across, down = self.strides(op)
                n_out, n_in = weight.shape
                if terms_in_lanes(op):
                    return self._keep(np.pad(weight, ((0, 0), (0, across - n_in)))), self._keep(bias)
                matrix = self._keep(np.pad(weight.T, ((0, 0), (0, down - n_out))))
                return matrix, self._nowhere if is_zero(bias) else self._keep(self._pad(bias))
            case Scale(weight=weight, bias=bias):
                return self._unless_uniform(weight), self._unless_uniform(bias)
            case _:
                return self._nowhere, self._nowhere

    def _unless_uniform(self, vector: NDArray[Any]) -> Place:
        return self._nowhere if self.uniform(vector) is not None else self._keep(self._pad(vector))

    def rounded(self, numbers: NDArray[Any]) -> NDArray[Any]:
        """Numbers as they are computed with: what the storage keeps of them, in the precision."""
        return rounded(numbers, self._storage).astype(self._dtype)

    def uniform(self, vector: NDArray[Any]) -> float | None:
        """The number that every entry is, to the bit, if there is one: the code then has it."""
        numbers = self.rounded(vector)
        return float(numbers[0]) if numbers.tobytes() == numbers[:1].tobytes() * numbers.size else None

    def varies(self, op: Op) -> bool:
        """Whether an elementwise op has other numbers in every row."""
        return isinstance(op, Scale) and None in (self.uniform(op.weight), self.uniform(op.bias))

    def _pad(self, vector: NDArray[Any]) -> NDArray[Any]:
        return np.pad(vector, (0, self.padded(vector.size) - vector.size))

    def _keep(self, numbers: NDArray[Any]) -> Place:
        flat = self.rounded(numbers).ravel()
        flat = np.pad(flat, (0, -flat.size % self.vectors.lanes))
        if (found := self._found.get(flat.tobytes())) is not None:
            return found
        array, parts = self._arrays[-1]
        place = self._found[flat.tobytes()] = Place(array, array.size.base)
        parts.append(flat)
        array.size = Linear(place.at + flat.size)
        return place


def is_zero(vector: NDArray[Any]) -> bool:
    """Whether every entry is +0."""
    return not any(vector.tobytes())
