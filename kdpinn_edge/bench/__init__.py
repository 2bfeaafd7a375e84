"""`bench(bundle)`: the same function through every backend, on one thread, in one run.

A backend is timed only if it keeps its promise to the bundle's Program (`parity.py`); otherwise it is listed with how
far it is off. The calls take turns, so that what disturbs the machine disturbs all of them (`runtime/timing.py`); the
C program measures itself in the same way, after them.
"""

from __future__ import annotations

import os
import platform
import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from kdpinn_edge.errors import BenchError, KdpinnError
from kdpinn_edge.ir import Program
from kdpinn_edge.manifest import PROGRAM_FILE, Manifest, check_files, read_manifest
from kdpinn_edge.model import find_pinn
from kdpinn_edge.parity import Parity
from kdpinn_edge.probe import probe_points
from kdpinn_edge.program_file import read_program
from kdpinn_edge.runtime import load
from kdpinn_edge.runtime.c_harness import compiled_harness
from kdpinn_edge.runtime.timing import Call, Latency, time_interleaved

Array = NDArray[Any]
Promise = Literal["same bits", "same function", "another function"]
"""What a backend owes the Program: the last is a teacher's, whose error is its distance to the student."""

N_POINTS = (1, 100, 10_000, 100_000)
LIMIT_MS = 10.0
TORCH, TEACHER = "torch, student", "torch, teacher"
LIBRARY, C_LOOP = "library, cffi", "library, C loop"
PACKAGES = ("kdpinn-edge", "numpy", "cffi", "numba", "llvmlite", "onnxruntime", "torch")


@dataclass(frozen=True)
class Backend:
    """One way to evaluate in this process: `evaluate(x)` is what parity judges, `bind(x, y)` the call that is timed."""

    promise: Promise
    evaluate: Callable[[Array], Array]
    bind: Callable[[Array, Array], Call]


@dataclass(frozen=True)
class Row:
    """One backend at one n. `error` is absolute, against the float64 Program; `within_limit` judges the p99."""

    backend: str
    n: int
    latency: Latency
    ns_per_point: float
    error: float
    within_limit: bool


@dataclass(frozen=True)
class Absent:
    """A backend that is not in the comparison, and why."""

    backend: str
    reason: str


@dataclass(frozen=True)
class Report:
    """A comparison, with what is needed to judge it and to repeat it."""

    name: str
    program_sha256: str
    precision: str
    profile: str
    target: str
    machine: Mapping[str, str]
    versions: Mapping[str, str]
    threads: int
    limit_ms: float
    scale: float
    allowed_error: float
    rows: tuple[Row, ...]
    absent: tuple[Absent, ...]


def bench(
    bundle: str | os.PathLike[str],
    *,
    model: str | None = None,
    n_points: Sequence[int] = N_POINTS,
    seconds: float = 1.0,
    limit_ms: float = LIMIT_MS,
) -> Report:
    """Compare the backends of `bundle` at each n of `n_points`, each for about `seconds`.

    `model` names the network in torch that the bundle was made from, as for `find_pinn`, by default what the bundle is
    called; its teacher is the zoo's teacher of the same problem.
    Raises BenchError for arguments that make no comparison, BundleError for a damaged bundle.
    """
    if not n_points or min(n_points) < 1 or not seconds > 0 or not limit_ms > 0:
        raise BenchError(
            f"n_points={list(n_points)}, seconds={seconds}, limit_ms={limit_ms}; accepted: at least one n, from 1; "
            "positive seconds; a positive limit"
        )
    directory = Path(bundle)
    manifest = read_manifest(directory)
    check_files(directory, manifest)
    program = read_program(directory / PROGRAM_FILE)
    parity = Parity(program, manifest)

    backends: dict[str, Backend] = {}
    errors: dict[str, float] = {}
    absent: list[Absent] = []
    for name, make in _makers(directory, manifest, program, model or manifest.name).items():
        try:
            backend = make()
            errors[name] = _judge(parity, backend.evaluate(parity.x), backend.promise)
            backends[name] = backend
        except (KdpinnError, ImportError) as error:
            absent.append(Absent(name, str(error)))

    rows: list[Row] = []
    with ExitStack() as stack:
        if TORCH in backends or TEACHER in backends:
            from kdpinn_edge.train.one_thread import one_thread

            stack.enter_context(one_thread())
        try:
            harness = stack.enter_context(compiled_harness())
            errors[C_LOOP] = _judge(parity, harness.time(directory, parity.x, seconds=1e-3)[1], "same bits")
        except KdpinnError as error:
            absent.append(Absent(C_LOOP, str(error)))
        for n in n_points:
            x = probe_points(manifest.inputs, n, seed=3).astype(parity.x.dtype)
            n_out = manifest.functions["eval"].n_out
            calls = {name: b.bind(x, np.empty((n, n_out), x.dtype)) for name, b in backends.items()}
            latencies = time_interleaved(calls, seconds=seconds)
            if C_LOOP in errors:
                latencies[C_LOOP] = harness.time(directory, x, seconds=seconds)[0]
            for name, latency in latencies.items():
                within_limit = latency.p99_ns <= limit_ms * 1e6
                rows.append(Row(name, n, latency, latency.p50_ns / n, errors[name], within_limit))
    return Report(
        name=manifest.name,
        program_sha256=manifest.functions["eval"].program_sha256,
        precision=manifest.precision,
        profile=manifest.profile,
        target=manifest.target.name,
        machine=_machine(),
        versions=_versions(),
        threads=1,
        limit_ms=limit_ms,
        scale=parity.scale,
        allowed_error=parity.allowed,
        rows=tuple(rows),
        absent=tuple(absent),
    )


