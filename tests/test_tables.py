"""Tables: that they mean what they say, that their C computes it, and that what they know is true."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from artifacts import Artifacts
from sampled import VARIED, sampled, some

from kdpinn_edge import problems
from kdpinn_edge.bundle.manifest import PROGRAM_FILE, Precision, read_manifest
from kdpinn_edge.classical import fit
from kdpinn_edge.classical.accuracy import against_reference
from kdpinn_edge.classical.bases import Chebyshev, Cubic
from kdpinn_edge.classical.fit import Samples, of_error, of_numbers
from kdpinn_edge.classical.table import Table, name
from kdpinn_edge.classical.table_c import table_source
from kdpinn_edge.comparison import selection
from kdpinn_edge.comparison.backend import Case
from kdpinn_edge.comparison.backends.c_source import Interface, Source, build
from kdpinn_edge.comparison.backends.tables import TABLE_OF_BYTES, TABLE_OF_ERROR, TABLE_OF_TIME
from kdpinn_edge.errors import BenchError, ProblemError
from kdpinn_edge.importers.model import find_model
from kdpinn_edge.problems import Array, Front, Mirror, Period, Problem, Zero, problem
from kdpinn_edge.program.file import read_program
from kdpinn_edge.runtime.c_harness import CHarness

BURGERS, HEAT = problem("burgers"), problem("heat")
FEW = 2**13
Known = tuple[Mirror | Zero | Front, ...]


def of_one_input(known: Known, lower: float, upper: float, exact: Callable[..., Any]) -> Problem:
    """A problem of x alone, whose solution is `exact`."""
    return made(("x",), ("u",), (lower,), (upper,), exact, known)


def made(
    inputs: tuple[str, ...],
    outputs: tuple[str, ...],
    lower: tuple[float, ...],
    upper: tuple[float, ...],
    exact: Callable[..., Any],
    known: Known,
) -> Problem:
    """A problem of which only the solution is asked."""
    units, resolution = ("1",) * (len(inputs) + len(outputs)), (301 if len(inputs) == 1 else 11,) * len(inputs)
    return replace(
        HEAT,
        name="made",
        inputs=inputs,
        outputs=outputs,
        lower=lower,
        upper=upper,
        units=units,
        resolution=resolution,
        exact=exact,
        known=known,
    )


def three_inputs(x: Array) -> Array:
    """u(x, y, t): odd in x, even in y, with a front in t; and v: even in x, odd in y."""
    along_x, along_y, along_t = x.T
    fade = np.tanh((along_t - 0.5) / 0.1)
    return np.stack([np.sin(along_x) * np.cos(along_y) * fade, np.cos(along_x) * np.sin(along_y) + fade], axis=1)


THREE = made(
    ("x", "y", "t"),
    ("u", "v"),
    (-1.0, 0.0, 0.0),
    (0.5, 2 * np.pi, 1.0),
    three_inputs,
    (Mirror("x", 0.0, (-1, 1)), Mirror("y", np.pi, (1, -1)), Front("t", 0.5, 0.1)),
)


# The meaning


def test_a_cubic_is_the_spline_of_scipy() -> None:
    from scipy.interpolate import BSpline  # which takes a second

    table = Samples.of(np.exp, of_one_input((), -1.0, 2.0, np.exp), FEW, graded=False).fitted([Cubic(7)])
    knots = -1.0 + 3.0 * np.arange(-3, 11) / 7
    x = np.linspace(-1.0, 2.0, 200)
    np.testing.assert_allclose(table(x[:, None])[:, 0], BSpline(knots, table.coefficients[0], 3)(x), rtol=1e-13)


@pytest.mark.parametrize("make", [Cubic, Chebyshev])
def test_what_the_basis_holds_is_exact(make: Callable[[int], Any]) -> None:
    def polynomial(x: Array) -> Array:
        return 2 + x[:, :1] ** 3 * (1 - x[:, 1:] ** 2)

    table = Samples.of(polynomial, replace(HEAT, known=()), FEW, graded=False).fitted([make(5), make(6)])
    x = np.random.default_rng(0).uniform(HEAT.lower, HEAT.upper, (500, 2))
    np.testing.assert_allclose(table(x), polynomial(x), atol=1e-12)
    beyond = np.array([[-0.05, 1.05]])  # the outermost polynomials go on
    np.testing.assert_allclose(table(beyond), polynomial(beyond), atol=1e-11)


@pytest.mark.parametrize(
    ("known", "lower", "upper", "exact"),
    [
        ((Mirror("x", 0.0, (-1,)), Mirror("x", 1.0, (-1,))), -1.0, 1.0, lambda x: np.sin(np.pi * x)),
        ((Mirror("x", 0.0, (1,)), Mirror("x", 1.0, (1,))), -1.0, 1.0, lambda x: np.exp(np.cos(np.pi * x))),
        ((Mirror("x", 0.0, (-1,)), Zero("x", 1.0), Front("x", 0.0, 0.02)), -1.0, 1.0, lambda x: np.tanh(30 * x) - x),
        ((Mirror("x", 2.0, (1,)), Front("x", 0.0, 0.1)), 0.0, 3.0, lambda x: np.cosh(x - 2)),
        ((Zero("x", 0.0), Front("x", 0.7, 0.01)), 0.0, 1.0, lambda x: np.arctan(50 * (x - 0.7)) + np.arctan(35)),
    ],
)
@pytest.mark.parametrize("graded", [False, True])
def test_what_is_known_holds_to_the_last_bit_and_helps(
    known: Known, lower: float, upper: float, exact: Callable[..., Any], graded: bool
) -> None:
    made = of_one_input(known, lower, upper, exact)
    table = Samples.of(exact, made, FEW, graded=graded).fitted([Cubic(40)])
    x = np.random.default_rng(0).integers(1, 1024 * (upper - lower) / 3, (200, 1)) / 1024  # at ± x is exact
    for fact in known:
        if isinstance(fact, Mirror) and lower < fact.at < upper:
            np.testing.assert_array_equal(table(fact.at + x), fact.signs[0] * table(fact.at - x))
        if isinstance(fact, Zero) or (isinstance(fact, Mirror) and fact.signs[0] < 0):
            assert np.abs(table(np.array([[fact.at]]))) < 1e-15
    assert against_reference(table, made).relative_l2 < (2e-4 if graded else 0.02)


def test_a_fit_is_the_nearest_one() -> None:
    """No other coefficients come nearer, in the sense of an integral over the box."""
    table = Samples.of(HEAT.reference, HEAT, FEW, graded=False).fitted([Cubic(4), Cubic(4)])
    best = against_reference(table, HEAT).rmse
    rng = np.random.default_rng(0)
    for _ in range(5):
        other = Table(table.axes, table.coefficients + rng.normal(0, 1e-3, table.coefficients.shape))
        assert against_reference(other, HEAT).rmse > best


# The choice


def test_the_smallest_table_of_an_error() -> None:
    error = 1e-3

    def missed(table: Table) -> float:
        return against_reference(table, BURGERS).relative_l2

    table = of_error(BURGERS.reference, BURGERS, error, missed)
    assert table is not None
    assert 0.2 * error < missed(table) <= error
    as_large = of_numbers(BURGERS.reference, BURGERS, table.numbers)
    assert as_large is not None
    assert missed(as_large) < 1.5 * error
    assert table.axes[0].coordinate.width  # graded: uniform ones need 30 times as many


def test_errors_that_no_table_reaches_and_numbers_that_are_too_few(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fit, "SAMPLES", (FEW,))
    assert of_error(HEAT.reference, HEAT, 0.0, lambda table: 1.0) is None
    assert of_numbers(HEAT.reference, HEAT, 20) is None


def test_what_is_known_is_of_the_problem_and_too_many_inputs() -> None:
    with pytest.raises(ProblemError, match=r"known says something of 'z'; expected: of x, t"):
        replace(HEAT, known=(Zero("z", 0.0),))
    with pytest.raises(ProblemError, match=r"known has Mirror.*expected: 1 signs, one per output"):
        replace(HEAT, known=(Mirror("x", 0.0, (1, 1)),))
    four = made(tuple("xyzt"), ("u",), (0.0,) * 4, (1.0,) * 4, np.sin, ())
    with pytest.raises(ProblemError, match=r"has 4 inputs; expected: up to 3"):
        Samples.of(np.sin, four, FEW, graded=False)


# What is known


@pytest.mark.parametrize("each", some(problems.names(), VARIED))
def test_what_is_known_is_true_of_the_solution(each: str) -> None:
    solved = problem(each)
    x = np.random.default_rng(0).uniform(solved.lower, solved.upper, (300, len(solved.inputs)))
    check_known(solved, solved.reference, x, mirrored_atol=1e-8, zero_atol=max(1e-15, solved.exact_error))


@pytest.mark.parametrize("each", ["allen_cahn", "burgers", "burgers_nu", "heat", "helmholtz", "kdv", "wave"])
def test_what_is_known_is_true_of_every_network(each: str) -> None:
    """The ansatz has the mirrors and zeros that are known, around a network of random weights."""
    solved = problem(each)
    x = np.random.default_rng(0).uniform(solved.lower, solved.upper, (50, len(solved.inputs)))
    check_known(solved, partial(any_network, solved), x, mirrored_atol=1e-9, zero_atol=1e-15)


def check_known(
    solved: Problem, u: Callable[[Array], Array], x: Array, *, mirrored_atol: float, zero_atol: float
) -> None:
    """Whether u has the mirrors and the zeros that are known of the problem, at the points x and what they go to."""
    for fact in solved.known:
        k = solved.inputs.index(fact.input)
        if isinstance(fact, Mirror):
            mirrored = x.copy()
            mirrored[:, k] = 2 * fact.at - x[:, k]
            inside = (mirrored[:, k] >= solved.lower[k]) & (mirrored[:, k] <= solved.upper[k])
            expected = np.array(fact.signs) * u(x[inside])
            np.testing.assert_allclose(u(mirrored[inside]), expected, atol=mirrored_atol)
        elif isinstance(fact, Period):
            sides = np.repeat(x[:2], 2, axis=0)
            sides[:, k] = [solved.lower[k], solved.upper[k]] * 2
            np.testing.assert_allclose(u(sides[::2]), u(sides[1::2]), atol=mirrored_atol)
        elif isinstance(fact, Zero):
            x[:, k] = fact.at
            np.testing.assert_allclose(u(x), 0, atol=zero_atol)


def any_network(solved: Problem, x: Array) -> Array:
    """The outputs of the ansatz around a network of random weights."""
    columns = [x[:, k : k + 1] for k in range(x.shape[1])]
    features = np.hstack([np.broadcast_to(f, (len(x), 1)) for f in solved.features(np, *columns)])
    rng = np.random.default_rng(1)
    hidden = np.tanh(features @ rng.normal(0, 1, (features.shape[1], 8)) + rng.normal(0, 1, 8))
    net = hidden @ rng.normal(0, 1, (8, solved.net_columns or len(solved.made)))
    return np.hstack(list(solved.ansatz(np, columns, *(net[:, [k]] for k in range(net.shape[1])))))


# The C


COMPILED: list[tuple[Problem, list[Any], bool, Precision]] = [
    (BURGERS, [Cubic(32), Cubic(37)], True, "float32"),
    (BURGERS, [Chebyshev(17), Chebyshev(12)], True, "float64"),
    (HEAT, [Cubic(9), Chebyshev(8)], False, "float32"),
    (THREE, [Cubic(5), Cubic(7), Cubic(8)], True, "float32"),
    (THREE, [Chebyshev(5), Chebyshev(6), Cubic(4)], False, "float32"),
    (THREE, [Cubic(5), Cubic(7), Cubic(8)], True, "float64"),
    (of_one_input((Front("x", 0.7, 0.1),), 0.0, 1.0, np.exp), [Cubic(5)], True, "float64"),
]
"""Problems, axes of a table of each, whether it is graded, and its precision."""


@pytest.mark.parametrize(("compiled", "level"), sampled(COMPILED, ("-O3", "-Ofast")))
def test_its_c_computes_what_it_means(
    compiled: tuple[Problem, list[Any], bool, Precision], level: str, harness: CHarness, tmp_path: Path
) -> None:
    solved, bases, graded, precision = compiled
    table = Samples.of(solved.exact, solved, FEW, graded=graded).fitted(bases).rounded(precision)
    n_in, n_out = len(solved.inputs), table.n_out
    x = np.random.default_rng(0).uniform(solved.lower, solved.upper, (1001, n_in)).astype(precision)
    source = Source("table", table_source(table, precision))
    library = build(source, level, Interface(precision, n_in, n_out), tmp_path)
    for points in (x, x[:1]):
        with harness.loop(library, "peer", points) as loop:
            y = loop.values(points.dtype).reshape(len(points), n_out)
        expected = table(points)
        # log rounds a graded place to 2e-7 of a side in float32, which the slope there magnifies
        tolerance = (2e-6 if graded else 1e-6) if precision == "float32" else 1e-14
        np.testing.assert_allclose(y, expected, rtol=0, atol=tolerance * max(1.0, np.abs(expected).max()))


def test_the_c_is_for_reading() -> None:
    table = Samples.of(BURGERS.reference, BURGERS, FEW, graded=True).fitted([Cubic(4), Cubic(5)])
    text = table_source(table, "float32")
    assert text.startswith(f"/* cubic B-splines of {name(table.axes)} for each of 1 outputs: 56 numbers */")
    assert "static const float" not in text
    assert "typedef float T;" in text
    assert max(map(len, text.splitlines())) <= 160


# As backends


@pytest.fixture(scope="module")
def student(artifacts: Artifacts, tmp_path_factory: pytest.TempPathFactory) -> Case:
    found = find_model("burgers")
    bundle = artifacts.bundle(
        found.program, name="burgers", inputs=found.inputs, outputs=found.outputs, equation=BURGERS.equation
    )
    program = read_program(bundle / PROGRAM_FILE)
    return Case(bundle, read_manifest(bundle), program, tmp_path_factory.mktemp("products"))


def test_they_are_as_accurate_as_the_network_or_as_large(student: Case) -> None:
    error = 1.3e-6  # of the shipped student
    found = TABLE_OF_ERROR.prepare(student, 1)
    assert 0.5 * error < against_reference(lambda x: found.evaluate(x.astype(np.float32)), BURGERS).relative_l2 <= error
    found = TABLE_OF_BYTES.prepare(student, 1)
    assert against_reference(lambda x: found.evaluate(x.astype(np.float32)), BURGERS).relative_l2 < 2e-4
    text = (student.folder / "table_bytes_chosen.c").read_text()
    assert 500 < int(text.split(" outputs: ")[1].split(" ")[0].replace(",", "")) <= 650
    assert found.threads == "the caller's thread; it has no others"


@pytest.mark.proof
def test_the_table_that_is_as_fast_is_one_that_was_timed(student: Case) -> None:
    """Which one depends on the machine."""
    found = TABLE_OF_TIME.prepare(student, 1)
    error = against_reference(lambda x: found.evaluate(x.astype(np.float32)), BURGERS).relative_l2
    text = (student.folder / "table_time_chosen.c").read_text()
    numbers = int(text.split(" outputs: ")[1].split(" ")[0].replace(",", ""))
    assert (student.folder / "table_time_4-Ofast.so").exists()
    assert 500 < numbers <= 4 * 650
    assert error < 1e-3


def test_they_are_compared_where_the_solution_is_known(student: Case) -> None:
    assert {config.name for config in selection.quick(student.bundle)} >= {"table of equal error, C loop"}
    assert {config.name for config in selection.full(student.bundle)} >= {
        "table of equal error, C loop",
        "table of equal bytes, C loop",
        "table of equal time, C loop",
    }


def test_a_bundle_of_an_unknown_equation_has_none(student: Case, tmp_path: Path) -> None:
    for other in (replace(student.manifest, equation="u_t = 0"), replace(student.manifest, equation=None)):
        with pytest.raises(BenchError, match=r"burgers names no equation of a shipped problem \(allen_cahn, "):
            TABLE_OF_ERROR.prepare(replace(student, manifest=other, folder=tmp_path), 1)
