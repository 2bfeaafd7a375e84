"""What an activation costs, and what it is worth: networks with each of those that are trained, as exported libraries.

    python benchmarks/bench_activations.py
    python benchmarks/bench_activations.py --size 16,16,16 --activation tanh lorentzian
    python benchmarks/bench_activations.py --frontier runs/activations

Two inputs, one output, float32. Prints two Markdown tables: nanoseconds in a C program's loop on one thread, where all
libraries of a target take turns, for every x86-64 target that runs here; and exact numbers of instructions, for one
point and per point of many, on x86-64 and on a Cortex-M7.

With --frontier the networks are students of Burgers' equation. Those that the folder does not hold yet are trained
first, by one recipe for all. A third table has their errors over the seeds, and how many times as much as they cost a
tanh network of the same error does: between the tanh networks of these sizes the logarithm of the cost is taken to be
linear in that of the error.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from math import isnan
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

import numpy as np

from kdpinn_edge import DistillConfig, distill
from kdpinn_edge.classical.accuracy import against_reference
from kdpinn_edge.export.bundle import export_bundle
from kdpinn_edge.export.measure.resources import N_POINTS
from kdpinn_edge.export.targets.table import TARGETS
from kdpinn_edge.importers.model import Model, captured, find_model
from kdpinn_edge.numerics.reference import NumpyProgram
from kdpinn_edge.problems import problem
from kdpinn_edge.studies.study.latency import MANY, latencies
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

Network = tuple[tuple[int, ...], str]
"""The hidden layers and the activation."""
Costs = dict[Network, float]


def student(folder: Path, network: Network, seed: int) -> Model:
    """The student of PROBLEM with this seed; it is trained where the folder does not hold it."""
    hidden, activation = network
    run = folder / f"{activation}_{size_name(hidden)}_seed{seed}"
    record = run_files(run)[1]
    if not (record.exists() and read_json(record)["finished"]):
        config = replace(RECIPE, hidden=hidden, activation=activation, seed=seed)
        distill(PROBLEM, run, config, resume=(run / CONFIG_FILE).exists())
    return find_model(run)


def error_of(model: Model) -> float:
    """The relative L2 error in float32, from the bits that the library returns."""
    u = NumpyProgram(model.program, "float32")
    return against_reference(lambda x: u(x.astype(np.float32)), problem(PROBLEM)).relative_l2


def instructions(model: Model, target: str) -> tuple[int, float]:
    """Instructions on `target` for one point, and per point of many."""
    with TemporaryDirectory(prefix="kdpinn_edge_") as folder:
        made = export_bundle(
            model.program,
            Path(folder, "model"),
            name="model",
            target=target,
            inputs=model.inputs,
            outputs=model.outputs,
        )
    counts = made.functions["eval"].instructions
    if counts is None:
        sys.exit(f"no instructions counted for {target}: {made.measured}")
    return counts["1"], counts[str(max(N_POINTS))] / max(N_POINTS)


def cost_at(error: float, networks: Iterable[tuple[float, float]]) -> float:
    """The cost of a network with this error, by others' (cost, error); NaN above the largest and below the least."""
    frontier: list[tuple[float, float]] = []
    for each in sorted(networks):
        if not frontier or each[1] < frontier[-1][1]:
            frontier.append(each)
    costs, errors = np.log(frontier[::-1]).T
    return float(np.exp(np.interp(np.log(error), errors, costs, left=np.nan, right=np.nan)))


def show(*cells: str) -> None:
    """Print a row of a table."""
    print(f"| {' | '.join(cells)} |", flush=True)


def head(*cells: str) -> None:
    """Print the head of a table."""
    print()
    show(*cells)
    show(*["---"] * len(cells))


def timed(networks: Mapping[Network, Model]) -> dict[str, Costs]:
    """Print how long each network takes; the columns that the frontier has of it."""
    columns = {}
    head("target", "network", "activation", "n = 1, ns", f"n = {MANY:,}, ns per point")
    for target in (name for name in TIMED if TARGETS[name].runs_here()):
        found = latencies(networks, {}, target)
        columns[f"ns, {target}"] = {key: round(latency.per_point_ns, 1) for key, latency in found.items()}
        for (hidden, name), latency in found.items():
            show(target, size_name(hidden), name, f"{latency.one_ns:.0f}", f"{latency.per_point_ns:.1f}")
    return columns


def counted(networks: Mapping[Network, Model]) -> dict[str, Costs]:
    """Print how many instructions each network takes; the columns that the frontier has of them."""
    columns = {}
    head("target", "network", "activation", "instructions", "per point of many")
    for target in COUNTED:
        found = {}
        for (hidden, name), model in networks.items():
            one, many = found[hidden, name] = instructions(model, target)
            show(target, size_name(hidden), name, f"{one:,}", f"{many:,.0f}")
        columns[f"instructions, {target}"] = {key: round(many) for key, (_, many) in found.items()}
    return columns


def compare(errors: Mapping[Network, Sequence[float]], columns: Mapping[str, Costs]) -> None:
    """Print errors and costs of each network, and how many times as much a tanh network of its error costs."""
    head("network", "activation", "relative L2, median", "range", *columns)
    middle = {network: median(found) for network, found in errors.items()}
    for network, found in errors.items():
        cells = []
        for costs in columns.values():
            baseline = [(costs[each], middle[each]) for each in errors if each[1] == BASELINE]
            times = cost_at(middle[network], baseline) / costs[network]
            cells.append(f"{costs[network]:,}" + ("" if isnan(times) else f", {times:.2f}×"))
        hidden, name = network
        show(size_name(hidden), name, f"{middle[network]:.1e}", f"{min(found):.1e} to {max(found):.1e}", *cells)


def main() -> int:
    """One row per network and activation in each table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", nargs="+", help="hidden layers, as in 16,16,16")
    parser.add_argument("--activation", nargs="+", choices=tuple(ACTIVATIONS), default=tuple(ACTIVATIONS))
    parser.add_argument("--frontier", type=Path, metavar="FOLDER", help="of students, which are trained in this folder")
    parser.add_argument("--seeds", type=int, default=3, help="of each student")
    stated = parser.parse_args()
    asked = [tuple(map(int, size.split(","))) for size in stated.size or ()]
    sizes = asked or (STUDENTS if stated.frontier else SIZES)
    pairs = [(hidden, name) for hidden in sizes for name in stated.activation]
    if not stated.frontier:
        networks = {pair: Model("net", captured(untrained(PLAIN, *pair), "net")) for pair in pairs}
        timed(networks)
        counted(networks)
        return 0
    students = {pair: [student(stated.frontier, pair, seed) for seed in range(stated.seeds)] for pair in pairs}
    errors = {pair: [error_of(model) for model in models] for pair, models in students.items()}
    networks = {pair: models[0] for pair, models in students.items()}
    compare(errors, {**timed(networks), **counted(networks)})
    return 0


if __name__ == "__main__":
    sys.exit(main())
