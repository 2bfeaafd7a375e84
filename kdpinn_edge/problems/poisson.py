"""A plate that is heated evenly: one side is kept cold, two are insulated, and the fourth loses heat to the air.

Conditions of all three kinds on one domain: Dirichlet at x = 0, Neumann at x = 1 and at y = 0, Robin at y = 1. With

    s = x (2 − x), c = (1 − y²)², d = (1 − y²)³

s has no slope at x = 1; c and d have none at y = 0 and y = 1. So, with the factor exp(−y²/2), whose slope at y = 1 is
−1 times itself, every network N has all four conditions:

    u = s exp(−y²/2) N(s, c, d)

Every smooth solution is of this form: what is left of it is even about x = 1 and y = 0, and powers of c and d make all
series in 1 − y² that lack the linear term.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np

from kdpinn_edge.problems import Array, Math, Mirror, Problem, Zero

MODES = 300
ROWS = 4096  # per block: 10 MB of intermediate values


def _residual(u_xx: Any, u_yy: Any) -> Sequence[Any]:
    return (u_xx + u_yy + 1.0,)


def _features(m: Math, x: Any, y: Any) -> Sequence[Any]:
    below = 1.0 - y * y
    c = below * below
    return 2.0 * x * (2.0 - x) - 1.0, 2.0 * c - 1.0, 2.0 * c * below - 1.0


def _ansatz(m: Math, columns: Sequence[Any], net: Any) -> Sequence[Any]:
    x, y = columns
    return (x * (2.0 - x) * m.exp(-0.5 * y * y) * net,)


@cache
def _modes(n: int) -> tuple[Array, Array]:
    """The n least roots μ > 0 of μ tan μ = 1, and the coefficient of cos(μy)/μ² in the expansion of 1."""
    turns = np.arange(n) * np.pi
    mu = turns + 1 / (turns + 1)
    for _ in range(8):  # Newton's method for μ sin μ − cos μ
        mu = mu - (mu * np.sin(mu) - np.cos(mu)) / (2 * np.sin(mu) + mu * np.cos(mu))
    return mu, 2 * np.sin(mu) / (mu + np.sin(mu) * np.cos(mu)) / mu**2


def series(points: Array, modes: int = MODES) -> Array:
    """u at points (n, 2): (n, 1).

        u = (3 − y²)/2 − Σ_k c_k cos(μ_k y) cosh(μ_k (1 − x))/cosh μ_k

    The first part has all conditions but that at x = 0, where the sum is its expansion. Every term solves the equation;
    those that are left out matter at x = 0 alone, where they are less than 2/(3 π⁴ modes³).
    """
    blocks = np.array_split(points, max(1, -(-len(points) // ROWS)))
    return np.concatenate([_block(block, *_modes(modes)) for block in blocks])


def _block(points: Array, mu: Array, coefficients: Array) -> Array:
    x, y = points[:, :1], points[:, 1:]
    along = (np.exp(-mu * x) + np.exp(mu * (x - 2))) / (1 + np.exp(-2 * mu))
    u: Array = (3 - y * y) / 2 - (along * np.cos(mu * y)) @ coefficients[:, None]
    return u


PROBLEM = Problem(
    name="poisson",
    equation="u_xx + u_yy = −1",
    conditions="u(0, y) = 0, u_x(1, y) = 0, u_y(x, 0) = 0, u_y(x, 1) = −u(x, 1)",
    inputs=("x", "y"),
    outputs=("u",),
    lower=(0.0, 0.0),
    upper=(1.0, 1.0),
    units=("1", "1", "1"),
    exact=series,
    exact_error=3e-10,
    resolution=(201, 201),
    terms=("u_xx", "u_yy"),
    residual=_residual,
    features=_features,
    ansatz=_ansatz,
    known=(Zero("x", 0.0), Mirror("x", 1.0, (1,)), Mirror("y", 0.0, (1,))),
)
