"""An equation of one's own: from one's own folder or from Python, from training to an audited bundle."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from artifacts import Artifacts
from typer.testing import CliRunner

import kdpinn_edge
from kdpinn_edge import Problem, TrainConfig, audit, capture, causal, cli, distill, export_bundle, load, train
from kdpinn_edge.bundle.manifest import Input
from kdpinn_edge.derive.residual import check_problem
from kdpinn_edge.errors import ProblemError, StudyError, TrainError, TrainingWarning
from kdpinn_edge.importers.model import find_model
from kdpinn_edge.problems import new_file, problem
from kdpinn_edge.program.interp import interpret
from kdpinn_edge.training import DistillConfig, load_pinn
from kdpinn_edge.training.objective import Physics, batch_at, causally
from kdpinn_edge.training.pinn import Pinn
from kdpinn_edge.training.residual_errors import growth
from kdpinn_edge.training.trained import Trained

FEW = {"n_points": 60, "n_candidates": 200, "adam_rounds": 1, "adam_steps": 10, "n_held_out": 50}
TINY = TrainConfig(hidden=(6,), newton_rounds=4, **FEW)
STUDENT = DistillConfig(hidden=(4,), newton_rounds=2, newton_steps=3, **FEW)


def decay(name: str = "decay", **fields: object) -> Problem:
    """u' = −u², an equation of one input."""
    told = {
        "equation": "u' = −u²",
        "inputs": ("t",),
        "outputs": ("u",),
        "lower": (0.0,),
        "upper": (2.0,),
        "terms": ("u", "u_t"),
        "residual": lambda u, u_t: (u_t + u**2,),
        "ansatz": lambda m, columns, net: (1 + columns[0] * net,),
        "exact": lambda points: 1 / (1 + points),
        "exact_error": 1e-15,
    }
    return Problem(name=name, **(told | fields))  # type: ignore[arg-type]


PENDULUM = """
from kdpinn_edge import Problem, causal
import numpy as np

PROBLEM = Problem(
    name="pendulum",
    equation="a' = w, w' = −sin a",
    inputs=("t",),
    outputs=("a", "w"),
    lower=(0.0,),
    upper=(2.0,),
    terms=("a", "a_t", "w", "w_t"),
    residual=lambda a, a_t, w, w_t: (a_t - w, w_t + np.sin(a)),
    ansatz=lambda m, columns, p, q: (1 + columns[0] * p, columns[0] * q),
    weight=causal("t"),
)
"""


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of the user's, with an equation in it."""
    (tmp_path / "pendulum.py").write_text(PENDULUM)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(*words: object) -> str:
    result = CliRunner().invoke(cli.app, list(map(str, words)))
    assert result.exit_code == 0, result.stderr
    return result.stdout


def refused(*words: object) -> str:
    result = CliRunner().invoke(cli.app, list(map(str, words)))
    assert result.exit_code == 2, result.stdout
    assert "Traceback" not in result.stderr
    return " ".join(result.stderr.split())


# From a file


def test_a_file_of_ones_own_goes_all_the_way(home: Path) -> None:
    shape = ("--hidden", "6", "--points", "60", "--rounds", "2")
    told = run("train", "./pendulum.py", *shape)
    assert "not known: the problem has no reference solution" in told
    assert "rms" in told
    record = json.loads((home / "runs/pendulum_teacher/model.json").read_text())
    assert record["command"] == "kdpinn-edge train ./pendulum.py --hidden 6 --points 60 --rounds 2"
    assert record["origin"]["path"] == str(home / "pendulum.py")
    assert record["errors"] is None
    assert len(record["residuals"]["rms"]) == 2
    assert (
        json.loads((home / "runs/pendulum_teacher/metrics.jsonl").read_text().splitlines()[-1])["relative_l2"] is None
    )
    student = json.loads(run("distill", "./pendulum.py", "--teacher", "runs/pendulum_teacher", *shape, "--json"))
    assert student["errors"]["against"] == "the teacher"
    assert student["command"].startswith("kdpinn-edge distill ./pendulum.py --hidden 6")
    run("export", "runs/pendulum_student", "--residual", "--precision", "float64", "--out", "bundle")
    engine, net = load("bundle"), load_pinn("runs/pendulum_student")
    x = np.linspace(0, 2, 41)[:, None]
    with torch.no_grad():
        jet = net.jet(torch.from_numpy(x))
    a, w = jet[""].numpy().T
    slopes = jet["t"].numpy()
    expected = np.stack([slopes[:, 0] - w, slopes[:, 1] + np.sin(a)], axis=1)
    np.testing.assert_allclose(engine.residual(x), expected, rtol=0, atol=1e-13 * np.abs(slopes).max())
    assert "residual_2" in run("audit", "bundle", "--per-axis", "11")
    assert "wrong one" not in run("info", "runs/pendulum_student")


