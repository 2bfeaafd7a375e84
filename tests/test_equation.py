"""The residual as a Program: one definition of the equation for training, audit and deployment."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from kdpinn_edge.derive.derivatives import derivatives
from kdpinn_edge.derive.residual import residual_program, summands
from kdpinn_edge.errors import ProblemError
from kdpinn_edge.export.bundle import export_bundle
from kdpinn_edge.importers.model import captured, find_model, find_pinn
from kdpinn_edge.problems import Problem, names, problem
from kdpinn_edge.program.interp import interpret
from kdpinn_edge.program.ir import Affine, Concat, Map, Program, Var
from kdpinn_edge.runtime import load
from kdpinn_edge.training import Pinn
from kdpinn_edge.training.objective import Batch, Physics

BURGERS = problem("burgers")


def network(the: Problem, seed: int = 0) -> Program:
    """A small tanh network with the columns of the problem."""
    rng = np.random.default_rng(seed)
    inputs = tuple(Var(name, 1) for name in the.inputs)
    x, z, h = Var("in_all", len(inputs)), Var("z", 5), Var("h", 5)
    ops = [
        Concat(x, inputs),
        Affine(z, x, rng.normal(size=(5, len(inputs))), rng.normal(size=5)),
        Map(h, z, "tanh"),
        *(Affine(Var(name, 1), h, rng.normal(size=(1, 5)), rng.normal(size=1)) for name in the.outputs),
    ]
    return Program("net", inputs, tuple(Var(name, 1) for name in the.outputs), tuple(ops))


def with_equation(residual: Callable[..., Sequence[Any]], terms: Sequence[str] = BURGERS.terms) -> Problem:
    return replace(BURGERS, residual=residual, terms=tuple(terms))


def points(the: Problem, n: int = 200) -> np.ndarray:
    return np.random.default_rng(1).uniform(the.lower, the.upper, (n, len(the.inputs)))


def expected(program: Program, the: Problem, x: np.ndarray) -> np.ndarray:
    """The problem's own residual, on arrays."""
    terms = interpret(derivatives(program, the.terms), x)
    return np.stack(the.residual(*terms.T), axis=1)


EQUATIONS = {
    "burgers": with_equation(BURGERS.residual),
    "every operation": with_equation(
        lambda u, u_x, u_t, u_xx: (2 - u * u_x + u_t / 4 - np.float64(0.5) * (u_xx - 1) + 3 + (-u) * 2 - 1 + u**1,)
    ),
    "powers": with_equation(lambda u, u_t: (u_t - 5 * u + 5 * u**3 - u**2 * u_t**4,), ["u", "u_t"]),
    "inputs": with_equation(lambda x, t, u_x: (u_x * x - t * t * x + 1,), ["x", "t", "u_x"]),
    "one term": with_equation(lambda u_x: (u_x,), ["u_x"]),
    "a laplacian": with_equation(lambda u, lap: (lap + u,), ["u", "laplacian(u)"]),
    "mixed": with_equation(lambda u_xt, u_tt: (u_xt - u_tt,), ["u_xt", "u_tt"]),
    "two equations": with_equation(lambda u, u_x, u_t: (u * u_t - u_x, u_x + u), ["u", "u_x", "u_t"]),
    "twice the same": with_equation(lambda u, u_x: (u * u_x, u * u_x), ["u", "u_x"]),
    "an input of several letters": problem("burgers_nu"),
}


@pytest.mark.parametrize("name", EQUATIONS)
def test_the_program_computes_what_the_problem_says(name: str) -> None:
    the = EQUATIONS[name]
    program = network(the)
    residual = residual_program(program, the)
    x = points(the)
    want = expected(program, the, x)
    np.testing.assert_allclose(interpret(residual, x), want, rtol=0, atol=1e-12 * max(1, np.abs(want).max()))
    assert residual.inputs == program.inputs
    assert residual.name == program.name
    one = want.shape[1] == 1
    assert [str(var) for var in residual.outputs] == (
        ["residual[1]"] if one else [f"residual_{i + 1}[1]" for i in range(want.shape[1])]
    )


def test_a_solution_leaves_no_residual() -> None:
    """u = x solves u_t + u u_x − x = 0 in whole numbers."""
    inputs, u = (Var("x", 1), Var("t", 1)), Var("u", 1)
    program = Program("line", inputs, (u,), (Affine(u, inputs[0], np.ones((1, 1)), np.zeros(1)),))
    the = with_equation(lambda u, u_x, u_t, x: (u_t + u * u_x - x,), ["u", "u_x", "u_t", "x"])
    assert np.array_equal(interpret(residual_program(program, the), points(the)), np.zeros((200, 1)))


