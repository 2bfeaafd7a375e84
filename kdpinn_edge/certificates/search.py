"""The search for cells that are small enough: the worst are halved until every statement is as sharp as it should be.

How sharp a statement can be is known from points, which are cells without width: the largest bound on a rounding error
at a point, the largest slope at a point, and the bounds on values there. Cells are halved where they state more than a
little beyond that.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from kdpinn_edge.certificates.cells import AXES, Cells
from kdpinn_edge.certificates.enclosure import FIELDS, Bounds, Enclosure
from kdpinn_edge.certificates.intervals import Mask, Places
from kdpinn_edge.certificates.statement import is_safe
from kdpinn_edge.program.ir import Array

RANGE_SHARE = 0.004
"""How far a range may go beyond that of points, on either side, as a share of it."""
ERROR_FACTOR = 1.25
"""How far a bound on errors may exceed that at points."""
SLOPE_FACTOR = 1.1
"""How far a slope may exceed that at points."""
N_POINTS = 4096
ENOUGH_TO_REFUSE = 16_384
"""So many cells say where a point lies that has no finite value."""
CELLS_PER_ROUND = 4096
AT_LEAST = 64
"""So few cells take hardly longer than one."""
POINTS_PER_ROUND = 256
NARROWEST = 2.0**-22
"""A side is not cut below this share of its numbers: there are hardly numbers of float32 in between."""
LEAST = 2.0**-32
"""A side is not cut below this share of the box, either: where it holds 0, there are always numbers in between."""
USEFUL = 0.9
TRIES = 3
"""A cell whose excess was not reduced to this share by so many cuts for each input is left as it is, if it exceeds what
it is meant to state by little: by so many more for each time that the excess is twice as large."""


@dataclass
class Points:
    """What holds at points of the box that were tried, for each output: no cell states less than its points."""

    lower: Array
    upper: Array
    error: Array
    slopes: Array

    def add(self, bounds: Bounds) -> None:
        """Take account of the bounds at points."""
        lower, upper = (np.where(np.isfinite(b), b, np.nan) for b in (bounds.lower, bounds.upper))
        self.lower = np.fmin(self.lower, np.fmin.reduce(lower, axis=1))
        self.upper = np.fmax(self.upper, np.fmax.reduce(upper, axis=1))
        error, slopes = (np.where(np.isfinite(b) & bounds.smooth, b, 0.0) for b in (bounds.error, bounds.slopes))
        self.error = np.maximum(self.error, error.max(axis=1))
        self.slopes = np.maximum(self.slopes, slopes.max(axis=2))


@dataclass
class Search:
    """Cells of the box, what holds in each, and what was seen at points; `sharp` if no cell exceeds that by much."""

    cells: Cells
    bounds: Bounds
    points: Points
    sharp: bool

    @property
    def whole(self) -> tuple[Array, Array, Bounds]:
        """The cells that are not cut, lower and upper (n, n_in), and what holds there."""
        places = np.flatnonzero(self.cells.axis < 0)
        return self.cells.lower[places], self.cells.upper[places], self.bounds.of(places)


def search(enclosure: Enclosure, lower: Array, upper: Array, most: int, report: Callable[[int], None]) -> Search:
    """Cut the box from lower to upper (n_in,) into at most `most` cells. `report` is told how many there are."""
    rng = np.random.default_rng(0)
    n_in, n_out = len(lower), enclosure.program.n_out
    points = Points(np.full(n_out, np.inf), np.full(n_out, -np.inf), np.zeros(n_out), np.zeros((n_out, n_in)))
    spread = rng.uniform(lower, upper, (N_POINTS, n_in))
    at_sides = rng.random(spread.shape) < 1 / (2 * n_in)
    spread[at_sides] = np.where(rng.random(spread.shape) < 0.5, lower, upper)[at_sides]
    at_points = enclosure(spread, spread)
    points.add(at_points)
    if not is_safe(at_points, enclosure.rounding).all():
        most = min(most, ENOUGH_TO_REFUSE)

    cells = Cells(lower, upper)
    bounds = enclosure(cells.lower, cells.upper)
    excess = _excess(bounds, points, enclosure)
    hoped, tries = excess.copy(), np.zeros(1, int)  # since this excess, so many cuts in a row were of little use
    while True:
        room = (most - len(cells.axis)) // 2
        width = _width(cells, upper - lower)
        open_cells = (cells.axis < 0) & (width.max(axis=1) > 0)
        open_cells &= tries < TRIES * n_in * (1 + np.log2(np.maximum(excess, 1)))
        unfinished = np.flatnonzero(open_cells & ~(excess <= 1))
        if not len(unfinished) or room < 1:
            break
        order = np.argsort(-excess[unfinished], kind="stable")
        worst = unfinished[order][: min(room, max(CELLS_PER_ROUND, len(unfinished) // 2))]
        worst = worst[(excess[worst] >= np.sqrt(excess[worst[0]])) | (np.arange(len(worst)) < AT_LEAST)]
        probed = worst[:: max(1, len(worst) // POINTS_PER_ROUND)]
        middle = 0.5 * cells.lower[probed] + 0.5 * cells.upper[probed]
        stuck = np.isfinite(excess) & (tries >= n_in)
        new = cells.cut(worst, _axes(bounds, width, worst, stuck))
        ends = (np.concatenate([middle, end[new]]) for end in (cells.lower, cells.upper))
        found = enclosure(*ends)  # both at once: where cells are few, calls of NumPy take most of the time
        points.add(found.of(slice(len(middle))))
        bounds = _joined(bounds, found.of(slice(len(middle), None)))
        excess = _excess(bounds, points, enclosure)
        before, count = np.repeat(hoped[worst], 2), np.repeat(tries[worst], 2)
        better = excess[new] < USEFUL * before
        hoped = np.concatenate([hoped, np.where(better, excess[new], before)])
        tries = np.concatenate([tries, np.where(better, 0, count + 1)])
        report(len(cells.axis))
    return Search(cells, bounds, points, not (excess[cells.axis < 0] > 1).any())


def _excess(bounds: Bounds, points: Points, enclosure: Enclosure) -> Array:
    """How many times each cell exceeds what it is meant to state, by its worst statement; infinite if it has none."""
    allowed = (RANGE_SHARE * (points.upper - points.lower) + 1e-300)[:, None]
    with np.errstate(invalid="ignore"):
        statements = [
            (bounds.upper - points.upper[:, None]) / allowed,
            (points.lower[:, None] - bounds.lower) / allowed,
            bounds.error / (ERROR_FACTOR * points.error + 1e-300)[:, None],
            np.where(bounds.smooth, bounds.slopes / (SLOPE_FACTOR * points.slopes + 1e-300)[:, :, None], 0).max(axis=1),
        ]
    worst: Array = np.max([statement.max(axis=0) for statement in statements], axis=0)
    return np.where(np.isnan(worst) | ~is_safe(bounds, enclosure.rounding), np.inf, worst)


def _width(cells: Cells, box: Array) -> Array:
    """The width (n, n_in) of the sides of each cell as a share of the box; 0 where a side is not to be cut."""
    width = cells.upper - cells.lower
    numbers = np.maximum(np.abs(cells.lower), np.abs(cells.upper))
    share: Array = np.where((width > NARROWEST * numbers) & (width > LEAST * box), width / box, 0.0)
    return share


def _axes(bounds: Bounds, width: Array, which: Places, stuck: Mask) -> Places:
    """The input along which to halve each cell: where outputs are the least linear.

    It is the widest side where nothing says that, and where a cell is stuck: such cuts were of little use.
    """
    bend, sides = bounds.bend[:, which].T, width[which]
    told = (bend.max(axis=1) > 0) & ~stuck[which]
    weight = np.where(told[:, None], bend, sides)
    weight = np.where(sides > 0, weight, -1.0)
    axes: Places = weight[:, : len(AXES)].argmax(axis=1)
    return axes


def _joined(a: Bounds, b: Bounds) -> Bounds:
    return Bounds(*(np.concatenate([getattr(a, name), getattr(b, name)], axis=-1) for name in FIELDS))
