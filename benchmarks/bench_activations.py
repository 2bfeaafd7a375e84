"""What an activation costs: networks with each of those that are trained, as exported libraries.

    python benchmarks/bench_activations.py                         two tables, in two minutes
    python benchmarks/bench_activations.py --size 16,16,16 --activation tanh sin
    python benchmarks/bench_activations.py errors                  a third one, in five minutes of CPU time
    python benchmarks/bench_activations.py costs errors --write    all three, into docs/study.md

Costs: two inputs, one output, float32; nanoseconds in a C program's loop on one thread, where all libraries of a target
take turns, for every x86-64 target that runs here; and instructions on a Cortex-M7, for one point and per point of
many, which an emulator counts. Errors: relative L2 of students of Burgers' equation that follow the shipped teacher's
values, `distill burgers --activation … --physics-weight 0 --rounds 40`, over three seeds, in float64.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

from pages import DOCS, insert, table

from kdpinn_edge import DistillConfig, distill
from kdpinn_edge.comparison.machine import this_machine
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
N_SEEDS = 3
Key = tuple[tuple[int, ...], str]
"""The sizes of the hidden layers, and the activation."""


def instructions(model: Model) -> tuple[int, float]:
    """Instructions on BOARD for one point, and per point of many."""
    with TemporaryDirectory(prefix="kdpinn_edge_") as folder:
        made = export_bundle(model.program, Path(folder, "model"), name="model", target=BOARD)
    counts = made.functions["eval"].instructions
    if counts is None:
        sys.exit(f"no instructions counted for {BOARD}: {made.measured}")
    return counts["1"], counts[str(max(N_POINTS))] / max(N_POINTS)


def timed(networks: Mapping[Key, Model]) -> Iterator[tuple[str, ...]]:
    """A row for each target, network and activation."""
    for target in (name for name in PCS if TARGETS[name].runs_here()):
        for (hidden, name), latency in latencies(networks, {}, target).items():
            yield target, size_name(hidden), name, f"{latency.one_ns:.0f} ns", f"{latency.per_point_ns:.1f} ns"


def counted(networks: Mapping[Key, Model]) -> Iterator[tuple[str, ...]]:
    """A row for each network and activation."""
    for (hidden, name), model in networks.items():
        one, many = instructions(model)
        yield BOARD, size_name(hidden), name, f"{one:,}", f"{many:,.0f}"


def reached(activations: Sequence[str]) -> Iterator[tuple[str, ...]]:
    """A row for each activation: the median of the errors of students, and their range."""
    for name in activations:
        config = DistillConfig(activation=name, physics_weight=0.0, newton_rounds=40)
        with TemporaryDirectory(prefix="kdpinn_edge_") as folder:
            made = [distill("burgers", Path(folder, f"{seed}"), config, seed=seed) for seed in range(N_SEEDS)]
        errors = [each.record["errors"]["relative_l2"] for each in made]
        seconds = median(each.record["training_cpu_seconds"] for each in made)
        yield name, f"{median(errors):.1e}", f"{min(errors):.1e} to {max(errors):.1e}", f"{seconds:.0f} s"


def main() -> None:
    """Print the tables, and write them where that is asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", nargs="*", default=["costs"], help="costs, errors or both")
    parser.add_argument("--size", nargs="+", help="hidden layers, as in 16,16,16")
    parser.add_argument("--activation", nargs="+", choices=tuple(ACTIVATIONS), default=tuple(ACTIVATIONS))
    parser.add_argument("--write", action="store_true", help="into docs/study.md")
    stated = parser.parse_args()
    sizes = [tuple(map(int, size.split(","))) for size in stated.size or ()] or SIZES
    tables = []
    if "costs" in stated.what:
        networks = {
            (hidden, name): Model("net", captured(untrained(PLAIN, hidden, name), "net"))
            for hidden in sizes
            for name in stated.activation
        }
        head = "target", "network", "activation"
        tables.append(table((*head, "one point", f"per point of {MANY:,}"), timed(networks)))
        tables.append(table((*head, "instructions of one point", f"per point of {max(N_POINTS)}"), counted(networks)))
    if "errors" in stated.what:
        head = "activation", "relative L2, median", "range", "training, CPU time"
        tables.append(table(head, reached(stated.activation)))
    text = "\n\n".join([f"On one core of {this_machine().cpu}, which others use too.", *tables])
    print(text)
    if stated.write:
        insert(DOCS / "study.md", "activations", text)


if __name__ == "__main__":
    main()
