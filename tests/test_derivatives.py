"""Derivatives on request: their names, their values, their cost, and the backends that run them."""

from __future__ import annotations

from collections import Counter
from itertools import combinations_with_replacement
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import mlp, points, programs
from torch.func import hessian, jacrev, vmap
from torch_program import differentiated, torch_program

from kdpinn_edge.derive.derivatives import derivatives, parse_requests
from kdpinn_edge.derive.names import Names
from kdpinn_edge.errors import DerivativeError
from kdpinn_edge.export.onnx_model import from_onnx, to_onnx
from kdpinn_edge.functions import FUNCTIONS
from kdpinn_edge.numerics.reference import NumpyProgram
from kdpinn_edge.program.file import read_program, write_program
from kdpinn_edge.program.interp import interpret
from kdpinn_edge.program.ir import Affine, Array, Concat, Map, Mul, Program, Scale, Var, columns
from kdpinn_edge.program.simplify import multiply_adds, simplify

X, T, NU, U = Var("x", 1), Var("t", 1), Var("nu", 1), Var("u", 1)
FLAT = Names(("x", "t", "nu", "y[0]"), ("u", "v[0]", "w_1"))
JET = ("u", "u_x", "u_t", "u_xx")


def network(width: int = 32, depth: int = 4, n_in: int = 2, fn: str = "tanh") -> Program:
    """The MLP of `strategies` with inputs x, t, …"""
    program = mlp(n_in, width, depth, 1, fn)
    inputs = tuple(Var(name, 1) for name in "xtyzabcdefgh"[:n_in])
    joined = Var("inputs", n_in)
    first, *rest = [op for op in program.ops if not isinstance(op, Concat)]
    assert isinstance(first, Affine)
    ops = (Concat(joined, inputs), Affine(first.out, joined, first.weight, first.bias), *rest)
    return Program("network", inputs, program.outputs, ops)


SPELLINGS = {
    "u": "u",
    "v[0]": "v[0]",
    "nu": "nu",
    "y[0]": "y[0]",
    "u_x": "u_x",
    " u_tx ": "u_xt",
    "u_txx": "u_xxt",
    "u_x_x_t": "u_xxt",
    "u_nu": "u_nu",
    "u_nu_nu": "u_nu_nu",
    "u_nu_x": "u_x_nu",
    "u_nu_tx": "u_xt_nu",
    "v[0]_x": "v[0]_x",
    "u_y[0]": "u_y[0]",
    "w_1_y[0]_t": "w_1_t_y[0]",
    "laplacian(u)": "laplacian(u)",
    "laplacian( u,t ,x)": "laplacian(u, x, t)",
    "laplacian(v[0], y[0])": "laplacian(v[0], y[0])",
}


@pytest.mark.parametrize(("request_text", "name"), SPELLINGS.items())
def test_a_request_has_one_spelling(request_text: str, name: str) -> None:
    assert FLAT.spell(FLAT.read(request_text)) == name
    assert FLAT.read(name) == FLAT.read(request_text)


@pytest.mark.parametrize(
    "request_text",
    [
        *("v", "u_", "u_q", "u_xnu", "u_nux", "u_x_", "_x", "x_x", "", "u_x)", "u_X", "U", "u_x[0]", "u x", "grad(u)"),
        *("laplacian", "laplacian()", "laplacian(x)", "laplacian(u, q)", "laplacian(u, x, x)", "laplacian(u"),
    ],
)
def test_what_has_no_meaning_is_refused(request_text: str) -> None:
    with pytest.raises(DerivativeError, match="expected: "):
        FLAT.read(request_text)


def test_what_is_accepted_is_listed() -> None:
    with pytest.raises(DerivativeError) as caught:
        FLAT.read("u_q")
    assert str(caught.value) == (
        "'u_q' is no column and no derivative of one; expected: an output (u, v[0], w_1), an input (x, t, nu, y[0]), "
        "a derivative (u_x, u_t, u_nu, u_y[0]_y[0], …), laplacian(u), jacobian or hessian. Did you mean 'u_x'?"
    )


def test_two_readings_are_refused_and_told() -> None:
    names = Names(("x", "t", "xt"), ("u", "u_x"))
    with pytest.raises(DerivativeError, match="'u_xt' is the derivative of u by x, t or the derivative of u by xt; "):
        names.read("u_xt")
    with pytest.raises(DerivativeError, match="the output u_x or the derivative of u by x"):
        names.read("u_x")
    assert names.spell(names.read("u_t_t")) == "u_tt"
    with pytest.raises(DerivativeError, match="'u_x_t' is"):
        names.read("u_x_t")
    assert Names(("x", "t", "xt"), ("u",)).spell(Names(("x", "t", "xt"), ("u",)).read("u_x_t")) == "u_x_t"


