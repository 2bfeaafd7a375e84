"""Whether a call finds room for its results: asked before anything is allocated."""

from __future__ import annotations

from kdpinn_edge.errors import EngineError
from kdpinn_edge.system import memory

FIX = "expected: fewer at a time, as in engine(x[i : i + 1_000_000]) for i in range(0, len(x), 1_000_000)"


def check_room(n_points: int, needed: int) -> None:
    """Raise EngineError where a call of so many points takes `needed` new bytes, and the machine has not so many."""
    there = memory()
    if there is not None and needed > there:
        raise EngineError(
            f"{n_points:,} points take {needed / 2**30:,.1f} GiB of new memory, and this machine has "
            f"{there / 2**30:,.1f} GiB; {FIX}"
        )


def no_room(n_points: int) -> EngineError:
    """The error of a call that found too little memory left."""
    return EngineError(f"there is too little memory left for {n_points:,} points; {FIX}")
