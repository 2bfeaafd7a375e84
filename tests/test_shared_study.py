"""A study that workers share through a database: nothing is done twice, and what a killed one had begun is done."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from pathlib import Path
from threading import Barrier

import optuna
import pytest
from optuna.storages import RDBStorage
from optuna.trial import TrialState
from postgres import cluster, tool
from sqlalchemy import create_engine, text
from test_search import WORKER as SEARCH_WORKER
from typer.testing import CliRunner

from kdpinn_edge import cli
from kdpinn_edge.errors import StudyError
from kdpinn_edge.studies.database import connect
from kdpinn_edge.studies.study import Plan, StudyCell, make_plan, read_plan, results
from kdpinn_edge.studies.study import shared as shared_module
from kdpinn_edge.studies.study.plan import write_plan
from kdpinn_edge.studies.study.shared import CELL, find_shared, share
from kdpinn_edge.training import TrainConfig
from kdpinn_edge.training.run_folder import CHECKPOINT_FILE

TINY = {"n_points": 32, "n_candidates": 64, "adam_rounds": 1, "adam_steps": 5, "n_held_out": 32, "newton_steps": 2}
HEARTBEAT_SECONDS = 1
Started = AbstractContextManager[subprocess.Popen[bytes]]
PATIENCE_SECONDS = 300.0
STUDY_WORKER = f"""
import sys
from pathlib import Path
from kdpinn_edge.studies.study import read_plan
from kdpinn_edge.studies.study.shared import share

