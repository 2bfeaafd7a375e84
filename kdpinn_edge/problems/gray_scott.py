"""Gray and Scott: a pulse of a catalyst that feeds on a fuel, grows, and divides into two.

The equations are those of J. Pearson (1993, "Complex patterns in a simple system"): v makes more of itself from u,
which is fed at the rate F; v is removed at the rate F + k. Diffusion rates are his, 2e-5 and 1e-5, in a unit of length
of √1e-5, and as in his pictures u = 1/2, v = 1/4 in the middle of u = 1, v = 0, here by a smooth bump. With F = 0.03
and k = 0.058 the pulse divides once before the end, and an error of the start is never more than 7 times as large.

Without causal weighting a network becomes a narrower pulse that keeps its size, which obeys the equations almost as
well. u and v are even in x, and have the period. With networks N of cos(πx/60), the bump, t and exp(−t/40),

    u = 1 − b/2 + (1 − exp(−t/40)) N₁,  v = b/4 + (1 − exp(−t/40)) N₂,  b = exp(10 cos(πx/60) − 10)
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from math import pi
from typing import Any

import numpy as np

from kdpinn_edge.problems import Array, Math, Mirror, Problem, causal
from kdpinn_edge.problems._etdrk4 import Table, marched

FEED, KILL = 0.03, 0.058
SPREAD_U, SPREAD_V = 2.0, 1.0
HALF, END = 60.0, 400.0
STARTING = 40.0
"""The time that the bump takes to become a pulse."""
NARROW = 10.0
MODES = 128
STEPS = 3200
KEPT = 4
"""Every fourth step is in the table."""
FINER = 4
"""How many times as many places the table has as there are modes."""


def _residual(u: Any, u_t: Any, u_xx: Any, v: Any, v_t: Any, v_xx: Any) -> Sequence[Any]:
    eaten = u * v * v
    return u_t - SPREAD_U * u_xx + eaten - FEED * (1.0 - u), v_t - SPREAD_V * v_xx - eaten + (FEED + KILL) * v


def _bump(m: Math, c: Any) -> Any:
    return m.exp(NARROW * c - NARROW)


def _features(m: Math, x: Any, t: Any) -> Sequence[Any]:
    c = m.cos(pi / HALF * x)
    return c, _bump(m, c), (2 / END) * t - 1.0, m.exp(-1 / STARTING * t)


def _ansatz(m: Math, columns: Sequence[Any], of_u: Any, of_v: Any) -> Sequence[Any]:
    x, t = columns
    bump, since = _bump(m, m.cos(pi / HALF * x)), 1.0 - m.exp(-1 / STARTING * t)
    return 1.0 - 0.5 * bump + since * of_u, 0.25 * bump + since * of_v


@cache
def solution(modes: int = MODES, steps: int = STEPS) -> Table:
    """u and v on half of the period, of which the other half is the mirror image, from Fourier modes."""
    x = np.fft.ifftshift(np.linspace(-HALF, HALF, modes, endpoint=False))
    square = (pi / HALF * np.arange(modes // 2 + 1)) ** 2
    rate = np.stack([-SPREAD_U * square - FEED, -SPREAD_V * square - FEED - KILL])
    fed = np.zeros_like(rate)
    fed[0, 0] = FEED * modes

    def reacted(modes_of: Any) -> Any:
        u, v = np.fft.irfft(modes_of, modes)
        eaten = np.fft.rfft(u * v * v)
        return fed + np.stack([-eaten, eaten])

    bump = _bump(np, np.cos(pi / HALF * x))
    start = np.fft.rfft(np.stack([1.0 - 0.5 * bump, 0.25 * bump]))
    found = marched(start, rate, reacted, END, steps, KEPT)
    values = FINER * np.fft.irfft(found, FINER * modes)[..., : FINER * modes // 2 + 1]
    return Table(values.transpose(0, 2, 1), END, 0.0, HALF)


def _exact(points: Array) -> Array:
    return solution()(np.abs(points[:, 0]), points[:, 1])


PROBLEM = Problem(
    name="gray_scott",
    equation="u_t = 2 u_xx − u v² + 0.03 (1 − u), v_t = v_xx + u v² − 0.088 v",
    conditions="u(x, 0) = 1 − b/2, v(x, 0) = b/4, b = exp(10 cos(πx/60) − 10), periodic",
    inputs=("x", "t"),
    outputs=("u", "v"),
    lower=(-HALF, 0.0),
    upper=(HALF, END),
    units=("1", "1", "1", "1"),
    exact=_exact,
    exact_error=5e-9,
    resolution=(301, 201),
    terms=("u", "u_t", "u_xx", "v", "v_t", "v_xx"),
    residual=_residual,
    features=_features,
    ansatz=_ansatz,
    weight=causal("t"),
    known=(Mirror("x", 0.0, (1, 1)), Mirror("x", HALF, (1, 1))),
)
