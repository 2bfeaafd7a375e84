"""The search: what it takes for the best, and that a worker that dies loses nothing that is finished."""

from __future__ import annotations

import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import optuna
import pytest
from optuna.trial import TrialState
from rich.console import Console
from sqlalchemy.exc import OperationalError
from typer.testing import CliRunner

from kdpinn_edge import cli
from kdpinn_edge.bundle.manifest import Grade, Storage, read_manifest
from kdpinn_edge.errors import ProgramError, SearchError
from kdpinn_edge.importers.lesson import find_lesson
from kdpinn_edge.importers.model import find_model
from kdpinn_edge.numerics.lanes import is_fast
from kdpinn_edge.problems import problem
from kdpinn_edge.program.interp import interpret
from kdpinn_edge.runtime import load
from kdpinn_edge.studies.database import PATIENCE
from kdpinn_edge.studies.search import Found, Goal, Task, finish, search, trial
from kdpinn_edge.studies.search.candidate import Candidate, Cost, check_arithmetic, predicted, smallest
from kdpinn_edge.studies.search.costs import Costs
from kdpinn_edge.studies.search.goal import unbeaten
from kdpinn_edge.studies.search.storage import open_study
from kdpinn_edge.studies.search.text_summary import print_nearest
from kdpinn_edge.studies.search.trial import Outcome, evaluate
from kdpinn_edge.training import DistillConfig
from kdpinn_edge.training.lesson import Lesson

HEAT = find_lesson("heat")
SHA256 = HEAT.named["sha256"]
TASK = Task("heat", SHA256, cpu_seconds=0.5, points=100, threads=1)
TRIALS = 3
HEARTBEAT_SECONDS = 2
WORKER = f"""
import sys
from functools import partial
from pathlib import Path
from kdpinn_edge.importers.lesson import find_lesson
from kdpinn_edge.studies.search import Goal, Task, run, search, trial
from kdpinn_edge.training import DistillConfig

run.DEPTHS, run.WIDTHS = (1,), (3, 4, 5, 6)  # small enough for a test
trial.DistillConfig = partial(DistillConfig, adam_rounds=1, adam_steps=5)
if __name__ == "__main__":
    task = Task("heat", "{SHA256}", cpu_seconds=1.0, points=100, threads=1)
    options = dict(trials={TRIALS}, storage=sys.argv[2], heartbeat_seconds={HEARTBEAT_SECONDS})
    search(find_lesson("heat"), task, Goal(max_error=1.0), Path(sys.argv[1]), **options)
"""
PATIENCE_SECONDS = 240


def outcome(relative_l2: float, ns: float, flash: int = 1000) -> Outcome:
    return Outcome(Candidate((8,), "tanh", "float32"), relative_l2, ns, Cost(None, flash, ""), "", "", "")


ACCURATE, MIDDLE, FAST, USELESS = (
    outcome(1e-5, 900.0, 4000),
    outcome(1e-4, 300.0),
    outcome(1e-2, 100.0),
    outcome(1, 500),
)


@pytest.mark.parametrize(
    ("goal", "best"),
    [
        (Goal(budget_ns=1000), ACCURATE),
        (Goal(budget_ns=500), MIDDLE),
        (Goal(max_error=1e-3), MIDDLE),
        (Goal(max_error=1e-1), FAST),
        (Goal(max_flash=2000), MIDDLE),
        (Goal(budget_ns=1000, max_error=1e-5), ACCURATE),
        (Goal(budget_ns=500, max_error=1e-5), None),
    ],
)
def test_the_best_is_within_the_limits(goal: Goal, best: Outcome | None) -> None:
    assert goal.best([USELESS, FAST, ACCURATE, MIDDLE]) == best


def test_a_limit_is_exceeded_by_its_share() -> None:
    assert Goal(budget_ns=200, max_flash=2000).excesses(MIDDLE) == pytest.approx({"time": 0.5, "flash": -0.5})
    with pytest.raises(SearchError, match="nothing limits the student; expected: a budget of time"):
        Goal()


def test_nothing_on_the_front_is_beaten() -> None:
    assert unbeaten([USELESS, ACCURATE, FAST, MIDDLE]) == [FAST, MIDDLE, ACCURATE]


