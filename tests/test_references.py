"""The references against solvers that others wrote. Each has an error of its own, which the tolerances allow for."""

from __future__ import annotations

from collections.abc import Callable
from math import pi
from typing import Any

import numpy as np
import pytest

from kdpinn_edge.problems import problem
from kdpinn_edge.problems.beam import END, MODES
from kdpinn_edge.problems.black_scholes import HIGHEST, RATE, SIGMA, STRIKE
from kdpinn_edge.problems.gray_scott import FEED, KILL
from kdpinn_edge.problems.helmholtz import K
from kdpinn_edge.problems.kdv import DISPERSION
from kdpinn_edge.problems.kovasznay import REYNOLDS
from kdpinn_edge.problems.taylor_green import NU
from kdpinn_edge.studies.study.measure import reference_slopes

pytestmark = pytest.mark.proof


def at_time(name: str, x: np.ndarray, t: float) -> np.ndarray:
    """The reference at all x and one t, (n,)."""
    return problem(name).reference(np.stack([x, np.full_like(x, t)], axis=1))[:, 0]


@pytest.fixture
def exponax() -> Any:
    """Spectral solvers, in float64."""
    import exponax
    import jax

    jax.config.update("jax_enable_x64", True)
    return exponax


def after(exponax: Any, stepper: Any, start: np.ndarray, steps: int) -> np.ndarray:
    """`start` after so many steps."""
    import jax

    return np.asarray(jax.jit(exponax.repeat(stepper, steps))(start[None])[0])


def test_burgers_by_exponax(exponax: Any) -> None:
    n, steps = 4096, 5000
    x = np.linspace(-1, 1, n, endpoint=False)
    stepper = exponax.stepper.Burgers(1, 2.0, n, 0.5 / steps, diffusivity=0.01 / pi, convection_scale=1.0)
    found = after(exponax, stepper, -np.sin(pi * x), steps)
    np.testing.assert_allclose(found, at_time("burgers", x, 0.5), rtol=0, atol=1e-6)  # of order 2 in time


def test_allen_cahn_by_exponax(exponax: Any) -> None:
    n, steps = 4096, 4000
    x = np.linspace(-1, 1, n, endpoint=False)
    stepper = exponax.stepper.reaction.AllenCahn(
        1, 2.0, n, 1 / steps, diffusivity=1e-4, first_order_coefficient=5.0, third_order_coefficient=-5.0
    )
    found = after(exponax, stepper, x**2 * np.cos(pi * x), steps)
    np.testing.assert_allclose(found, at_time("allen_cahn", x, 1.0), rtol=0, atol=1e-6)  # of order 2 in time


def modes_by_scipy(rate: np.ndarray, nonlinear: Callable[[np.ndarray], np.ndarray], start: np.ndarray, t: float) -> Any:
    """The modes v at t of v_t = rate v + nonlinear(v), by the Runge-Kutta method of order 8 for exp(−rate t) v."""
    from scipy.integrate import solve_ivp

    def slope(at: float, w: np.ndarray) -> np.ndarray:
        return np.exp(-rate * at) * nonlinear(np.exp(rate * at) * w)

    return np.exp(rate * t) * solve_ivp(slope, (0, t), start, method="DOP853", rtol=1e-10, atol=1e-10).y[:, -1]


