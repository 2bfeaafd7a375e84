"""The inverse problem of the examples: ν of Burgers from noisy observations, by the deployed model and SciPy alone."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from artifacts import Artifacts
from scripts import script

from kdpinn_edge.importers.model import find_model
from kdpinn_edge.problems import problem
from kdpinn_edge.runtime import load
from kdpinn_edge.runtime.library_engine import LibraryEngine

EXAMPLE = Path(__file__).parents[1] / "examples" / "inverse_burgers.py"
BURGERS_NU = problem("burgers_nu")
SIGMA = 0.01


@pytest.fixture(scope="module")
def bundle(artifacts: Artifacts) -> Path:
    """The one of test_assimilation.py: the example needs u and u_nu of it."""
    model = find_model("burgers_nu")
    return artifacts.bundle(
        model.program, name="burgers_nu", inputs=model.inputs, derivatives=["u", "u_x", "u_t", "u_nu"]
    )


@pytest.fixture(scope="module")
def engine(bundle: Path) -> LibraryEngine:
    return load(bundle)


@pytest.fixture(scope="module")
def example() -> ModuleType:
    return script("examples/inverse_burgers.py")


@pytest.mark.slow
@pytest.mark.parametrize("nu", [0.012, 0.02, 0.03, 0.05, 0.08])
def test_the_viscosity_is_recovered_within_the_noise(example: ModuleType, engine: LibraryEngine, nu: float) -> None:
    where, u = example.observe(nu, 50, SIGMA, seed=0)
    found = example.recover(engine, where, u, SIGMA)
    assert abs(found.nu - nu) <= 2 * found.standard_error
    assert found.standard_error < 0.1 * nu
    assert found.evaluations < 40


@pytest.mark.slow
@pytest.mark.parametrize("nu", [0.015, 0.05])
def test_the_standard_error_is_the_scatter_of_the_estimates(
    example: ModuleType, engine: LibraryEngine, nu: float
) -> None:
    """Over 60 draws of noise: the mean of z² is 1 ± 0.18 where the estimate reaches the bound of Cramér and Rao."""
    z = []
    for seed in range(60):
        where, u = example.observe(nu, 50, SIGMA, seed)
        found = example.recover(engine, where, u, SIGMA)
        z.append((found.nu - nu) / found.standard_error)
    assert 0.5 < np.mean(np.square(z)) < 1.6
    assert abs(np.mean(z)) < 0.5


@pytest.mark.slow
def test_the_derivative_by_the_viscosity_is_that_of_the_exact_solution(engine: LibraryEngine) -> None:
    points = np.random.default_rng(0).uniform(BURGERS_NU.lower, BURGERS_NU.upper, (4000, 3))
    h = 1e-4 * points[:, 2:]
    points[:, 2:] = points[:, 2:].clip(BURGERS_NU.lower[2] + h, BURGERS_NU.upper[2] - h)
    step = np.array([0, 0, 1]) * h
    exact = (BURGERS_NU.reference(points + step) - BURGERS_NU.reference(points - step))[:, 0] / (2 * h[:, 0])
    found = engine.jet(points.astype(np.float32))["u_nu"]
    assert np.linalg.norm(found - exact) <= 0.02 * np.linalg.norm(exact)


@pytest.mark.slow
def test_the_example_runs_without_torch(bundle: Path) -> None:
    program = (
        "import runpy, sys\n"
        f"sys.argv = ['inverse_burgers.py', {str(bundle)!r}]\n"
        f"runpy.run_path({str(EXAMPLE)!r}, run_name='__main__')\n"
        "assert not {'torch', 'numba', 'llvmlite', 'onnx'} & set(sys.modules)"
    )
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert "standard errors" in result.stdout
    assert "evaluations at 50 points" in result.stdout
