"""The winner of a search: distilled in full, exported for its target, and checked."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from kdpinn_edge.checks.check import CheckResult, check
from kdpinn_edge.files import alone
from kdpinn_edge.studies.search.goal import Goal
from kdpinn_edge.studies.search.trial import BUNDLE, LOCK_FILE, Outcome, Task, measured
from kdpinn_edge.training import DistillConfig, teach
from kdpinn_edge.training.lesson import Lesson
from kdpinn_edge.training.progress import ProgressReport
from kdpinn_edge.training.run_folder import CONFIG_FILE


@dataclass(frozen=True)
class Winner:
    """The student that a search ends with, by how much it misses each limit, and what was checked of its bundle."""

    outcome: Outcome
    excesses: dict[str, float]
    checks: tuple[CheckResult, ...]

    @property
    def passed(self) -> bool:
        """Whether it keeps every limit, and no check of its bundle failed."""
        return max(self.excesses.values()) <= 0 and all(each.result != "failed" for each in self.checks)


def finish(
    task: Task,
    lesson: Lesson,
    goal: Goal,
    outcome: Outcome,
    folder: Path,
    *,
    recipe: DistillConfig | None = None,
    report: ProgressReport | None = None,
) -> Winner:
    """Distil the student of an outcome by the whole `recipe`, export it for the task's target, and check the bundle.

    Run and bundle lie in `folder`. What is there already is not done again, and workers of one search wait for each
    other. Where the student of the outcome itself is better, it wins. Raises KeyboardInterrupt where that came while it
    was distilled; the same call goes on.
    """
    chosen = outcome.candidate
    config = replace(recipe or DistillConfig(), hidden=chosen.hidden, activation=chosen.activation, physics_weight=0.0)
    with alone(folder / LOCK_FILE):
        run = folder / f"best_{chosen.name}"
        trained = teach(lesson, run, config, resume=(run / CONFIG_FILE).exists(), report=report)
        if not trained.finished:
            raise KeyboardInterrupt
        found = measured(task, lesson, chosen, trained)
    if outcome.relative_l2 < found.relative_l2 and Path(outcome.folder, BUNDLE).exists():
        found = outcome
    return Winner(found, goal.excesses(found), tuple(check(Path(found.folder, BUNDLE))))
