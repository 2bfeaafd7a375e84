"""Incompressible Navier-Stokes, steady: the flow behind a grid of rods at Re = 40 (L. Kovasznay, 1948).

The velocity on the boundary is carried inside by a Coons patch, and N is multiplied by a bubble that vanishes there.
The pressure is fixed at the origin by p = x N₃ + y N₄, which every smooth p with p(0, 0) = 0 is.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import exp, pi, sqrt
from typing import Any

from kdpinn_edge.problems import Math, Problem, evaluated

REYNOLDS = 40.0
LAMBDA = REYNOLDS / 2 - sqrt(REYNOLDS**2 / 4 + 4 * pi**2)
LEFT, RIGHT, BOTTOM, TOP = -0.5, 1.0, -0.5, 1.5


def _residual(
    u: Any, u_x: Any, u_y: Any, u_xx: Any, u_yy: Any,
    v: Any, v_x: Any, v_y: Any, v_xx: Any, v_yy: Any,
    p_x: Any, p_y: Any,
) -> Sequence[Any]:  # fmt: skip
    return (
        u * u_x + v * u_y + p_x - (1 / REYNOLDS) * (u_xx + u_yy),
        u * v_x + v * v_y + p_y - (1 / REYNOLDS) * (v_xx + v_yy),
        u_x + v_y,
    )


def _across(x: Any) -> Any:
    return (x - LEFT) * (1 / (RIGHT - LEFT))


def _up(y: Any) -> Any:
    return (y - BOTTOM) * (1 / (TOP - BOTTOM))


def _features(m: Math, x: Any, y: Any) -> Sequence[Any]:
    return 2.0 * _across(x) - 1.0, 2.0 * _up(y) - 1.0, m.cos(2 * pi * y), m.sin(2 * pi * y)


def _ansatz(m: Math, columns: Sequence[Any], u: Any, v: Any, in_x: Any, in_y: Any) -> Sequence[Any]:
    x, y = columns
    across, up = _across(x), _up(y)
    bubble = 16.0 * across * (1.0 - across) * up * (1.0 - up)
    straight = across * (exp(LAMBDA * RIGHT) - exp(LAMBDA * LEFT)) + exp(LAMBDA * LEFT)
    return (
        m.exp(LAMBDA * x) + 1.0 - (m.cos(2 * pi * y) + 1.0) * straight + bubble * u,
        m.sin(2 * pi * y) * straight * (LAMBDA / (2 * pi)) + bubble * v,
        x * in_x + y * in_y,
    )


def _closed_form(m: Math, x: Any, y: Any) -> Sequence[Any]:
    e = m.exp(LAMBDA * x)
    return 1.0 - e * m.cos(2 * pi * y), LAMBDA / (2 * pi) * e * m.sin(2 * pi * y), 0.5 - 0.5 * e * e


PROBLEM = Problem(
    name="kovasznay",
    equation="(w·∇)w + ∇p = Δw/40, ∇·w = 0, w = (u, v)",
    conditions="on the walls u = 1 − e^(λx) cos(2πy), v = λ/(2π) e^(λx) sin(2πy), λ = 20 − √(400 + 4π²), p(0, 0) = 0",
    inputs=("x", "y"),
    outputs=("u", "v", "p"),
    lower=(LEFT, BOTTOM),
    upper=(RIGHT, TOP),
    units=("1",) * 5,
    exact=evaluated(_closed_form),
    exact_error=1e-14,
    resolution=(201, 201),
    terms=("u", "u_x", "u_y", "u_xx", "u_yy", "v", "v_x", "v_y", "v_xx", "v_yy", "p_x", "p_y"),
    residual=_residual,
    features=_features,
    ansatz=_ansatz,
    net_columns=4,
    closed_form=_closed_form,
)