def test_a_run_remembers_its_file_and_says_where_it_is_not_as_it_was(home: Path) -> None:
    train("./pendulum.py", "run", TINY)
    assert find_model("run").problem is problem("pendulum.py")
    changed = PENDULUM.replace("−sin a", "−sin a now")
    (home / "pendulum.py").write_text(changed)
    for words in (("export", "run", "--out", "bundle"), ("distill", "run", "--out", "student")):
        assert "has changed since; expected: the file as it was (SHA-256" in refused(*words)
    assert "origin was" in refused("train", "./pendulum.py", "--out", "run", "--resume")
    (home / "pendulum.py").rename(home / "moved.py")
    assert f"{home}/pendulum.py defines, and that file is not there" in refused("info", "run")
    (home / "moved.py").rename(home / "pendulum.py")
    (home / "pendulum.py").write_text(PENDULUM)
    run("info", "run")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("def f(:\n", r"broken.py:1: the program fails: SyntaxError"),
        ("x = 1\ny = x / 0\n", r"broken.py:2: the program fails: ZeroDivisionError"),
        ("import nowhere_at_all\n", "broken.py:1: the program fails: ModuleNotFoundError"),
        ("x = 1\n", "defines no Problem; expected: one"),
        ("from kdpinn_edge.problems import problem\nP = problem('heat')\n", "defines no Problem"),
        ("from kdpinn_edge import Problem\nPROBLEM = Problem(name='a', equation='b')\n", "missing .*'inputs'"),
        (
            PENDULUM + "OTHER = Problem(**{**vars(PROBLEM), 'name': 'b'})\nPROBLEM, A = 1, PROBLEM\n",
            "Problems OTHER, A",
        ),
        (PENDULUM.replace('"t",)', '"t")'), "inputs is a text; expected: a tuple of names"),
        (PENDULUM.replace("upper=(2.0,)", "upper=(0.0,)"), r"the domain of t is \[0, 0\]"),
        (PENDULUM.replace('"pendulum"', '"My Pendulum"'), "'My Pendulum' is not a model name"),
        (PENDULUM.replace('causal("t")', 'causal("x")'), "causal names 'x', which is no input"),
        (PENDULUM.replace("np.sin(a)", "np.sign(a)"), "calls np.sign, which no Program has"),
        (PENDULUM.replace('"w_t")', '"w_x")'), "'w_x' is no column"),
        (
            PENDULUM.replace("    ansatz", "    features=lambda m, t: (t, 1.0),\n    ansatz"),
            r"entry 2 is 1\.0 at every point",
        ),
        (PENDULUM.replace("columns[0] * q)", "columns[0] * q + m.log(columns[0]))"), "is not finite at t = "),
        (PENDULUM.replace('name="pendulum"', 'name="double"'), "'double' is taken by C"),
    ],
)
def test_what_is_wrong_with_a_file_is_said_before_anything_is_written(home: Path, text: str, message: str) -> None:
    (home / "broken.py").write_text(text)
    told = refused("train", "./broken.py", "--hidden", "3", "--points", "9", "--rounds", "1")
    assert re.search(message, told), told
    assert not (home / "runs").exists()
    run("problems")  # no other equation is broken by it


