"""How many points fit into a budget, for each backend: searched for by measuring, never by extrapolating alone."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from kdpinn_edge.comparison.backend_config import BackendConfig, absence, admit, check_installed, start
from kdpinn_edge.comparison.machine import this_machine
from kdpinn_edge.comparison.record import Absent
from kdpinn_edge.comparison.reference import Reference
from kdpinn_edge.comparison.statistics import Array, samples_for, share_bounds
from kdpinn_edge.comparison.worker import Worker
from kdpinn_edge.errors import BenchError

FIRST_N, MOST_N = 64, 1 << 24
STEP = 8.0  # at most so many times as many points as were measured before
CLOSE = 1.05  # what fits and what does not lie so near together at the end
TRIALS = 9  # of which the median counts, while searching


@dataclass(frozen=True)
class Fit:
    """The `n` points that `backend` evaluates within the budget at the percentile with 95 % confidence, in `ns` at that
    percentile on the core; 0 where not even one fits.

    `n_above` points were found not to fit; None where even 16 million did. What lies between is not decidable here.
    """

    backend: str
    n: int
    ns: float
    n_above: int | None


def frontier(
    configs: Sequence[BackendConfig],
    budget_ns: int,
    percentile: float,
    report: Callable[[str], None] = lambda doing: None,
) -> tuple[tuple[Fit, ...], tuple[Absent, ...]]:
    """The Fit of each backend, and those that are absent. Raises BenchError for a percentile that is none."""
    samples_for(percentile)  # refuses what is no percentile before anything starts
    fits, absent = [], []
    references: dict[Path, Reference] = {}
    for config in configs:
        report(config.name)
        with ExitStack() as stack:
            folder = (
                Path(stack.enter_context(TemporaryDirectory(prefix="kdpinn_edge_", ignore_cleanup_errors=True)))
                / "backend"
            )
            folder.mkdir()
            try:
                check_installed(config.backend)
                if config.bundle not in references:
                    references[config.bundle] = Reference(config.bundle)
                reference = references[config.bundle]
                worker = start(config, None, config.cpus(this_machine().affinity, 0), folder, stack)
                admit(worker, config, reference)
                fits.append(_search(config.name, worker, reference, budget_ns, percentile))
            except BenchError as error:
                absent.append(absence(config.name, error))
    return tuple(fits), tuple(absent)


def _search(name: str, worker: Worker, reference: Reference, budget_ns: int, percentile: float) -> Fit:
    """Bracket the budget with medians, then go down until the bound of the late calls' share is small enough.

    Every time is one on the core: what others take from it would decide otherwise how many points fit.
    """

    def on_core_ns(n: int, count: int) -> Array:
        worker.bind(reference.points(n))
        return worker.sample(n, "alone", count)[0]

    n, above = bracket(lambda n: float(np.median(on_core_ns(n, TRIALS))), budget_ns)
    allowed = 1 - percentile / 100
    while n:
        samples_ns = on_core_ns(n, samples_for(percentile))
        below, least = share_bounds(int((samples_ns > budget_ns).sum()), samples_ns.size)
        if below <= allowed:
            return Fit(name, n, float(np.quantile(samples_ns, percentile / 100, method="inverted_cdf")), above)
        if least > allowed:
            above = n
        tail_ns = float(np.quantile(samples_ns, 1 - allowed / 3, method="inverted_cdf"))
        n = 0 if n == 1 else _two_digits(n * max(min(budget_ns / tail_ns, 1 / CLOSE), 1 / STEP))
    return Fit(name, 0, 0.0, above)


def bracket(latency_ns: Callable[[int], float], budget_ns: float) -> tuple[int, int | None]:
    """The largest n found whose latency is within the budget, 0 where there is none, and the least that is not.

    n grows, or shrinks, in proportion to what was measured, from twice to eight times, until the budget is bracketed;
    then the bracket is halved, in proportion again, until its ends are near.
    """
    fits, above, n = 0, MOST_N + 1, FIRST_N
    while fits < n < above:
        ns = latency_ns(n)
        if ns <= budget_ns:
            fits = n
            n = min(MOST_N, _two_digits(n * min(max(budget_ns / ns, 2), STEP)))
        else:
            above = n
            n = _two_digits(n * max(min(budget_ns / ns, 1 / 2), 1 / STEP))
        if fits and above <= MOST_N:
            is_near = above <= max(fits * CLOSE, fits + 1)
            middle = math.sqrt(fits * above)
            rounded = _two_digits(middle)
            n = fits if is_near else rounded if rounded > fits else max(fits + 1, int(middle))
    return fits, above if above <= MOST_N else None


def _two_digits(n: float) -> int:
    """`n` rounded down to two significant digits, from 1: nobody needs more, and shapes repeat."""
    whole = max(1, int(n))
    unit: int = 10 ** (max(2, len(str(whole))) - 2)
    return whole // unit * unit
