"""A whole trajectory: the student of the zoo at every node of a grid, beside a classical solver on that grid.

python benchmarks/trajectories.py             measures
python benchmarks/trajectories.py --write     into docs/when.md

Both are C in float32, in the loop of harness.c on one thread, in turns. The grids are those on which the solver is
about as accurate as the student.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

import numpy as np
from rivals import PAGE, ratio, written

from kdpinn_edge.classical.accuracy import relative
from kdpinn_edge.classical.trajectory_c import Grid, nodes, trajectory_source
from kdpinn_edge.comparison.backends.c_source import NAME as PEER
from kdpinn_edge.comparison.backends.c_source import Interface, Source, build
from kdpinn_edge.comparison.machine import this_machine
from kdpinn_edge.export.bundle import export_bundle
from kdpinn_edge.importers.model import find_model
from kdpinn_edge.problems import problem
from kdpinn_edge.runtime.c_harness import CHarness, compiled_harness

BEGIN, END = "<!-- python benchmarks/trajectories.py --write -->\n", "<!-- end of trajectories -->\n"
GRIDS = {"burgers": Grid(720, 50, 70), "allen_cahn": Grid(512, 50, 4)}
TURNS, TURN_SECONDS = 9, 0.05
HEAD = "equation", "nodes, times", "network", "its error", "solver", "its error", "solver over network"


def row(name: str, grid: Grid, folder: Path, harness: CHarness) -> Iterator[str]:
    """The cells of one equation."""
    solved, model, size = problem(name), find_model(f"{name}_student"), grid.saved * (grid.cells + 1)
    points = nodes(solved, grid)[grid.cells + 1 :]
    exact, x, one = solved.reference(points), points.astype(np.float32), np.ones((1, 1), np.float32)
    manifest = export_bundle(model.program, folder / "network", name="network", inputs=model.inputs)
    network = folder / "network" / manifest.library
    source = Source("solver", trajectory_source(solved, grid, "float32"))
    solver = build(source, "-Ofast", Interface("float32", 1, size), folder)
    turns = []
    for _ in range(TURNS):
        evaluated, u = harness.time_library(network, "network", x, 1, seconds=TURN_SECONDS)
        computed, v = harness.time_library(solver, PEER, one, size, seconds=TURN_SECONDS)
        turns.append((evaluated.p50_ns, computed.p50_ns))
    ratios = tuple(b / a for a, b in turns)
    network_ns = min(a for a, _ in turns)
    yield f"`{name}`"
    yield f"{grid.cells + 1} × {grid.saved}"
    yield f"{network_ns / 1e6:.2g} ms"
    yield f"{relative(u - exact, exact):.1e}"
    yield f"{network_ns * median(ratios) / 1e6:.2g} ms"
    yield f"{relative(v.reshape(-1, 1) - exact, exact):.1e}"
    yield ratio(ratios)


def main() -> None:
    """Measure, print, and write where that is asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", action="store_true", help=f"into {PAGE.name}")
    options = parser.parse_args()
    lines = [f"On one core of {this_machine().cpu}, which others use too.", ""]
    lines += [f"| {' | '.join(cells)} |" for cells in (HEAD, ["---"] * len(HEAD))]
    with compiled_harness() as harness:
        for name, grid in GRIDS.items():
            with TemporaryDirectory() as folder:
                lines.append(f"| {' | '.join(row(name, grid, Path(folder), harness))} |")
    print("\n".join(lines))
    if options.write:
        PAGE.write_text(written(PAGE.read_text(encoding="utf-8"), BEGIN, lines, END), encoding="utf-8")


if __name__ == "__main__":
    main()
