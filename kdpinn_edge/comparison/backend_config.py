"""Who takes part, and how it gets in: loaded in a process of its own, and right at the probe points."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from kdpinn_edge.comparison.backend import Backend
from kdpinn_edge.comparison.record import Absent
from kdpinn_edge.comparison.reference import Reference, RefusedError
from kdpinn_edge.comparison.worker import Loaded, Worker, WorkerTask, started
from kdpinn_edge.errors import BenchError


class NotInstalledError(BenchError):
    """A package that a backend needs is missing."""


@dataclass(frozen=True)
class BackendConfig:
    """A backend on a bundle, with `threads` threads (None: its own default); `name` is its name in the tables.

    `rmse` is the model's error against the solution of its equation, where it is known. `tail_samples` is how many
    periodic calls its tail deserves; it gets them where a turn is then still short.
    """

    name: str
    backend: Backend
    bundle: Path
    threads: int | None = 1
    rmse: float | None = None
    tail_samples: int = 1

    def cpus(self, affinity: tuple[int, ...], process: int) -> tuple[int, ...]:
        """The processors of `affinity` for the threads of the process of this number: as many, from the end; all, where
        threads are its choice. One thread alternates between the last two processors, which are of one kind.
        """
        if self.threads is None:
            return affinity
        those = affinity[-2:]
        return (those[process % len(those)],) if self.threads == 1 else affinity[-self.threads :]


def start(config: BackendConfig, partner: Path | None, cpus: tuple[int, ...], folder: Path, stack: ExitStack) -> Worker:
    """Start the process of `config` on `cpus`, not yet loaded; it ends with `stack`. `folder` is its own, and outlives
    it. Its calls are paired with those of the library in the bundle `partner`.
    """
    task = WorkerTask(
        backend=config.backend,
        bundle=config.bundle.absolute(),
        partner=partner and partner.absolute(),
        folder=folder,
        threads=config.threads,
        cpus=cpus,
    )
    return stack.enter_context(started(task, folder.with_suffix(".log")))


def admit(worker: Worker, config: BackendConfig, reference: Reference) -> tuple[Loaded, float]:
    """Load `worker` and return its error at the probe points. Raises BenchError where it breaks its promise."""
    loaded = worker.load(reference.points(1))
    return loaded, reference.judge(worker.evaluate(reference.probe), config.backend.promise)


def absence(name: str, error: BenchError, n: int | None = None) -> Absent:
    """The listing of the backend `name`, which `error` keeps out of the comparison."""
    if isinstance(error, RefusedError):
        return Absent(name, "refused", str(error), n, error.error)
    return Absent(name, "not installed" if isinstance(error, NotInstalledError) else "failed", str(error), n)


def check_installed(backend: Backend) -> None:
    """Raise NotInstalledError, with the command that installs it, where a package is missing."""
    for package in backend.packages:
        try:
            version(package)
        except PackageNotFoundError as missing:
            fix = f"pip install 'kdpinn-edge[{backend.extra}]'"
            raise NotInstalledError(f"{package} is not installed: {fix}") from missing
