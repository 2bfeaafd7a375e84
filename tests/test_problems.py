"""The equations: what the lookup finds, and that a reference is what it says it is."""

from __future__ import annotations

import math
import runpy
import subprocess
import sys
from math import pi
from pathlib import Path
from typing import Any

import mpmath
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sampled import PROOF, VARIED, sampled, some

from kdpinn_edge.derive.names import Derivative, InputColumn, Names
from kdpinn_edge.equation.arithmetic import MATH
from kdpinn_edge.errors import ProblemError
from kdpinn_edge.problems import Mirror, Problem, gray_scott, kdv, names, problem, schroedinger
from kdpinn_edge.problems._etdrk4 import Table, marched
from kdpinn_edge.problems.allen_cahn import MODES, STEPS, erf, interpolated
from kdpinn_edge.problems.black_scholes import RATE, SIGMA, STRIKE
from kdpinn_edge.problems.burgers import NODES, NU, cole_hopf

BURGERS = problem("burgers")
BURGERS_NU = problem("burgers_nu")


@pytest.fixture(params=some(names(), VARIED))
def each(request: pytest.FixtureRequest) -> Problem:
    return problem(request.param)


def test_the_lookup_names_what_it_knows() -> None:
    assert BURGERS.name in names()
    with pytest.raises(ProblemError, match=r"'burger'; expected: .*burgers"):
        problem("burger")


def test_listing_problems_needs_no_torch() -> None:
    script = (
        "import sys\n"
        "from kdpinn_edge.problems import names, problem\n"
        "assert [problem(name) for name in names()]\n"
        "print(*sys.modules)"
    )
    loaded = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout.split()
    assert not {"torch", "scipy", "safetensors", "rich"} & set(loaded)


def test_the_columns_of_a_problem_belong_together(each: Problem) -> None:
    assert len(each.lower) == len(each.upper) == len(each.inputs)
    assert len(each.units) == len(each.inputs) + len(each.outputs)
    assert len(each.resolution) == len(each.inputs)
    corners = each.grid([2] * len(each.inputs))
    assert corners.shape == (2 ** len(each.inputs), len(each.inputs))
    assert each.reference(corners).shape == (len(corners), len(each.outputs))
    assert each.reference(corners).dtype == np.float64


def test_features_and_ansatz_are_the_same_under_numpy_and_torch(each: Problem) -> None:
    import torch

    points = each.grid([5] * len(each.inputs))
    columns = np.split(points, len(each.inputs), axis=1)
    tensors = list(torch.from_numpy(points).split(1, dim=1))
    for a, b in zip(each.seen(MATH, columns), each.seen(torch, tensors), strict=True):
        np.testing.assert_allclose(a, b.numpy(), rtol=0, atol=1e-15)
    net = [np.full((len(points), 1), 1.0 + i) for i in range(each.net_columns or len(each.made))]
    u, v = each.ansatz(MATH, columns, *net), each.ansatz(torch, tensors, *map(torch.from_numpy, net))
    assert len(u) == len(each.made)
    for a, b in zip(u, v, strict=True):
        np.testing.assert_allclose(a, b.numpy(), rtol=0, atol=1e-14 * max(1, np.abs(a).max()))


@pytest.mark.parametrize(
    ("points", "message"),
    [
        ([[0.0, 1.5]], r"1 of 1 points are outside .*t ∈ \[0, 1\].*row 0: \[0.0, 1.5\]"),
        ([[0.0, 0.5], [np.nan, 0.5]], "1 of 2 points are outside .*row 1"),
        ([[-np.inf, 0.5]], "outside"),
        ([0.0, 0.5], r"shape \(2,\); expected: \(n, 2\)"),
        ([[0.0, 0.5, 0.0]], r"shape \(1, 3\)"),
    ],
)
def test_points_that_the_reference_does_not_cover(points: list[object], message: str) -> None:
    with pytest.raises(ProblemError, match=message):
        BURGERS.reference(points)


def test_no_points_are_no_error() -> None:
    assert BURGERS.reference(np.empty((0, 2))).shape == (0, 1)


