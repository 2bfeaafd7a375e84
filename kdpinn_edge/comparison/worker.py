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
from time import perf_counter_ns, process_time_ns
from typing import Any

import numpy as np
import psutil

from kdpinn_edge.bundle.probe import timed_points
from kdpinn_edge.bundle.read import open_bundle
from kdpinn_edge.comparison.backend import Array, Backend, Call, Case, CFunction, Prepared
from kdpinn_edge.comparison.disturbance import watched
from kdpinn_edge.comparison.record import Disturbance, Start
from kdpinn_edge.errors import BenchError, KdpinnError
from kdpinn_edge.runtime import Engine, load
from kdpinn_edge.runtime.c_harness import CHarness, CLoop, CModel, compiled_harness
from kdpinn_edge.runtime.library_engine import LibraryEngine
from kdpinn_edge.runtime.on_core import OnCore, waited_ns
from kdpinn_edge.runtime.timing import Loop, Pace, Pairs, PythonLoop, find_batch

PATIENCE_S = 300.0  # torch.compile takes a minute on a slow machine
LOG_CHARS = 500
TIMER_SLACK = Path("/proc/self/timerslack_ns")


@dataclass(frozen=True)
class WorkerTask:
    """The task of a worker: what it evaluates, on which processors; `folder` is Case's. Its calls are paired with those
    of the library in the bundle `partner`, called in the same layer; with a loop that is always the same where that is
    None, or where that library does not run here.
    """

    backend: Backend
    bundle: Path
    partner: Path | None
    folder: Path
    threads: int | None
    cpus: tuple[int, ...]


@dataclass(frozen=True)
class Loaded:
    """A backend after its first call at one point; `is_paired` is whether it has its partner."""

    start: Start
    is_paired: bool
    threads: str
    artifact_bytes: int | None


@dataclass(frozen=True)
class Bound:
    """A backend bound to n points: its first call and the next one, in nanoseconds on the core, and its values
    (n, n_out).
    """

    first_ns: float
    second_ns: float
    values: Array


