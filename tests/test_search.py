"""The search: what it takes for the best, and that a worker that dies loses nothing that is finished."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path

import optuna
import pytest
from optuna.trial import TrialState
from sqlalchemy.exc import OperationalError
from typer.testing import CliRunner

from kdpinn_edge import cli
from kdpinn_edge.bundle.manifest import Grade, Storage
from kdpinn_edge.errors import SearchError
from kdpinn_edge.numerics.lanes import is_fast
from kdpinn_edge.runtime import load
from kdpinn_edge.studies.search import Goal, search, trial
from kdpinn_edge.studies.search.goal import unbeaten
from kdpinn_edge.studies.search.run import open_study
from kdpinn_edge.studies.search.trial import Candidate, Outcome, Task, evaluate
from kdpinn_edge.training import DistillConfig

TEACHER = "heat_teacher"
TASK = Task("heat", TEACHER, cpu_seconds=1.0, points=100, threads=1)
TRIALS = 3
WORKER = f"""
import sys
from functools import partial
from pathlib import Path
from kdpinn_edge.studies.search import Goal, run, search, trial
from kdpinn_edge.studies.search.trial import Task
from kdpinn_edge.training import DistillConfig

run.DEPTHS, run.WIDTHS = (1,), (3, 4, 5, 6)  # small enough for a test
trial.DistillConfig = partial(DistillConfig, adam_rounds=1, adam_steps=5)
if __name__ == "__main__":
    task = Task("heat", "{TEACHER}", cpu_seconds=1.0, points=100, threads=1)
    search(task, Goal(max_error=1.0), Path(sys.argv[1]), trials={TRIALS}, storage=sys.argv[2], heartbeat_seconds=2)
"""
PATIENCE_SECONDS = 240


def outcome(relative_l2: float, ns: float, flash: int = 1000) -> Outcome:
    return Outcome(Candidate((8,), "tanh", "float32"), relative_l2, ns, flash, "", "", "")


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
        (["abacus"], "no problem is called 'abacus'"),
        (["wave", "--teacher", "nobody"], "nobody: no such file"),
    ):
        result = CliRunner().invoke(cli.app, ["search", *options, "--budget", "1ms", "--out", str(tmp_path / "out")])
        assert result.exit_code == 2
        assert message in " ".join(result.stderr.split())
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("activation", "storage", "grade", "precision", "in_the_command"),
    [
        ("tanh", "float32", "accurate", "float32", ""),
        ("tanh", "float32", "fast", "float32", ""),
        ("sin", "float16", "accurate", "float32", "--activation sin "),
        ("lorentzian", "float16", "fast", "float32", "--activation lorentzian "),
        ("dispersion", "float64", "accurate", "float64", "--activation dispersion "),
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
    found = evaluate(TASK, Candidate((4,), activation, storage, grade), tmp_path / "run")
    engine = load(tmp_path / "run" / "bundle")
    assert (engine.manifest.storage, engine.manifest.precision) == (storage, precision)
    assert is_fast(engine.manifest.profile) == (grade == "fast")
    function = "lorentzian" if activation == "dispersion" else activation
    assert f"{function}(" in (tmp_path / "run" / "bundle" / "heat_kernel.py").read_text()
    assert engine.manifest.sizes is not None
    assert found.flash == engine.manifest.sizes.flash
    assert 0 < found.relative_l2 < 1
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

    def evaluated(task: Task, candidate: Candidate, folder: Path) -> Outcome:
        made.append(candidate)
        if len(made) == 1:
            other = open_study(task, url, heartbeat_seconds=60)
            (running,) = other.get_trials(states=(TrialState.RUNNING,))
            other.tell(running.number, state=TrialState.FAIL)
        return replace(ACCURATE, candidate=candidate)

    monkeypatch.setattr("kdpinn_edge.studies.search.run.evaluate", evaluated)
    search(TASK, Goal(max_error=1.0), tmp_path, trials=2, storage=url)
    states = [trial.state for trial in open_study(TASK, url, heartbeat_seconds=60).get_trials()]
    assert states == [TrialState.FAIL, TrialState.COMPLETE, TrialState.COMPLETE]


@pytest.mark.slow
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
    with start("one") as one, start("other") as other:
        assert one.wait(PATIENCE_SECONDS) == other.wait(PATIENCE_SECONDS) == 0
    complete = trials(TrialState.COMPLETE)
    assert len(complete) >= TRIALS
    assert finished <= {trial.number for trial in complete}
    assert [trial.number for trial in trials(TrialState.FAIL)] == [lost.number]
    taken_up = trials(TrialState.COMPLETE, TrialState.WAITING)  # it waits where the others were enough
    assert any(trial.params == lost.params for trial in taken_up)
    found = search(TASK, Goal(max_error=1.0), tmp_path / "one", trials=TRIALS, storage=storage)  # has all it needs
    assert {o.candidate.hidden for o in found.outcomes} == {(t.params["width"],) for t in complete}
    assert found.best == found.front[0]
    with pytest.raises(SearchError, match=r"holds another search.*points was 100, is now 7$"):
        search(Task("heat", TEACHER, 1.0, 7, 1), Goal(max_error=1.0), tmp_path / "one", storage=storage)
    options = ["--teacher", TEACHER, "--points", "100", "--seconds", "1", "--trials", str(TRIALS), "--storage", storage]
    shown = CliRunner().invoke(
        cli.app, ["search", "heat", *options, "--max-error", "1", "--out", str(tmp_path / "one"), "--json"]
    )
    assert shown.exit_code == 0, shown.output
    assert json.loads(shown.stdout)["best"]["relative_l2"] == found.best.relative_l2
    hopeless = CliRunner().invoke(
        cli.app, ["search", "heat", *options, "--budget", "1ns", "--out", str(tmp_path / "one")]
    )
    assert hopeless.exit_code == 1
    assert "no student is within the limits" in hopeless.stdout
