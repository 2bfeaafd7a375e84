"""Incompressible Navier-Stokes, steady: the flow that a lid drags along in a square cavity, Re = 100.

    u = ψ_y, v = −ψ_x

so that there is no divergence. At both ends of the lid the velocity jumps, and the pressure is infinite. Near such a
corner the flow is that between a wall and a scraper (G. I. Taylor, 1962): with x from the wall, y below the lid and the
angle θ = atan(y/x) below it,

    ψ = θ (C x + D y) − (π²/4) C y,  p = −2ν (C x + D y)/(x² + y²),  C = 4/(π² − 4), D = (π/2) C

The flows of both corners are joined by cubic steps, from one to the other and down to the bottom. That alone has the
velocity on all four sides, so a network N adds to it what has none there:

    ψ = ψ₀ + (16 x (1 − x) y (1 − y))² N₁,  p = p₀ + (x − ½) N₂ + (y − ½) N₃

ROUNDING keeps it finite at the corners, where u comes out as 1.7, and changes the velocity of the walls by less than
3e-4 from 0.005 on.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from math import comb, factorial, pi
from typing import Any

import numpy as np
from numpy.polynomial import Legendre, Polynomial

from kdpinn_edge.problems import Array, Math, Potentials, Problem

NU = 0.01
C = 4 / (pi**2 - 4)
D = pi / 2 * C
ROUNDING = 1e-4
MODES = 28
NODES = 44
NEWTON_STEPS = 5
ACROSS, UP = Polynomial([1, 0, -3, 2]), Polynomial([0, 0, 3, -2])
"""The share of the left corner's flow along x, and of both along y."""
STEP = 1e-30
"""Of complex differences, which have no rounding to balance."""


def _residual(
    u: Any, u_x: Any, u_y: Any, u_xx: Any, u_yy: Any,
    v: Any, v_x: Any, v_y: Any, v_xx: Any, v_yy: Any,
    p_x: Any, p_y: Any,
) -> Sequence[Any]:  # fmt: skip
    return (
        u * u_x + v * u_y + p_x - NU * (u_xx + u_yy),
        u * v_x + v * v_y + p_y - NU * (v_xx + v_yy),
    )


def _weight(m: Math, x: Any, y: Any) -> Any:
    """Less towards the corners, where the residual is as 1/r for any smooth network."""
    below, right = (1.0 - y) * (1.0 - y), (1.0 - x) * (1.0 - x)
    return (x * x + below) * (right + below)


def _scraped(m: Math, x: Any, y: Any) -> tuple[Any, Any]:
    """ψ and p in the corner, x from the wall and y below the lid."""
    square = x * x + y * y + ROUNDING**2
    angle, both = 2.0 * m.atan(y / (m.sqrt(square) + x)), C * x + D * y
    return angle * both - pi**2 / 4 * C * y, -2 * NU * both / square


def _dragged(m: Math, x: Any, y: Any) -> tuple[Any, Any]:
    """ψ₀ and p₀."""
    (psi, p), (mirrored, suction) = _scraped(m, x, 1.0 - y), _scraped(m, 1.0 - x, 1.0 - y)
    across, up = 1.0 - x * x * (3.0 - 2.0 * x), y * y * (3.0 - 2.0 * y)
    return up * (mirrored + across * (psi - mirrored)), across * (p + suction) - suction


def _ansatz(m: Math, columns: Sequence[Any], net: Any, in_x: Any, in_y: Any) -> Sequence[Any]:
    x, y = columns
    psi, p = _dragged(m, x, y)
    bubble = 16.0 * x * (1.0 - x) * y * (1.0 - y)
    return psi + bubble * bubble * net, p + (x - 0.5) * in_x + (y - 0.5) * in_y


def _outputs(psi_y: Any, psi_x: Any, p: Any) -> Sequence[Any]:
    return psi_y, -psi_x, p


def _powers(z: Any, a: int, b: int) -> Any:
    """∂ₓᵃ ∂ᵧᵇ of log z, z = x + i y."""
    n = a + b
    return np.log(z) if n == 0 else 1j**b * (-1) ** (n - 1) * factorial(n - 1) / z**n


def _scraped_slope(x: Array, y: Array, a: int, b: int) -> Array:
    """∂ₓᵃ ∂ᵧᵇ of ψ in the corner, without ROUNDING."""
    z = x + 1j * y
    slope: Array = (C * x + D * y) * _powers(z, a, b).imag
    if a:
        slope = slope + a * C * _powers(z, a - 1, b).imag
    if b:
        slope = slope + b * D * _powers(z, a, b - 1).imag
    return slope - pi**2 / 4 * C * {(0, 0): y, (0, 1): 1.0}.get((a, b), 0.0)


def _suction_slope(x: Array, y: Array, a: int, b: int) -> Array:
    """∂ₓᵃ ∂ᵧᵇ of p in the corner, without ROUNDING."""
    slope: Array = -2 * NU * ((C + 1j * D) * _powers(x + 1j * y, a + 1, b)).real
    return slope


def _dragged_slope(corner: Any, sign: int, up: Polynomial, x: Array, y: Array, a: int, b: int) -> Array:
    """∂ₓᵃ ∂ᵧᵇ of what is joined of both corners by Leibniz' rule, `sign` in the right one."""
    total = np.zeros_like(x)
    for i in range(a + 1):
        share = ACROSS.deriv(i)(x)
        for j in range(b + 1):
            left = (-1) ** (b - j) * corner(x, 1 - y, a - i, b - j)
            right = sign * (-1) ** (a - i + b - j) * corner(1 - x, 1 - y, a - i, b - j)
            joined = share * left + ((i == 0) - share) * right
            total += comb(a, i) * comb(b, j) * up.deriv(j)(y) * joined
    return total