class Worker:
    """The process of one WorkerTask. Every call waits for its answer and raises BenchError where there is none."""

    def __init__(self, process: Any, connection: Connection, log: Path) -> None:
        self._process, self._connection, self._log = process, connection, log

    def kill(self) -> None:
        """End the process: whoever waits for its answer gets BenchError."""
        self._process.kill()

    def cpu_s(self) -> float:
        """The seconds on a core that the process has taken so far, with its children that have ended."""
        used = psutil.Process(self._process.pid).cpu_times()
        return float(used.user + used.system + used.children_user + used.children_system)

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

    def paces(self, n: int) -> tuple[Pace, Pace]:
        """Find the paces of a call with n points and of its partner's."""
        found: tuple[Pace, Pace] = self._ask("paces", n)
        return found

    def paired(self, n: int, paces: tuple[Pace, Pace], seconds: float) -> tuple[Pairs, Disturbance]:
        """Alternate calls with n points with those of the partner for so many seconds."""
        found: tuple[Pairs, Disturbance] = self._ask("paired", n, paces, seconds)
        return found

    def sample(self, n: int, loop: str, *arguments: int) -> tuple[Array, Disturbance]:
        """Take samples of `loop` ("periodic", "cold", "alone") of n points, with its arguments."""
        found: tuple[Array, Disturbance] = self._ask("sample", n, loop, *arguments)
        return found

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
    with open("/proc/self/schedstat", "rb") as file:
        process_ns = max(perf_counter_ns() - begun_ns - waited_ns(file.fileno()), process_time_ns())
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
        self._task, self._stack = task, stack
        self._process_ns = process_ns
        bundle = open_bundle(task.bundle)
        self._manifest, self._program = bundle.manifest, bundle.program()
        self._prepared: Prepared
        self._partner: LibraryEngine | None = None
        self._loops: dict[int, Loop] = {}
        self._at_one: tuple[Loop, Callable[[], Array], float]
        self._harness: CHarness | None = None

    def load(self, x: Array) -> Loaded:
        task, process = self._task, psutil.Process()
        before = process.memory_info().rss
        case = Case(task.bundle, self._manifest, self._program, task.folder)
        with OnCore() as watch:
            watch.start()
            self._prepared = task.backend.prepare(case, task.threads)
            bound, y = self._bound(x)
            load_ns = watch.stop()
        if isinstance(bound, CFunction):
            self._load_partner()
            loop = self._in_c(bound, x)
            first_ns = loop.once()
            resident = psutil.Process(loop.pid).memory_info().rss
            start = Start(round(loop.process_ns), round(loop.load_ns), round(first_ns), resident, resident)
            self._at_one = loop, self._values_in_c(loop, y), first_ns
        else:
            first_ns = PythonLoop(bound).once()
            resident = process.memory_info().rss
            start = Start(self._process_ns, round(load_ns), round(first_ns), resident, resident - before)
            self._load_partner()  # only now: what was measured until here is the backend's own
            self._at_one = self._in_python(bound, len(x)), _values(bound, y), first_ns
        return Loaded(start, self._partner is not None, self._prepared.threads, self._prepared.artifact_bytes)

    def evaluate(self, x: Array) -> Array:
        return np.asarray(self._prepared.evaluate(x))

    def bind(self, x: Array) -> Bound:
        if len(x) == 1:
            loop, values, first_ns = self._at_one
        else:
            bound, y = self._bound(x)
            if isinstance(bound, CFunction):
                loop = self._in_c(bound, x)
                values = self._values_in_c(loop, y)
            else:
                loop, values = self._in_python(bound, len(x)), _values(bound, y)
            first_ns = loop.once()
        self._loops[len(x)] = loop
        return Bound(first_ns, loop.once(), values())

    def clock_ns(self, n: int) -> float:
        return self._loops[n].clock_ns()

    def paces(self, n: int) -> tuple[Pace, Pace]:
        loop = self._loops[n]
        return Pace(*find_batch(loop)), Pace(*find_batch(loop.partner))

    def paired(self, n: int, paces: tuple[Pace, Pace], seconds: float) -> tuple[Pairs, Disturbance]:
        loop = self._loops[n]
        return watched(loop, self._task.cpus, lambda: loop.paired(*paces, seconds))

    def sample(self, n: int, loop: str, *arguments: int) -> tuple[Array, Disturbance]:
        found = self._loops[n]
        return watched(found, self._task.cpus, lambda: getattr(found, loop)(*arguments))

    def _load_partner(self) -> None:
        """Load the library of the partner, where it runs here."""
        if self._task.partner is not None:
            with suppress(KdpinnError):
                self._partner = load(self._task.partner)

    def _bound(self, x: Array) -> tuple[Call | CFunction, Array]:
        """What is timed at the points x, and the array for its values."""
        y = np.full((len(x), self._manifest.functions["eval"].n_out), np.nan, x.dtype)
        return self._prepared.bind(x, y), y

    def _in_python(self, call: Call, n: int) -> Loop:
        if self._partner is None:
            return PythonLoop(call)
        x = self._partner_points(self._partner, n)
        y = np.empty((n, self._partner.manifest.functions["eval"].n_out), x.dtype)
        return PythonLoop(call, self._partner.bind(x, y))

    def _in_c(self, function: CFunction, x: Array) -> CLoop:
        if self._harness is None:
            self._harness = self._stack.enter_context(compiled_harness())
        partner = None
        if self._partner is not None:
            name, points = self._partner.manifest.name, self._partner_points(self._partner, len(x))
            partner = CModel(self._partner.path, name, points)
        return self._stack.enter_context(self._harness.loop(function.library, function.name, x, partner))

    @staticmethod
    def _partner_points(partner: Engine, n: int) -> Array:
        return timed_points(partner.manifest.inputs, n).astype(partner.dtype)

    @staticmethod
    def _values_in_c(loop: CLoop, y: Array) -> Callable[[], Array]:
        return lambda: loop.values(y.dtype).reshape(y.shape)


def _values(call: Call, y: Array) -> Callable[[], Array]:
    """What returns the values that `call` gives, in y or as its result."""

    def values() -> Array:
        result = call()
        return y if result is None else np.asarray(result[0] if isinstance(result, list) else result)

    return values
