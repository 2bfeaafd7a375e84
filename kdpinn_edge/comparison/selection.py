"""Who takes part by default, and under which protocol."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from kdpinn_edge.comparison.backend_config import BackendConfig, NotInstalledError, check_installed
from kdpinn_edge.comparison.backends import BACKENDS
from kdpinn_edge.comparison.record import MODES, Protocol
from kdpinn_edge.errors import BenchError

DEADLINE_NS = 10_000_000
N_POINTS = (1, 100, 10_000, 100_000)
QUICK = Protocol(
    n_points=(1, 100, 10_000),
    modes=("closed", "periodic"),
    processes=4,
    rounds=2,
    turn_seconds=0.06,
    deadline_ns=DEADLINE_NS,
    seed=0,
    budget_s=40.0,
)
FULL = Protocol(
    n_points=N_POINTS,
    modes=MODES,
    processes=4,
    rounds=1,
    turn_seconds=0.06,
    deadline_ns=DEADLINE_NS,
    seed=0,
    budget_s=300.0,
)

TAIL_SAMPLES = 3000  # none late in so many: less than 0.1 % are, with 95 % confidence
LIBRARY = "library, cffi"
# what the extras of kdpinn-edge bring, and loads in seconds
QUICK_NAMES = (
    "library, C loop",
    LIBRARY,
    "onnxruntime, io-binding",
    "onnxruntime, run",
    "torch, eager",
)
VARIANTS = tuple(b.name for b in BACKENDS if "-O3" in b.name or "columns" in b.name)  # of others: only when asked for
THREADED = (LIBRARY, "onnxruntime, io-binding", "openvino", "litert", "jax, jit", "torch, eager")
OWN_THREADS = "{}, own threads"


def full(bundle: Path) -> list[BackendConfig]:
    """Every backend on one thread, and also with threads of its own choice where it has more."""
    every = [
        replace(config, tail_samples=TAIL_SAMPLES if config.backend.promise == "same bits" else 1)
        for config in named([backend.name for backend in BACKENDS if backend.name not in VARIANTS], bundle)
    ]
    own = [
        BackendConfig(OWN_THREADS.format(config.name), config.backend, bundle, threads=None)
        for config in every
        if config.name in THREADED
    ]
    return every + own


def beyond_quick() -> Iterator[str]:
    """Who else is compared when everyone is, in lines: those that are installed, and what installs the others."""
    installed: list[str] = []
    missing: dict[str, list[str]] = {}
    for backend in BACKENDS:
        if backend.name not in (*QUICK_NAMES, *VARIANTS):
            try:
                check_installed(backend)
                installed.append(backend.name)
            except NotInstalledError:
                missing.setdefault(backend.extra, []).append(backend.name)
    if installed:
        yield f"--full also compares: {'; '.join(installed)}"
    for extra, names in missing.items():
        yield f"not installed: {'; '.join(names)}; --full compares them after: pip install 'kdpinn-edge[{extra}]'"


def named(names: Sequence[str], bundle: Path) -> list[BackendConfig]:
    """The backends called `names`, on one thread. Raises BenchError for an unknown name."""
    known = {backend.name: backend for backend in BACKENDS}
    if unknown := [name for name in names if name not in known]:
        raise BenchError(f"no backend is called {unknown[0]!r}; expected: {'; '.join(known)}")
    return [BackendConfig(name, known[name], bundle) for name in names]
