"""The solver of whole trajectories: it converges as theory says, and to the references of its equations."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from kdpinn_edge.bundle.manifest import Precision
from kdpinn_edge.classical.trajectory_c import Grid, nodes, trajectory_source
from kdpinn_edge.comparison.backends.c_source import Interface, Source, build
from kdpinn_edge.errors import ProblemError
from kdpinn_edge.problems import Array, Mirror, Problem, problem
from kdpinn_edge.runtime.c_harness import CHarness

HEAT = replace(problem("heat"), known=(Mirror("x", 0.0, (-1,)), Mirror("x", 1.0, (-1,))))


def dispersed(points: Array) -> Array:
    """A wave of u_t = v_xxx, v_t = u_xxx that runs to the left, and is the same again after a period."""
    wave = np.sin(np.pi * points[:, 0] - np.pi**3 * points[:, 1])
    return np.stack([wave, wave], axis=1)


DISPERSED = replace(
    problem("kdv"),
    outputs=("u", "v"),
    units=(),
    upper=(1.0, 0.1),
    terms=("u_t", "v_t", "u_xxx", "v_xxx"),
    residual=lambda u_t, v_t, u_xxx, v_xxx: (v_t - u_xxx, v_xxx - u_t),
    exact=dispersed,
    ansatz=None,
    soft=(),
)


def missed(solved: Problem, grid: Grid, precision: Precision, harness: CHarness, folder: Path) -> float:
    """The relative error of the trajectory, and of one that starts from zero."""
    size = grid.saved * (grid.cells + 1) * len(solved.outputs)
    source = Source(f"solver_{grid.cells}_{grid.steps}", trajectory_source(solved, grid, precision))
    library = build(source, "-Ofast", Interface(precision, 1, size), folder)
    with harness.loop(library, "peer", np.array([[1.0], [0.0]], precision)) as loop:
        u, zero = loop.values(np.dtype(precision)).reshape(2, size)
    np.testing.assert_array_equal(zero, 0)
    exact = solved.reference(nodes(solved, grid))[grid.cells + 1 :].ravel()
    return float(np.linalg.norm(u - exact) / np.linalg.norm(exact))


@pytest.mark.parametrize(
    ("solved", "coarse", "fine"),
    [
        (HEAT, Grid(16, 5, 60), Grid(32, 5, 240)),
        (DISPERSED, Grid(16, 5, 20), Grid(32, 5, 160)),
        (problem("lotka_volterra"), Grid(0, 5, 12), Grid(0, 5, 24)),
    ],
    ids=["heat", "dispersed", "lotka_volterra"],
)
def test_it_converges_with_order_four(
    solved: Problem, coarse: Grid, fine: Grid, harness: CHarness, tmp_path: Path
) -> None:
    errors = [missed(solved, grid, "float64", harness, tmp_path) for grid in (coarse, fine)]
    assert np.log2(errors[0] / errors[1]) == pytest.approx(4, abs=0.15)


@pytest.mark.parametrize(
    ("name", "grid", "error"),
    [
        ("burgers", Grid(256, 10, 50), 1e-3),
        ("allen_cahn", Grid(256, 10, 10), 4e-5),
        ("schroedinger", Grid(64, 10, 30), 1e-2),
        ("lotka_volterra", Grid(0, 10, 6), 5e-5),
    ],
)
def test_it_solves_the_shipped_equations(
    name: str, grid: Grid, error: float, harness: CHarness, tmp_path: Path
) -> None:
    assert error / 10 < missed(problem(name), grid, "float32", harness, tmp_path) < error


def test_equations_that_are_not_of_its_form() -> None:
    with pytest.raises(ProblemError, match="neither a period nor mirrors at both ends of x are known; expected: Per"):
        trajectory_source(problem("heat"), Grid(8, 1, 1), "float32")
    for other in ("wave", "burgers_nu", "taylor_green", "poisson", "helmholtz"):
        with pytest.raises(ProblemError, match=r"has the terms .*; expected: u, u_x, u_xx, u_xxx and u_t of inputs x"):
            trajectory_source(problem(other), Grid(8, 1, 1), "float32")
    for residual in (lambda u_t, u_xx: (u_t * u_xx,), lambda u_t, u_xx: (u_t, u_xx), lambda u_t, u_xx: (u_xx,)):
        with pytest.raises(ProblemError, match=r"its equations do not say what u_t are"):
            trajectory_source(replace(HEAT, residual=residual), Grid(8, 1, 1), "float32")
