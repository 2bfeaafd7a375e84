"""A bound call: a function of an engine at arrays that were checked once, for the tight loop."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NoReturn

from numpy.typing import NDArray

from kdpinn_edge.errors import BoundCallError, EngineError

if TYPE_CHECKING:
    from kdpinn_edge.runtime.engine import Engine


class BoundCall:
    """The `function` of `engine`, as `evaluate(*arguments)`, which stores into `values` and returns None or a code.

    `run` is what the tight loop calls: a method, since Python calls it faster than an object. It keeps engine and
    arrays alive. It cannot be pickled: it belongs to arrays of this process.
    """

    __slots__ = ("_arguments", "_engine", "_evaluate", "_function", "_values")

    def __init__(
        self,
        engine: Engine,
        function: str,
        evaluate: Callable[..., int | None],
        arguments: tuple[Any, ...],
        values: NDArray[Any],
    ) -> None:
        self._engine, self._function, self._values = engine, function, values
        self._evaluate, self._arguments = evaluate, arguments

    def run(self) -> None:
        """Evaluate. Raises EngineError where `values` has been made read-only, and for a code that is not 0."""
        if not self._values.flags.writeable:
            raise EngineError(
                "y was made read-only after it was bound; expected: an array to write to. Bind another, or let this "
                "one be written to again: y.flags.writeable = True"
            )
        if code := self._evaluate(*self._arguments):
            name = f"{self._engine.manifest.name}_{self._function}"
            raise EngineError(f"{name} returned {code}; kdpinn_edge.h says what that means")

    def __reduce__(self) -> NoReturn:
        raise BoundCallError(
            "a bound call cannot be copied or pickled, since it writes to an array of this process; expected: the "
            "engine. Pickle that, and bind where it arrives: engine.bind(x, y)"
        )
