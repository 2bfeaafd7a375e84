"""Predators and prey (A. Lotka, 1925; V. Volterra, 1926): two ordinary equations, in the one input t.

    a = 1 + (t/4) N₁, b = 1 + (t/4) N₂

Residuals at later times count once those before are small: a network that leaves the solution
early on obeys the equations everywhere else.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np

from kdpinn_edge.problems import Array, Math, Problem, causal

BIRTHS, DEATHS = 1.5, 3.0
END = 4.0
STEPS = 80
ORDER = 24


def _residual(a: Any, a_t: Any, b: Any, b_t: Any) -> Sequence[Any]:
    return a_t - BIRTHS * a + a * b, b_t - a * b + DEATHS * b


def _ansatz(m: Math, columns: Sequence[Any], of_a: Any, of_b: Any) -> Sequence[Any]:
    (t,) = columns
    since = t * (1 / END)
    return 1.0 + since * of_a, 1.0 + since * of_b


@cache
def series(steps: int = STEPS, order: int = ORDER) -> Array:
    """The Taylor series of a and b about the start of each step: (steps, order + 1, 2).

    The equations give each coefficient from those before it. The step is a sixth of the radius of convergence, so that
    what is left out is far below rounding.
    """
    found = np.zeros((steps, order + 1, 2))
    start = np.ones(2)
    for a, b in found.transpose(0, 2, 1):
        a[0], b[0] = start
        for k in range(order):
            eaten = a[: k + 1] @ b[k::-1]
            a[k + 1] = (BIRTHS * a[k] - eaten) / (k + 1)
            b[k + 1] = (eaten - DEATHS * b[k]) / (k + 1)
        start = np.array([np.polynomial.polynomial.polyval(END / steps, each) for each in (a, b)])
    return found


def evaluated_at(points: Array, steps: int = STEPS, order: int = ORDER) -> Array:
    """a and b at the times (n, 1): (n, 2)."""
    t = points[:, 0]
    step = np.minimum((t * (steps / END)).astype(np.int64), steps - 1)
    since = (t - step * (END / steps))[:, None]
    u = np.zeros((len(t), 2))
    for coefficients in series(steps, order)[step].transpose(1, 0, 2)[::-1]:
        u = u * since + coefficients
    return u


PROBLEM = Problem(
    name="lotka_volterra",
    equation="a' = 1.5 a − a b, b' = a b − 3 b",
    conditions="a(0) = b(0) = 1",
    inputs=("t",),
    outputs=("a", "b"),
    lower=(0.0,),
    upper=(END,),
    units=("1",) * 3,
    exact=evaluated_at,
    exact_error=1e-12,
    resolution=(2001,),
    terms=("a", "a_t", "b", "b_t"),
    residual=_residual,
    ansatz=_ansatz,
    weight=causal("t"),
)
