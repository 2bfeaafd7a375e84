"""Training and distillation: derivatives, losses, a run from start to end, its folder, and what is shipped."""

from __future__ import annotations

import json
import pickle
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch
from artifacts import Artifacts
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console
from torch import nn
from typer.testing import CliRunner

from kdpinn_edge import cli
from kdpinn_edge.bundle.manifest import Input, Output
from kdpinn_edge.derive.names import Names
from kdpinn_edge.distillation import distill
from kdpinn_edge.equation.arithmetic import MATH
from kdpinn_edge.errors import ProblemError, ProgramError, TrainError
from kdpinn_edge.importers.model import captured, find_model, publish
from kdpinn_edge.importers.pytorch.module import capture
from kdpinn_edge.problems import problem
from kdpinn_edge.program.file import read_program, write_program
from kdpinn_edge.program.interp import interpret
from kdpinn_edge.program.ir import Map, Program
from kdpinn_edge.training import (
    DistillConfig,
    Pinn,
    TrainConfig,
    TrainingProgress,
    jets,
    load_pinn,
    train,
)
from kdpinn_edge.training.activations import ACTIVATIONS
from kdpinn_edge.training.domain import uniform
from kdpinn_edge.training.followed import Columns, followed
from kdpinn_edge.training.objective import (
    Batch,
    Divergence,
    Mixture,
    Physics,
    Slopes,
    batch_at,
    distillation,
    gaussian_kl,
)
from kdpinn_edge.training.one_thread import one_thread
from kdpinn_edge.training.pinn import Tape, jacobian
from kdpinn_edge.training.progress_bar import live
from kdpinn_edge.training.sampling import draw
from kdpinn_edge.training.solution_errors import ReferencePoints
from kdpinn_edge.training.teacher import ProgramTeacher
from kdpinn_edge.training.trained_for import trained_for
from kdpinn_edge.training.weights import write_weights

BURGERS = problem("burgers")
STATED = {"problem": "burgers", "trained_for": trained_for(BURGERS).text()}
"""What weights of BURGERS say of themselves."""
TEACHER = "burgers_teacher"
STUDENT = "burgers_student"
TINY = TrainConfig(
    hidden=(10, 10), n_points=200, n_candidates=500, adam_rounds=2, adam_steps=10, newton_rounds=4, n_held_out=200
)
COLUMNS = Columns("n", ("x",), ("u",), (0.0,), (1.0,), ("1", "1"), (0.0,), (1.0,))
TINY_DISTILL = DistillConfig(
    hidden=(8, 8),
    n_points=300,
    n_candidates=1000,
    adam_rounds=2,
    adam_steps=10,
    newton_rounds=3,
    newton_steps=5,
    n_held_out=500,
)


@pytest.fixture(scope="module", autouse=True)
def single_thread() -> Iterator[None]:
    """The networks are so small that a second thread only waits."""
    with one_thread():
        yield


def points(n: int, seed: int = 0) -> torch.Tensor:
    return uniform(BURGERS, n, torch.Generator().manual_seed(seed))


def same_weights(a: Pinn, b: Pinn) -> bool:
    return all(torch.equal(p, q) for p, q in zip(a.parameters(), b.parameters(), strict=True))


def relative_l2(net: Pinn) -> float:
    return ReferencePoints.on_grid(BURGERS, coarser=6).errors(net).relative_l2


