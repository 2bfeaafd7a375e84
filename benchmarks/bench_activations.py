"""What an activation costs, and what it is worth: networks with each of those that are trained, as exported libraries.

    python benchmarks/bench_activations.py                            two tables, in two minutes
    python benchmarks/bench_activations.py --size 16,16,16 --activation tanh sin
    python benchmarks/bench_activations.py frontier                   a third one, in ten minutes of CPU time
    python benchmarks/bench_activations.py costs frontier --write     all three, into docs/study.md

Costs: two inputs, one output, float32; nanoseconds in a C program's loop on one thread, where all libraries of a target
take turns, for every x86-64 target that runs here; and exact numbers of instructions, for one point and per point of
many.

Frontier: students of Burgers' equation that follow the shipped teacher's values, by one recipe for all. The table has
their errors over the seeds, in float32, what each costs, and how many times as much a tanh network of the same error
costs: between the tanh networks of these sizes the logarithm of the cost is taken to be linear in that of the error.
Students that the folder --runs has are not trained again.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from math import isnan
from pathlib import Path
from statistics import median

import numpy as np
from pages import DOCS, insert, table

from kdpinn_edge import DistillConfig, distill
from kdpinn_edge.classical.accuracy import against_reference
from kdpinn_edge.comparison.machine import this_machine
from kdpinn_edge.export.measure.resources import N_POINTS
from kdpinn_edge.export.targets.table import TARGETS
from kdpinn_edge.importers.model import Model, captured, find_model
from kdpinn_edge.numerics.reference import NumpyProgram
from kdpinn_edge.problems import problem
from kdpinn_edge.studies.study.cost import NetCost, net_cost
from kdpinn_edge.studies.study.latency import MANY, NetLatency, latencies
from kdpinn_edge.studies.study.plan import size_name
from kdpinn_edge.training.activations import ACTIVATIONS
from kdpinn_edge.training.followed import Columns, followed
from kdpinn_edge.training.pinn import untrained
from kdpinn_edge.training.run_folder import CONFIG_FILE, read_json, run_files

SIZES = ((16,) * 3, (32,) * 4, (64,) * 4)
PLAIN = followed(
    Columns("net", ("x", "t"), ("u",), (-1.0, -1.0), (1.0, 1.0), units=("1",) * 3, center=(0.0,), scale=(1.0,))
)
TIMED, COUNTED = ("x86-64-v4", "x86-64-v3"), ("x86-64-v3", "cortex-m7")
PROBLEM, BASELINE = "burgers", "tanh"
STUDENTS = ((6, 6), (8, 8), (12, 12), (12,) * 3)
RECIPE = DistillConfig(n_points=1500, optimiser="geodesic", newton_rounds=30, physics_weight=0.0)
N_SEEDS = 3
Key = tuple[tuple[int, ...], str]
"""The sizes of the hidden layers, and the activation."""
HEAD = "target", "network", "activation"


def timed(networks: Mapping[Key, Model]) -> dict[str, dict[Key, NetLatency]]:
    """How long each network takes on each target that runs here."""
    return {target: latencies(networks, {}, target) for target in TIMED if TARGETS[target].runs_here()}


def counted(networks: Mapping[Key, Model]) -> dict[str, dict[Key, NetCost]]:
    """How many instructions each network takes on each target."""
    return {target: {key: net_cost(model, target) for key, model in networks.items()} for target in COUNTED}


def costs(networks: Mapping[Key, Model]) -> Iterator[str]:
    """The tables of time and of instructions."""
    rows = [
        (target, size_name(hidden), name, f"{latency.one_ns:.0f} ns", f"{latency.per_point_ns:.1f} ns")
        for target, found in timed(networks).items()
        for (hidden, name), latency in found.items()
    ]
    yield table((*HEAD, "one point", f"per point of {MANY:,}"), rows)
    rows = [
        (target, size_name(hidden), name, f"{cost.one_point:,}", f"{cost.per_point:,.0f}")
        for target, found in counted(networks).items()
        for (hidden, name), cost in found.items()
    ]
    yield table((*HEAD, "instructions of one point", f"per point of {max(N_POINTS)}"), rows)


def student(runs: Path, key: Key, seed: int) -> Model:
    """The student of PROBLEM with this seed; it is trained where `runs` does not have it."""
    hidden, activation = key
    run = runs / f"{activation}_{size_name(hidden)}_seed{seed}"
    record = run_files(run)[1]
    if not (record.exists() and read_json(record)["finished"]):
        config = replace(RECIPE, hidden=hidden, activation=activation, seed=seed)
        distill(PROBLEM, run, config, resume=(run / CONFIG_FILE).exists())
    return find_model(run)


def error_of(model: Model) -> float:
    """The relative L2 error in float32, from the bits that the library returns."""
    u = NumpyProgram(model.program, "float32")
    return against_reference(lambda x: u(x.astype(np.float32)), problem(PROBLEM)).relative_l2


def frontier(runs: Path, keys: Sequence[Key]) -> str:
    """The table of errors and costs of students."""
    students = {key: [student(runs, key, seed) for seed in range(N_SEEDS)] for key in keys}
    errors = {key: [error_of(model) for model in models] for key, models in students.items()}
    first = {key: models[0] for key, models in students.items()}
    ns = {
        f"ns per point of {MANY:,}, {target}": {key: round(latency.per_point_ns, 1) for key, latency in found.items()}
        for target, found in timed(first).items()
    }
    counts = {
        f"instructions per point of {max(N_POINTS)}, {target}": {
            key: round(cost.per_point) for key, cost in found.items()
        }
        for target, found in counted(first).items()
    }
    return compared(errors, {**ns, **counts})


def compared(errors: Mapping[Key, Sequence[float]], columns: Mapping[str, Mapping[Key, float]]) -> str:
    """The table of these errors and costs, with how many times as much a tanh network of equal error costs."""
    middle = {key: median(found) for key, found in errors.items()}
    rows = []
    for key, found in errors.items():
        cells = []
        for cost in columns.values():
            baseline = [(cost[each], middle[each]) for each in errors if each[1] == BASELINE]
            times = cost_at(middle[key], baseline) / cost[key]
            cells.append(f"{cost[key]:,}" + ("" if isnan(times) or key[1] == BASELINE else f", {times:.2f}×"))
        hidden, name = key
        rows.append((size_name(hidden), name, f"{middle[key]:.1e}", f"{min(found):.1e} to {max(found):.1e}", *cells))
    return table((*HEAD[1:], "relative L2, median", "range", *columns), rows)


def cost_at(error: float, networks: Iterable[tuple[float, float]]) -> float:
    """The cost of a network with this error, by others' (cost, error); NaN above the largest and below the least."""
    kept: list[tuple[float, float]] = []
    for each in sorted(networks):
        if not kept or each[1] < kept[-1][1]:
            kept.append(each)
    if not kept:
        return float("nan")
    logarithms, errors = np.log(kept[::-1]).T
    return float(np.exp(np.interp(np.log(error), errors, logarithms, left=np.nan, right=np.nan)))


