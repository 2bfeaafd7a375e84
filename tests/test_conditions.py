"""Conditions that are trained for, unknowns of an equation, and domains that are no boxes."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from sampled import some
from torch.nn.utils import parameters_to_vector, vector_to_parameters

from kdpinn_edge import (
    Condition,
    DistillConfig,
    Problem,
    TrainConfig,
    distill,
    load_pinn,
    measurements,
    residual,
    train,
)
from kdpinn_edge.errors import ProblemError, TrainError
from kdpinn_edge.importers.model import captured
from kdpinn_edge.program.interp import interpret
from kdpinn_edge.training.conditions import Conditions, left, sheet
from kdpinn_edge.training.domain import uniform
from kdpinn_edge.training.pinn import Pinn
from kdpinn_edge.training.progress import TrainingProgress

Array = NDArray[np.float64]
FEW = {"n_points": 40, "n_candidates": 200, "adam_rounds": 1, "adam_steps": 50, "n_held_out": 100, "newton_steps": 10}
TINY = TrainConfig(hidden=(8,), newton_rounds=8, **FEW)  # type: ignore[arg-type]
TIMES = np.linspace(0.1, 2.0, 20)


def problem(**fields: Any) -> Problem:
    """u' = −u from u(0) = 1, the start trained for."""
    told: dict[str, Any] = {
        "equation": "u' = −u",
        "inputs": ("t",),
        "outputs": ("u",),
        "lower": (0.0,),
        "upper": (2.0,),
        "terms": ("u", "u_t"),
        "residual": lambda u, u_t: (u_t + u,),
        "soft": (Condition(at={"t": 0.0}, terms=("u",), residual=lambda u: (u,), equals=1.0),),
    }
    return Problem(name="soft", **(told | fields))


def plane(*soft: Condition, **fields: Any) -> Problem:
    """An equation in x and t, with these conditions."""
    told: dict[str, Any] = {
        "equation": "u_t = u_xx",
        "inputs": ("x", "t"),
        "lower": (-1.0, 0.0),
        "upper": (1.0, 1.0),
        "terms": ("u_t", "u_xx"),
        "residual": lambda u_t, u_xx: (u_t - u_xx,),
        "soft": soft,
    }
    return problem(**(told | fields))


def error(of: Problem, exact: Callable[[Array], Array], folder: Path, config: TrainConfig = TINY) -> float:
    """The relative L2 error of a network that is trained for `of`."""
    made = train(replace(of, exact=exact), folder, config)
    return float(made.record["errors"]["relative_l2"])


# What is minimised

DISK = {"inside": lambda x: np.hypot(x[:, 0], x[:, 1] - 0.5) - 0.4}
KINDS = {
    "start": plane(
        Condition(at={"t": 0.0}, terms=("u", "x"), residual=lambda u, x: (u - x * u, np.sin(u)), n_points=5)
    ),
    "period": plane(
        Condition(
            at=({"x": -1.0}, {"x": 1.0}),
            terms=("u", "u_x", "t"),
            residual=lambda a, a_x, s, b, b_x, t: (a * b - t, a_x - b_x * a),
            weight=3.0,
            n_points=5,
        )
    ),
    "integral": plane(Condition(over=("x",), terms=("u",), residual=lambda u: (u * u,), equals=1.0, n_points=3)),
    "boundary": plane(
        Condition(
            at="boundary",
            terms=("u_x", "normal_x", "u_t", "normal_t"),
            residual=lambda u_x, n_x, u_t, n_t: (u_x * n_x + u_t * n_t,),
            n_points=6,
        ),
        **DISK,
    ),
    "unknowns": plane(
        Condition(
            at=np.array([[0.1, 0.2], [0.3, 0.4]]),
            data={"seen": np.array([1.0, 2.0])},
            terms=("u", "seen", "b"),
            residual=lambda u, seen, b: (u * b - seen,),
        ),
        Condition(terms=("a",), residual=lambda a: (a * a - 0.1,), n_points=2),
        unknowns={"a": 0.3, "b": -20.0},
        terms=("u_t", "a", "u_xx"),
        residual=lambda u_t, a, u_xx: (u_t - a * u_xx,),
    ),
}


