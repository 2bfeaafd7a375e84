"""A cantilever after Euler and Bernoulli: clamped at x = 0, free at x = 1, bent in its first two modes and let go.

With z = 1 − x, the distance from the free end, and ζ = z⁴, a function A(ζ) + z B(ζ) has neither second nor third
derivatives at the free end. Every smooth solution is such a function there: u_xx and u_xxx are 0 for all t, so those of
u_tt = −u_xxxx are, too, and in its series in z the powers 4k + 2 and 4k + 3 are missing. At the clamp, z = 1, both

    g = z − 1 + (1 − ζ)/4,  h = (z − 1) (1 − ζ)

are 0 together with their slopes. So every network N of ζ and t has all four conditions at the ends, and the start,
in

    u = u(x, 0) + 100 t² (g N₁ + h N₂)

where 100 is about the size of u_tt.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import cos, cosh, sin, sinh
from typing import Any

from kdpinn_edge.problems import Math, Mirror, Problem, Zero, evaluated

END = 0.5
MODES = ((0.8, 1.8751040687119611), (0.2, 4.694091132974175))
"""The deflection of the free end in each mode, and the root β of cos β cosh β = −1 that is its wave number."""


def _residual(u_tt: Any, u_xxxx: Any) -> Sequence[Any]:
    return (u_tt + u_xxxx,)


def _features(m: Math, x: Any, t: Any) -> Sequence[Any]:
    return 2.0 * (1.0 - x) ** 4 - 1.0, 2.0 / END * t - 1.0


def _shape(m: Math, x: Any, beta: float) -> Any:
    """The mode of this wave number, 1 at the free end: (cosh βz + cos βz − σ (sinh βz + sin βz))/2."""
    sigma, z = (cosh(beta) + cos(beta)) / (sinh(beta) + sin(beta)), beta * (1.0 - x)
    decaying = 0.25 * (1 + sigma) * m.exp(-z) + 0.25 * (1 - sigma) * m.exp(z)
    return decaying + 0.5 * m.cos(z) - 0.5 * sigma * m.sin(z)


def _ansatz(m: Math, columns: Sequence[Any], first: Any, second: Any) -> Sequence[Any]:
    x, t = columns
    start = sum(size * _shape(m, x, beta) for size, beta in MODES)
    inner = 1.0 - (1.0 - x) ** 4
    return (start + 100.0 * t * t * ((0.25 * inner - x) * first - x * inner * second),)


def _closed_form(m: Math, x: Any, t: Any) -> Sequence[Any]:
    return (sum(size * _shape(m, x, beta) * m.cos(beta**2 * t) for size, beta in MODES),)


PROBLEM = Problem(
    name="beam",
    equation="u_tt + u_xxxx = 0",
    conditions="u = u_x = 0 at x = 0, u_xx = u_xxx = 0 at x = 1, u(x, 0) = 0.8 φ₁(x) + 0.2 φ₂(x), u_t(x, 0) = 0",
    inputs=("x", "t"),
    outputs=("u",),
    lower=(0.0, 0.0),
    upper=(1.0, END),
    units=("1", "1", "1"),
    exact=evaluated(_closed_form),
    exact_error=1e-14,
    resolution=(201, 201),
    terms=("u_tt", "u_xxxx"),
    residual=_residual,
    features=_features,
    ansatz=_ansatz,
    net_columns=2,
    closed_form=_closed_form,
    known=(Mirror("t", 0.0, (1,)), Zero("x", 0.0)),
)
