"""The Pareto front: what nothing else beats in both cost and error."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TypeVar

T = TypeVar("T")


def front(items: Iterable[T], cost_and_error: Callable[[T], tuple[float, float]]) -> list[T]:
    """The items than which no other has both less cost and less error, the cheapest first."""
    found: list[T] = []
    for item in sorted(items, key=cost_and_error):
        if not found or cost_and_error(item)[1] < cost_and_error(found[-1])[1]:
            found.append(item)
    return found
