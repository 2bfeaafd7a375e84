"""Calls that do nothing, as backends: what they show is the instruments' own."""

from __future__ import annotations

from kdpinn_edge.comparison.backend import Array, Backend, Call, Case, CFunction, Prepared
from kdpinn_edge.runtime.c_harness import DOES_NOTHING


def _python(case: Case, threads: int | None) -> Prepared:
    return Prepared(lambda x: x, _bind_nothing, "")


def _c(case: Case, threads: int | None) -> Prepared:
    return Prepared(lambda x: x, lambda x, y: CFunction(DOES_NOTHING, "nothing"), "")


def _bind_nothing(x: Array, y: Array) -> Call:
    return _nothing


def _nothing() -> None:
    pass


BASELINES = (
    Backend("nothing, Python loop", "call from Python", "another function", (), "bench", _python),
    Backend("nothing, C loop", "kernel in C", "another function", (), "bench", _c),
)
