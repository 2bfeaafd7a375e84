"""The NumPy program of a bundle: the bits of the shared library, without machine code, and slowly."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from kdpinn_edge.bundle.manifest import FunctionName
from kdpinn_edge.bundle.read import Bundle
from kdpinn_edge.bundle.symbols import FIXED
from kdpinn_edge.numerics.reference import NumpyProgram
from kdpinn_edge.runtime.bound import BoundCall
from kdpinn_edge.runtime.engine import Array, Engine


class NumpyEngine(Engine):
    """An engine for the Programs of `bundle`, in its precision and numerics profile.

    NumPy holds the GIL between operations: several threads give the same bits, and gain little.

    Raises BundleError where one is not the Program that the manifest describes, EngineError for an unknown profile.
    """

    def __init__(self, bundle: Bundle) -> None:
        super().__init__(bundle.manifest)
        self._bundle = bundle
        self._programs: dict[FunctionName, NumpyProgram] = {
            function: NumpyProgram(
                bundle.program(function), self.manifest.precision, self.manifest.profile, self.manifest.box
            )
            for function in self.manifest.functions
        }

    def __reduce__(self) -> tuple[Any, ...]:
        return NumpyEngine, (self._bundle,)

    def _bind(self, function: FunctionName, x: Array, y: Array) -> BoundCall:
        return BoundCall(self, function, _store, (self._programs[function], x, y), y)

    def _bind_fixed(self, function: FunctionName, x: Array, y: Array) -> BoundCall:
        return BoundCall(self, FIXED.format(function), _store, (self._programs[function].on_integers, x, y), y)


def _store(program: Callable[[Array], Array], x: Array, y: Array) -> None:
    y[...] = program(x)