def metrics(folder: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


class Interrupt:
    """A report that stands for Ctrl-C after a step."""

    def __init__(self, after: int) -> None:
        self.after = after

    def __call__(self, progress: TrainingProgress) -> None:
        if progress.step == self.after:
            raise KeyboardInterrupt


# The network and its derivatives


def test_jets_are_the_derivatives_of_forward() -> None:
    net = Pinn(BURGERS, (7, 5), seed=3)
    x = points(20)
    u = net.jet(x)

    def at(point: torch.Tensor) -> torch.Tensor:
        return net(point[None])[0, 0]

    gradient = torch.func.vmap(torch.func.jacrev(at))(x)
    hessian = torch.func.vmap(torch.func.jacrev(torch.func.jacrev(at)))(x)
    expected = {"": net(x)[:, 0], "x": gradient[:, 0], "t": gradient[:, 1], "xx": hessian[:, 0, 0]}
    assert set(u.multi_indices) == set(expected)
    for multi_index, value in expected.items():
        torch.testing.assert_close(u[multi_index][:, 0], value, rtol=1e-12, atol=1e-12)


def test_jets_of_mixed_derivatives_and_of_both_sides_of_an_operator() -> None:
    x = points(10)
    multi_indices = jets.multi_indices(("u_xx", "u_tx", "u_tt"), Names(("x", "t"), ("u",)))

    def f(m, a, b):  # type: ignore[no-untyped-def]
        return 1.0 - m.sin(2.0 * a * b) * (b + 3.0) - m.cos(a) * 0.5 + m.tanh(a) * m.exp(-b)

    (a, b) = jets.columns(x, ("x", "t"), multi_indices)
    jet = f(MATH, a, b)
    hessian = torch.func.vmap(torch.func.jacrev(torch.func.grad(lambda p: f(torch, p[0], p[1]))))(x)
    gradient = torch.func.vmap(torch.func.grad(lambda p: f(torch, p[0], p[1])))(x)
    expected = {"x": gradient[:, 0], "t": gradient[:, 1], "xx": hessian[:, 0, 0], "tt": hessian[:, 1, 1]}
    for multi_index, value in (expected | {"xt": hessian[:, 0, 1]}).items():
        torch.testing.assert_close(jet[multi_index][:, 0], value, rtol=1e-13, atol=1e-13)


def test_jets_of_third_order() -> None:
    x = points(5)
    multi_indices = jets.multi_indices(("u_xxt", "u_ttt"), Names(("x", "t"), ("u",)))
    assert multi_indices == ("", "t", "x", "tt", "xt", "xx", "ttt", "xxt")

    def f(m, a, b):  # type: ignore[no-untyped-def]
        return m.sin(a * b * 2.0) * m.cos(b) + m.tanh(a + b) * m.exp(a * 0.5) * b

    (a, b) = jets.columns(x, ("x", "t"), multi_indices)
    jet = f(MATH, a, b)
    third = torch.func.jacrev(torch.func.jacrev(torch.func.grad(lambda p: f(torch, p[0], p[1]))))
    expected = torch.func.vmap(third)(x)
    for multi_index, value in {"xxt": expected[:, 0, 0, 1], "ttt": expected[:, 1, 1, 1]}.items():
        torch.testing.assert_close(jet[multi_index][:, 0], value, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_an_activation_and_its_four_derivatives(name: str) -> None:
    x = torch.linspace(-4, 4, 41, dtype=torch.float64)[:, None]
    (column,) = jets.columns(x, ("x",), ("", "x", "xx", "xxx", "xxxx"))
    jet = ACTIVATIONS[name].jet(column)
    function = lambda v: ACTIVATIONS[name].value(v)  # noqa: E731
    for multi_index in jet.multi_indices:
        expected = torch.func.vmap(function)(x[:, 0])
        torch.testing.assert_close(jet[multi_index][:, 0], expected, rtol=1e-13, atol=1e-13)
        function = torch.func.grad(function)


@pytest.mark.parametrize(("name", "slopes"), [("abs", [-1, 0, 1]), ("relu", [0, 0, 1]), ("step", [0, 0, 0])])
def test_jets_of_functions_whose_derivatives_are_constants(name: str, slopes: list[float]) -> None:
    (column,) = jets.columns(torch.tensor([[-2.0], [0.0], [3.0]]), ("x",), ("", "x", "xx", "xxx"))
    jet = column.mapped(name)
    assert jet["x"][:, 0].tolist() == slopes
    assert not jet.data[2:].any()


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_weights_keep_their_activation(name: str, tmp_path: Path) -> None:
    net, x = Pinn(BURGERS, (7, 5), seed=3, activation=name), points(50)
    write_weights(net, tmp_path / "net.safetensors")
    found = load_pinn(tmp_path / "net.safetensors")
    assert found.activation == name
    assert torch.equal(found(x), net(x))
    program = captured(found, "net")
    assert sum(op.out.size for op in program.ops if isinstance(op, Map) and op.fn in (name, "lorentzian")) >= 12
    np.testing.assert_allclose(interpret(program, x.numpy()), net(x).detach().numpy(), rtol=1e-13, atol=1e-14)
    write_weights(found, tmp_path / "again.safetensors")
    assert (tmp_path / "again.safetensors").read_bytes() == (tmp_path / "net.safetensors").read_bytes()


def test_an_activation_that_is_not_there(tmp_path: Path) -> None:
    expected = "no activation is called 'relu'; expected: tanh, sin, lorentzian, dispersion"
    for refused in (lambda: Pinn(BURGERS, (3,), activation="relu"), lambda: TrainConfig(activation="relu")):
        with pytest.raises(TrainError, match=expected):
            refused()
    result = CliRunner().invoke(cli.app, ["train", "burgers", "--activation", "relu", "--out", str(tmp_path / "run")])
    assert result.exit_code == 2
    assert expected in " ".join(result.stderr.split())
    path = tmp_path / "net.safetensors"
    metadata = {"problem": "burgers", "activation": "relu", "trained_for": trained_for(BURGERS).text()}
    safetensors.torch.save_file(Pinn(BURGERS, (3,)).state_dict(), path, metadata)
    with pytest.raises(TrainError, match=expected):
        load_pinn(path)


def test_jets_of_fourth_order() -> None:
    x = points(4)
    multi_indices = jets.multi_indices(("u_xxxx", "u_xxtt", "u_xttt"), Names(("x", "t"), ("u",)))

    def f(m, a, b):  # type: ignore[no-untyped-def]
        return m.sin(a * b * 2.0) * m.cos(b) + m.tanh(a + b) * m.exp(a * 0.5) * b + m.sqrt(a * a + 2) / (b + 3)

    (a, b) = jets.columns(x, ("x", "t"), multi_indices)
    jet, derivative = f(MATH, a, b), lambda p: f(torch, p[0], p[1])
    for _ in range(3):
        derivative = torch.func.jacrev(derivative)
    expected = torch.func.vmap(torch.func.jacrev(derivative))(x)
    places = {"xxxx": (0, 0, 0, 0), "xxtt": (0, 0, 1, 1), "xttt": (0, 1, 1, 1)}
    for multi_index, place in places.items():
        torch.testing.assert_close(jet[multi_index][:, 0], expected[(..., *place)], rtol=1e-11, atol=1e-11)


def test_a_derivative_of_fifth_order_is_refused() -> None:
    with pytest.raises(ProblemError, match="u_xxxxx: expected in training: derivatives up to order 4"):
        jets.multi_indices(("u", "u_xxxxx"), Names(("x",), ("u",)))


def test_a_term_of_the_equation_can_be_an_input() -> None:
    parametric = problem("burgers_nu")
    net = Pinn(parametric, (6, 5), seed=1)
    x = uniform(parametric, 30, torch.Generator().manual_seed(0))
    u = net.jet(x)
    batch = Batch(x, torch.ones(30).double(), x[:, :0])
    expected = u["t"] + u[""] * u["x"] - x[:, 2:] * u["xx"]
    torch.testing.assert_close(Physics(parametric).residuals(u, batch), expected.T, rtol=1e-13, atol=1e-13)


def test_a_network_keeps_the_initial_condition_and_the_period() -> None:
    net = Pinn(BURGERS, (6,), seed=1)
    start = torch.stack([torch.linspace(-1, 1, 33, dtype=torch.float64), torch.zeros(33, dtype=torch.float64)], 1)
    torch.testing.assert_close(net(start)[:, 0], -torch.sin(torch.pi * start[:, 0]), rtol=0, atol=0)
    walls = torch.tensor([[-1.0, 0.7], [1.0, 0.7]], dtype=torch.float64)
    left, right = net(walls)[:, 0]
    torch.testing.assert_close(left, right, rtol=0, atol=1e-14)


def test_the_jacobian_is_that_of_autograd() -> None:
    teacher, net = Pinn(BURGERS, (5,), seed=1), Pinn(BURGERS, (4, 3), seed=2)
    x, tape = points(6), Tape()
    objective = distillation(teacher, 0.3, 2.0, 0.5)
    batch = batch_at(x, net.jet(x), objective)
    batch = Batch(x, batch.weights.detach(), batch.targets)
    residuals = objective.residuals(net.jet(x, tape=tape), batch)
    J = jacobian(residuals, tape)
    rows = [torch.autograd.grad(r, list(net.parameters()), retain_graph=True) for r in residuals.flatten()]
    expected = torch.stack([torch.cat([g.flatten() for g in row]) for row in rows])
    torch.testing.assert_close(J, expected, rtol=1e-11, atol=1e-12)


# The losses


@given(st.floats(-3, 3), st.floats(-3, 3), st.floats(0.05, 4), st.floats(0.05, 4))
def test_the_divergence_is_torchs(p: float, q: float, sigma_p: float, sigma_q: float) -> None:
    mean_p, mean_q = torch.tensor(p, dtype=torch.float64), torch.tensor(q, dtype=torch.float64)
    normal_p = torch.distributions.Normal(mean_p, torch.tensor(sigma_p, dtype=torch.float64))
    normal_q = torch.distributions.Normal(mean_q, torch.tensor(sigma_q, dtype=torch.float64))
    expected = torch.distributions.kl_divergence(normal_p, normal_q)
    torch.testing.assert_close(gaussian_kl(mean_p, sigma_p, mean_q, sigma_q), expected, rtol=1e-9, atol=1e-12)


@given(st.floats(-3, 3), st.floats(-3, 3), st.floats(1e-3, 4))
def test_between_equal_spreads_it_is_a_weighted_squared_error(p: float, q: float, sigma: float) -> None:
    mean_p, mean_q = torch.tensor(p, dtype=torch.float64), torch.tensor(q, dtype=torch.float64)
    expected = (mean_p - mean_q) ** 2 / (2 * sigma**2)
    torch.testing.assert_close(gaussian_kl(mean_p, sigma, mean_q, sigma), expected, rtol=1e-12, atol=1e-15)


def test_a_loss_is_the_mean_of_its_squared_residuals() -> None:
    net = Pinn(BURGERS, (4,), seed=2)
    x = points(50)
    teacher = Pinn(BURGERS, (5,), seed=1)
    for objective in (Physics(BURGERS), Slopes(teacher), distillation(teacher, 0.02, 3.0, 0.5)):
        u = net.jet(x)
        batch = batch_at(x, u, objective)
        expected = objective.residuals(u, batch).square().sum(0).mean()
        torch.testing.assert_close(objective.loss(u, batch), expected, rtol=1e-12, atol=0)


def test_a_loss_needs_no_more_derivatives_than_it_says() -> None:
    net, teacher, x = Pinn(BURGERS, (4,), seed=2), Pinn(BURGERS, (5,), seed=1), points(50)
    needs = {
        ("",): distillation(teacher, 0.02, 0.0, 0.0),
        ("", "t", "x"): distillation(teacher, 0.02, 0.0, 0.5),
        ("", "t", "x", "xx"): distillation(teacher, 0.02, 1.0, 0.0),
    }
    for multi_indices, objective in needs.items():
        assert objective.multi_indices == multi_indices
        batch = batch_at(x, net.jet(x), objective)
        fewer, all_of_them = (objective.loss(u, batch) for u in (net.jet(x, multi_indices), net.jet(x)))
        torch.testing.assert_close(fewer, all_of_them, rtol=1e-13, atol=0)


def test_a_problem_weighs_its_residuals() -> None:
    weighted = replace(BURGERS, weight=lambda m, x, t: m.exp(-2.0 * t))
    u, x = Pinn(BURGERS, (4,), seed=2).jet(points(50)), points(50)
    batch = batch_at(x, u, Physics(BURGERS))
    expected = Physics(BURGERS).residuals(u, batch) * torch.exp(-2 * x[:, 1])
    torch.testing.assert_close(Physics(weighted).residuals(u, batch), expected, rtol=1e-14, atol=0)


def test_a_mixture_is_the_weighted_sum_of_its_terms() -> None:
    teacher, net, x = Pinn(BURGERS, (5,), seed=1), Pinn(BURGERS, (4,), seed=2), points(50)
    u, terms = net.jet(x), (Divergence(teacher, 0.1), Slopes(teacher), Physics(BURGERS))
    mixture = Mixture(tuple(zip((1.0, 0.25, 3.0), terms, strict=True)))
    alone = [term.loss(u, batch_at(x, u, term)) for term in terms]
    expected = alone[0] + 0.25 * alone[1] + 3 * alone[2]
    torch.testing.assert_close(mixture.loss(u, batch_at(x, u, mixture)), expected, rtol=1e-12, atol=0)
    assert mixture.n_targets == mixture.targets(x).shape[1] == 3


def test_slopes_are_the_differences_of_first_derivatives() -> None:
    teacher, net, x = Pinn(BURGERS, (5,), seed=1), Pinn(BURGERS, (4,), seed=2), points(50)
    u, v = net.jet(x), teacher.jet(x)
    batch = Batch(x, torch.ones(50).double(), Slopes(teacher).targets(x))
    expected = ((u["x"] - v["x"]) ** 2 + (u["t"] - v["t"]) ** 2).mean()
    torch.testing.assert_close(Slopes(teacher).loss(u, batch), expected, rtol=1e-12, atol=0)


def test_a_weight_of_0_leaves_its_term_out() -> None:
    teacher = Pinn(BURGERS, (5,), seed=1)
    assert [type(term) for _, term in distillation(teacher, 0.1, 0.0, 0.0).terms] == [Divergence]
    assert [type(term) for _, term in distillation(teacher, 0.1, 0.0, 2.0).terms] == [Divergence, Slopes]


@pytest.mark.parametrize("wrong", [{"sigma": 0.0}, {"physics_weight": -1.0}, {"slope_weight": -0.1}])
def test_a_weight_below_0_is_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(TrainError, match="expected: sigma above 0, weights from 0"):
        DistillConfig(**wrong)


# The sampler


def test_points_are_drawn_where_the_solution_is_steep() -> None:
    net = load_pinn(STUDENT)
    generator = torch.Generator().manual_seed(0)
    drawn = draw(net, Physics(BURGERS), uniform(BURGERS, 5000, generator), 500, generator).points
    near = ((drawn[:, 0].abs() < 0.05) & (drawn[:, 1] > 0.3)).double().mean()
    assert near > 3 * 0.05 * 0.7
    assert len(drawn.unique(dim=0)) == 500


def test_a_parameter_is_drawn_evenly_in_its_logarithm() -> None:
    drawn = uniform(problem("burgers_nu"), 4000, torch.Generator().manual_seed(0))
    for column, middle, low, high in zip(drawn.T, (0, 0.5, 0.1**1.5), (-1, 0, 0.01), (1, 1, 0.1), strict=True):
        assert 0.47 < (column < middle).double().mean() < 0.53
        assert low <= column.min() < column.max() <= high


# A run


@pytest.fixture(scope="module")
def teacher_run(artifacts: Artifacts) -> Path:
    return artifacts.made("teacher", lambda folder: train("burgers", folder, TINY), "a run", TINY)


def test_a_short_training_lowers_the_error(teacher_run: Path) -> None:
    before, after = relative_l2(Pinn(BURGERS, TINY.hidden, TINY.seed)), relative_l2(load_pinn(teacher_run))
    assert after < before / 3


def test_a_run_folder_tells_the_whole_story(teacher_run: Path) -> None:
    assert {path.name for path in teacher_run.iterdir()} == {
        "config.json",
        "metrics.jsonl",
        "checkpoint.safetensors",
        "model.safetensors",
        "model.json",
    }
    config = json.loads((teacher_run / "config.json").read_text())
    assert config["command"] == "kdpinn-edge train burgers --hidden 10,10 --points 200 --rounds 4"
    assert config["config"]["hidden"] == [10, 10]
    assert config["versions"]["torch"] == torch.__version__
    rows = metrics(teacher_run)
    assert [row["step"] for row in rows] == [10, 20, *range(25, 41, 5)]
    record = json.loads((teacher_run / "model.json").read_text())
    assert record["finished"]
    assert record["architecture"]["parameters"] == sum(p.numel() for p in load_pinn(teacher_run).parameters())
    assert record["errors"]["reference_max_abs"] == BURGERS.exact_error


def test_the_same_config_gives_the_same_weights_and_another_seed_others(tmp_path: Path) -> None:
    short = replace(TINY, adam_steps=5, newton_rounds=1)
    first = train("burgers", tmp_path / "a", short)
    again = train("burgers", tmp_path / "b", short)
    other = train("burgers", tmp_path / "c", replace(short, seed=1))
    assert first.record["sha256"] == again.record["sha256"]
    assert first.record["sha256"] != other.record["sha256"]
    assert other.record["command"].endswith("--rounds 1 --seed 1")


@pytest.mark.parametrize("after", [14, 23, 25, *(pytest.param(k, marks=pytest.mark.proof) for k in (3, 10, 39))])
def test_an_interrupted_run_resumes_to_the_same_weights(teacher_run: Path, tmp_path: Path, after: int) -> None:
    stopped = train("burgers", tmp_path / "run", TINY, report=Interrupt(after))
    assert not stopped.finished
    assert not stopped.record["finished"]
    assert same_weights(stopped.net, load_pinn(tmp_path / "run"))
    resumed = train("burgers", tmp_path / "run", TINY, resume=True)
    assert resumed.finished
    assert (tmp_path / "run/model.safetensors").read_bytes() == (teacher_run / "model.safetensors").read_bytes()
    assert [row["step"] for row in metrics(tmp_path / "run")] == [row["step"] for row in metrics(teacher_run)]


def test_an_interrupt_keeps_the_best_weights(tmp_path: Path) -> None:
    stopped = train("burgers", tmp_path / "run", TINY, report=Interrupt(31))
    rows = metrics(tmp_path / "run")
    assert rows[-1]["step"] == 30
    assert relative_l2(stopped.net) <= 1.01 * max(row["relative_l2"] for row in rows[2:])


def test_a_run_ends_after_the_round_in_which_its_cpu_time_is_used(tmp_path: Path) -> None:
    endless = replace(TINY, newton_rounds=100_000)
    made = train("burgers", tmp_path / "run", endless, cpu_seconds=1e-3)
    assert made.finished
    assert made.record["config"]["newton_rounds"] == 1
    assert "--rounds 1 " in f"{made.record['command']} "
    assert (
        made.record["sha256"] == train("burgers", tmp_path / "counted", replace(TINY, newton_rounds=1)).record["sha256"]
    )
    again = train("burgers", tmp_path / "run", endless, resume=True, cpu_seconds=1e-3)
    assert again.record["sha256"] == made.record["sha256"]


def test_a_run_that_was_killed_resumes_from_its_checkpoint(teacher_run: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    train("burgers", run, TINY, report=Interrupt(30))
    later = metrics(run)[-1] | {"step": 35}
    with (run / "metrics.jsonl").open("a") as file:
        file.write(f'{json.dumps(later)}\n{{"step": 11')
    train("burgers", run, TINY, resume=True)
    assert (run / "model.safetensors").read_bytes() == (teacher_run / "model.safetensors").read_bytes()
    assert [row["step"] for row in metrics(run)] == [10, 20, *range(25, 41, 5)]


def test_resuming_a_finished_run_changes_nothing(teacher_run: Path, tmp_path: Path) -> None:
    run = Path(shutil.copytree(teacher_run, tmp_path / "run"))
    assert train("burgers", run, TINY, resume=True).finished
    assert (run / "model.safetensors").read_bytes() == (teacher_run / "model.safetensors").read_bytes()


def test_threads_are_left_as_they_were(tmp_path: Path) -> None:
    torch.set_num_threads(2)
    try:
        train("burgers", tmp_path / "run", replace(TINY, adam_steps=1, newton_rounds=0))
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(1)


@pytest.mark.parametrize(("name", "steps"), [("geodesic", 5), ("ssbroyden", 20), ("lbfgs", 20), ("soap", 40)])
def test_every_optimiser_lowers_the_error_and_resumes(tmp_path: Path, name: str, steps: int) -> None:
    config = replace(TINY, optimiser=name, newton_rounds=2, newton_steps=steps)
    whole = train("burgers", tmp_path / "a", config)
    assert relative_l2(whole.net) < relative_l2(Pinn(BURGERS, TINY.hidden, TINY.seed)) / 2
    train("burgers", tmp_path / "b", config, report=Interrupt(27))
    parts = train("burgers", tmp_path / "b", config, resume=True)
    assert parts.record["sha256"] == whole.record["sha256"]
    assert f"--optimiser {name} --rounds 2{'' if steps == 5 else f' --steps {steps}'}" in whole.record["command"]


@pytest.mark.parametrize("seed", [1, pytest.param(0, marks=pytest.mark.proof)])
def test_random_features_solve_a_linear_equation_at_once(tmp_path: Path, seed: int) -> None:
    config = TrainConfig.random_features((60,), seed=seed, n_points=300, n_candidates=600, newton_steps=3)
    losses: list[float] = []
    found = train("heat", tmp_path / "run", config, report=lambda progress: losses.append(progress.loss))
    assert found.record["errors"]["relative_l2"] < 1e-5
    assert losses[0] == losses[1] == losses[2]  # the first step has solved it
    told = f" --hidden 60 --points 300 --optimiser random_features --rounds 1 --steps 3{' --seed 1' if seed else ''}"
    assert found.record["command"] == f"kdpinn-edge train heat{told}"


def test_a_student_is_distilled_from_a_run(teacher_run: Path, tmp_path: Path) -> None:
    seen: list[TrainingProgress] = []
    found = distill("burgers", tmp_path / "run", TINY_DISTILL, teacher=teacher_run, report=seen.append)
    assert found.record["role"] == "student"
    assert found.record["teacher"]["name"] == "teacher"
    assert seen[-1].step == seen[-1].steps == TINY_DISTILL.steps
    x = points(500)
    teacher = load_pinn(teacher_run)
    before = (Pinn(BURGERS, TINY_DISTILL.hidden)(x) - teacher(x)).norm()
    assert (found.net(x) - teacher(x)).norm() < before / 3


def test_the_command_mixes_the_losses(teacher_run: Path, tmp_path: Path) -> None:
    weights = "--physics-weight 0.0 --slope-weight 0.01"
    options = f"--hidden 4 --points 30 --rounds 1 {weights} --teacher {teacher_run} --out {tmp_path / 'run'} --json"
    record = json.loads(CliRunner().invoke(cli.app, ["distill", "burgers", *options.split()]).stdout)
    assert weights in record["command"]
    assert (record["config"]["physics_weight"], record["config"]["slope_weight"]) == (0, 0.01)


def test_a_distillation_resumes_to_the_same_weights(teacher_run: Path, tmp_path: Path) -> None:
    whole = distill("burgers", tmp_path / "a", TINY_DISTILL, teacher=teacher_run)
    distill("burgers", tmp_path / "b", TINY_DISTILL, teacher=teacher_run, report=Interrupt(27))
    parts = distill("burgers", tmp_path / "b", TINY_DISTILL, teacher=teacher_run, resume=True)
    assert parts.record["sha256"] == whole.record["sha256"]


def test_the_bar_shows_phase_loss_and_error(tmp_path: Path) -> None:
    console = Console(record=True, width=80, file=(tmp_path / "out").open("w"))
    with live(console, "burgers") as report:
        report(TrainingProgress("Adam", 1, 10, 0.5, float("nan"), 0.1))
        report(TrainingProgress("Newton", 10, 10, 1.25e-7, 3.5e-4, 1.0))
    shown = console.export_text()
    assert all(text in shown for text in ("burgers", "Newton", "loss 1.25e-07", "rel. L2 3.50e-04", "left 0:00:00"))
    console.file.close()


def test_a_run_is_replaced_when_it_is_forced(tmp_path: Path) -> None:
    first = train("heat", tmp_path / "run", TINY)
    with pytest.raises(TrainError, match="replace the run by --force"):
        train("heat", tmp_path / "run", replace(TINY, seed=1))
    with pytest.raises(TrainError, match="abacus"):
        train("heat", tmp_path / "run", replace(TINY, device="abacus"), force=True)
    assert json.loads((tmp_path / "run" / "model.json").read_text())["sha256"] == first.record["sha256"]
    second = train("heat", tmp_path / "run", replace(TINY, seed=1), force=True)
    assert (second.record["seed"], second.finished) == (1, True)
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


# Bad input


def test_a_folder_that_holds_something_is_refused(teacher_run: Path, tmp_path: Path) -> None:
    with pytest.raises(TrainError, match=r"already holds a run.*--resume"):
        train("burgers", teacher_run, TINY)
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(TrainError, match="already holds other files"):
        train("burgers", tmp_path, TINY)
    with pytest.raises(TrainError, match="is no folder"):
        train("burgers", tmp_path / "notes.txt", TINY)
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


def test_an_unknown_problem_leaves_nothing_behind(tmp_path: Path) -> None:
    with pytest.raises(ProblemError, match=r"expected: .*burgers"):
        train("burger", tmp_path / "run", TINY)
    with pytest.raises(ProgramError, match=r"no model is called 'burger'.*a file: model\.onnx.*Did you mean 'burgers'"):
        distill("burger", tmp_path / "run", TINY_DISTILL)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("stage", ["train", "distill"])
@pytest.mark.parametrize(
    "options",
    [
        ["--hidden", "32,x"],
        ["--hidden", "0"],
        ["--hidden", "3,"],
        ["--points", "10001"],
        ["--rounds", "0"],
        ["--steps", "0"],
        ["--optimiser", "newton"],
    ],
)
def test_the_command_refuses_what_no_run_can_have(tmp_path: Path, stage: str, options: list[str]) -> None:
    result = CliRunner().invoke(cli.app, [stage, "burgers", "--out", str(tmp_path / "run"), *options])
    assert result.exit_code == 2
    assert options[0] in result.stderr
    assert not (tmp_path / "run").exists()


def test_the_command_takes_the_shape_of_the_run(tmp_path: Path) -> None:
    given = "--hidden 4,3 --activation sin --points 30 --optimiser lbfgs --rounds 1 --seed 2"
    out = ["--out", str(tmp_path / "run"), "--json"]
    result = CliRunner().invoke(cli.app, ["train", "burgers", *given.split(), *out])
    record = json.loads(result.stdout)
    assert record["command"] == f"kdpinn-edge train burgers {given}"
    assert (record["config"]["hidden"], record["config"]["n_points"]) == ([4, 3], 30)
    assert record["training_cpu_seconds"] > 0
    assert record["architecture"]["activation"] == "sin"
    assert load_pinn(tmp_path / "run").activation == "sin"


def test_resuming_needs_a_run_of_the_same_config(teacher_run: Path, tmp_path: Path) -> None:
    with pytest.raises(TrainError, match="holds no run; start one without resume"):
        train("burgers", tmp_path / "none", TINY, resume=True)
    with pytest.raises(TrainError, match="seed was 0, is now 4"):
        train("burgers", teacher_run, replace(TINY, seed=4), resume=True)
    with pytest.raises(TrainError, match="role was 'teacher', is now 'student'"):
        distill("burgers", teacher_run, TINY_DISTILL, teacher=teacher_run, resume=True)


@pytest.mark.parametrize("damage", ["truncated", "foreign"])
def test_a_damaged_checkpoint_is_named(teacher_run: Path, tmp_path: Path, damage: str) -> None:
    run = Path(shutil.copytree(teacher_run, tmp_path / "run"))
    checkpoint = run / "checkpoint.safetensors"
    if damage == "truncated":
        checkpoint.write_bytes(checkpoint.read_bytes()[:-8])
    else:
        checkpoint.write_bytes((run / "model.safetensors").read_bytes())
    with pytest.raises(TrainError, match=r"checkpoint\.safetensors: not a"):
        train("burgers", run, TINY, resume=True)


def test_config_json_that_is_not_json_is_named(teacher_run: Path, tmp_path: Path) -> None:
    run = Path(shutil.copytree(teacher_run, tmp_path / "run"))
    (run / "config.json").write_text("{")
    with pytest.raises(TrainError, match=r"config\.json: not JSON"):
        train("burgers", run, TINY, resume=True)


def test_a_garbled_line_of_metrics_is_named(teacher_run: Path, tmp_path: Path) -> None:
    run = Path(shutil.copytree(teacher_run, tmp_path / "run"))
    lines = (run / "metrics.jsonl").read_text().splitlines(keepends=True)
    text = "".join([lines[0], "{\n", *lines[1:]])
    (run / "metrics.jsonl").write_text(text)
    with pytest.raises(TrainError, match=r"metrics\.jsonl, line 2: '{' is no line of metrics.*delete the line"):
        train("burgers", run, TINY, resume=True)
    assert (run / "metrics.jsonl").read_text() == text


@pytest.mark.parametrize("protocol", [0, 2, 5])
@pytest.mark.parametrize("name", ["teacher.pt", "teacher.safetensors"])
def test_a_pickle_is_refused_unread(tmp_path: Path, name: str, protocol: int) -> None:
    class Bomb:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return Path.touch, (Path(tmp_path / "boom"),)  # type: ignore[return-value]

    (tmp_path / name).write_bytes(pickle.dumps(Bomb(), protocol))
    with pytest.raises(TrainError, match="not a safetensors file" if protocol == 0 else r"pickle.*write_weights"):
        load_pinn(tmp_path / name)
    assert not (tmp_path / "boom").exists()


def test_weights_whose_header_starts_like_a_pickle_are_read(tmp_path: Path) -> None:
    """A safetensors file starts with the length of its header: bytes 80 05 where that is 1,408, as the pickles' are."""
    net, path = Pinn(BURGERS, (4, 4)), tmp_path / "net.safetensors"
    for padding in range(1408):
        safetensors.torch.save_file(net.state_dict(), path, metadata=STATED | {"note": " " * padding})
        if path.read_bytes().startswith(b"\x80\x05"):
            break
    assert path.read_bytes().startswith(b"\x80\x05")
    assert same_weights(load_pinn(path), net)


def test_a_torch_archive_is_refused(tmp_path: Path) -> None:
    torch.save(Pinn(BURGERS, (3,)).state_dict(), tmp_path / "net.pth")
    with pytest.raises(TrainError, match=r"pickle.*torch\.load\(path, weights_only=True\).*write_weights"):
        load_pinn(tmp_path / "net.pth")
    with pytest.raises(ProgramError, match=r"holds weights and not what happens between.*--source-activation"):
        distill("burgers", tmp_path / "run", TINY_DISTILL, teacher=tmp_path / "net.pth")
    assert not (tmp_path / "run").exists()


def test_weights_that_are_not_there_name_what_is() -> None:
    with pytest.raises(TrainError, match=rf"burgers_teachre: no such file.*Did you mean '{TEACHER}'"):
        load_pinn("burgers_teachre")


def test_truncated_weights_are_named(teacher_run: Path, tmp_path: Path) -> None:
    data = (teacher_run / "model.safetensors").read_bytes()
    for length in (0, 4, 100, len(data) - 1):
        (tmp_path / "short.safetensors").write_bytes(data[:length])
        with pytest.raises(TrainError, match=r"short\.safetensors: not a safetensors file"):
            load_pinn(tmp_path / "short.safetensors")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"layers.1.bias": None}, "layers.1.bias is missing"),
        ({"layers.1.weight": None}, r"hidden layers \(\)"),
        ({"extra": torch.zeros(1)}, "extra is not expected"),
        ({"layers.1.weight": torch.zeros(10, 7)}, "layers.1.weight has 7 columns; expected: 10"),
        ({"layers.0.weight": torch.zeros(())}, r"layers.0.weight has shape \(\)"),
        ({"layers.0.bias": torch.full((10,), torch.nan)}, "layers.0.bias holds something else than finite"),
        ({"layers.0.bias": torch.zeros(10, dtype=torch.int64)}, "layers.0.bias holds something else"),
    ],
)
def test_tensors_of_another_network_are_named(
    teacher_run: Path, tmp_path: Path, change: dict[str, torch.Tensor | None], message: str
) -> None:
    tensors = safetensors.torch.load_file(teacher_run / "model.safetensors") | change
    path = tmp_path / "net.safetensors"
    safetensors.torch.save_file({k: v for k, v in tensors.items() if v is not None}, path, metadata=STATED)
    with pytest.raises(TrainError, match=message):
        load_pinn(path)


