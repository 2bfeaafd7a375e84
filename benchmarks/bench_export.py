"""CPU seconds of whole export commands, and of `compile()` in a process that has compiled before.

    python benchmarks/bench_export.py                     every row, 5 times each (10 minutes)
    python benchmarks/bench_export.py value jet           the rows whose names contain one of these
    python benchmarks/bench_export.py --times 1

Prints a Markdown table: the median of user and system time of the command and of what it starts, the linker and
valgrind among them, beside what is aimed at on 2 cores. `--derivatives` are u, u_x, u_t, u_xx. Other work on the
machine makes CPU seconds longer too: compare with a run of an older version in turns. Modules are compiled once and
kept, as those of an installed package are.
"""

from __future__ import annotations

import argparse
import os
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from kdpinn_edge import Program, Var, compile, write_program
from kdpinn_edge.program.ir import Affine, Concat, Map, Op, columns

JET = ("--derivatives", "u, u_x, u_t, u_xx", "--residual")


def network(inputs: Sequence[str], hidden: Sequence[int], n_out: int) -> Program:
    """A tanh network with weights as they are initialised; its output is u, or v of several entries."""
    rng = np.random.default_rng(0)
    ops: list[Op] = []
    parts = tuple(Var(name, 1) for name in inputs)
    at = Var("point", len(parts))
    ops.append(Concat(at, parts))
    for i, size in enumerate((*hidden, n_out)):
        last = i == len(hidden)
        z = Var(("u" if n_out == 1 else "v") if last else f"z{i}", size)
        ops.append(Affine(z, at, rng.normal(0, at.size**-0.5, (size, at.size)), rng.normal(0, 0.1, size)))
        if not last:
            at = Var(f"h{i}", size)
            ops.append(Map(at, z, "tanh"))
    return Program("network", parts, (ops[-1].out,), tuple(ops))


@dataclass(frozen=True)
class Row:
    """One command: what is exported, and in how many seconds it should be."""

    name: str
    aim: float
    options: tuple[str, ...]
    program: Program | None = None


def rows() -> list[Row]:
    """The commands that are measured. 4×64 with its jet and residual is that of Burgers' equation."""
    square = network(("x", "t"), (64,) * 4, 1)
    jacobian = network([f"q{i}" for i in range(12)], (64, 64), 6)
    requests = ", ".join(f"{y}_{x}" for y in columns(jacobian.outputs) for x in columns(jacobian.inputs))
    return [
        Row("burgers, value", 2.5, ()),
        Row("burgers, jet and residual", 4.0, JET),
        Row("burgers, jet and residual, cortex-m7", 6.0, (*JET, "--target", "cortex-m7")),
        Row("burgers, jet and residual, x86-64 (two levels)", 7.0, (*JET, "--target", "x86-64")),
        Row("4×64, jet", 6.0, JET[:2], square),
        Row("6×512, value", 25.0, (), network(("x", "t"), (512,) * 6, 1)),
        Row(
            "12→64→64→6, Jacobian of 72 columns, float64",
            20.0,
            ("--derivatives", requests, "--precision", "float64"),
            jacobian,
        ),
    ]


def seconds(row: Row) -> float:
    """CPU seconds of one run of a command."""
    with TemporaryDirectory() as folder:
        model = "burgers"
        if row.program is not None:
            model = str(Path(folder) / "network.npz")
            write_program(row.program, model)
        command = [sys.executable, "-m", "kdpinn_edge", "export", model, "--out", f"{folder}/bundle", *row.options]
        before = _children()
        subprocess.run([*command, "--name", "network"], check=True, capture_output=True, env=keeping_bytecode())  # noqa: S603
        return _children() - before


def keeping_bytecode() -> dict[str, str]:
    """The environment, in which Python keeps the modules that it compiled."""
    return {key: value for key, value in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"}


def _children() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def in_process() -> float:
    """CPU seconds of `compile` of 3×16, where the process has compiled another network before."""
    compile(network(("x", "t"), (8,), 1))
    program = network(("x", "t"), (16,) * 3, 1)
    start = time.process_time()
    compile(program)
    return time.process_time() - start


def main() -> int:
    """Print a row for each command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", help="parts of the names of rows; default: all")
    parser.add_argument("--times", type=int, default=5)
    options = parser.parse_args()
    print("| export | CPU seconds | aim |\n|---|---|---|")
    for row in rows():
        if not options.names or any(name in row.name for name in options.names):
            found = statistics.median(seconds(row) for _ in range(options.times))
            print(f"| {row.name} | {found:.2f} | {row.aim} |", flush=True)
    if not options.names or any(name in "compile 3×16" for name in options.names):
        found = statistics.median(in_process() for _ in range(options.times))
        print(f"| compile(3×16), in process | {found:.2f} | 0.5 |")
    return 0


if __name__ == "__main__":
    sys.exit(main())
