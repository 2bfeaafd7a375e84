"""`Problem`: a differential equation on a box, and the shape of a network that can solve it."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import isfinite
from typing import Any, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from kdpinn_edge.equation.condition import Condition
from kdpinn_edge.equation.known import Front, Mirror, Period, Zero
from kdpinn_edge.equation.model_name import name_fault
from kdpinn_edge.errors import ProblemError, listing

Array = NDArray[np.float64]
COLUMN = re.compile(r"[A-Za-z_]\w*(\[\d+\])?", re.ASCII)
POINTS = 100_000
"""The points of the grid on which errors are measured where a problem does not say how many."""


class Math(Protocol):
    """The functions that `features`, `ansatz`, `source` and `weight` may call: those of a Program, by their names.

    They are sin, cos, exp, tanh, log, sqrt, erf, sigmoid, softplus and the others of `kdpinn_edge.functions`.
    """

    def __getattr__(self, name: str) -> Callable[[Any], Any]:
        """The function of this name, elementwise."""


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


@dataclass(frozen=True)
class Causal:
    """Causal weighting in time: residuals count once those before them are small; see `causal`."""

    input: str
    strength: float


def causal(input: str = "t", *, strength: float = 8.0) -> Causal:
    """The weight of an initial-value problem: residuals at later times count once those at earlier times are small.

        w(t) = exp(−ε ∫ r² dt′), the integral from the lower side of `input` to t

    multiplies the squared residuals (S. Wang, S. Sankaran and P. Perdikaris, 2022, "Respecting causality is all you
    need for training physics-informed neural networks"). r² is the sum over the equations and the mean over the other
    inputs. The paper raises ε in steps; here ε is such that w is exp(−strength) at the end, whenever points are drawn,
    so that nothing depends on the units of the residual. Which weights of the network are kept is judged without w.
    """
    if not (isfinite(strength) and strength > 0):
        raise ProblemError(f"the strength of causal weighting is {strength!r}; expected: a number above 0")
    return Causal(input, strength)


@dataclass(frozen=True)
class Origin:
    """The file that defines a problem, by its absolute path and the SHA-256 of its bytes."""

    path: str
    sha256: str


@dataclass(frozen=True, eq=False, kw_only=True)
class Problem:
    """A differential equation on a box, and the shape of a network that can solve it.

    name            names runs and libraries: a-z, 0-9 and _
    equation        one line of Unicode, for people
    conditions      initial and boundary conditions, one line of Unicode, for people
    inputs, outputs names of the columns; a parameter of the equation may be an input, as any other
    lower, upper    the domain box, one number per input
    units           one per input and then one per output, "1" for dimensionless, which is the default
    terms           what `residual` takes, in order: inputs, outputs, derivatives and unknowns: "u", "u_x", "u_xx", …
    residual        (*terms) -> one residual per equation, a tuple; zero for a solution
    features        (m, *columns) -> what the network sees, a tuple of columns; by default the inputs, scaled to [-1, 1]
    ansatz          (m, columns, *net) -> the outputs, or the potentials: a tuple of columns that satisfy the initial
                    and boundary conditions for every network `net`; the network itself where there is none, which
                    needs conditions in `soft`
    soft            conditions that are trained for, beside those that the ansatz has: terms of the loss
    unknowns        numbers of the equation that are trained with the network, by their names, each with a first guess
    inside          (n, n_in) -> where the domain is within the box: a signed distance (n,), negative inside, or a mask,
                    True inside; the whole box where there is none
    exact           (n, n_in) -> (n, n_out), float64: the reference solution, where one is known; reached through
                    `reference`, which checks the points
    exact_error     an upper bound on the absolute error of `exact`
    resolution      points per axis of the grid on which errors are measured; by default POINTS in all
    logarithmic     inputs of which as many points are drawn between 0.01 and 0.02 as between 0.1 and 0.2
    source          (m, *columns) -> what is subtracted from each residual: the equations' right-hand sides
    weight          what residuals are multiplied by in training: (m, *columns) -> a column, or `causal("t")`; 1 where
                    there is none
    potentials      what the ansatz makes, where that is not the outputs
    net_columns     how many columns the network has, where that is not as many as the ansatz makes
    closed_form     (m, *columns) -> the outputs of the exact solution, where it has a formula
    known           what is known of the solution's shape before it is computed: the tables and solvers that a network
                    is compared with are laid out by it, as features and ansatz are
    origin          the file that defines it, where that is none of the package's

    Residual, features and the others calculate with numbers of which only this is known: + − * /, powers, and the
    functions of a Program, as `m.exp(x)`, or `np.exp(x)` where there is no m. Raises ProblemError, with every fault,
    where the fields do not fit together.
    """

    name: str
    equation: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    lower: tuple[float, ...]
    upper: tuple[float, ...]
    terms: tuple[str, ...]
    residual: Callable[..., Sequence[Any]]
    conditions: str = ""
    units: tuple[str, ...] = ()
    features: Callable[..., Sequence[Any]] | None = None
    ansatz: Callable[..., Any] | None = None
    exact: Callable[[Array], Array] | None = None
    exact_error: float = 0.0
    resolution: tuple[int, ...] = ()
    logarithmic: tuple[str, ...] = ()
    source: Callable[..., Sequence[Any]] | None = None
    weight: Callable[..., Any] | Causal | None = None
    potentials: Potentials | None = None
    net_columns: int | None = None
    closed_form: Callable[..., Sequence[Any]] | None = None
    known: tuple[Mirror | Zero | Period | Front, ...] = ()
    soft: tuple[Condition, ...] = ()
    unknowns: Mapping[str, float] = field(default_factory=dict)
    inside: Callable[[Array], Any] | None = None
    origin: Origin | None = None

    def __post_init__(self) -> None:
        texts = [name for name in ("inputs", "outputs", "terms") if isinstance(getattr(self, name), str)]
        if texts:
            raise ProblemError(
                f"{self.name}: {', '.join(texts)} is a text; expected: a tuple of names, as in ('x', 't'), with one "
                "name ('x',)"
            )
        if not self.units:
            object.__setattr__(self, "units", ("1",) * (len(self.inputs) + len(self.outputs)))
        if faults := [f"{self.name}: {fault}" for fault in _faults(self)]:
            raise ProblemError(listing(faults))

    def __repr__(self) -> str:
        return f"Problem({self.name}: {self.equation}; {self.domain})"

    def seen(self, m: Math, columns: Sequence[Any]) -> Sequence[Any]:
        """The features at these columns of the inputs: what the network sees."""
        if self.features is not None:
            return self.features(m, *columns)
        return scaled(columns, self.lower, self.upper)

    def reference(self, x: ArrayLike) -> Array:
        """The solution at the points x (n, n_in), float64 (n, n_out), within `exact_error`.

        Raises ProblemError where none is known, and where x has another shape, or holds a point that is not finite or
        outside the box.
        """
        if self.exact is None:
            raise ProblemError(
                f"{self.name} has no reference solution; expected here: the field exact, a function of points (n, "
                f"{len(self.inputs)}) that returns (n, {len(self.outputs)})"
            )
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
        """A regular grid over the domain, corners included: (prod(per_axis), n_in), the last input fastest."""
        axes = [np.linspace(*side) for side in zip(self.lower, self.upper, per_axis, strict=True)]
        points = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, len(axes))
        return points if self.inside is None else points[self.is_inside(points)]

    def is_inside(self, points: Array) -> NDArray[np.bool_]:
        """Whether each of the points (n, n_in) of the box is in the domain. Raises ProblemError as `distance` does."""
        if self.inside is None:
            return np.ones(len(points), bool)
        found = self._placed(points)
        return found if found.dtype == bool else found <= 0

    def distance(self, points: Array) -> Array:
        """The signed distances of points (n, n_in) from the domain's boundary, (n,), negative inside.

        Raises ProblemError where `inside` is no function of this kind.
        """
        found = self._placed(points)
        if found.dtype == bool:
            raise ProblemError(
                f"{self.name}: inside is a mask, and the boundary is asked for; expected: a signed distance, negative "
                "inside, as in np.hypot(x, y) - 1"
            )
        return found.astype(np.float64)

    def _placed(self, points: Array) -> NDArray[Any]:
        if self.inside is None:
            raise ProblemError(f"{self.name} is a box; expected here: the field inside, a signed distance")
        found = np.asarray(self.inside(points))
        if found.shape != (len(points),) or found.dtype.kind not in "bfi" or not np.isfinite(found).all():
            raise ProblemError(
                f"{self.name}: inside returns {found.dtype} {found.shape} for {len(points)} points; expected: "
                f"({len(points)},), finite signed distances or a mask"
            )
        return found

    def settled(self, unknowns: Mapping[str, float]) -> Problem:
        """The problem with other values of its unknowns: those that were found."""
        return replace(self, unknowns=dict(unknowns)) if self.unknowns else self

    def is_same_as(self, other: Problem) -> bool:
        """Whether two problems are one, or say the same: a cell of a notebook makes another one whenever it is run."""
        said = ("name", "equation", "inputs", "outputs", "lower", "upper", "terms", "origin")
        return self is other or all(getattr(self, name) == getattr(other, name) for name in said)

    @property
    def per_axis(self) -> tuple[int, ...]:
        """The points along each axis of the grid on which errors are measured."""
        return self.resolution or (max(2, round(POINTS ** (1 / len(self.inputs)))),) * len(self.inputs)

    @property
    def made(self) -> tuple[str, ...]:
        """The names of the columns that the ansatz makes."""
        return self.potentials.names if self.potentials else self.outputs

    @property
    def domain(self) -> str:
        """The box as text: "x ∈ [-1, 1], t ∈ [0, 1]"."""
        sides = zip(self.inputs, self.lower, self.upper, strict=True)
        return ", ".join(f"{name} ∈ [{low:g}, {high:g}]" for name, low, high in sides)


def scaled(columns: Sequence[Any], lower: Sequence[float], upper: Sequence[float]) -> list[Any]:
    """The columns, scaled from their sides of the box to [-1, 1]."""
    sides = zip(columns, lower, upper, strict=True)
    return [x * (2 / (high - low)) - (high + low) / (high - low) for x, low, high in sides]


def _faults(problem: Problem) -> list[str]:
    faults = []
    n_in, n_out = len(problem.inputs), len(problem.outputs)
    if fault := name_fault(problem.name):
        faults.append(fault)
    names = (*problem.inputs, *problem.outputs)
    if wrong := [name for name in names if not (isinstance(name, str) and COLUMN.fullmatch(name))]:
        faults.append(f"{wrong[0]!r} names no column; expected: letters, digits and _")
    if twice := sorted({name for name in names if names.count(name) > 1}):
        faults.append(f"{', '.join(twice)} is named twice among inputs and outputs; expected: each name once")
    counts = {
        "inputs": (n_in, max(1, n_in)),
        "outputs": (n_out, max(1, n_out)),
        "lower": (len(problem.lower), n_in),
        "upper": (len(problem.upper), n_in),
        "units": (len(problem.units), n_in + n_out),
        "resolution": (len(problem.resolution), n_in if problem.resolution else 0),
    }
    faults += [
        f"{name} has {count} entries; expected: {wanted}" for name, (count, wanted) in counts.items() if count != wanted
    ]
    for name, low, high in zip(problem.inputs, problem.lower, problem.upper, strict=False):
        if not (isfinite(low) and isfinite(high) and low < high):
            faults.append(f"the domain of {name} is [{low:g}, {high:g}]; expected: two finite numbers, the lower first")
        elif name in problem.logarithmic and low <= 0:
            faults.append(f"{name} is logarithmic and starts at {low:g}; expected: a lower side above 0")
    if unknown := [name for name in problem.logarithmic if name not in problem.inputs]:
        faults.append(f"logarithmic names {unknown[0]!r}, which is no input; expected: of {', '.join(problem.inputs)}")
    if isinstance(problem.weight, Causal) and problem.weight.input not in problem.inputs:
        faults.append(
            f"causal names {problem.weight.input!r}, which is no input; expected: of {', '.join(problem.inputs)}"
        )
    faults += _faults_of_known(problem)
    faults += _faults_of_soft(problem)
    for name in ("residual", "features", "ansatz", "exact", "source", "inside"):
        value = getattr(problem, name)
        if value is not None and not callable(value):
            faults.append(f"{name} is {value!r}; expected: a function")
    return faults


def _faults_of_known(problem: Problem) -> list[str]:
    n_out = len(problem.outputs)
    unknown = [fact.input for fact in problem.known if fact.input not in problem.inputs]
    unsigned = [fact for fact in problem.known if isinstance(fact, Mirror) and len(fact.signs) != n_out]
    return [
        *(f"known says something of {name!r}; expected: of {', '.join(problem.inputs)}" for name in unknown),
        *(f"known has {fact}; expected: {n_out} signs, one per output" for fact in unsigned),
    ]


def _faults_of_soft(problem: Problem) -> list[str]:
    faults = []
    if isinstance(problem.soft, Condition):
        return ["soft is a Condition; expected: a tuple of them, with one (condition,)"]
    for each in problem.soft:
        found = each.faults_in(problem.inputs, problem.lower, problem.upper, has_boundary=problem.inside is not None)
        faults += [f"the condition {each.name}: {fault}" for fault in found]
        if each.over and problem.inside is not None:
            faults.append(f"the condition {each.name}: it integrates over a domain that is no box; expected: a box")
    for name, start in problem.unknowns.items():
        if not COLUMN.fullmatch(name) or name in (*problem.inputs, *problem.outputs):
            faults.append(f"the unknown {name!r} is a column, or no name; expected: a name of its own, as in 'nu'")
        if not isinstance(start, int | float) or not isfinite(start):
            faults.append(f"the unknown {name} starts at {start!r}; expected: a finite number, a first guess")
    taken = {*problem.terms, *(term for each in problem.soft for term in each.terms)}
    faults += [f"the unknown {name} is no term of anything" for name in problem.unknowns if name not in taken]
    return faults
