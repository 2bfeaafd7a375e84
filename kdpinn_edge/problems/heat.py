"""Heat in a rod whose ends are kept cold: one sine that decays.

Good values: 2×16, some rounds of Levenberg-Marquardt.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import pi
from typing import Any

from kdpinn_edge.problems import Math, Problem, Zero, evaluated

DIFFUSIVITY = 0.4


def _residual(u_t: Any, u_xx: Any) -> Sequence[Any]:
    return (u_t - DIFFUSIVITY * u_xx,)


def _features(m: Math, x: Any, t: Any) -> Sequence[Any]:
    return 2.0 * x - 1.0, 2.0 * t - 1.0


def _ansatz(m: Math, columns: Sequence[Any], net: Any) -> Sequence[Any]:
    x, t = columns
    return (m.sin(pi * x) + 4.0 * t * x * (1.0 - x) * net,)


def _closed_form(m: Math, x: Any, t: Any) -> Sequence[Any]:
    return (m.sin(pi * x) * m.exp(-DIFFUSIVITY * pi**2 * t),)


PROBLEM = Problem(
    name="heat",
    equation="u_t = 0.4 u_xx",
    conditions="u(x, 0) = sin(πx), u(0, t) = u(1, t) = 0",
    inputs=("x", "t"),
    outputs=("u",),
    lower=(0.0, 0.0),
    upper=(1.0, 1.0),
    units=("1", "1", "1"),
    exact=evaluated(_closed_form),
    exact_error=1e-15,
    resolution=(301, 301),
    terms=("u_t", "u_xx"),
    residual=_residual,
    features=_features,
    ansatz=_ansatz,
    closed_form=_closed_form,
    known=(Zero("x", 0.0), Zero("x", 1.0)),
)