def test_a_name_that_is_nearly_one(home: Path) -> None:
    assert "Did you mean './pendulum.py'?" in refused("train", "pendulum")
    assert "Did you mean 'burgers'?" in refused("train", "burger")
    assert "No such file or directory; expected: a Python file" in refused("train", "./pendulums.py")
    assert "has no teacher in the zoo; expected: teacher (--teacher)" in refused("distill", "./pendulum.py")
    told = refused("study", "./pendulum.py")
    assert "has no teacher in the zoo; expected: teacher (--teacher)" in told


def test_a_new_file_trains_as_it_is_written(home: Path) -> None:
    assert "kdpinn-edge train ./my_equation.py" in run("new", "my_equation")
    text = (home / "my_equation.py").read_text()
    assert "my_problem" not in text
    assert "type: ignore" not in text
    run("train", "./my_equation.py", "--hidden", "4", "--points", "30", "--rounds", "1")
    assert "exists already; expected: a new name" in refused("new", "my_equation")
    assert (home / "my_equation.py").read_text() == text
    assert "the package has one of that name" in refused("new", "heat")
    for name in ("My equation", "../up"):
        assert "expected: a-z" in refused("new", name)
    with pytest.raises(ProblemError, match="the package has one of that name"):
        new_file("heat")


# From Python


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    return train(decay(), tmp_path_factory.mktemp("own") / "run", TINY)


def test_a_problem_in_python_is_trained_distilled_and_exported(trained: Trained, tmp_path: Path) -> None:
    the = decay()  # as a cell of a notebook that is run again
    assert trained.record["command"] == "kdpinn_edge.train(problem, folder, TrainConfig(hidden=(6,), n_points=60, " + (
        "n_candidates=200, adam_rounds=1, adam_steps=10, newton_rounds=4, n_held_out=50))"
    )
    assert trained.record["errors"]["against"] == "the reference"
    with pytest.raises(TrainError, match="defined in a Python session and in no file"):
        load_pinn(trained.folder)
    assert load_pinn(trained.folder, the).problem is the
    student = distill(the, tmp_path / "student", STUDENT, teacher=trained)
    assert student.record["teacher"]["name"] == trained.folder.name
    again = distill(the, tmp_path / "again", STUDENT, teacher=trained.folder)
    assert again.record["sha256"] == student.record["sha256"]
    program = capture(student)
    export_bundle(program, tmp_path / "bundle", name="decay", residual=the)
    engine = load(tmp_path / "bundle")
    assert engine.manifest.equation == "u' = −u²"
    assert (engine.manifest.inputs[0].lower, engine.manifest.inputs[0].upper) == (0.0, 2.0)
    x = np.linspace(0, 2, 9, dtype=np.float32)[:, None]
    np.testing.assert_allclose(engine(x), interpret(program, x.astype(float)), rtol=1e-5)
    assert audit(tmp_path / "bundle", per_axis=11).n_points == 11
    with pytest.raises(StudyError, match="defined in Python, and a study trains in processes"):
        kdpinn_edge.study(the, tmp_path / "study", teacher=trained.folder)


def test_an_equation_alone_is_enough_for_a_residual() -> None:
    the = decay(ansatz=None, exact=None)
    program = capture(lambda x: torch.exp(-x), name="net", inputs=("t",), outputs=("u",))
    x = np.linspace(0, 2, 7)[:, None]
    expected = -np.exp(-x) + np.exp(-2 * x)
    np.testing.assert_allclose(interpret(kdpinn_edge.residual(program, the), x), expected, rtol=1e-13, atol=1e-15)
    with pytest.raises(ProblemError, match="decay has no ansatz, so that nothing holds its initial"):
        train(the, "never")
    with pytest.raises(ProblemError, match="decay has no reference solution"):
        the.reference(x)


