"""One backend in a process of its own: `Worker` asks here, `_Server` answers there.

The child starts on the processors that it may use, so that every thread of every library in it does, with the finest
timer that the kernel gives to a process. What libraries print goes into a log that is read if the process dies.
"""

from __future__ import annotations

import os
import signal
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path
from time import perf_counter_ns
from typing import Any

import numpy as np
import psutil

from kdpinn_edge.bundle.manifest import read_manifest
from kdpinn_edge.bundle.read import read_function
from kdpinn_edge.comparison.backend import Array, Backend, Case, CFunction, Prepared
from kdpinn_edge.comparison.record import Start
from kdpinn_edge.errors import BenchError, KdpinnError
from kdpinn_edge.runtime.c_harness import CHarness, CLoop, compiled_harness
from kdpinn_edge.runtime.timing import Loop, PythonLoop, find_batch

PATIENCE_S = 300.0  # torch.compile takes a minute on a slow machine
LOG_CHARS = 500
TIMER_SLACK = Path("/proc/self/timerslack_ns")


@dataclass(frozen=True)
class WorkerTask:
    """The task of a worker: what it evaluates, on which processors; `folder` is Case's."""

    backend: Backend
    bundle: Path
    folder: Path
    threads: int | None
    cpus: tuple[int, ...]


@dataclass(frozen=True)
class Loaded:
    """A backend after its first call at one point."""

    start: Start
    threads: str
    artifact_bytes: int | None


@dataclass(frozen=True)
class Bound:
    """A backend bound to n points: its first call and the next one, in nanoseconds, and its values (n, n_out)."""

    first_ns: float
    second_ns: float
    values: Array


class Worker:
    """The process of one WorkerTask. Every call waits for its answer and raises BenchError where there is none."""

    def __init__(self, process: Any, connection: Connection, log: Path) -> None:
        self._process, self._connection, self._log = process, connection, log

    def load(self, x: Array) -> Loaded:
        """Load the backend, bind it to the one point x (1, n_in), call it."""
        loaded: Loaded = self._ask("load", x)
        return loaded

    def evaluate(self, x: Array) -> Array:
        """Evaluate the backend at x (n, n_in)."""
        y: Array = self._ask("evaluate", x)
        return y

    def bind(self, x: Array) -> Bound:
        """Bind the backend to x (n, n_in): the loop for n points. One point is bound already, by `load`, the same."""
        bound: Bound = self._ask("bind", x)
        return bound

    def clock_ns(self, n: int) -> float:
        """Measure what reading the clock costs in the loop for n points."""
        spent: float = self._ask("clock_ns", n)
        return spent

    def find_batch(self, n: int) -> tuple[int, float]:
        """Find the batch of the loop for n points, as `timing.find_batch` does."""
        found: tuple[int, float] = self._ask("find_batch", n)
        return found

    def sample(self, n: int, loop: str, interval: int, count: int) -> Array:
        """Take `count` samples of `loop` ("closed", "periodic", "cold") of n points, with its first argument."""
        samples_ns: Array = self._ask("sample", n, loop, interval, count)
        return samples_ns

    def _ask(self, verb: str, *arguments: Any) -> Any:
        try:
            self._connection.send((verb, arguments))
            if not self._connection.poll(PATIENCE_S):
                self._process.kill()  # or its answer would be taken for that to the next request
                raise BenchError(f"no answer within {PATIENCE_S:.0f} s")
            answer = self._connection.recv()
        except (EOFError, OSError) as error:
            self._process.join()
            printed = self._log.read_text(errors="replace")[-LOG_CHARS:].strip()
            raise BenchError(f"its process died with exit code {self._process.exitcode}: {printed}") from error
        if isinstance(answer, BenchError):
            raise answer
        return answer


@contextmanager
def started(task: WorkerTask, log: Path) -> Iterator[Worker]:
    """Start the process of `task`; it ends with the context, at once."""
    context = get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_serve, args=(theirs, task, log, perf_counter_ns()), daemon=True)
    with spawning(task.cpus):
        process.start()
    theirs.close()
    try:
        yield Worker(process, ours, log)
    finally:
        ours.close()
        process.kill()
        process.join()