def main() -> None:
    """Print the tables, and write them where that is asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", nargs="*", default=["costs"], help="costs, frontier or both")
    parser.add_argument("--size", nargs="+", help="hidden layers, as in 16,16,16")
    parser.add_argument("--activation", nargs="+", choices=tuple(ACTIVATIONS), default=tuple(ACTIVATIONS))
    parser.add_argument("--runs", type=Path, default=Path("runs", "activations"), help="where students are trained")
    parser.add_argument("--write", action="store_true", help="into docs/study.md")
    stated = parser.parse_args()
    sizes = [tuple(map(int, size.split(","))) for size in stated.size or ()]
    tables: list[str] = []
    if "costs" in stated.what:
        keys = [(hidden, name) for hidden in sizes or SIZES for name in stated.activation]
        tables += costs({key: Model("net", captured(untrained(PLAIN, *key), "net")) for key in keys})
    if "frontier" in stated.what:
        keys = [(hidden, name) for hidden in sizes or STUDENTS for name in stated.activation]
        tables.append(frontier(stated.runs, keys))
    text = "\n\n".join([f"On one core of {this_machine().cpu}, which others use too.", *tables])
    print(text)
    if stated.write:
        insert(DOCS / "study.md", "activations", text)


if __name__ == "__main__":
    main()
