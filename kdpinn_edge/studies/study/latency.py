"""How long networks, as exported libraries, and tables take in a C program's loop: sizes matter, weights do not."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import TypeVar

from kdpinn_edge.bundle.probe import timed_points
from kdpinn_edge.classical.table import Table
from kdpinn_edge.classical.table_c import table_source
from kdpinn_edge.comparison.backends.c_source import NAME as PEER_NAME
from kdpinn_edge.comparison.backends.c_source import Interface, Source, build
from kdpinn_edge.comparison.backends.tables import LEVEL as TABLE_LEVEL
from kdpinn_edge.export.bundle import export_bundle
from kdpinn_edge.importers.model import Model
from kdpinn_edge.problems import Array
from kdpinn_edge.runtime.c_harness import CHarness, compiled_harness

Key = TypeVar("Key")
MANY = 1024
TURNS = 5
TURN_SECONDS = 0.1


@dataclass(frozen=True)
class NetLatency:
    """Medians on one thread, float32: of a call with one point, and per point of a call with MANY."""

    one_ns: float
    per_point_ns: float


@dataclass(frozen=True)
class _Timed:
    """The function `name`_eval of a library, and the points that it is called with, by their number."""

    library: Path
    name: str
    n_out: int
    points: Mapping[int, Array]


def latencies(
    models: Mapping[Key, Model], tables: Mapping[Key, Table], target: str = "native"
) -> dict[Key, NetLatency]:
    """The latency of every model and table, by the same keys. They take turns, so a disturbance hits all.

    Models are exported for `target`, which has to run here.
    """
    with TemporaryDirectory(prefix="kdpinn_edge_") as folder, compiled_harness() as harness:
        timed = {key: _model(model, Path(folder, str(i)), target) for i, (key, model) in enumerate(models.items())}
        points = next(iter(timed.values())).points
        timed |= {
            key: _table(table, f"table_{i}", Path(folder), points) for i, (key, table) in enumerate(tables.items())
        }
        turns = [
            {key: {n: _ns(harness, each, n) for n in (1, MANY)} for key, each in timed.items()} for _ in range(TURNS)
        ]
    return {
        key: NetLatency(median(turn[key][1] for turn in turns), median(turn[key][MANY] for turn in turns) / MANY)
        for key in timed
    }


def _model(model: Model, bundle: Path, target: str) -> _Timed:
    manifest = export_bundle(
        model.program, bundle, name="model", target=target, inputs=model.inputs, outputs=model.outputs
    )
    points = {n: timed_points(manifest.inputs, n).astype("float32") for n in (1, MANY)}
    return _Timed(bundle / manifest.library, manifest.name, manifest.functions["eval"].n_out, points)


def _table(table: Table, stem: str, folder: Path, points: Mapping[int, Array]) -> _Timed:
    interface = Interface("float32", len(table.axes), table.n_out)
    library = build(Source(stem, table_source(table, "float32")), TABLE_LEVEL, interface, folder)
    return _Timed(library, PEER_NAME, table.n_out, points)


def _ns(harness: CHarness, timed: _Timed, n: int) -> float:
    measured, _ = harness.time_library(timed.library, timed.name, timed.points[n], timed.n_out, seconds=TURN_SECONDS)
    return measured.p50_ns