@contextmanager
def spawning(cpus: tuple[int, ...]) -> Iterator[None]:
    """Let processes that are started within this context run on `cpus` only, and leave Ctrl-C to their parent."""
    affinity, mask = os.sched_getaffinity(0), signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    os.sched_setaffinity(0, cpus)
    try:
        yield
    finally:
        os.sched_setaffinity(0, affinity)
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)


def _serve(connection: Connection, task: WorkerTask, log: Path, begun_ns: int) -> None:
    process_ns = perf_counter_ns() - begun_ns
    with open(log, "wb", buffering=0) as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    # what libraries mean to remove at exit goes with the run: this process is killed
    tempfile.tempdir = os.environ["TMPDIR"] = str(task.folder)
    with suppress(OSError):
        TIMER_SLACK.write_text("1")
    with ExitStack() as stack:
        server = _Server(task, process_ns, stack)
        while True:
            try:
                verb, arguments = connection.recv()
            except EOFError:
                return
            try:
                answer = getattr(server, verb)(*arguments)
            except KdpinnError as error:
                answer = BenchError(str(error))
            except Exception as error:  # whatever goes wrong in a peer, it is not in the comparison, and that is said
                answer = BenchError(f"{type(error).__name__}: {str(error)[:LOG_CHARS]}")
            connection.send(answer)


class _Server:
    """The child's side of Worker."""

    def __init__(self, task: WorkerTask, process_ns: int, stack: ExitStack) -> None:
        self._task, self._process_ns, self._stack = task, process_ns, stack
        self._manifest = read_manifest(task.bundle)
        self._program = read_function(task.bundle, self._manifest)
        self._prepared: Prepared
        self._loops: dict[int, Loop] = {}
        self._at_one: tuple[Loop, Callable[[], Array], float]
        self._harness: CHarness | None = None

    def load(self, x: Array) -> Loaded:
        task, process = self._task, psutil.Process()
        before = process.memory_info().rss
        case = Case(task.bundle, self._manifest, self._program, task.folder)
        start_ns = perf_counter_ns()
        self._prepared = task.backend.prepare(case, task.threads)
        loop, values = self._loop(x)
        load_ns = perf_counter_ns() - start_ns
        first_ns = loop.once()
        self._at_one = loop, values, first_ns
        if isinstance(loop, CLoop):
            resident = psutil.Process(loop.pid).memory_info().rss
            start = Start(round(loop.process_ns), round(loop.load_ns), round(first_ns), resident, resident)
        else:
            resident = process.memory_info().rss
            start = Start(self._process_ns, load_ns, round(first_ns), resident, resident - before)
        return Loaded(start, self._prepared.threads, self._prepared.artifact_bytes)

    def evaluate(self, x: Array) -> Array:
        return np.asarray(self._prepared.evaluate(x))

    def bind(self, x: Array) -> Bound:
        if len(x) == 1:
            loop, values, first_ns = self._at_one
        else:
            loop, values = self._loop(x)
            first_ns = loop.once()
        self._loops[len(x)] = loop
        return Bound(first_ns, loop.once(), values())

    def clock_ns(self, n: int) -> float:
        return self._loops[n].clock_ns()

    def find_batch(self, n: int) -> tuple[int, float]:
        return find_batch(self._loops[n])

    def sample(self, n: int, loop: str, interval: int, count: int) -> Array:
        samples: Array = getattr(self._loops[n], loop)(interval, count)
        return samples

    def _loop(self, x: Array) -> tuple[Loop, Callable[[], Array]]:
        """The loop for the points x, and what returns the values that a call in it gives."""
        y = np.full((len(x), self._manifest.functions["eval"].n_out), np.nan, x.dtype)
        bound = self._prepared.bind(x, y)
        if isinstance(bound, CFunction):
            if self._harness is None:
                self._harness = self._stack.enter_context(compiled_harness())
            loop = self._stack.enter_context(self._harness.loop(bound.library, bound.name, x))
            return loop, lambda: loop.values(x.dtype).reshape(y.shape)

        def values() -> Array:
            result = bound()
            return y if result is None else np.asarray(result[0] if isinstance(result, list) else result)

        return PythonLoop(bound), values
