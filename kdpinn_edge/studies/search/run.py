"""The search itself, by Optuna: the next candidate is chosen in the light of all that are finished, wherever they were.

What a search knows lies in its storage, a database. A worker that dies leaves a trial that stops reporting; another
worker takes the same candidate up again. One that was only suspended goes on with the next.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import optuna
from optuna.exceptions import TrialPruned, UpdateFinishedTrialError
from optuna.study import MaxTrialsCallback
from optuna.trial import FrozenTrial, Trial, TrialState

from kdpinn_edge.bundle.manifest import Grade, Storage
from kdpinn_edge.errors import SearchError
from kdpinn_edge.files import Kind, check_free, clear
from kdpinn_edge.studies.database import HEARTBEAT_SECONDS
from kdpinn_edge.studies.search.candidate import (
    DEPTHS,
    WIDTHS,
    Candidate,
    Cost,
    check_arithmetic,
    grades,
    storages,
)
from kdpinn_edge.studies.search.costs import Costs, check_measurable
from kdpinn_edge.studies.search.goal import Goal, unbeaten
from kdpinn_edge.studies.search.storage import OUTCOME, finished, open_study, outcome_of, outcomes, sealed
from kdpinn_edge.studies.search.trial import BUNDLE, LOCK_FILE, Outcome, Task, evaluate
from kdpinn_edge.training.activations import ACTIVATIONS
from kdpinn_edge.training.lesson import Lesson
from kdpinn_edge.training.run_folder import RUN

_RUN_FILES = (*RUN.patterns, f"{BUNDLE}/*")
DATABASE = "search.db"
SEARCH = Kind(
    "search",
    DATABASE,
    (f"{DATABASE}*", LOCK_FILE, *(f"{run}/{file}" for run in ("trial_*", "best_*") for file in _RUN_FILES)),
)


@dataclass(frozen=True)
class SearchProgress:
    """`done` of `trials` students are made; `outcome` is the latest."""

    done: int
    trials: int
    outcome: Outcome


@dataclass(frozen=True)
class Found:
    """The result of a search: all outcomes, the cheapest first; the front of price and error; the best for the goal.

    `nearest` misses the limits by the least share. `rejected` are the candidates that were too dear to be trained.
    """

    outcomes: tuple[Outcome, ...]
    front: tuple[Outcome, ...]
    best: Outcome | None
    nearest: Outcome | None
    rejected: tuple[tuple[Candidate, Cost], ...]


def search(
    lesson: Lesson,
    task: Task,
    goal: Goal,
    folder: Path,
    *,
    trials: int = 30,
    storage: str | None = None,
    force: bool = False,
    heartbeat_seconds: int = HEARTBEAT_SECONDS,
    report: Callable[[SearchProgress], None] = lambda progress: None,
) -> Found:
    """Work on the search in `storage` until it has as many finished trials; the runs of this worker lie in `folder`.

    `storage` is a database URL as Optuna takes it, by default an SQLite file in `folder`. What costs more than the goal
    allows is not trained, and is no trial; where nothing costs less, there are none. `force` begins anew: the search
    that the folder holds is removed, which needs the default storage. Raises SearchError where a limit cannot be
    measured on the target, the storage holds the search of another task, or the folder something else than a search,
    KeyboardInterrupt where that came; what is finished stays.
    """
    check_measurable(task, goal)
    check_arithmetic(lesson.problem, task.target, task.arithmetic)
    if force and storage is not None:
        raise SearchError(f"--force with --storage {storage}: other workers may use it; expected: a new storage")
    if storage is None and (force or not (folder / DATABASE).exists()):
        check_free(folder, SEARCH, SearchError, force=force)
    costs = Costs(task, lesson, goal)
    if not costs.affordable():
        return Found((), (), None, None, costs.rejected)
    if storage is None:
        if force:
            clear(folder)
        folder.mkdir(parents=True, exist_ok=True)
        storage = f"sqlite:///{(folder / DATABASE).absolute()}"
    study = open_study(task, storage, heartbeat_seconds)
    folder.mkdir(parents=True, exist_ok=True)
    work = _Work(study, lesson, task, goal, costs, folder)

    def told(study: optuna.Study, trial: FrozenTrial) -> None:
        if OUTCOME in trial.user_attrs:
            report(SearchProgress(finished(study), trials, outcome_of(trial)))

    while finished(study) < trials:
        work.given_up.clear()
        try:
            study.optimize(work, callbacks=[told, MaxTrialsCallback(trials, states=(TrialState.COMPLETE,))])
        except ValueError:  # what Optuna makes of the error of a trial that has ended
            if not work.given_up:
                raise
    found = sorted(set(outcomes(study)), key=lambda outcome: outcome.price)
    return Found(tuple(found), tuple(unbeaten(found)), goal.best(found), goal.nearest(found), costs.rejected)


class _Work:
    """The work on one trial: from what Optuna suggests to error and price."""

    def __init__(self, study: optuna.Study, lesson: Lesson, task: Task, goal: Goal, costs: Costs, folder: Path) -> None:
        self.study, self.lesson, self.task, self.goal, self.costs, self.folder = (
            study,
            lesson,
            task,
            goal,
            costs,
            folder,
        )
        self.given_up: set[int] = set()
        """Trials that other workers took up again while this one was suspended."""

    def __call__(self, trial: Trial) -> tuple[float, float]:
        candidate = _suggested(trial, self.task)
        known = next((outcome for outcome in outcomes(self.study) if outcome.candidate == candidate), None)
        if known is None and (excesses := self.costs.excesses(candidate)):
            _constrain(trial, excesses)
            raise TrialPruned
        outcome = known or evaluate(self.task, self.lesson, candidate, self.folder / f"trial_{trial.number:04}")
        try:
            trial.set_user_attr(OUTCOME, sealed(outcome))
        except UpdateFinishedTrialError:
            self.given_up.add(trial.number)
            raise
        _constrain(trial, self.goal.excesses(outcome))
        return outcome.relative_l2, outcome.price


def _constrain(trial: Trial, excesses: dict[str, float]) -> None:
    for name, excess in excesses.items():
        trial.set_constraint(name, excess)


def _suggested(trial: Trial, task: Task) -> Candidate:
    depth, width = trial.suggest_categorical("depth", DEPTHS), trial.suggest_categorical("width", WIDTHS)
    activation = trial.suggest_categorical("activation", tuple(ACTIVATIONS))
    storage = cast("Storage", trial.suggest_categorical("storage", storages(task.target, task.arithmetic)))
    allowed = grades(storage)
    grade = allowed[0] if len(allowed) == 1 else cast("Grade", trial.suggest_categorical("grade", allowed))
    return Candidate((width,) * depth, activation, storage, grade)
