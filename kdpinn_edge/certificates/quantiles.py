"""Quantiles of what is left of an equation, with a confidence that holds whatever its distribution is.

Of n independent points the k-th smallest value is above the p-quantile with a probability of at least
P(Binomial(n, p) < k): W. J. Conover, Practical Nonparametric Statistics, 3rd edition, Wiley 1999, section 3.2, after
S. S. Wilks, Annals of Mathematical Statistics 12 (1941).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from kdpinn_edge.numerics.reference import NumpyProgram
from kdpinn_edge.program.ir import Array, Program

N_POINTS = 20_000
CONFIDENCE = 0.999
SHARES = (0.5, 0.9, 0.99, 0.999)


@dataclass(frozen=True)
class Quantile:
    """With the confidence CONFIDENCE, |value| is at most `at_most` on this share of the box, for each output."""

    share: float
    at_most: tuple[float, ...]


def quantiles(program: Program, precision: str, profile: str, lower: Array, upper: Array) -> tuple[Quantile, ...]:
    """The quantiles of |outputs| as the library computes them, at points drawn uniformly and then rounded."""
    computed = NumpyProgram(program, precision, profile)
    points = np.random.default_rng(0).uniform(lower, upper, (N_POINTS, len(lower))).astype(computed.dtype)
    values = np.sort(np.abs(computed(points).astype(np.float64)), axis=0)
    return tuple(Quantile(share, tuple(values[rank(N_POINTS, share) - 1].tolist())) for share in SHARES)


def rank(n: int, share: float) -> int:
    """The k for which the k-th smallest of n values is above the quantile of this share, with CONFIDENCE."""
    below = 0.0
    for k in range(n):
        below += math.exp(_log_probability(n, k, share))
        if below >= CONFIDENCE:
            return k + 1
    raise ValueError(f"{n} points are too few for the share {share}")


def _log_probability(n: int, k: int, p: float) -> float:
    """The logarithm of P(Binomial(n, p) = k)."""
    choose = math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1)
    return choose + k * math.log(p) + (n - k) * math.log1p(-p)
