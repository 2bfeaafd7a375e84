"""Golden points: what the self-test of a model replays."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kdpinn_edge.bundle.manifest import FunctionName, Input
from kdpinn_edge.bundle.probe import probe_points, probed
from kdpinn_edge.numerics.reference import NumpyProgram
from kdpinn_edge.program.ir import Concat, Program, Select, Slice

N_GOLDEN = 48
TINY_SHARE = 6
"""One golden point of so many is there for its subnormal numbers."""
N_CANDIDATES = 96


def golden_points(
    inputs: Sequence[Input],
    programs: Mapping[FunctionName, Program],
    precision: str,
    profile: str,
    *,
    keeps_subnormals: bool,
) -> NDArray[Any]:
    """N_GOLDEN points (k, n_in) of the domain box, at which every value is finite.

    The last ones have one coordinate near 0 and subnormal numbers in the results of each function, or else on the way
    there, as far as such points are found in the box. There are none for a processor that takes these numbers for zero.
    """
    points = probe_points(inputs, N_GOLDEN).astype(precision)
    if not keeps_subnormals:
        return points
    candidates = _near_zero(inputs, precision)
    chosen: list[int] = []
    for i, program in enumerate(programs.values()):
        room = N_GOLDEN // TINY_SHARE * (i + 1) // len(programs) - len(chosen)
        scores = _scores(program, candidates, precision, profile)
        best = [int(k) for k in np.argsort(-scores, kind="stable") if scores[k] > 0 and k not in chosen]
        chosen += best[:room]
    if chosen:
        points[-len(chosen) :] = candidates[chosen]
    return points


def _near_zero(inputs: Sequence[Input], precision: str) -> NDArray[Any]:
    """Points of the box with one coordinate between the square root of the least normal number and the least number.

    None where 0 lies in no interval.
    """
    rng, limits = np.random.default_rng(7), np.finfo(precision)
    intervals = [probed(column) for column in inputs]
    through_zero = [i for i, (lower, upper) in enumerate(intervals) if lower <= 0 <= upper]
    x = probe_points(inputs, N_CANDIDATES if through_zero else 0, seed=7).astype(precision)
    exponents = rng.uniform(np.log2(limits.smallest_subnormal), np.log2(limits.smallest_normal) / 2, len(x))
    for k, exponent in enumerate(exponents):
        column = through_zero[k % len(through_zero)]
        lower, upper = intervals[column]
        x[k, column] = np.clip(np.exp2(exponent) * (1 if upper > 0 and (k % 2 or lower == 0) else -1), lower, upper)
    return x


def _scores(program: Program, x: NDArray[Any], precision: str, profile: str) -> NDArray[np.float64]:
    """For each point (n,) how many subnormal numbers there are: a result counts most. 0 where a value is not finite."""
    computed = [op.out for op in program.ops if not isinstance(op, Concat | Select | Slice)]
    every = NumpyProgram(replace(program, outputs=(*program.outputs, *program.inputs, *computed)), precision, profile)(
        x
    )
    outputs, values = np.split(every, [program.n_out], axis=1)
    least = np.finfo(precision).smallest_normal
    in_outputs, in_values = (((np.abs(v) > 0) & (np.abs(v) < least)).sum(axis=1) for v in (outputs, values))
    finite = np.isfinite(values).all(axis=1) & np.isfinite(outputs).all(axis=1)
    scores: NDArray[np.float64] = np.where(finite, in_outputs * 1e6 + in_values, 0.0)
    return scores