def test_kdv_by_scipy() -> None:
    """Where the first solitons have parted."""
    n, t = 256, 0.6
    x = np.linspace(-1, 1, n, endpoint=False)
    k = 1j * pi * np.arange(n // 2 + 1)
    v = modes_by_scipy(
        -DISPERSION * k**3, lambda v: -0.5 * k * np.fft.rfft(np.fft.irfft(v, n) ** 2), np.fft.rfft(np.cos(pi * x)), t
    )
    np.testing.assert_allclose(np.fft.irfft(v, n), at_time("kdv", x, t), rtol=0, atol=1e-6)


def test_schroedinger_by_scipy() -> None:
    n, t, each = 256, 1.2, problem("schroedinger")
    x = np.linspace(-5, 5, n, endpoint=False)
    square = (2 * pi * np.fft.fftfreq(n, 10 / n)) ** 2
    start = np.fft.fft(each.reference(np.stack([x, 0 * x], axis=1))[:, 0])

    def focused(v: np.ndarray) -> np.ndarray:
        h = np.fft.ifft(v)
        return np.fft.fft(1j * np.abs(h) ** 2 * h)

    h = np.fft.ifft(modes_by_scipy(-0.5j * square, focused, start, t))
    expected = each.reference(np.stack([x, np.full(n, t)], axis=1))
    np.testing.assert_allclose(np.stack([h.real, h.imag], axis=1), expected, rtol=0, atol=1e-6)


def test_gray_scott_by_scipy() -> None:
    """Where the pulse has divided."""
    from scipy.integrate import solve_ivp

    n, t, each = 96, 360.0, problem("gray_scott")
    x = np.linspace(-60, 60, n, endpoint=False)
    square = (pi / 60 * np.arange(n // 2 + 1)) ** 2
    rates = np.stack([-2 * square - FEED, -square - FEED - KILL])

    def slope(_: float, w: np.ndarray) -> np.ndarray:
        modes = w.view(complex).reshape(rates.shape)
        u, v = np.fft.irfft(modes, n)
        eaten = np.fft.rfft(u * v * v)
        found = rates * modes + np.stack([-eaten, eaten])
        found[0, 0] += n * FEED
        return found.ravel().view(float)

    start = np.fft.rfft(each.reference(np.stack([x, 0 * x], axis=1)).T).ravel().view(float)
    found = solve_ivp(slope, (0, t), start, method="DOP853", rtol=1e-9, atol=1e-9).y[:, -1]
    values = np.fft.irfft(np.ascontiguousarray(found).view(complex).reshape(rates.shape), n).T
    expected = each.reference(np.stack([x, np.full(n, t)], axis=1))
    assert expected[np.abs(x) < 1, 1].max() < 0.1 < 0.3 < expected[:, 1].max()
    np.testing.assert_allclose(values, expected, rtol=0, atol=1e-7)


def test_taylor_green_by_exponax(exponax: Any) -> None:
    n, steps = 32, 1000
    axis = np.linspace(0, 2 * pi, n, endpoint=False)
    x, y = np.meshgrid(axis, axis, indexing="ij")
    stepper = exponax.stepper.NavierStokesVorticity(2, 2 * pi, n, 1 / steps, diffusivity=NU)
    found = after(exponax, stepper, 2 * np.cos(x) * np.cos(y), steps)
    inside = (x > 0) & (y > 0)  # differences need room
    points = np.stack([x[inside], y[inside], np.full(inside.sum(), 0.99)], axis=1)
    slopes = reference_slopes(problem("taylor_green"), points)
    vorticity = (slopes[:, 3] - slopes[:, 1]) * np.exp(-2 * NU * 0.01)  # v_x - u_y, from t = 0.99 to 1
    np.testing.assert_allclose(found[inside], vorticity, rtol=0, atol=1e-7)


@pytest.mark.parametrize("days", [1, 73, 365])
def test_black_scholes_by_quantlib(days: int) -> None:
    import QuantLib

    today, count = QuantLib.Date(1, 1, 2021), QuantLib.Actual365Fixed()
    QuantLib.Settings.instance().evaluationDate = today
    rate = QuantLib.YieldTermStructureHandle(QuantLib.FlatForward(today, RATE, count))
    spread = QuantLib.BlackVolTermStructureHandle(
        QuantLib.BlackConstantVol(today, QuantLib.NullCalendar(), SIGMA, count)
    )
    shares, t = np.linspace(5, HIGHEST - 5, 30), days / 365
    points = np.stack([shares, np.full(30, t)], axis=1)
    prices = problem("black_scholes").reference(points)
    for column, kind in enumerate((QuantLib.Option.Call, QuantLib.Option.Put)):
        found = []
        for share in shares:
            process = QuantLib.BlackScholesProcess(
                QuantLib.QuoteHandle(QuantLib.SimpleQuote(float(share))), rate, spread
            )
            option = QuantLib.VanillaOption(
                QuantLib.PlainVanillaPayoff(kind, STRIKE), QuantLib.EuropeanExercise(today + days)
            )
            option.setPricingEngine(QuantLib.AnalyticEuropeanEngine(process))
            found.append((option.NPV(), option.delta(), -option.theta()))
        price, *greeks = np.array(found).T
        np.testing.assert_allclose(prices[:, column], price, rtol=0, atol=1e-10)
        if t < 1:  # differences need room
            slopes = reference_slopes(problem("black_scholes"), points)[:, 2 * column : 2 * column + 2]
            np.testing.assert_allclose(slopes, np.stack(greeks, axis=1), rtol=0, atol=1e-6)


def test_heat_by_py_pde() -> None:
    import pde

    grid = pde.CartesianGrid([[0, 1]], 256)
    start = pde.ScalarField.from_expression(grid, "sin(pi * x)")
    equation = pde.DiffusionPDE(0.4, bc={"value": 0})
    implicit: Any = {"solver": "scipy", "method": "Radau", "backend": "numpy", "rtol": 1e-8, "atol": 1e-10}
    found = equation.solve(start, t_range=0.5, dt=1e-6, tracker=None, **implicit).data
    np.testing.assert_allclose(found, at_time("heat", grid.axes_coords[0], 0.5), rtol=0, atol=1e-5)  # order 2 in space


def test_fisher_kpp_by_py_pde() -> None:
    import pde

    grid = pde.CartesianGrid([[-20, 25]], 2048)
    start = pde.ScalarField.from_expression(grid, "1 / (1 + exp(x))**2")
    equation = pde.PDE({"u": "laplace(u) + 6 * u * (1 - u)"}, bc={"x-": {"value": 1}, "x+": {"value": 0}})
    implicit: Any = {"solver": "scipy", "method": "Radau", "backend": "numpy", "rtol": 1e-8, "atol": 1e-10}
    found = equation.solve(start, t_range=0.5, dt=1e-6, tracker=None, **implicit).data
    x = grid.axes_coords[0]
    seen = (x > -5) & (x < 10)
    np.testing.assert_allclose(found[seen], at_time("fisher_kpp", x[seen], 0.5), rtol=0, atol=2e-4)  # order 2 in space


def test_wave_by_py_pde() -> None:
    import pde

    grid = pde.CartesianGrid([[0, 1]], 1024)
    u = pde.ScalarField.from_expression(grid, "sin(pi * x) + 0.5 * sin(4 * pi * x)")
    equation = pde.WavePDE(speed=2.0, bc={"value": 0})
    start = equation.get_initial_condition(u)
    adaptive: Any = {"solver": "scipy", "backend": "numpy", "rtol": 1e-8, "atol": 1e-8}
    found = equation.solve(start, t_range=0.3, dt=1e-4, tracker=None, **adaptive)[0].data
    np.testing.assert_allclose(found, at_time("wave", grid.axes_coords[0], 0.3), rtol=0, atol=2e-4)  # order 2 in space


def test_helmholtz_by_scikit_fem() -> None:
    import skfem
    from skfem.helpers import dot, grad

    mesh = skfem.MeshQuad.init_tensor(np.linspace(0, 1, 17), np.linspace(0, 1, 17))
    basis = skfem.Basis(mesh, skfem.ElementQuadP(5))
    energy = skfem.BilinearForm(lambda u, v, w: dot(grad(u), grad(v)) / K**2 - u * v).assemble(basis)
    load = skfem.LinearForm(lambda v, w: np.sin(K * w.x[0]) * np.sin(K * w.x[1]) * v).assemble(basis)
    u = skfem.solve(*skfem.condense(energy, load, D=basis.get_dofs()))
    points = np.random.default_rng(0).uniform(0, 1, (200, 2))
    found = basis.probes(points.T) @ u
    np.testing.assert_allclose(found, problem("helmholtz").reference(points)[:, 0], rtol=0, atol=1e-6)


def test_kovasznay_by_scikit_fem() -> None:
    """Newton's method; velocities of order 4, pressures of order 3."""
    import skfem
    from skfem.helpers import ddot, div, dot, grad, mul

    each = problem("kovasznay")

    def exact(x: np.ndarray) -> np.ndarray:
        points = x.reshape(2, -1).T.clip(each.lower, each.upper)
        return each.reference(points).T.reshape(3, *x.shape[1:])

    axes = (np.linspace(*side, 17) for side in zip(each.lower, each.upper, strict=True))
    mesh = skfem.MeshQuad.init_tensor(*axes)
    velocity = skfem.Basis(mesh, skfem.ElementVector(skfem.ElementQuadP(4)), intorder=12)
    pressure = velocity.with_element(skfem.ElementQuadP(3))
    viscous = skfem.BilinearForm(lambda u, v, w: ddot(grad(u), grad(v)) / REYNOLDS).assemble(velocity)
    divergence = skfem.BilinearForm(lambda u, q, w: -div(u) * q).assemble(velocity, pressure)
    around = skfem.BilinearForm(lambda u, v, w: dot(mul(grad(u), w["w"]) + mul(grad(w["w"]), u), v))
    at = skfem.LinearForm(lambda v, w: dot(mul(grad(w["w"]), w["w"]), v))
    held = np.append(velocity.get_dofs().flatten(), velocity.N)  # the walls, and one number of the pressure
    values = np.concatenate([velocity.project(lambda x: exact(x)[:2]), pressure.project(lambda x: exact(x)[2])])
    state = np.zeros_like(values)
    for _ in range(5):
        w = velocity.interpolate(state[: velocity.N])
        matrix = skfem.bmat([[viscous + around.assemble(velocity, w=w), divergence.T], [divergence, None]], "csr")
        load = np.append(at.assemble(velocity, w=w), np.zeros(pressure.N))
        state = skfem.solve(*skfem.condense(matrix, load, x=values, D=held))
    points = np.random.default_rng(0).uniform(each.lower, each.upper, (200, 2)).T
    u = (velocity.probes(points) @ state[: velocity.N]).reshape(2, -1)
    p = pressure.probes(points) @ state[velocity.N :]
    expected = exact(points)
    np.testing.assert_allclose(u, expected[:2], rtol=0, atol=3e-4)  # the walls are projected, not met
    np.testing.assert_allclose(p - p.mean(), expected[2] - expected[2].mean(), rtol=0, atol=3e-4)


def test_lotka_volterra_by_scipy() -> None:
    from scipy.integrate import solve_ivp

    t = np.linspace(0, 4, 401)
    found = solve_ivp(
        lambda t, u: [1.5 * u[0] - u[0] * u[1], u[0] * u[1] - 3 * u[1]],
        (0, 4),
        [1, 1],
        method="DOP853",
        rtol=1e-13,
        atol=1e-13,
        t_eval=t,
    ).y.T
    np.testing.assert_allclose(found, problem("lotka_volterra").reference(t[:, None]), rtol=0, atol=1e-11)


def test_poisson_by_scikit_fem() -> None:
    import skfem
    from skfem.helpers import dot, grad

    mesh = skfem.MeshQuad.init_tensor(np.linspace(0, 1, 9), np.linspace(0, 1, 9)).with_boundaries(
        {"cold": lambda x: x[0] == 0, "air": lambda x: x[1] == 1}
    )
    element = skfem.ElementQuadP(5)
    basis, air = skfem.Basis(mesh, element), skfem.FacetBasis(mesh, element, facets="air")
    energy = skfem.BilinearForm(lambda u, v, w: dot(grad(u), grad(v))).assemble(basis)
    energy += skfem.BilinearForm(lambda u, v, w: u * v).assemble(air)
    load = skfem.LinearForm(lambda v, w: v).assemble(basis)
    u = skfem.solve(*skfem.condense(energy, load, D=basis.get_dofs("cold")))
    points = np.random.default_rng(0).uniform(0, 1, (200, 2))
    np.testing.assert_allclose(
        basis.probes(points.T) @ u, problem("poisson").reference(points)[:, 0], rtol=0, atol=1e-6
    )


def test_beam_by_scikit_fem() -> None:
    """Cubic elements in space; in time exactly, by the eigenvectors of what they make of the equation."""
    import skfem
    from scipy.linalg import eigh
    from skfem.helpers import dd, ddot

    mesh = skfem.MeshLine(np.linspace(0, 1, 41)).with_boundaries({"clamp": lambda x: x[0] == 0})
    basis = skfem.Basis(mesh, skfem.ElementLineHermite(), intorder=8)
    stiffness = skfem.BilinearForm(lambda u, v, w: ddot(dd(u), dd(v))).assemble(basis)
    mass = skfem.BilinearForm(lambda u, v, w: u * v).assemble(basis)
    reference = problem("beam").reference
    start = skfem.LinearForm(
        lambda v, w: v * reference(np.stack([w.x[0].ravel(), 0 * w.x[0].ravel()], axis=1)).reshape(w.x[0].shape)
    ).assemble(basis)
    free = basis.complement_dofs(basis.get_dofs("clamp"))
    squares, shapes = eigh(stiffness[free][:, free].toarray(), mass[free][:, free].toarray())
    np.testing.assert_allclose(squares[: len(MODES)], [beta**4 for _, beta in MODES], rtol=1e-5)
    at, t = np.random.default_rng(0).uniform(0, 1, 100), 0.9 * END
    u = np.zeros(basis.N)
    u[free] = shapes @ (np.cos(np.sqrt(squares) * t) * (shapes.T @ start[free]))
    found = basis.probes(at[None]) @ u
    np.testing.assert_allclose(found, reference(np.stack([at, 0 * at + t], axis=1))[:, 0], rtol=0, atol=1e-5)