def test_what_is_not_there_leaves_nothing_behind(tmp_path: Path) -> None:
    for options, message in (
        (["abacus"], "no model is called 'abacus'"),
        (["wave", "--teacher", "nobody"], "no model is called 'nobody'"),
        (["heat", "--target", "toaster"], "target 'toaster' is unknown"),
        (["heat", "--target", "cortex-m7"], "a budget of time for cortex-m7, which does not run on this machine"),
        (["heat", "--max-flash", "32q"], "'32q' is not a size"),
        (["heat", "--max-instructions", "0"], "--max-instructions"),
        (["heat", "--max-instructions", "9", "--points", "7"], "with 7 points are not counted; expected: 1 or 64"),
    ):
        result = CliRunner().invoke(cli.app, ["search", *options, "--budget", "1ms", "--out", str(tmp_path / "out")])
        assert result.exit_code == 2
        assert message in " ".join(result.stderr.split())
    assert list(tmp_path.iterdir()) == []


def test_a_problem_without_words_is_refused_before_anything_is_trained() -> None:
    heat = problem("heat")
    above = replace(heat, ansatz=lambda m, columns, net: (m.log(net * net + 1.0),))
    with pytest.raises(ProgramError, match="log has no form in fixed point"):
        check_arithmetic(above, "cortex-m0plus", "int16")
    check_arithmetic(above, "cortex-m0plus", "float")
    check_arithmetic(heat, "cortex-m0plus", "int16")


