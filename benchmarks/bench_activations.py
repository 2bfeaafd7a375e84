"""What an activation costs: networks with each of those that are trained, as exported libraries.

    python benchmarks/bench_activations.py
    python benchmarks/bench_activations.py --size 16,16,16 --activation tanh smoothstep

Two inputs, one output, float32. Prints two Markdown tables: nanoseconds in a C program's loop on one thread, where all
libraries of a target take turns, for every x86-64 target that runs here; and instructions on a Cortex-M7, for one point
and per point of many, which an emulator counts.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from kdpinn_edge.export.bundle import export_bundle
from kdpinn_edge.export.measure.resources import N_POINTS
from kdpinn_edge.export.targets.table import TARGETS
from kdpinn_edge.importers.model import Model, captured
from kdpinn_edge.studies.study.latency import MANY, latencies
from kdpinn_edge.studies.study.plan import size_name
from kdpinn_edge.training.activations import ACTIVATIONS
from kdpinn_edge.training.followed import Columns, followed
from kdpinn_edge.training.pinn import untrained

SIZES = ((16,) * 3, (32,) * 4, (64,) * 4)
PLAIN = followed(
    Columns("net", ("x", "t"), ("u",), (-1.0, -1.0), (1.0, 1.0), units=("1",) * 3, center=(0.0,), scale=(1.0,))
)
PCS, BOARD = ("x86-64-v4", "x86-64-v3"), "cortex-m7"


def instructions(model: Model) -> tuple[int, float]:
    """Instructions on BOARD for one point, and per point of many."""
    with TemporaryDirectory(prefix="kdpinn_edge_") as folder:
        made = export_bundle(model.program, Path(folder, "model"), name="model", target=BOARD)
    counts = made.functions["eval"].instructions
    if counts is None:
        sys.exit(f"no instructions counted for {BOARD}: {made.measured}")
    return counts["1"], counts[str(max(N_POINTS))] / max(N_POINTS)


def main() -> int:
    """One row per network and activation in each table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", nargs="+", help="hidden layers, as in 16,16,16")
    parser.add_argument("--activation", nargs="+", choices=tuple(ACTIVATIONS), default=tuple(ACTIVATIONS))
    stated = parser.parse_args()
    sizes = [tuple(map(int, size.split(","))) for size in stated.size or ()] or SIZES
    networks = {
        (hidden, name): Model("net", captured(untrained(PLAIN, hidden, name), "net"))
        for hidden in sizes
        for name in stated.activation
    }
    print(
        f"| target | network | activation | n = 1, ns | n = {MANY:,}, ns per point |", "|---|---|---|---|---|", sep="\n"
    )
    for target in (name for name in PCS if TARGETS[name].runs_here()):
        for (hidden, name), latency in latencies(networks, {}, target).items():
            row = target, size_name(hidden), name, f"{latency.one_ns:.0f}", f"{latency.per_point_ns:.1f}"
            print(f"| {' | '.join(row)} |", flush=True)
    print("\n| target | network | activation | instructions | per point of many |", "|---|---|---|---|---|", sep="\n")
    for (hidden, name), model in networks.items():
        one, many = instructions(model)
        print(f"| {BOARD} | {size_name(hidden)} | {name} | {one:,} | {many:,.0f} |", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
