"""Viscous Burgers for a decade of viscosities: ν is an input, so that ∂u/∂ν is a derivative like any other."""

from __future__ import annotations

from collections.abc import Sequence
from math import pi
from typing import Any

from kdpinn_edge.problems import Front, Math, Mirror, Problem
from kdpinn_edge.problems.burgers import cole_hopf

LOWEST, HIGHEST = 0.01, 0.1


def _residual(u: Any, u_x: Any, u_t: Any, u_xx: Any, nu: Any) -> Sequence[Any]:
    return (u_t + u * u_x - nu * u_xx,)


def _scaled(nu: Any) -> Any:
    return (nu - LOWEST) * (1 / (HIGHEST - LOWEST))


def _decay(m: Math, nu: Any) -> Any:
    """From 1 at the lowest ν to 1/400 at the highest: it tells the small ones apart, as a logarithm would."""
    return m.exp(-6.0 * _scaled(nu))


def _front(m: Math, x: Any, nu: Any) -> Any:
    """A step about as wide as the shock. It is 0 at x = 0, as u is: a shock that drifts leaves hardly any residual."""
    return m.tanh(m.sin(pi * x) * (2.0 + 14.0 * _decay(m, nu)))


def _features(m: Math, x: Any, t: Any, nu: Any) -> Sequence[Any]:
    front = _front(m, x, nu)
    even = m.cos(pi * x), front * m.sin(pi * x), front * front
    return *even, 2.0 * t - 1.0, 2.0 * _scaled(nu) - 1.0, _decay(m, nu)


def _ansatz(m: Math, columns: Sequence[Any], net: Any) -> Sequence[Any]:
    x, t, nu = columns
    return (t * _front(m, x, nu) * net - m.sin(pi * x),)


PROBLEM = Problem(
    name="burgers_nu",
    equation="u_t + u u_x = ν u_xx",
    conditions="u(x, 0, ν) = −sin(πx), u(±1, t, ν) = 0",
    inputs=("x", "t", "nu"),
    outputs=("u",),
    lower=(-1.0, 0.0, LOWEST),
    upper=(1.0, 1.0, HIGHEST),
    units=("1", "1", "1", "1"),
    exact=cole_hopf,
    exact_error=1e-13,
    resolution=(301, 101, 11),
    terms=("u", "u_x", "u_t", "u_xx", "nu"),
    residual=_residual,
    features=_features,
    ansatz=_ansatz,
    logarithmic=("nu",),
    known=(Mirror("x", 0.0, (-1,)), Mirror("x", 1.0, (-1,)), Front("x", 0.0, 4 * LOWEST), Front("nu", 0.0, LOWEST)),
)
