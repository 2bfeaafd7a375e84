"""The budget gate: whether one backend evaluates n points within a budget, at a percentile."""

from __future__ import annotations

from dataclasses import dataclass, replace

from kdpinn_edge.comparison import selection
from kdpinn_edge.comparison.record import Cell, Protocol, Record
from kdpinn_edge.comparison.statistics import Misses, Percentile, Verdict, misses, percentiles, samples_for
from kdpinn_edge.errors import BenchError


@dataclass(frozen=True)
class GateVerdict:
    """The finding of the gate on periodic calls, each timed from its intended start: `latency` is the percentile as it
    was here, `on_core` what it would be on a core that nobody else used, and `misses` the late calls, by which the gate
    decides.
    """

    backend: str
    n: int
    budget_ns: int
    period_ns: int
    latency: Percentile
    on_core: Percentile
    misses: Misses

    @property
    def verdict(self) -> Verdict:
        """Whether the budget is held at the percentile, with 95 % confidence."""
        return self.misses.verdict(self.latency.p)


def gate_protocol(n: int, budget_ns: int, percentile: float, samples: int | None = None) -> Protocol:
    """The Protocol of a gate: periodic calls in several processes, as many as `percentile` needs, or `samples`.

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
        budget_s=None,
    )


def verdict(record: Record, percentile: float) -> GateVerdict:
    """The GateVerdict on the one backend in `record`. Raises BenchError, with the reason, where it is absent."""
    if not record.cells:
        reasons = "; ".join(f"{absent.name}: {absent.reason}" for absent in record.absent)
        raise BenchError(f"nothing was measured: {reasons}")
    cell: Cell = record.cells[0]
    own = replace(cell, blocks=tuple(replace(block, samples_ns=block.on_core_ns) for block in cell.blocks))
    (latency,), (on_core,) = (percentiles(those, [percentile]) for those in (cell, own))
    budget_ns = record.protocol.deadline_ns
    found = misses(cell.blocks, budget_ns)
    return GateVerdict(cell.entry, cell.n, budget_ns, cell.period_ns or 0, latency, on_core, found)
