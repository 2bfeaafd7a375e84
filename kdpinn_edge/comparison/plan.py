"""The order of a run, and its clock: what takes its turn when, and for how long."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from time import monotonic

import numpy as np

from kdpinn_edge.comparison.record import Mode, Protocol

SHORTEST_TURN_S = 0.02
CLOSED_TURNS = 3  # of a row in each round: so many have an interval; the other modes have one
LONGEST_TURN = 3.0  # times the turn of the protocol
GRACE = 1.1  # times the plan: then the run ends, wherever it is


@dataclass(frozen=True)
class Turn:
    """`entry` at n points in `mode`; `index` is its place in the plan, and `lap` counts the passes of a process: each
    round has CLOSED_TURNS of them.
    """

    index: int
    process: int
    lap: int
    entry: str
    n: int
    mode: Mode


def plan(protocol: Protocol, cells: Sequence[tuple[str, int, Mode]]) -> list[Turn]:
    """Every Turn: in each round of each process every cell (entry, n, mode) has one, and those of the closed mode have
    CLOSED_TURNS, in random order.

    The same for the same protocol and cells, so that a run can go on.
    """
    rng = np.random.default_rng(protocol.seed)
    closed = [cell for cell in cells if cell[2] == "closed"]
    order = [
        (process, lap, those[k])
        for process in range(protocol.processes)
        for lap in range(CLOSED_TURNS * protocol.rounds)
        for those in (closed if lap % CLOSED_TURNS else cells,)
        for k in rng.permutation(len(those))
    ]
    return [Turn(index, process, number, *cell) for index, (process, number, cell) in enumerate(order)]


class Timetable:
    """The clock of a run that takes `planned_s` in `processes` generations of processes.

    What loading takes is known when it has happened; the rest is divided equally among the turns that are left, again
    at each turn. A lap that has no time for SHORTEST_TURN_S per turn is left out, with those behind it; so is a
    generation that cannot be loaded in time. Only the first round of the first generation is taken in any case, so that
    there are intervals.
    Without `is_binding` every turn is taken, as long as the protocol says. `now_s` is the clock.
    """

    def __init__(
        self,
        planned_s: float,
        processes: int,
        turn_s: float,
        *,
        is_binding: bool,
        now_s: Callable[[], float] = monotonic,
    ) -> None:
        self.planned_s, self._now_s = planned_s, now_s
        self._processes, self._turn_s, self._is_binding = processes, turn_s, is_binding
        self._begun_s = now_s()
        self._loading_s = 0.0  # of the next generation, as far as that is known
        self._started_s = self._begun_s
        self._generation = 0
        self._until_s = self._begun_s + planned_s

    @property
    def elapsed_s(self) -> float:
        """Seconds since the run began."""
        return self._now_s() - self._begun_s

    def has_time_to_load(self, generation: int, n_turns: int) -> bool:
        """Whether generation 0, 1, … can be loaded and take `n_turns` short turns. Its loading begins now."""
        self._started_s = self._now_s()
        needed_s = self._loading_s + n_turns * SHORTEST_TURN_S
        return not self._is_binding or generation == 0 or self.elapsed_s + needed_s <= self.planned_s

    def loaded(self, generation: int, n_turns: int, again: float = 1.0) -> None:
        """Note that the generation is loaded: its `n_turns` share what is left with those generations behind it that
        can be loaded in time. The next one has the share `again` of its loading.
        """
        self._generation = generation
        self._loading_s = again * (self._now_s() - self._started_s)
        left_s = max(self.planned_s - self.elapsed_s, 0)
        least_s = n_turns * SHORTEST_TURN_S
        possible = int(max(left_s - least_s, 0) / max(self._loading_s + least_s, SHORTEST_TURN_S))
        behind = min(self._processes - generation - 1, possible)
        self._until_s = self._now_s() + (left_s - behind * self._loading_s) / (behind + 1)

    def has_time(self, lap: int, n_turns: int) -> bool:
        """Whether lap 0, 1, … of a generation, of `n_turns`, can begin."""
        if not self._is_binding or lap == 0 or self._is_needed(lap):
            return True
        return (self._until_s - self._now_s()) / n_turns >= SHORTEST_TURN_S

    def is_over(self, lap: int) -> bool:
        """Whether the time is up even for lap 0, 1, … of the generation, which has begun."""
        return self._is_binding and not self._is_needed(lap) and self.elapsed_s > GRACE * self.planned_s

    def _is_needed(self, lap: int) -> bool:
        """Whether there are no intervals without it."""
        return self._generation == 0 and lap < CLOSED_TURNS

    def turn_s(self, n_turns: int, overhead_s: float) -> float:
        """The seconds of the next turn, where `n_turns` are left in the generation, each with an overhead."""
        if not self._is_binding:
            return self._turn_s
        own_s = (self._until_s - self._now_s()) / n_turns - overhead_s
        return min(max(own_s, SHORTEST_TURN_S), LONGEST_TURN * self._turn_s)
