"""What the adapters share: a Prepared made from its bind, and the refusals of what a peer cannot do."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from kdpinn_edge.comparison.backend import Array, Call, Case, Prepared
from kdpinn_edge.errors import BenchError


def prepared(
    case: Case, bind: Callable[[Array, Array], Call], threads: str, artifact_bytes: int | None = None
) -> Prepared:
    """The Prepared that evaluates by binding new arrays, for backends whose calls are made in this process."""

    def evaluate(x: Array) -> Array:
        y = np.full((len(x), case.program.n_out), np.nan, x.dtype)
        values = bind(x, y)()
        return y if values is None else np.asarray(values)

    return Prepared(evaluate, bind, threads, artifact_bytes)


def require_float32(case: Case, lacks: str = "it has no other tanh") -> None:
    """Raise BenchError for a bundle in another precision, with what the backend lacks there."""
    if case.manifest.precision != "float32":
        raise BenchError(f"the bundle computes in {case.manifest.precision}; expected: float32, {lacks}")


def has_one_thread(threads: int | None) -> str:
    """Report the threads of a backend that has none. Raises BenchError where it is asked for several."""
    if threads not in (1, None):
        raise BenchError(f"asked for {threads} threads; expected: 1, it has no others")
    return "the caller's thread; it has no others"
