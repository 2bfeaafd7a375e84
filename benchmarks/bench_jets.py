"""u, u_x, u_t and u_xx: the cost against u alone, and against every peer that is installed, in one run.

    python benchmarks/bench_jets.py                         2 networks, 4 batch sizes, all peers
    python benchmarks/bench_jets.py --widths 32 --points 1  one cell

Prints Markdown tables and the measures that derivatives are held to, and writes every figure to `--out`. README.md
beside this file states the protocol.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import sys
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from bench_kernels import Sampler, in_process, machine, on_cores, take_turns
from jet_peers import CASADI, JAX, casadi_library
from kernel_report import Cell, Time, Verdict, verdict_table
from numpy.typing import NDArray

from kdpinn_edge.derivatives import derivatives
from kdpinn_edge.errors import BenchError
from kdpinn_edge.export.bundle import export_bundle
from kdpinn_edge.interp import interpret
from kdpinn_edge.ir import Affine, Concat, Map, Op, Program, Var
from kdpinn_edge.numpy_program import NumpyProgram
from kdpinn_edge.runtime import load
from kdpinn_edge.runtime.c_harness import CHarness, compiled_harness

Array = NDArray[Any]

REQUESTS = ("u", "u_x", "u_t", "u_xx")
OURS, VALUE, C_LOOP = "kdpinn", "kdpinn, u alone", ", C loop"
WIDTHS, DEPTH, POINTS = (32, 64), 4, (1, 64, 1024, 10_000)
SX_WIDTH = 32  # scalar expressions of wider networks take cc many minutes
PACKAGES = ("kdpinn-edge", "numpy", "llvmlite", "numba", "onnxruntime", "jax", "casadi")


def mlp(width: int) -> Program:
    """`DEPTH` tanh layers of `width` neurons from x and t to u, with random weights of Xavier's variance."""
    rng = np.random.default_rng(0)
    inputs, v = (Var("x", 1), Var("t", 1)), Var("inputs", 2)
    ops: list[Op] = [Concat(v, inputs)]
    for i, n_out in enumerate((*[width] * DEPTH, 1)):
        weight = rng.normal(0, np.sqrt(2 / (v.size + n_out)), (n_out, v.size))
        z = Var("u" if i == DEPTH else f"z{i}", n_out)
        ops.append(Affine(z, v, weight, rng.normal(0, 0.1, n_out)))
        v = Var(f"v{i}", n_out)
        ops.append(Map(v, z, "tanh"))
    return Program(f"mlp_{DEPTH}x{width}", inputs, (z,), tuple(ops[:-1]))


@dataclass(frozen=True)
class Row:
    """One engine on one network at one n; `error` is the largest over the columns, each by its largest value."""

    width: int
    n: int
    engine: str
    time: Time
    error: float

    @property
    def ns_per_point(self) -> float:
        """Nanoseconds per point."""
        return self.time.ns / self.n


class Contest:
    """Those that evaluate the jet of one network at the same n points. Each enters with values that are found right."""

    def __init__(self, value: Program, n: int) -> None:
        self.value, self.jet, self.n = value, derivatives(value, REQUESTS), n
        self.x = np.random.default_rng(3).uniform(-1, 1, (n, 2)).astype(np.float32)
        self._exact = interpret(self.jet, self.x)
        self._scale = np.abs(interpret(self.jet, np.random.default_rng(4).uniform(-1, 1, (1000, 2)))).max(axis=0)
        self.allowed = max(16 * self._error(NumpyProgram(self.jet, "float32")(self.x)), 64 * 2.0**-23)
        self.samplers: dict[str, Sampler] = {}
        self.errors: dict[str, float] = {}

    def enter(self, name: str, bind: Callable[[Array], tuple[Callable[[], Any], Array | None]]) -> None:
        """An engine that is called from Python: `bind(x)` gives the call, and the array that it writes to, if any."""
        call, y = bind(self.x)
        result = call()
        self._admit(name, np.asarray(result) if y is None else y, in_process(call))

    def enter_c_loop(self, name: str, timed: Callable[..., Any], x: Array) -> None:
        """A library in harness.c: `timed(x, seconds=…)`."""

        def sampler(seconds: float) -> tuple[float, int]:
            latency, _ = timed(x, seconds=seconds)
            return latency.p50_ns, latency.samples

        self._admit(name + C_LOOP, timed(x, seconds=1e-3)[1], sampler)

    def _admit(self, name: str, y: Array, sampler: Sampler) -> None:
        error = self._error(y)
        if not error <= self.allowed:
            raise BenchError(f"is off by {error:.2g} of the largest value; accepted: {self.allowed:.2g}")
        self.samplers[name], self.errors[name] = sampler, error

    def _error(self, y: Array) -> float:
        columns = y.shape[1]
        return float((np.abs(y - self._exact[:, :columns]).max(axis=0) / self._scale[:columns]).max())