@given(st.lists(st.sampled_from(("x", "t", "nu", "y[0]")), min_size=1, max_size=5), st.sampled_from(("u", "w_1")))
def test_every_derivative_has_a_name_that_is_read_back(multi_index: list[str], output: str) -> None:
    term = FLAT.read("_".join((output, *multi_index)))
    assert FLAT.read(FLAT.spell(term)) == term


def test_reading_takes_no_exponential_time() -> None:
    names = Names(("x", "xx"), ("u",))
    with pytest.raises(DerivativeError, match=" or "):
        names.read("u" + "_xx" * 60)


def test_requests_are_separated_by_commas_outside_parentheses() -> None:
    assert parse_requests("u") == ("u",)
    assert parse_requests(" u, u_x,laplacian(u, x, y) , nu") == ("u", "u_x", "laplacian(u, x, y)", "nu")


@pytest.mark.parametrize("text", ["", "u,", ",u", "u,,u_x", "laplacian(u", "u)", "laplacian(u))("])
def test_requests_that_are_not_whole_are_refused(text: str) -> None:
    with pytest.raises(DerivativeError, match="expected: requests such as"):
        parse_requests(text)


@pytest.mark.parametrize(
    ("requests", "fault"),
    [
        (["u_xt", "u_tx"], "u_xt is asked for twice, the second time as 'u_tx'"),
        ([], "at least one request"),
        ("ux", "as parse_requests makes of it"),
    ],
)
def test_requests_that_make_no_program_are_refused(requests: list[str] | str, fault: str) -> None:
    with pytest.raises(DerivativeError, match=fault):
        derivatives(network(4, 1), requests)


def assert_close(found: Array, expected: Array, scale: float) -> None:
    assert (np.abs(found - expected) <= 1e-11 * (1 + scale)).all()


@settings(max_examples=30)
@given(programs(bound=8), st.data())
def test_columns_are_those_asked_for_and_agree_with_torch(drawn: Program, data: st.DataObject) -> None:
    inputs, x = columns(drawn.inputs), points(drawn, 4)
    number = data.draw(st.integers(0, drawn.n_out - 1), label="output")
    output = columns(drawn.outputs)[number]
    multi_indices = data.draw(
        st.lists(st.lists(st.sampled_from(inputs), max_size=3).map(tuple), min_size=1, max_size=3),
        label="multi_indices",
    )
    multi_indices = list(
        {
            tuple(sorted(multi_index, key=inputs.index)): multi_index
            for multi_index in multi_indices
            if multi_index or output not in inputs
        }.values()
    )
    asked = ["_".join((output, *multi_index)) for multi_index in multi_indices] + [inputs[-1]]
    result = derivatives(drawn, asked)
    names = Names(inputs, columns(drawn.outputs))
    assert columns(result.outputs) == tuple(names.spell(names.read(request)) for request in asked)
    assert all(var.size == 1 for var in result.outputs)
    assert simplify(result) == result
    found = interpret(result, x)
    for column, multi_index in zip(found.T, multi_indices, strict=False):
        expected = differentiated(drawn, multi_index, x)[:, number]
        assert_close(column, expected, np.abs(expected).max())
    assert (found[:, -1] == x[:, -1]).all()


@settings(max_examples=20)
@given(programs(bound=8, max_ops=8), st.data())
def test_the_laplacian_is_the_sum_of_second_derivatives(drawn: Program, data: st.DataObject) -> None:
    inputs, x = columns(drawn.inputs), points(drawn, 4)
    axes = data.draw(st.lists(st.sampled_from(inputs), unique=True, max_size=3), label="axes")
    number = data.draw(st.integers(0, drawn.n_out - 1), label="output")
    found = interpret(derivatives(drawn, [f"laplacian({', '.join((columns(drawn.outputs)[number], *axes))})"]), x)
    terms = [differentiated(drawn, (axis, axis), x)[:, number] for axis in axes or inputs]
    assert_close(found[:, 0], np.sum(terms, axis=0), np.abs(terms).max())


@pytest.mark.parametrize("fn", FUNCTIONS)
def test_gradients_and_hessians_agree_with_jacrev(fn: str) -> None:
    program = network(6, 2, n_in=3, fn=fn)
    x, pairs = points(program, 7), list(combinations_with_replacement("xty", 2))
    found = interpret(derivatives(program, ["u_x", "u_t", "u_y", *(f"u_{i}{j}" for i, j in pairs)]), x)
    function = torch_program(program)
    gradient = vmap(jacrev(function))(torch.tensor(x))[:, 0].numpy()
    second = vmap(hessian(function))(torch.tensor(x))[:, 0].numpy()
    upper = second[:, *zip(*combinations_with_replacement(range(3), 2), strict=True)]
    np.testing.assert_allclose(found, np.concatenate([gradient, upper], axis=1), rtol=1e-11, atol=1e-12)


