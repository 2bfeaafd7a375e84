"""`audit(bundle)`: does the deployed model obey its equation? Its own `residual`, swept over its domain.

A residual says where the model violates the equation, not how far it is from the solution: that also takes how much
the equation amplifies a violation. Needs no torch; matplotlib only where a figure is drawn.
"""

from __future__ import annotations

import io
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from math import isqrt
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from kdpinn_edge.bundle.manifest import Input, Manifest
from kdpinn_edge.bundle.read import open_bundle
from kdpinn_edge.derive.residual import summands
from kdpinn_edge.display import new_figure, table_html, table_text
from kdpinn_edge.errors import AuditError
from kdpinn_edge.files import check_folder, write_whole
from kdpinn_edge.program.interp import interpret
from kdpinn_edge.program.ir import Program
from kdpinn_edge.runtime.engine import check_function
from kdpinn_edge.runtime.load import EngineName, load_opened

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Array = NDArray[np.float64]

PER_AXIS = 401
POINTS_AT_ONCE = 1024
PERCENTILES = (50.0, 90.0, 99.0, 100.0)
HEAD = ("", "% of points", "|residual| ≤", "of the largest term", "which is at")
FORMATS: dict[str, dict[str, None]] = {".png": {}, ".svg": {"Date": None}, ".pdf": {"CreationDate": None}}
SLICES, PANELS = 5, 25
FLOOR = 1e-6  # of the largest residual: where the colours of a figure end


@dataclass(frozen=True)
class ResidualQuantile:
    """The `value` that |residual| of an equation keeps to at `percentile` % of the points, and reaches at `at`.

    `relative` is `value` over the largest term of the equation anywhere, at most 1.
    """

    equation: str
    percentile: float
    value: float
    relative: float
    at: dict[str, float]


@dataclass(frozen=True, eq=False, repr=False)
class Audit:
    """The magnitude of the residual on a grid over the domain.

    axes        the grid's values along each of `inputs`
    residual    (points of the grid, in `ij` order …, equations), float64, absolute values
    largest     per equation the largest magnitude on the grid of any term that its residual is the sum of
    """

    name: str
    equation: str | None
    engine: str
    profile: str
    inputs: tuple[Input, ...]
    equations: tuple[str, ...]
    axes: tuple[Array, ...]
    residual: Array
    largest: tuple[float, ...]

    @property
    def n_points(self) -> int:
        """The number of points of the grid."""
        return int(np.prod([len(axis) for axis in self.axes]))

    def rows(self, percentiles: Sequence[float] = PERCENTILES) -> list[ResidualQuantile]:
        """One row per equation and percentile; the value is one that occurs, so that it has a place."""
        return [self._row(i, percentile) for i in range(len(self.equations)) for percentile in percentiles]

    def __repr__(self) -> str:
        return table_text(self._title(), HEAD, self._cells())

    def _repr_html_(self) -> str:
        return table_html(self._title(), HEAD, self._cells())

    def _title(self) -> str:
        return f"{self.name}: {self.equation or 'residual'}, at {self.n_points:,} points"

    def _cells(self) -> Iterator[tuple[str, ...]]:
        for row in self.rows():
            at = ", ".join(f"{name} = {value:.4g}" for name, value in row.at.items())
            yield row.equation, f"{row.percentile:g}", f"{row.value:.3g}", f"{row.relative:.1e}", at

    def plot(self) -> Figure:
        """Draw lines for one input, else maps, one per equation and slice, in one logarithmic scale."""
        return _figure(self)

    def _row(self, equation: int, percentile: float) -> ResidualQuantile:
        values = self.residual[..., equation].ravel()
        rank = max(0, int(np.ceil(percentile / 100 * len(values))) - 1)
        point = int(np.argpartition(values, rank)[rank])
        indices = np.unravel_index(point, self.residual.shape[:-1])
        at = {side.name: float(axis[i]) for side, axis, i in zip(self.inputs, self.axes, indices, strict=True)}
        value = float(values[point])
        relative = value / max(value, self.largest[equation]) if value else 0.0
        return ResidualQuantile(self.equations[equation], percentile, value, relative, at)


