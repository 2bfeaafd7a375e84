"""The shared library of a bundle, timed by a C program in its own loop: `harness.c`, compiled on the spot."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from kdpinn_edge.errors import BenchError
from kdpinn_edge.manifest import check_files, read_manifest
from kdpinn_edge.runtime.engine import Array, check_points, dense
from kdpinn_edge.runtime.timing import Latency

SOURCE = Path(__file__).with_name("harness.c")
FLAGS = ("-std=c99", "-O2", "-Wall", "-Wextra", "-Wpedantic", "-Werror")


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
        """As `time`, for a library that no bundle describes: it has the function `name`_model of kdpinn_edge.h."""
        with TemporaryDirectory(prefix="kdpinn_edge_") as folder:
            points, values = Path(folder) / "points", Path(folder) / "values"
            dense(x).tofile(points)
            arguments = [library, name, len(x), seconds, points, values]
            output = _run([str(self.executable), *map(str, arguments)])
            y = np.fromfile(values, dtype=x.dtype).reshape(len(x), n_out)
        return Latency(**json.loads(output)), y


@contextmanager
def compiled_harness(compiler: str = "cc") -> Iterator[CHarness]:
    """Compile harness.c with `compiler` into a temporary folder. Raises BenchError where that cannot be done.

    with compiled_harness() as harness:
        latency, y = harness.time("burgers.bundle", x)
    """
    found = shutil.which(compiler)
    if found is None:
        raise BenchError(
            f"the C compiler {compiler!r} is not on PATH; accepted: one that takes cc's options, such as gcc or clang. "
            "Install one (on Debian: apt install gcc), or leave out the C program's loop."
        )
    with TemporaryDirectory(prefix="kdpinn_edge_") as folder:
        executable = Path(folder) / "harness"
        _run([found, *FLAGS, f"-I{SOURCE.parent}", "-o", str(executable), str(SOURCE), "-ldl"])
        yield CHarness(executable)


def _run(command: list[str]) -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603
    except OSError as error:
        raise BenchError(f"{command[0]} cannot be started: {error.strerror}") from error
    if done.returncode != 0:
        raise BenchError(f"{Path(command[0]).name} failed with exit code {done.returncode}: {done.stderr.strip()}")
    return done.stdout
