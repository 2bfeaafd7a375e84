"""A study in a database: workers on any machines claim its cells one by one, and leave there what came out.

The plan, without its cells, is an attribute of a study of Optuna; each cell is a trial that waits until a worker claims
it. A worker that dies stops reporting, and another one takes the cell up. What is finished is in the database with
its weights, so that every worker ends with the whole study in its folder.
"""

from __future__ import annotations

import base64
import time
import warnings
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import optuna
from optuna.exceptions import DuplicatedStudyError, ExperimentalWarning, TrialPruned, UpdateFinishedTrialError
from optuna.storages import RDBStorage
from optuna.trial import FrozenTrial, Trial, TrialState

from kdpinn_edge.errors import StudyError
from kdpinn_edge.files import alone, write_whole
from kdpinn_edge.studies import database
from kdpinn_edge.studies.database import HEARTBEAT_SECONDS
from kdpinn_edge.studies.study.measure import NetAccuracy
from kdpinn_edge.studies.study.plan import Plan, StudyCell, faults_of, read_cell, write_plan
from kdpinn_edge.studies.study.run import ACCURACY_FILE, StudyProgress, find_plan, measure_teacher, train_and_measure
from kdpinn_edge.training import load_pinn
from kdpinn_edge.training.run_folder import read_json, run_files, typed, write_json
from kdpinn_edge.training.teacher import fingerprint

OF = "a study"
PLAN, SOURCES, CELL, OUTCOME = "plan", "sources", "cell", "outcome"
START_SECONDS, WAIT_SECONDS = 60.0, 1.0
WAITING, RUNNING, COMPLETE = TrialState.WAITING, TrialState.RUNNING, TrialState.COMPLETE
readable = partial(database.readable, of=OF, error=StudyError)


@dataclass(frozen=True)
class CellOutcome:
    """What a worker leaves of a finished cell: its name, what was measured, and its run folder's record and weights."""

    cell: str
    accuracy: dict[str, Any]
    record: dict[str, Any]
    weights: str


def find_shared(url: str, problem_name: str) -> Plan | None:
    """The plan of the study of this problem in the database at `url`, with all of its cells; None where there is none.

    Raises StudyError where the database cannot be opened or read, or holds a study whose plan never came.
    """
    with readable(url):
        storage = database.connect(url, HEARTBEAT_SECONDS, OF, StudyError)
        try:
            if _name(problem_name) not in optuna.get_all_study_names(storage):
                return None
            return _plan(_loaded(storage, url, problem_name))
        finally:
            storage.engine.dispose()


def share(
    plan: Plan,
    folder: Path,
    url: str,
    problem_name: str,
    *,
    heartbeat_seconds: int = HEARTBEAT_SECONDS,
    report: Callable[[StudyProgress], None] = lambda progress: None,
) -> Plan | None:
    """Work on the study in the database at `url`, which `plan` begins or adds to, until all of its cells are finished.

    One cell at a time is trained, in `folder`, where all cells are in the end. Returns the plan with all cells, also
    those that other workers added; None after a KeyboardInterrupt, which gives the cell back. Raises StudyError where
    database or folder hold another study.
    """
    known = find_plan(folder, force=False)
    if known is not None and (faults := faults_of(known, plan)):
        raise StudyError(f"{folder} holds another study; expected: a new folder, or the same options: {faults}")
    with readable(url):
        storage = database.connect(url, heartbeat_seconds, OF, StudyError)
    try:
        return _shared(storage, plan, folder, url, problem_name, report)
    finally:
        storage.engine.dispose()


def _shared(
    storage: RDBStorage,
    plan: Plan,
    folder: Path,
    url: str,
    problem_name: str,
    report: Callable[[StudyProgress], None],
) -> Plan | None:
    with readable(url):
        study = _begun(storage, url, plan, problem_name)
        held, sources = _plan(study), study.user_attrs[SOURCES]
        faults = faults_of(held, plan) or ", ".join(name for name in sources if sources[name] != _sources(plan)[name])
        if faults:
            raise StudyError(
                f"{url} holds another study; expected: the same options, problem and teacher, or another storage: "
                f"{faults}"
            )
        for cell in plan.cells:
            if cell.name not in {each.name for each in held.cells}:
                _enqueue(study, cell)
    write_plan(plan, folder)
    measure_teacher(plan, folder)
    work = _Work(study, plan, folder)
    try:
        while not _is_finished(study, url, report):
            _do_one(study, work)
    except KeyboardInterrupt:
        return None
    with readable(url):
        whole = _plan(study)
        write_plan(whole, folder)
        outcomes = _outcomes(study)
        for cell in whole.cells:
            _leave(outcomes[cell.name], folder / cell.name)
    return whole


def _name(problem_name: str) -> str:
    return f"study of {problem_name}"


def _begun(storage: RDBStorage, url: str, plan: Plan, problem_name: str) -> optuna.Study:
    """The study in the database: the first worker's, whose cells then all wait there."""
    try:
        study = optuna.create_study(storage=storage, study_name=_name(problem_name))
    except DuplicatedStudyError:
        return _loaded(storage, url, problem_name)
    for cell in plan.cells:
        _enqueue(study, cell)
    study.set_user_attr(SOURCES, _sources(plan))
    study.set_user_attr(PLAN, asdict(replace(plan, cells=())))
    return study


