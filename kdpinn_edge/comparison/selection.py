"""Who takes part by default, and under which protocol."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from kdpinn_edge.bundle.manifest import read_manifest
from kdpinn_edge.comparison.backend_config import BackendConfig, NotInstalledError, check_installed
from kdpinn_edge.comparison.backends import BACKENDS
from kdpinn_edge.comparison.backends.solved import find_solved
from kdpinn_edge.comparison.record import MODES, Protocol
from kdpinn_edge.errors import BenchError, did_you_mean

DEADLINE_NS = 10_000_000
N_POINTS = (1, 100, 10_000, 100_000)
QUICK_S = 40.0
QUICK = Protocol(
    n_points=(1, 100, 10_000),
    modes=("closed", "periodic"),
    processes=4,
    rounds=2,
    turn_seconds=0.03,
    deadline_ns=DEADLINE_NS,
    seed=0,
    budget_s=QUICK_S,
    loading_s=60.0,
)
FULL = Protocol(
    n_points=N_POINTS,
    modes=MODES,
    processes=4,
    rounds=2,
    turn_seconds=0.03,
    deadline_ns=DEADLINE_NS,
    seed=0,
    budget_s=300.0,
    loading_s=150.0,
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
RIVALS = tuple(b.name for b in BACKENDS if b.promise == "another function")  # they evaluate the solution
CLOSED_FORM = "closed form, C loop"
QUICK_RIVALS = (CLOSED_FORM, "table of equal error, C loop")
VARIANTS = tuple(  # of others: only when asked for
    b.name for b in BACKENDS if "-O3" in b.name or "columns" in b.name or (b.name in RIVALS and "cffi" in b.name)
)
THREADED = (LIBRARY, "onnxruntime, io-binding", "openvino", "litert", "jax, jit", "torch, eager")
OWN_THREADS = "{}, own threads"


def full(bundle: Path) -> list[BackendConfig]:
    """Every backend on one thread, and also with threads of its own choice where it has more."""
    every = [
        replace(config, tail_samples=TAIL_SAMPLES if config.backend.promise == "same bits" else 1)
        for config in named([*_others(), *_rivals(RIVALS, bundle)], bundle)
    ]
    own = [
        BackendConfig(OWN_THREADS.format(config.name), config.backend, bundle, threads=None)
        for config in every
        if config.name in THREADED
    ]
    return every + own


def quick(bundle: Path) -> list[BackendConfig]:
    """The backends that load in seconds, and where the solution of a shipped problem is evaluated, its rivals."""
    return named([*QUICK_NAMES, *_rivals(QUICK_RIVALS, bundle)], bundle)


def _others() -> list[str]:
    """The names of the backends that evaluate the network."""
    return [backend.name for backend in BACKENDS if backend.name not in (*VARIANTS, *RIVALS)]


def _rivals(names: Sequence[str], bundle: Path) -> list[str]:
    """Those of `names` that exist for the bundle: where it names the equation of a shipped problem."""
    solved = find_solved(read_manifest(bundle))
    if solved is None:
        return []
    return [name for name in names if name not in VARIANTS and (solved.closed_form or name != CLOSED_FORM)]


def beyond_quick() -> Iterator[str]:
    """Who else is compared when everyone is, in lines: those that are installed, and what installs the others."""
    installed: list[str] = []
    missing: dict[str, list[str]] = {}
    for backend in BACKENDS:
        if backend.name not in (*QUICK_NAMES, *VARIANTS, *RIVALS):
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
    """The backends called `names`, on one thread. Raises BenchError for an unknown name, and for a bundle of FMUs."""
    if read_manifest(bundle).library.endswith(".fmu"):
        raise BenchError(
            f"{bundle} holds FMUs, which importers load; expected: a bundle with a library. That for the target x86-64 "
            "has the same code."
        )
    known = {backend.name: backend for backend in BACKENDS}
    if unknown := [name for name in names if name not in known]:
        raise BenchError(
            f"no backend is called {unknown[0]!r}; expected: {'; '.join(known)}{did_you_mean(unknown[0], known)}"
        )
    return [BackendConfig(name, known[name], bundle) for name in names]
