"""A compiled model in the loops of a C program: `harness.c`, compiled on the spot, in a process of its own."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter_ns
from typing import IO, cast

import numpy as np

from kdpinn_edge.bundle.read import Bundle, open_bundle
from kdpinn_edge.errors import BenchError
from kdpinn_edge.runtime.engine import Array, check_points, dense
from kdpinn_edge.runtime.sealed import SealedFile
from kdpinn_edge.runtime.timing import Latency, Pace, Pairs, Timed, find_batch, latency

SOURCE = Path(__file__).with_name("harness.c")
FLAGS = ("-std=c99", "-O2", "-Wall", "-Wextra", "-Wpedantic", "-Werror")
LEAST_SAMPLES, MOST_SAMPLES = 100, 10_000
LEAST_DISTURBED = 0.25  # of the pairs that are timed
DOES_NOTHING = Path("-")


class CLoop:
    """The Loop of timing.py around one model, in the C program `process`.

    It started in `process_ns` nanoseconds and loaded the model in another `load_ns`. Every method raises
    BenchError where it fails.
    """

    def __init__(self, process: subprocess.Popen[str], begun_ns: int, values: Path, stderr: IO[str]) -> None:
        self._process, self._values, self._stderr = process, values, stderr
        self._stdin, self._stdout = cast(IO[str], process.stdin), cast(IO[str], process.stdout)
        self.pid = process.pid
        self.load_ns = float(self._answer()[0])
        self.process_ns = perf_counter_ns() - begun_ns - self.load_ns

    @property
    def partner(self) -> Timed:
        """The timing of the partner that `paired` alternates with."""
        return _Partner(self)

    def clock_ns(self) -> float:
        """Measure what it costs to read the clock."""
        return float(self.ask("clock")[0])

    def once(self) -> float:
        """Time one call, with nothing before it: its time on the core."""
        return float(self.ask("once")[0])

    def closed(self, batch: int, count: int) -> Array:
        """Take `count` samples, each the mean of `batch` calls."""
        return self.ask(f"closed {batch} {count}")

    def paired(self, pace: Pace, partner: Pace, seconds: float) -> Pairs:
        """Alternate calls with those of the partner for so many seconds, two pairs at least."""
        shape = f"{pace.batch} {pace.samples} {partner.batch} {partner.samples}"
        answered = self.ask(f"paired {shape} {round(seconds * 1e9)}")
        end = 1 + 3 * int(answered[0])
        return Pairs(answered[end:], answered[1:end].reshape(-1, 3))

    def periodic(self, period_ns: int, count: int) -> Array:
        """Measure `count` calls, one every `period_ns`: latencies (count, 2) from their intended starts, and what they
        would be if every call had had the core for itself.
        """
        return self.ask(f"periodic {period_ns} {count}").reshape(count, 2)

    def cold(self, sweep_bytes: int, count: int) -> Array:
        """Time `count` calls after as many sweeps of other memory."""
        return self.ask(f"cold {sweep_bytes} {count}")

    def alone(self, count: int) -> Array:
        """Measure the time on the core of each of `count` calls, after one that is not timed."""
        return self.ask(f"alone 1 {count}")

    def values(self, dtype: np.dtype[np.generic]) -> Array:
        """The values that the model gave, one number after another."""
        self.ask("values")
        return np.fromfile(self._values, dtype)

    def ask(self, line: str) -> Array:
        """Ask the program one line, and wait for its numbers."""
        with suppress(BrokenPipeError):  # it failed, and the answer says why
            print(line, file=self._stdin, flush=True)
        return self._answer()

    def _answer(self) -> Array:
        answered = self._stdout.readline()
        if not answered.endswith("\n"):
            code = self._process.wait()
            self._stderr.seek(0)
            raise BenchError(f"harness failed with exit code {code}: {self._stderr.read().strip()}")
        return np.array(answered.split(), np.float64)


class _Partner:
    """The Timed of the partner in `loop`."""

    def __init__(self, loop: CLoop) -> None:
        self._loop = loop

    def clock_ns(self) -> float:
        return self._loop.clock_ns()

    def closed(self, batch: int, count: int) -> Array:
        return self._loop.ask(f"partner {batch} {count}")


@dataclass(frozen=True)
class CModel:
    """The function `name`_eval of the model that `library` describes as in kdpinn_edge.h, at the points x."""

    library: Path
    name: str
    x: Array


@dataclass(frozen=True)
class CHarness:
    """The compiled harness.c, for bundles of any model."""

    executable: Path

    def time(self, bundle: str | os.PathLike[str], x: Array, *, seconds: float = 1.0) -> tuple[Latency, Array]:
        """The Latency of one eval at the points x (n, n_in), and the values y (n, n_out), all from the C program.

        Raises BundleError, EngineError for arrays as an Engine does, and BenchError where the program fails.
        """
        opened = open_bundle(bundle)
        manifest = opened.manifest
        check_points(manifest, x)
        with sealed_library(opened) as library:
            return self.time_library(library, manifest.name, x, manifest.functions["eval"].n_out, seconds=seconds)

    def time_library(
        self, library: Path, name: str, x: Array, n_out: int, *, seconds: float = 1.0
    ) -> tuple[Latency, Array]:
        """Time a library that no bundle describes: it has the function `name`_model of kdpinn_edge.h."""
        with self.loop(library, name, x) as loop:
            batch, ns = find_batch(loop)
            count = min(max(round(seconds * 1e9 / (batch * ns)), LEAST_SAMPLES), MOST_SAMPLES)
            measured = latency(loop.closed(batch, count), batch)
            return measured, loop.values(x.dtype).reshape(len(x), n_out)

    def beside(self, library: Path, name: str, x: Array, partner: CModel, *, seconds: float) -> tuple[float, float]:
        """How many times as long as the partner the function `name`_eval of `library` takes on the core, and the
        nanoseconds of the partner: medians over the least disturbed pairs of calls in so many seconds.
        """
        with self.loop(library, name, x, partner) as loop:
            paces = Pace(*find_batch(loop)), Pace(*find_batch(loop.partner))
            ours, theirs, work = loop.paired(*paces, seconds).pairs_ns.T
        quiet = work <= np.quantile(work, LEAST_DISTURBED)
        return float(np.median(ours[quiet] / theirs[quiet])), float(np.median(theirs[quiet]))

    @contextmanager
    def loop(self, library: Path, name: str, x: Array, partner: CModel | None = None) -> Iterator[CLoop]:
        """The CLoop of the function `name`_eval in `library`, or one that DOES_NOTHING, at the points x.

        It is paired with `partner`, at as many points, or with a loop that is always the same.
        """
        with TemporaryDirectory(prefix="kdpinn_edge_") as folder, open(Path(folder) / "stderr", "w+") as stderr:
            points, values, theirs = (Path(folder) / name for name in ("points", "values", "partner"))
            dense(x).tofile(points)
            command = [self.executable, library, name, len(x), points, values]
            if partner is not None:
                dense(partner.x).tofile(theirs)
                command += [partner.library, partner.name, theirs]
            pipe, begun_ns = subprocess.PIPE, perf_counter_ns()
            started = [str(part) for part in command]
            with subprocess.Popen(started, stdin=pipe, stdout=pipe, stderr=stderr, text=True) as process:  # noqa: S603
                yield CLoop(process, begun_ns, values, stderr)


@contextmanager
def sealed_library(bundle: Bundle) -> Iterator[Path]:
    """Yield a path of the library for other processes: its bytes as they were checked, whatever becomes of the file.

    Raises BundleError where loading it would run code.
    """
    bundle.check_loadable()
    file = SealedFile(bundle.manifest.library, bundle.library)
    try:
        yield Path(file.path)
    finally:
        file.close()


@contextmanager
def compiled_harness(compiler: str = "cc") -> Iterator[CHarness]:
    """Compile harness.c with `compiler` into a temporary folder. Raises BenchError where that cannot be done.

    with compiled_harness() as harness:
        latency, y = harness.time("burgers.bundle", x)
    """
    found = shutil.which(compiler)
    if found is None:
        raise BenchError(
            f"the C compiler {compiler!r} is not on PATH; expected: one that takes cc's options, such as gcc or clang. "
            "Install one (on Debian: apt install gcc), or leave out the C program's loop."
        )
    with TemporaryDirectory(prefix="kdpinn_edge_") as folder:
        executable = Path(folder) / "harness"
        _compile([found, *FLAGS, f"-I{SOURCE.parent}", "-o", str(executable), str(SOURCE), "-ldl"])
        yield CHarness(executable)


def _compile(command: list[str]) -> None:
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603
    except OSError as error:
        raise BenchError(f"{command[0]} cannot be started: {error.strerror}") from error
    if done.returncode != 0:
        raise BenchError(f"{Path(command[0]).name} failed with exit code {done.returncode}: {done.stderr.strip()}")
