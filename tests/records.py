"""Records of comparisons that nobody measured: drawn from a model of a machine, to test what is made of a record."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import get_args

import numpy as np

from kdpinn_edge.comparison.record import (
    KNOWN_WORK,
    Absent,
    Block,
    Cell,
    Conditions,
    Disturbance,
    Entry,
    Layer,
    Machine,
    Mode,
    NoiseBaseline,
    Promise,
    Protocol,
    Record,
    Start,
    Subject,
)
from kdpinn_edge.comparison.statistics import REFERENCE

QUIET = Disturbance(100_000_000, 1_000_000, 0, 3)
LIBRARY_NS = {"kernel in C": (50, 12.9), "call from Python": (340, 13.1), "framework call": (340, 13.1)}
LAYERS: tuple[Layer, ...] = get_args(Layer)
PROTOCOL = Protocol(
    n_points=(1, 100, 10_000, 100_000),
    modes=("closed", "periodic", "periodic, load", "cold", "first"),
    processes=4,
    rounds=3,
    turn_seconds=0.1,
    deadline_ns=10_000_000,
    seed=0,
)
# name: layer, promise, threads, ns per call, ns per point, error, artifact bytes, installed bytes
BACKENDS: dict[str, tuple[Layer, Promise, int | None, float, float, float, int | None, int | None]] = {
    "torch eager, teacher": ("framework call", "another function", 1, 64_000, 1530, 9.0e-5, 92_000, 790_000_000),
    "torch eager": ("framework call", "same function", 1, 55_000, 165, 1.4e-6, 9_000, 790_000_000),
    "torch eager, own threads": ("framework call", "same function", None, 60_000, 95, 1.4e-6, 9_000, 790_000_000),
    "onnx, run": ("framework call", "same function", 1, 7_000, 55, 9.8e-7, 6_100, 48_000_000),
    "onnx, io-binding": ("framework call", "same function", 1, 5_500, 55, 9.8e-7, 6_100, 48_000_000),
    "numpy program": ("framework call", "same bits", 1, 400_000, 21_000, 8.9e-7, 7_400, 31_000_000),
    "numba, in memory": ("call from Python", "same bits", 1, 230, 13.2, 8.9e-7, None, 160_000_000),
    "library, cffi": ("call from Python", "same bits", 1, 340, 13.1, 8.9e-7, 25_000, 33_000_000),
    "library, C loop": ("kernel in C", "same bits", 1, 50, 12.9, 8.9e-7, 25_000, 0),
}
DEVELOPMENT = ("numba, in memory", "numpy program")
WORK_NS, PAIRS = 4_000.0, 20
WAKE_NS = {"periodic": 6_000.0, "periodic, load": 40_000.0}


def example_record(seed: int = 0, slower: Mapping[str, float] | None = None, rounds: int = 3) -> Record:
    """A whole record of one bundle. `slower` multiplies the latencies of entries, by name."""
    rng = np.random.default_rng(seed)
    protocol = replace(PROTOCOL, rounds=rounds)
    cells = []
    for name, (_, _, _, call_ns, point_ns, *_) in BACKENDS.items():
        for n in protocol.n_points:
            typical = (slower or {}).get(name, 1.0) * (call_ns + n * point_ns)
            cells += [_cell(rng, protocol, name, n, mode, typical) for mode in protocol.modes]
    baselines = tuple(
        NoiseBaseline(
            layer,
            24.0,
            tuple(_cell(rng, protocol, "nothing", 0, mode, 30.0) for mode in ("closed", "periodic", "periodic, load")),
        )
        for layer in ("call from Python", "kernel in C")
    )
    return Record(
        name="burgers",
        protocol=protocol,
        machine=Machine(
            cpu="Example CPU @ 3.0 GHz",
            cores=2,
            affinity=(0, 1),
            governor="not visible",
            clocksource="tsc",
            cache_bytes=32 << 20,
            memory_bytes=24 << 30,
            kernel="Linux-6.1-x86_64-with-glibc2.36",
            python="3.11.2",
        ),
        versions={"kdpinn-edge": "0.1.0", "numpy": "2.3.0"},
        subjects=(
            Subject("burgers", "23" * 32, "float32", "fma-2", "x86-64-v4", 2, 1, 320, 32, 1.0, 1.4e-5, 2.6e-5),
            Subject(
                "burgers_teacher", "42" * 32, "float32", "fma-2", "x86-64-v4", 2, 1, 20_800, 256, 1.0, 1.4e-5, 8e-6
            ),
        ),
        entries=tuple(_entry(rng, name, protocol.processes) for name in BACKENDS),
        absent=(
            Absent("openvino", "not installed", "openvino is not installed: pip install 'kdpinn-edge[peers]'"),
            Absent("jax", "refused", "is off by 0.013 from the float64 Program; expected: up to 1.4e-05", error=0.013),
            Absent("numpy program", "failed", "one call takes longer than a turn", n=100_000),
        ),
        cells=tuple(cell for cell in cells if (cell.entry, cell.n) != ("numpy program", 100_000)),
        baselines=baselines,
        conditions=(
            Conditions("2026-01-02T03:04:05+00:00", (0.31, 0.42, 0.40), 1.5),
            Conditions("2026-01-02T03:08:31+00:00", (1.02, 0.84, 0.51), 1.9),
        ),
        is_complete=True,
    )


def _entry(rng: np.random.Generator, name: str, processes: int) -> Entry:
    layer, promise, threads, call_ns, _, error, artifact, installed = BACKENDS[name]
    starts = []
    for _ in range(processes):
        load = (installed or 0) * rng.lognormal(0.7, 0.1) + 1e6
        starts.append(Start(70_000_000, int(load), int(call_ns * 20), 60_000_000 + int(load / 4), int(load / 4)))
    return Entry(
        name=name,
        backend=name.split(",")[0] if name.endswith(("teacher", "own threads")) else name,
        subject="burgers_teacher" if name.endswith("teacher") else "burgers",
        threads=threads,
        layer=layer,
        promise=promise,
        is_deployed=name not in DEVELOPMENT,
        partner=KNOWN_WORK if name in ("library, C loop", "library, cffi") else REFERENCE[layer],
        error=error,
        threads_set="its own default" if threads is None else "num_threads=1",
        cpus=(0, 1) if threads is None else (1,),
        versions={"example": "1.2.3"},
        artifact_bytes=artifact,
        installed_bytes=installed,
        starts=tuple(starts),
    )


def _cell(rng: np.random.Generator, protocol: Protocol, name: str, n: int, mode: Mode, typical_ns: float) -> Cell:
    """Samples with an offset per process and per block, a bulk, and now and then a stall."""
    typical_ns *= {"cold": 4.0, "first": 20.0}.get(mode, 1.0)
    batch = max(1, int(2500 / typical_ns)) if mode == "closed" else 1
    period_ns = max(1_000_000, int(2.5 * typical_ns)) if mode.startswith("periodic") else None
    per_block = {"first": 1, "cold": 10}.get(mode, 250)
    layer = BACKENDS[name][0] if name in BACKENDS else "kernel in C"
    fixed_ns, point_ns = LIBRARY_NS[layer]
    is_library = name.startswith("library")
    library_ns = WORK_NS if is_library or name not in BACKENDS else fixed_ns + n * point_ns
    blocks = []
    for process in range(protocol.processes):
        process_ns = typical_ns * rng.lognormal(0, 0.01)
        for _ in range(1 if mode == "first" else protocol.rounds):
            ns = process_ns * rng.lognormal(0, 0.01) * rng.lognormal(0.02, 0.03, per_block)
            ns += WAKE_NS.get(mode, 0.0) * rng.lognormal(0, 0.4, per_block)
            ns += (rng.random(per_block) < 0.004) * rng.exponential(60_000, per_block) / batch
            pairs, on_core = (), ()
            if mode == "closed":
                drift = rng.lognormal(0, 0.2)  # of the machine, which both of a pair have
                own, theirs = (drift * t * rng.lognormal(0, 0.02, PAIRS) for t in (process_ns, library_ns))
                work = WORK_NS * (1 + rng.exponential(0.05, PAIRS))
                pairs = tuple(map(tuple, np.round([own, theirs, work], 2).T.tolist()))
            elif mode.startswith("periodic"):
                on_core = tuple(np.round(ns, 1).tolist())
            turn = rng.integers(1 << 20).item()
            samples = tuple(np.round(ns, 1).tolist())
            blocks.append(Block(turn, process, samples, pairs, on_core, None if mode == "first" else QUIET))
    return Cell(name, n, mode, batch, period_ns, tuple(blocks))
