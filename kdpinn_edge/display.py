"""How results look where a person prints them, or a notebook shows them."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable, Mapping, Sequence
from html import escape
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def facts_text(title: str, facts: Mapping[str, str]) -> str:
    """The facts as text, one in each line behind its name."""
    width = max(map(len, facts), default=0)
    lines = (f"  {name:{width}}  {fact}".replace("\n", f"\n{' ' * (width + 4)}") for name, fact in facts.items())
    return "\n".join((title, *lines))


def facts_html(title: str, facts: Mapping[str, str]) -> str:
    """The facts as a table of two columns."""
    return table_html(title, (), ((name, fact) for name, fact in facts.items()))


def table_text(title: str, head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table as text, its columns aligned."""
    lines = [list(head), *map(list, rows)]
    widths = [max(len(line[i]) for line in lines) for i in range(len(head))]
    said = ("  ".join(f"{cell:{width}}" for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines)
    return "\n".join((title, *said))


def table_html(title: str, head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table with its title, all of it escaped."""
    top = f"<tr>{''.join(f'<th>{escape(cell)}</th>' for cell in head)}</tr>" if head else ""
    cells = ("".join(f'<td style="text-align:left">{escape(cell)}</td>' for cell in row) for row in rows)
    body = "".join(f"<tr>{row}</tr>" for row in cells)
    caption = f'<caption style="text-align:left"><b>{escape(title)}</b></caption>'
    return f"<table>{caption}{top}{body}</table>"


def new_figure(width: float, height: float, **options: Any) -> tuple[Figure, Any]:
    """Make a figure of so many inches and its axes; it belongs to no window, and a notebook shows it."""
    from matplotlib.figure import Figure

    class ShownFigure(Figure):
        def _repr_png_(self) -> bytes:
            drawn = io.BytesIO()
            self.savefig(drawn, format="png", dpi=110)
            return drawn.getvalue()

    figure = ShownFigure(figsize=(width, height), layout="constrained")
    return figure, figure.subplots(**options)


def draw_function(
    title: str,
    function: Callable[[NDArray[np.float64]], NDArray[Any]],
    inputs: Sequence[tuple[str, float, float]],
    outputs: Sequence[str],
    per_axis: int = 201,
) -> Figure:
    """Draw a function of points (n, n_in) -> (n, n_out) over the sides (name, lower, upper) of its first two inputs.

    Lines for one input, else a map for each output; all other inputs are in the middle of their sides.
    """
    axes_values = [np.linspace(low, high, per_axis) for _, low, high in inputs[:2]]
    grids = np.meshgrid(*axes_values, indexing="ij")
    fixed = [np.full(grids[0].size, (low + high) / 2) for _, low, high in inputs[2:]]
    values = function(np.stack([*(grid.ravel() for grid in grids), *fixed], axis=1))
    panels = [values[:, i].reshape(grids[0].shape) for i in range(len(outputs))]
    figure, drawn = new_figure(1.0 + 4.2 * len(panels), 4.0, nrows=1, ncols=len(panels), squeeze=False)
    others = ", ".join(f"{name} = {(low + high) / 2:.4g}" for name, low, high in inputs[2:])
    figure.suptitle(f"{title}, {others}" if others else title)
    for axes, name, panel in zip(drawn[0], outputs, panels, strict=True):
        axes.set_xlabel(inputs[0][0])
        if panel.ndim == 1:
            axes.plot(axes_values[0], panel)
            axes.set_ylabel(name)
        else:
            axes.set_title(name)
            axes.set_ylabel(inputs[1][0])
            figure.colorbar(axes.pcolormesh(*axes_values, panel.T, rasterized=True), ax=axes)
    return figure
