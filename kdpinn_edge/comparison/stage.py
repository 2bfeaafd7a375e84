"""`bench(source)`: the comparison of backends, as Python calls it."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from io import StringIO
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from rich.console import Console

from kdpinn_edge.bundle.manifest import MANIFEST_FILE, read_manifest
from kdpinn_edge.comparison import selection
from kdpinn_edge.comparison.machine import check_system
from kdpinn_edge.comparison.record import Record
from kdpinn_edge.comparison.session import MeasurementProgress, measure
from kdpinn_edge.comparison.statistics import rows
from kdpinn_edge.comparison.text_tables import live, print_record, told
from kdpinn_edge.display import new_figure
from kdpinn_edge.export.bundle import export_bundle
from kdpinn_edge.importers.model import find_model
from kdpinn_edge.program.ir import Program
from kdpinn_edge.watching import Report, watched

if TYPE_CHECKING:
    from matplotlib.figure import Figure

WIDTH = 120


@dataclass(frozen=True, repr=False)
class BenchResult:
    """A comparison: its `record` has every sample."""

    record: Record

    def __repr__(self) -> str:
        return self._console().export_text()

    def _repr_html_(self) -> str:
        return self._console().export_html(inline_styles=True, code_format="<pre>{code}</pre>")

    def plot(self) -> Figure:
        """Draw the median time per point of every backend over the points of a call."""
        closed = [row for row in rows(self.record) if row.mode == "closed"]
        figure, axes = new_figure(7.0, 4.5)
        for entry in dict.fromkeys(row.entry for row in closed):
            own = sorted((row for row in closed if row.entry == entry), key=lambda row: row.n)
            axes.loglog([row.n for row in own], [row.percentiles[0].ns / row.n for row in own], "o-", label=entry)
        axes.set_xlabel("points per call")
        axes.set_ylabel("ns per point, median")
        axes.set_title(self.record.name)
        axes.legend(fontsize="small")
        return figure

    def _console(self) -> Console:
        console = Console(record=True, file=StringIO(), width=WIDTH, highlight=False)
        print_record(console, self.record)
        return console


def bench(
    source: str | os.PathLike[str] | Program,
    *,
    backends: Sequence[str] = selection.QUICK_NAMES,
    n_points: Sequence[int] = selection.N_POINTS,
    full: bool = False,
    threads: int = 1,
    out: str | os.PathLike[str] | None = None,
    resume: bool = False,
    report: Report[MeasurementProgress] | None = None,
) -> BenchResult:
    """Compare the backends of a bundle, or of any model, exported for here in float32.

    `source` is what the command line calls SOURCE, or a Program. `full` takes every backend and mode, else `backends`
    are compared. The record is kept in `out`, a JSON file, from the first turn on; `resume` continues it. Raises
    BenchError for backends that are unknown and records that do not fit, BundleError and others where the source cannot
    be read. `report` is told how far it is; by default that is shown where somebody watches, on a terminal or in a
    notebook.

        bench("burgers", n_points=[1, 1000]).plot()
    """
    with bundle_of(source) as bundle:
        protocol = replace(selection.FULL if full else selection.QUICK, n_points=tuple(n_points))
        named = selection.full(bundle) if full else selection.named(backends, bundle)
        configs = named if full else [replace(config, threads=threads) for config in named]
        kept = None if out is None else Path(out)
        with watched(name := read_manifest(bundle).name, report, bar=live, told=told) as reported:
            record = measure(configs, protocol, name=name, out=kept, resume=resume, report=reported)
    return BenchResult(record)


@contextmanager
def bundle_of(source: str | os.PathLike[str] | Program, **stated: Any) -> Iterator[Path]:
    """The bundle that a source is, or that is made of it here in float32, for as long as it is needed.

    What is `stated` of it are the arguments of `find_model`. Raises BenchError where no comparison can be made.
    """
    check_system()
    if not isinstance(source, Program) and (Path(source) / MANIFEST_FILE).exists():
        yield Path(source)
        return
    model = find_model(source, **stated)
    name = model.name or "model"
    with TemporaryDirectory() as folder:
        out = Path(folder, name)
        equation = (model.problem.equation or None) if model.problem else None
        export_bundle(model.program, out, name=name, inputs=model.inputs, outputs=model.outputs, equation=equation)
        yield out
