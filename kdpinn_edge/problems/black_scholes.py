"""Black-Scholes: the prices V of a European call and P of a put on a share at S, the time t before their exercise.

The payoff has a corner at S = K, which diffuses as √t. With s = S/K, y = s − exp(−rt) and w = σ√(2t),

    V/K = (y + h(y, t))/2 + √t s(3 − s) N(s, √t, tanh(z/2)),  h = y erf(z) + w exp(−z²)/√π, z = y/w

is the price in a model with normal instead of lognormal increments, and a correction in coordinates in which the
exact price is smooth down to t = 0. t + START stands for t in w, so that it is never 0: at t = 0 the corner is rounded
by 0.004 at its tip. V(0) = 0 is met within 5e-5, V(S_max) within 2e-8.

P = V − S + K exp(−rt) holds for every network. Δ, Γ and Θ are V_S, V_SS and −V_t, and P_S, P_SS and −P_t.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from math import pi, sqrt
from typing import Any

import numpy as np

from kdpinn_edge.problems import Array, Front, Math, Problem, evaluated
from kdpinn_edge.problems._special import erf, inverse_root

STRIKE, RATE, SIGMA = 50.0, 0.05, 0.2
HIGHEST = 150.0
START = 1e-6
TINY = 1e-30


def _residual(share: Any, price: Any, delta: Any, gamma: Any, price_t: Any) -> Sequence[Any]:
    return (price_t - 0.5 * SIGMA**2 * share**2 * gamma - RATE * share * delta + RATE * price,)


def _coordinates(m: Math, share: Any, t: Any) -> tuple[Any, Any, Any]:
    """y, 1/√(t + START) and z."""
    y = share * (1 / STRIKE) - m.exp(-RATE * t)
    root = inverse_root(m, t, START)
    return y, root, y * root * (1 / (SIGMA * sqrt(2)))


def _features(m: Math, share: Any, t: Any) -> Sequence[Any]:
    _, root, z = _coordinates(m, share, t)
    return share * (2 / HIGHEST) - 1.0, 2.0 * t * root - 1.0, m.tanh(0.5 * z)


def _put(m: Math, share: Any, t: Any, call: Any) -> Any:
    return call - share + m.exp(-RATE * t) * STRIKE


def _ansatz(m: Math, columns: Sequence[Any], net: Any) -> Sequence[Any]:
    share, t = columns
    y, root, z = _coordinates(m, share, t)
    w = (t + START) * root * (SIGMA * sqrt(2))
    corner = y * erf(m, z) + w * m.exp(-(z * z)) * (1 / sqrt(pi))
    bubble = share * (HIGHEST - share) * (1 / STRIKE**2)
    call = (0.5 * (y + corner) + t * root * bubble * net) * STRIKE
    return call, _put(m, share, t, call)


def _weight(m: Math, share: Any, t: Any) -> Any:
    """√t: the derivatives of what depends on z grow as its inverse."""
    return (t + START) * inverse_root(m, t, START)


def _closed_form(m: Any, share: Any, t: Any) -> Sequence[Any]:
    """S Φ(d₁) − K exp(−rt) Φ(d₂) (F. Black and M. Scholes, 1973); TINY makes its limits at t = 0 and S = 0 finite."""
    spread = m.sqrt(t + TINY) * SIGMA
    d = (m.log(share * (1 / STRIKE) + TINY) + RATE * t) * m.reciprocal(spread)
    above = 0.5 + 0.5 * m.erf((d + 0.5 * spread) * (1 / sqrt(2)))
    exercised = 0.5 + 0.5 * m.erf((d - 0.5 * spread) * (1 / sqrt(2)))
    call = share * above - STRIKE * m.exp(-RATE * t) * exercised
    return call, _put(m, share, t, call)


class _Numpy:
    """NumPy's functions, and the error function, which NumPy has not."""

    sqrt, log, exp, reciprocal = np.sqrt, np.log, np.exp, np.reciprocal

    @staticmethod
    def erf(x: Array) -> Array:
        return np.array(np.frompyfunc(math.erf, 1, 1)(x), dtype=np.float64)


PROBLEM = Problem(
    name="black_scholes",
    equation="V_t = ½σ²S² V_SS + r S V_S − r V, σ = 0.2, r = 0.05",
    conditions="V(S, 0) = max(S − 50, 0), V(0, t) = 0, V(150, t) = 150 − 50 exp(−rt), P = V − S + 50 exp(−rt)",
    inputs=("S", "t"),
    outputs=("V", "P"),
    lower=(0.0, 0.0),
    upper=(HIGHEST, 1.0),
    units=("1", "1", "1", "1"),
    exact=evaluated(_closed_form, _Numpy),
    exact_error=1e-12,
    resolution=(301, 301),
    terms=("S", "V", "V_S", "V_SS", "V_t"),
    residual=_residual,
    features=_features,
    ansatz=_ansatz,
    net_columns=1,
    weight=_weight,
    closed_form=_closed_form,
    known=(Front("S", STRIKE, 2.0), Front("t", 0.0, 0.01)),
)