def shock_points(n: int, nu: float) -> np.ndarray:
    """Half of the points anywhere, half where the shock is 100 times narrower than the box."""
    rng = np.random.default_rng(0)
    x = np.concatenate([rng.uniform(-1, 1, n // 2), rng.uniform(-0.02, 0.02, n - n // 2)])
    return np.stack([x, rng.uniform(0, 1, n), np.full(n, nu)], axis=1)


def test_burgers_converges_in_the_number_of_nodes() -> None:
    points = shock_points(4000, NU)
    finest = cole_hopf(points, 240)
    error = {n: np.abs(cole_hopf(points, n) - finest).max() for n in (40, 60, 80, 100, NODES, 180)}
    assert error[40] > error[60] > error[80] > 1e-14  # it is the quadrature that converges
    assert max(error[100], error[NODES], error[180]) <= BURGERS.exact_error / 10


@pytest.mark.parametrize("nu", [NU, 0.01, 0.03, 0.1])
def test_burgers_has_nodes_enough_for_every_viscosity(nu: float) -> None:
    points = shock_points(2000, nu)
    assert np.abs(cole_hopf(points) - cole_hopf(points, 240)).max() <= BURGERS_NU.exact_error / 10


def test_the_burgers_equations_are_one_at_one_viscosity() -> None:
    points = shock_points(100, NU)
    assert np.array_equal(BURGERS_NU.exact(points), BURGERS.exact(points[:, :2]))
    terms = np.random.default_rng(0).normal(size=(4, 100))
    assert np.array_equal(BURGERS_NU.residual(*terms, NU), BURGERS.residual(*terms))


@pytest.mark.parametrize(
    ("point", "nu"), sampled([(0.01, 0.5), (-0.003, 0.99), (0.5, 0.3), (0.0002, 0.35), (0.9, 0.05)], [NU, 0.1])
)
def test_burgers_agrees_with_quadrature_in_30_digits(point: tuple[float, float], nu: float) -> None:
    x, t = point
    half = max(2.5, 10 * np.sqrt(4 * nu * t))
    with mpmath.workdps(30):

        def weighted(y):  # type: ignore[no-untyped-def]
            exponent = -mpmath.cos(mpmath.pi * y) / (2 * mpmath.pi * nu) - (x - y) ** 2 / (4 * nu * t)
            return mpmath.mpc(mpmath.sin(mpmath.pi * y), 1) * mpmath.exp(exponent)

        averages = mpmath.quad(weighted, mpmath.linspace(x - half, x + half, 81), maxdegree=5)
        expected = -averages.real / averages.imag
    assert abs(cole_hopf(np.array([[x, t, nu]])).item() - float(expected)) <= BURGERS.exact_error


@given(st.floats(-1, 1))
def test_burgers_is_exact_at_the_start(x: float) -> None:
    assert BURGERS.reference([[x, 0.0]]).item() == -np.sin(pi * x)


@given(st.floats(0, 1), st.floats(0, 1))
def test_burgers_is_odd_and_vanishes_at_the_walls(x: float, t: float) -> None:
    at = BURGERS.reference([[x, t], [-x, t], [1.0, t], [-1.0, t]])[:, 0]
    assert abs(at[0] + at[1]) <= 1e-13
    assert abs(at[2:]).max() <= 1e-13


def near_the_corner(n: int) -> np.ndarray:
    """Anywhere, and in a corner of x = ±1, t = 0 of every size down to 1e-6."""
    rng = np.random.default_rng(0)
    sizes = 10 ** rng.uniform(-6, 0, (2, n))
    anywhere = np.stack([rng.uniform(-1, 1, n), rng.uniform(0, 1, n)], axis=1)
    return np.concatenate([anywhere, np.stack([1 - sizes[0], sizes[1]], axis=1)])


@pytest.mark.parametrize(
    ("modes", "steps"), [(MODES, STEPS // 2), pytest.param(2 * MODES, STEPS, marks=pytest.mark.proof)]
)
def test_allen_cahn_converges_in_modes_and_in_steps(modes: int, steps: int) -> None:
    points = near_the_corner(3000)
    assert np.abs(interpolated(points, modes, steps) - interpolated(points)).max() <= problem("allen_cahn").exact_error


TABLES = {"gray_scott": gray_scott, "kdv": kdv, "schroedinger": schroedinger}


@pytest.mark.parametrize(("modes", "steps"), [(0.75, 0.5), pytest.param(1.5, 2, marks=PROOF)])
@pytest.mark.parametrize("name", some(list(TABLES), ["kdv"]))
def test_tables_converge_in_modes_and_in_steps(name: str, modes: float, steps: float) -> None:
    """The method is of order four, so with half as many steps the error may be 16 times what is stated."""
    each, module = problem(name), TABLES[name]
    points = np.random.default_rng(0).uniform(each.lower, each.upper, (1000, 2))
    is_mirrored = any(isinstance(known, Mirror) and known.input == "x" for known in each.known)
    x, t = abs(points[:, 0]) if is_mirrored else points[:, 0], points[:, 1]
    most = each.exact_error * (16 if steps < 1 else 1)
    for n, m in ((int(modes * module.MODES), module.STEPS), (module.MODES, int(steps * module.STEPS))):
        assert np.abs(module.solution(n, m)(x, t) - each.reference(points)).max() <= most


def test_schroedinger_starts_almost_as_a_secant() -> None:
    x = np.linspace(-5, 5, 2001)
    (u, v) = problem("schroedinger").ansatz(MATH, [x, 0 * x], np.ones_like(x), np.ones_like(x))
    difference = np.abs(u - 2 / np.cosh(x))
    assert difference.max() < 1.7e-3
    assert difference[np.abs(x) < 4].max() < 1e-5
    assert not v.any()


@pytest.mark.parametrize("rate", [-2.0, -1 + 3j])
def test_exponential_time_differencing_is_of_order_four(rate: complex) -> None:
    """On Bernoulli's equation v_t = rate v + v², whose solution is a formula."""
    start, grown = np.array([0.5]), np.exp(rate)
    exact = rate * start * grown / (rate + start * (1 - grown))
    errors = [abs(marched(start, np.array([rate]), np.square, 1.0, steps, 5)[-1] - exact).item() for steps in (40, 80)]
    assert np.log2(errors[0] / errors[1]) == pytest.approx(4, abs=0.1)


def test_a_table_is_exact_for_polynomials_up_to_its_corners() -> None:
    t, x = np.linspace(0, 2, 12)[:, None], np.linspace(-1, 3, 15)
    table = Table(np.stack([t**9 * x**9, t - x], axis=-1), 2.0, -1.0, 3.0)
    x, t = np.random.default_rng(0).uniform([-1, 0], [3, 2], (50, 2)).T
    x[:4], t[:4] = [-1, -1, 3, 3], [0, 2, 0, 2]
    expected = np.stack([t**9 * x**9, t - x], axis=-1)
    np.testing.assert_allclose(table(x, t), expected, rtol=1e-10, atol=1e-10 * 6**9)


def test_allen_cahn_starts_as_it_should() -> None:
    x = np.linspace(-1, 1, 2001)
    expected = x**2 * np.cos(pi * x)
    found = problem("allen_cahn").reference(np.stack([x, 0 * x], axis=1))[:, 0]
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-9)
    (ansatz,) = problem("allen_cahn").ansatz(np, [x, 0 * x], np.ones_like(x))
    difference = np.abs(ansatz - expected)
    assert difference.max() < 7.2e-5
    assert difference[np.abs(x) < 0.999].max() < 1e-5


def test_an_error_function_of_tanh() -> None:
    z = np.linspace(-8, 8, 2001)
    assert np.abs(erf(np, z) - [math.erf(value) for value in z]).max() < 2.9e-4


FIRST = np.array([1 / 280, -4 / 105, 1 / 5, -4 / 5, 0, 4 / 5, -1 / 5, 4 / 105, -1 / 280])
SECOND = np.array([-1 / 560, 8 / 315, -1 / 5, 8 / 5, -205 / 72, 8 / 5, -1 / 5, 8 / 315, -1 / 560])
SPACINGS = {
    "burgers": 2e-4,
    "burgers_nu": 2e-4,
    "allen_cahn": 2e-4,
    "black_scholes": 5e-4,
    "beam": 2e-2,
    "schroedinger": 5e-4,
}
"""Of differences, over the side of the box, where 1e-3 is not the right one."""
LEFT = {"cavity": 2e-2, "kdv": 2e-6}
"""What is left of the equation where it is more than 1e-8: that of polynomials near the ends of the lid, and that of
the highest modes, which three derivatives make large.
"""


def left_of_the_equation(each: Problem) -> float:
    """The largest residual of the reference, over the sum of its terms, by eighth-order central differences."""
    lower, upper = np.array(each.lower), np.array(each.upper)
    spacing = SPACINGS.get(each.name, 1e-3) * (upper - lower)
    points = np.random.default_rng(1).uniform(lower + 8 * spacing, upper - 8 * spacing, (300, len(lower)))
    names = Names(each.inputs, each.outputs)

    def along(multi_index: tuple[str, ...], at: np.ndarray) -> np.ndarray:
        """The derivative of all outputs by the inputs of `multi_index`, (n, n_out)."""
        if not multi_index:
            return each.reference(at)
        axis, count = each.inputs.index(multi_index[0]), multi_index.count(multi_index[0])
        order = min(count, 2)
        h = spacing[axis]
        weights = FIRST / h if order == 1 else SECOND / h**2
        step = h * (np.arange(len(lower)) == axis)
        others = tuple(name for name in multi_index if name != multi_index[0])
        inner = (multi_index[0],) * (count - order) + others
        return sum(w * along(inner, at + k * step) for k, w in zip(range(-4, 5), weights, strict=True) if w)

    def value(text: str) -> np.ndarray:
        match names.read(text):
            case InputColumn(column):
                return points[:, each.inputs.index(column)]
            case Derivative(column, multi_index):
                return along(multi_index, points)[:, each.outputs.index(column)]
        raise AssertionError(text)

    terms = [value(text) for text in each.terms]
    residuals = np.stack(each.residual(*terms))
    if each.source is not None:
        residuals -= np.stack([side[:, 0] for side in each.source(np, *np.split(points, len(lower), axis=1))])
    return np.abs(residuals / (1 + sum(np.abs(term) for term in terms))).max()


def test_a_reference_solves_its_equation(each: Problem) -> None:
    assert left_of_the_equation(each) < LEFT.get(each.name, 1e-8)


def test_the_problem_in_the_docs_is_one(tmp_path: Path) -> None:
    text = (Path(__file__).parents[1] / "docs/problems.md").read_text(encoding="utf-8")
    (tmp_path / "advection.py").write_text(text.split("```python\n")[1].split("```")[0], encoding="utf-8")
    found = runpy.run_path(str(tmp_path / "advection.py"))["PROBLEM"]
    assert left_of_the_equation(found) < 1e-8
    start = [np.linspace(-1, 1, 9)[:, None], np.zeros((9, 1))]
    (u,) = found.ansatz(np, start, np.ones((9, 1)))
    assert np.array_equal(u, found.reference(np.hstack(start)))


def test_the_docs_name_every_problem() -> None:
    text = (Path(__file__).parents[1] / "docs/problems.md").read_text(encoding="utf-8")
    assert all(f"| `{name}` |" in text for name in names())


HELD = {
    "beam": ["t = 0", "x = 0"],
    "burgers": ["t = 0", "x = -1", "x = 0", "x = 1"],
    "burgers_nu": ["t = 0"],
    "fisher_kpp": ["t = 0", "x = -5", "x = 10"],
    "gray_scott": ["t = 0"],
    "heat": ["t = 0", "x = 0", "x = 1"],
    "kdv": ["t = 0"],
    "lotka_volterra": ["t = 0"],
    "schroedinger": ["t = 0"],
    "wave": ["t = 0", "x = 0", "x = 1"],
    "kovasznay": ["x = -0.5", "x = 1", "y = -0.5", "y = 1.5"],
    "helmholtz": ["x = 0", "x = 1", "y = 0", "y = 1"],
}


@pytest.mark.parametrize(("name", "face"), [(name, face) for name, faces in HELD.items() for face in faces])
def test_an_ansatz_keeps_the_conditions(name: str, face: str) -> None:
    import torch

    from kdpinn_edge.training import Pinn

    each = problem(name)
    at, _, where = face.partition(" = ")
    points = each.grid([11] * len(each.inputs))
    points[:, each.inputs.index(at)] = float(where)
    with torch.no_grad():
        found = Pinn(each, (6,), seed=1)(torch.from_numpy(points)).numpy()
    held = [name != "p" for name in each.outputs]
    atol = max(1e-14, each.exact_error)
    np.testing.assert_allclose(found[:, held], each.reference(points)[:, held], rtol=0, atol=atol)


def test_kdv_and_its_slopes_keep_the_period() -> None:
    import torch

    from kdpinn_edge.training import Pinn
    from kdpinn_edge.training.jets import closed

    net, t = Pinn(problem("kdv"), (6,), seed=1), np.linspace(0, 1, 11)
    sides = [torch.from_numpy(np.stack([np.full(11, x), t], axis=1)) for x in (-1.0, 1.0)]
    with torch.no_grad():
        left, right = (net.jet(side, closed(["xx"])) for side in sides)
    for multi_index in ("", "x", "xx"):
        scale = max(1, float(left[multi_index].abs().max()))
        np.testing.assert_allclose(left[multi_index], right[multi_index], rtol=0, atol=1e-13 * scale)


def test_taylor_green_keeps_its_conditions() -> None:
    import torch

    from kdpinn_edge.training import Pinn

    each = problem("taylor_green")
    net = Pinn(each, (6,), seed=1)
    points = each.grid([8, 8, 3])
    with torch.no_grad():
        found = net(torch.from_numpy(points)).numpy()
    start = points[:, 2] == 0
    np.testing.assert_allclose(found[start, :2], each.reference(points)[start, :2], rtol=0, atol=1e-14)
    at = found.reshape(8, 8, 3, 3)
    np.testing.assert_allclose(at[0], at[-1], rtol=0, atol=1e-13)
    np.testing.assert_allclose(at[:, 0], at[:, -1], rtol=0, atol=1e-13)
    assert np.abs(at[:-1, :-1, :, 2].mean(axis=(0, 1))).max() < 1e-3 * np.abs(at[..., 2]).max()
    jet = net.jet(torch.from_numpy(points))
    divergence = jet["x"][:, 0] + jet["y"][:, 1]
    assert divergence.abs().max() < 1e-12


@pytest.mark.parametrize(
    ("name", "face", "conditions"),
    [
        ("beam", "x = 0", {"x": lambda u, u_x: u_x}),
        ("beam", "x = 1", {"xx": lambda u, u_xx: u_xx, "xxx": lambda u, u_xxx: u_xxx}),
        ("beam", "t = 0", {"t": lambda u, u_t: u_t}),
        ("poisson", "x = 0", {"": lambda u, _: u}),
        ("poisson", "x = 1", {"x": lambda u, u_x: u_x}),
        ("poisson", "y = 0", {"y": lambda u, u_y: u_y}),
        ("poisson", "y = 1", {"y": lambda u, u_y: u_y + u}),
    ],
)
def test_an_ansatz_keeps_the_conditions_of_slopes(name: str, face: str, conditions: dict[str, Any]) -> None:
    import torch

    from kdpinn_edge.training import Pinn
    from kdpinn_edge.training.jets import closed

    each = problem(name)
    at, _, where = face.partition(" = ")
    points = each.grid([11] * len(each.inputs))
    points[:, each.inputs.index(at)] = float(where)
    with torch.no_grad():
        jet = Pinn(each, (6,), seed=1).jet(torch.from_numpy(points), closed(list(conditions)))
    for multi_index, condition in conditions.items():
        assert condition(jet[""], jet[multi_index]).abs().max() < 1e-13


def test_the_pressure_of_kovasznay_is_fixed() -> None:
    import torch

    from kdpinn_edge.training import Pinn

    each = problem("kovasznay")
    origin = np.zeros((1, 2))
    assert Pinn(each, (6,), seed=1)(torch.from_numpy(origin))[0, 2] == each.reference(origin)[0, 2] == 0


def test_black_scholes_keeps_its_conditions() -> None:
    import torch

    from kdpinn_edge.training import Pinn

    each = problem("black_scholes")
    net = Pinn(each, (6,), seed=1)
    share, t = np.linspace(0, 150, 301), np.linspace(0, 1, 31)
    for points, rounding in (
        (np.stack([share, 0 * share], axis=1), 4.1e-3),
        (np.stack([0 * t, t], axis=1), 1e-13),
        (np.stack([0 * t + 150, t], axis=1), 1e-6),
    ):
        with torch.no_grad():
            found = net(torch.from_numpy(points)).numpy()
        np.testing.assert_allclose(found, each.reference(points), rtol=0, atol=rounding)


@pytest.mark.parametrize(("share", "t"), [(50.0, 1.0), (20.0, 0.5), (55.0, 0.01), (140.0, 0.9)])
def test_black_scholes_agrees_with_its_definition(share: float, t: float) -> None:
    """The discounted mean of the payoff, in 30 digits."""
    with mpmath.workdps(30):
        drift = (RATE - SIGMA**2 / 2) * mpmath.mpf(t)

        def payoff(z):  # type: ignore[no-untyped-def]
            return (share * mpmath.exp(drift + SIGMA * mpmath.sqrt(t) * z) - STRIKE) * mpmath.npdf(z)

        corner = (mpmath.log(STRIKE / share) - drift) / (SIGMA * mpmath.sqrt(t))
        mean = mpmath.quad(payoff, mpmath.linspace(corner, max(corner, 0) + 30, 41))
        expected = mpmath.exp(-RATE * mpmath.mpf(t)) * mean
    call, put = problem("black_scholes").reference([[share, t]])[0]
    assert abs(call - float(expected)) <= problem("black_scholes").exact_error
    assert abs(put - float(expected - share + STRIKE * mpmath.exp(-RATE * t))) <= problem("black_scholes").exact_error
