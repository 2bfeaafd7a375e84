"""How long the exported library of a network takes, in a C program's loop: weights do not matter, sizes do."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

from kdpinn_edge.bundle.manifest import read_manifest
from kdpinn_edge.bundle.probe import timed_points
from kdpinn_edge.export.bundle import export_bundle
from kdpinn_edge.importers.model import Model
from kdpinn_edge.runtime.c_harness import CHarness, compiled_harness

MANY = 1024
TURNS = 5
TURN_SECONDS = 0.1


@dataclass(frozen=True)
class NetLatency:
    """Medians on one thread, float32: of a call with one point, and per point of a call with MANY."""

    one_ns: float
    per_point_ns: float


def latencies(models: Mapping[str, Model]) -> dict[str, NetLatency]:
    """The latency of every model, by the same keys. They take turns, so a disturbance hits all."""
    with TemporaryDirectory(prefix="kdpinn_edge_") as folder, compiled_harness() as harness:
        bundles = {key: Path(folder, str(i)) for i, key in enumerate(models)}
        for key, bundle in bundles.items():
            model = models[key]
            export_bundle(model.program, bundle, name="model", inputs=model.inputs, outputs=model.outputs)
        turns = [
            {key: {n: _ns(harness, bundle, n) for n in (1, MANY)} for key, bundle in bundles.items()}
            for _ in range(TURNS)
        ]
    return {
        key: NetLatency(median(turn[key][1] for turn in turns), median(turn[key][MANY] for turn in turns) / MANY)
        for key in models
    }


def _ns(harness: CHarness, bundle: Path, n: int) -> float:
    x = timed_points(read_manifest(bundle).inputs, n).astype("float32")
    return harness.time(bundle, x, seconds=TURN_SECONDS)[0].p50_ns
