"""Black-Scholes: the prices V of a European call and P of a put on a share at S, the time t before their exercise.

Both are the prices of a model with normal increments, with the spread w that makes them those of lognormal ones. With
D = exp(−rt), y = S/K − D and z = y/w,

    w = σ √(t S/K) exp(N/10),  V/K = y Φ(z) + w φ(z),  P/K = w φ(z) − y Φ(−z),  N(2/(1 + S/K) − 1, 2t − 1)

where Φ and φ are the distribution and the density of the standard normal. Practitioners call K w/√t the implied normal
volatility. It is K σ √(S/K) to first order, hardly depends on t and is smooth in S, so a small network has it. No price
is negative, and a small price has a small error. What rounding leaves below 0 is cut off, and LEAST S² is added, so
that V_SS in float32 does not underflow, where it had either sign.

t + START stands for t, so that w is never 0: at t = 0 the corner is rounded by 0.004 at its tip. Likewise S/K + LOWEST
stands for S/K. V(0, t) = 0 is met exactly, V(S_max, t) within 1e-6 for |N| ≤ 1.

P = V − S + K exp(−rt) holds for every network. Δ, Γ and Θ are V_S, V_SS and −V_t, and P_S, P_SS and −P_t.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from math import pi, sqrt
from typing import Any

import numpy as np

from kdpinn_edge.problems import Array, Front, Math, Problem, evaluated

STRIKE, RATE, SIGMA = 50.0, 0.05, 0.2
HIGHEST = 150.0
START = 1e-6
TINY = 1e-30
LOWEST = 1e-3
LEAST = 1e-35


def _residual(share: Any, price: Any, delta: Any, gamma: Any, price_t: Any) -> Sequence[Any]:
    return (price_t - 0.5 * SIGMA**2 * share**2 * gamma - RATE * share * delta + RATE * price,)


def _features(m: Math, share: Any, t: Any) -> Sequence[Any]:
    return 2.0 / (share * (1 / STRIKE) + 1.0) - 1.0, 2.0 * t - 1.0


def _ansatz(m: Math, columns: Sequence[Any], net: Any) -> Sequence[Any]:
    share, t = columns
    y = share * (1 / STRIKE) - m.exp(-RATE * t)
    w = m.sqrt((t + START) * (share * (1 / STRIKE) + LOWEST)) * m.exp(0.1 * net) * SIGMA
    q = y / w * (1 / sqrt(2))
    half = 0.5 * m.erf(q)
    time_value = w * m.exp(-(q * q)) * (1 / sqrt(2 * pi)) + share * share * LEAST
    return m.relu(time_value + y * (0.5 + half)) * STRIKE, m.relu(time_value - y * (0.5 - half)) * STRIKE


def _weight(m: Math, share: Any, t: Any) -> Any:
    """√t: the derivatives of what depends on z grow as its inverse."""
    return m.sqrt(t + START)


def _put(m: Any, share: Any, t: Any, call: Any) -> Any:
    return call - share + m.exp(-RATE * t) * STRIKE


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