@pytest.mark.parametrize(
    ("activation", "storage", "grade", "precision", "in_the_command"),
    [
        pytest.param("tanh", "float32", "accurate", "float32", "", marks=pytest.mark.proof),
        pytest.param("tanh", "float32", "fast", "float32", "", marks=pytest.mark.proof),
        pytest.param("sin", "float16", "accurate", "float32", "--activation sin ", marks=pytest.mark.proof),
        ("lorentzian", "float16", "fast", "float32", "--activation lorentzian "),
        ("dispersion", "float64", "accurate", "float64", "--activation dispersion "),
        ("sin", "int32", "accurate", "float32", "--activation sin "),
    ],
)
def test_a_candidate_is_measured_as_it_is_shipped(
    activation: str,
    storage: Storage,
    grade: Grade,
    precision: str,
    in_the_command: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(trial, "DistillConfig", partial(DistillConfig, adam_rounds=1, adam_steps=5))
    found = evaluate(TASK, HEAT, Candidate((4,), activation, storage, grade), tmp_path / "run")
    engine = load(tmp_path / "run" / "bundle")
    assert (engine.manifest.storage, engine.manifest.precision) == (storage, precision)
    assert is_fast(engine.manifest.profile) == (grade == "fast")
    function = "lorentzian" if activation == "dispersion" else activation
    assert f"{function}(" in (tmp_path / "run" / "bundle" / "heat_kernel.py").read_text()
    assert engine.manifest.sizes is not None
    assert found.cost.flash == engine.manifest.sizes.flash
    assert 0 < found.relative_l2 < 1
    assert found.ns is not None
    assert found.ns > 0
    assert found.command.startswith(f"kdpinn-edge distill heat --hidden 4 {in_the_command}--points 200 --rounds ")


@pytest.mark.filterwarnings("ignore:Heartbeat of storage is supposed")  # no trial is worked on here
def test_no_two_workers_take_the_same_trial(tmp_path: Path) -> None:
    """Optuna alone gives several of these trials to two workers on SQLite."""
    url, waiting, workers = f"sqlite:///{tmp_path / 'search.db'}", 40, 4
    opened = [open_study(TASK, url, heartbeat_seconds=60) for _ in range(workers)]
    for width in range(waiting):
        opened[0].enqueue_trial({"width": width})
    with ThreadPoolExecutor(workers) as pool:
        taken = pool.map(lambda study: [study.ask().number for _ in range(waiting // workers)], opened)
    assert sorted(number for numbers in taken for number in numbers) == list(range(waiting))


def test_a_worker_that_was_given_up_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As after a long sleep of the machine: another worker has ended its trial meanwhile."""
    url, made = f"sqlite:///{tmp_path / 'search.db'}", []

    def evaluated(task: Task, lesson: Lesson, candidate: Candidate, folder: Path) -> Outcome:
        made.append(candidate)
        if len(made) == 1:
            other = open_study(task, url, heartbeat_seconds=60)
            (running,) = other.get_trials(states=(TrialState.RUNNING,))
            other.tell(running.number, state=TrialState.FAIL)
        return replace(ACCURATE, candidate=candidate)

    monkeypatch.setattr("kdpinn_edge.studies.search.run.evaluate", evaluated)
    search(HEAT, TASK, Goal(max_error=1.0), tmp_path, trials=2, storage=url)
    states = [trial.state for trial in open_study(TASK, url, heartbeat_seconds=60).get_trials()]
    assert states == [TrialState.FAIL, TrialState.COMPLETE, TrialState.COMPLETE]


# Machines that are not here

BOARD = Task("heat", SHA256, cpu_seconds=0.1, points=1, threads=1, target="cortex-m7")
RECIPE = DistillConfig(adam_steps=5, newton_rounds=1, newton_steps=3, n_points=50, n_candidates=100, n_held_out=50)


@pytest.fixture
def tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    """A space of two shapes and one activation, and trials of a few steps."""
    monkeypatch.setattr("kdpinn_edge.studies.search.run.DEPTHS", (1,))
    monkeypatch.setattr("kdpinn_edge.studies.search.run.WIDTHS", (8, 64))
    monkeypatch.setattr("kdpinn_edge.studies.search.candidate.STORAGES", ("float32",))
    for module in ("run", "candidate"):
        monkeypatch.setattr(f"kdpinn_edge.studies.search.{module}.ACTIVATIONS", {"tanh": None})
    monkeypatch.setattr(
        "kdpinn_edge.studies.search.trial.recipe_within",
        lambda seconds, objective, domain, config: replace(
            RECIPE, hidden=config.hidden, activation=config.activation, physics_weight=0.0
        ),
    )


def test_the_student_that_a_board_can_afford(tiny: None, tmp_path: Path) -> None:
    """Only the smaller shape is; the larger one is not trained. What is known before training is what is measured."""
    cost = predicted(HEAT.problem, Candidate((8,), "tanh", "float32"), "cortex-m7", 1)
    assert cost.instructions is not None
    goal = Goal(max_instructions=round(1.5 * cost.instructions), max_flash=32 << 10)
    found = search(HEAT, BOARD, goal, tmp_path, trials=2)
    assert {o.candidate.hidden for o in found.outcomes} == {(8,)}
    assert {candidate.hidden for candidate, _ in found.rejected} <= {(64,)}
    assert found.best is not None
    assert found.best.ns is None
    accurate = [o for o in found.outcomes if o.candidate.grade == "accurate"]
    assert all(o.cost == cost for o in accurate)
    winner = finish(BOARD, HEAT, goal, found.best, tmp_path, recipe=RECIPE)
    assert winner.passed
    assert winner.outcome.relative_l2 <= found.best.relative_l2
    manifest = read_manifest(Path(winner.outcome.folder) / "bundle")
    assert (manifest.target.name, manifest.functions["eval"].instructions["1"]) == (  # type: ignore[index]
        "cortex-m7",
        winner.outcome.cost.instructions,
    )
    again = finish(BOARD, HEAT, goal, found.best, tmp_path, recipe=RECIPE)
    assert again.outcome == winner.outcome


def test_where_nothing_is_affordable_nothing_is_trained(
    tiny: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    goal = Goal(max_instructions=10)
    found = search(HEAT, BOARD, goal, tmp_path / "out", trials=2)
    assert found == Found((), (), None, None, found.rejected)
    assert len(found.rejected) == len(list(smallest("cortex-m7", "float")))
    assert not (tmp_path / "out").exists()
    print_nearest(Console(width=200), found, goal, BOARD)
    shown = capsys.readouterr().out
    assert "no student is within the limits, whatever it learns; nearest: 8 " in shown
    assert "over its limit" in shown


def test_a_larger_candidate_is_not_counted_where_a_smaller_one_is_far_too_dear(tmp_path: Path) -> None:
    costs, counted = Costs(BOARD, HEAT, Goal(max_instructions=100)), Candidate((8,), "tanh", "float32")
    assert costs.excesses(counted)["instructions"] > 1
    assert costs.excesses(Candidate((64,) * 4, "tanh", "float32")) == costs.excesses(counted)
    assert [candidate for candidate, _ in costs.rejected] == [counted]


def test_a_limit_that_cannot_be_counted_on_the_target(tmp_path: Path) -> None:
    for target, goal in (("wasm", Goal(max_instructions=99)), ("c99", Goal(max_error=0.1))):
        with pytest.raises(SearchError, match=rf"instructions of {target}: .*no emulator for {target}"):
            search(HEAT, replace(BOARD, target=target), goal, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_search_follows_samples(tiny: None, tmp_path: Path) -> None:
    x = np.random.default_rng(0).uniform(0, 1, (300, 2))
    lesson = find_lesson((x, np.sin(3 * x[:, 0]) * x[:, 1]), inputs="a, b", outputs="u")
    task = Task(lesson.problem.name, lesson.named["sha256"], cpu_seconds=0.1, points=1, threads=1)
    found = search(lesson, task, Goal(max_error=10.0), tmp_path, trials=1)
    assert found.best is not None
    program = find_model(found.best.folder).program
    held = lesson.domain.reference()
    wrong = interpret(program, held.points) - held.values
    expected = np.linalg.norm(wrong) / np.linalg.norm(held.values)
    assert found.best.relative_l2 == pytest.approx(expected, rel=1e-4)  # one is in float32


@pytest.mark.proof
def test_a_worker_that_dies_loses_no_finished_trial(tmp_path: Path) -> None:
    script, storage = tmp_path / "worker.py", f"sqlite:///{tmp_path / 'search.db'}"
    script.write_text(WORKER)

    def start(name: str) -> subprocess.Popen[bytes]:
        return subprocess.Popen([sys.executable, str(script), str(tmp_path / name), storage])

    def trials(*states: TrialState) -> list[optuna.trial.FrozenTrial]:
        try:
            return optuna.load_study(study_name="heat", storage=storage).get_trials(states=states)
        except (KeyError, OSError):
            return []
        except OperationalError:  # the tables are being made
            return []

    with start("dies") as dies:
        end = time.monotonic() + PATIENCE_SECONDS
        while not (trials(TrialState.COMPLETE) and trials(TrialState.RUNNING)) and time.monotonic() < end:
            time.sleep(0.2)
        os.kill(dies.pid, signal.SIGKILL)
    finished = {trial.number for trial in trials(TrialState.COMPLETE)}
    (lost,) = trials(TrialState.RUNNING)
    assert finished
    time.sleep((PATIENCE + 1) * HEARTBEAT_SECONDS)  # else the others may be done before it is known to be lost
    with start("one") as one, start("other") as other:
        assert one.wait(PATIENCE_SECONDS) == other.wait(PATIENCE_SECONDS) == 0
    complete = trials(TrialState.COMPLETE)
    assert len(complete) >= TRIALS
    assert finished <= {trial.number for trial in complete}
    assert [trial.number for trial in trials(TrialState.FAIL)] == [lost.number]
    taken_up = trials(TrialState.COMPLETE, TrialState.WAITING)  # it waits where the others were enough
    assert any(trial.params == lost.params for trial in taken_up)
    task = replace(TASK, cpu_seconds=1.0)
    found = search(
        HEAT, task, Goal(max_error=1.0), tmp_path / "one", trials=TRIALS, storage=storage
    )  # has all it needs
    assert {o.candidate.hidden for o in found.outcomes} == {(t.params["width"],) for t in complete}
    assert found.best == found.front[0]
    with pytest.raises(SearchError, match=r"holds another search.*points was 100, is now 7$"):
        search(HEAT, replace(task, points=7), Goal(max_error=1.0), tmp_path / "one", storage=storage)
    options = ["--points", "100", "--seconds", "1", "--trials", str(TRIALS), "--storage", storage, "--rounds", "1"]
    shown = CliRunner().invoke(
        cli.app, ["search", "heat", *options, "--max-error", "1", "--out", str(tmp_path / "one"), "--json"]
    )
    assert shown.exit_code == 0, shown.output
    assert json.loads(shown.stdout)["best"]["relative_l2"] == found.best.relative_l2
    hopeless = CliRunner().invoke(
        cli.app, ["search", "heat", *options, "--budget", "1ns", "--out", str(tmp_path / "one")]
    )
    assert hopeless.exit_code == 1
    assert "no student is within the limits; nearest:" in hopeless.stdout


def test_a_database_that_has_lost_a_table_is_refused(tmp_path: Path) -> None:
    """Otherwise an empty one would take its place, and with it go all trials."""
    task = Task("heat", "0" * 64, 1.0, 1, 1)
    whole, edited = tmp_path / "whole.db", tmp_path / "edited.db"
    open_study(task, f"sqlite:///{whole}", 20)
    with closing(sqlite3.connect(whole)) as connection:
        names = [name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
    for name in sorted({*names} - {"version_info", "alembic_version", "sqlite_sequence"}):
        shutil.copy(whole, edited)
        with closing(sqlite3.connect(edited)) as connection:
            connection.execute(f"DROP TABLE {name}")
        with pytest.raises(SearchError, match=f"has lost its {name}; expected: the database of a search"):
            open_study(task, f"sqlite:///{edited}", 20)