def _clamped(n: int, at: Array, order: int) -> Array:
    """Derivatives of polynomials that are 0 with their slopes at 0 and 1: (points, n)."""
    twice = Polynomial([0, 0, 1, -2, 1]).convert(domain=[0, 1], kind=Legendre)
    return np.stack([(twice * Legendre.basis(k, domain=[0, 1])).deriv(order)(at) for k in range(n)], axis=-1)


def _free(n: int, at: Array, order: int) -> Array:
    """Derivatives of polynomials: (points, n)."""
    return np.stack([Legendre.basis(k, domain=[0, 1]).deriv(order)(at) for k in range(n)], axis=-1)


@cache
def solution(modes: int = MODES, nodes: int = NODES) -> tuple[Array, Array]:
    """The coefficients of ψ − ψ₀ and of p − p₀ in products of polynomials, each (modes, modes).

    Galerkin's method and Newton's for ν ∫ Δψ Δφ + ∫ Δψ (ψ_y φ_x − ψ_x φ_y) = 0 for all φ; then the pressure whose
    gradient is nearest to what the momentum leaves.
    """
    at, weight = np.polynomial.legendre.leggauss(nodes)
    at, weight = (at + 1) / 2, weight / 2
    x, y = (each.ravel() for each in np.meshgrid(at, at, indexing="ij"))
    w = np.outer(weight, weight).ravel()[:, None]

    def operator(table: Any, a: int, b: int) -> Array:
        return np.kron(table(modes, at, a), table(modes, at, b))

    def start(a: int, b: int) -> Array:
        return _dragged_slope(_scraped_slope, 1, UP, x, y, a, b)

    along_x, along_y = operator(_clamped, 1, 0), operator(_clamped, 0, 1)
    laplacian = operator(_clamped, 2, 0) + operator(_clamped, 0, 2)
    psi = np.zeros(modes * modes)
    for _ in range(NEWTON_STEPS):
        psi_x, psi_y = (start(1, 0) + along_x @ psi)[:, None], (start(0, 1) + along_y @ psi)[:, None]
        vorticity = (start(2, 0) + start(0, 2) + laplacian @ psi)[:, None]
        left = laplacian.T @ (NU * w * vorticity) + along_x.T @ (w * psi_y * vorticity)
        left = left - along_y.T @ (w * psi_x * vorticity)
        slope = laplacian.T @ (NU * w * laplacian)
        slope += along_x.T @ (w * (psi_y * laplacian + vorticity * along_y))
        slope -= along_y.T @ (w * (psi_x * laplacian + vorticity * along_x))
        psi = psi - np.linalg.solve(slope, left)[:, 0]

    def found(a: int, b: int) -> Array:
        return start(a, b) + operator(_clamped, a, b) @ psi

    u, v = found(0, 1), -found(1, 0)
    wanted = (
        NU * (found(2, 1) + found(0, 3)) - u * found(1, 1) - v * found(0, 2),
        -NU * (found(3, 0) + found(1, 2)) + u * found(2, 0) + v * found(1, 1),
    )
    normal, load = np.zeros((modes * modes, modes * modes)), np.zeros(modes * modes)
    for (a, b), gradient in zip(((1, 0), (0, 1)), wanted, strict=True):
        along = operator(_free, a, b)
        rest = gradient - _dragged_slope(_suction_slope, -1, Polynomial([1]), x, y, a, b)
        normal += along.T @ (w * along)
        load += along.T @ (w[:, 0] * rest)
    p = np.append(0.0, np.linalg.solve(normal[1:, 1:], load[1:]))
    shape = (modes, modes)
    return psi.reshape(shape), p.reshape(shape)


def evaluated_at(points: Array, modes: int = MODES, nodes: int = NODES) -> Array:
    """u, v and p at points (n, 2): (n, 3).

    On the centre lines u and v are within 2e-5 of published values. Four more polynomials along each side change u and
    v by up to 2e-3, and p by up to 6e-3, near the ends of the lid.
    """
    psi, pressure = solution(modes, nodes)
    x, y = points.T

    def total(coefficients: Array, table: Any, a: int, b: int, x: Array, y: Array) -> Array:
        return np.sum((table(modes, x, a) @ coefficients) * table(modes, y, b), axis=1)

    u = _dragged(np, x, y + 1j * STEP)[0].imag / STEP + total(psi, _clamped, 0, 1, x, y)
    v = _dragged(np, x + 1j * STEP, y)[0].imag / STEP + total(psi, _clamped, 1, 0, x, y)
    half = np.array([0.5])
    p = _dragged(np, x, y)[1] + total(pressure, _free, 0, 0, x, y) - total(pressure, _free, 0, 0, half, half)
    return np.column_stack([u, -v, p])


PROBLEM = Problem(
    name="cavity",
    equation="(w·∇)w + ∇p = Δw/100, ∇·w = 0, w = (u, v)",
    conditions="u(x, 1) = 1, v(x, 1) = 0, u = v = 0 on the other walls, p(½, ½) = 0",
    inputs=("x", "y"),
    outputs=("u", "v", "p"),
    lower=(0.0, 0.0),
    upper=(1.0, 1.0),
    units=("1",) * 5,
    exact=evaluated_at,
    exact_error=6e-3,
    resolution=(129, 129),
    terms=("u", "u_x", "u_y", "u_xx", "u_yy", "v", "v_x", "v_y", "v_xx", "v_yy", "p_x", "p_y"),
    residual=_residual,
    ansatz=_ansatz,
    weight=_weight,
    potentials=Potentials(("psi", "p"), ("psi_y", "psi_x", "p"), _outputs),
    net_columns=3,
)
