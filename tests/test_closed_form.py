"""Closed forms: one text gives the reference, a Program that solves the equation, and a backend."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from artifacts import Artifacts
from sampled import sampled

from kdpinn_edge.bundle.manifest import PROGRAM_FILE, Precision, read_manifest
from kdpinn_edge.classical.accuracy import against_reference
from kdpinn_edge.classical.formula_c import formula_source
from kdpinn_edge.comparison import selection
from kdpinn_edge.comparison.backend import Case, CFunction
from kdpinn_edge.comparison.backends.c_source import Interface, Source, build
from kdpinn_edge.comparison.backends.closed_form import CLOSED_FORM, CLOSED_FORM_C_LOOP
from kdpinn_edge.derive.closed_form import closed_form_program
from kdpinn_edge.derive.residual import residual as residual_of
from kdpinn_edge.errors import BenchError, ProblemError, ProgramError
from kdpinn_edge.importers.model import find_model
from kdpinn_edge.numerics.reference import NumpyProgram
from kdpinn_edge.problems import names, problem
from kdpinn_edge.program.file import read_program
from kdpinn_edge.program.interp import interpret
from kdpinn_edge.runtime.c_harness import CHarness

SOLVED = [name for name in names() if problem(name).closed_form]
HEAT = problem("heat")


@pytest.mark.parametrize("name", SOLVED)
def test_it_is_the_reference_and_solves_the_equation(name: str) -> None:
    solved = problem(name)
    program = closed_form_program(solved)
    x = np.random.default_rng(0).uniform(solved.lower, solved.upper, (300, len(solved.inputs)))
    np.testing.assert_allclose(interpret(program, x), solved.reference(x), atol=max(1e-13, solved.exact_error))
    residual = interpret(residual_of(program, solved), x)
    # derivatives of sin(4πx) are up to 4e3 times as large as it, and so is what rounding leaves of them
    np.testing.assert_allclose(residual, 0, atol=1e-11)


def test_prices_have_their_limits() -> None:
    solved = problem("black_scholes")
    x = np.array([[0.0, 0.0], [0.0, 1.0], [50.0, 0.0], [150.0, 0.0], [49.0, 0.0]])
    expected = [[0, 50], [0, 50 * np.exp(-0.05)], [0, 0], [100, 0], [0, 1]]
    np.testing.assert_allclose(solved.reference(x), expected, atol=1e-12)
    found = NumpyProgram(closed_form_program(solved), "float32")(x.astype(np.float32))
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_which_problems_have_one() -> None:
    assert {"black_scholes", "heat", "helmholtz", "kovasznay", "taylor_green", "wave"} <= set(SOLVED)
    with pytest.raises(ProblemError, match=r"burgers has no closed form; expected: a problem with"):
        closed_form_program(problem("burgers"))


@pytest.mark.parametrize(("name", "precision"), sampled(SOLVED, ["float32", "float64"]))
def test_its_c_computes_it(name: str, precision: Precision, harness: CHarness, tmp_path: Path) -> None:
    solved = problem(name)
    program = closed_form_program(solved)
    x = np.random.default_rng(0).uniform(solved.lower, solved.upper, (65, len(solved.inputs))).astype(precision)
    interface = Interface(precision, len(solved.inputs), len(solved.outputs))
    library = build(Source("formula", formula_source(program, precision)), "-Ofast", interface, tmp_path)
    with harness.loop(library, "peer", x) as loop:
        y = loop.values(x.dtype).reshape(len(x), -1)
    expected = interpret(program, x)
    # sin of 8π errs by the rounding of its argument: 25 times that of a number below 1
    tolerance = 3e-6 if precision == "float32" else 1e-14
    np.testing.assert_allclose(y, expected, rtol=0, atol=tolerance * np.abs(expected).max())


def test_what_is_no_formula_has_no_c() -> None:
    with pytest.raises(ProgramError, match=r"has no C of <math.h>; expected: arithmetic of single numbers, and cos"):
        formula_source(find_model("heat").program, "float32")


@pytest.fixture(scope="module")
def student(artifacts: Artifacts, tmp_path_factory: pytest.TempPathFactory) -> Case:
    found = find_model("heat")
    bundle = artifacts.bundle(
        found.program, name="heat", inputs=found.inputs, outputs=found.outputs, equation=HEAT.equation
    )
    program = read_program(bundle / PROGRAM_FILE)
    return Case(bundle, read_manifest(bundle), program, tmp_path_factory.mktemp("products"))


def test_it_is_a_backend(student: Case, harness: CHarness) -> None:
    prepared = CLOSED_FORM.prepare(student, 1)
    found = against_reference(lambda x: prepared.evaluate(x.astype(np.float32)), HEAT)
    assert 0 < found.max_abs < 4e-7  # float32
    with pytest.raises(BenchError, match="asked for 2 threads"):
        CLOSED_FORM.prepare(student, 2)
    in_loop = CLOSED_FORM_C_LOOP.prepare(student, 1)
    x = np.random.default_rng(0).uniform(HEAT.lower, HEAT.upper, (70, 2)).astype(np.float32)
    y = np.empty((70, 1), np.float32)
    bound, call = prepared.bind(x, y), in_loop.bind(x, y)
    assert callable(bound)
    bound()
    assert isinstance(call, CFunction)
    with harness.loop(call.library, call.name, x) as loop:
        np.testing.assert_array_equal(loop.values(np.dtype(np.float32)), y[:, 0])


def test_it_is_compared_where_there_is_one(student: Case, artifacts: Artifacts) -> None:
    assert selection.CLOSED_FORM in {config.name for config in selection.quick(student.bundle)}
    found, solved = find_model("burgers"), problem("burgers")
    burgers: Path = artifacts.bundle(
        found.program, name="burgers", inputs=found.inputs, outputs=found.outputs, equation=solved.equation
    )
    assert selection.CLOSED_FORM not in {config.name for config in selection.full(burgers)}