def _judge(parity: Parity, y: Array, promise: Promise) -> float:
    """The error of the values y. Raises BenchError where they break the promise."""
    error = parity.error(y)
    if promise == "same bits" and not parity.is_exact(y):
        raise BenchError(f"has other bits than the NumPy program, and is off by {error:.2g} from the float64 Program")
    if promise == "same function" and not parity.holds(y):
        raise BenchError(f"is off by {error:.2g} from the float64 Program; accepted: up to {parity.allowed:.2g}")
    return error


def _makers(directory: Path, manifest: Manifest, program: Program, model: str) -> dict[str, Callable[[], Backend]]:
    return {
        TEACHER: partial(_torch_teacher, model, manifest),
        TORCH: partial(_torch_student, model, manifest),
        "onnx, run": partial(_onnx_run, directory),
        "onnx, io-binding": partial(_onnx_binding, directory),
        "numba, in memory": partial(_numba, program, manifest),
        LIBRARY: partial(_library, directory),
    }


def _torch_student(model: str, manifest: Manifest) -> Backend:
    from kdpinn_edge.train import TorchEngine

    engine = TorchEngine(find_pinn(model), manifest.precision)
    return Backend("same function", engine, engine.bind)


def _torch_teacher(model: str, manifest: Manifest) -> Backend:
    from kdpinn_edge.train import TorchEngine

    engine = TorchEngine(find_pinn(f"{find_pinn(model).problem.name}_teacher"), manifest.precision)
    return Backend("another function", engine, engine.bind)


def _onnx_run(directory: Path) -> Backend:
    engine = load(directory, engine="onnx")
    return Backend("same function", engine, lambda x, y: engine.bind_run(x))


def _onnx_binding(directory: Path) -> Backend:
    engine = load(directory, engine="onnx")
    return Backend("same function", engine, engine.bind)


def _library(directory: Path) -> Backend:
    engine = load(directory)
    return Backend("same bits", engine, engine.bind)


def _numba(program: Program, manifest: Manifest) -> Backend:
    from kdpinn_edge.export.numba_call import numba_call

    call = numba_call(program, manifest.precision)

    def evaluate(x: Array) -> Array:
        y = np.empty((len(x), manifest.functions["eval"].n_out), x.dtype)
        call(x, y)
        return y

    return Backend("same bits", evaluate, lambda x, y: partial(call, x, y))


def _machine() -> dict[str, str]:
    return {"cpu": _cpu(), "system": platform.platform(), "python": platform.python_version()}


def _cpu() -> str:
    found = re.search(r"^model name\s*:\s*(.+)$", Path("/proc/cpuinfo").read_text(), flags=re.M)
    return found[1] if found else platform.machine()


def _versions() -> dict[str, str]:
    found = {}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found
