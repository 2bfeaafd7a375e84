"""What the cells of a box prove: the statement of a certificate, made by `certify` and made again by the checker."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from kdpinn_edge.bundle.manifest import Input
from kdpinn_edge.certificates.certificate import Box, Claim, Side
from kdpinn_edge.certificates.enclosure import Bounds
from kdpinn_edge.certificates.intervals import Mask
from kdpinn_edge.certificates.rounding import Rounding
from kdpinn_edge.errors import CertificateError
from kdpinn_edge.numerics.reference import PRECISIONS
from kdpinn_edge.program.ir import Array, Program, columns

MARGIN = 2.0**-28
"""The share by which a claim is wider than what was found: another machine adds up in another order."""


def box_of(inputs: Sequence[Input], precision: str) -> tuple[Side, ...]:
    """The domain box, whose sides may be rounded to the precision. Raises CertificateError where a side is open."""
    sides = []
    for column in inputs:
        if column.lower is None or column.upper is None:
            raise CertificateError(
                f"the input {column.name} has no {'lower' if column.lower is None else 'upper'} bound; expected: both. "
                f'State it at the export, as in --inputs "{column.name}=0:1".'
            )
        ends = [float(PRECISIONS[precision].type(end)) for end in (column.lower, column.upper)]
        sides.append(Side(column.name, min(column.lower, ends[0]), max(column.upper, ends[1])))
    return tuple(sides)


def is_safe(bounds: Bounds, rounding: Rounding) -> Mask:
    """The cells (n,) in which every number is finite, of the exact Program and in the library."""
    finite = np.isfinite(bounds.lower) & np.isfinite(bounds.upper) & np.isfinite(bounds.error)
    safe: Mask = finite.all(axis=0) & (bounds.largest < rounding.largest)
    return safe


def claims(program: Program, bounds: Bounds) -> tuple[Claim, ...]:
    """What holds in all cells at once, without a margin."""
    lower, upper, error = bounds.lower.min(axis=1), bounds.upper.max(axis=1), bounds.error.max(axis=1)
    slopes = bounds.slopes.max(axis=2)
    known = bool(bounds.smooth.all()) and bool(np.isfinite(slopes).all())
    return tuple(
        Claim(name, float(lower[i]), float(upper[i]), float(error[i]), tuple(slopes[i].tolist()) if known else None)
        for i, name in enumerate(columns(program.outputs))
    )


def unverified(bounds: Bounds, lower: Array, upper: Array) -> Box | None:
    """The box of all cells, from lower to upper (n, n_in), where an activation leaves its verified arguments."""
    outside = ~bounds.verified
    if not outside.any():
        return None
    return Box(tuple(lower[outside].min(axis=0).tolist()), tuple(upper[outside].max(axis=0).tolist()))


def widened(claim: Claim) -> Claim:
    """The claim with its margin."""
    by = MARGIN * max(abs(claim.lower), abs(claim.upper))
    slopes = None if claim.slopes is None else tuple(slope * (1 + MARGIN) for slope in claim.slopes)
    return Claim(claim.name, claim.lower - by, claim.upper + by, claim.error * (1 + MARGIN), slopes)


def follows(claim: Claim, found: Claim) -> bool:
    """Whether `claim` says no more than `found`."""
    slopes = claim.slopes is None or (
        found.slopes is not None and all(a >= b for a, b in zip(claim.slopes, found.slopes, strict=True))
    )
    ranges = claim.lower <= found.lower and claim.upper >= found.upper and claim.error >= found.error
    return claim.name == found.name and ranges and slopes
