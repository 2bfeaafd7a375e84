"""Probe points: where parity and errors are measured, the same on every machine."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from kdpinn_edge.bundle.manifest import Input
from kdpinn_edge.program.ir import Array

N_DEVICE = 100
"""How many points a device is timed at; where more are asked for, it takes these again."""

DEVICE_SCHEMA = 1
"""Of the document that a device prints."""


def probed(column: Input) -> tuple[float, float]:
    """The interval in which an input is probed: its domain; 2 from its end if a side is open, [-1, 1] if both are."""
    lower, upper = column.lower, column.upper
    if lower is None:
        lower = -1.0 if upper is None else upper - 2.0
    return lower, lower + 2.0 if upper is None else upper


def probe_points(inputs: Sequence[Input], n: int, seed: int = 0) -> Array:
    """Draw n points (n, n_in), float64, uniform in the box of what is `probed`."""
    lows, highs = zip(*map(probed, inputs), strict=True)
    return np.random.default_rng(seed).uniform(lows, highs, (n, len(inputs)))


def not_finite_points(inputs: Sequence[Input]) -> Array:
    """Points (n, n_in), float64, each with a NaN or an infinity: in one coordinate, of up to 8, and in all of them."""
    columns = sorted({int(i) for i in np.linspace(0, len(inputs) - 1, 8)})
    specials = [(each, column) for each in (np.nan, np.inf, -np.inf) for column in (*columns, slice(None))]
    x = probe_points(inputs, len(specials), seed=5)
    for row, (special, column) in zip(x, specials, strict=True):
        row[column] = special
    return x


def timed_points(inputs: Sequence[Input], n: int) -> Array:
    """The n points (n, n_in) at which functions are timed: those of `probe_points`, and others than errors have."""
    return probe_points(inputs, n, seed=3)
