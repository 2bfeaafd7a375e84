"""Where a point lies along one input of a table: folded at a mirror, graded at a front, from 0 to 1."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from kdpinn_edge.problems import Array, Front, Mirror, Period, Problem, Zero


@dataclass(frozen=True)
class Edge:
    """What is known at one end of an input: for each output 1 (even), −1 (odd), 0 (the value 0) or None (nothing)."""

    parities: tuple[int | None, ...]


@dataclass(frozen=True)
class Coordinate:
    """The place of an input x: from 0 to 1 inside the box.

        d = side (x − origin), where there is a mirror in `origin` its magnitude
        s = asinh((d − at)/width), or d where there is no front
        place = (s − s(lower))/(s(upper) − s(lower))

    `signs` are what each output is multiplied by beyond the mirror, where side (x − origin) < 0; empty where there is
    none. `edges` are what is known at place 0 and 1.
    """

    origin: float
    side: int
    lower: float
    upper: float
    signs: tuple[int, ...]
    edges: tuple[Edge, Edge]
    at: float = 0.0
    width: float | None = None

    @property
    def first(self) -> float:
        """s(lower)."""
        return float(self._graded(np.array(self.lower)))

    @property
    def scale(self) -> float:
        """The factor from s to places."""
        return 1.0 / (float(self._graded(np.array(self.upper))) - self.first)

    def place(self, x: Array) -> tuple[Array, Array]:
        """The places of x (n,), and the factors (n, n_out) of the outputs, or (n, 1) where there is no mirror."""
        d = self.side * (x - self.origin)
        signs = np.where((d < 0)[:, None], np.array(self.signs or (1,), np.float64), 1.0)
        if self.signs:
            d = np.abs(d)
        place: Array = (self._graded(d) - self.first) * self.scale
        return place, signs

    def points(self, places: Array) -> Array:
        """The x that lie at `places`, on the side of the mirror where signs are 1."""
        s = places / self.scale + self.first
        d = s if self.width is None else self.at + self.width * np.sinh(s)
        x: Array = self.origin + self.side * np.clip(d, self.lower, self.upper)
        return x

    def stretch(self, places: Array) -> Array:
        """The length dx/d(place) at `places`: the weight of an integral over x."""
        s = places / self.scale + self.first
        length: Array = np.full_like(s, 1 / self.scale) if self.width is None else self.width * np.cosh(s) / self.scale
        return length

    def _graded(self, d: Array) -> Array:
        return d if self.width is None else np.arcsinh((d - self.at) / self.width)


def coordinates(problem: Problem, *, graded: bool) -> tuple[Coordinate, ...]:
    """What `problem.known` says of each input; without its fronts unless `graded`."""
    sides = zip(problem.inputs, problem.lower, problem.upper, strict=True)
    return tuple(_coordinate(problem, *side, graded=graded) for side in sides)


def _coordinate(problem: Problem, name: str, lower: float, upper: float, *, graded: bool) -> Coordinate:
    known = [fact for fact in problem.known if fact.input == name]
    mirror = next((f for f in known if isinstance(f, Mirror) and lower < f.at < upper), None)
    front = next((f for f in known if isinstance(f, Front)), None) if graded else None

    def edge(at: float, *, is_stretched: bool) -> Edge:
        found: list[int | None] = [None] * len(problem.outputs)
        for fact in known:
            if isinstance(fact, Front | Period) or not np.isclose(fact.at, at, rtol=0, atol=1e-9 * (upper - lower)):
                continue
            signs = (0,) * len(found) if isinstance(fact, Zero) else fact.signs
            # where places are not mirrored with x, an odd function has no second derivative that is 0
            found = [0 if sign < 0 and is_stretched else sign for sign in signs]
        return Edge(tuple(found))

    def is_stretched(at: float) -> bool:
        return front is not None and front.at != at

    if mirror is None:
        edges = edge(lower, is_stretched=is_stretched(lower)), edge(upper, is_stretched=is_stretched(upper))
        found = Coordinate(0.0, 1, lower, upper, (), edges)
    else:
        side = 1 if upper - mirror.at >= mirror.at - lower else -1
        far = upper if side > 0 else lower
        edges = edge(mirror.at, is_stretched=is_stretched(mirror.at)), edge(far, is_stretched=is_stretched(far))
        found = Coordinate(mirror.at, side, 0.0, abs(far - mirror.at), mirror.signs, edges)
    if front is None:
        return found
    at = found.side * (front.at - found.origin)
    return Coordinate(**vars(found) | {"at": abs(at) if found.signs else at, "width": front.width})
