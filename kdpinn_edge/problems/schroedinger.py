"""The nonlinear Schrödinger equation: two solitons of one speed, which beat, in a period of 10.

h = u + iv starts as 2 sech x (M. Raissi, P. Perdikaris and G. Karniadakis, 2019). Continued with the period, that has a
corner at x = ±5, of height 0.027. This equation smooths no corner: the solution would be rough at all times, and no
residual at points would tell. So the corner is rounded over a distance of ROUND: with d = 5 − |x|,

    h(x, 0) = 2 sech r,  r = 5 − d tanh(d/ROUND)

Both solutions differ by 4e-4 of their size. u and v are even in x and in period, and h at −t is the conjugate of h at
t. The corner spreads by itself, since h is small there, almost as S √(y² + ROUND²/4 + 2it/π), where S is half the jump
of the slope and y = (10/π) cos(πx/10). The solitons beat with the frequency 4. With networks N of cos(πx/5), of bumps
at x = 0 and at ±5, of t² and of cos 4t,

    h = 2 sech r + S (√(y² + ROUND²/4 + 2it/π) − √(y² + ROUND²/4)) + 4t² N₁ + 4it N₂
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from math import cosh, pi, tanh
from typing import Any

import numpy as np

from kdpinn_edge.problems import Array, Front, Math, Mirror, Problem
from kdpinn_edge.problems._etdrk4 import Table, marched

HALF, END = 5.0, pi / 2
ROUND = 0.2
SLOPE = 2 * tanh(HALF) / cosh(HALF)
MODES = 512
STEPS = 2000
FINER = 2
"""How many times as many places the table has as there are modes."""


def _residual(u: Any, u_t: Any, u_xx: Any, v: Any, v_t: Any, v_xx: Any) -> Sequence[Any]:
    size = u * u + v * v
    return 0.5 * u_xx - v_t + size * u, 0.5 * v_xx + u_t + size * v


def _features(m: Math, x: Any, t: Any) -> Sequence[Any]:
    c = m.cos(pi / HALF * x)
    return c, m.exp(5.0 * c - 5.0), m.exp(-20.0 * c - 20.0), (2.0 / END**2) * t * t - 1.0, m.cos(4.0 * t)


def _start(m: Math, x: Any) -> Any:
    """2 sech(|x| + δ), δ = d − d tanh(d/ROUND), without a corner at x = 0, where δ is 0."""
    side = m.tanh(3.0 * x)
    d = HALF - side * x
    gained = d - d * m.tanh((1 / ROUND) * d)
    up, down, out, back = m.exp(x), m.exp(-x), m.exp(gained), m.exp(-gained)
    return 8.0 / ((up + down) * (out + back) + side * (up - down) * (out - back))


def _weight(m: Math, x: Any, t: Any) -> Any:
    """What goes wrong where the solitons meet grows most."""
    return 1.0 + 4.0 * m.exp(5.0 * m.cos(pi / HALF * x) - 5.0)


def _spread(m: Math, x: Any, t: Any) -> tuple[Any, Any]:
    """What the corner has gained since the start: the real part and the imaginary part."""
    y, b = m.cos(0.5 * pi / HALF * x) * (2 * HALF / pi), t * (2 / pi)
    a = y * y + ROUND**2 / 4
    root = m.sqrt(0.5 * (m.sqrt(a * a + b * b) + a))
    return SLOPE * (root - m.sqrt(a)), (0.5 * SLOPE) * b / root


def _ansatz(m: Math, columns: Sequence[Any], p: Any, q: Any) -> Sequence[Any]:
    x, t = columns
    real, imaginary = _spread(m, x, t)
    return _start(m, x) + real + 4.0 * t * t * p, imaginary + 4.0 * t * q


@cache
def solution(modes: int = MODES, steps: int = STEPS) -> Table:
    """u and v on half of the period, of which the other half is the mirror image, from Fourier modes."""
    x = np.fft.ifftshift(np.linspace(-HALF, HALF, modes, endpoint=False))

    def values(v: Any, n: int = modes) -> Any:
        return np.fft.irfft(v.real, n) + 1j * np.fft.irfft(v.imag, n)

    def focused(v: Any) -> Any:
        h = values(v)
        h = 1j * (h.real**2 + h.imag**2) * h
        return np.fft.rfft(h.real).real + 1j * np.fft.rfft(h.imag).real

    rate = -0.5j * (pi / HALF * np.arange(modes // 2 + 1)) ** 2
    found = marched(np.fft.rfft(_start(np, x)).real + 0j, rate, focused, END, steps, kept=1)
    h = FINER * values(found, FINER * modes)[:, : FINER * modes // 2 + 1]
    return Table(np.stack([h.real, h.imag], axis=-1), END, 0.0, HALF)


def _exact(points: Array) -> Array:
    return solution()(np.abs(points[:, 0]), points[:, 1])


PROBLEM = Problem(
    name="schroedinger",
    equation="i h_t + ½ h_xx + |h|² h = 0, h = u + iv",
    conditions="h(x, 0) = 2 sech x with its corner at ±5 rounded, h(−5, t) = h(5, t), h_x(−5, t) = h_x(5, t)",
    inputs=("x", "t"),
    outputs=("u", "v"),
    lower=(-HALF, 0.0),
    upper=(HALF, END),
    units=("1", "1", "1", "1"),
    exact=_exact,
    exact_error=1e-8,
    resolution=(301, 201),
    terms=("u", "u_t", "u_xx", "v", "v_t", "v_xx"),
    residual=_residual,
    features=_features,
    ansatz=_ansatz,
    weight=_weight,
    known=(Mirror("x", 0.0, (1, 1)), Mirror("x", HALF, (1, 1)), Mirror("t", 0.0, (1, -1)), Front("x", 0.0, 0.5)),
)
