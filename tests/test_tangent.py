"""Forward mode: Programs differentiated by us, by torch.func, and by mpmath."""

from __future__ import annotations

from collections import Counter

import mpmath
import numpy as np
import pytest
from function_cases import FUNCTION_CASES
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import mlp, points, programs
from torch_program import differentiated

from kdpinn_edge.derive.forward import Tangent, tangent
from kdpinn_edge.derive.laplacian import LaplacianStream
from kdpinn_edge.derive.streams import Draft
from kdpinn_edge.errors import DerivativeError, ProgramError
from kdpinn_edge.functions import FUNCTIONS
from kdpinn_edge.program.interp import interpret
from kdpinn_edge.program.ir import (
    Add,
    Affine,
    Array,
    Concat,
    Map,
    Mul,
    Op,
    Program,
    Scale,
    Select,
    Slice,
    Var,
    columns,
)
from kdpinn_edge.program.simplify import simplify

X, T, U = Var("x", 1), Var("t", 1), Var("u", 1)


def assert_close(found: Array, expected: Array, tolerance: float = 1e-11) -> None:
    """Column by column, relative to 1 + the largest expected value."""
    scale = 1 + np.abs(expected).max(axis=0)
    assert found.shape == expected.shape
    assert (np.abs(found - expected) <= tolerance * scale).all()


def scale(out: Var, x: Var, weight: float, bias: float) -> Scale:
    return Scale(out, x, np.full(x.size, weight), np.full(x.size, bias))


@settings(max_examples=60)
@given(programs(bound=8), st.data())
def test_any_order_agrees_with_nested_jvp(drawn: Program, data: st.DataObject) -> None:
    multi_index = tuple(
        data.draw(st.lists(st.sampled_from(columns(drawn.inputs)), min_size=1, max_size=3), label="multi_index")
    )
    result = drawn
    for column in multi_index:
        result = tangent(result, column)
    x = points(drawn, 5)
    assert_close(interpret(result, x)[:, -drawn.n_out :], differentiated(drawn, multi_index, x))
    assert_close(interpret(result, x)[:, : drawn.n_out], interpret(drawn, x))


@given(programs())
def test_the_outputs_are_the_values_and_then_their_derivatives(drawn: Program) -> None:
    result = tangent(drawn, columns(drawn.inputs)[0])
    n = len(drawn.outputs)
    assert result.inputs == drawn.inputs
    assert result.outputs[:n] == drawn.outputs
    assert [var.size for var in result.outputs[n:]] == [var.size for var in drawn.outputs]
    assert simplify(result) == result
    assert not any((op.weight == 1).all() and (op.bias == 0).all() for op in result.ops if isinstance(op, Scale))


AT = np.concatenate([np.linspace(-6, 6, 49), [1e-9, -1e-9, 12.5, -12.5, 20, -20, 40, -40, 100, -100, 690, -690]])


@pytest.mark.parametrize("fn", FUNCTIONS)
def test_slope_and_curvature_of_every_function(fn: str) -> None:
    """Against 60 digits; absolute, as the functions are bounded: relative for exp, growing with x for silu."""
    program = Program("p", (X,), (U,), (Map(U, X, fn),))
    draft = Draft(program)
    along = Tangent.along(draft, program.inputs, "x")
    bent = LaplacianStream(draft, program.inputs, [along])
    outputs = {"u_x": draft.whole(along.of(U), X), "u_xx": draft.whole(bent.of(U), X)}
    case = FUNCTION_CASES[fn]
    at = case.analytic(AT)
    by_curvature = interpret(draft.with_outputs(outputs), at[:, None])
    by_composition = interpret(tangent(tangent(program, "x"), "x"), at[:, None])[:, 1::2]
    with mpmath.workdps(60):
        exact = np.array([[float(mpmath.diff(case.exact, mpmath.mpf(x), k)) for k in (1, 2)] for x in at])
    growth = np.array([case.growth(x) for x in at])
    tolerance = 8 * 2.0**-53 * growth[:, None]
    assert (np.abs(by_curvature - exact) <= tolerance).all()
    assert (np.abs(by_composition - exact) <= tolerance).all()


def test_a_layer_keeps_one_matrix_for_all_its_streams() -> None:
    network = mlp(2, 8, 3, 1)
    second = tangent(tangent(network, "x0"), "x1")
    matrices = Counter(op.weight.tobytes() for op in second.ops if isinstance(op, Affine))
    value = [op.weight.tobytes() for op in network.ops if isinstance(op, Affine)]
    assert set(matrices) == set(value)
    assert [matrices[matrix] for matrix in value] == [1, 4, 4, 4]
    assert all(not op.bias.any() for op in second.ops[len(network.ops) :] if isinstance(op, Affine))


