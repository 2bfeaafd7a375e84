"""Incompressible Navier-Stokes: an array of Taylor-Green vortices that decays.

    u = ψ_y, v = −ψ_x, p = a_x + b_y

ψ, a and b have the periods of the box. So there is no divergence, and the mean of p, which no equation fixes, is 0.
The vortices start as their own mirror images in x = 0 and in y = 0, and remain so: ψ and p are even in both. With
networks N of cos x, cos y and t,

    ψ = cos x cos y + t N₁, a = sin x N₂, b = sin y N₃
"""

from __future__ import annotations

from collections.abc import Sequence
from math import pi
from typing import Any

from kdpinn_edge.problems import Math, Mirror, Potentials, Problem, evaluated

NU = 0.1


def _residual(
    u: Any, u_x: Any, u_y: Any, u_t: Any, u_xx: Any, u_yy: Any,
    v: Any, v_x: Any, v_y: Any, v_t: Any, v_xx: Any, v_yy: Any,
    p_x: Any, p_y: Any,
) -> Sequence[Any]:  # fmt: skip
    return (
        u_t + u * u_x + v * u_y + p_x - NU * (u_xx + u_yy),
        v_t + u * v_x + v * v_y + p_y - NU * (v_xx + v_yy),
    )


def _features(m: Math, x: Any, y: Any, t: Any) -> Sequence[Any]:
    return m.cos(x), m.cos(y), 2.0 * t - 1.0


def _ansatz(m: Math, columns: Sequence[Any], psi: Any, a: Any, b: Any) -> Sequence[Any]:
    x, y, t = columns
    return m.cos(x) * m.cos(y) + t * psi, m.sin(x) * a, m.sin(y) * b


def _outputs(psi_y: Any, psi_x: Any, a_x: Any, b_y: Any) -> Sequence[Any]:
    return psi_y, -psi_x, a_x + b_y


def _closed_form(m: Math, x: Any, y: Any, t: Any) -> Sequence[Any]:
    decay = m.exp(-2 * NU * t)
    pressure = -0.25 * (m.cos(2 * x) + m.cos(2 * y)) * decay * decay
    return -m.cos(x) * m.sin(y) * decay, m.sin(x) * m.cos(y) * decay, pressure


PROBLEM = Problem(
    name="taylor_green",
    equation="w_t + (w·∇)w + ∇p = 0.1 Δw, ∇·w = 0, w = (u, v)",
    conditions="u(x, y, 0) = −cos x sin y, v(x, y, 0) = sin x cos y, period 2π in x and y, mean of p = 0",
    inputs=("x", "y", "t"),
    outputs=("u", "v", "p"),
    lower=(0.0, 0.0, 0.0),
    upper=(2 * pi, 2 * pi, 1.0),
    units=("1",) * 6,
    exact=evaluated(_closed_form),
    exact_error=1e-15,
    resolution=(61, 61, 31),
    terms=(
        *("u", "u_x", "u_y", "u_t", "u_xx", "u_yy"),
        *("v", "v_x", "v_y", "v_t", "v_xx", "v_yy"),
        *("p_x", "p_y"),
    ),
    residual=_residual,
    features=_features,
    ansatz=_ansatz,
    potentials=Potentials(("psi", "a", "b"), ("psi_y", "psi_x", "a_x", "b_y"), _outputs),
    closed_form=_closed_form,
    known=(
        *(Mirror("x", at, (1, -1, 1)) for at in (0.0, pi)),
        *(Mirror("y", at, (-1, 1, 1)) for at in (0.0, pi)),
    ),
)
