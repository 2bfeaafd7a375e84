"""`Condition`: what a solution satisfies beside its equation, as a term of the loss: at walls, a start, sensors."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from math import isfinite
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from kdpinn_edge.errors import ProblemError, listing

Array = NDArray[np.float64]
Side: TypeAlias = Mapping[str, float]
"""Inputs that are held at a value; all others are drawn."""
Drawing: TypeAlias = Callable[[int, np.random.Generator], ArrayLike]
"""What draws points."""
At: TypeAlias = Side | tuple[Side, ...] | Literal["boundary"] | Drawing | Array

BOUNDARY: Literal["boundary"] = "boundary"
BALANCED: Literal["balanced"] = "balanced"
NORMAL = "normal_"
NODES = 32
"""Gauss-Legendre nodes along each input of an integral."""


@dataclass(frozen=True, eq=False, kw_only=True)
class Condition:
    """What a solution satisfies beside its equation: weight · mean |residual|² is added to the loss of the equation.

    residual    (*terms) -> a tuple of what is zero where the condition holds; arithmetic and functions, as an equation
    terms       what `residual` takes, in order: as `Problem.terms`; also unknowns, columns of `data`, and on a boundary
                the outward normal: "normal_x"
    at          where. {"t": 0.0} holds inputs, and the others are drawn in each round. ({"x": -1.0}, {"x": 1.0}) are
                points that differ in these inputs alone: `residual` takes all terms at the first and then at the
                second, as a period or an interface needs. "boundary" is where `Problem.inside` is zero. Points
                (n, n_in) stay; a function (n, rng) -> (n, n_in) draws. By default the condition holds in the whole
                domain
    over        inputs over whose whole range the residual is integrated, by Gauss and Legendre
    equals      what the residual, or its integral, is instead of zero
    data        what was measured at the points `at`: columns (n,) by their names, which are terms
    weight      a number above 0, or "balanced"
    n_points    how many are drawn in each round, of points that stay at most
    name        in messages and records; by default what `at` says

    "balanced" sets the weight whenever points are drawn, so that equation and condition have gradients of equal norm:
    w ← 0.9 w + 0.1 ‖∇ equation‖/‖∇ condition‖ (S. Wang, S. Sankaran, H. Wang and P. Perdikaris, 2023, "An expert's
    guide to training physics-informed neural networks", algorithm 1, over the weight of the equation). Which weights of
    the network are kept is judged with 1 in its place.

        Condition(at={"t": 0.0}, terms=("u", "x"), residual=lambda u, x: (u + np.sin(np.pi * x),))
        Condition(at=({"x": -1.0}, {"x": 1.0}), terms=("u", "u_x"), residual=lambda u, u_x, v, v_x: (u - v, u_x - v_x))
    """

    residual: Callable[..., Sequence[Any]]
    terms: tuple[str, ...]
    at: At | None = None
    over: tuple[str, ...] = ()
    equals: float = 0.0
    data: Mapping[str, ArrayLike] = field(default_factory=dict)
    weight: float | Literal["balanced"] = 1.0
    n_points: int = 200
    name: str = ""

    def __post_init__(self) -> None:
        if isinstance(self.at, list) or hasattr(self.at, "__array__"):
            object.__setattr__(self, "at", np.asarray(self.at, np.float64))
        object.__setattr__(self, "data", {key: np.asarray(each, np.float64) for key, each in self.data.items()})
        object.__setattr__(self, "name", self.name or self._said())
        if faults := [f"the condition {self.name}: {fault}" for fault in self._faults()]:
            raise ProblemError(listing(faults))

    @property
    def sides(self) -> tuple[Side, ...]:
        """The inputs that are held, at each of the places that the residual sees together."""
        places = self.at if isinstance(self.at, tuple) else (self.at,)
        return tuple(place if isinstance(place, Mapping) else {} for place in places)

    @property
    def columns(self) -> Array:
        """What was measured, (n, columns of `data`)."""
        return np.column_stack([np.asarray(each) for each in self.data.values()])

    def faults_in(
        self, inputs: Sequence[str], lower: Sequence[float], upper: Sequence[float], *, has_boundary: bool
    ) -> list[str]:
        """What is wrong with it as a condition of a problem with these inputs, in this box."""
        faults = []
        box = dict(zip(inputs, zip(lower, upper, strict=False), strict=False))
        for name, value in [each for side in self.sides for each in side.items()]:
            if name not in box:
                faults.append(f"at names {name!r}, which is no input; expected: of {', '.join(inputs)}")
            elif not box[name][0] <= value <= box[name][1]:
                faults.append(f"{name} = {value:g} is outside of the domain [{box[name][0]:g}, {box[name][1]:g}]")
        faults += [
            f"over names {name!r}, which is no input; expected: of {', '.join(inputs)}"
            for name in self.over
            if name not in box
        ]
        if isinstance(self.at, np.ndarray):
            if self.at.ndim != 2 or self.at.shape[1] != len(inputs):
                faults.append(
                    f"the points have shape {self.at.shape}; expected: (n, {len(inputs)}), with the columns "
                    f"{', '.join(inputs)}"
                )
            elif (outside := ~np.all((self.at >= lower) & (self.at <= upper), axis=1)).any():
                row = int(np.flatnonzero(outside)[0])
                faults.append(
                    f"{outside.sum()} of {len(self.at)} points are outside of the domain; the first is row {row}: "
                    f"{self.at[row].tolist()}"
                )
        on_boundary = isinstance(self.at, str)
        normals = {f"{NORMAL}{name}" for name in inputs} - set(self.data)
        if on_boundary and not has_boundary:
            faults.append("it is on a boundary; expected: the field inside of the problem, a signed distance")
        elif not on_boundary and (found := sorted(normals & set(self.terms))):
            faults.append(f"{found[0]} is known on a boundary alone; expected: at='boundary'")
        if twice := [name for name in self.data if name in inputs]:
            faults.append(f"data has the column {twice[0]!r}, which is an input; expected: another name")
        return faults

    def _said(self) -> str:
        if isinstance(self.at, str):
            return str(self.at)
        if isinstance(self.at, np.ndarray):
            return f"{len(self.at)} points"
        sides = [", ".join(f"{name} = {value:g}" for name, value in side.items()) for side in self.sides if side]
        said = " and ".join(sides) or ("anywhere" if self.at is None else "points")
        return f"{said}, over {', '.join(self.over)}" if self.over else said

    def _faults(self) -> list[str]:
        faults = []
        if isinstance(self.terms, str):
            faults.append("terms is a text; expected: a tuple of names, as in ('u',)")
        if not callable(self.residual):
            faults.append(f"residual is {self.residual!r}; expected: a function")
        places = self.at if isinstance(self.at, tuple) else (self.at,)
        known = self.at is None or isinstance(self.at, np.ndarray) or callable(self.at)
        known = known or all(isinstance(place, Mapping) for place in places)
        if not known and self.at != BOUNDARY:
            faults.append(f"at is {self.at!r}; expected: inputs as in {{'t': 0.0}}, points, a function, or 'boundary'")
        if isinstance(self.at, tuple) and len({frozenset(side) for side in self.at}) != 1:
            faults.append("its places hold different inputs; expected: the same ones, as in ({'x': -1}, {'x': 1})")
        if self.weight != BALANCED and not (isinstance(self.weight, int | float) and 0 < self.weight < float("inf")):
            faults.append(f"the weight is {self.weight!r}; expected: a number above 0, or 'balanced'")
        if not isfinite(self.equals):
            faults.append(f"equals is {self.equals!r}; expected: a finite number")
        if self.n_points < 1:
            faults.append(f"n_points is {self.n_points}; expected: 1 or more")
        if self.over and (isinstance(self.at, tuple) or set(self.over) & set(self.sides[0])):
            faults.append("it integrates over what is held; expected: over other inputs than at has, at one place")
        if isinstance(self.at, np.ndarray) and not np.isfinite(self.at).all():
            faults.append(f"{_first(~np.isfinite(self.at))} of its points is not finite")
        return faults + self._faults_of_data()

    def _faults_of_data(self) -> list[str]:
        if not self.data:
            return []
        if not isinstance(self.at, np.ndarray):
            return ["data is measured nowhere; expected: at, the points (n, n_in) where it was"]
        shapes = {key: np.shape(each) for key, each in self.data.items() if np.shape(each) != (len(self.at),)}
        faults = [f"{key} has shape {shape}; expected: ({len(self.at)},)" for key, shape in shapes.items()]
        return faults + [
            f"{_first(~np.isfinite(each))} of {key} is not finite"
            for key, each in self.data.items()
            if not np.isfinite(each).all()
        ]


def _first(wrong: NDArray[np.bool_]) -> str:
    return f"row {int(np.flatnonzero(wrong.reshape(len(wrong), -1).any(axis=1))[0])}"
