"""The lid-driven cavity: its conditions, its reference, and the shipped models against published velocities."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from published_cavity import GHIA_U, GHIA_V, MARCHI_U, MARCHI_V

from kdpinn_edge import zoo
from kdpinn_edge.problems import Array, cavity, problem
from kdpinn_edge.program.file import read_program
from kdpinn_edge.program.interp import interpret
from kdpinn_edge.training import Pinn

SOLVED = problem("cavity")
BOUNDS = {"teacher": 1e-4, "student": 5e-4, "small": 2e-3}
CENTRE_LINES = {"u": (GHIA_U, 0), "v": (GHIA_V, 1)}


def centre_line(table: tuple[tuple[float, float], ...], column: int) -> tuple[Array, Array]:
    """The points of a table of u, which is column 0, or of v; and the velocities there."""
    along, expected = np.array(table).T
    points = np.full((len(along), 2), 0.5)
    points[:, 1 - column] = along
    return points, expected


def test_the_cavity_keeps_its_conditions() -> None:
    each = SOLVED
    net = Pinn(each, (6,), seed=1)
    along, zero = np.linspace(0.005, 0.995, 200), np.zeros(200)
    for speed, *wall in ((0, along, zero), (1, along, zero + 1), (0, zero, along), (0, zero + 1, along)):
        with torch.no_grad():
            found = net(torch.from_numpy(np.column_stack(wall))).numpy()
        np.testing.assert_allclose(found[:, 0], speed, rtol=0, atol=3e-4)
        np.testing.assert_allclose(found[:, 1], 0, rtol=0, atol=3e-4)
    with torch.no_grad():
        (centre,) = net(torch.tensor([[0.5, 0.5]], dtype=torch.float64)).numpy()
        jet = net.jet(torch.from_numpy(each.grid([8, 8])))
    assert abs(centre[2]) < 1e-15
    assert (jet["x"][:, 0] + jet["y"][:, 1]).abs().max() < 1e-8 * jet["x"].abs().max()


def test_inertia_adds_the_next_term_in_a_corner() -> None:
    """ν Δ²ψ₁ is what the flow ψ₀ carries of its vorticity, and grad p₁ what they leave of the momentum, as 1/r."""
    angle = np.linspace(0.05, np.pi / 2 - 0.05, 30)
    x, y = 1e-4 * np.cos(angle), 1e-4 * np.sin(angle)

    def psi(a: int, b: int) -> Array:
        return cavity._scraped_slope(x, y, a, b)

    def turned(a: int, b: int) -> Array:
        return cavity._turned_slope(x, y, a, b)

    carried = psi(1, 0) * (psi(2, 1) + psi(0, 3)) - psi(0, 1) * (psi(3, 0) + psi(1, 2))
    spread = cavity.NU * (turned(4, 0) + 2 * turned(2, 2) + turned(0, 4))
    np.testing.assert_allclose(spread, carried, rtol=0, atol=1e-4 * abs(carried).max())
    u, v = -psi(0, 1), psi(1, 0)  # y grows down the wall
    along = u * -psi(1, 1) + v * -psi(0, 2), -turned(2, 1) - turned(0, 3), (1, 0)
    down = u * psi(2, 0) + v * psi(1, 1), turned(3, 0) + turned(1, 2), (0, 1)
    for carried, spread, slope in (along, down):
        left = cavity.NU * spread - carried - cavity._turning_slope(x, y, *slope)
        assert abs(left).max() < 1e-3 * abs(carried).max()


@pytest.mark.parametrize("role", ["teacher", "student", "small"])
@pytest.mark.parametrize("velocity", CENTRE_LINES)
def test_a_shipped_model_is_within_1_percent_of_ghia(role: str, velocity: str) -> None:
    """Of the speed of the lid."""
    table, column = CENTRE_LINES[velocity]
    points, expected = centre_line(table, column)
    found = interpret(read_program(zoo.program(f"cavity_{role}")), points)[:, column]
    np.testing.assert_allclose(found, expected, rtol=0, atol=0.01)


@pytest.mark.parametrize("role", ["teacher", "student", "small"])
def test_a_shipped_model_is_near_what_finite_volumes_give(role: str) -> None:
    """Those of Marchi, whose error is far less, on both centre lines."""
    for table, column in ((MARCHI_U, 0), (MARCHI_V, 1)):
        points, expected = centre_line(table, column)
        found = interpret(read_program(zoo.program(f"cavity_{role}")), points)[:, column]
        np.testing.assert_allclose(found, expected, rtol=0, atol=BOUNDS[role])


@pytest.mark.proof
def test_the_cavity_by_finite_volumes() -> None:
    """Velocities on both centre lines, published with errors of 1e-7; and more polynomials change little."""
    for table, column in ((MARCHI_U, 0), (MARCHI_V, 1)):
        points, expected = centre_line(table, column)
        np.testing.assert_allclose(SOLVED.reference(points)[:, column], expected, rtol=0, atol=2e-5)
    points = np.random.default_rng(0).uniform(0.05, 0.95, (1000, 2))
    finer = cavity.evaluated_at(points, cavity.MODES + 4, cavity.NODES + 4)
    np.testing.assert_allclose(SOLVED.reference(points), finer, rtol=0, atol=SOLVED.exact_error)
