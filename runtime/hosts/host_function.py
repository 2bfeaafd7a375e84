"""A model as a function of a framework: it can be pickled as its engine can."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from kdpinn_edge.runtime.engine import Engine


class HostFunction:
    """The function that `make(engine)` gives, for the framework of the module that `make` is in.

    It travels as the engine, and is made anew where it arrives.
    """

    def __init__(self, make: Callable[[Engine], Callable[[Any], Any]], engine: Engine) -> None:
        self._make, self._engine, self._function = make, engine, make(engine)

    def __call__(self, x: Any) -> Any:
        """The values at x."""
        return self._function(x)

    def __reduce__(self) -> tuple[Any, ...]:
        return HostFunction, (self._make, self._engine)