def streams_per_layer(program: Program) -> list[int]:
    return [*Counter(op.weight.tobytes() for op in program.ops if isinstance(op, Affine)).values()]


def test_the_laplacian_is_one_stream() -> None:
    assert streams_per_layer(derivatives(network(n_in=3), ["u", "laplacian(u)"])) == [1, 5, 5, 5, 2]
    assert streams_per_layer(derivatives(network(n_in=3), ["u", "laplacian(u, x, t)"])) == [1, 4, 4, 4, 2]


def test_a_jet_is_four_streams_and_nine_operations_per_neuron() -> None:
    value, jet = network(), derivatives(network(), JET)
    assert streams_per_layer(jet) == [1, 4, 4, 4, 4]
    kinds = [type(op) for op in jet.ops]
    layers = "".join({Affine: "A", Map: "m"}.get(kind, ".") for kind in kinds)
    assert layers == ".Am......" + 3 * "AAAAm........." + "AAAA"
    matrices = sum(op.weight.size for op in jet.ops if isinstance(op, Affine))
    assert matrices <= 3.95 * multiply_adds(value)
    assert multiply_adds(jet) <= 4.25 * multiply_adds(value)


def test_many_inputs_are_differentiated_backwards() -> None:
    value = network(n_in=12)
    gradient = derivatives(value, ["u", *(f"u_{x}" for x in "xtyzabcdefgh")])
    assert multiply_adds(gradient) < 2.15 * multiply_adds(value)
    assert multiply_adds(derivatives(value, ["u", "u_x"])) < 2.15 * multiply_adds(value)
    x = points(value, 20)
    expected = np.stack([interpret(derivatives(value, [f"u_{name}", f"u_{name}{name}"]), x)[:, 0] for name in "xh"], 1)
    np.testing.assert_allclose(interpret(gradient, x)[:, [1, 12]], expected, rtol=1e-12, atol=1e-14)


def test_several_outputs_share_what_they_have_in_common() -> None:
    one = network()
    two = Program("two", one.inputs, (U, Var("v", 1)), (*one.ops, Map(Var("v", 1), U, "sin")))
    jet = derivatives(two, ["v_xx", "u_xx"])
    assert len(jet.ops) == len(derivatives(one, ["u_xx", "u_x", "u"]).ops) + 7
    x = points(one, 9)
    u, u_x, u_xx = interpret(derivatives(one, ["u", "u_x", "u_xx"]), x).T
    np.testing.assert_allclose(interpret(jet, x)[:, 0], np.cos(u) * u_xx - np.sin(u) * u_x**2, rtol=1e-11)


def test_input_columns_and_constants() -> None:
    w = Var("w", 2)
    program = Program("p", (w, NU), (U,), (Mul(Var("m", 1), NU, NU), Scale(U, Var("m", 1), [3], [1])))
    result = derivatives(program, ["nu", "w[1]", "u_nu_nu", "u_w[0]", "u_nu_nu_nu", "laplacian(u, nu)", "u"])
    assert columns(result.outputs) == ("nu", "w[1]", "u_nu_nu", "u_w[0]", "u_nu_nu_nu", "laplacian(u, nu)", "u")
    assert result.outputs[0] == NU
    assert interpret(result, [[7, 8, 2], [np.inf, -np.inf, 2]]).tolist() == [
        [2, 8, 6, 0, 0, 6, 13],
        [2, -np.inf, 6, 0, 0, 6, 13],
    ]


ASKED = (*JET, "u_xt", "u_xxt", "laplacian(u)", "laplacian(u, x)", "x")


@pytest.mark.parametrize("fn", ["tanh", "sin", "sigmoid", "silu", "softplus", "lorentzian"])
def test_onnx_runtime_runs_the_graph(fn: str) -> None:
    program = derivatives(network(16, 3, fn=fn), ASKED)
    model = to_onnx(program, "float64")
    assert from_onnx(model) == program
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    x = points(program, 50)
    np.testing.assert_allclose(session.run(None, {"x": x})[0], interpret(program, x), rtol=1e-11, atol=1e-13)


def test_float32_is_off_by_little() -> None:
    """By at most 32 epsilons of the largest value of each column: what docs/derivatives.md states."""
    for width in (16, 64):
        program = derivatives(network(width), ASKED)
        x = points(program, 500).astype(np.float32)
        exact = interpret(program, x)
        error = np.abs(NumpyProgram(program, "float32")(x) - exact).max(axis=0)
        assert (error <= 32 * np.finfo(np.float32).eps * np.abs(exact).max(axis=0)).all()


def test_a_file_keeps_the_names(tmp_path: Path) -> None:
    program = derivatives(network(8, 2), ASKED)
    write_program(program, tmp_path / "jet.npz")
    assert read_program(tmp_path / "jet.npz") == program
    assert columns(read_program(tmp_path / "jet.npz").outputs) == ASKED
