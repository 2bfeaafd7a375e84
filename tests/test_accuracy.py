"""Errors of an export: measured, and refused where they exceed a share of the values."""

from __future__ import annotations

import numpy as np
import pytest

from kdpinn_edge import compile
from kdpinn_edge.bundle.manifest import Errors, FunctionName, Input
from kdpinn_edge.errors import ExportError
from kdpinn_edge.export.measure.accuracy import measured_errors, values_of
from kdpinn_edge.numerics.reference import NumpyProgram
from kdpinn_edge.program.ir import Add, Affine, Map, Program, Scale, Select, Var

X, U = Var("x", 1), Var("u", 1)
SINE = Program("sine", (X,), (U,), (Map(U, X, "sin"),))
A, B, C = Var("a", 1), Var("b", 1), Var("c", 1)
CANCELS = Program("cancels", (X,), (U,), (Scale(A, X, [1], [1e4]), Scale(B, X, [-0.5], [-1e4]), Add(U, A, B)))
"""x / 2, of numbers around 10,000."""
JUMP = Program(
    "jump", (X,), (U,), (Scale(C, X, [1], [-0.3]), Affine(A, X, [[0]], [1]), Scale(B, A, [0], [0]), Select(U, C, A, B))
)
"""1 where x > 0.3, else 0: 0.3 is another number in float32."""


def errors(
    program: Program,
    lower: float,
    upper: float,
    *,
    precision: str = "float32",
    function: FunctionName = "eval",
    share: float = 0.01,
) -> Errors:
    inputs = [Input("x", lower, upper)]
    values = values_of({function: program}, {function: NumpyProgram(program, precision)}, inputs)[function]
    return measured_errors(function, values, inputs, "it", max_relative_error=share)


@pytest.mark.parametrize("upper", [1e7, 1e9, 1e30])
def test_sin_of_huge_arguments_is_refused_with_the_point(upper: float) -> None:
    with pytest.raises(ExportError, match=r"an error of .* in u at \[.*\], a point of x ∈ \[0, 1e\+") as raised:
        errors(SINE, 0, upper)
    point = float(str(raised.value).partition("at [")[2].partition("]")[0])
    y = NumpyProgram(SINE, "float32")(np.array([[point]], np.float32))
    assert abs(y[0, 0] - np.sin(np.float64(np.float32(point)))) > 0.01


@pytest.mark.parametrize(("upper", "precision"), [(1e5, "float32"), (1e9, "float64")])
def test_sin_within_its_reach_is_exported(upper: float, precision: str) -> None:
    assert errors(SINE, 0, upper, precision=precision).max_abs[0] < 1e-6


def test_what_is_asked_for_is_exported() -> None:
    assert errors(SINE, 0, 1e9, share=np.inf).max_abs[0] > 0.5


def test_cancelling_sums_are_refused() -> None:
    with pytest.raises(ExportError, match="sums that cancel"):
        errors(CANCELS, 0, 0.01)
    assert errors(CANCELS, 0, 1).max_abs[0] < 2e-3


def test_a_residual_may_vanish() -> None:
    assert errors(CANCELS, 0, 0.01, function="residual").max_abs[0] > 1e-4


def test_a_point_on_the_other_side_of_a_jump_is_no_error() -> None:
    """A float32 at the jump is on its other side, and one or a few of 4,096 points round to it."""
    found = errors(JUMP, 0.3 - 2e-5, 0.3 + 2e-5)
    assert found.max_abs[0] in (0.0, 1.0)
    with pytest.raises(ExportError, match="an error of 1 in u"):
        errors(JUMP, 0.3 - 1e-7, 0.3 + 1e-7)


@pytest.mark.parametrize("share", [0.0, -1.0, np.nan])
def test_a_share_that_is_none(share: float) -> None:
    with pytest.raises(ExportError, match=r"max_relative_error is .*; expected: a share above 0, or infinity"):
        compile(SINE, max_relative_error=share)
