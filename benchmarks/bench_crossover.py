"""Where the two schedules of a kernel meet: what was decided (lowering/blocking.py) beside what is measured here.

    python benchmarks/bench_crossover.py             prints a table, in two minutes
    python benchmarks/bench_crossover.py --write     into docs/numerics.md

Each network is compiled twice, so that every point goes through one schedule; both take turns. A batch of L points
costs as much as `measured` single points.
"""

from __future__ import annotations

import argparse
import ctypes
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter_ns
from typing import Any

import numpy as np
from bench_jets import REQUESTS, network
from numpy.typing import NDArray
from pages import DOCS, insert, table

from kdpinn_edge.bundle.manifest import Input
from kdpinn_edge.comparison.machine import this_machine
from kdpinn_edge.derive.derivatives import derivatives
from kdpinn_edge.export.artifacts.linking import link, linker
from kdpinn_edge.export.lowering.constants import Constants
from kdpinn_edge.export.lowering.kernel import make_kernel
from kdpinn_edge.export.lowering.schedule import Lowered, lower_program
from kdpinn_edge.export.machine_code import object_code
from kdpinn_edge.export.targets.interface import Interface
from kdpinn_edge.export.targets.table import target
from kdpinn_edge.program.ir import Program, columns
from kdpinn_edge.program.simplify import simplify

WIDTHS = (16, 20, 32, 64, 128)
HEAD = "network", "function", "points per batch", "ns per batch", "ns per point", "measured", "decided"
BATCHES, ROUNDS, CALLS = 128, 40, 5
NATIVE = target("native")
VECTORS = NATIVE.vectors("float32")


def compiled(program: Program, crossover: int, folder: Path) -> Callable[[NDArray[Any], NDArray[Any]], int]:
    """`call(x, y)` of a library in which up to `crossover` points go one by one."""
    nothing = np.empty((0, program.n_in), np.float32)
    box = np.full(program.n_in, np.inf)
    kernel = make_kernel(
        {"eval": program},
        "float32",
        profile=NATIVE.profile,
        vectors=VECTORS,
        crossover=crossover,
        lower=-box,
        upper=box,
        golden_x=nothing,
        golden_y={"eval": nothing},
    )
    interface = Interface("model", "float32", NATIVE, tuple(map(Input, columns(program.inputs))), {"eval": program})
    path = folder / f"{crossover}.so"
    path.write_bytes(link(object_code([kernel], interface), interface, linker(interface))[interface.library])
    evaluate = ctypes.CDLL(str(path)).model_eval
    return lambda x, y: evaluate(ctypes.c_void_p(x.ctypes.data), ctypes.c_void_p(y.ctypes.data), ctypes.c_int64(len(x)))


def measured(program: Program, batch: int) -> tuple[float, float]:
    """Nanoseconds per batch and per single point: the least of all rounds."""
    x = np.random.default_rng(0).uniform(-1, 1, (BATCHES * batch, program.n_in)).astype(np.float32)
    y = np.empty((len(x), program.n_out), np.float32)
    best = [np.inf, np.inf]
    with TemporaryDirectory() as folder:
        calls = [compiled(program, crossover, Path(folder)) for crossover in (0, batch)]
    for _ in range(ROUNDS):
        for i, call in enumerate(calls):
            call(x, y)
            for _ in range(CALLS):
                start = perf_counter_ns()
                call(x, y)
                best[i] = min(best[i], perf_counter_ns() - start)
    return best[0] / BATCHES, best[1] / len(x)


def lowered(program: Program) -> Lowered:
    """What was decided for the program."""
    constants = Constants("float32", VECTORS)
    return lower_program(program, "weights", "float32", NATIVE.profile, constants, narrow=NATIVE.pointer_bits == 32)


def rows() -> Iterator[tuple[str, ...]]:
    """One row per network and function."""
    for width in WIDTHS:
        value = simplify(network(width))
        for name, program in (("u", value), (", ".join(REQUESTS), derivatives(value, REQUESTS))):
            decided = lowered(program)
            L = decided.points_per_batch
            batch, point = measured(program, L)
            row = f"4×{width}", name, f"{L}", f"{batch:,.0f}", f"{point:,.0f}", f"{batch / point:.1f}"
            yield *row, f"{decided.blocking.crossover}"


def main() -> None:
    """Print the table, and write it where that is asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", action="store_true", help="into docs/numerics.md")
    options = parser.parse_args()
    text = f"{this_machine().cpu}, {NATIVE.name}, one thread, float32:\n\n{table(HEAD, rows())}"
    print(text)
    if options.write:
        insert(DOCS / "numerics.md", "crossover", text)


if __name__ == "__main__":
    main()
