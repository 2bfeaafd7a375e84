"""Incompressible Navier-Stokes, steady: the flow that a lid drags along in a square cavity, Re = 100.

    u = ψ_y, v = −ψ_x

so that there is no divergence. At both ends of the lid the velocity jumps, and the pressure is infinite. Near such a
corner the flow is that between a wall and a scraper (G. I. Taylor, 1962): with x from the wall, y below the lid, the
distance r and the angle θ = atan(y/x) below the lid,

    ψ = θ (C x + D y) − (π²/4) C y = r f(θ),  p = −2ν (C x + D y)/r²,  C = 4/(π² − 4), D = (π/2) C

The flows of both corners are joined by cubic steps, from one to the other and down to the bottom. The inertia of this
flow is as 1/r; what it adds is the next term of a series (C. Hancock, E. Lewis and H. K. Moffatt, 1981),

    ψ₁ = r² h(θ)/ν,  p₁ = −c log r,  h_θθθ + 4 h_θ = f (f_θθ + f) + c,  h = h_θ = 0 at the lid and at the wall

which is used within REACH of the corner. These flows alone have the velocity on all four sides, so a network N adds to
them what has none there:

    ψ = ψ₀ + ψ₁ + (16 x (1 − x) y (1 − y))² N₁,  p = p₀ + (x − ½) N₂ + (y − ½) N₃

and p₁ is in the reference alone: what a model calculates can then be in integers, which have no logarithm. ROUNDING
keeps all of it finite at the corners, where u comes out as 1.7, and changes the velocity of the walls by less than 3e-4
from 0.005 on.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from math import comb, factorial, pi
from typing import Any

import numpy as np
from numpy.polynomial import Hermite, Legendre, Polynomial

from kdpinn_edge.problems import Array, Math, Potentials, Problem

NU = 0.01
C = 4 / (pi**2 - 4)
D = pi / 2 * C
ROUNDING = 1e-4
REACH = 0.15
MODES = 28
NODES = 44
NEWTON_STEPS = 5
ONE, LINE, SQUARE = Polynomial([1]), Polynomial([0, 1]), Polynomial([0, 0, 1])
ACROSS, UP = Polynomial([1, 0, -3, 2]), Polynomial([0, 0, 3, -2])
"""The share of the left corner's flow along x, and of both along y."""
STEP = 1e-30
"""Of complex differences, which have no rounding to balance."""
Slope = Callable[[Array, Array, int, int], Array]
"""The derivatives ∂ₓᵃ ∂ᵧᵇ of something at points x, y."""


def _next_term() -> tuple[tuple[tuple[float, float, float], ...], float]:
    """r² h as factors of x², x y and y², each for 1, θ and θ²; and c.

    h is a sum of 1, θ, and of cos 2θ and sin 2θ times polynomials of θ.
    """
    cos2, sin2 = -pi * C**2 / 16, -(pi**2 / 4 - 1) * C**2 / 16
    cos1, sin1 = (pi**2 / 4 * C**2 + 12 * sin2) / 8, (pi**3 / 8 * C**2 - 12 * cos2) / 8
    one1 = (pi * (sin1 + cos2) + pi**2 / 2 * sin2) / 2
    cos0, sin0 = (pi / 2 * (one1 - cos1) - pi**2 / 4 * cos2) / 2, -(one1 + cos1) / 2
    factors = (0.0, 2 * sin0, -2 * cos0), (one1 + cos1, 2 * sin1, one1 - cos1), (cos2, 2 * sin2, -cos2)
    return factors, 4 * one1 - pi**2 / 4 * C**2


FACTORS, SUCTION = _next_term()


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
    """Less towards the corners, where the residual is as 1/r for any smooth pressure."""
    below, right = (1.0 - y) * (1.0 - y), (1.0 - x) * (1.0 - x)
    return m.sqrt((x * x + below) * (right + below))


def _angle(m: Math, x: Any, y: Any, square: Any) -> Any:
    return 2.0 * m.atan(y / (m.sqrt(square) + x))


def _scraped(m: Math, x: Any, y: Any) -> tuple[Any, Any]:
    """ψ₀ and p₀ in the corner, x from the wall and y below the lid."""
    square = x * x + y * y + ROUNDING**2
    both = C * x + D * y
    return _angle(m, x, y, square) * both - pi**2 / 4 * C * y, -2 * NU * both / square