def test_an_equation_of_fourth_order_is_deployed_as_it_is_trained() -> None:
    the = decay(
        name="beam",
        terms=("u_tttt", "u", "t"),
        residual=lambda u4, u, t: (u4 * (1 + np.exp(-t)) - u / (2 + t),),
        exact=None,
    )
    check_problem(the)
    net = Pinn(the, (5,), seed=1)
    x = np.linspace(0, 2, 30)[:, None]
    jet = net.jet(torch.from_numpy(x))
    u4, u = jet["tttt"].detach().numpy(), jet[""].detach().numpy()
    expected = u4 * (1 + np.exp(-x)) - u / (2 + x)
    found = interpret(kdpinn_edge.residual(capture(net), the), x)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-11 * np.abs(expected).max())


# Extending a run


def test_a_finished_run_is_extended_to_the_weights_of_a_longer_one(tmp_path: Path) -> None:
    whole = train("heat", tmp_path / "a", replace(TINY, newton_rounds=5))
    train("heat", tmp_path / "b", replace(TINY, newton_rounds=2))
    out = ("--out", tmp_path / "b", "--resume", "--json")
    extended = json.loads(run("train", "heat", *out, "--rounds", "5"))
    assert extended["sha256"] == whole.record["sha256"]
    assert extended["config"] == json.loads(json.dumps(whole.record["config"]))
    assert json.loads(run("train", "heat", *out))["sha256"] == whole.record["sha256"]  # the run's own options
    assert "hidden was [6], is now [7]" in refused("train", "heat", *out, "--hidden", "7")
    with pytest.raises(TrainError, match="has already done 35 steps, and this recipe has 15"):
        train("heat", tmp_path / "b", replace(TINY, newton_rounds=1), resume=True)
    with pytest.raises(TrainError, match="holds no run of distill"):
        distill("heat", tmp_path / "b", resume=True)
    train("heat", tmp_path / "c", replace(TINY, newton_rounds=1, optimiser="soap"))
    with pytest.raises(TrainError, match="the rate of SOAP falls over all of its rounds"):
        train("heat", tmp_path / "c", replace(TINY, newton_rounds=2, optimiser="soap"), resume=True)


# Causal weighting


def test_causal_weights_fall_where_earlier_residuals_are_large() -> None:
    the = decay(weight=causal("t", strength=3.0))
    net, objective = Pinn(the, (4,), seed=1), Physics(the)
    x = torch.linspace(2, 0, 200, dtype=torch.float64)[:, None]
    u = net.jet(x)
    batch = batch_at(x, u, objective)
    factor = (causally(batch, u, objective).weights / batch.weights).flip(0)
    squares = (u["t"] + u[""] ** 2)[:, 0].square().detach().flip(0)
    integral = torch.cumsum(squares, 0) - squares
    torch.testing.assert_close(factor, torch.exp(-3.0 * integral / squares.sum()), rtol=1e-12, atol=0)
    assert factor[0] == 1
    assert 0.97 * np.exp(-3) < factor[-1] < 1.05 * np.exp(-3)
    plain = Physics(decay())
    assert causally(batch, u, plain) is batch


@pytest.mark.parametrize("wrong", [0.0, -1.0, float("nan")])
def test_a_strength_that_is_none(wrong: float) -> None:
    with pytest.raises(ProblemError, match="the strength of causal weighting is"):
        causal("t", strength=wrong)


def predators(weight: object = None) -> Problem:
    """Lotka and Volterra's equations, which training solves wrongly from an early time on."""

    def residual(a, b, a_t, b_t):  # type: ignore[no-untyped-def]
        return a_t - 4 * (1.5 * a - a * b), b_t - 4 * (a * b - 3 * b)

    return decay(
        name="predators",
        outputs=("a", "b"),
        upper=(1.0,),
        terms=("a", "b", "a_t", "b_t"),
        residual=residual,
        ansatz=lambda m, columns, p, q: (1 + columns[0] * p, 1 + columns[0] * q),
        exact=None,
        weight=weight,
    )


