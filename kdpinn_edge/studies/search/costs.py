"""What is too dear to be trained: the cost of a candidate is counted before, once, and held against the goal."""

from __future__ import annotations

from kdpinn_edge.errors import SearchError
from kdpinn_edge.export.measure.resources import N_POINTS
from kdpinn_edge.studies.search.candidate import Candidate, Cost, predicted, smallest
from kdpinn_edge.studies.search.goal import Goal
from kdpinn_edge.studies.search.trial import Task
from kdpinn_edge.training.lesson import Lesson

SURELY = 0.1
"""By which share a limit is exceeded where a larger candidate surely exceeds it too."""


class Costs:
    """The costs of the candidates that this worker has met, and which of them the goal does not allow."""

    def __init__(self, task: Task, lesson: Lesson, goal: Goal) -> None:
        self.task, self.lesson, self.goal = task, lesson, goal
        self._known: dict[Candidate, Cost] = {}

    @property
    def rejected(self) -> tuple[tuple[Candidate, Cost], ...]:
        """The candidates that were counted and cost too much."""
        return tuple(each for each in self._known.items() if not self.goal.affords(each[1]))

    def excesses(self, candidate: Candidate) -> dict[str, float]:
        """The share by which a candidate exceeds each limit, or a smaller one that surely does; empty where none."""
        if self.goal.max_instructions is None and self.goal.max_flash is None:
            return {}
        for other, cost in self.rejected:
            excesses = self.goal.cost_excesses(cost)
            if other.within(candidate) and max(excesses.values()) > SURELY:
                return excesses
        cost = self._cost(candidate)
        return {} if self.goal.affords(cost) else self.goal.cost_excesses(cost)

    def affordable(self) -> bool:
        """Whether any candidate is: one of the smallest.

        Raises SearchError where what the goal limits, or what the target is judged by, cannot be counted.
        """
        wanted = {"instructions": self.goal.max_instructions is not None or not self.task.runs_here}
        wanted["flash"] = self.goal.max_flash is not None
        if not any(wanted.values()):
            return True
        for candidate in smallest(self.task.target, self.task.arithmetic):
            cost = self._cost(candidate)
            for name in (name for name, needed in wanted.items() if needed and getattr(cost, name) is None):
                raise SearchError(
                    f"{name} of {self.task.target}: {cost.how}; expected: a target for which they can be counted here, "
                    "or other limits"
                )
            if self.goal.affords(cost):
                return True
        return False

    def _cost(self, candidate: Candidate) -> Cost:
        if candidate not in self._known:
            problem, task = self.lesson.problem, self.task
            self._known[candidate] = predicted(problem, candidate, task.target, task.points)
        return self._known[candidate]


def check_measurable(task: Task, goal: Goal) -> None:
    """Raise SearchError where the goal limits what cannot be measured of a call on the target."""
    if not task.runs_here and goal.budget_ns is not None:
        raise SearchError(
            f"a budget of time for {task.target}, which does not run on this machine; expected: a budget of "
            "instructions (--max-instructions), which are counted exactly"
        )
    counted = goal.max_instructions is not None or not task.runs_here
    if counted and task.points not in N_POINTS:
        raise SearchError(
            f"instructions of a call with {task.points} points are not counted; expected: "
            f"{' or '.join(map(str, N_POINTS))} points"
        )