def _turned(m: Math, x: Any, y: Any) -> Any:
    """ψ₁ in the corner."""
    square = x * x + y * y
    angle, total = _angle(m, x, y, square + ROUNDING**2), 0.0
    for of_x, of_both, of_y in reversed(FACTORS):
        total = total * angle + (of_x * (x * x) + of_both * (x * y) + of_y * (y * y))
    return total * m.exp(square * (-1 / REACH**2)) * (1 / NU)


def _dragged(m: Math, x: Any, y: Any) -> tuple[Any, Any]:
    """ψ₀ + ψ₁ and p₀."""
    (psi, p), (mirrored, suction) = _scraped(m, x, 1.0 - y), _scraped(m, 1.0 - x, 1.0 - y)
    across, up = 1.0 - x * x * (3.0 - 2.0 * x), y * y * (3.0 - 2.0 * y)
    turned = _turned(m, x, 1.0 - y) - _turned(m, 1.0 - x, 1.0 - y)
    return up * (mirrored + across * (psi - mirrored)) + turned, across * (p + suction) - suction


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


def _product(first: Slope, second: Slope) -> Slope:
    """The derivatives of a product, by Leibniz' rule."""

    def slope(x: Array, y: Array, a: int, b: int) -> Array:
        total = np.zeros_like(x)
        for i in range(a + 1):
            for j in range(b + 1):
                total += comb(a, i) * comb(b, j) * first(x, y, i, j) * second(x, y, a - i, b - j)
        return total

    return slope


def _sides(along: Polynomial, up: Polynomial) -> Slope:
    """The derivatives of a polynomial of x times one of y."""
    return lambda x, y, a, b: along.deriv(a)(x) * up.deriv(b)(y)


def _angle_slope(x: Array, y: Array, a: int, b: int) -> Array:
    slope: Array = _powers(x + 1j * y, a, b).imag
    return slope


def _near_slope(x: Array, y: Array, a: int, b: int) -> Array:
    """Of exp(−(r/REACH)²), by polynomials of Hermite."""
    x, y = x / REACH, y / REACH
    slope: Array = Hermite.basis(a)(x) * Hermite.basis(b)(y) * np.exp(-x * x - y * y) / (-REACH) ** (a + b)
    return slope


def _scraped_slope(x: Array, y: Array, a: int, b: int) -> Array:
    """Of ψ₀ in the corner, without ROUNDING."""
    along, down = (_product(side, _angle_slope) for side in (_sides(LINE, ONE), _sides(ONE, LINE)))
    straight = _sides(ONE, LINE)(x, y, a, b)
    return C * along(x, y, a, b) + D * down(x, y, a, b) - pi**2 / 4 * C * straight


def _turned_slope(x: Array, y: Array, a: int, b: int) -> Array:
    """Of ψ₁ in the corner, without ROUNDING."""
    power: Slope = _near_slope
    total = np.zeros_like(x)
    for factors in FACTORS:
        for factor, *sides in zip(factors, (SQUARE, LINE, ONE), (ONE, LINE, SQUARE), strict=True):
            total += factor / NU * _product(_sides(*sides), power)(x, y, a, b)
        power = _product(power, _angle_slope)
    return total


def _suction_slope(x: Array, y: Array, a: int, b: int) -> Array:
    """Of p₀ in the corner, without ROUNDING."""
    slope: Array = -2 * NU * ((C + 1j * D) * _powers(x + 1j * y, a + 1, b)).real
    return slope


def _turning(x: Array, y: Array) -> Array:
    """p₁ in the corner."""
    square = x * x + y * y
    p: Array = -SUCTION / 2 * np.log(square + ROUNDING**2) * np.exp(-square / REACH**2)
    return p


def _turning_slope(x: Array, y: Array, a: int, b: int) -> Array:
    """Of p₁ in the corner, without ROUNDING."""
    return -SUCTION * _product(lambda x, y, a, b: _powers(x + 1j * y, a, b).real, _near_slope)(x, y, a, b)


