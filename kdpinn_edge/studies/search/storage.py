"""Where a search keeps what it knows: a database, by Optuna, which several workers share."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import sqlite3
import warnings
import zlib
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import asdict
from typing import Any

import msgspec
import optuna
from optuna.exceptions import ExperimentalWarning, OptunaError
from optuna.samplers import TPESampler
from optuna.storages import RDBStorage, RetryHeartbeatStaleTrialCallback
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy import Connection, Engine, event, make_url
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.pool import ConnectionPoolEntry

from kdpinn_edge.errors import SearchError, listing
from kdpinn_edge.reading import GIB, opened
from kdpinn_edge.studies.search.trial import Outcome, Task

TASK, OUTCOME, SHA256 = "task", "outcome", "sha256"
PATIENCE = 4
"""A trial is taken up again when so many heartbeats are missing."""
SQLITE_PATIENCE_SECONDS = 60
LARGEST = GIB
"""Bytes that a database in a file may have."""
DAMAGE = (
    SQLAlchemyError,
    OptunaError,
    sqlite3.Error,
    msgspec.ValidationError,
    LookupError,
    TypeError,
    ValueError,
    AssertionError,
    RuntimeError,
    AttributeError,
)
"""What Optuna and SQLAlchemy raise on a database that holds something else than they wrote."""


def open_study(task: Task, url: str, heartbeat_seconds: int) -> optuna.Study:
    """Open the search in the database at `url`, or start a new one where it holds none.

    Raises SearchError where the database cannot be opened, or holds the search of another task.
    """
    optuna.logging.set_verbosity(optuna.logging.ERROR)  # its warnings show the traceback of an interrupt
    on_sqlite = url.startswith(("sqlite:", "sqlite+"))
    with warnings.catch_warnings(), readable(url):
        warnings.simplefilter("ignore", ExperimentalWarning)  # of heartbeats and constraints
        try:
            if on_sqlite:
                _check_file(url)
            storage = RDBStorage(
                url,
                {"connect_args": {"timeout": SQLITE_PATIENCE_SECONDS}} if on_sqlite else None,
                heartbeat_interval=heartbeat_seconds,
                grace_period=PATIENCE * heartbeat_seconds,
                heartbeat_stale_trial_callback=RetryHeartbeatStaleTrialCallback(),
            )
        except (SQLAlchemyError, ImportError) as error:
            raise SearchError(
                f"{url!r} cannot be opened ({_first_line(error)}); expected: the URL of a database, as in "
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
        held = dict(study.user_attrs.get(TASK, described))
        outcomes(study)
    faults = [f"{key} was {held.get(key)!r}, is now {now!r}" for key, now in described.items() if held.get(key) != now]
    if faults:
        raise SearchError(
            f"{url} holds another search; expected: its options, another storage, or --force to begin anew in OUT: "
            f"{listing(faults)}"
        )
    study.set_user_attr(TASK, described)
    return study


@contextmanager
def readable(url: str) -> Iterator[None]:
    """Raise SearchError where what is done in here finds that the database at `url` is damaged."""
    try:
        yield
    except DAMAGE as error:
        raise SearchError(
            f"{url!r} cannot be read ({_first_line(error)}); expected: the database of a search. The usual cause is a "
            "damaged or edited file: take another --storage, or --force to begin anew"
        ) from error


def _first_line(error: Exception) -> str:
    return f"{type(error).__name__}: {error!s:.200}".splitlines()[0]


def _check_file(url: str) -> None:
    """Raise SearchError where the database in a file is no regular one, or SQLite finds it damaged."""
    name = make_url(url).database
    if not name or name == ":memory:" or not os.path.lexists(name):
        return
    try:
        with opened(name, LARGEST):
            pass
    except OSError as error:
        raise SearchError(f"{name}: {error.strerror}; expected: the database of a search") from error
    with closing(sqlite3.connect(name, timeout=SQLITE_PATIENCE_SECONDS)) as connection:
        found = connection.execute("PRAGMA integrity_check(1)").fetchone()
    if found != ("ok",):
        raise SearchError(f"{name}: SQLite finds it damaged ({found[0]}); expected: the database of a search")


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


def finished(study: optuna.Study) -> int:
    """The number of finished trials."""
    return len(study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,)))


def outcomes(study: optuna.Study) -> list[Outcome]:
    """The outcomes of all finished trials."""
    return [outcome_of(trial) for trial in study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))]


def outcome_of(trial: FrozenTrial) -> Outcome:
    """The outcome of a finished trial."""
    document = dict(trial.user_attrs[OUTCOME])
    if document.pop(SHA256, None) != _digest(document):
        raise ValueError("an outcome is not as it was written")
    return msgspec.convert(document, Outcome)


def sealed(outcome: Outcome) -> dict[str, Any]:
    """What a trial remembers of its outcome: the database itself does not notice when a digit changes."""
    document = asdict(outcome)
    return document | {SHA256: _digest(document)}


def _digest(document: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(document, sort_keys=True).encode()).hexdigest()
