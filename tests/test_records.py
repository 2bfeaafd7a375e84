"""The records of functions: recipes and slopes agree with the meaning, and a peer refuses what it lacks."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import replace

import mpmath
import numpy as np
import pytest
import torch
from function_cases import FUNCTION_CASES
from numpy.typing import NDArray

from kdpinn_edge import functions
from kdpinn_edge.comparison.backends.torch_program import TorchProgram
from kdpinn_edge.comparison.backends.traced import library_function
from kdpinn_edge.errors import BenchError, ProgramError, TrainError
from kdpinn_edge.functions import FUNCTIONS, find_function, slopes
from kdpinn_edge.functions.recipe import Step, composed, matched, one, operators
from kdpinn_edge.functions.slope import (
    Applied,
    Number,
    Operators,
    Product,
    Scaled,
    X,
    Y,
    differentiated,
    formula,
    values,
)
from kdpinn_edge.importers.pytorch.module import capture
from kdpinn_edge.program.ir import Map, Program, Var
from kdpinn_edge.training.torch_functions import OPERATORS, torch_function

Array = NDArray[np.float64]
AT = np.concatenate([np.linspace(-6, 6, 25), [1e-9, -1e-9, 40.0, -40.0]])


@np.errstate(all="ignore")
def exact(fn: str, x: Array) -> Array:
    """The values of a function; NaN where it has none."""
    return FUNCTIONS[fn].exact(x)


@pytest.mark.parametrize(
    ("fn", "recipe"), [(fn, recipe) for fn, function in FUNCTIONS.items() for recipe in function.onnx]
)
def test_a_recipe_is_the_function(fn: str, recipe: tuple[Step, ...]) -> None:
    """Where every operator is known: log sigmoid(-x) loses what sigmoid rounds, one unit of 1."""
    assert operators(recipe) <= OPERATORS.keys()
    y = composed(recipe, OPERATORS, torch.from_numpy(AT)).numpy()
    np.testing.assert_allclose(y, exact(fn, AT), rtol=4e-15, atol=4e-16)


@pytest.mark.parametrize("fn", FUNCTIONS)
def test_torch_has_the_function(fn: str) -> None:
    np.testing.assert_allclose(torch_function(fn)(torch.from_numpy(AT)).numpy(), exact(fn, AT), rtol=4e-15, atol=4e-16)


@pytest.mark.parametrize("fn", [fn for fn, function in FUNCTIONS.items() if function.aten])
def test_the_function_of_torch_is_captured(fn: str) -> None:
    class Module(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            named: torch.Tensor = getattr(torch.ops.aten, FUNCTIONS[fn].aten[0])(x)
            return named

    x, y = Var("x", 2), Var("y", 2)
    captured = capture(Module(), name="p", inputs=(("x", 2),), outputs=(("y", 2),), probe=[[0.5, 0.75], [1.0, 2.0]])
    assert captured == Program("p", (x,), (y,), (Map(y, x, fn),))


@pytest.mark.parametrize("fn", FUNCTIONS)
def test_three_derivatives_follow_from_the_slope(fn: str) -> None:
    case = FUNCTION_CASES[fn]
    at = case.analytic(AT)
    found = derivatives(fn, 3, at)
    with mpmath.workdps(60):
        expected = [[float(mpmath.diff(case.exact, mpmath.mpf(x), k)) for x in at] for k in (1, 2, 3)]
    growth = np.array([case.growth(x) for x in at])
    assert (np.abs(found - expected) <= 64 * 2.0**-53 * growth).all()


def derivatives(fn: str, order: int, x: Array) -> Array:
    """The derivatives of a function up to this order, one after another."""
    found = values(slopes(fn, order), Operators(lambda name: FUNCTIONS[name].exact), x, FUNCTIONS[fn].exact(x))
    return np.array([np.broadcast_to(each, x.shape) for each in found])


@pytest.mark.parametrize("fn", [fn for fn, case in FUNCTION_CASES.items() if case.at_kink is not None])
def test_derivatives_at_a_kink_are_those_of_torch(fn: str) -> None:
    x = torch.zeros(1, dtype=torch.float64, requires_grad=True)
    y = torch_function(fn)(x)
    (slope,) = torch.autograd.grad(y.sum(), x)
    assert derivatives(fn, 3, np.zeros(1)).tolist() == [[float(slope)], [0.0], [0.0]]
    assert float(slope) == FUNCTION_CASES[fn].at_kink


def test_a_formula_calculates_each_part_once() -> None:
    square = Product(Y, Y)
    line = formula([1 - square, 2 * square + X])
    assert [step for step, _ in line.steps].count(square) == 1
    assert values(line, Operators({}.__getitem__), 3.0, 2.0) == (-3.0, 11.0)


def test_rules_of_differentiation() -> None:
    def derivative(expression: object) -> object:
        return differentiated(expression, Y, {"sin": Applied("cos", X)}.__getitem__)  # type: ignore[arg-type]

    assert derivative(X * X) == Scaled(X, 2.0, 0.0)
    assert derivative(3 * Y + 1) == Scaled(Y, 3.0, 0.0)
    assert derivative(Applied("sin", X * X)) == Product(Scaled(X, 2.0, 0.0), Applied("cos", X * X))
    assert derivative(2 * X) == Number(2.0)
    assert derivative(X + 2 * X) == Number(3.0)
    assert derivative(derivative(2 * X)) == Number(0.0)
    line = formula([Number(0.0), 1 - Number(3.0) * Y])
    assert values(line, Operators({}.__getitem__), 3.0, 2.0) == (0.0, -5.0)


def test_a_recipe_is_found_in_its_own_nodes_alone() -> None:
    recipe, _ = find_function("silu").onnx
    parts = {"y_sigmoid": ("Sigmoid", ["a"])}
    assert matched(recipe, "y", parts, ("Mul", ["a", "y_sigmoid"])) == "a"
    assert matched(recipe, "y", parts, ("Mul", ["b", "y_sigmoid"])) is None
    assert matched(recipe, "y", {"y_sigmoid": ("Tanh", ["a"])}, ("Mul", ["a", "y_sigmoid"])) is None
    assert matched(recipe, "y", {}, ("Mul", ["a", "b"])) is None


def test_the_table_is_sound() -> None:
    taken = [operator for function in FUNCTIONS.values() for operator in function.aten]
    assert len(set(taken)) == len(taken)
    for name, function in FUNCTIONS.items():
        assert function.name == name
        assert function.onnx
        assert function.lower < function.upper
        assert function.arguments <= function.reach
        assert set(function.accurate.max_ulp) == {"float32", "float64"}
        assert all(math.isfinite(ulp) for ulp in function.accurate.max_ulp.values())


def test_a_function_that_is_unknown_is_an_error() -> None:
    for find in (find_function, torch_function, lambda name: slopes(name, 1)):
        with pytest.raises(ProgramError, match="the function 'sinc' is unknown; expected: tanh, sin"):
            find("sinc")


def test_a_peer_that_lacks_an_operator_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    gamma = replace(find_function("exp"), name="gamma", onnx=(one("Gamma"),), torch="")
    known: Mapping[str, object] = {**FUNCTIONS, "gamma": gamma}
    monkeypatch.setattr(functions, "FUNCTIONS", known)
    own: Mapping[str, Callable[[object], object]] = {}
    with pytest.raises(BenchError, match="gamma needs the operator Gamma, which JAX has not"):
        library_function("JAX", own, OPERATORS, "gamma")
    with pytest.raises(TrainError, match="gamma needs the operator Gamma, which torch has not"):
        torch_function("gamma")
    x, y = Var("x", 1), Var("y", 1)
    with pytest.raises(BenchError, match="Gamma, which torch has not"):
        TorchProgram(Program("p", (x,), (y,), (Map(y, x, "gamma"),)), "float32")
