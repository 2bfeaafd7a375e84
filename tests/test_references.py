"""The references against solvers that others wrote: `make verify-references` installs them and runs these.

Each has an error of its own, which the tolerances name. Where a package is missing, its test is skipped.
"""

from __future__ import annotations

from math import pi

import numpy as np
import pytest

from kdpinn_edge.problems import problem

pytestmark = pytest.mark.slow


def at_time(name: str, x: np.ndarray, t: float) -> np.ndarray:
    """The reference at all x and one t, (n,)."""
    return problem(name).reference(np.stack([x, np.full_like(x, t)], axis=1))[:, 0]


def spectral(stepper: object, start: np.ndarray, steps: int) -> np.ndarray:
    """`start` after so many steps of a stepper of exponax, in float64."""
    import exponax
    import jax

    return np.asarray(jax.jit(exponax.repeat(stepper, steps))(start[None])[0])


@pytest.fixture
def exponax() -> object:
    """exponax, in float64."""
    jax = pytest.importorskip("jax")
    found = pytest.importorskip("exponax")
    jax.config.update("jax_enable_x64", True)
    return found


def test_burgers_by_exponax(exponax: object) -> None:
    n, dt = 4096, 1e-4
    x = np.linspace(-1, 1, n, endpoint=False)
    stepper = exponax.stepper.Burgers(1, 2.0, n, dt, diffusivity=0.01 / pi, convection_scale=1.0)  # type: ignore[attr-defined]
    found = spectral(stepper, -np.sin(pi * x), 5000)
    np.testing.assert_allclose(found, at_time("burgers", x, 0.5), rtol=0, atol=1e-6)  # order 2 in time


def test_allen_cahn_by_exponax(exponax: object) -> None:
    n, dt = 4096, 1e-3
    x = np.linspace(-1, 1, n, endpoint=False)
    stepper = exponax.stepper.reaction.AllenCahn(  # type: ignore[attr-defined]
        1, 2.0, n, dt, diffusivity=1e-4, first_order_coefficient=5.0, third_order_coefficient=-5.0
    )
    found = spectral(stepper, x**2 * np.cos(pi * x), 1000)
    np.testing.assert_allclose(found, at_time("allen_cahn", x, 1.0), rtol=0, atol=1e-5)
