"""The work of a study: every cell that is missing is trained and measured, several at a time, each on one thread."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict, dataclass
from pathlib import Path

from kdpinn_edge.distillation import distill
from kdpinn_edge.errors import StudyError
from kdpinn_edge.files import Kind, check_free, clear
from kdpinn_edge.importers.model import captured, find_pinn
from kdpinn_edge.interrupts import undisturbed
from kdpinn_edge.studies import worker
from kdpinn_edge.studies.study.measure import accuracy
from kdpinn_edge.studies.study.plan import PLAN_FILE, Plan, StudyCell, read_plan, write_plan
from kdpinn_edge.training import DistillConfig, train
from kdpinn_edge.training.run_folder import CONFIG_FILE, RUN, write_json

ACCURACY_FILE = "accuracy.json"
TEACHER = "teacher"
JOBS = 2
LOCK = "*.lock"
STUDY = Kind("study", PLAN_FILE, (PLAN_FILE, LOCK, *(f"*/{file}" for file in (ACCURACY_FILE, *RUN.patterns))))


@dataclass(frozen=True)
class StudyProgress:
    """`done` of `cells` are trained and measured; `name` is the latest, None before the first."""

    done: int
    cells: int
    name: str | None


def study(
    plan: Plan,
    folder: Path,
    *,
    jobs: int = JOBS,
    force: bool = False,
    report: Callable[[StudyProgress], None] = lambda progress: None,
) -> bool:
    """Train and measure all cells of `plan` that `folder` lacks; return whether it has them all now.

    `force` begins anew: the study that the folder holds is removed. A KeyboardInterrupt ends it early: what is finished
    stays, what is not goes on next time where it stopped. Raises StudyError where `folder` holds another study, or
    other files.
    """
    found = find_plan(folder, force=force)
    if found is None:
        clear(folder)
    elif not set(found.cells) <= set(plan.cells):
        raise StudyError(f"{folder} holds other cells; expected: a new folder, or a plan that was made from its own")
    write_plan(plan, folder)
    measure_teacher(plan, folder)
    missing = [cell for cell in plan.cells if not (folder / cell.name / ACCURACY_FILE).exists()]
    done = len(plan.cells) - len(missing)
    report(StudyProgress(done, len(plan.cells), None))
    workers = min(jobs, max(1, len(missing)))
    with ProcessPoolExecutor(workers, multiprocessing.get_context("spawn"), initializer=worker.begin) as pool:
        with undisturbed():  # as the workers inherit it
            work = {pool.submit(_in_worker, plan, cell, folder / cell.name): cell for cell in missing}
        try:
            for future in as_completed(work):
                if not future.result():
                    return False
                done += 1
                report(StudyProgress(done, len(plan.cells), work[future].name))
        except KeyboardInterrupt:
            return False
        except BrokenProcessPool as error:
            raise StudyError(
                f"a process that trained for {folder} has ended; the usual cause is too little memory. The same "
                "command goes on; --jobs 1 takes less"
            ) from error
        finally:
            pool.shutdown(cancel_futures=True)
    return True


def check_shared(storage: str | None, jobs: int | None, *, force: bool = False) -> None:
    """Raise StudyError where options do not go with a database that workers share."""
    if storage and jobs is not None:
        raise StudyError(
            f"--jobs {jobs} with --storage: a worker trains one student at a time; expected: the same command, started "
            "again for another worker"
        )
    if storage and force:
        raise StudyError(f"--force with --storage {storage}: other workers may use it; expected: a new storage")


def find_plan(folder: Path, *, force: bool) -> Plan | None:
    """The plan that a study in `folder` goes on with; None where it begins anew, as `force` has it.

    Raises StudyError where the folder holds something else than a study.
    """
    if not force and (plan := read_plan(folder)) is not None:
        return plan
    check_free(folder, STUDY, StudyError, force=force)
    return None


def measure_teacher(plan: Plan, folder: Path) -> None:
    """Measure the teacher of a plan, where that was not done."""
    path = folder / TEACHER / ACCURACY_FILE
    if not path.exists():
        path.parent.mkdir(exist_ok=True)
        net = find_pinn(plan.teacher)
        write_json(path, asdict(accuracy(captured(net, net.problem.name), net.problem)))


def _in_worker(plan: Plan, cell: StudyCell, run: Path) -> bool:
    with worker.interruptible():
        return train_and_measure(plan, cell, run)


def train_and_measure(plan: Plan, cell: StudyCell, run: Path) -> bool:
    """Whether the cell is finished: False after an interrupt. What is there of it in its folder goes on."""
    resume = (run / CONFIG_FILE).exists()
    if isinstance(cell.config, DistillConfig):
        made = distill(
            plan.problem, run, cell.config, teacher=plan.teacher, resume=resume, cpu_seconds=plan.budget(cell)
        )
    else:
        made = train(plan.problem, run, cell.config, resume=resume, cpu_seconds=plan.budget(cell))
    if made.finished:
        write_json(run / ACCURACY_FILE, asdict(accuracy(captured(made.net, made.net.problem.name), made.net.problem)))
    return made.finished
