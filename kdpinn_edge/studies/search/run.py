"""The search itself, by Optuna: the next candidate is chosen in the light of all that are finished, wherever they were.

What a search knows lies in its storage, a database. A worker that dies leaves a trial that stops reporting; another
worker takes the same candidate up again. One that was only suspended goes on with the next.
"""

from __future__ import annotations

import os
import platform
import sqlite3
import warnings
import zlib
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, cast, get_args

import optuna
from optuna.exceptions import ExperimentalWarning, UpdateFinishedTrialError
from optuna.samplers import TPESampler
from optuna.storages import RDBStorage, RetryHeartbeatStaleTrialCallback
from optuna.study import MaxTrialsCallback
from optuna.trial import FrozenTrial, Trial, TrialState
from sqlalchemy import Connection, Engine, event
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.pool import ConnectionPoolEntry

from kdpinn_edge.bundle.manifest import Grade, Storage
from kdpinn_edge.errors import SearchError, listing
from kdpinn_edge.problems import problem
from kdpinn_edge.studies.search.goal import Goal, unbeaten
from kdpinn_edge.studies.search.trial import Candidate, Outcome, Task, evaluate
from kdpinn_edge.training.activations import ACTIVATIONS
from kdpinn_edge.training.teacher import find_teacher

DEPTHS = (1, 2, 3, 4)
WIDTHS = (8, 12, 16, 20, 24, 32, 48, 64)
STORAGES: tuple[Storage, ...] = ("float16", "float32", "float64")
TASK, OUTCOME = "task", "outcome"
HEARTBEAT_SECONDS = 20
PATIENCE = 4
"""A trial is taken up again when so many heartbeats are missing."""
SQLITE_PATIENCE_SECONDS = 60


@dataclass(frozen=True)
class Found:
    """The result of a search: all outcomes, the fastest first; the front of time and error; the best for the goal."""

    outcomes: tuple[Outcome, ...]
    front: tuple[Outcome, ...]
    best: Outcome | None


def search(
    task: Task,
    goal: Goal,
    folder: Path,
    *,
    trials: int = 30,
    storage: str | None = None,
    heartbeat_seconds: int = HEARTBEAT_SECONDS,
    report: Callable[[int, Outcome], None] = lambda finished, outcome: None,
) -> Found:
    """Work on the search in `storage` until it has as many finished trials; the runs of this worker lie in `folder`.

    `storage` is a database URL as Optuna takes it, by default an SQLite file in `folder`. Raises SearchError where it
    holds the search of another task, KeyboardInterrupt where that came; what is finished stays.
    """
    find_teacher(task.teacher, problem(task.problem))  # before anything is written
    if storage is None:
        folder.mkdir(parents=True, exist_ok=True)
        storage = f"sqlite:///{(folder / 'search.db').absolute()}"
    study = open_study(task, storage, heartbeat_seconds)
    folder.mkdir(parents=True, exist_ok=True)

    given_up: set[int] = set()  # while this worker was suspended another one took them up again

    def objective(trial: Trial) -> tuple[float, float]:
        candidate = _suggested(trial)
        known = next((outcome for outcome in _outcomes(study) if outcome.candidate == candidate), None)
        outcome = known or evaluate(task, candidate, folder / f"trial_{trial.number:04}")
        try:
            trial.set_user_attr(OUTCOME, asdict(outcome))
        except UpdateFinishedTrialError:
            given_up.add(trial.number)
            raise
        for name, excess in goal.excesses(outcome).items():
            trial.set_constraint(name, excess)
        return outcome.relative_l2, outcome.ns

    def told(study: optuna.Study, trial: FrozenTrial) -> None:
        if OUTCOME in trial.user_attrs:
            report(_finished(study), _outcome(trial))

    while _finished(study) < trials:
        given_up.clear()
        try:
            study.optimize(objective, callbacks=[told, MaxTrialsCallback(trials, states=(TrialState.COMPLETE,))])
        except ValueError:  # what Optuna makes of the error of a trial that has ended
            if not given_up:
                raise
    outcomes = sorted(set(_outcomes(study)), key=lambda outcome: outcome.ns)
    return Found(tuple(outcomes), tuple(unbeaten(outcomes)), goal.best(outcomes))


def open_study(task: Task, url: str, heartbeat_seconds: int) -> optuna.Study:
    """Open the search in the database at `url`, or start a new one where it holds none.

    Raises SearchError where the database cannot be opened, or holds the search of another task.
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    on_sqlite = url.startswith(("sqlite:", "sqlite+"))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)  # of heartbeats and constraints
        try:
            storage = RDBStorage(
                url,
                {"connect_args": {"timeout": SQLITE_PATIENCE_SECONDS}} if on_sqlite else None,
                heartbeat_interval=heartbeat_seconds,
                grace_period=PATIENCE * heartbeat_seconds,
                heartbeat_stale_trial_callback=RetryHeartbeatStaleTrialCallback(),
            )
        except (SQLAlchemyError, ImportError) as error:
            raise SearchError(
                f"{url!r} cannot be opened ({str(error).splitlines()[0]}); expected: the URL of a database, as in "
                "sqlite:////shared/search.db, and the driver of its kind installed"
            ) from error
        if on_sqlite:
            _write_from_the_start(storage.engine)
        study = optuna.create_study(
            storage=storage, study_name=task.problem, directions=["minimize", "minimize"], load_if_exists=True
        )
        worker = f"{platform.node()} {os.getpid()}"  # those that start together must not try the same
        study.sampler = TPESampler(seed=zlib.crc32(worker.encode()))
    described = asdict(task)
    held = study.user_attrs.get(TASK, described)
    faults = [f"{key} was {held.get(key)!r}, is now {now!r}" for key, now in described.items() if held.get(key) != now]
    if faults:
        raise SearchError(f"{url} holds another search; expected: its options, or another storage: {listing(faults)}")
    study.set_user_attr(TASK, described)
    return study


def _write_from_the_start(engine: Engine) -> None:
    """Begin every transaction of SQLite with the right to write.

    Optuna claims a trial by SELECT FOR UPDATE, which SQLite does not have: two workers may both read that a trial
    waits, and both take it.
    """
    engine.dispose()  # what was connected before has no listener
    event.listen(engine, "connect", _leave_beginning_to_sqlalchemy)
    event.listen(engine, "begin", _begin_immediately)


def _leave_beginning_to_sqlalchemy(connection: sqlite3.Connection, record: ConnectionPoolEntry) -> None:
    connection.isolation_level = None


def _begin_immediately(connection: Connection) -> None:
    connection.exec_driver_sql("BEGIN IMMEDIATE")


def _suggested(trial: Trial) -> Candidate:
    depth, width = trial.suggest_categorical("depth", DEPTHS), trial.suggest_categorical("width", WIDTHS)
    activation = trial.suggest_categorical("activation", tuple(ACTIVATIONS))
    storage = cast("Storage", trial.suggest_categorical("storage", STORAGES))
    grade = "accurate" if storage == "float64" else trial.suggest_categorical("grade", get_args(Grade))
    return Candidate((width,) * depth, activation, storage, cast("Grade", grade))


def _finished(study: optuna.Study) -> int:
    return len(study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,)))


def _outcomes(study: optuna.Study) -> list[Outcome]:
    return [_outcome(trial) for trial in study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))]


def _outcome(trial: FrozenTrial) -> Outcome:
    found: dict[str, Any] = trial.user_attrs[OUTCOME]
    candidate = Candidate(**found["candidate"] | {"hidden": tuple(found["candidate"]["hidden"])})
    return Outcome(**found | {"candidate": candidate})
