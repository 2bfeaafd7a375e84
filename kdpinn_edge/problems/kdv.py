"""Korteweg and de Vries: a cosine that steepens, and at t = 1/π begins to break up into a train of solitons.

The posing is that of N. Zabusky and M. Kruskal (1965), shifted to [−1, 1] and followed up to t = 1. With a network N
that has the period, and sees four harmonics of it,

    u = cos(πx) + t N(cos πx, sin πx, …, cos 4πx, sin 4πx, 2t − 1)
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from math import pi
from typing import Any

import numpy as np

from kdpinn_edge.problems import Array, Math, Period, Problem, causal
from kdpinn_edge.problems._etdrk4 import Table, marched

DISPERSION = 0.022**2
MODES = 256
STEPS = 4000
KEPT = 4
"""Every fourth step is in the table."""
FINER = 8
"""How many times as many places the table has as there are modes."""


def _residual(u: Any, u_x: Any, u_t: Any, u_xxx: Any) -> Sequence[Any]:
    return (u_t + u * u_x + DISPERSION * u_xxx,)


def _features(m: Math, x: Any, t: Any) -> Sequence[Any]:
    c, s = m.cos(pi * x), m.sin(pi * x)
    c2, s2 = 2.0 * c * c - 1.0, 2.0 * c * s
    c3, s3 = c2 * c - s2 * s, s2 * c + c2 * s
    c4, s4 = 2.0 * c2 * c2 - 1.0, 2.0 * c2 * s2
    return c, s, c2, s2, c3, s3, c4, s4, 2.0 * t - 1.0


def _ansatz(m: Math, columns: Sequence[Any], net: Any) -> Sequence[Any]:
    x, t = columns
    return (m.cos(pi * x) + t * net,)


@cache
def solution(modes: int = MODES, steps: int = STEPS) -> Table:
    """u over the whole period and time, from Fourier modes."""
    x = np.linspace(-1, 1, modes, endpoint=False)
    k = 1j * pi * np.arange(modes // 2 + 1)

    def steepened(v: Any) -> Any:
        return -0.5 * k * np.fft.rfft(np.fft.irfft(v, modes) ** 2)

    found = marched(np.fft.rfft(np.cos(pi * x)), -DISPERSION * k**3, steepened, 1.0, steps, KEPT)
    u = FINER * np.fft.irfft(found, FINER * modes)
    return Table(np.concatenate([u, u[:, :1]], axis=1)[..., None], 1.0, -1.0, 1.0)


def _exact(points: Array) -> Array:
    return solution()(points[:, 0], points[:, 1])


PROBLEM = Problem(
    name="kdv",
    equation="u_t + u u_x + 0.022² u_xxx = 0",
    conditions="u(x, 0) = cos(πx), u(−1, t) = u(1, t), and so all derivatives",
    inputs=("x", "t"),
    outputs=("u",),
    lower=(-1.0, 0.0),
    upper=(1.0, 1.0),
    units=("1", "1", "1"),
    exact=_exact,
    exact_error=1e-7,
    resolution=(301, 301),
    terms=("u", "u_x", "u_t", "u_xxx"),
    residual=_residual,
    features=_features,
    ansatz=_ansatz,
    weight=causal("t"),
    known=(Period("x"),),
)
