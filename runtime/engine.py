"""An Engine: one bundle's model, ready to evaluate. What all engines accept, and how they refuse the rest."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from kdpinn_edge.bundle.manifest import FUNCTIONS, FunctionName, Input, Manifest, Output
from kdpinn_edge.bundle.probe import probed
from kdpinn_edge.bundle.symbols import FIXED
from kdpinn_edge.derive.groups import Positions, hessian_columns, jacobian_columns
from kdpinn_edge.derive.names import Names
from kdpinn_edge.display import draw_function, facts_html, facts_text
from kdpinn_edge.errors import DerivativeError, EngineError, did_you_mean
from kdpinn_edge.runtime.bound import BoundCall
from kdpinn_edge.runtime.room import check_room, no_room
from kdpinn_edge.runtime.threads import RANGES_PER_THREAD, Threads, ranges

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Array = NDArray[Any]
Result = TypeVar("Result")

FEW = 10_000
HOW_TO_EXPORT = {
    "jet": "export it with --derivatives \"u, u_x\", or export_bundle(…, derivatives=['u', 'u_x'])",
    "residual": "export it with --residual, or export_bundle(…, residual=problem)",
    "fixed": "export it with --arithmetic int16, or export_bundle(…, arithmetic='int16')",
}
PER_CALL = "export it with --per-call \"nu\", or export_bundle(…, per_call=['nu'])"


class Engine(ABC):
    """An evaluator of y[i] = f(x[i]), f a function of the bundle, x (n, n_in) and y (n, n_out), both of `dtype`.

    Nothing is converted silently: an array of another dtype or shape is an EngineError that says how to convert it.
    Values are not checked: NaN and infinities, and points outside the domain, give what the model's arithmetic gives;
    a NaN among a point's inputs never changes the values of other points. Several threads may call one engine, and one
    call may use several threads; those that it starts stay with the engine, idle, and end with it.

    An engine can be copied and pickled, for the processes of multiprocessing, joblib or SciPy's `workers`: it travels
    as what it was made of, the manifest and the contents of its files, and is made of them anew where it arrives, with
    the same checks.
    """

    def __init__(self, manifest: Manifest) -> None:
        self.manifest = manifest
        self.n_in = manifest.n_in
        self.n_out = manifest.functions["eval"].n_out
        self.dtype: np.dtype[Any] = np.dtype(manifest.precision)
        self._threads = Threads()

    def __repr__(self) -> str:
        return facts_text(f"engine of {self.manifest.name}", self._facts())

    def _repr_html_(self) -> str:
        return facts_html(f"engine of {self.manifest.name}", self._facts())

    def _facts(self) -> dict[str, str]:
        manifest = self.manifest
        sides = (f"{side.name} in [{side.lower}, {side.upper}]".replace("None", "∞") for side in manifest.inputs)
        functions = {
            f".{name}(x)": ", ".join(column.name for column in function.outputs)
            for name, function in manifest.functions.items()
        }
        facts = {"equation": manifest.equation} if manifest.equation else {}
        return facts | {
            "inputs": ", ".join(sides),
            **functions,
            "arithmetic": f"{manifest.precision}, {manifest.profile}",
        }

    def plot(self) -> Figure:
        """Draw the values over the domain of the first two inputs; an open side ends 1 from 0, or 2 from the other."""
        sides = [(side.name, *probed(side)) for side in self.manifest.inputs]
        outputs = [column.name for column in self.manifest.functions["eval"].outputs]
        return draw_function(self.manifest.name, lambda x: self(x.astype(self.dtype)), sides, outputs)

    def __call__(self, x: Array) -> Array:
        """`eval` on one thread."""
        return self.eval(x)

    def eval(self, x: Array, *, threads: int = 1) -> Array:
        """The values at x (n, n_in), in any memory layout, n = 0 included: a new array (n, n_out).

        The points are split into ranges of whole tiles of 64 points, which up to `threads` threads share, the calling
        one among them. The bits do not depend on it. To wake the others and wait for them takes some 0.1 ms: below
        twice that of work, one thread is faster.

            u = engine.eval(x, threads=2)
        """
        return self._checked("eval", x, threads)

    def jet(self, x: Array, *, threads: int = 1) -> dict[str, Array]:
        """The derivatives that were asked for at export, at x (n, n_in): for each its name and its values (n,).

        The arrays are the columns of one new array (n, number of derivatives), in the order in which they were asked
        for. `threads` is as in `eval`. Raises EngineError where the bundle has no derivatives.

            u_xx = engine.jet(x)["u_xx"]
        """
        return self._named(self._checked("jet", x, threads))

    def jacobian(self, x: Array, *, threads: int = 1) -> Array:
        """The first derivatives of every output by every input at x (n, n_in): a new array (n, n_out, n_in).

        They are columns of `jet`, with its bits; `threads` is as in `eval`. Raises EngineError where it lacks some.

            slopes = engine.jacobian(x)[:, 0]
        """
        return self._checked("jet", x, threads, self._jacobian_columns)

    def hessian(self, x: Array, *, threads: int = 1) -> Array:
        """The second derivatives of every output at x (n, n_in): a new array (n, n_out, n_in, n_in), symmetric.

        They are columns of `jet`, as in `jacobian`.
        """
        return self._checked("jet", x, threads, self._hessian_columns)

    def residual(self, x: Array, *, threads: int = 1) -> Array:
        """The residual of the equation at x (n, n_in), 0 for an exact solution: a new array (n, number of equations).

        `threads` is as in `eval`. Raises EngineError where the bundle does not have it.
        """
        return self._checked("residual", x, threads)

    def eval_for(self, p: Array, x: Array, *, threads: int = 1) -> Array:
        """The values at x (n, n_in - n_p) for the inputs p (n_p,) that are constant during a call: (n, n_out).

        p has the inputs `manifest.per_call`, x the others, both in the order of the model. The bits are those of `eval`
        with p repeated, and what depends on p alone is evaluated once. Raises EngineError where the bundle was exported
        without such inputs.

            u = engine.eval_for(sensors, x)
        """
        return self._checked_for("eval", p, x, threads)

    def jet_for(self, p: Array, x: Array, *, threads: int = 1) -> dict[str, Array]:
        """The derivatives that `jet` gives, for inputs as in `eval_for`."""
        return self._named(self._checked_for("jet", p, x, threads))

    def residual_for(self, p: Array, x: Array, *, threads: int = 1) -> Array:
        """The residual that `residual` gives, for inputs as in `eval_for`."""
        return self._checked_for("residual", p, x, threads)

    def eval_fixed(self, x: Array, *, threads: int = 1) -> Array:
        """The values in scaled integers, as in NAME_eval_fixed: x (n, n_in) of int32, a new array (n, n_out) of it.

        A word q stands for q 2^-bits, with the bits of `manifest.fixed_point["eval"]`, whose `integers` and `numbers`
        convert. Points beyond the domain are held in it. `threads` is as in `eval`. Raises EngineError where the model
        was exported without --arithmetic int16.

            scales = engine.manifest.fixed_point["eval"]
            u = scales.numbers(engine.eval_fixed(scales.integers(x)))
        """
        return self._checked_fixed("eval", x, threads)

    def jet_fixed(self, x: Array, *, threads: int = 1) -> dict[str, Array]:
        """The derivatives that `jet` gives, in scaled integers as in `eval_fixed`."""
        check_function(self.manifest, "jet")
        return self._named(self._checked_fixed("jet", x, threads))

    def bind(self, x: Array, y: Array, *, function: FunctionName = "eval", threads: int = 1) -> Callable[[], None]:
        """A call without arguments that evaluates at x (n, n_in) and stores into y (n, n_out): for the tight loop.

        x and y are checked here, once. Change the numbers in x between calls; each call reads them anew. Both arrays
        must be C-contiguous and must not overlap, and y must be writeable. The result keeps the engine, x and y alive.
        It writes to y: threads that call need a binding each. `threads` is as in `eval`, the split made here, once.
        The call raises EngineError where y has been made read-only since; it cannot be pickled, as the engine can.

            step = engine.bind(x, y)
            while running:
                x[0] = position, time
                step()
                use(y[0])
        """
        check_function(self.manifest, function)
        check_points(self.manifest, x)
        check_values(self.manifest, function, y)
        _check_threads(threads)
        allocate = f"y = np.empty((len(x), {self.manifest.functions[function].n_out}), np.{self.dtype})"
        if len(x) != len(y):
            raise EngineError(f"x has {len(x)} points and y has {len(y)}; expected: as many. Allocate: {allocate}")
        for name, array in (("x", x), ("y", y)):
            if copied(array):
                raise EngineError(
                    f"{name} is not C-contiguous and aligned, and a bound call copies nothing; "
                    f"bind a contiguous copy: {name}.copy(order='C')"
                )
        if not y.flags.writeable:
            raise EngineError(f"y is read-only; expected: an array to write to, as in {allocate}")
        if np.may_share_memory(x, y):
            raise EngineError(f"x and y overlap; expected: separate memory. Allocate: {allocate}")
        return self._bind_ranges(function, x, y, threads).run

    def torch(self) -> Callable[[Any], Any]:
        """The values as a function of PyTorch: tensors (…, n_in) of the precision on the CPU to (…, n_out).

        Autograd differentiates it once where the jet has the Jacobian, twice where it has the Hessian as well. The bits
        are those of `eval`, `jacobian` and `hessian`.

            loss = (engine.torch()(x) - observed).square().sum()
        """
        from kdpinn_edge.runtime.hosts.torch_function import torch_function

        return torch_function(self)

    def jax(self) -> Callable[[Any], Any]:
        """The values as a function of JAX: arrays (…, n_in) of the precision to (…, n_out), called back on the host.

        `jit`, `vmap`, `jvp` and `grad` take it; how often it can be differentiated is as in `torch`.

            slope = jax.jit(jax.grad(lambda x: engine_function(x)[0]))(x)
        """
        from kdpinn_edge.runtime.hosts.jax_function import jax_function

        return jax_function(self)

    def casadi(self) -> Any:
        """The values as a function of CasADi, y(x) of columns x (n_in) and y (n_out), with its derivatives.

        CasADi calculates in double; a model in float32 converts x and y. The function belongs to this process: to store
        one, or to generate C, load the file, casadi.external("NAME_cas", "bundle/libNAME_casadi.so"). Raises
        EngineError unless the engine is the library of a bundle that was exported for CasADi here.

            f = engine.casadi()
            opti.subject_to(X[:, k + 1] == f(casadi.vertcat(X[:, k], U[:, k])))
        """
        raise EngineError(
            f"{type(self).__name__} has no library for CasADi; expected: load(bundle) of a bundle that was made for "
            "this machine, and on it, by `export --casadi` or export_bundle(…, casadi=True)"
        )

    def address(self, function: FunctionName = "eval") -> int:
        """The address of the C function NAME_eval, NAME_jet or NAME_residual, valid as long as the engine lives.

        It is int32_t (const T *x, T *y, int64_t n), for callers of C such as ctypes, Numba and SciPy. Raises
        EngineError where the model is not machine code.
        """
        check_function(self.manifest, function)
        raise EngineError(f"{type(self).__name__} has no machine code; expected: load(bundle), or compile(model)")

    @abstractmethod
    def _bind(self, function: FunctionName, x: Array, y: Array) -> BoundCall:
        """`bind` on one thread, for checked arrays."""

    def _bind_for(self, function: FunctionName, p: Array, x: Array, y: Array) -> BoundCall:
        """`bind` on one thread for checked arrays, with the inputs p that are constant during a call beside x."""
        constant = [column.name in self.manifest.per_call for column in self.manifest.inputs]
        points = np.empty((len(x), self.n_in), self.dtype)
        points[:, constant], points[:, ~np.array(constant)] = p, x
        return self._bind(function, points, y)

    def _bind_fixed(self, function: FunctionName, x: Array, y: Array) -> BoundCall:
        """`bind` on one thread for checked arrays of scaled integers."""
        raise EngineError(
            f"{type(self).__name__} calculates with floats; expected: load(bundle), or load(bundle, engine='numpy')"
        )

    @cached_property
    def _jacobian_columns(self) -> Positions:
        return self._in_jet(jacobian_columns)

    @cached_property
    def _hessian_columns(self) -> Positions:
        return self._in_jet(hessian_columns)

    def _in_jet(self, columns: Callable[[Names, Sequence[str]], Positions]) -> Positions:
        """Where derivatives stand in the jet."""
        check_function(self.manifest, "jet")
        try:
            return columns(*self.manifest.names)
        except DerivativeError as error:
            raise EngineError(f"the bundle of {self.manifest.name!r}: {error}") from error

    def _named(self, y: Array) -> dict[str, Array]:
        return {column.name: y[:, i] for i, column in enumerate(self.manifest.functions["jet"].outputs)}

    def _checked_for(self, function: FunctionName, p: Array, x: Array, threads: int) -> Array:
        check_function(self.manifest, function)
        constant, varying = _apart(self.manifest)
        _check_kind("p", p, self.manifest, f"({len(constant)},)", self.manifest.precision)
        if p.shape != (len(constant),):
            raise EngineError(
                f"p has shape {p.shape}; expected: ({len(constant)},), the inputs "
                f"{', '.join(column.name for column in constant)}, which all points of a call share"
            )
        _check_array("x", x, self.manifest, varying)
        _check_threads(threads)
        n_out = self.manifest.functions[function].n_out

        def evaluate(x: Array) -> Array:
            given, y = dense(p), np.empty((len(x), n_out), self.dtype)
            self._run(lambda x, y: self._bind_for(function, given, x, y), function, x, y, threads).run()
            return y

        return in_room(x, n_out, evaluate)

    def _checked(self, function: FunctionName, x: Array, threads: int, columns: Positions | None = None) -> Array:
        """The function at x, or those of its columns."""
        check_function(self.manifest, function)
        check_points(self.manifest, x)
        _check_threads(threads)
        numbers = self.manifest.functions[function].n_out + (0 if columns is None else columns.size)

        def evaluate(x: Array) -> Array:
            y = self._evaluate(function, x, threads)
            return y if columns is None else np.take(y, columns, axis=1)

        return in_room(x, numbers, evaluate)

    def _checked_fixed(self, function: FunctionName, x: Array, threads: int) -> Array:
        if function not in self.manifest.fixed_point:
            raise EngineError(f"the bundle of {self.manifest.name!r} calculates with floats: {HOW_TO_EXPORT['fixed']}")
        _check_array("x", x, self.manifest, self.manifest.inputs, "int32")
        _check_threads(threads)
        n_out = self.manifest.functions[function].n_out

        def evaluate(x: Array) -> Array:
            y = np.empty((len(x), n_out), np.int32)
            self._run(lambda x, y: self._bind_fixed(function, x, y), FIXED.format(function), x, y, threads).run()
            return y

        return in_room(x, n_out, evaluate)

    def _evaluate(self, function: FunctionName, x: Array, threads: int) -> Array:
        """The function at checked, C-contiguous, aligned points."""
        y = np.empty((len(x), self.manifest.functions[function].n_out), self.dtype)
        self._bind_ranges(function, x, y, threads).run()
        return y

    def _bind_ranges(self, function: FunctionName, x: Array, y: Array, threads: int) -> BoundCall:
        return self._run(lambda x, y: self._bind(function, x, y), function, x, y, threads)

    def _run(
        self, bind: Callable[[Array, Array], BoundCall], function: str, x: Array, y: Array, threads: int
    ) -> BoundCall:
        """The call of `bind(x, y)`, made for ranges of the points that the threads share."""
        if threads == 1:
            return bind(x, y)
        parts = ranges(len(x), threads * RANGES_PER_THREAD)
        calls = [bind(x[points], y[points]).run for points in parts]
        return BoundCall(self, function, self._threads.run, (calls, threads), y)


def _apart(manifest: Manifest) -> tuple[list[Input], list[Input]]:
    """The inputs that are constant during a call, and the others. Raises EngineError where there are none."""
    if not manifest.per_call:
        raise EngineError(f"the bundle of {manifest.name!r} has no inputs that are constant during a call: {PER_CALL}")
    return (
        [column for column in manifest.inputs if column.name in manifest.per_call],
        [column for column in manifest.inputs if column.name not in manifest.per_call],
    )


def check_function(manifest: Manifest, function: str) -> None:
    """Raise EngineError unless the model has `function`."""
    if function not in FUNCTIONS:
        raise EngineError(
            f"function {function!r} is unknown; expected: {', '.join(manifest.functions)}"
            f"{did_you_mean(function, manifest.functions)}"
        )
    if function not in manifest.functions:
        raise EngineError(f"the bundle of {manifest.name!r} has no {function}: {HOW_TO_EXPORT[function]}")


def check_points(manifest: Manifest, x: Array) -> None:
    """Raise EngineError unless x is a NumPy array of the dtype and shape that the model takes."""
    _check_array("x", x, manifest, manifest.inputs)


def check_values(manifest: Manifest, function: FunctionName, y: Array) -> None:
    """Raise EngineError unless y is a NumPy array of the dtype and shape that `function` gives."""
    _check_array("y", y, manifest, manifest.functions[function].outputs)


def _check_kind(name: str, array: Array, manifest: Manifest, shape: str, dtype: str) -> None:
    """Whether it is a NumPy array of `dtype`; `shape` is what it should have."""
    if isinstance(array, np.ma.MaskedArray):
        raise EngineError(
            f"{name} is a masked array, and a library computes masked numbers like any other; expected: a plain array "
            f"{shape} of {dtype}, as in {name}.filled(np.nan), which gives NaN for points that are masked"
        )
    if not isinstance(array, np.ndarray):
        raise EngineError(
            f"{name} is a {type(array).__name__}; expected: a NumPy array {shape} of {dtype}, "
            f"as in np.asarray({name}, dtype=np.{dtype})"
        )
    if array.dtype != dtype and dtype == "int32":
        raise EngineError(
            f"{name} has dtype {array.dtype}; expected: int32, words of {manifest.name!r}. Convert numbers: "
            f"engine.manifest.fixed_point['eval'].integers({name})"
        )
    if array.dtype != dtype:
        raise EngineError(
            f"{name} has dtype {array.dtype}; expected: {dtype}, the precision of {manifest.name!r}. "
            f"Convert it: {name}.astype(np.{dtype})"
        )


def _check_array(
    name: str, array: Array, manifest: Manifest, columns: Sequence[Input | Output], dtype: str | None = None
) -> None:
    n_columns = len(columns)
    _check_kind(name, array, manifest, f"(n, {n_columns})", dtype or manifest.precision)
    if array.ndim != 2 or array.shape[1] != n_columns:
        fix = ""
        if array.shape == (n_columns,):
            fix = f". For one point: {name}[None, :]"
        elif array.ndim == 1 and n_columns == 1:
            fix = f". For n points: {name}[:, None]"
        raise EngineError(
            f"{name} has shape {array.shape}; expected: (n, {n_columns}), the columns being "
            f"{', '.join(column.name for column in columns)}{fix}"
        )


def _check_threads(threads: int) -> None:
    if not isinstance(threads, int) or isinstance(threads, bool) or threads < 1:
        raise EngineError(f"threads is {threads!r}; expected: an int from 1, how many threads to use, as in threads=2")


def dense(array: Array) -> Array:
    """Return `array`, or a C-contiguous and aligned copy where it is not so itself."""
    return array.copy(order="C") if copied(array) else array


def in_room(x: Array, numbers: int, evaluate: Callable[[Array], Result]) -> Result:
    """What `evaluate` gives for x, made dense, with so many new numbers for each point.

    Raises EngineError where these and a dense copy of x have no room: before anything is allocated, but for up to FEW
    points, which are not asked about for the sake of short calls.
    """
    if len(x) > FEW:
        check_room(len(x), len(x) * (numbers + copied(x)) * x.itemsize)
    try:
        return evaluate(dense(x))
    except MemoryError as error:
        raise no_room(len(x)) from error


def copied(array: Array) -> int:
    """How many numbers `dense` copies for each row of `array`."""
    return 0 if array.flags.c_contiguous and array.flags.aligned else math.prod(array.shape[1:])
