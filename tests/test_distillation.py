"""Students of anything that has values: functions, torch modules, samples, models, with what is refused of each."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import nn
from typer.testing import CliRunner

from kdpinn_edge import cli, distill
from kdpinn_edge.bundle.manifest import Input, Output, read_manifest
from kdpinn_edge.errors import KdpinnError, TrainError
from kdpinn_edge.export.onnx_model import to_onnx
from kdpinn_edge.importers.lesson import find_lesson
from kdpinn_edge.importers.model import captured, find_model
from kdpinn_edge.problems import problem
from kdpinn_edge.program.file import write_program
from kdpinn_edge.program.interp import interpret
from kdpinn_edge.training import DistillConfig, Pinn, jets, load_pinn
from kdpinn_edge.training.objective import first_multi_indices
from kdpinn_edge.training.one_thread import one_thread
from kdpinn_edge.training.outputs import as_columns
from kdpinn_edge.training.samples import Samples, check_samples
from kdpinn_edge.training.weights import write_weights

Points = NDArray[np.float64]
TINY = DistillConfig(
    hidden=(8,),
    n_points=200,
    n_candidates=400,
    adam_rounds=1,
    adam_steps=20,
    newton_rounds=6,
    newton_steps=5,
    n_held_out=200,
)
COLUMNS = {"inputs": "load[kN]=0:2, v=-1:1", "outputs": "T[K], q"}
BOX = (0.0, -1.0), (2.0, 1.0)


@pytest.fixture(scope="module", autouse=True)
def single_thread() -> Iterator[None]:
    """The networks are so small that a second thread only waits."""
    with one_thread():
        yield


def plant(x: Points) -> Points:
    """T and q of load and v."""
    load, v = x.T
    return np.stack([300 + 20 * np.sin(load) * np.exp(-v), load * v], axis=1)


def plant_slopes(x: Points) -> Points:
    """The derivatives of `plant`, (n, 2, 2)."""
    load, v = x.T
    waves = np.stack([20 * np.cos(load) * np.exp(-v), -20 * np.sin(load) * np.exp(-v)], axis=1)
    return np.stack([waves, np.stack([v, load], axis=1)], axis=1)


class Plant(nn.Module):
    """`plant` with a loop that depends on data, so that it cannot be captured, and with a dropout."""

    def __init__(self) -> None:
        super().__init__()
        self.drop = nn.Dropout()

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        load, v = self.drop(x).unbind(1)
        for _ in range(int(x.abs().max() > 1e9)):
            load = load + 1
        return 300 + 20 * torch.sin(load) * torch.exp(-v), (load * v)[:, None]


def some(n: int) -> Points:
    return np.random.default_rng(1).uniform(*BOX, (n, 2))


def relative_l2(net: Pinn) -> float:
    x = some(500)
    found = net(torch.from_numpy(x)).detach().numpy()
    return float(np.linalg.norm(found - plant(x)) / np.linalg.norm(plant(x)))


@pytest.mark.parametrize("kind", ["function", "module", "samples", "file", "program"])
def test_a_student_follows_whatever_has_values(kind: str, tmp_path: Path) -> None:
    x = some(400)
    source = {
        "function": plant,
        "module": Plant().double(),
        "samples": (x, plant(x), plant_slopes(x)),
        "file": tmp_path / "plant.npz",
        "program": tmp_path / "net.npz",
    }[kind]
    stated = COLUMNS
    if kind == "file":
        np.savez(tmp_path / "plant.npz", x=x, u=plant(x))
    if kind == "program":
        lesson = find_lesson(plant, inputs="load=0:2, v=-1:1", outputs="T, q")
        write_program(captured(Pinn(lesson.problem, (3,)), "net"), tmp_path / "net.npz")
    made = distill(source, tmp_path / "run", TINY, **stated)  # type: ignore[arg-type]
    assert made.finished
    assert made.record["equation"] == ""
    assert made.record["config"]["physics_weight"] == 0
    assert made.record["errors"]["n_points"] == (40 if kind in ("samples", "file") else 9000)
    assert made.record["errors"]["relative_l2"] < 0.01
    assert kind == "program" or relative_l2(made.net) < 0.01
    found = find_model(str(tmp_path / "run"))
    assert found.inputs == (Input("load", 0.0, 2.0, "kN"), Input("v", -1.0, 1.0, "1"))
    assert found.outputs == (Output("T", "K"), Output("q", "1"))
    again = load_pinn(tmp_path / "run")
    assert torch.equal(again(torch.from_numpy(x)), made.net(torch.from_numpy(x)))
    np.testing.assert_allclose(interpret(found.program, x), again(torch.from_numpy(x)).detach(), rtol=1e-12)
    told = made.record["command"]
    columns = "inputs='load[kN]=0:2, v=-1:1', outputs='T[K], q')"
    if kind in ("file", "program"):
        assert told.startswith(f"kdpinn-edge distill {source} --hidden 8 ")
        assert told.endswith('--inputs "load[kN]=0:2, v=-1:1" --outputs "T[K], q"')
    else:
        assert told.startswith("kdpinn_edge.distill(")
        assert told.endswith(columns)


def test_the_student_of_a_module_and_of_its_function_are_one(tmp_path: Path) -> None:
    module = Plant().double()

    def f(x: Points) -> object:
        with torch.no_grad():
            return module.eval()(torch.from_numpy(x))

    module.train()
    of_module = distill(module, tmp_path / "a", TINY, **COLUMNS)
    assert module.training
    assert module.drop.training
    of_function = distill(f, tmp_path / "b", TINY, **COLUMNS)
    pairs = zip(of_module.net.parameters(), of_function.net.parameters(), strict=True)
    assert all(torch.equal(one, other) for one, other in pairs)


def test_slopes_are_those_of_autograd_and_of_samples() -> None:
    x = some(60)
    by_load, by_v = torch.from_numpy(plant_slopes(x)).unbind(2)
    for source in (Plant().double(), (x, plant(x), plant_slopes(x))):
        teacher = find_lesson(source, **COLUMNS).teacher
        letter = jets.letters(teacher.problem.inputs)
        jet = teacher.jet(torch.from_numpy(x), first_multi_indices(teacher.problem))
        for name, expected in (("load", by_load), ("v", by_v)):
            torch.testing.assert_close(jet[letter[name]], expected, rtol=1e-13, atol=1e-13)


def test_a_student_follows_slopes(tmp_path: Path) -> None:
    """Inputs with names of several letters have slopes too."""
    config = replace(TINY, slope_weight=1.0)
    made = distill(Plant().double(), tmp_path / "run", config, **COLUMNS)
    assert made.record["errors"]["relative_l2"] < 0.01
    again = distill(Plant().double(), tmp_path / "run", config, resume=True, **COLUMNS)
    assert again.record["sha256"] == made.record["sha256"]


def test_a_float32_module_is_run_in_float32() -> None:
    class Single(nn.Linear):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            assert x.dtype == torch.float32
            return super().forward(x)[:, 0]

    lesson = find_lesson(Single(2, 1), inputs="x=0:1, t=0:1", outputs="u")
    jet = lesson.teacher.jet(torch.rand(4, 2, dtype=torch.float64), ("", "t", "x"))
    assert jet.data.dtype == torch.float64
    torch.testing.assert_close(jet["x"], jet["x"][:1].expand(4, 1), rtol=0, atol=0)


def test_a_problem_is_distilled_from_samples_and_functions(tmp_path: Path) -> None:
    heat = problem("heat")
    x = np.random.default_rng(0).uniform(heat.lower, heat.upper, (300, len(heat.inputs)))
    for i, teacher in enumerate((heat.reference, (x, heat.reference(x)))):
        made = distill("heat", tmp_path / str(i), TINY, teacher=teacher)
        assert made.record["problem"] == "heat"
        assert made.record["config"]["physics_weight"] == 1
        assert made.record["errors"]["relative_l2"] < 0.01
        assert made.net.problem is heat
        assert made.record["command"].startswith("kdpinn_edge.distill('heat', folder, DistillConfig(hidden=(8,)")


def test_a_network_of_ours_says_what_it_solves(tmp_path: Path) -> None:
    heat = problem("heat")
    write_weights(Pinn(heat, (3,)), tmp_path / "net.safetensors")
    own = find_lesson(tmp_path / "net.safetensors")
    assert own.problem is heat
    assert find_lesson("heat_student").problem is heat
    plain = find_lesson("heat_student", inputs=", ".join(f"{name}=0:0.5" for name in heat.inputs))
    assert plain.problem.equation == ""
    assert plain.problem.upper == (0.5,) * len(heat.inputs)


def test_a_student_is_a_teacher(tmp_path: Path) -> None:
    distill(plant, tmp_path / "one", replace(TINY, newton_rounds=1), **COLUMNS)
    made = distill(str(tmp_path / "one"), tmp_path / "two", replace(TINY, newton_rounds=1))
    assert made.record["teacher"]["name"] == "one"
    assert made.net.problem.upper == (2.0, 1.0)
    assert made.record["command"].startswith(f"kdpinn-edge distill {tmp_path / 'one'} --hidden 8 ")


def test_the_domain_of_samples_is_the_box_that_they_fill() -> None:
    x = some(200)
    lesson = find_lesson((x, plant(x)), inputs="load, v=:3", outputs="T, q")
    assert lesson.problem.lower == tuple(x.min(axis=0))
    assert lesson.problem.upper == (x[:, 0].max(), 3.0)


def test_samples_are_trained_on_judged_and_reported_apart() -> None:
    x = some(200)
    held = Samples(x, plant(x))
    rows = [set(held.trained.tolist()), set(held.judged.tolist()), set(held.reported.tolist())]
    assert [len(each) for each in rows] == [160, 20, 20]
    assert set.union(*rows) == set(range(200))


def test_samples_may_be_tensors() -> None:
    x = some(60)
    tensors = [torch.from_numpy(x), torch.from_numpy(plant(x)).float().requires_grad_()]
    lesson = find_lesson(tensors, inputs="load, v", outputs="T, q")
    expected = torch.from_numpy(plant(x)).float().double()
    assert torch.equal(lesson.teacher(torch.from_numpy(x)), expected)


def test_what_a_library_calls_a_model_is_followed_by_its_network() -> None:
    class Model:
        def __init__(self) -> None:
            self.net = Plant().double()

    x = some(5)
    lesson = find_lesson(Model(), **COLUMNS)  # type: ignore[arg-type]
    np.testing.assert_allclose(lesson.teacher(torch.from_numpy(x)).numpy(), plant(x), rtol=1e-15)
    assert lesson.command(TINY).startswith("kdpinn_edge.distill(Model, ")


def test_samples_at_one_point_are_averaged() -> None:
    x, u = some(60), np.arange(60.0)
    found = check_samples(np.concatenate([x, x]), np.concatenate([u, u + 2]), None, 2, 1)
    assert {tuple(p): v for p, v in zip(found.x.tolist(), found.u[:, 0], strict=True)} == {
        tuple(p): v + 1 for p, v in zip(x.tolist(), u, strict=True)
    }


def test_an_axis_of_one_may_be_missing() -> None:
    x = np.linspace(0, 1, 60)
    found = check_samples(x, x**2, 2 * x, 1, 1)
    assert found.du is not None
    assert (found.x.shape, found.u.shape, found.du.shape) == ((60, 1), (60, 1), (60, 1, 1))
    two = some(60)
    assert check_samples(two, two[:, 0], two, 2, 1).u.shape == (60, 1)


def many(x: Points) -> Points:
    return np.sin(x.sum(axis=1))


def test_a_model_of_many_inputs(tmp_path: Path) -> None:
    names = ", ".join(f"s{i}=0:1" for i in range(40))
    made = distill(many, tmp_path / "run", replace(TINY, newton_rounds=1), inputs=names, outputs="u")
    assert made.record["errors"]["n_points"] == 9000


def test_a_file_of_a_foreign_network_is_followed(tmp_path: Path) -> None:
    """By its own columns as a model, and by those of a problem as its teacher."""
    net = nn.Sequential(nn.Linear(2, 5), nn.Tanh(), nn.Linear(5, 1)).double()
    torch.save(net.state_dict(), tmp_path / "net.pt")
    program = find_model(str(tmp_path / "net.pt"), inputs="x, t", outputs="u", activation="tanh").program
    (tmp_path / "net.onnx").write_bytes(to_onnx(program, "float64").SerializeToString())
    x = torch.rand(20, 2).double()
    of_weights = find_lesson(str(tmp_path / "net.pt"), inputs="x=0:1, t=0:1", outputs="u", activation="tanh")
    of_onnx = find_lesson(str(tmp_path / "net.onnx"), inputs="x=0:1, t=0:1", outputs="u")
    taught = find_lesson("heat", teacher=str(tmp_path / "net.pt"), activation="tanh")
    for lesson in (of_weights, of_onnx, taught):
        torch.testing.assert_close(lesson.teacher(x), net(x).detach(), rtol=1e-12, atol=1e-12)
    assert of_weights.problem.name == "net"
    assert taught.problem.name == "heat"
    assert taught.command(TINY).endswith(f"--teacher {tmp_path / 'net.pt'} --source-activation tanh")


# What is refused, before anything is written


X = some(100)
ONE = {"inputs": "x=0:1, t=0:1", "outputs": "u"}


@pytest.mark.parametrize(
    ("source", "stated", "message"),
    [
        (plant, {}, "plant does not say what its inputs are called; expected: both, as in --inputs"),
        (plant, {"inputs": "x=0:1, t=0:1"}, "plant does not say what its outputs are called"),
        (plant, {"inputs": "x=0:1, t", "outputs": "u, v"}, 'the domain of t is open; expected: .*--inputs "t=0:1"'),
        (plant, ONE, r"plant returns \(1024, 2\) for 1024 points; expected: \(1024, 1\), with the columns u"),
        (lambda x: x[0, 0], ONE, r"<lambda> returns \(\) for 1024 points"),
        (lambda x: x[:, 0] * 1j, ONE, "returns ndarray of complex128; expected: an array of real numbers"),
        (lambda x: x[:, 9], ONE, r"the teacher <lambda> fails for points of shape \(1024, 2\): IndexError: index 9"),
        (lambda x: np.log(x[:, 0] - 0.5), ONE, r"is not finite at \d+ of 1024 points, the first is x = 0\.\d+, t = 0"),
        (lambda x: 0 * x[:, 0] + 3, ONE, "the output u is 3 at all of 1024 points of the domain"),
        (lambda x: np.random.default_rng().random(len(x)), ONE, "has other values when it is asked again"),
        (lambda x: x[:, 0] - x[:, 0].mean(), ONE, "has other values at a point when it is asked at others as well"),
        (nn.Linear(3, 1), ONE, "the teacher Linear fails for points of shape"),
        ((X, plant(X)), ONE, r"u has shape \(100, 2\); expected: \(100, 1\), for 100 points"),
        ((X[:9], many(X[:9])), ONE, "there are samples at 9 different points; expected: 50 or more"),
        ((X, np.where(X[:, 0] > 1, np.nan, 0)), ONE, r"u is not finite in \d+ of 100 rows, the first is"),
        ((X, many(X), X[:, :1]), ONE, r"du has shape \(100, 1\); expected: \(100, 1, 2\)"),
        ((X, np.array(["a"] * 100)), ONE, "u holds <U1; expected: real numbers"),
        ((X, many(X)), ONE, r"\d+ of 100 samples are outside the domain x ∈ \[0, 1\], t ∈ \[0, 1\]; the first is"),
        ((X, many(X) * 0), {"inputs": "x, t", "outputs": "u"}, "the output u is 0 at all of 100 points"),
        ((X,), ONE, r"a tuple of 1 is no samples; expected: \(x, u\) or \(x, u, du\)"),
        ((X, [[1.0], [2.0, 3.0]]), ONE, "the samples cannot be followed: u is no array of NumPy"),
        (3, ONE, "int cannot be followed; expected: a problem, a model"),
        ("nothing_here", {}, "no model is called 'nothing_here'.*expected: a problem"),
        ("heat", ONE, "heat has its own columns and domain; expected: no inputs and no outputs"),
        (
            "heat_student",
            {"inputs": "a=0:1, b=0:1"},
            "--inputs states a, b, but the model has x, .*; expected: the same, in this order",
        ),
    ],
)
def test_what_cannot_be_followed(source: object, stated: dict[str, str], message: str, tmp_path: Path) -> None:
    with np.errstate(all="ignore"), pytest.raises(KdpinnError, match=message):
        distill(source, tmp_path / "run", TINY, **stated)  # type: ignore[arg-type]
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("config", "source", "message"),
    [
        (replace(TINY, slope_weight=1.0), many, "a function has values and no derivatives; expected: slope_weight=0"),
        (replace(TINY, slope_weight=1.0), (X / 2, many(X)), r"the samples have no derivatives; expected: samples \(x,"),
        (replace(TINY, physics_weight=1.0), many, "many is a model without an equation; expected: physics_weight=0"),
    ],
)
def test_a_weight_of_what_is_not_known(config: DistillConfig, source: object, message: str, tmp_path: Path) -> None:
    with pytest.raises(TrainError, match=message):
        distill(source, tmp_path / "run", config, inputs="x=-1:1, t=-1:1", outputs="u")  # type: ignore[arg-type]
    assert not (tmp_path / "run").exists()


def test_a_model_is_no_problem_for_another_teacher(tmp_path: Path) -> None:
    with pytest.raises(TrainError, match="heat_student is itself what is followed; expected: no teacher, or a problem"):
        distill("heat_student", tmp_path / "run", TINY, teacher="heat_teacher")


def test_a_dict_is_read_by_the_names_of_the_outputs() -> None:
    x = np.arange(3.0)
    by_name = as_columns({"v": x, "u": -x}, 3, ("u", "v"), "f")
    assert by_name.tolist() == np.stack([-x, x], 1).tolist()
    assert as_columns({"a": x, "b": -x}, 3, ("u", "v"), "f").tolist() == np.stack([x, -x], 1).tolist()


def test_a_file_of_samples_holds_numbers_alone(tmp_path: Path) -> None:
    path, run = tmp_path / "samples.npz", tmp_path / "run"
    contents: tuple[tuple[dict[str, object], str], ...] = (
        ({"x": X, "u": np.array([object()] * 100)}, "not samples .*pickle"),
        ({"x": X, "u": many(X), "v": X}, "the arrays v are unknown; expected: x, u and maybe du"),
    )
    for arrays, message in contents:
        np.savez(path, **arrays)  # type: ignore[arg-type]
        with pytest.raises(TrainError, match=message):
            distill(path, run, TINY, **ONE)
    data = path.read_bytes()
    path.write_bytes(data[:300] + b"\0" * 40 + data[340:])
    with pytest.raises(KdpinnError):
        distill(path, run, TINY, **ONE)
    assert not run.exists()


# The command


def test_the_command_distils_a_file_of_samples(tmp_path: Path) -> None:
    x = some(300)
    np.savez(tmp_path / "plant.npz", x=x, u=plant(x)[:, 1])

    def run(*words: str) -> str:
        result = CliRunner().invoke(cli.app, [*words, "--json"])
        assert result.exit_code == 0, result.output
        return result.stdout

    out = str(tmp_path / "run")
    shape = ["--hidden", "4", "--points", "100", "--rounds", "1", "--steps", "3"]
    columns = ["--inputs", "load=0:2, v=-1:1", "--outputs", "q[W]"]
    record = json.loads(run("distill", str(tmp_path / "plant.npz"), *columns, *shape, "--out", out))
    assert record["errors"]["n_points"] == 30
    assert json.loads(run("info", out))["outputs"] == [{"name": "q", "unit": "W"}]
    run("export", out, "--out", str(tmp_path / "bundle"), "--target", "c99")
    assert read_manifest(tmp_path / "bundle").inputs[1] == Input("v", -1.0, 1.0, "1")


def test_the_command_refuses_in_one_line(tmp_path: Path) -> None:
    refused: tuple[tuple[list[str], str], ...] = (
        (["nowhere"], "no model is called 'nowhere'"),
        (["heat_student", "--inputs", "x=1:0"], "is no interval"),
        (["heat", "--teacher", "heat_teacher", "--outputs", "u"], "heat has its own columns"),
    )
    for words, message in refused:
        result = CliRunner().invoke(cli.app, ["distill", *words, "--out", str(tmp_path / "run")])
        assert result.exit_code == 2
        assert message in " ".join(result.stderr.split())
        assert "Traceback" not in result.output
    assert list(tmp_path.iterdir()) == []
