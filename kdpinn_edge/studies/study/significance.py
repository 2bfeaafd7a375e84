"""Whether two methods differ beyond chance: the exact rank test of H. Mann and D. Whitney (1947), and what it needs."""

from __future__ import annotations

from collections.abc import Sequence
from math import comb

LEVEL = 0.05
"""The share of comparisons of equal methods that may be taken for different ones."""


def p_value(a: Sequence[float], b: Sequence[float], *, chosen_from: int = 1) -> float:
    """The two-sided p of the hypothesis that errors `a` and `b` are of one distribution.

    Where one of the two was chosen for its errors from several, p is multiplied by their number (C. Bonferroni, 1936).
    """
    from scipy.stats import mannwhitneyu  # which takes a second, of every command that knows of studies

    return min(1.0, chosen_from * float(mannwhitneyu(a, b, alternative="two-sided", method="exact").pvalue))


def least_p(n_a: int, n_b: int, *, chosen_from: int = 1) -> float:
    """The least p that so many seeds can give: where all errors of one method are below all of the other."""
    return min(1.0, chosen_from * 2 / comb(n_a + n_b, n_a))


def seeds_needed(*, chosen_from: int = 1) -> int:
    """The least number of seeds of each method with which p can be LEVEL or less: 4 for two methods."""
    return next(n for n in range(1, 100) if least_p(n, n, chosen_from=chosen_from) <= LEVEL)