@pytest.mark.parametrize("kind", KINDS)
def test_least_squares_and_gradients_see_the_same_loss(kind: str) -> None:
    of = KINDS[kind]
    net, conditions = Pinn(of, (5, 4), seed=2), Conditions(of, 0.7)
    sheets, weights = conditions.drawn(torch.Generator().manual_seed(1), net.device), conditions.fixed
    r, J = conditions.linear(net, sheets, weights, 11)
    assert torch.equal(conditions.residuals(net, sheets, weights, 11), r)
    loss = conditions.loss(net, sheets, weights)
    torch.testing.assert_close(r.square().sum() / 11, loss, rtol=1e-13, atol=0)
    theta = parameters_to_vector(net.parameters()).detach()

    def rows(theta: torch.Tensor) -> torch.Tensor:
        vector_to_parameters(theta, net.parameters())
        return conditions.linear(net, sheets, weights, 11)[0]

    step = 1e-6
    for way in torch.randn(2, len(theta), dtype=theta.dtype, generator=torch.Generator().manual_seed(0)):
        difference = (rows(theta + step * way) - rows(theta - step * way)) / (2 * step)
        torch.testing.assert_close(J @ way, difference, rtol=1e-6, atol=1e-7 * float(J.abs().max()))
    vector_to_parameters(theta, net.parameters())
    gradient = torch.autograd.grad(loss, list(net.parameters()), allow_unused=True, materialize_grads=True)
    torch.testing.assert_close(2 * J.T @ r / 11, parameters_to_vector(gradient), rtol=1e-10, atol=1e-12)


def test_balanced_weights_tend_to_gradients_of_equal_norm() -> None:
    of = problem(soft=(replace(problem().soft[0], weight="balanced"),))
    net, conditions = Pinn(of, (5,), seed=0), Conditions(of)
    sheets, weights = conditions.drawn(torch.Generator().manual_seed(0), net.device), conditions.fixed
    of_equation = torch.full((16,), 5.0, dtype=torch.float64)
    for _ in range(200):
        weights = conditions.balanced(net, sheets, weights, of_equation)
    gradient = torch.autograd.grad(conditions.loss(net, sheets, weights), list(net.parameters()), allow_unused=True)
    parts = [each for each in gradient if each is not None]
    assert float(parameters_to_vector(parts).norm()) == pytest.approx(float(of_equation.norm()), rel=1e-6)


