"""Cells that cover the box of the inputs, small where numbers reach far."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from kdpinn_edge.numerics.fixed_point.ranges import Range
from kdpinn_edge.program.ir import Array

CELLS = 1024
"""How many cells there are at most to begin with."""
MORE_CELLS, AT_ONCE = 4096, 256
"""How many there are at most once some of them have been halved, and how many are halved at once."""
FAR = 2.0
"""A cell is halved where the argument of a root or a reciprocal may be so many times as large as elsewhere in it."""
NARROWEST = 2.0**-24
"""The share of a side of the box below which no cell is halved."""


def equal_cells(lower: Array, upper: Array) -> Range:
    """The intervals (n_in, cells) of the inputs in equal cells of the box from lower to upper (n_in,)."""
    n = len(lower)
    steps = next(k for k in range(CELLS, 0, -1) if k**n <= CELLS)
    index = np.indices((steps,) * n).reshape(n, -1) if steps > 1 else np.zeros((n, 1), np.int64)
    start, width = lower[:, None], ((upper - lower) / steps)[:, None]
    return Range(start + index * width, start + (index + 1) * width).widened(0.0)


def divided_cells(lower: Array, upper: Array, far: Callable[[Range], Array]) -> Range:
    """The same, with those halved, again and again, in which an argument reaches far: the farthest ones first.

    `far` returns, for each input and cell, by which factor an argument that depends on that input may differ in it.
    """
    cells = equal_cells(lower, upper)
    factor, narrowest = far(cells), NARROWEST * (upper - lower)[:, None]
    while True:
        factor[cells.upper - cells.lower <= narrowest] = 1.0
        largest = factor.max(axis=0)
        halved = np.zeros(len(largest), np.bool_)
        halved[np.argsort(-_doublings(largest), kind="stable")[:AT_ONCE]] = True
        halved &= largest > FAR
        if not halved.any() or len(largest) > MORE_CELLS:
            return cells
        fresh = _halves(cells.lower[:, halved], cells.upper[:, halved], factor[:, halved] > FAR)
        sides = (cells.lower, fresh.lower), (cells.upper, fresh.upper)
        cells = Range(*(np.hstack([each[:, ~halved], more]) for each, more in sides))
        factor = np.hstack([factor[:, ~halved], far(fresh)])


def _doublings(factor: Array) -> NDArray[np.int64]:
    """How many factors of two: by whole numbers, cells have one order on machines whose exp differs in a last bit."""
    return np.where(np.isinf(factor), 1 << 11, np.frexp(factor)[1]).astype(np.int64)


def _halves(lower: Array, upper: Array, along: NDArray[np.bool_]) -> Range:
    """The halves of cells along some of the inputs (n_in, cells)."""
    for i in range(len(lower)):
        half = along[i]
        first, second = upper.copy(), lower[:, half]
        first[i, half] = second[i] = (lower[i, half] + upper[i, half]) / 2
        lower, upper = np.hstack([lower, second]), np.hstack([first, upper[:, half]])
        along = np.hstack([along, along[:, half]])
    return Range(lower, upper)