@pytest.mark.parametrize("metadata", [None, {"problem": "lunch"}])
def test_weights_must_name_a_known_problem(teacher_run: Path, tmp_path: Path, metadata: dict[str, str] | None) -> None:
    path = tmp_path / "net.safetensors"
    safetensors.torch.save_file(safetensors.torch.load_file(teacher_run / "model.safetensors"), path, metadata=metadata)
    with pytest.raises(TrainError, match="metadata with the key 'problem'" if metadata is None else "'lunch'"):
        load_pinn(path)


def test_float32_weights_are_read(teacher_run: Path, tmp_path: Path) -> None:
    tensors = safetensors.torch.load_file(teacher_run / "model.safetensors")
    path = tmp_path / "net.safetensors"
    safetensors.torch.save_file({k: v.float() for k, v in tensors.items()}, path, metadata=STATED)
    net = load_pinn(path)
    assert all(p.dtype == torch.float64 for p in net.parameters())


# Teachers that are no Pinn of this problem


class Foreign(nn.Module):
    """u(x, t) in float32, as another framework may have trained it."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.sin(2 * x[:, :1]) * torch.exp(-x[:, 1:])


def foreign(*, inputs: tuple[str, ...] = ("x", "t")) -> Program:
    return capture(Foreign(), name="foreign", inputs=inputs, outputs=("u",), domain=((-1, 0), (1, 1)))


def test_a_program_is_a_teacher() -> None:
    teacher, x = ProgramTeacher(foreign(), BURGERS), points(40)
    torch.testing.assert_close(teacher(x), Foreign()(x), rtol=0, atol=1e-14)
    jet = teacher.jet(x, ("", "t", "x", "xx"))
    torch.testing.assert_close(jet["x"], 2 * torch.cos(2 * x[:, :1]) * torch.exp(-x[:, 1:]), rtol=0, atol=1e-14)
    torch.testing.assert_close(jet["t"], -jet[""], rtol=0, atol=1e-14)
    torch.testing.assert_close(jet["xx"], -4 * jet[""], rtol=0, atol=1e-13)


def test_a_program_teaches_what_a_network_does(tmp_path: Path) -> None:
    pinn = Pinn(BURGERS, (5,), seed=1)
    program, x = ProgramTeacher(captured(pinn, "p"), BURGERS), points(40)
    for one, other in ((Divergence(pinn, 0.1), Divergence(program, 0.1)), (Slopes(pinn), Slopes(program))):
        assert one.multi_indices == other.multi_indices
        torch.testing.assert_close(one.targets(x), other.targets(x), rtol=0, atol=1e-12)


@pytest.mark.parametrize("form", ["program", "npz", "bundle"])
def test_a_student_follows_a_foreign_teacher(form: str, artifacts: Artifacts, tmp_path: Path) -> None:
    program, source = foreign(), tmp_path / "teacher.npz"
    if form == "npz":
        write_program(program, source)
    if form == "bundle":
        source = artifacts.bundle(program, name="foreign")
    config = replace(TINY_DISTILL, physics_weight=0.0, slope_weight=1.0)
    made = distill("burgers", tmp_path / "run", config, teacher=program if form == "program" else source)
    assert made.finished
    assert made.record["teacher"]["sha256"] == program.sha256
    assert made.record["command"].endswith(f"--teacher {'foreign.npz' if form == 'program' else source}")


def test_a_teacher_with_other_columns_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TrainError, match="foreign computes u from x, y; expected for burgers: u from x, t, in"):
        distill("burgers", tmp_path / "run", TINY_DISTILL, teacher=foreign(inputs=("x", "y")))
    with pytest.raises(ProgramError, match=r"none\.npz: no such file; expected: a program.npz"):
        distill("burgers", tmp_path / "run", TINY_DISTILL, teacher="none.npz")
    assert not (tmp_path / "run").exists()


# Models without an equation


SIDES = (Input("load", 0.0, 5.0, "kN"), Input("v", -1.0, 1.0))


@pytest.fixture(scope="module")
def model(artifacts: Artifacts) -> Path:
    """The bundle of a model about which nothing is known but its columns: T = 300 + 20 sin(2 load) exp(−v)."""

    class Plant(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return 300 + 20 * torch.sin(2 * x[:, :1]) * torch.exp(-x[:, 1:])

    box = tuple(side.lower for side in SIDES), tuple(side.upper for side in SIDES)
    program = capture(Plant(), name="plant", inputs=("load", "v"), outputs=("T",), domain=box)
    return artifacts.bundle(program, name="plant", inputs=SIDES, outputs=[Output("T", "K")], equation="dT/dt = 0")


def test_a_student_follows_a_model_without_an_equation(model: Path, tmp_path: Path) -> None:
    config = DistillConfig((12, 12), n_points=400, adam_steps=20, newton_rounds=9, physics_weight=0.0)
    made = distill(str(model), tmp_path / "run", config)
    assert made.record["errors"]["relative_l2"] < 1e-4
    assert made.record["problem"] == "plant"
    found = find_model(str(tmp_path / "run"))
    assert (found.inputs, found.outputs) == ((SIDES[0], Input("v", -1.0, 1.0, "1")), (Output("T", "K"),))
    x = np.random.default_rng(0).uniform((0, -1), (5, 1), (100, 2))
    exact = 300 + 20 * np.sin(2 * x[:, :1]) * np.exp(-x[:, 1:])
    np.testing.assert_allclose(interpret(found.program, x), exact, rtol=0, atol=0.3)
    again = load_pinn(tmp_path / "run")
    assert np.array_equal(again(torch.from_numpy(x)).detach().numpy(), made.net(torch.from_numpy(x)).detach().numpy())
    with pytest.raises(ProblemError, match="plant follows a model, and the weights do not say which"):
        again.problem.reference(x)
    wanted = ("--out", str(tmp_path / "small"), "--target", "c99", "--derivatives", "T_load")
    result = CliRunner().invoke(cli.app, ["export", str(tmp_path / "run"), *wanted])
    assert result.exit_code == 0, result.output
    refused = CliRunner().invoke(cli.app, ["export", str(tmp_path / "run"), "--out", str(tmp_path / "r"), "--residual"])
    assert refused.exit_code == 2
    assert "does not say what equation it solves" in " ".join(refused.stderr.replace("│", "").split())


def test_a_model_that_cannot_be_followed(model: Path, artifacts: Artifacts, tmp_path: Path) -> None:
    with pytest.raises(TrainError, match="a model without an equation; expected: physics_weight=0"):
        distill(str(model), tmp_path / "run", replace(TINY_DISTILL, physics_weight=1.0))
    unbounded = artifacts.bundle(foreign(), name="foreign")
    with pytest.raises(TrainError, match=r"the domain of x, t is open; expected: bounds for every input"):
        distill(str(unbounded), tmp_path / "run", replace(TINY_DISTILL, physics_weight=0.0))
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("columns", ["[]", "{", '{"name": "n"}', json.dumps(vars(COLUMNS) | {"lower": ["a"]})])
def test_weights_that_describe_no_model(columns: str, tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    tensors = Pinn(followed(COLUMNS), (3,)).state_dict()
    safetensors.torch.save_file(tensors, path, metadata={"problem": "n", "columns": columns})
    with pytest.raises(TrainError, match="metadata 'columns' describes no model"):
        load_pinn(path)


# What is shipped


def test_a_finished_run_is_published(teacher_run: Path, tmp_path: Path) -> None:
    publish(teacher_run, TEACHER, tmp_path)
    assert (tmp_path / f"{TEACHER}.safetensors").read_bytes() == (teacher_run / "model.safetensors").read_bytes()
    assert (tmp_path / f"{TEACHER}.json").read_bytes() == (teacher_run / "model.json").read_bytes()
    assert read_program(tmp_path / f"{TEACHER}.npz").sha256 == captured(load_pinn(teacher_run), TEACHER).sha256


def test_what_cannot_be_published(tmp_path: Path) -> None:
    with pytest.raises(TrainError, match="expected: the folder of a finished run"):
        publish(tmp_path, TEACHER, tmp_path)
    (tmp_path / "model.json").write_text("{")
    with pytest.raises(TrainError, match="expected: the folder of a finished run"):
        publish(tmp_path, TEACHER, tmp_path)
    short = replace(TINY, adam_steps=5, newton_rounds=1)
    train("burgers", tmp_path / "run", short, report=Interrupt(2))
    with pytest.raises(TrainError, match="was interrupted"):
        publish(tmp_path / "run", TEACHER, tmp_path)


def test_points_are_not_drawn_for_a_network_that_has_diverged() -> None:
    net = Pinn(problem("heat"), (4,), seed=0)
    with torch.no_grad():
        next(net.parameters()).fill_(torch.nan)
    with pytest.raises(TrainError, match="the network has diverged"):
        draw(net, Physics(net.problem), uniform(net.problem, 100, torch.Generator()), 10, torch.Generator())