def test_points_of_a_boundary_are_on_it_with_the_outward_normal() -> None:
    of = KINDS["boundary"]
    found = sheet(of.soft[0], of, 100, torch.Generator().manual_seed(0)).numpy()
    arm = found[:, :2] - [0.0, 0.5]
    np.testing.assert_allclose(np.hypot(*arm.T), 0.4, rtol=0, atol=1e-7)
    np.testing.assert_allclose(found[:, 2:], arm / 0.4, rtol=0, atol=1e-6)
    quarters = np.bincount((np.arctan2(*arm.T) // (np.pi / 2)).astype(int) + 2, minlength=4)
    assert quarters.min() > 10


def test_points_of_a_domain_are_inside_of_it() -> None:
    mask = plane(*problem().soft, inside=lambda x: x[:, 0] < 0.25 * x[:, 1])
    for of in (mask, KINDS["boundary"]):
        points = uniform(of, 300, torch.Generator().manual_seed(0)).numpy()
        assert len(points) == 300
        assert of.is_inside(points).all()
        assert of.is_inside(of.grid((21, 21))).all()
    with pytest.raises(ProblemError, match="inside is a mask, and the boundary is asked for"):
        mask.distance(np.zeros((1, 2)))


def test_weights_without_physics_are_those_without_conditions(tmp_path: Path) -> None:
    teacher = train(problem(), tmp_path / "teacher", TINY)
    few = DistillConfig(hidden=(4,), newton_rounds=1, physics_weight=0.0, **FEW)  # type: ignore[arg-type]
    with_conditions = distill(problem(), tmp_path / "a", few, teacher=teacher)
    without = distill(
        problem(soft=(), ansatz=lambda m, x, net: (net,)), tmp_path / "b", few, teacher=tmp_path / "teacher"
    )
    assert with_conditions.record["sha256"] == without.record["sha256"]


# Solved


def test_a_start_and_robin_s_condition_at_the_other_end(tmp_path: Path) -> None:
    bar = problem(
        terms=("u_tt",),
        residual=lambda u_tt: (u_tt,),
        soft=(
            Condition(at={"t": 0.0}, terms=("u_t",), residual=lambda u_t: (u_t,), equals=-1.0),
            Condition(at={"t": 2.0}, terms=("u", "u_t"), residual=lambda u, u_t: (u_t + 2 * (u - 0.5),)),
        ),
    )
    assert error(bar, lambda t: 3 - t, tmp_path / "run") < 1e-5


def test_a_beam_of_order_four(tmp_path: Path) -> None:
    ends = [
        Condition(at={"t": at}, terms=("u", "u_tt"), residual=lambda u, u_tt: (u, u_tt), weight=10.0)
        for at in (0.0, 1.0)
    ]
    beam = problem(upper=(1.0,), terms=("u_tttt",), residual=lambda u_tttt: (0.1 * u_tttt - 2.4,), soft=tuple(ends))
    assert error(beam, lambda t: t**4 - 2 * t**3 + t, tmp_path / "run") < 1e-3


def test_an_interface_between_two_layers(tmp_path: Path) -> None:
    layers = problem(
        outputs=("u", "v"),
        upper=(1.0,),
        terms=("u_tt", "v_tt"),
        residual=lambda u_tt, v_tt: (u_tt, v_tt),
        soft=(
            Condition(at={"t": 0.0}, terms=("u",), residual=lambda u: (u,)),
            Condition(at={"t": 1.0}, terms=("v",), residual=lambda v: (v,), equals=1.0),
            Condition(
                at=({"t": 1.0}, {"t": 0.0}),
                terms=("u", "u_t", "v", "v_t"),
                residual=lambda u, u_t, _v, _v_t, __u, __u_t, v, v_t: (u - v, 3 * u_t - v_t),
            ),
        ),
    )
    assert error(layers, lambda t: np.hstack([t / 4, 0.25 + 0.75 * t]), tmp_path / "run") < 1e-5


def test_an_integral_fixes_what_an_equation_leaves_open(tmp_path: Path) -> None:
    open_ended = problem(
        terms=("u_t", "t"),
        residual=lambda u_t, t: (u_t - t,),
        soft=(Condition(over=("t",), terms=("u",), residual=lambda u: (u,), equals=4.0),),
    )
    assert error(open_ended, lambda t: t**2 / 2 + 4 / 3, tmp_path / "run") < 1e-4


def test_a_disk(tmp_path: Path) -> None:
    disk = plane(
        Condition(at="boundary", terms=("u",), residual=lambda u: (u,), n_points=40),
        inputs=("x", "y"),
        lower=(-1.0, -1.0),
        terms=("u_xx", "u_yy"),
        residual=lambda u_xx, u_yy: (u_xx + u_yy + 4,),
        inside=lambda x: np.hypot(*x.T) - 1,
        resolution=(31, 31),
    )
    solved = error(disk, lambda x: 1 - x[:, :1] ** 2 - x[:, 1:] ** 2, tmp_path / "run", replace(TINY, n_points=100))
    assert solved < 1e-3


# Unknowns


def slope_and_noise() -> tuple[Problem, Array]:
    """u' = k, u(0) = 0 with noisy values of u: a straight line, of which least squares know everything."""
    seen = 3.0 * TIMES + 0.1 * np.random.default_rng(5).standard_normal(len(TIMES))
    of = problem(
        terms=("u_t", "k"),
        residual=lambda u_t, k: (30 * (u_t - k),),
        unknowns={"k": 2.0},
        soft=(
            Condition(at={"t": 0.0}, terms=("u",), residual=lambda u: (u,), weight=1e3),
            Condition(at=TIMES[:, None], data={"m": seen}, terms=("u", "m"), residual=lambda u, m: (u - m,)),
        ),
    )
    return of, seen


def test_an_unknown_is_found_with_its_standard_error_and_exported(tmp_path: Path) -> None:
    of, seen = slope_and_noise()
    made = train(of, tmp_path / "run", TINY)
    found = made.record["unknowns"]["k"]
    k = float(seen @ TIMES / (TIMES @ TIMES))
    left_over = seen - k * TIMES
    expected = float(np.sqrt(left_over @ left_over / (len(TIMES) - 1) / (TIMES @ TIMES)))
    assert found["value"] == pytest.approx(k, rel=1e-3)
    assert found["standard_error"] == pytest.approx(expected, rel=0.05)
    assert f"k = {found['value']:.6g} ± " in str(made)
    net = load_pinn(tmp_path / "run", of)
    assert net.problem.unknowns == {"k": found["value"]} == made.net.problem.unknowns
    program = captured(net, "net")
    x = TIMES[:, None]
    slope = net.jet(torch.from_numpy(x))["t"].detach().numpy()
    np.testing.assert_allclose(
        interpret(residual(program, net.problem), x), 30 * (slope - found["value"]), rtol=0, atol=1e-9
    )
    few = DistillConfig(hidden=(4,), newton_rounds=1, physics_weight=0.0, **FEW)  # type: ignore[arg-type]
    student = distill(of, tmp_path / "student", few, teacher=made)
    assert student.record["unknowns"]["k"] == {"value": found["value"], "standard_error": None}
    with pytest.raises(TrainError, match="has unknowns, and random features train the output layer alone"):
        train(of, tmp_path / "rf", TrainConfig.random_features())
    other = replace(of, soft=(of.soft[0], replace(of.soft[1], data={"m": seen + 1})))
    with pytest.raises(TrainError, match="measurements was"):
        train(other, tmp_path / "run", TINY, resume=True)


@pytest.mark.filterwarnings("ignore::kdpinn_edge.errors.TrainingWarning")  # few steps, of which much is left
@pytest.mark.parametrize("optimiser", some(["geodesic", "ssbroyden", "lbfgs", "soap"], ["geodesic", "lbfgs"]))
def test_every_optimiser_lowers_the_loss_and_goes_on_where_it_was_stopped(optimiser: str, tmp_path: Path) -> None:
    of, _ = slope_and_noise()
    of = replace(of, soft=(replace(of.soft[0], weight="balanced"), of.soft[1]))
    config = replace(TINY, optimiser=optimiser, newton_rounds=3)
    whole = train(of, tmp_path / "whole", config)

    def stop(progress: TrainingProgress) -> None:
        if progress.step == 65:
            raise KeyboardInterrupt

    assert not train(of, tmp_path / "parts", config, report=stop).finished
    parts = train(of, tmp_path / "parts", config, resume=True)
    assert parts.record["sha256"] == whole.record["sha256"]
    assert parts.record["conditions"] == whole.record["conditions"]
    untrained, trained = Pinn(of, config.hidden), whole.net
    assert rms(trained)[1] < rms(untrained)[1]
    assert trained.found["k"] != 2.0


def rms(net: Pinn) -> Sequence[float]:
    conditions = Conditions(net.problem)
    return conditions.rms(net, conditions.drawn(torch.Generator().manual_seed(0), net.device))


# What is refused


def condition(**fields: Any) -> Condition:
    return Condition(**({"terms": ("u",), "residual": lambda u: (u,)} | fields))


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"at": {"y": 0.0}}, "at names 'y', which is no input; expected: of t"),
        ({"at": {"t": 3.0}}, "t = 3 is outside of the domain [0, 2]"),
        ({"at": np.array([[0.5], [2.5]])}, "1 of 2 points are outside of the domain; the first is row 1: [2.5]"),
        ({"at": np.array([0.5, np.nan])}, "row 1 of its points is not finite"),
        ({"at": np.zeros((3, 2))}, "the points have shape (3, 2); expected: (n, 1), with the columns t"),
        ({"at": "wall"}, "at is 'wall'; expected: inputs as in {'t': 0.0}"),
        ({"at": "boundary"}, "it is on a boundary; expected: the field inside of the problem, a signed distance"),
        ({"at": ({"t": 0.0}, {"x": 1.0})}, "its places hold different inputs"),
        ({"terms": ("normal_t",)}, "normal_t is known on a boundary alone; expected: at='boundary'"),
        ({"terms": ("w",)}, "the condition anywhere of soft: 'w' is no column and no derivative of one"),
        ({"residual": lambda u: u}, "it returns one number; expected: a tuple"),
        ({"weight": 0.0}, "the weight is 0.0; expected: a number above 0, or 'balanced'"),
        ({"data": {"m": [1.0]}}, "data is measured nowhere; expected: at, the points"),
        ({"at": [[0.5]], "data": {"m": [1.0, 2.0]}}, "m has shape (2,); expected: (1,)"),
        ({"at": [[0.5]], "data": {"m": [np.nan]}}, "row 0 of m is not finite"),
        ({"over": ("x",)}, "over names 'x', which is no input"),
        ({"over": ("t",), "at": {"t": 0.0}}, "it integrates over what is held"),
        ({"at": lambda n, rng: np.full((n, 1), 5.0)}, "at returns 200 of 200 points outside of the domain t ∈ [0, 2]"),
        ({"at": lambda n, rng: np.zeros(n)}, "at returns an array (200,) for 200 points; expected: (200, 1)"),
        ({"residual": lambda u: (np.log(u - 1e9),)}, "the condition anywhere is not finite at 200 of 200 points"),
    ],
)
def test_conditions_that_are_refused(fields: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises((ProblemError, TrainError), match=re.escape(message)):
        train(problem(soft=(condition(**fields),)), tmp_path / "run", TINY)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"soft": ()}, "has no ansatz, so that nothing holds its initial and boundary conditions"),
        ({"soft": condition()}, "soft is a Condition; expected: a tuple of them"),
        ({"unknowns": {"u": 1.0}}, "the unknown 'u' is a column, or no name"),
        ({"unknowns": {"k": 1.0}}, "the unknown k is no term of anything"),
        ({"unknowns": {"k": np.nan}}, "the unknown k starts at nan; expected: a finite number"),
        ({"inside": lambda x: x}, "inside returns float64 (1, 1) for 1 points; expected: (1,)"),
        ({"inside": lambda x: np.ones(len(x))}, "points of the box are inside the domain; expected: a box that fits"),
    ],
)
def test_problems_that_are_refused(fields: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(ProblemError, match=re.escape(message)):
        train(problem(**fields), tmp_path / "run", TINY)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("t,v\n0,1\n", "has the columns t, v; expected: one called 'u'"),
        ("", "has the columns of no name; expected: one called 't'"),
        ("t,u\n", "has no line of numbers; expected: one or more measurements"),
        ("t,u\n0,1\n1,two\n", "line 3: '1,two' has no number for each of t, u; expected: 2 columns of numbers"),
        ("t,u\n0,1\n1\n", "line 3: '1' has no number"),
        ("t,u\n0,nan\n", "line 2: '0,nan' is not finite; expected: finite numbers"),
        ("t,u\n0,1_5\n", "line 2: '0,1_5' has no number"),
        ('note,t,u\na,0,1\n"b,1,2\nc,2,3\n', "is no CSV file (unexpected end of data); expected: quotes in pairs"),
        ('t,u\n0,"' + "1" * 200_000, "is no CSV file (field larger than field limit (131072))"),
    ],
)
def test_files_of_measurements_that_are_refused(text: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "sensors.csv").write_text(text)
    with pytest.raises(ProblemError, match=re.escape(message)):
        measurements(tmp_path / "sensors.csv", ("t",), ("u",))


def test_a_file_of_measurements(tmp_path: Path) -> None:
    (tmp_path / "sensors.csv").write_text("u, note, t\n3,a,0.5\n4,b,1.5\n")
    of = problem(soft=(measurements(tmp_path / "sensors.csv", ("t",), ("u",)),))
    net = Pinn(of, (4,))
    points = torch.tensor([[0.5], [1.5]], dtype=torch.float64)
    drawn = sheet(of.soft[0], of, 10, torch.Generator())
    expected = net(points)[:, 0] - torch.tensor([3.0, 4.0], dtype=torch.float64)
    torch.testing.assert_close(left(of.soft[0], net, drawn)[0][0], expected)
    with pytest.raises(ProblemError, match="No such file or directory; expected: a CSV file of measurements"):
        measurements(tmp_path / "missing.csv", ("t",), ("u",))
