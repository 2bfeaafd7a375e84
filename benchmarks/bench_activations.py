"""What an activation costs: networks with each of those that are trained, as exported libraries in a C program's loop.

    python benchmarks/bench_activations.py

Two inputs, one output, float32, one thread; all libraries take turns. Prints a Markdown table, for docs/study.md.
"""

from __future__ import annotations

import sys

from kdpinn_edge.importers.model import Model, captured
from kdpinn_edge.studies.study.latency import MANY, latencies
from kdpinn_edge.studies.study.plan import size_name
from kdpinn_edge.training.activations import ACTIVATIONS
from kdpinn_edge.training.followed import Columns, followed
from kdpinn_edge.training.pinn import Pinn

SIZES = ((16,) * 3, (32,) * 4, (64,) * 4)
PLAIN = followed(
    Columns("net", ("x", "t"), ("u",), (-1.0, -1.0), (1.0, 1.0), units=("1",) * 3, center=(0.0,), scale=(1.0,))
)


def main() -> int:
    """One row per network and activation."""
    networks = {
        (hidden, name): Model("net", captured(Pinn(PLAIN, hidden, activation=name), "net"))
        for hidden in SIZES
        for name in ACTIVATIONS
    }
    found = latencies(networks)
    print(f"| network | activation | n = 1, ns | n = {MANY:,}, ns per point |", "|---|---|---|---|", sep="\n")
    for (hidden, name), latency in found.items():
        print(f"| {size_name(hidden)} | {name} | {latency.one_ns:.0f} | {latency.per_point_ns:.1f} |")
    return 0


if __name__ == "__main__":
    sys.exit(main())
