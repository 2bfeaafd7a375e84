"""What is searched for: limits that a student has to keep, and which of those that keep them is the best."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from kdpinn_edge.errors import SearchError
from kdpinn_edge.studies.search.candidate import Cost
from kdpinn_edge.studies.search.trial import Outcome
from kdpinn_edge.studies.study.front import front


@dataclass(frozen=True)
class Goal:
    """Limits: the time and the instructions of a call, the relative L2 error, the bytes of code and constants.

    None is no limit. Within the limits the most accurate student is the best, or where the error has a limit the
    fastest. Raises SearchError where there is none at all, or one that nothing can keep.
    """

    budget_ns: int | None = None
    max_error: float | None = None
    max_flash: int | None = None
    max_instructions: int | None = None

    def __post_init__(self) -> None:
        if all(limit is None for limit in vars(self).values()):
            raise SearchError(
                "nothing limits the student; expected: a budget of time or of instructions, a largest error, or flash"
            )
        for name, limit in vars(self).items():
            if limit is not None and not limit > 0:
                raise SearchError(f"{name} is {limit}; expected: above 0")

    def excesses(self, outcome: Outcome) -> dict[str, float]:
        """The share by which each limit is missed, by the name of what is limited; at most 0 where it is kept."""
        timed = {"time": (outcome.ns, self.budget_ns), "error": (outcome.relative_l2, self.max_error)}
        return _shares(timed) | self.cost_excesses(outcome.cost)

    def cost_excesses(self, cost: Cost) -> dict[str, float]:
        """The same for what is known before training."""
        return _shares(
            {"instructions": (cost.instructions, self.max_instructions), "flash": (cost.flash, self.max_flash)}
        )

    def affords(self, cost: Cost) -> bool:
        """Whether a cost is within the limits."""
        return max(self.cost_excesses(cost).values(), default=0.0) <= 0

    def could_keep(self, outcome: Outcome) -> bool:
        """Whether an outcome keeps all limits but that of the error, which more training may still lower."""
        return max((share for name, share in self.excesses(outcome).items() if name != "error"), default=0.0) <= 0

    def best(self, outcomes: Sequence[Outcome]) -> Outcome | None:
        """The best outcome within the limits; None where none is."""
        kept = [outcome for outcome in outcomes if max(self.excesses(outcome).values()) <= 0]
        return min(kept, key=lambda o: o.price if self.max_error is not None else o.relative_l2, default=None)

    def nearest(self, outcomes: Sequence[Outcome]) -> Outcome | None:
        """The outcome that misses the limits by the least share; None where there is none."""
        return min(outcomes, key=lambda outcome: max(self.excesses(outcome).values()), default=None)


def _shares(found: dict[str, tuple[float | None, float | None]]) -> dict[str, float]:
    return {
        name: value / limit - 1 for name, (value, limit) in found.items() if limit is not None and value is not None
    }


def unbeaten(outcomes: Sequence[Outcome]) -> list[Outcome]:
    """The outcomes than which no other is both cheaper and more accurate, the cheapest first."""
    return front(outcomes, lambda outcome: (outcome.price, outcome.relative_l2))
