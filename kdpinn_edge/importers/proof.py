"""The proof that a Program was read right: it is compared with its source in float64, on probe points."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from kdpinn_edge.errors import CaptureError
from kdpinn_edge.program.interp import interpret
from kdpinn_edge.program.ir import Array, Program, columns

ROUNDINGS = 32
"""Where terms cancel, the difference may be so many times what rounding to float64 makes of the Program itself."""
PARITY = 1e-12
"""Largest difference of Program and source, relative to the largest |output| of that name on the probe points.

Both calculate in float64 and differ in the order of sums and in functions by a few units in the last place, 1e-16.
Depth, width and frequency amplify this: to 7e-15 in a sine network of 6 layers of 128 with frequency 60. An operation
that was misread shows above 1e-6.
"""
SHOWN = 6
"""Inputs of a point that a message names."""
PROBES = 1024
"""Probe points, where the caller gives none."""


def probe_points(n_in: int, probe: ArrayLike | None, domain: tuple[ArrayLike, ArrayLike] | None) -> Array:
    """The points (n, n_in) that were given, or PROBES of a box, by default [-1, 1] in every input, always the same."""
    if probe is not None:
        if domain is not None:
            raise CaptureError("probe and domain are both given; expected: probe points, or a domain to draw them from")
        points = np.asarray(probe, dtype=np.float64)
        if points.ndim != 2 or points.shape[1] != n_in or len(points) == 0 or not np.isfinite(points).all():
            raise CaptureError(f"probe has shape {points.shape}; expected: finite numbers (n, {n_in}), n at least 1")
        return points
    box = [np.asarray(bound, dtype=np.float64) for bound in ((-1.0, 1.0) if domain is None else domain)]
    lower, upper = box[0], box[-1]
    fits = len(box) == 2 and {lower.shape, upper.shape} <= {(), (n_in,)}
    if not fits or not (np.isfinite(upper - lower) & (lower < upper)).all():
        raise CaptureError(f"domain is {domain}; expected: (lower, upper), each a number or {n_in}, with lower < upper")
    return np.random.default_rng(0).uniform(lower, upper, (PROBES, n_in))


def prove(program: Program, points: Array, expected: Array, source: str, cause: str, least: float = PARITY) -> None:
    """Raise CaptureError where the Program differs from what its source returns at the points.

    `cause` is the usual cause of a difference, as a sentence; `least` the relative difference that is allowed anywhere.
    """
    undefined = ~np.isfinite(expected).all(axis=1)
    if undefined.any():
        raise CaptureError(
            f"{source} returns {expected[undefined][0].tolist()} at {points[undefined][0].tolist()}; expected: finite "
            "numbers. The usual fix: give the domain, or probe points, on which it is defined"
        )
    found = interpret(program, points)
    allowed = least * abs(expected).max(axis=0)
    difference = np.nan_to_num(abs(found - expected), nan=np.inf)
    if (difference > allowed).any():
        rounding = abs(interpret(program, points.astype(np.longdouble)) - found).max(axis=0)
        allowed = np.maximum(allowed, ROUNDINGS * rounding.astype(np.float64))
    if (difference > allowed).any():
        row, column = np.unravel_index(np.argmax(difference - allowed), difference.shape)
        at = [f"{name} = {value!r}" for name, value in zip(columns(program.inputs), points[row].tolist(), strict=True)]
        raise CaptureError(
            f"the Program differs from {source} at {', '.join(at[:SHOWN])}{', …' * (len(at) > SHOWN)}: "
            f"{columns(program.outputs)[column]} is {float(expected[row, column])!r} in {source} and "
            f"{float(found[row, column])!r} in the Program; allowed: {allowed[column]:.3g}. {cause}"
        )