def bound(folder: Path, engine: str, function: str, n_out: int, x: Array) -> tuple[Callable[[], Any], Array]:
    """A function of our bundle, in one of the engines that run it, with x and y in the caller's memory."""
    y = np.full((len(x), n_out), np.nan, np.float32)
    return load(folder, engine=engine).bind(x, y, function=function), y  # type: ignore[arg-type,call-overload]


def contest_at(
    value: Program, width: int, n: int, folder: Path, harness: CHarness | None, absent: dict[str, str]
) -> Contest:
    """Everybody who can evaluate the jet at n points; who cannot goes into `absent` with the reason."""
    contest = Contest(value, n)
    bundle, jet_alone = folder / f"{width}", folder / f"{width}_jet"
    contest.enter(OURS, partial(bound, bundle, "library", "jet", 4))
    contest.enter(VALUE, partial(bound, bundle, "library", "eval", 1))

    def peer(name: str, enter: Callable[[], None]) -> None:
        try:
            enter()
        except Exception as error:  # whatever goes wrong in a peer, it is not in the comparison, and that is said
            absent[f"{name}, {DEPTH}×{width}, n = {n}"] = f"{type(error).__name__}: {error}"

    peer("ort-binding", lambda: contest.enter("ort-binding", partial(bound, bundle, "onnx", "jet", 4)))
    for name, call in JAX.items():
        peer(name, lambda name=name, call=call: contest.enter(name, lambda x: (call(value, x), None)))  # type: ignore[misc]
    if n == 1 and harness is not None:
        contest.enter_c_loop(OURS, partial(harness.time, jet_alone), contest.x)
        contest.enter_c_loop(VALUE, partial(harness.time, bundle), contest.x)
        for name, (kind, real) in CASADI.items():
            if kind == "MX" or width <= SX_WIDTH:
                peer(name, partial(_casadi, contest, harness, folder / f"{name}_{width}", name, kind, real))
    return contest


def _casadi(contest: Contest, harness: CHarness, folder: Path, name: str, kind: str, real: str) -> None:
    library = casadi_library(contest.value, folder, kind, real)
    x = contest.x.astype(np.float32 if real == "float" else np.float64)
    contest.enter_c_loop(name, partial(harness.time_library, library, "casadi", n_out=4), x)


def verdicts(rows: list[Row]) -> list[Verdict]:
    """The measures, each with the cell that is furthest from it."""
    time = {(row.width, row.n, row.engine): row.time.ns for row in rows}

    def ratios(ours: str, others: Callable[[str], bool], points: Callable[[int], bool]) -> list[Cell]:
        return [
            (time[width, n, engine] / time[width, n, ours], f"{DEPTH}×{width}, n = {n:,}, {engine}")
            for width, n, engine in time
            if others(engine) and points(n) and (width, n, ours) in time
        ]

    return [
        _verdict("u alone / the jet, n ≥ 64", 1 / 3.8, ratios(OURS, VALUE.__eq__, lambda n: n >= 64)),
        _verdict("u alone / the jet, n = 1 in C", 1 / 3.8, ratios(OURS + C_LOOP, (VALUE + C_LOOP).__eq__, (1).__eq__)),
        _verdict("× the best JAX jet, n ≥ 1 024", 1.3, ratios(OURS, _starts("jax"), lambda n: n >= 1024)),
        _verdict("× ONNX Runtime on our graph", 1.0, ratios(OURS, _starts("ort"), lambda n: True)),
        _verdict("× the best CasADi, n = 1 in C", 8, ratios(OURS + C_LOOP, _starts("casadi"), (1).__eq__)),
    ]


def _starts(prefix: str) -> Callable[[str], bool]:
    return lambda engine: engine.startswith(prefix)


