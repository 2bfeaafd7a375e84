"""A string that is plucked in two of its modes and let go.

The motion continues oddly beyond the ends, with period 2 in x, and repeats after the time 2/c = 1, backwards as
forwards. So N is even and periodic in both, a function of cos(πx) and cos(2πt); it is shown their second harmonics as
well:

    u = sin(πx) + ½ sin(4πx) + (1 − cos(2πt)) sin(πx) N(cos πx, cos 2πx, cos 2πt, cos 4πt)

which has the values and no velocity at t = 0.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import pi
from typing import Any

from kdpinn_edge.problems import Math, Mirror, Problem, evaluated

SPEED = 2.0


def _residual(u_tt: Any, u_xx: Any) -> Sequence[Any]:
    return (u_tt - SPEED**2 * u_xx,)


def _features(m: Math, x: Any, t: Any) -> Sequence[Any]:
    return m.cos(pi * x), m.cos(2 * pi * x), m.cos(SPEED * pi * t), m.cos(2 * SPEED * pi * t)


def _ansatz(m: Math, columns: Sequence[Any], net: Any) -> Sequence[Any]:
    x, t = columns
    return (m.sin(pi * x) + 0.5 * m.sin(4 * pi * x) + (1.0 - m.cos(SPEED * pi * t)) * m.sin(pi * x) * net,)


def _closed_form(m: Math, x: Any, t: Any) -> Sequence[Any]:
    first = m.sin(pi * x) * m.cos(SPEED * pi * t)
    fourth = m.sin(4 * pi * x) * m.cos(4 * SPEED * pi * t)
    return (first + 0.5 * fourth,)


PROBLEM = Problem(
    name="wave",
    equation="u_tt = 4 u_xx",
    conditions="u(x, 0) = sin(πx) + ½ sin(4πx), u_t(x, 0) = 0, u(0, t) = u(1, t) = 0",
    inputs=("x", "t"),
    outputs=("u",),
    lower=(0.0, 0.0),
    upper=(1.0, 1.0),
    units=("1", "1", "1"),
    exact=evaluated(_closed_form),
    exact_error=1e-14,
    resolution=(301, 301),
    terms=("u_tt", "u_xx"),
    residual=_residual,
    features=_features,
    ansatz=_ansatz,
    closed_form=_closed_form,
    known=(
        *(Mirror("x", 0.0, (-1,)), Mirror("x", 1.0, (-1,))),
        *(Mirror("t", 0.0, (1,)), Mirror("t", 0.5, (1,))),
    ),
)
