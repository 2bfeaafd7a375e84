"""Recover the viscosity of a flow from 50 noisy observations, with the deployed model and SciPy alone: no torch.

    kdpinn-edge export burgers_nu --out burgers_nu --derivatives "u, u_nu"
    python examples/inverse_burgers.py burgers_nu

The observations are the exact solution of u_t + u u_x = ν u_xx at random places and times, plus noise. The model has ν
as an input, so its derivative ∂u/∂ν is the Jacobian that least squares needs, and gives the standard error
σ / √Σ(∂u/∂ν)², the least that any unbiased estimate can have (Cramér and Rao). It takes the
model for exact, and is too small where σ comes near the model's error, 2e-5; examples/assimilation.h counts that, too.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from time import perf_counter

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import least_squares

from kdpinn_edge.problems import problem
from kdpinn_edge.runtime import load
from kdpinn_edge.runtime.engine import Engine

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Estimate:
    """ν, its standard error, and what it took: calls of the model, and seconds."""

    nu: float
    standard_error: float
    evaluations: int
    seconds: float


def observe(nu: float, n: int, sigma: float, seed: int) -> tuple[Array, Array]:
    """n random points (x, t), (n, 2), and u there with Gaussian noise of standard deviation sigma, (n,)."""
    rng = np.random.default_rng(seed)
    where = rng.uniform((-1.0, 0.1), (1.0, 1.0), (n, 2))
    u = problem("burgers_nu").reference(np.column_stack([where, np.full(n, nu)]))[:, 0]
    return where, u + rng.normal(0.0, sigma, n)


def recover(engine: Engine, where: Array, u: Array, sigma: float) -> Estimate:
    """The ν that fits the observations u (n,) at the points where (n, 2) best, by nonlinear least squares."""
    side = engine.manifest.inputs[2]
    points = np.empty((len(u), 3), engine.dtype)
    points[:, :2] = where
    evaluations = 0

    def model(nu: Array) -> dict[str, Array]:
        nonlocal evaluations
        evaluations += 1
        points[:, 2] = nu
        return engine.jet(points)

    began = perf_counter()
    fit = least_squares(
        lambda nu: (model(nu)["u"] - u) / sigma,
        x0=[(side.lower + side.upper) / 2],
        jac=lambda nu: model(nu)["u_nu"][:, None] / sigma,
        bounds=([side.lower], [side.upper]),
        x_scale=side.upper,
    )
    seconds = perf_counter() - began
    return Estimate(float(fit.x[0]), float(1 / np.linalg.norm(fit.jac)), evaluations, seconds)


def main() -> None:
    """Observe, recover, and print how far off the estimate is."""
    options = argparse.ArgumentParser(description="Recover ν of Burgers' equation from noisy observations.")
    options.add_argument("bundle", help="burgers_nu, exported with --derivatives 'u, u_nu'")
    options.add_argument("--nu", type=float, default=0.03, help="the true ν, from 0.01 to 0.1")
    options.add_argument("--sigma", type=float, default=0.01, help="standard deviation of the noise; u is up to 1")
    options.add_argument("--seed", type=int, default=0)
    given = options.parse_args()
    where, u = observe(given.nu, 50, given.sigma, given.seed)
    found = recover(load(given.bundle), where, u, given.sigma)
    error = (found.nu - given.nu) / found.standard_error
    print(f"true ν    {given.nu:.6f}")
    print(f"found ν   {found.nu:.6f} ± {found.standard_error:.6f}, off by {error:+.2f} standard errors")
    print(f"{found.evaluations} evaluations at 50 points, {found.seconds / found.evaluations * 1e6:.0f} µs each")


if __name__ == "__main__":
    main()