def _in_left(corner: Slope) -> Slope:
    """By x and by y, the height above the bottom, of what is given in the left corner."""
    return lambda x, y, a, b: (-1) ** b * corner(x, 1 - y, a, b)


def _in_right(corner: Slope) -> Slope:
    """The same of what is given in the right corner."""
    return lambda x, y, a, b: (-1) ** (a + b) * corner(1 - x, 1 - y, a, b)


def _joined(corner: Slope, up: Polynomial, sign: int) -> Slope:
    """Of what is given in one corner, joined with the same in the other, which has `sign` there."""
    left, right = _sides(ACROSS, up), _sides(1 - ACROSS, up)
    return _sum(_product(left, _in_left(corner)), _product(right, _in_right(corner)), sign)


def _sum(first: Slope, second: Slope, sign: int) -> Slope:
    return lambda x, y, a, b: first(x, y, a, b) + sign * second(x, y, a, b)


PSI_SLOPE = _sum(_joined(_scraped_slope, UP, 1), _sum(_in_left(_turned_slope), _in_right(_turned_slope), -1), 1)
"""Of ψ₀ + ψ₁."""
P_SLOPE = _sum(_joined(_suction_slope, ONE, -1), _sum(_in_left(_turning_slope), _in_right(_turning_slope), 1), 1)
"""Of p₀ + p₁."""


def _clamped(n: int, at: Array, order: int) -> Array:
    """Derivatives of polynomials that are 0 with their slopes at 0 and 1: (points, n)."""
    twice = Polynomial([0, 0, 1, -2, 1]).convert(domain=[0, 1], kind=Legendre)
    return np.stack([(twice * Legendre.basis(k, domain=[0, 1])).deriv(order)(at) for k in range(n)], axis=-1)


def _free(n: int, at: Array, order: int) -> Array:
    """Derivatives of polynomials: (points, n)."""
    return np.stack([Legendre.basis(k, domain=[0, 1]).deriv(order)(at) for k in range(n)], axis=-1)


@cache
def solution(modes: int = MODES, nodes: int = NODES) -> tuple[Array, Array]:
    """The coefficients of ψ − ψ₀ − ψ₁ and of p − p₀ − p₁ in products of polynomials, each (modes, modes).

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
        return PSI_SLOPE(x, y, a, b)

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
        rest = gradient - P_SLOPE(x, y, a, b)
        normal += along.T @ (w * along)
        load += along.T @ (w[:, 0] * rest)
    p = np.append(0.0, np.linalg.solve(normal[1:, 1:], load[1:]))
    shape = (modes, modes)
    return psi.reshape(shape), p.reshape(shape)


def evaluated_at(points: Array, modes: int = MODES, nodes: int = NODES) -> Array:
    """u, v and p at points (n, 2): (n, 3).

    On the centre lines u and v are within 2e-5 of published values. Eight more polynomials along each side change u and
    v by up to 2e-4, and p by up to 1e-3, near the ends of the lid.
    """
    psi, pressure = solution(modes, nodes)
    x, y = points.T

    def total(coefficients: Array, table: Any, a: int, b: int, x: Array, y: Array) -> Array:
        summed: Array = np.sum((table(modes, x, a) @ coefficients) * table(modes, y, b), axis=1)
        return summed

    u = _dragged(np, x, y + 1j * STEP)[0].imag / STEP + total(psi, _clamped, 0, 1, x, y)
    v = _dragged(np, x + 1j * STEP, y)[0].imag / STEP + total(psi, _clamped, 1, 0, x, y)
    half = np.array([0.5])
    p = _dragged(np, x, y)[1] + total(pressure, _free, 0, 0, x, y) - total(pressure, _free, 0, 0, half, half)
    p = p + _turning(x, 1.0 - y) + _turning(1.0 - x, 1.0 - y)
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
    exact_error=1e-3,
    resolution=(129, 129),
    terms=("u", "u_x", "u_y", "u_xx", "u_yy", "v", "v_x", "v_y", "v_xx", "v_yy", "p_x", "p_y"),
    residual=_residual,
    ansatz=_ansatz,
    weight=_weight,
    potentials=Potentials(("psi", "p"), ("psi_y", "psi_x", "p"), _outputs),
    net_columns=3,
)
