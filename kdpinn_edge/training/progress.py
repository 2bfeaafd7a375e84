"""What a run tells while it goes on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class TrainingProgress:
    """The state after `step` of `steps`: phase, loss, the last relative L2 error, CPU seconds so far.

    The error is NaN before it is measured, and where there is no reference.
    """

    phase: str
    step: int
    steps: int
    loss: float
    relative_l2: float
    cpu_seconds: float


ProgressReport = Callable[[TrainingProgress], None]
