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

from kdpinn_edge.bundle.manifest import check_files, read_manifest
from kdpinn_edge.errors import BenchError
from kdpinn_edge.runtime.engine import Array, check_points, dense
from kdpinn_edge.runtime.timing import Latency, find_batch, latency

SOURCE = Path(__file__).with_name("harness.c")
FLAGS = ("-std=c99", "-O2", "-Wall", "-Wextra", "-Wpedantic", "-Werror")
LEAST_SAMPLES, MOST_SAMPLES = 100, 10_000
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

    def clock_ns(self) -> float:
        """Measure what it costs to read the clock."""
        return float(self._ask("clock")[0])

    def once(self) -> float:
        """Time one call, with nothing before it."""
        return float(self._ask("once")[0])

    def closed(self, batch: int, count: int) -> Array:
        """Take `count` samples, each the mean of `batch` calls."""
        return self._ask(f"closed {batch} {count}")

    def periodic(self, period_ns: int, count: int) -> Array:
        """Measure the latencies of `count` calls, one every `period_ns`."""
        return self._ask(f"periodic {period_ns} {count}")

    def cold(self, sweep_bytes: int, count: int) -> Array:
        """Time `count` calls after as many sweeps of other memory."""
        return self._ask(f"cold {sweep_bytes} {count}")

    def values(self, dtype: np.dtype[np.generic]) -> Array:
        """The values that the model gave, one number after another."""
        self._ask("values")
        return np.fromfile(self._values, dtype)

    def _ask(self, line: str) -> Array:
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


@dataclass(frozen=True)
class CHarness:
    """The compiled harness.c, for bundles of any model."""

    executable: Path

    def time(self, bundle: str | os.PathLike[str], x: Array, *, seconds: float = 1.0) -> tuple[Latency, Array]:
        """The Latency of one eval at the points x (n, n_in), and the values y (n, n_out), all from the C program.

        Raises BundleError, EngineError for arrays as an Engine does, and BenchError where the program fails.
        """
        directory = Path(bundle).absolute()
        manifest = read_manifest(directory)
        check_files(directory, manifest)
        check_points(manifest, x)
        return self.time_library(
            directory / manifest.library, manifest.name, x, manifest.functions["eval"].n_out, seconds=seconds
        )

    def time_library(
        self, library: Path, name: str, x: Array, n_out: int, *, seconds: float = 1.0
    ) -> tuple[Latency, Array]:
        """Time a library that no bundle describes: it has the function `name`_model of kdpinn_edge.h."""
        with self.loop(library, name, x) as loop:
            batch, ns = find_batch(loop)
            count = min(max(round(seconds * 1e9 / (batch * ns)), LEAST_SAMPLES), MOST_SAMPLES)
            measured = latency(loop.closed(batch, count), batch)
            return measured, loop.values(x.dtype).reshape(len(x), n_out)

    @contextmanager
    def loop(self, library: Path, name: str, x: Array) -> Iterator[CLoop]:
        """The CLoop of the function `name`_eval in `library`, or one that DOES_NOTHING, at the points x."""
        with TemporaryDirectory(prefix="kdpinn_edge_") as folder, open(Path(folder) / "stderr", "w+") as stderr:
            points, values = Path(folder) / "points", Path(folder) / "values"
            dense(x).tofile(points)
            command = [str(part) for part in (self.executable, library, name, len(x), points, values)]
            pipe, begun_ns = subprocess.PIPE, perf_counter_ns()
            with subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=stderr, text=True) as process:  # noqa: S603
                yield CLoop(process, begun_ns, values, stderr)


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