folder = Path(sys.argv[1])
share(read_plan(Path(sys.argv[3])), folder, sys.argv[2], "heat", heartbeat_seconds={HEARTBEAT_SECONDS})
"""


def plan(seeds: int, rounds: int = 1) -> Plan:
    config = TrainConfig(hidden=(3,), newton_rounds=rounds, **TINY)  # type: ignore[arg-type]
    cells = (StudyCell("scratch", replace(config, seed=seed)) for seed in range(seeds))
    return Plan("heat", "heat_small", "lm", 1.0, 9.0, tuple(cells))


def url(folder: Path) -> str:
    return f"sqlite:///{folder / 'study.db'}"


@contextmanager
def opened(url: str) -> Iterator[RDBStorage]:
    storage = connect(url, 60, "a study", StudyError)
    try:
        yield storage
    finally:
        storage.engine.dispose()


def cells_of(storage: str, *states: TrialState) -> list[str]:
    """The seeds of the cells of all trials in these states."""
    with opened(storage) as held:
        study = optuna.load_study(study_name="study of heat", storage=held)
        trials = [trial for trial in study.get_trials(states=states) if CELL in trial.user_attrs]
    return sorted(str(trial.user_attrs[CELL]["config"]["seed"]) for trial in trials)


def test_what_one_worker_finished_another_has_without_training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    storage = url(tmp_path)
    assert find_shared(storage, "heat") is None
    assert share(plan(1), tmp_path / "a", storage, "heat") == plan(1)
    assert find_shared(storage, "heat") == plan(1)
    trained: list[str] = []
    train_and_measure = shared_module.train_and_measure

    def told(of: Plan, cell: StudyCell, run: Path) -> bool:
        trained.append(cell.name)
        if trained == ["scratch_3_seed1"]:
            return False  # as after Ctrl-C
        return train_and_measure(of, cell, run)

    monkeypatch.setattr(shared_module, "train_and_measure", told)
    assert share(plan(2), tmp_path / "b", storage, "heat") is None
    assert cells_of(storage, TrialState.WAITING) == ["1"]  # given back at once
    assert share(plan(2), tmp_path / "b", storage, "heat") == plan(2) == read_plan(tmp_path / "b")
    assert trained == ["scratch_3_seed1"] * 2
    for file in ("model.safetensors", "model.json", "accuracy.json"):
        name = f"scratch_3_seed0/{file}"
        assert (tmp_path / "b" / name).read_bytes() == (tmp_path / "a" / name).read_bytes()
    assert len(results(plan(2), tmp_path / "b")) == 2
    assert cells_of(storage, TrialState.COMPLETE) == ["0", "1"]
    with create_engine(storage).begin() as connection:
        connection.execute(text("UPDATE trial_user_attributes SET value_json = replace(value_json, 'seed0', 'seed9')"))
    with pytest.raises(StudyError, match=r"cannot be read .*an outcome is not as it was written"):
        share(plan(2), tmp_path / "c", storage, "heat")


def test_a_database_of_another_study_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    storage = url(tmp_path)
    assert share(plan(1), tmp_path / "a", storage, "heat") is not None
    for other, message in (
        (replace(plan(1), cpu_seconds=2.0), "cpu_seconds was 1.0, is now 2.0"),
        (replace(plan(1), teacher="heat_student"), "teacher was 'heat_small', is now"),
    ):
        with pytest.raises(StudyError, match=f"holds another study; expected: the same options.*{message}"):
            share(other, tmp_path / "b", storage, "heat")
    monkeypatch.setattr(shared_module, "fingerprint", lambda arrays: "other")  # as after training it again
    with pytest.raises(StudyError, match="the same options, problem and teacher, or another storage: teacher"):
        share(plan(1), tmp_path / "b", storage, "heat")
    with opened(storage) as held:
        optuna.create_study(storage=held, study_name="study of wave")
    monkeypatch.setattr(shared_module, "START_SECONDS", 0.0)
    with pytest.raises(StudyError, match="holds a study of wave without a plan"):
        find_shared(storage, "wave")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--jobs", "2"], "--jobs 2 with --storage: a worker trains one student at a time"),
        (["--force"], "--force with --storage sqlite:///x: other workers may use it"),
    ],
)
def test_options_that_do_not_go_with_a_database(options: list[str], message: str, tmp_path: Path) -> None:
    words = ["study", "heat", "--storage", "sqlite:///x", "--out", str(tmp_path / "out"), *options]
    result = CliRunner().invoke(cli.app, words)
    assert result.exit_code == 2
    assert message in " ".join(result.stderr.split())


@pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")  # what threads filter is not their own
def test_workers_that_begin_at_once_make_one_database(tmp_path: Path) -> None:
    together = Barrier(4)

    def begin(_: int) -> None:
        together.wait()
        connect(url(tmp_path), HEARTBEAT_SECONDS, "a study", StudyError).engine.dispose()

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(begin, range(4)))


@pytest.fixture(scope="module")
def database() -> Iterator[str]:
    pytest.importorskip("psycopg")
    initdb, postgres = tool("initdb"), tool("postgres")
    if initdb is None or postgres is None:
        pytest.skip("PostgreSQL is not there: apt-get install postgresql")
    with cluster(initdb, postgres) as storage:
        yield storage


@contextmanager
def worker(program: str, *words: str) -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen([sys.executable, "-c", program, *words]) as process:
        try:
            yield process
        finally:
            process.kill()


def until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.1)


@pytest.mark.hosts
def test_three_workers_on_postgresql_of_which_one_is_killed_and_one_comes_late(database: str, tmp_path: Path) -> None:
    whole = plan(6, rounds=60)
    write_plan(whole, tmp_path / "plan")

    def start(name: str) -> Started:
        return worker(STUDY_WORKER, str(tmp_path / name), database, str(tmp_path / "plan"))

    with start("dies") as dies, start("stays") as stays:
        until(lambda: any((tmp_path / "dies").glob(f"*/{CHECKPOINT_FILE}")))
        dies.send_signal(signal.SIGKILL)
        dies.wait()
        lost = cells_of(database, TrialState.RUNNING)
        with start("late") as late:
            assert stays.wait(PATIENCE_SECONDS) == late.wait(PATIENCE_SECONDS) == 0
    failed = cells_of(database, TrialState.FAIL)
    assert len(failed) == 1
    assert set(failed) <= set(lost)
    assert cells_of(database, TrialState.COMPLETE) == [str(seed) for seed in range(6)]
    for cell in whole.cells:
        weights = {(tmp_path / name / cell.name / "model.safetensors").read_bytes() for name in ("stays", "late")}
        assert len(weights) == 1
    assert find_shared(database, "heat") == whole


@pytest.mark.hosts
def test_a_search_on_postgresql_outlives_a_worker(database: str, tmp_path: Path) -> None:
    def start(name: str) -> Started:
        return worker(SEARCH_WORKER, str(tmp_path / name), database)

    with start("dies") as dies, start("stays") as stays:
        until(lambda: any((tmp_path / "dies").glob(f"*/{CHECKPOINT_FILE}")))
        dies.send_signal(signal.SIGKILL)
        with start("late") as late:
            assert stays.wait(PATIENCE_SECONDS) == late.wait(PATIENCE_SECONDS) == 0
    with opened(database) as held:
        study = optuna.load_study(study_name="heat", storage=held)
        assert len(study.get_trials(states=(TrialState.COMPLETE,))) >= 3
        assert not study.get_trials(states=(TrialState.RUNNING,))


def test_a_plan_that_others_made_needs_no_counting(tmp_path: Path) -> None:
    storage = url(tmp_path)
    known = share(plan(1), tmp_path / "a", storage, "heat")
    more = make_plan(
        "heat", teacher="heat_small", sizes=((3,),), methods=("scratch",), seeds=2, cpu_seconds=1.0, known=known
    )
    assert [cell.config.newton_rounds for cell in more.cells] == [1, 1]