def test_a_run_warns_where_residuals_grow_in_time(tmp_path: Path) -> None:
    short = replace(TINY, hidden=(8, 8), newton_rounds=10)
    with pytest.warns(TrainingWarning, match=r'the residual grows along t: .*fix .*: weight=causal\("t"\)'):
        found = train(predators(), tmp_path / "a", short)
    assert "weight=causal" in repr(found)
    assert not list(growth(train(predators(causal("t")), tmp_path / "b", short).net))
    assert not list(growth(train(decay(), tmp_path / "c", short).net))


@pytest.mark.proof
def test_causal_weighting_solves_lotka_and_volterras_equations(tmp_path: Path) -> None:
    from scipy.integrate import solve_ivp

    def slopes(t, y):  # type: ignore[no-untyped-def]
        return 4 * (1.5 * y[0] - y[0] * y[1]), 4 * (y[0] * y[1] - 3 * y[1])

    solved = solve_ivp(slopes, (0, 1), [1.0, 1.0], rtol=1e-11, atol=1e-12, dense_output=True, method="DOP853").sol
    config = TrainConfig(hidden=(16, 16), n_points=200, newton_rounds=60)
    the = replace(predators(causal("t")), exact=lambda points: solved(points[:, 0]).T, exact_error=1e-9)
    assert train(the, tmp_path / "run", config).record["errors"]["relative_l2"] < 1e-4


# The public names, each once


def shown(result: Any) -> None:
    """What a result is on a terminal and in a notebook."""
    assert "\n" in repr(result)
    assert result._repr_html_().lstrip().startswith("<")
    assert result.plot()._repr_png_().startswith(b"\x89PNG")


def test_every_stage_is_a_name_of_the_package(trained: Trained, artifacts: Artifacts) -> None:
    the, program = decay(), kdpinn_edge.simplify(kdpinn_edge.capture(trained))
    assert program == kdpinn_edge.capture(trained.net, name="decay")
    more = {"derivatives": ("u", "u_t"), "residual": kdpinn_edge.residual(program, the)}
    bundle = artifacts.bundle(program, name="decay", inputs=(Input("t", 0.0, 2.0),), **more)
    engine, compiled = kdpinn_edge.load(bundle), kdpinn_edge.compile(program, domain=(0, 2), residual=the)
    x = np.linspace(0, 2, 5, dtype=np.float32)[:, None]
    assert np.array_equal(engine(x), compiled(x))
    assert np.array_equal(engine.residual(x), compiled.residual(x))
    slope = interpret(kdpinn_edge.derivatives(program, ["u_t"]), x.astype(float))
    np.testing.assert_allclose(engine.jet(x)["u_t"], slope[:, 0], rtol=1e-4)
    checked, audited = kdpinn_edge.check(bundle), kdpinn_edge.audit(bundle, per_axis=11)
    assert checked.passed
    for result in (trained, program, engine, checked, audited):
        shown(result)
    assert kdpinn_edge.__version__ == version("kdpinn-edge")


@pytest.mark.proof
def test_the_stages_of_many_networks_are_names_of_the_package(artifacts: Artifacts, tmp_path: Path) -> None:
    config = replace(TINY, newton_rounds=1)
    teacher = artifacts.made("teacher", lambda folder: kdpinn_edge.train("heat", folder, config), "heat", config)
    short = {"teacher": teacher, "cpu_seconds": 2.0}
    studied = kdpinn_edge.study("heat", tmp_path / "a", sizes=[(3,)], methods=["values"], seeds=1, jobs=1, **short)
    assert studied.finished == 1
    searched = kdpinn_edge.search("heat", tmp_path / "b", budget="1s", trials=1, rounds=1, **short)
    assert searched.winner is not None
    assert searched.winner.passed
    bundle = Path(searched.winner.outcome.folder, "bundle")
    compared = kdpinn_edge.bench(bundle, backends=["library, cffi"], n_points=[1])
    assert "library, cffi" in [entry.name for entry in compared.record.entries]
    for result in (studied, searched, compared):
        shown(result)
