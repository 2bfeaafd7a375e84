"""An Engine: one bundle's model, ready to evaluate. What all engines accept, and how they refuse the rest."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from kdpinn_edge.errors import EngineError
from kdpinn_edge.manifest import Manifest

Array = NDArray[Any]


class Engine(ABC):
    """y[i] = u(x[i]) for points x (n, n_in), values y (n, n_out), both of `dtype`.

    Nothing is converted silently: an array of another dtype or shape is an EngineError that says how to convert it.
    Values are not checked: NaN and infinities, and points outside the domain, give what the model's arithmetic gives;
    a NaN among a point's inputs never changes the values of other points. Several threads may call one engine.
    """

    def __init__(self, manifest: Manifest) -> None:
        self.manifest = manifest
        self.n_in = manifest.n_in
        self.n_out = manifest.n_out
        self.dtype: np.dtype[Any] = np.dtype(manifest.precision)

    def __call__(self, x: Array) -> Array:
        """Evaluate at x (n, n_in), in any memory layout, n = 0 included; returns a new array (n, n_out)."""
        check_array(self.manifest, "x", x)
        return self._evaluate(dense(x))

    def bind(self, x: Array, y: Array) -> Callable[[], None]:
        """A call without arguments that evaluates at x (n, n_in) and stores into y (n, n_out): for the tight loop.

        x and y are checked here, once. Change the numbers in x between calls; each call reads them anew. Both arrays
        must be C-contiguous and must not overlap, and y must be writeable. The result keeps the engine, x and y alive.
        It writes to y: threads need a binding each.

            step = engine.bind(x, y)
            while running:
                x[0] = position, time
                step()
                use(y[0])
        """
        check_array(self.manifest, "x", x)
        check_array(self.manifest, "y", y)
        if len(x) != len(y):
            raise EngineError(
                f"x has {len(x)} points and y has {len(y)}; accepted: as many. Allocate: {self._new('len(x)')}"
            )
        for name, array in (("x", x), ("y", y)):
            if dense(array) is not array:
                raise EngineError(
                    f"{name} is not C-contiguous and aligned, and a bound call copies nothing; "
                    f"bind a contiguous copy: {name}.copy(order='C')"
                )
        if not y.flags.writeable:
            raise EngineError(f"y is read-only; accepted: an array to write to, as in {self._new('len(x)')}")
        if np.may_share_memory(x, y):
            raise EngineError(f"x and y overlap; accepted: separate memory. Allocate: {self._new('len(x)')}")
        return self._bind(x, y)

    @abstractmethod
    def _evaluate(self, x: Array) -> Array:
        """The values at checked, C-contiguous, aligned points."""

    @abstractmethod
    def _bind(self, x: Array, y: Array) -> Callable[[], None]:
        """`bind` for checked arrays."""

    def _new(self, n: str) -> str:
        return f"y = np.empty(({n}, {self.n_out}), np.{self.dtype})"


def check_array(manifest: Manifest, name: Literal["x", "y"], array: Array) -> None:
    """Raise EngineError unless `array` is a NumPy array of the dtype and shape that the model's x or y has."""
    dtype, n_columns = manifest.precision, manifest.n_in if name == "x" else manifest.n_out
    if not isinstance(array, np.ndarray):
        raise EngineError(
            f"{name} is a {type(array).__name__}; accepted: a NumPy array (n, {n_columns}) of {dtype}, "
            f"as in np.asarray({name}, dtype=np.{dtype})"
        )
    if array.dtype != dtype:
        raise EngineError(
            f"{name} has dtype {array.dtype}; accepted: {dtype}, the precision of {manifest.name!r}. "
            f"Convert it: {name}.astype(np.{dtype})"
        )
    if array.ndim != 2 or array.shape[1] != n_columns:
        columns = ", ".join(column.name for column in (manifest.inputs if name == "x" else manifest.outputs))
        fix = ""
        if array.shape == (n_columns,):
            fix = f". For one point: {name}[None, :]"
        elif array.ndim == 1 and n_columns == 1:
            fix = f". For n points: {name}[:, None]"
        raise EngineError(
            f"{name} has shape {array.shape}; accepted: (n, {n_columns}), the columns being {columns}{fix}"
        )


def dense(array: Array) -> Array:
    """`array`, or a C-contiguous and aligned copy where it is not so itself."""
    return array if array.flags.c_contiguous and array.flags.aligned else array.copy(order="C")
