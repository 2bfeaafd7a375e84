"""The words of a printed kernel: whole layers on whole arrays, with every rounding of the numerics profile.

A value (k, n) has a row for each of k neurons and a column for each of n points. This is the meaning of the words under
NumPy, and the definition of the bits; in the export each word becomes loops over scratch memory that return the same.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kdpinn_edge.numerics.lanes import Lanes, canonical, fma, less, select

Body = Callable[[Lanes], Lanes]
Parameter = NDArray[Any] | float

NULL_POINTER, NEGATIVE_COUNT = -1, -2
"""The error codes of kdpinn_edge.h."""


def partial_sums(n_in: int, n_out: int) -> int:
    """How many interleaved sums an Affine of this shape is summed in.

    Two hide the latency of fma where neurons fill the lanes; eight let a layer of few outputs put its terms into lanes.
    """
    if n_in >= 16 and n_out <= 4:
        return 8
    return 2 if n_in >= 4 else 1


def affine(x: Lanes, weight: NDArray[Any], bias: NDArray[Any] | None = None) -> Lanes:
    """weight @ x + bias: products by multiply-add over `partial_sums` interleaved sums, added by halving.

    x (n_in, n), weight (n_out, n_in), bias (n_out,), without which the sums start from +0; (n_out, n).
    """
    n_out, n_in = weight.shape
    count = partial_sums(n_in, n_out)
    sums = np.zeros((count, n_out, x.shape[1]), x.dtype)
    if bias is not None:
        sums[0] = bias[:, None]
    for k in range(0, n_in, count):
        terms = min(count, n_in - k)
        sums[:terms] = fma(weight.T[k : k + terms, :, None], x[k : k + terms, None], sums[:terms])
    while len(sums) > 1:
        half = len(sums) // 2
        sums = sums[:half] + sums[half:]
    result: Lanes = sums[0]
    return result


def scale(x: Lanes, weight: Parameter, bias: Parameter) -> Lanes:
    """weight * x + bias, elementwise, by one multiply-add; weight and bias (k,), or one number for all rows."""
    return fma(_column(weight, x), x, _column(bias, x))


def where_positive(c: Lanes, a: Lanes, b: Lanes) -> Lanes:
    """The entries of a where c > 0, and those of b elsewhere."""
    return select(less(0.0, c), a, b)


def concat(*parts: Lanes) -> Lanes:
    """The rows of the parts, one after another."""
    return np.concatenate(parts)


def rows(x: Lanes, start: int, size: int) -> Lanes:
    """`size` rows of x from row `start` on."""
    return x[start : start + size]


def outputs(*parts: Lanes) -> Lanes:
    """The rows of the parts, one after another, with every NaN as the one quiet NaN without sign and payload."""
    return canonical(np.concatenate(parts))


def at_points(kernel: Body, x: Lanes | None, y: Lanes | None, n: int) -> int:
    """Store kernel(x) of n points into y; 0, or an error code. x (n n_in,) and y (n n_out,) are flat, None is NULL."""
    if n < 0:
        return NEGATIVE_COUNT
    if n > 0 and (x is None or y is None):
        return NULL_POINTER
    if x is not None and y is not None and n:
        y[:] = kernel(x.reshape(n, -1).T).T.ravel()
    return 0


def at_points_for(once: Body, kernel: Body, p: Lanes | None, x: Lanes | None, y: Lanes | None, n: int) -> int:
    """Store kernel(once(p), x) of n points into y; 0, or an error code. All points have the numbers p (n_p,)."""
    if n > 0 and p is None:
        return NULL_POINTER

    def beside(x: Lanes) -> Lanes:
        held = once(p[:, None])  # type: ignore[index]
        return kernel(np.concatenate([np.broadcast_to(held, (len(held), x.shape[1])), x]))

    return at_points(beside, x, y, n)


def first_difference(x: Lanes, n: int, *functions: Any) -> int:
    """0, or 1 + the first number whose bits differ from the expected ones; they are counted through the functions.

    x (n n_in,) are points; each function is followed by its values there (n n_out,). It is called for all points
    together, and then for one by one.
    """
    before = 0
    for function, expected in zip(functions[::2], functions[1::2], strict=True):
        for size in (n, 1):
            y = np.zeros_like(expected)
            for points, values in zip(np.split(x, n // size), np.split(y, n // size), strict=True):
                function(points, values, size)
            different = np.flatnonzero(y.view(f"u{y.itemsize}") != expected.view(f"u{y.itemsize}"))
            if different.size:
                return 1 + before + int(different[0])
        before += expected.size
    return 0


def first_difference_for(x: Lanes, p: Lanes, points: Lanes, n: int, *functions: Any) -> int:
    """`first_difference` of the first half of the functions, and then of the others at (p, points)."""
    half = len(functions) // 2
    if first := first_difference(x, n, *functions[:half]):
        return first
    bound = [partial(each, p) if callable(each) else each for each in functions[half:]]
    first = first_difference(points, n, *bound)
    return first and first + sum(each.size for each in functions[1:half:2])


def first_difference_fixed(x: Lanes, integers: NDArray[np.int32], n: int, *functions: Any) -> int:
    """`first_difference` of the first half of the functions, and then of the others at points of integers."""
    half = len(functions) // 2
    if first := first_difference(x, n, *functions[:half]):
        return first
    first = first_difference(integers, n, *functions[half:])
    return first and first + sum(each.size for each in functions[1:half:2])


def count_outside(x: Lanes | None, n: int, box: Lanes) -> int:
    """How many of n points lie outside the domain box (a point with a NaN does); or an error code.

    x (n n_in,) is flat, None is NULL; box (2 n_in,) has the lower bounds and then the upper.
    """
    if n < 0:
        return NEGATIVE_COUNT
    if n > 0 and x is None:
        return NULL_POINTER
    if x is None:
        return 0
    lower, upper = np.split(box, 2)
    points = x.reshape(n, len(lower))
    return int(n - np.sum(((lower <= points) & (points <= upper)).all(axis=1)))


def _column(parameter: Parameter, x: Lanes) -> Lanes:
    """A vector as a column, or a number, rounded once."""
    array = np.asarray(parameter, x.dtype)
    return array[:, None] if array.ndim else array
