"""The order of a run: what takes its turn when. The same for the same protocol and cells, so that a run can go on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from kdpinn_edge.comparison.record import Mode, Protocol


@dataclass(frozen=True)
class Turn:
    """`entry` at n points in `mode`; `index` is its place in the plan."""

    index: int
    process: int
    entry: str
    n: int
    mode: Mode


def plan(protocol: Protocol, cells: Sequence[tuple[str, int, Mode]]) -> list[Turn]:
    """Every Turn: in each round of each process every cell (entry, n, mode) has one, in random order."""
    rng = np.random.default_rng(protocol.seed)
    order = [
        (process, cells[k])
        for process in range(protocol.processes)
        for _ in range(protocol.rounds)
        for k in rng.permutation(len(cells))
    ]
    return [Turn(index, process, *cell) for index, (process, cell) in enumerate(order)]
