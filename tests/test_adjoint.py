"""Reverse mode: gradients against forward mode, through every op."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from strategies import mlp, points, programs

from kdpinn_edge.derive.derivatives import derivatives
from kdpinn_edge.derive.forward import tangent
from kdpinn_edge.derive.reverse import adjoint
from kdpinn_edge.errors import DerivativeError
from kdpinn_edge.program.interp import interpret
from kdpinn_edge.program.ir import Affine, Map, Mul, Program, Scale, Var, columns
from kdpinn_edge.program.simplify import multiply_adds, simplify

X, T, U = Var("x", 1), Var("t", 1), Var("u", 1)


@settings(max_examples=60)
@given(programs(bound=8))
def test_gradients_agree_with_tangents(drawn: Program) -> None:
    x = points(drawn, 5)
    forward = {column: interpret(tangent(drawn, column), x)[:, drawn.n_out :] for column in columns(drawn.inputs)}
    for i, output in enumerate(columns(drawn.outputs)[:3]):
        result = adjoint(drawn, output)
        found = interpret(result, x)
        expected = np.stack([forward[column][:, i] for column in columns(drawn.inputs)], axis=1)
        assert (np.abs(found[:, 1:] - expected) <= 1e-12 * (1 + np.abs(expected).max())).all()
        np.testing.assert_allclose(found[:, 0], interpret(drawn, x)[:, i], rtol=1e-12, atol=1e-13)
        assert result.inputs == drawn.inputs
        assert simplify(result) == result


@pytest.mark.parametrize(("fn", "slopes"), [("abs", [-1, 0, 1]), ("relu", [0, 0, 1]), ("step", [0, 0, 0])])
def test_both_modes_have_constant_slopes(fn: str, slopes: list[float]) -> None:
    """Where f′ is a constant, and f″ is 0."""
    program = Program("p", (X,), (U,), (Map(U, X, fn),))
    x = np.array([[-2.0], [0.0], [3.0]])
    assert interpret(adjoint(program, "u"), x)[:, 1].tolist() == slopes
    found = interpret(derivatives(program, ["u_x", "u_xx", "u_xxx", "laplacian(u)"]), x)
    assert found[:, 0].tolist() == slopes
    assert not found[:, 1:].any()


def test_a_gradient_costs_about_one_more_evaluation_however_many_inputs_there_are() -> None:
    network = mlp(12, 32, 4, 1)
    result = adjoint(network, "u")
    matrices = sum(op.weight.size for op in result.ops if isinstance(op, Affine))
    assert matrices == 2 * multiply_adds(network) - 32  # the row of the last layer is a constant
    assert multiply_adds(result) < 2.15 * multiply_adds(network)


TEXT = """\
p: w[2], t[1] -> u[1], u_w[0][1], u_w[1][1], u_t[1]
    v0[2]     = affine(w)  weight 2x2
    v1[2]     = exp(v0)
    u_t[1]    = affine(v1)  weight 1x2
    u[1]      = u_t * t
    v2[2]     = affine(t)  weight 2x1
    v3[2]     = v1 * v2
    v4[2]     = affine(v3)  weight 2x2
    u_w[0][1] = v4[0:1]
    u_w[1][1] = v4[1:2]"""


def test_text() -> None:
    w = Var("w", 2)
    program = Program(
        "p",
        (w, T),
        (U,),
        (
            Affine(Var("z", 2), w, [[2, 3], [4, 5]], [1, 1]),
            Map(Var("h", 2), Var("z", 2), "exp"),
            Affine(Var("y", 1), Var("h", 2), [[6, 7]], [0]),
            Mul(U, Var("y", 1), T),
        ),
    )
    assert str(adjoint(program, "u")) == TEXT


def test_an_input_that_the_output_does_not_depend_on_has_the_derivative_zero() -> None:
    result = adjoint(Program("p", (X, T), (U,), (Scale(U, X, [3], [1]),)), "u")
    assert interpret(result, [[0.5, np.inf], [-np.inf, 2.0]])[:, 1:].tolist() == [[3, 0], [3, 0]]


def test_an_unknown_output_is_refused() -> None:
    program = Program("p", (X,), (Var("v", 2),), (Affine(Var("v", 2), X, [[1], [2]], [0, 0]),))
    with pytest.raises(DerivativeError, match=r"'v' is no output column; expected: v\[0\], v\[1\]"):
        adjoint(program, "v")
