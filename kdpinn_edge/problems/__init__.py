"""The equations: one file each, found by being in this folder. NumPy only, so they can be listed without torch.

To add an equation, add `<name>.py` here with `PROBLEM = Problem(name="<name>", …)`; nothing else changes. What several
equations share is in modules whose names begin with an underscore.
"""

from __future__ import annotations

import pkgutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Any, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from kdpinn_edge.errors import ProblemError, did_you_mean
from kdpinn_edge.problems._known import Front, Mirror, Zero

__all__ = ["Array", "Front", "Math", "Mirror", "Potentials", "Problem", "Zero", "evaluated", "names", "problem"]

Array = NDArray[np.float64]


class Math(Protocol):
    """The functions that `features` and `ansatz` may call: numpy, torch and kdpinn_edge.training.jets have them."""

    def sin(self, x: Any, /) -> Any:
        """Sine, elementwise."""

    def cos(self, x: Any, /) -> Any:
        """Cosine, elementwise."""

    def exp(self, x: Any, /) -> Any:
        """Exponential, elementwise."""

    def tanh(self, x: Any, /) -> Any:
        """Hyperbolic tangent, elementwise."""


@dataclass(frozen=True, eq=False)
class Potentials:
    """Functions whose derivatives are the outputs: the curl of a stream function has no divergence, whatever it is.

    names           of the columns that the ansatz makes
    terms           what `outputs` takes, in order: derivatives of them, as in "psi_y"
    outputs         (*terms) -> the problem's outputs; linear, so that it holds for their derivatives as well
    """

    names: tuple[str, ...]
    terms: tuple[str, ...]
    outputs: Callable[..., Sequence[Any]]


@dataclass(frozen=True, eq=False)
class Problem:
    """A differential equation on a box, its exact solution, and the shape of a network that can solve it.

    name            the file's name; what the command line takes
    equation        one line of Unicode
    conditions      initial and boundary conditions, one line of Unicode
    inputs, outputs names of the columns; a parameter of the equation may be an input, as any other
    lower, upper    the domain box, one number per input
    units           one per input and then one per output, "1" for dimensionless
    exact           (n, n_in) -> (n, n_out), float64; reached through `reference`, which checks the points
    exact_error     an upper bound on the absolute error of `exact`
    resolution      points per axis of the grid on which errors are measured
    terms           what `residual` takes, in order: inputs, outputs and derivatives: "nu", "u", "u_x", "u_xx", …
    residual        (*terms) -> one residual per equation; zero for a solution. Arithmetic only: terms may be
                    arrays or tensors of one shape
    features        (math, *columns) -> what the network sees, a sequence of (n, 1) columns
    ansatz          (math, columns, *net) -> the outputs, or the potentials: a sequence of (n, 1) columns that satisfy
                    the hard conditions for every net, of which each column is (n, 1)
    logarithmic     inputs of which as many points are drawn between 0.01 and 0.02 as between 0.1 and 0.2
    source          (math, *columns) -> what is subtracted from each residual: the equations' right-hand sides
    weight          (math, *columns) -> (n, 1): what residuals are multiplied by in training; 1 where there is none
    potentials      what the ansatz makes, where that is not the outputs
    net_columns     how many columns the network has, where that is not as many as the ansatz makes
    closed_form     (math, *columns) -> the outputs of the exact solution, where it has a formula
    known           what is known of the solution's shape before it is computed: a table that a network is compared
                    with is laid out by it, as features and ansatz are
    """

    name: str
    equation: str
    conditions: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    lower: tuple[float, ...]
    upper: tuple[float, ...]
    units: tuple[str, ...]
    exact: Callable[[Array], Array]
    exact_error: float
    resolution: tuple[int, ...]
    terms: tuple[str, ...]
    residual: Callable[..., Sequence[Any]]
    features: Callable[..., Sequence[Any]]
    ansatz: Callable[..., Any]
    logarithmic: tuple[str, ...] = ()
    source: Callable[..., Sequence[Any]] | None = None
    weight: Callable[..., Any] | None = None
    potentials: Potentials | None = None
    net_columns: int | None = None
    closed_form: Callable[..., Sequence[Any]] | None = None
    known: tuple[Mirror | Zero | Front, ...] = ()

    def reference(self, x: ArrayLike) -> Array:
        """The solution at the points x (n, n_in), float64 (n, n_out), within `exact_error`.

        Raises ProblemError where x has another shape, or holds a point that is not finite or outside the box.
        """
        points = np.asarray(x, dtype=np.float64)
        if points.ndim != 2 or points.shape[1] != len(self.inputs):
            raise ProblemError(
                f"{self.name}: the points have shape {points.shape}; expected: (n, {len(self.inputs)}), "
                f"with the columns {', '.join(self.inputs)}"
            )
        outside = ~np.all((points >= self.lower) & (points <= self.upper), axis=1)
        if outside.any():
            row = int(np.flatnonzero(outside)[0])
            raise ProblemError(
                f"{self.name}: {outside.sum()} of {len(points)} points are outside the domain {self.domain}; "
                f"the first is row {row}: {points[row].tolist()}"
            )
        return self.exact(points)

    def grid(self, per_axis: Sequence[int]) -> Array:
        """A regular grid over the box, corners included: (prod(per_axis), n_in), the last input fastest."""
        axes = [np.linspace(*side) for side in zip(self.lower, self.upper, per_axis, strict=True)]
        return np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, len(axes))

    @property
    def made(self) -> tuple[str, ...]:
        """The names of the columns that the ansatz makes."""
        return self.potentials.names if self.potentials else self.outputs

    @property
    def domain(self) -> str:
        """The box as text: "x ∈ [-1, 1], t ∈ [0, 1]"."""
        sides = zip(self.inputs, self.lower, self.upper, strict=True)
        return ", ".join(f"{name} ∈ [{low:g}, {high:g}]" for name, low, high in sides)


def evaluated(closed_form: Callable[..., Sequence[Any]], m: Any = np) -> Callable[[Array], Array]:
    """The `exact` of a problem that has a closed form: at points (n, n_in), by NumPy or what has more functions."""

    def exact(points: Array) -> Array:
        return np.column_stack(closed_form(m, *points.T))

    return exact


def names() -> tuple[str, ...]:
    """The names of all equations, sorted."""
    return tuple(sorted(module.name for module in pkgutil.iter_modules(__path__) if not module.name.startswith("_")))


def problem(name: str) -> Problem:
    """The equation called `name`. Raises ProblemError for an unknown name, listing the known ones."""
    if name not in names():
        raise ProblemError(
            f"no problem is called {name!r}; expected: {', '.join(names())}{did_you_mean(name, names())}"
        )
    found: Problem = import_module(f"{__name__}.{name}").PROBLEM
    return found
