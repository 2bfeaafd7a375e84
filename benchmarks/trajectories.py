"""A whole trajectory: the student of the zoo at every node of a grid, beside a classical solver on that grid.

python benchmarks/trajectories.py             measures
python benchmarks/trajectories.py --write     into docs/when.md

Both are C in float32, in the loop of harness.c on one thread, in turns and in time on the core. The grids are those on
which the solver is about as accurate as the student, but for Burgers, where that would take it too long.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

import numpy as np
from pages import insert, table
from rivals import PAGE, ratio

from kdpinn_edge.classical.accuracy import relative
from kdpinn_edge.classical.trajectory_c import Grid, nodes, trajectory_source
from kdpinn_edge.comparison.backend import Array
from kdpinn_edge.comparison.backends.c_source import NAME as PEER
from kdpinn_edge.comparison.backends.c_source import Interface, Source, build
from kdpinn_edge.comparison.machine import this_machine
from kdpinn_edge.export.bundle import export_bundle
from kdpinn_edge.importers.model import find_model
from kdpinn_edge.problems import problem
from kdpinn_edge.runtime.c_harness import CHarness, compiled_harness

GRIDS = {
    "burgers": Grid(720, 50, 70),
    "allen_cahn": Grid(512, 50, 4),
    "kdv": Grid(320, 50, 66),
    "schroedinger": Grid(88, 50, 10),
    "lotka_volterra": Grid(0, 50, 2),
}
TURNS, CALLS = 5, 15
HEAD = "equation", "nodes, times", "network", "its error", "solver", "its error", "solver over network"


def row(name: str, grid: Grid, folder: Path, harness: CHarness) -> Iterator[str]:
    """The cells of one equation."""
    solved, model = problem(name), find_model(f"{name}_student")
    points = nodes(solved, grid)[grid.cells + 1 :]
    exact, x, one = solved.reference(points), points.astype(np.float32), np.ones((1, 1), np.float32)
    network = folder / export_bundle(model.program, folder, name="network", inputs=model.inputs).library
    source = Source("solver", trajectory_source(solved, grid, "float32"))
    solver = build(source, "-Ofast", Interface("float32", 1, exact.size), folder)
    turns = [(on_core(harness, network, "network", x), on_core(harness, solver, PEER, one)) for _ in range(TURNS)]
    ratios = tuple(taken / network_ns for (network_ns, _), (taken, _) in turns)
    network_ns = min(ns for (ns, _), _ in turns)
    (_, u), (_, v) = turns[0]
    yield f"`{name}`"
    yield f"{grid.cells + 1} × {grid.saved}" if grid.cells else f"{grid.saved}"
    yield _time(network_ns)
    yield f"{relative(u.reshape(exact.shape) - exact, exact):.1e}"
    yield _time(network_ns * median(ratios))
    yield f"{relative(v.reshape(exact.shape) - exact, exact):.1e}"
    yield ratio(ratios)


def on_core(harness: CHarness, library: Path, name: str, x: Array) -> tuple[float, Array]:
    """The nanoseconds that a call takes on the core, the median of some, and its values."""
    with harness.loop(library, name, x) as loop:
        taken = median(loop.alone(CALLS))
        return taken, loop.values(x.dtype)


def _time(ns: float) -> str:
    return f"{ns / 1e6:.2g} ms" if ns >= 1e5 else f"{ns / 1e3:.2g} µs"


def main() -> None:
    """Measure, print, and write where that is asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", action="store_true", help=f"into {PAGE.name}")
    options = parser.parse_args()
    rows = []
    with compiled_harness() as harness:
        for name, grid in GRIDS.items():
            with TemporaryDirectory() as folder:
                rows.append(tuple(row(name, grid, Path(folder, "network"), harness)))
    text = f"On one core of {this_machine().cpu}, which others use too.\n\n{table(HEAD, rows)}"
    print(text)
    if options.write:
        insert(PAGE, "trajectories", text)


if __name__ == "__main__":
    main()
