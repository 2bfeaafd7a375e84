"""What is searched for: limits that a student has to keep, and which of those that keep them is the best."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from kdpinn_edge.errors import SearchError
from kdpinn_edge.studies.search.trial import Outcome
from kdpinn_edge.studies.study.front import front


@dataclass(frozen=True)
class Goal:
    """Limits on the time of a call, on the relative L2 error, and on the bytes of code and constants; None is no limit.

    Within the limits the most accurate student is the best, or where the error has a limit the fastest. Raises
    SearchError where there is none at all, or one that nothing can keep.
    """

    budget_ns: int | None = None
    max_error: float | None = None
    max_flash: int | None = None

    def __post_init__(self) -> None:
        if self.budget_ns is None and self.max_error is None and self.max_flash is None:
            raise SearchError("nothing limits the student; expected: a budget of time, a largest error, or flash")
        for name, limit in vars(self).items():
            if limit is not None and not limit > 0:
                raise SearchError(f"{name} is {limit}; expected: above 0")

    def excesses(self, outcome: Outcome) -> dict[str, float]:
        """The share by which each limit is missed, by the name of what is limited; at most 0 where it is kept."""
        found = {
            "time": (outcome.ns, self.budget_ns),
            "error": (outcome.relative_l2, self.max_error),
            "flash": (outcome.flash, self.max_flash),
        }
        return {name: value / limit - 1 for name, (value, limit) in found.items() if limit is not None}

    def best(self, outcomes: Sequence[Outcome]) -> Outcome | None:
        """The best outcome within the limits; None where none is."""
        kept = [outcome for outcome in outcomes if max(self.excesses(outcome).values()) <= 0]
        return min(kept, key=lambda o: o.ns if self.max_error is not None else o.relative_l2, default=None)


def unbeaten(outcomes: Sequence[Outcome]) -> list[Outcome]:
    """The outcomes than which no other is both faster and more accurate, the fastest first."""
    return front(outcomes, lambda outcome: (outcome.ns, outcome.relative_l2))
