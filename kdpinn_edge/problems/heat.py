"""Heat in a rod whose ends are kept cold: one sine that decays.

Good values: 2×16, some rounds of Levenberg-Marquardt.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import pi
from typing import Any

import numpy as np

from kdpinn_edge.problems import Array, Math, Problem, Zero

DIFFUSIVITY = 0.4


def _residual(u_t: Any, u_xx: Any) -> Sequence[Any]:
    return (u_t - DIFFUSIVITY * u_xx,)


def _features(m: Math, x: Any, t: Any) -> Sequence[Any]:
    return 2.0 * x - 1.0, 2.0 * t - 1.0


def _ansatz(m: Math, columns: Sequence[Any], net: Any) -> Sequence[Any]:
    x, t = columns
    return (m.sin(pi * x) + 4.0 * t * x * (1.0 - x) * net,)


def _exact(points: Array) -> Array:
    x, t = points[:, :1], points[:, 1:]
    u: Array = np.sin(pi * x) * np.exp(-DIFFUSIVITY * pi**2 * t)
    return u


PROBLEM = Problem(
    name="heat",
    equation="u_t = 0.4 u_xx",
    conditions="u(x, 0) = sin(πx), u(0, t) = u(1, t) = 0",
    inputs=("x", "t"),
    outputs=("u",),
    lower=(0.0, 0.0),
    upper=(1.0, 1.0),
    units=("1", "1", "1"),
    exact=_exact,
    exact_error=1e-15,
    resolution=(301, 301),
    terms=("u_t", "u_xx"),
    residual=_residual,
    features=_features,
    ansatz=_ansatz,
    known=(Zero("x", 0.0), Zero("x", 1.0)),
)