def _sources(plan: Plan) -> dict[str, str]:
    """The SHA-256 of what every worker has to have: the teacher, and the file of the problem, if it has one."""
    guide = load_pinn(plan.teacher)
    origin = guide.problem.origin
    return {
        "teacher": fingerprint([tensor.detach().numpy() for tensor in guide.parameters()]),
        "problem": origin.sha256 if origin else "",
    }


def _loaded(storage: RDBStorage, url: str, problem_name: str) -> optuna.Study:
    """The study that another worker began, once it has written its plan."""
    study = optuna.load_study(study_name=_name(problem_name), storage=storage)
    end = time.monotonic() + START_SECONDS
    while PLAN not in study.user_attrs:
        if time.monotonic() > end:
            raise StudyError(
                f"{url} holds a study of {problem_name} without a plan; expected: its plan. The worker that began it "
                "ended before it had written it: take another --storage"
            )
        time.sleep(WAIT_SECONDS)
    return study


def _enqueue(study: optuna.Study, cell: StudyCell) -> None:
    study.enqueue_trial({}, user_attrs={CELL: {"method": cell.method, "config": asdict(cell.config)}})


def _plan(study: optuna.Study) -> Plan:
    """The plan of the study, with the cells of all of its trials; of one name, the first."""
    cells: dict[str, StudyCell] = {}
    for trial in _trials(study):
        cell = read_cell(trial.user_attrs[CELL])
        cells.setdefault(cell.name, cell)
    return replace(typed(study.user_attrs[PLAN] | {"cells": ()}, Plan), cells=tuple(cells.values()))


def _trials(study: optuna.Study, *states: TrialState) -> list[FrozenTrial]:
    """The trials that are cells, in the order in which they were added."""
    return [trial for trial in study.get_trials(deepcopy=False, states=states or None) if CELL in trial.user_attrs]


def _outcomes(study: optuna.Study) -> dict[str, CellOutcome]:
    """The outcomes of the cells that are finished, by their names."""
    documents = (trial.user_attrs.get(OUTCOME) for trial in _trials(study, COMPLETE))
    found = [msgspec.convert(database.unsealed(document), CellOutcome) for document in documents if document]
    return {outcome.cell: outcome for outcome in found}


def _is_finished(study: optuna.Study, url: str, report: Callable[[StudyProgress], None]) -> bool:
    """Whether every cell is; cells that nobody has or waits for, since a worker lost them, are given back."""
    with readable(url):
        done, cells = _outcomes(study), _plan(study).cells
    report(StudyProgress(len(done), len(cells), next(reversed(done), None)))
    if len(done) == len(cells):
        return True
    held = {read_cell(trial.user_attrs[CELL]).name for trial in _trials(study, WAITING, RUNNING)}
    for cell in cells:
        if cell.name not in done and cell.name not in held:
            _enqueue(study, cell)
    return False


def _do_one(study: optuna.Study, work: _Work) -> None:
    """Do a cell that waits; where all are with other workers, see whether one of these has died."""
    if not _trials(study, WAITING):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ExperimentalWarning)
            optuna.storages.fail_stale_trials(study)
        time.sleep(WAIT_SECONDS)
        return
    work.given_up = False
    try:
        study.optimize(work, n_trials=1)
    except ValueError:  # what Optuna makes of the end of a trial that had ended
        if not work.given_up:
            raise


class _Work:
    """The work on one trial: train and measure its cell, and leave the outcome."""

    def __init__(self, study: optuna.Study, plan: Plan, folder: Path) -> None:
        self.study, self.plan, self.folder = study, plan, folder
        self.given_up = False
        """Whether another worker took the cell up, because this one was suspended for long."""

    def __call__(self, trial: Trial) -> float:
        if CELL not in trial.user_attrs:  # another worker was faster, and Optuna made a trial of its own
            raise TrialPruned
        cell = read_cell(trial.user_attrs[CELL])
        if cell.name in _outcomes(self.study):
            raise TrialPruned
        run = self.folder / cell.name
        try:
            with alone(self.folder / f"{cell.name}.lock"):
                if not (run / ACCURACY_FILE).exists() and not train_and_measure(self.plan, cell, run):
                    raise KeyboardInterrupt
        except BaseException:
            _enqueue(self.study, cell)  # for another worker, at once
            raise
        outcome = database.sealed(asdict(_outcome(cell, run)))
        try:
            trial.set_user_attr(OUTCOME, outcome)
        except UpdateFinishedTrialError:
            self.given_up = True
            attrs = {CELL: trial.user_attrs[CELL], OUTCOME: outcome}
            self.study.add_trial(optuna.create_trial(state=COMPLETE, value=0.0, user_attrs=attrs))
            raise
        return 0.0


def _outcome(cell: StudyCell, run: Path) -> CellOutcome:
    weights, record = run_files(run)
    encoded = base64.b64encode(weights.read_bytes()).decode("ascii")
    return CellOutcome(cell.name, read_json(run / ACCURACY_FILE), read_json(record), encoded)


def _leave(outcome: CellOutcome, run: Path) -> None:
    """Write a finished cell into its folder, where it is not there."""
    if (run / ACCURACY_FILE).exists():
        return
    run.mkdir(exist_ok=True)
    weights, record = run_files(run)
    write_whole(weights, base64.b64decode(outcome.weights, validate=True))
    write_json(record, outcome.record)
    write_json(run / ACCURACY_FILE, asdict(typed(outcome.accuracy, NetAccuracy)))
