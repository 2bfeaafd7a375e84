"""Where the two schedules of a kernel meet: what was decided (export/blocking.py) beside what is measured here.

    python benchmarks/bench_crossover.py

Each network is compiled twice, so that every point goes through one schedule; both take turns. A tile of L points costs
as much as `measured` single points. Prints a Markdown table, for docs/numerics.md.
"""

from __future__ import annotations

import sys
from time import perf_counter_ns

import numpy as np
from bench_jets import REQUESTS, network

from kdpinn_edge.derivatives import derivatives
from kdpinn_edge.export.lowering import Constants
from kdpinn_edge.export.numba_call import numba_call
from kdpinn_edge.export.schedules import lower_program
from kdpinn_edge.export.target import target
from kdpinn_edge.ir import Program
from kdpinn_edge.simplify import simplify

WIDTHS = (16, 20, 32, 64, 128)
TILES, ROUNDS, CALLS = 16, 40, 5


def measured(program: Program, tile: int) -> tuple[float, float]:
    """Nanoseconds per tile and per single point: the least of all rounds."""
    x = np.random.default_rng(0).uniform(-1, 1, (TILES * tile, program.n_in)).astype(np.float32)
    y = np.empty((len(x), program.n_out), np.float32)
    best = [np.inf, np.inf]
    calls = [numba_call(program, "float32", crossover=crossover) for crossover in (0, tile)]
    for _ in range(ROUNDS):
        for i, call in enumerate(calls):
            call(x, y)
            for _ in range(CALLS):
                start = perf_counter_ns()
                call(x, y)
                best[i] = min(best[i], perf_counter_ns() - start)
    return best[0] / TILES, best[1] / len(x)


def main() -> int:
    """One row per network and function."""
    vectors = target("native").vectors("float32")
    print("| network | function | points per tile | ns per tile | ns per point | measured | decided |")
    print("|---|---|---|---|---|---|---|")
    for width in WIDTHS:
        value = simplify(network(width))
        for name, program in (("u", value), (", ".join(REQUESTS), derivatives(value, REQUESTS))):
            lowered = lower_program(program, Constants("float32", vectors))
            L = lowered.points_per_tile
            tile, point = measured(program, L)
            row = (f"4×{width}", name, L, f"{tile:,.0f}", f"{point:,.0f}", f"{tile / point:.1f}")
            print(f"| {' | '.join(map(str, row))} | {lowered.blocking.crossover} |", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
