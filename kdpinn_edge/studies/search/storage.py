"""Where a search keeps what it knows: a study of Optuna in a database, which several workers share."""

from __future__ import annotations

import os
import platform
import zlib
from dataclasses import asdict
from typing import Any

import msgspec
import optuna
from optuna.samplers import TPESampler
from optuna.trial import FrozenTrial, TrialState

from kdpinn_edge.errors import SearchError, listing
from kdpinn_edge.studies import database
from kdpinn_edge.studies.search.trial import Outcome, Task

TASK, OUTCOME = "task", "outcome"
OF = "a search"


def open_study(task: Task, url: str, heartbeat_seconds: int) -> optuna.Study:
    """Open the search in the database at `url`, or start a new one where it holds none.

    Raises SearchError where the database cannot be opened, or holds the search of another task.
    """
    with database.readable(url, OF, SearchError):
        storage = database.connect(url, heartbeat_seconds, OF, SearchError)
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


def finished(study: optuna.Study) -> int:
    """The number of finished trials."""
    return len(study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,)))


def outcomes(study: optuna.Study) -> list[Outcome]:
    """The outcomes of all finished trials."""
    return [outcome_of(trial) for trial in study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))]


def outcome_of(trial: FrozenTrial) -> Outcome:
    """The outcome of a finished trial."""
    return msgspec.convert(database.unsealed(trial.user_attrs[OUTCOME]), Outcome)


def sealed(outcome: Outcome) -> dict[str, Any]:
    """What a trial remembers of its outcome."""
    return database.sealed(asdict(outcome))