@given(st.lists(st.sampled_from("+-*"), min_size=1, max_size=8), st.randoms(use_true_random=False))
def test_any_arithmetic(operators: list[str], random: Any) -> None:
    steps = [(op, random.choice([0, 1, 2, None]), random.uniform(-2, 2), random.random() < 0.5) for op in operators]

    def residual(*terms: Any) -> Sequence[Any]:
        value = terms[0]
        for op, which, number, swap in steps:
            left, right = value, number if which is None else terms[which]
            if swap:
                left, right = right, left
            value = left + right if op == "+" else left - right if op == "-" else left * right
        return (value,)

    the = with_equation(residual, ["u", "u_x", "t"])
    program, x = network(the), points(the, 20)
    want = expected(program, the, x)
    scale = 4.0 ** len(steps) * max(1, np.abs(want).max())
    np.testing.assert_allclose(interpret(residual_program(program, the), x), want, rtol=0, atol=1e-13 * scale)


def test_the_terms_of_a_residual_add_up_to_it() -> None:
    the = EQUATIONS["two equations"]
    residual, x = residual_program(network(the), the), points(the)
    value = interpret(residual, x)
    programs = summands(residual)
    assert [len(program.outputs) for program in programs] == [2, 2]
    for i, program in enumerate(programs):
        np.testing.assert_allclose(interpret(program, x).sum(axis=1), value[:, i], rtol=0, atol=1e-13)


def test_a_residual_that_is_no_sum_is_its_own_term() -> None:
    the = with_equation(lambda u, x: (u * x, x * 1), ["u", "x"])
    first, second = summands(residual_program(network(the), the))
    x = points(the)
    np.testing.assert_allclose(interpret(first, x)[:, 0], expected(network(the), the, x)[:, 0], rtol=1e-14)
    np.testing.assert_array_equal(interpret(second, x)[:, 0], x[:, 0])


REFUSED = {
    "a function": (lambda u: (np.sin(u),), "ufunc"),
    "a function of torch": (lambda u: (torch.sin(u),), "Tensor"),
    "a term below a line": (lambda u: (u / (u + 2),), "divides by a term"),
    "a number over a term": (lambda u: (1 / u,), "unsupported operand"),
    "a division by zero": (lambda u: (u / 0,), "by zero"),
    "a root": (lambda u: (u**0.5,), "to the power 0.5"),
    "a power of zero": (lambda u: (u**0,), "to the power 0"),
    "a branch": (lambda u: (u if u else -u,), "decides"),
    "a comparison": (lambda u: (u if u == 0 else -u,), "compares"),
    "an order": (lambda u: (u if u < 0 else -u,), "not supported between"),
    "an array": (lambda u: (u * np.ones(3),), "joins a term to"),
    "an infinity": (lambda u: (u * np.inf,), "joins a term to inf"),
    "a constant": (lambda u: (u, 3.0), r"equation 2 is 3\.0"),
    "nothing": (lambda u: (), "there is no equation"),
    "too few terms": (lambda u, v: (u,), "missing 1 required"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_more_than_arithmetic_is_refused(name: str) -> None:
    residual, message = REFUSED[name]
    the = with_equation(residual, ["u"])
    with pytest.raises(ProblemError, match=f"residual of burgers cannot be a Program: .*{message}.*expected: terms"):
        residual_program(network(the), the)


def test_a_program_of_other_columns_is_refused() -> None:
    with pytest.raises(ProblemError, match=r"net maps x, t, nu to u; expected for burgers: x, t to u"):
        residual_program(network(problem("burgers_nu")), BURGERS)


def trained(net: Pinn, x: np.ndarray) -> np.ndarray:
    """The residual as training minimises it, without its weights: (n, equations)."""
    at = torch.from_numpy(x)
    unweighted = Physics(replace(net.problem, weight=None))
    batch = Batch(at, torch.ones(len(x), dtype=torch.float64), at[:, :0])
    with torch.no_grad():
        return unweighted.residuals(net.jet(at), batch).numpy().T


@pytest.mark.parametrize("name", names())
def test_every_problem_is_deployed_as_it_is_trained(name: str) -> None:
    the = problem(name)
    net = Pinn(the, (6, 5), seed=1)
    program, x = captured(net, name), points(the)
    with torch.no_grad():
        outputs = net(torch.from_numpy(x)).numpy()
    np.testing.assert_allclose(interpret(program, x), outputs, rtol=0, atol=1e-12 * np.abs(outputs).max())
    want = trained(net, x)
    found = interpret(residual_program(program, the), x)
    np.testing.assert_allclose(found, want, rtol=0, atol=1e-10 * np.abs(want).max())


def test_the_shipped_student_has_the_residual_that_training_saw() -> None:
    x = BURGERS.grid((101, 101))
    residual = residual_program(find_model("burgers").program, BURGERS)
    assert np.abs(interpret(residual, x) - trained(find_pinn("burgers"), x)).max() <= 1e-10


@pytest.mark.slow
def test_the_library_has_the_residual_that_training_saw(tmp_path: Path) -> None:
    model, x = find_model("burgers"), BURGERS.grid((101, 101))
    export_bundle(
        model.program,
        tmp_path / "burgers",
        name="burgers",
        precision="float64",
        residual=residual_program(model.program, BURGERS),
    )
    found = load(tmp_path / "burgers").residual(x)
    assert np.abs(found - trained(find_pinn("burgers"), x)).max() <= 1e-10
