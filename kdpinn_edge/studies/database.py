"""The database that several workers share, by Optuna: a trial is a piece of work, claimed by one worker at a time."""

from __future__ import annotations

import hashlib
import json
import os
import sqlite3
import warnings
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from functools import partial
from time import sleep
from typing import Any

import msgspec
import optuna
from optuna.exceptions import ExperimentalWarning, OptunaError
from optuna.storages import RDBStorage, RetryHeartbeatStaleTrialCallback
from optuna.storages._rdb.models import BaseModel, VersionInfoModel
from sqlalchemy import Connection, Engine, event, make_url
from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from sqlalchemy.pool import ConnectionPoolEntry

from kdpinn_edge.errors import KdpinnError
from kdpinn_edge.reading import GIB, opened

HEARTBEAT_SECONDS = 20
SHA256 = "sha256"
VERSION = VersionInfoModel.__tablename__
PATIENCE = 4
"""A trial is taken up again when so many heartbeats are missing."""
SQLITE_PATIENCE_SECONDS = 60
TRIED_AGAIN, AGAIN_SECONDS = 3, 0.25
"""How often a database that does not open is tried again, and the wait in between."""
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


def connect(url: str, heartbeat_seconds: int, of: str, error: type[KdpinnError]) -> RDBStorage:
    """Connect to the database at `url`, which is made where it is an SQLite file that is not there.

    Raises `error`, where `of` says whose database is expected, where it cannot be opened.
    """
    optuna.logging.set_verbosity(optuna.logging.ERROR)  # its warnings show the traceback of an interrupt
    on_sqlite = url.startswith(("sqlite:", "sqlite+"))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)  # of heartbeats and constraints
        try:
            if on_sqlite:
                _check_file(url, of, error)
            storage = _opened(url, heartbeat_seconds, {"timeout": SQLITE_PATIENCE_SECONDS} if on_sqlite else {})
        except (SQLAlchemyError, ImportError) as found:
            raise error(
                f"{url!r} cannot be opened ({_first_line(found)}); expected: the URL of a database, as in "
                f"sqlite:////shared/{of.split()[-1]}.db, and the driver of its kind installed"
            ) from found
    if on_sqlite:
        _write_from_the_start(storage.engine)
    return storage


def _opened(url: str, heartbeat_seconds: int, connect_args: Mapping[str, Any]) -> RDBStorage:
    """Open the database, with Optuna's tables in it.

    Optuna looks for a table and then makes it: of two workers that begin at once one fails, and finds the other's
    tables when it tries again.
    """
    storage = partial(
        RDBStorage,
        url,
        {"connect_args": dict(connect_args)},
        heartbeat_interval=heartbeat_seconds,
        grace_period=PATIENCE * heartbeat_seconds,
        heartbeat_stale_trial_callback=RetryHeartbeatStaleTrialCallback(),
    )
    for _ in range(TRIED_AGAIN):
        with suppress(DBAPIError):
            return storage()
        sleep(AGAIN_SECONDS)
    return storage()


@contextmanager
def readable(url: str, of: str, error: type[KdpinnError]) -> Iterator[None]:
    """Raise `error` where what is done in here finds that the database at `url` is damaged."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ExperimentalWarning)
            yield
    except DAMAGE as found:
        raise error(
            f"{url!r} cannot be read ({_first_line(found)}); expected: the database of {of}. The usual cause is a "
            "damaged or edited file: take another --storage, or --force to begin anew"
        ) from found


def sealed(document: Mapping[str, Any]) -> dict[str, Any]:
    """What a trial remembers of a document: the database itself does not notice when a digit changes."""
    return dict(document) | {SHA256: _digest(document)}


def unsealed(found: Mapping[str, Any]) -> dict[str, Any]:
    """The document that was sealed. Raises ValueError where it is not as it was written."""
    document = dict(found)
    if document.pop(SHA256, None) != _digest(document):
        raise ValueError("an outcome is not as it was written")
    return document


def _digest(document: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(document, sort_keys=True).encode()).hexdigest()


def _first_line(error: Exception) -> str:
    return f"{type(error).__name__}: {error!s:.200}".splitlines()[0]


def _check_file(url: str, of: str, error: type[KdpinnError]) -> None:
    """Raise `error` where the database in a file is no regular one, is damaged, or has lost a table.

    Optuna would make an empty table in place of a lost one. It states its version in the database when all are made.
    """
    name = make_url(url).database
    if not name or name == ":memory:" or not os.path.lexists(name):
        return
    try:
        with opened(name, LARGEST):
            pass
    except OSError as found:
        raise error(f"{name}: {found.strerror}; expected: the database of {of}") from found
    with closing(sqlite3.connect(name, timeout=SQLITE_PATIENCE_SECONDS)) as connection:
        result = connection.execute("PRAGMA integrity_check(1)").fetchone()
        if result != ("ok",):
            raise error(f"{name}: SQLite finds it damaged ({result[0]}); expected: the database of {of}")
        held = {table for (table,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
        whole = VERSION in held and connection.execute(f"SELECT 1 FROM {VERSION}").fetchone() is not None  # noqa: S608
    if whole and (lost := sorted(BaseModel.metadata.tables.keys() - held)):
        raise error(
            f"{name} has lost its {', '.join(lost)}; expected: the database of {of}. The usual cause is an edited "
            "file: take another --storage, or --force to begin anew"
        )


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
