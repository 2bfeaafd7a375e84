"""The budget gate: whether one backend evaluates n points within a budget, at a percentile."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from kdpinn_edge.comparison import selection
from kdpinn_edge.comparison.record import Cell, Protocol, Record
from kdpinn_edge.comparison.statistics import Misses, Percentile, misses, percentiles, samples_for
from kdpinn_edge.errors import BenchError


@dataclass(frozen=True)
class GateVerdict:
    """The finding of the gate: the latency at `percentile`, from the intended start of periodic calls, and the budget.

    `holds` is whether the one is within the other; `excess_ns` is by how much it is not, negative where it is.
    """

    backend: str
    n: int
    budget_ns: int
    period_ns: int
    latency: Percentile
    misses: Misses

    @property
    def holds(self) -> bool:
        """Whether the budget is kept."""
        return self.excess_ns <= 0

    @property
    def excess_ns(self) -> float:
        """The nanoseconds by which the budget is exceeded."""
        return self.latency.ns - self.budget_ns


def gate_protocol(n: int, budget_ns: int, percentile: float, samples: int | None = None) -> Protocol:
    """The Protocol of a gate: periodic calls in three processes, as many as `percentile` needs, or `samples`.

    Raises BenchError for a percentile that is none, and for too few samples.
    """
    needed = samples_for(percentile)
    if samples is not None and samples < needed:
        raise BenchError(
            f"{samples:,} samples have no {percentile:g}th percentile; expected: at least {needed:,}, so that ten lie "
            "beyond it"
        )
    return replace(
        selection.QUICK,
        n_points=(n,),
        modes=("periodic",),
        rounds=4,
        deadline_ns=budget_ns,
        least_samples=samples or needed,
    )


def verdict(record: Record, percentile: float) -> GateVerdict:
    """The GateVerdict on the one backend in `record`. Raises BenchError, with the reason, where it is absent."""
    if not record.cells:
        reasons = "; ".join(f"{absent.name}: {absent.reason}" for absent in record.absent)
        raise BenchError(f"nothing was measured: {reasons}")
    cell: Cell = record.cells[0]
    samples = np.concatenate([block.samples_ns for block in cell.blocks])
    (latency,) = percentiles(cell, [percentile])
    budget_ns = record.protocol.deadline_ns
    return GateVerdict(cell.entry, cell.n, budget_ns, cell.period_ns or 0, latency, misses(samples, budget_ns))
