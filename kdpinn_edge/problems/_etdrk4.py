"""Solutions of period 2L in x: Fourier modes that exponential time differencing carries on, and a table of values."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import pi
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kdpinn_edge.problems import Array

CONTOUR = 32
STENCIL = 10


def marched(v: Any, rate: Any, nonlinear: Callable[[Any], Any], end: float, steps: int, kept: int) -> Any:
    """The modes v at t = 0 and after every `kept`-th of the `steps` to `end`, side by side along a new first axis.

        v_t = rate v + nonlinear(v)

    by the exponential Runge-Kutta method of order 4 (S. M. Cox and P. C. Matthews, 2002) with its coefficients as
    contour integrals (A.-K. Kassam and L. N. Trefethen, 2005). `rate` is real or complex, and has the shape of v.
    """
    dt = end / steps
    circle = dt * rate[..., None] + np.exp(2j * pi * (np.arange(CONTOUR) + 0.5) / CONTOUR)
    e = np.exp(circle)

    def weight(values: Any) -> Any:
        mean = dt * np.mean(values, axis=-1)
        return mean if np.iscomplexobj(rate) else mean.real

    whole, part = np.exp(dt * rate), np.exp(dt * rate / 2)
    q = weight((np.exp(circle / 2) - 1) / circle)
    first = weight((-4 - circle + e * (4 - 3 * circle + circle**2)) / circle**3)
    middle = weight((2 + circle + e * (circle - 2)) / circle**3)
    last = weight((-4 - 3 * circle - circle**2 + e * (4 - circle)) / circle**3)

    found = [v]
    for step in range(1, steps + 1):
        n = nonlinear(v)
        a = part * v + q * n
        n_a = nonlinear(a)
        n_b = nonlinear(part * v + q * n_a)
        n_c = nonlinear(part * a + q * (2 * n_b - n))
        v = whole * v + first * n + 2 * middle * (n_a + n_b) + last * n_c
        if step % kept == 0:
            found.append(v)
    return np.array(found)


@dataclass(frozen=True, eq=False)
class Table:
    """Values (times, places, outputs) at equally spaced times and places, and polynomials between them.

    The times are from 0 to `end`, the places from `left` to `right`, all of them included.
    """

    values: Array
    end: float
    left: float
    right: float

    def __call__(self, x: Array, t: Array) -> Array:
        """The outputs at places x (n,) and times t (n,): (n, outputs)."""
        i, along_t = _stencil(t / self.end, self.values.shape[0])
        j, along_x = _stencil((x - self.left) / (self.right - self.left), self.values.shape[1])
        u = np.zeros((len(x), self.values.shape[2]))
        for k, in_t in enumerate(along_t):
            for m, in_x in enumerate(along_x):
                u += (in_t * in_x)[:, None] * self.values[i + k, j + m]
        return u


def _stencil(at: Array, n: int) -> tuple[NDArray[np.int64], Array]:
    """The first of the STENCIL nodes, of n on [0, 1], around each point, and Lagrange's weights (STENCIL, points)."""
    place = at * (n - 1)
    first = np.clip(np.floor(place).astype(np.int64) - STENCIL // 2 + 1, 0, n - STENCIL)
    offset = place - first
    nodes = range(STENCIL)
    weights = [np.prod([(offset - k) / (node - k) for k in nodes if k != node], axis=0) for node in nodes]
    return first, np.array(weights)
