"""Allen-Cahn: phases that separate, with interfaces 0.006 wide, from a start whose slope jumps at the period's ends.

u is even in x and of period 2. Without diffusion every place follows the reaction alone, from w to

    φ(w, t) = w/√(exp(−10 t) + w² (1 − exp(−10 t)))

and it is the reaction that amplifies errors, by exp(5 t) where u is small. Therefore u = φ(w, t), so that a network
only has to say what diffusion, which is slow, does to w:

    w = x² cos(πx) + 2 (h(y, t) − y) + 0.01 t N(cos πx, 2t − 1),  y = (2/π) cos(πx/2)

x² cos(πx) has the slope −2 at x = 1 and 2 at x = −1: a corner, as that of 2|y|, which only the diffusion rounds off.
An ansatz x² cos(πx) + t N would keep it for all t, and no residual at points would tell. So the corner is taken out and
put back as diffusion leaves it,

    h(y, t) = E|y + Z √(2Dt)| = y erf(z) + v exp(−z²)/√π,  v = √(4Dt), z = y/v,  Z normal

with t + START for t in h, so that v is never 0: at t = 0 the corner is rounded by 7e-5 at its tip.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import cache, partial
from math import pi, sqrt
from typing import Any

import numpy as np

from kdpinn_edge.problems import Array, Math, Mirror, Problem
from kdpinn_edge.problems._etdrk4 import Table, marched

D = 1e-4
START = 1e-5
MODES = 4096
STEPS = 2000
KEPT = 4
"""Every so manieth step is kept for interpolation."""


def _residual(u: Any, u_t: Any, u_xx: Any) -> Sequence[Any]:
    return (u_t - D * u_xx - 5.0 * u + 5.0 * u**3,)


def _features(m: Math, x: Any, t: Any) -> Sequence[Any]:
    return m.cos(pi * x), 2.0 * t - 1.0


def _reacted(m: Math, w: Any, t: Any) -> Any:
    """φ(w, t)."""
    decay = m.exp(-10.0 * t)
    return w / m.sqrt(decay + w * w * (1.0 - decay))


def _weight(m: Math, x: Any, t: Any) -> Any:
    """What goes wrong early is amplified by the reaction: it counts more."""
    return m.exp(-3.5 * t)


def erf(m: Math, z: Any) -> Any:
    """The error function, within 2.9e-4; its slope within 1.3e-3. The coefficients are a minimax fit on [0, 6]."""
    return m.tanh(z * (z * z * 0.09979313559446788 + 1.1296754918960998))


def _corner(m: Math, y: Any, t: Any) -> Any:
    """h(y, t + START)."""
    root = m.sqrt(t + START)
    z, v = y * (1 / sqrt(4 * D)) / root, root * sqrt(4 * D)
    return y * erf(m, z) + v * m.exp(-(z * z)) * (1 / sqrt(pi))


def _ansatz(m: Math, columns: Sequence[Any], net: Any) -> Sequence[Any]:
    x, t = columns
    y = m.cos(0.5 * pi * x) * (2 / pi)
    w = x * x * m.cos(pi * x) + 2.0 * (_corner(m, y, t) - y) + 0.01 * t * net
    return (_reacted(m, w, t),)


def _coefficients(f: Callable[[Array], Array], modes: int) -> Array:
    """The Fourier coefficients of an even f of period 2, as rfft has them for so many points; from 64 times as many."""
    x = np.linspace(-1, 1, 64 * modes, endpoint=False)
    coefficients: Array = np.fft.rfft(np.fft.ifftshift(f(x)))[: modes // 2 + 1].real / 64
    return coefficients


@cache
def solution(modes: int = MODES, steps: int = STEPS) -> Array:
    """u at every KEPT-th time step and at x = 0, 2/modes, … 1: a table (steps/KEPT + 1, modes/2 + 1).

    From Fourier modes. u is even: half of the period is all of it.
    """
    half = modes // 2 + 1

    def reaction(v: Any) -> Any:
        return -5 * np.fft.rfft(np.fft.irfft(v, modes) ** 3).real

    start = _coefficients(lambda x: x * x * np.cos(pi * x), modes)
    found = marched(start, 5 - D * (pi * np.arange(half)) ** 2, reaction, 1.0, steps, KEPT)
    table: Array = np.fft.irfft(found, modes)[:, :half]
    return table


@cache
def _smooth(modes: int, steps: int) -> Table:
    """The table without the corner, whose series is cut where that of the table is: only early are there such modes."""
    smooth = solution(modes, steps).copy()
    for row, t in zip(smooth, np.linspace(0, 1, len(smooth)), strict=True):
        if D * (pi * modes / 2) ** 2 * t < 36:
            row -= np.fft.irfft(_coefficients(partial(_corner_exactly, t=t), modes), modes)[: len(row)]
        else:
            row -= _corner_exactly(np.linspace(0, 1, len(row)), t)
    return Table(smooth[..., None], 1.0, 0.0, 1.0)


def _corner_exactly(x: Array, t: Array) -> Array:
    """2 exp(−10 t) h(y, t)."""
    y, w = np.cos(0.5 * pi * x) * (2 / pi), np.sqrt(4 * D * t)
    z = np.minimum(y / np.maximum(w, 1e-150), 30)
    erf = np.array(np.frompyfunc(math.erf, 1, 1)(z), dtype=np.float64)
    corner: Array = 2 * np.exp(-10 * t) * (y * erf + w * np.exp(-(z**2)) / sqrt(pi))
    return corner


def interpolated(points: Array, modes: int = MODES, steps: int = STEPS) -> Array:
    """u at points (n, 2): the corner exactly, the rest between the table's entries by polynomials in x and in t.

    Half and twice as many modes, and half and twice as many steps, change it by less than 5e-8, 1e-8, 6e-9 and 2e-8.
    """
    x, t = np.abs(points[:, 0]), points[:, 1]
    return _corner_exactly(x, t)[:, None] + _smooth(modes, steps)(x, t)


PROBLEM = Problem(
    name="allen_cahn",
    equation="u_t = 1e-4 u_xx + 5u − 5u³",
    conditions="u(x, 0) = x² cos(πx), u(−1, t) = u(1, t), u_x(−1, t) = u_x(1, t)",
    inputs=("x", "t"),
    outputs=("u",),
    lower=(-1.0, 0.0),
    upper=(1.0, 1.0),
    units=("1", "1", "1"),
    exact=interpolated,
    exact_error=3e-8,
    resolution=(301, 301),
    terms=("u", "u_t", "u_xx"),
    residual=_residual,
    features=_features,
    ansatz=_ansatz,
    weight=_weight,
    known=(Mirror("x", 0.0, (1,)), Mirror("x", 1.0, (1,))),
)
