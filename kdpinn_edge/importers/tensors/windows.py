"""Operators on windows of neighbouring numbers: convolutions and pools of x (n, channels, …)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from kdpinn_edge.importers.tensors import rewritings
from kdpinn_edge.importers.tensors.tensors import Operand, Table, Tensors, Value, shape_of


def windows(
    t: Tensors,
    x: Operand,
    size: Sequence[int],
    stride: Sequence[int],
    before: Sequence[int],
    after: Sequence[int],
    dilation: Sequence[int],
    fill: float = 0.0,
) -> Value:
    """The windows over the last axes of x, each as one more axis at the end, with `fill` beyond the borders."""
    k = len(size)
    extents = [(n - 1) * d + 1 for n, d in zip(size, dilation, strict=True)]
    borders = [(0, 0)] * (len(shape_of(x)) - k) + list(zip(before, after, strict=True))
    steps: Any = (..., *(slice(None, None, n) for n in (*stride, *dilation)))

    def moved(table: Table, outside: Table) -> Table:
        padded = np.pad(table, borders, constant_values=outside)
        seen = np.lib.stride_tricks.sliding_window_view(padded, extents, axis=tuple(range(-k, 0)))[steps]
        flat: Table = seen.reshape(*seen.shape[:-k], math.prod(size))
        return flat

    return t.move(moved, x, fill)


def convolution(
    t: Tensors,
    x: Operand,
    weight: Operand,
    bias: Operand | None,
    stride: Sequence[int],
    before: Sequence[int],
    after: Sequence[int],
    dilation: Sequence[int],
    groups: int = 1,
) -> Value:
    """The convolution of x (n, groups * i, …) with the weight (groups * o, i, …) of windows."""
    n, (outputs, channels, *size) = len(shape_of(x)), shape_of(weight)
    seen = windows(t, x, size, stride, before, after, dilation)
    place = seen.shape[2:-1]
    terms = t.move(
        lambda table: np.moveaxis(table.reshape(table.shape[0], groups, 1, channels, *place, -1), 3, -2).reshape(
            table.shape[0], groups, 1, *place, -1
        ),
        seen,
    )
    rows = t.move(lambda table: table.reshape(groups, outputs // groups, *(1 for _ in place), -1), weight)
    y = t.move(lambda table: table.reshape(table.shape[0], outputs, *place), t.contract(terms, rows))
    return y if bias is None else t.add(y, t.move(lambda table: table.reshape(-1, *(1,) * (n - 2)), bias))


def average_pool(t: Tensors, x: Operand, size: Sequence[int], stride: Sequence[int], padding: Sequence[int]) -> Value:
    """The mean of each window, with zeros beyond the borders."""
    return t.mean(windows(t, x, size, stride, padding, padding, [1] * len(size)), [-1])


def largest_pool(
    t: Tensors,
    x: Operand,
    size: Sequence[int],
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
) -> Value:
    """The largest number of each window; of those that are equal the first one has the slope."""
    least = float(np.finfo(np.float32).min)
    return rewritings.first_largest(t, windows(t, x, size, stride, padding, padding, dilation, least), [-1])


def adaptive_average_pool(t: Tensors, x: Operand, sizes: Sequence[int]) -> Value:
    """The means of so many pieces of each of the last axes, as equal as they can be."""
    result: Value = t.move(lambda table: table, x)
    for axis, size in zip(range(-len(sizes), 0), sizes, strict=True):
        n = result.shape[axis]
        weight = np.zeros((n, size))
        for i in range(size):
            piece = slice(i * n // size, -(-(i + 1) * n // size))
            weight[piece, i] = 1 / len(range(n)[piece])
        last = t.move(lambda table, axis=axis: np.moveaxis(table, axis, -1), result)
        result = t.move(lambda table, axis=axis: np.moveaxis(table, -1, axis), t.matmul(last, weight))
    return result