CASES: dict[str, tuple[tuple[Op, ...], str]] = {
    "the derivative of the first layer is a column of its matrix": (
        (
            Concat(Var("xt", 2), (X, T)),
            Affine(Var("z", 2), Var("xt", 2), [[2, 3], [4, 5]], [1, 1]),
            Map(Var("h", 2), Var("z", 2), "tanh"),
            Affine(U, Var("h", 2), [[6, 7]], [0]),
        ),
        """
        v0[2]  = concat(x, t)
        v1[2]  = affine(v0)  weight 2x2
        v2[2]  = tanh(v1)
        u[1]   = affine(v2)  weight 1x2
        v3[2]  = v2 * v2
        v4[2]  = scale(v3)
        u_x[1] = affine(v4)  weight 1x2
        """,
    ),
    "what does not depend on the column costs nothing": (
        (Map(Var("s", 1), T, "sin"), Map(Var("c", 1), X, "exp"), Mul(U, Var("s", 1), Var("c", 1))),
        """
        v0[1]  = sin(t)
        v1[1]  = exp(x)
        u[1]   = v0 * v1
        u_x[1] = u[0:1]
        """,
    ),
    "a choice": (
        (Map(Var("s", 1), X, "sin"), Scale(Var("d", 1), X, [2], [1]), Select(U, T, Var("s", 1), Var("d", 1))),
        """
        v0[1]  = sin(x)
        v1[1]  = 2 * x + 1
        u[1]   = v0 if t > 0 else v1
        v2[1]  = cos(x)
        v3[1]  = 0 * t + 2
        u_x[1] = v2 if t > 0 else v3
        """,
    ),
    "a choice that depends on the column": (
        (Select(U, X, T, T),),
        """
        u[1]   = t[0:1]
        v0[1]  = tanh(x)
        u_x[1] = affine(v0)  weight 1x1
        """,
    ),
    "a square": (
        (Mul(U, X, X),),
        """
        u[1]   = x * x
        u_x[1] = 2 * x + 0
        """,
    ),
}


@pytest.mark.parametrize(("ops", "text"), CASES.values(), ids=CASES)
def test_text(ops: tuple[Op, ...], text: str) -> None:
    program = Program("p", (X, T), (U,), ops)
    result = tangent(program, "x")
    assert body(result) == [line.strip() for line in text.strip().splitlines()]


def body(program: Program) -> list[str]:
    return [line.strip() for line in str(program).splitlines()[1:]]


def test_constants_stay_constants_through_every_linear_operation() -> None:
    ops = (
        Concat(Var("a", 3), (T, X, X)),
        Slice(Var("b", 2), Var("a", 3), 0),
        scale(Var("c", 2), Var("b", 2), 3, 1),
        Add(Var("d", 2), Var("c", 2), Var("b", 2)),
        Slice(Var("e", 1), Var("d", 2), 1),
        Mul(U, Var("e", 1), T),
    )
    program = Program("p", (X, T), (U,), ops)
    result = tangent(program, "x")
    assert len(result.ops) == len(simplify(program).ops) + 1
    assert body(result)[-1] == "u_x[1] = 4 * t + 0"


def test_constant_derivatives_are_constant_for_infinite_inputs_too() -> None:
    program = Program("p", (X, T), (U, T), (Scale(U, X, [2], [1]),))
    result = tangent(program, "x")
    x = np.array([[0.5, 1], [np.inf, 1], [-np.inf, np.inf], [1e308, 1], [np.nan, 1]])
    with np.errstate(all="ignore"):
        y = interpret(result, x)
    assert [var.name for var in result.outputs] == ["u", "t", "u_x", "t_x"]
    assert y[:4, 2:].tolist() == [[2, 0]] * 4
    assert np.isnan(y[4, 2:]).all()
    assert not interpret(tangent(result, "x"), [[0.5, 1]])[0, 6:].any()


def test_names_of_outputs() -> None:
    ops = (Map(U, X, "sin"), Map(Var("w", 2), Var("y", 2), "exp"))
    program = Program("p", (X, T, Var("y", 2)), (U, Var("w", 2)), ops)
    assert names(tangent(program, "y[1]")) == ["u", "w", "u_y[1]", "w_y[1]"]
    assert names(tangent(tangent(program, "t"), "x")) == ["u", "w", "u_t", "w_t", "u_x", "w_x", "u_xt", "w_xt"]
    assert names(tangent(tangent(program, "x"), "x")) == ["u", "w", "u_x", "w_x", "u_x_2", "w_x_2", "u_xx", "w_xx"]


def names(program: Program) -> list[str]:
    return [var.name for var in program.outputs]


@pytest.mark.parametrize("column", ["y", "u", "", "w", "w[2]"])
def test_an_unknown_column_is_refused(column: str) -> None:
    program = Program("p", (X, Var("w", 2)), (U,), (Map(U, X, "sin"),))
    with pytest.raises(DerivativeError, match=r"expected: x, w\[0\], w\[1\]"):
        tangent(program, column)


def test_a_malformed_program_is_refused() -> None:
    with pytest.raises(ProgramError, match="used before"):
        tangent(Program("p", (X,), (U,), (Map(U, T, "sin"),)), "x")


def test_long_programs_do_not_exhaust_the_stack() -> None:
    ops: list[Op] = []
    x = X
    for i in range(600):
        ops.append(Map(Var(f"v{i}", 1), x, "sin"))
        x = ops[-1].out
    program = Program("deep", (X,), (x,), tuple(ops))
    at = np.array([[0.7]])
    slope, value = 1.0, 0.7
    for _ in range(600):
        slope, value = slope * np.cos(value), np.sin(value)
    np.testing.assert_allclose(interpret(tangent(program, "x"), at)[0], [value, slope], rtol=1e-12)