def _verdict(measure: str, required: float, cells: list[Cell]) -> Verdict:
    worst, where = min(cells, default=(None, ""))
    return Verdict(measure, required, worst, where, len(cells), sum(value < required for value, _ in cells))


def tables(rows: list[Row]) -> str:
    """Nanoseconds per point as Markdown: from Python, and in a C program's loop."""
    parts = []
    for title, c_loop in (("from Python", False), ("in a C program's loop", True)):
        chosen = [row for row in rows if row.engine.endswith(C_LOOP) == c_loop]
        engines = list(dict.fromkeys(row.engine for row in chosen))
        ns = {(row.width, row.n, row.engine): row.ns_per_point for row in chosen}
        lines = [["net", "n", *(engine.removesuffix(C_LOOP) for engine in engines)], ["---"] * (len(engines) + 2)]
        for width, n in dict.fromkeys((row.width, row.n) for row in chosen):
            cells = (ns.get((width, n, engine)) for engine in engines)
            lines.append([f"{DEPTH}×{width}", f"{n:,}", *("–" if cell is None else f"{cell:,.0f}" for cell in cells)])
        if chosen:
            parts += [f"Nanoseconds per point {title}, one thread", "\n".join(f"| {' | '.join(x)} |" for x in lines)]
    return "\n\n".join(parts)


def installed(package: str) -> str | None:
    """The version of `package`, None where it is missing."""
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def main(arguments: list[str]) -> None:
    """Measure, print, and write the JSON file."""
    options = _options(arguments)
    core = max(os.sched_getaffinity(0))
    absent: dict[str, str] = {}
    rows: list[Row] = []
    load_before = os.getloadavg()
    with ExitStack() as stack:
        stack.enter_context(on_cores({core}))
        folder = Path(stack.enter_context(TemporaryDirectory()))
        try:
            harness = stack.enter_context(compiled_harness())
        except BenchError as error:
            harness = None
            absent["C loops"] = str(error)
        for width in options.widths:
            value = mlp(width)
            export_bundle(value, folder / f"{width}", name="kernel", derivatives=REQUESTS)
            export_bundle(derivatives(value, REQUESTS), folder / f"{width}_jet", name="kernel")
            for n in options.points:
                print(f"{DEPTH}×{width}, n = {n:,}", file=sys.stderr)
                contest = contest_at(value, width, n, folder, harness, absent)
                times = take_turns(contest.samplers, options.seconds, options.rounds)
                rows += [Row(width, n, name, time, contest.errors[name]) for name, time in times.items()]
    judged = verdicts(rows)
    document = {
        "command": shlex.join(["python", "benchmarks/bench_jets.py", *arguments]),
        "protocol": {
            "columns": REQUESTS,
            "precision": "float32",
            "seconds": options.seconds,
            "rounds": options.rounds,
            "core": core,
            "load_before": load_before,
            "load_after": os.getloadavg(),
        },
        "machine": machine(),
        "versions": {package: found for package in PACKAGES if (found := installed(package))},
        "rows": [{**asdict(row), "ns_per_point": row.ns_per_point} for row in rows],
        "absent": absent,
        "verdicts": [{**asdict(verdict), "holds": verdict.holds} for verdict in judged],
    }
    unfinished = options.out.with_name(f".{options.out.name}.{os.getpid()}")
    unfinished.write_text(json.dumps(document, indent=1, ensure_ascii=False, allow_nan=False) + "\n", encoding="utf-8")
    unfinished.replace(options.out)
    print(tables(rows), verdict_table(judged), sep="\n\n")
    for name, reason in absent.items():
        print(f"absent: {name}: {reason}")


def _options(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--widths", type=int, nargs="+", default=WIDTHS, help="neurons per layer")
    parser.add_argument("--points", type=int, nargs="+", default=POINTS, help="points per call")
    parser.add_argument("--seconds", type=float, default=0.7, help="per engine, network and n")
    parser.add_argument("--rounds", type=int, default=7, help="turns that each engine has, from 2")
    parser.add_argument("--out", type=Path, default=Path("bench_jets.json"), help="the JSON file")
    options = parser.parse_args(arguments)
    if min(*options.points, *options.widths, options.seconds, options.rounds - 1) <= 0:
        parser.error("accepted: widths and points from 1, positive seconds, rounds from 2")
    return options


if __name__ == "__main__":
    main(sys.argv[1:])
