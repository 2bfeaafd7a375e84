"""The residual as a Program: one definition of the equation for training, audit and deployment."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sampled import VARIED, some

from kdpinn_edge.derive.derivatives import derivatives
from kdpinn_edge.derive.residual import check_problem, summands
from kdpinn_edge.derive.residual import residual as residual_of
from kdpinn_edge.errors import ProblemError
from kdpinn_edge.export.bundle import export_bundle
from kdpinn_edge.functions import FUNCTIONS
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
    residual = residual_of(program, the)
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
    assert np.array_equal(interpret(residual_of(program, the), points(the)), np.zeros((200, 1)))


@given(st.lists(st.sampled_from("+-*"), min_size=1, max_size=8), st.randoms(use_true_random=False))
@settings(max_examples=40)
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
    np.testing.assert_allclose(interpret(residual_of(program, the), x), want, rtol=0, atol=1e-13 * scale)


def test_the_terms_of_a_residual_add_up_to_it() -> None:
    the = EQUATIONS["two equations"]
    residual, x = residual_of(network(the), the), points(the)
    value = interpret(residual, x)
    programs = summands(residual)
    assert [len(program.outputs) for program in programs] == [2, 2]
    for i, program in enumerate(programs):
        np.testing.assert_allclose(interpret(program, x).sum(axis=1), value[:, i], rtol=0, atol=1e-13)


def test_a_residual_that_is_no_sum_is_its_own_term() -> None:
    the = with_equation(lambda u, x: (u * x, x * 1), ["u", "x"])
    first, second = summands(residual_of(network(the), the))
    x = points(the)
    np.testing.assert_allclose(interpret(first, x)[:, 0], expected(network(the), the, x)[:, 0], rtol=1e-14)
    np.testing.assert_array_equal(interpret(second, x)[:, 0], x[:, 0])


ACCEPTED = {
    "a function of NumPy": lambda u, x: (np.sin(u) + np.exp(-x) * u,),
    "a function of torch": lambda u, x: (torch.tanh(u) - torch.log(x + 2),),
    "a quotient": lambda u, x: (u / (u * u + 2) + 1 / (x + 3) - u / 4,),
    "a root and powers": lambda u, x: (np.sqrt(u * u + 1) + (u * u + 1) ** 0.25 + (u * u + 1) ** -1 + u**12,),
    "an exponential": lambda u, x: (2.0**u + np.power(x + 3, 1.5) + np.square(u) - abs(u),),
    "scalars of NumPy": lambda u, x: (np.float64(2) * u + np.pi * x - np.float32(0.5) / (x + 2) + np.array(3.0) * u,),
    "composed functions": lambda u, x: (np.tan(0.1 * x) + np.sinh(x) * np.cosh(u) + torch.rsqrt(x + 2),),
}


@pytest.mark.parametrize("name", ACCEPTED)
def test_an_equation_has_every_function_of_a_program(name: str) -> None:
    the = replace(with_equation(ACCEPTED[name], ["u", "x"]), equation=name)
    check_problem(the)
    net = Pinn(the, (4,), seed=2)
    x = points(the, 50)
    found = interpret(residual_of(captured(net, "net"), the), x)
    np.testing.assert_allclose(found, trained(net, x), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", [*FUNCTIONS, "power(1.5)"])
def test_features_and_ansatz_have_every_function_of_a_program(name: str) -> None:
    """What a network computes, its derivatives as training has them, and both as they are deployed."""

    def mapped(m: Any, x: Any) -> Any:
        return x**1.5 if name == "power(1.5)" else getattr(m, name)(x)

    the = replace(
        with_equation(lambda u, u_xx: (u_xx - u,), ["u", "u_xx"]),
        lower=(0.3, 0.1),
        features=lambda m, x, t: (mapped(m, 0.5 * x), t),
        ansatz=lambda m, columns, net: (mapped(m, columns[0] + 0.1 * columns[1]) * net,),
    )
    check_problem(the)
    net, x = Pinn(the, (4,), seed=1), points(the, 40)
    program = captured(net, "net")
    np.testing.assert_allclose(interpret(program, x), net(torch.from_numpy(x)).detach(), rtol=1e-13, atol=1e-14)
    np.testing.assert_allclose(interpret(residual_of(program, the), x), trained(net, x), rtol=1e-11, atol=1e-11)


REFUSED = {
    "a function of math": (lambda u: (math.sin(u),), "np.sin in place of math.sin"),
    "a function that no Program has": (lambda u: (np.arccosh(u),), "calls np.arccosh, which no Program has"),
    "an unknown name": (lambda u: (torch.floor(u),), "calls torch.floor"),
    "a division by zero": (lambda u: (u / 0,), "by zero"),
    "a power of zero": (lambda u: (u**0,), "to the power 0"),
    "a power that varies": (lambda u: (u**u,), "not the same at all points"),
    "a base below zero": (lambda u: ((-2) ** u,), "raises -2 to a power"),
    "a branch": (lambda u: (u if u else -u,), "decides"),
    "a comparison": (lambda u: (u if u == 0 else -u,), "compares"),
    "an order": (lambda u: (u if u < 0 else -u,), "compares"),
    "an array": (lambda u: (u * np.ones(3),), "joins a number that depends on the point to"),
    "an array of terms": (lambda u: (np.sum(np.array([u, u])),), "makes an array"),
    "an infinity": (lambda u: (u * np.inf,), "to inf; expected: finite"),
    "a constant": (lambda u: (u, 3.0), r"entry 2 is 3\.0 at every point"),
    "nothing": (lambda u: (), "returns 0 numbers"),
    "no tuple": (lambda u: u + 1, "one number; expected: a tuple"),
    "too few terms": (lambda u, v: (u,), "missing 1 required"),
    "options": (lambda u: (np.exp(u, where=True),), "in a way that is more than a function"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_more_than_arithmetic_is_refused(name: str) -> None:
    residual, message = REFUSED[name]
    the = with_equation(residual, ["u"])
    for refused in (lambda: residual_of(network(the), the), lambda: check_problem(the)):
        with pytest.raises(ProblemError, match=f"residual of burgers cannot be a Program: .*{message}"):
            refused()


def test_every_fault_of_a_problem_is_told_at_once() -> None:
    the = replace(
        BURGERS,
        terms=("u", "u_y"),
        residual=lambda u, u_y: (np.floor(u),),
        source=lambda m, x, t: (m.gamma(x),),
        features=lambda m, x: (x,),
        ansatz=lambda m, columns, net: (net, unknown),  # noqa: F821
    )
    with pytest.raises(ProblemError) as refused:
        check_problem(the)
    for told in (
        "the terms of burgers: 'u_y' is no column",
        "the residual of burgers cannot be a Program: it calls np.floor",
        "the source of burgers cannot be a Program: it calls m.gamma",
        "takes 2 positional arguments but 3 were given",
        "the ansatz of burgers fails: NameError: name 'unknown' is not defined (test_equation.py:",
    ):
        assert told in str(refused.value)


def test_a_program_of_other_columns_is_refused() -> None:
    with pytest.raises(ProblemError, match=r"net maps x, t, nu to u; expected for burgers: x, t to u"):
        residual_of(network(problem("burgers_nu")), BURGERS)


def trained(net: Pinn, x: np.ndarray) -> np.ndarray:
    """The residual as training minimises it, without its weights: (n, equations)."""
    at = torch.from_numpy(x)
    unweighted = Physics(replace(net.problem, weight=None))
    batch = Batch(at, torch.ones(len(x), dtype=torch.float64), at[:, :0])
    with torch.no_grad():
        return unweighted.residuals(net.jet(at), batch).numpy().T


@pytest.mark.parametrize("name", some(names(), VARIED))
def test_every_problem_is_deployed_as_it_is_trained(name: str) -> None:
    the = problem(name)
    net = Pinn(the, (6, 5), seed=1)
    program, x = captured(net, name), points(the)
    with torch.no_grad():
        outputs = net(torch.from_numpy(x)).numpy()
    np.testing.assert_allclose(interpret(program, x), outputs, rtol=0, atol=1e-12 * np.abs(outputs).max())
    want = trained(net, x)
    found = interpret(residual_of(program, the), x)
    np.testing.assert_allclose(found, want, rtol=0, atol=1e-10 * np.abs(want).max())


def test_the_shipped_student_has_the_residual_that_training_saw() -> None:
    x = BURGERS.grid((101, 101))
    residual = residual_of(find_model("burgers").program, BURGERS)
    assert np.abs(interpret(residual, x) - trained(find_pinn("burgers"), x)).max() <= 1e-10


@pytest.mark.slow
def test_the_library_has_the_residual_that_training_saw(tmp_path: Path) -> None:
    model, x = find_model("burgers"), BURGERS.grid((101, 101))
    export_bundle(
        model.program,
        tmp_path / "burgers",
        name="burgers",
        precision="float64",
        residual=BURGERS,
    )
    found = load(tmp_path / "burgers").residual(x)
    assert np.abs(found - trained(find_pinn("burgers"), x)).max() <= 1e-10
