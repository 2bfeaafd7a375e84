"""A standing wave under a distributed source: four half waves along each side of a square.

It continues oddly beyond each side, with period 2. So u = sin(πx) sin(πy) N(cos πx, cos πy), which is 0 on all sides; N
is shown the second harmonics, cos 2πx and cos 2πy, as well.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import pi
from typing import Any

from kdpinn_edge.problems import Math, Mirror, Problem, evaluated

K = 4 * pi


def _residual(u: Any, u_xx: Any, u_yy: Any) -> Sequence[Any]:
    return ((-u_xx - u_yy - K**2 * u) * (1 / K**2),)


def _source(m: Math, x: Any, y: Any) -> Sequence[Any]:
    return (m.sin(K * x) * m.sin(K * y),)


def _features(m: Math, x: Any, y: Any) -> Sequence[Any]:
    return m.cos(pi * x), m.cos(2 * pi * x), m.cos(pi * y), m.cos(2 * pi * y)


def _ansatz(m: Math, columns: Sequence[Any], net: Any) -> Sequence[Any]:
    x, y = columns
    return (m.sin(pi * x) * m.sin(pi * y) * net,)


def _closed_form(m: Math, x: Any, y: Any) -> Sequence[Any]:
    return (m.sin(K * x) * m.sin(K * y),)


PROBLEM = Problem(
    name="helmholtz",
    equation="−(u_xx + u_yy)/k² − u = sin(kx) sin(ky), k = 4π",
    conditions="u = 0 on the boundary",
    inputs=("x", "y"),
    outputs=("u",),
    lower=(0.0, 0.0),
    upper=(1.0, 1.0),
    units=("1", "1", "1"),
    exact=evaluated(_closed_form),
    exact_error=1e-14,
    resolution=(301, 301),
    terms=("u", "u_xx", "u_yy"),
    residual=_residual,
    source=_source,
    features=_features,
    ansatz=_ansatz,
    closed_form=_closed_form,
    known=tuple(Mirror(side, at, (-1,)) for side in ("x", "y") for at in (0.0, 1.0)),
)
