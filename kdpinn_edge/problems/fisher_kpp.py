"""Fisher, Kolmogorov, Petrovsky and Piskunov: a population that grows where it has arrived, and spreads as a front.

The front is the one that has a closed form (M. Ablowitz and A. Zeppetella, 1979), u = (1 + exp(x − 5t))⁻². With e(t),
which is what u gains at an end, and a network N of x and t, the ansatz has the start and both ends:

    u = (1 + exp(x))⁻² + (1 − s) e(t; −5) + s e(t; 10) + t s (10 − x) N,  s = (x + 5)/15
"""

from __future__ import annotations

from collections.abc import Sequence
from math import exp
from typing import Any

from kdpinn_edge.problems import Math, Problem, evaluated

GROWTH, SPEED = 6.0, 5.0
LEFT, RIGHT = -5.0, 10.0


def _residual(u: Any, u_t: Any, u_xx: Any) -> Sequence[Any]:
    return (u_t - u_xx - GROWTH * u * (1.0 - u),)


def _features(m: Math, x: Any, t: Any) -> Sequence[Any]:
    return (2 / (RIGHT - LEFT)) * (x - LEFT) - 1.0, 2.0 * t - 1.0


def _front(m: Math, z: Any) -> Any:
    """(1 + exp(z))⁻²."""
    root = 0.5 - 0.5 * m.tanh(0.5 * z)
    return root * root


def _weight(m: Math, x: Any, t: Any) -> Any:
    """Ahead of the front whatever is wrong grows, by exp(6t) at most: what goes wrong early counts more."""
    return m.exp(-4.0 * t)


def _closed_form(m: Math, x: Any, t: Any) -> Sequence[Any]:
    return (_front(m, x - SPEED * t),)


def _gained(m: Math, end: float, t: Any) -> Any:
    return _front(m, end - SPEED * t) - (1 + exp(end)) ** -2


def _ansatz(m: Math, columns: Sequence[Any], net: Any) -> Sequence[Any]:
    x, t = columns
    share = (x - LEFT) * (1 / (RIGHT - LEFT))
    left = _gained(m, LEFT, t)
    ends = left + share * (_gained(m, RIGHT, t) - left)
    return (_front(m, x) + ends + t * share * (RIGHT - x) * net,)


PROBLEM = Problem(
    name="fisher_kpp",
    equation="u_t = u_xx + 6 u (1 − u)",
    conditions="u = (1 + exp(x − 5t))⁻² at t = 0, x = −5 and x = 10",
    inputs=("x", "t"),
    outputs=("u",),
    lower=(LEFT, 0.0),
    upper=(RIGHT, 1.0),
    units=("1", "1", "1"),
    exact=evaluated(_closed_form),
    exact_error=1e-15,
    resolution=(301, 301),
    terms=("u", "u_t", "u_xx"),
    residual=_residual,
    features=_features,
    ansatz=_ansatz,
    weight=_weight,
    closed_form=_closed_form,
)
