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
from kdpinn_edge.problems import Mirror, Problem, problem
from kdpinn_edge.runtime.c_harness import compiled_harness

HEAT = replace(problem("heat"), known=(Mirror("x", 0.0, (-1,)), Mirror("x", 1.0, (-1,))))


def missed(solved: Problem, grid: Grid, precision: Precision, folder: Path) -> float:
    """The relative error of the trajectory, and of one that starts from zero."""
    size = grid.saved * (grid.cells + 1)
    source = Source(f"{grid.cells}", trajectory_source(solved, grid, precision))
    library = build(source, "-Ofast", Interface(precision, 1, size), folder)
    with compiled_harness() as harness, harness.loop(library, "peer", np.array([[1.0], [0.0]], precision)) as loop:
        u, zero = loop.values(np.dtype(precision)).reshape(2, size)
    np.testing.assert_array_equal(zero, 0)
    exact = solved.reference(nodes(solved, grid))[grid.cells + 1 :, 0]
    return float(np.linalg.norm(u - exact) / np.linalg.norm(exact))


def test_it_converges_with_order_four(tmp_path: Path) -> None:
    errors = [missed(HEAT, Grid(cells, 5, steps), "float64", tmp_path) for cells, steps in ((16, 60), (32, 240))]
    assert np.log2(errors[0] / errors[1]) == pytest.approx(4, abs=0.1)


@pytest.mark.parametrize(
    ("name", "grid", "error"), [("burgers", Grid(256, 10, 50), 1e-3), ("allen_cahn", Grid(256, 10, 10), 4e-5)]
)
def test_it_solves_the_shipped_equations(name: str, grid: Grid, error: float, tmp_path: Path) -> None:
    assert error / 10 < missed(problem(name), grid, "float32", tmp_path) < error


def test_equations_that_are_not_of_its_form() -> None:
    with pytest.raises(ProblemError, match="no mirror is known at both ends of x; expected: Mirror"):
        trajectory_source(problem("heat"), Grid(8, 1, 1), "float32")
    for other in ("wave", "burgers_nu", "taylor_green"):
        with pytest.raises(ProblemError, match=r"has the terms .*; expected: one equation of u, u_x, u_xx and u_t"):
            trajectory_source(problem(other), Grid(8, 1, 1), "float32")
