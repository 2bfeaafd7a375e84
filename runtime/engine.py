"""An Engine: one bundle's model, ready to evaluate. What all engines accept, and how they refuse the rest."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from functools import partial
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from kdpinn_edge.errors import EngineError
from kdpinn_edge.manifest import Manifest
from kdpinn_edge.runtime.threads import Threads, ranges

Array = NDArray[Any]


class Engine(ABC):
    """y[i] = u(x[i]) for points x (n, n_in), values y (n, n_out), both of `dtype`.

    Nothing is converted silently: an array of another dtype or shape is an EngineError that says how to convert it.
    Values are not checked: NaN and infinities, and points outside the domain, give what the model's arithmetic gives;
    a NaN among a point's inputs never changes the values of other points. Several threads may call one engine, and one
    call may use several threads; those that it starts stay with the engine, idle, and end with it.
    """

    def __init__(self, manifest: Manifest) -> None:
        self.manifest = manifest
        self.n_in = manifest.n_in
        self.n_out = manifest.n_out
        self.dtype: np.dtype[Any] = np.dtype(manifest.precision)
        self._threads = Threads()

    def __call__(self, x: Array) -> Array:
        """`eval` on one thread."""
        return self.eval(x)

    def eval(self, x: Array, *, threads: int = 1) -> Array:
        """Evaluate at x (n, n_in), in any memory layout, n = 0 included; returns a new array (n, n_out).

        The points are split into `threads` ranges of whole tiles of 64 points, fewer where there are fewer tiles, and
        the calling thread takes part. The bits do not depend on `threads`. To wake the others and wait for them takes
        some 0.1 ms: below twice that of work, one thread is faster.

            u = engine.eval(x, threads=2)
        """
        check_array(self.manifest, "x", x)
        _check_threads(threads)
        return self._evaluate(dense(x), threads)

    def bind(self, x: Array, y: Array, *, threads: int = 1) -> Callable[[], None]:
        """A call without arguments that evaluates at x (n, n_in) and stores into y (n, n_out): for the tight loop.

        x and y are checked here, once. Change the numbers in x between calls; each call reads them anew. Both arrays
        must be C-contiguous and must not overlap, and y must be writeable. The result keeps the engine, x and y alive.
        It writes to y: threads that call need a binding each. `threads` is as in `eval`, the split made here, once.

            step = engine.bind(x, y)
            while running:
                x[0] = position, time
                step()
                use(y[0])
        """
        check_array(self.manifest, "x", x)
        check_array(self.manifest, "y", y)
        _check_threads(threads)
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
        return self._bind_ranges(x, y, threads)

    @abstractmethod
    def _bind(self, x: Array, y: Array) -> Callable[[], None]:
        """`bind` on one thread, for checked arrays."""

    def _evaluate(self, x: Array, threads: int) -> Array:
        """`eval` for checked, C-contiguous, aligned points."""
        y = np.empty((len(x), self.n_out), self.dtype)
        self._bind_ranges(x, y, threads)()
        return y

    def _bind_ranges(self, x: Array, y: Array, threads: int) -> Callable[[], None]:
        if threads == 1:
            return self._bind(x, y)
        return partial(self._threads.run, [self._bind(x[points], y[points]) for points in ranges(len(x), threads)])

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


def _check_threads(threads: int) -> None:
    if not isinstance(threads, int) or isinstance(threads, bool) or threads < 1:
        raise EngineError(f"threads is {threads!r}; accepted: an int from 1, how many threads to use, as in threads=2")


def dense(array: Array) -> Array:
    """`array`, or a C-contiguous and aligned copy where it is not so itself."""
    return array if array.flags.c_contiguous and array.flags.aligned else array.copy(order="C")