def audit(bundle: str | os.PathLike[str], *, per_axis: int = PER_AXIS, engine: EngineName = "library") -> Audit:
    """Sweep the domain of the bundle with its `residual`.

    The first two inputs take `per_axis` values each; of the others each takes 5, or fewer where that makes more than
    25 slices. Raises BundleError or EngineError where the bundle cannot be loaded or has no `residual`, AuditError
    where a side of the domain is open or the residual is not finite somewhere.

        print(audit("burgers.bundle").rows([99.0]))
    """
    if per_axis < 2:
        raise AuditError(f"per_axis is {per_axis}; expected: from 2, the points along the first two inputs")
    opened = open_bundle(bundle)
    loaded = load_opened(opened, engine)
    manifest = loaded.manifest
    check_function(manifest, "residual")
    axes = _axes(manifest, per_axis)
    terms = summands(opened.program("residual"))
    slices, largest = [], np.zeros(len(terms))
    for fixed in product(*axes[2:]):
        points = np.stack(np.meshgrid(*axes[:2], *([value] for value in fixed), indexing="ij"), axis=-1)
        points = points.reshape(-1, len(axes))
        slices.append(np.abs(loaded.residual(points.astype(loaded.dtype)), dtype=np.float64))
        largest = np.maximum(largest, [_largest(program, points) for program in terms])
    residual = np.stack(slices, axis=-2).reshape(*(len(axis) for axis in axes), -1)
    if not np.isfinite(residual).all():
        where = [axis[i] for axis, i in zip(axes, np.argwhere(~np.isfinite(residual))[0, :-1], strict=True)]
        raise AuditError(f"{manifest.name}: the residual is not finite at {_point(manifest.inputs, where)}")
    equations = tuple(column.name for column in manifest.functions["residual"].outputs)
    return Audit(
        manifest.name,
        manifest.equation,
        engine,
        manifest.profile,
        manifest.inputs,
        equations,
        axes,
        residual,
        tuple(map(float, largest)),
    )


def _axes(manifest: Manifest, per_axis: int) -> tuple[Array, ...]:
    few = max(k for k in range(1, SLICES + 1) if k ** (len(manifest.inputs) - 2) <= PANELS)
    axes = []
    for i, side in enumerate(manifest.inputs):
        if side.lower is None or side.upper is None:
            raise AuditError(
                f"{manifest.name}: the domain of {side.name} is open, so it cannot be swept; expected: a bundle that "
                "was exported with a lower and an upper bound for every input"
            )
        n = per_axis if i < 2 else few
        axes.append(np.linspace(side.lower, side.upper, n) if n > 1 else np.array([(side.lower + side.upper) / 2]))
    return tuple(axes)


def _largest(program: Program, points: Array) -> float:
    blocks = (points[i : i + POINTS_AT_ONCE] for i in range(0, len(points), POINTS_AT_ONCE))
    return max(float(np.abs(interpret(program, block)).max()) for block in blocks)


def check_figure(path: Path) -> None:
    """Raise AuditError where `path` is not one that `draw` can write: call it before a long sweep."""
    if path.suffix not in FORMATS:
        raise AuditError(f"{path}: the suffix {path.suffix!r} is unknown; expected: {', '.join(FORMATS)}")
    check_folder(path, AuditError)


def draw(found: Audit, path: str | os.PathLike[str]) -> None:
    """Write the figure of `found`. Raises AuditError for a path that is no .png, .svg or .pdf in a folder that is."""
    target = Path(path)
    check_figure(target)
    drawn = io.BytesIO()
    _figure(found).savefig(drawn, format=target.suffix[1:], dpi=150, metadata=FORMATS[target.suffix])
    write_whole(target, drawn.getvalue())


def _figure(found: Audit) -> Figure:
    from matplotlib.colors import LogNorm

    panels = list(_panels(found))
    n_columns = isqrt(len(panels) - 1) + 1
    n_rows = -(-len(panels) // n_columns)
    size = 1.0 + 4.2 * n_columns, 0.8 + 3.2 * n_rows
    figure, grid = new_figure(*size, nrows=n_rows, ncols=n_columns, squeeze=False)
    largest = float(found.residual.max()) or 1.0
    smallest = max(float(np.quantile(found.residual, 0.01)), largest * FLOOR)
    scale = LogNorm(smallest, largest)
    figure.suptitle(f"{found.name}: {found.equation or 'residual'}")
    image: Any = None
    for axes, (title, values) in zip(grid.flat, panels, strict=False):
        axes.set_title(title, fontsize="medium")
        axes.set_xlabel(_label(found.inputs[0]))
        if values.ndim == 1:
            axes.semilogy(found.axes[0], np.maximum(values, smallest))
            axes.set_ylabel("|residual|")
        else:
            image = axes.pcolormesh(*found.axes[:2], np.maximum(values, smallest).T, norm=scale, rasterized=True)
            axes.set_ylabel(_label(found.inputs[1]))
    for axes in grid.flat[len(panels) :]:
        axes.set_axis_off()
    if image is not None:
        figure.colorbar(image, ax=grid.ravel().tolist(), label="|residual|")
    return figure


def _panels(found: Audit) -> Iterator[tuple[str, Array]]:
    """A title and the values, (n,) or (n, n), for every equation and every slice."""
    others = [enumerate(axis) for axis in found.axes[2:]]
    for i, equation in enumerate(found.equations):
        for fixed in product(*others):
            indices, values = [j for j, _ in fixed], [value for _, value in fixed]
            titles = [equation] if len(found.equations) > 1 else []
            titles += [_point(found.inputs[2:], values)] if fixed else []
            where: tuple[Any, ...] = (..., *indices, i)
            yield ", ".join(titles), found.residual[where]


def _label(side: Input) -> str:
    return f"{side.name} [{side.unit}]" if side.unit not in (None, "1") else side.name


def _point(inputs: Sequence[Input], values: Sequence[float]) -> str:
    return ", ".join(f"{side.name} = {value:.4g}" for side, value in zip(inputs, values, strict=True))
