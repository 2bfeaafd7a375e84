"""What a run tells while it goes on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Progress:
    """After step `step` of `steps`: the phase, the loss, the last relative L2 error (NaN before the first), seconds."""

    phase: str
    step: int
    steps: int
    loss: float
    relative_l2: float
    seconds: float


Report = Callable[[Progress], None]


def silent(progress: Progress) -> None:
    """Report nothing."""
