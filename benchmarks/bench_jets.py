"""u, u_x, u_t and u_xx: the cost against u alone, and against every peer that is installed, in one run.

    python benchmarks/bench_jets.py                         2 networks, 4 batch sizes, all peers
    python benchmarks/bench_jets.py --widths 32 --points 1  one cell

Prints Markdown tables and the measures that derivatives are held to, and writes every figure to `--out`. README.md
beside this file states the protocol.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

from bench_kernels import Contest, Net, circumstances, mlp, on_cores, take_turns, write_document
from jet_peers import C_PEERS, PEERS, Bind
from kernel_report import C_LOOP, OURS, OURS_IN_C, Cell, Time, Verdict, verdict_table

from kdpinn_edge.bundle.manifest import PROGRAM_FILE, read_manifest
from kdpinn_edge.bundle.parity import Parity
from kdpinn_edge.comparison.backend import Call, Case, CFunction
from kdpinn_edge.derive.derivatives import derivatives
from kdpinn_edge.errors import BenchError
from kdpinn_edge.export.bundle import export_bundle
from kdpinn_edge.program.file import read_program
from kdpinn_edge.program.ir import Affine, Concat, Program, Var
from kdpinn_edge.runtime import load
from kdpinn_edge.runtime.c_harness import CHarness, compiled_harness

REQUESTS = ("u", "u_x", "u_t", "u_xx")
VALUE = "u alone"
WIDTHS, DEPTH, POINTS = (32, 64), 4, (1, 64, 1024, 10_000)
SX_WIDTH = 32  # cc takes many minutes for the scalar expressions of wider networks


def network(width: int) -> Program:
    """That of bench_kernels.py, as a function of the columns x and t to u."""
    plain = mlp(width, DEPTH)
    x, t, point, u = Var("x", 1), Var("t", 1), Var("point", 2), Var("u", 1)
    first, *between, last = plain.ops
    assert isinstance(first, Affine)  # noqa: S101
    ops = (Concat(point, (x, t)), replace(first, x=point), *between, replace(last, out=u))
    return Program(plain.name, (x, t), (u,), ops)


@dataclass(frozen=True)
class Row:
    """One engine on one network at one n; `error` is the largest absolute one of all columns at these points."""

    width: int
    n: int
    engine: str
    time: Time
    error: float

    @property
    def ns_per_point(self) -> float:
        """Nanoseconds per point."""
        return self.time.ns / self.n


def exported(program: Program, width: int, folder: Path) -> Net:
    """The Program in a bundle of its own. Raises BenchError where the library returns other bits than NumPy."""
    bundle, products = folder / "bundle", folder / "peers"
    export_bundle(program, bundle, name="kernel")
    products.mkdir()
    case = Case(bundle, read_manifest(bundle), read_program(bundle / PROGRAM_FILE), products)
    parity = Parity(case.program, case.manifest)
    if not parity.is_exact(load(bundle)(parity.x)):
        raise BenchError(f"{bundle}: the library returns other bits than the NumPy program")
    return Net(width, DEPTH, case, parity.allowed)


def contest_at(value: Net, jet: Net, n: int, harness: CHarness | None, absent: dict[str, str]) -> list[Contest]:
    """The contest of the jet and that of the value; a peer that cannot take part goes into `absent` with the reason."""
    contests = [Contest(net, n) for net in (jet, value)]
    peers: dict[str, Bind] = dict(PEERS)
    for contest, name in zip(contests, (OURS, VALUE), strict=True):
        contest.enter(name, load(contest.net.bundle).bind)
        if n == 1 and harness is not None:
            contest.enter_c_loop(f"{name}{C_LOOP}", partial(harness.time, contest.net.bundle))
    if n == 1 and harness is not None:
        peers |= {name: bind for name, bind in C_PEERS.items() if jet.width <= SX_WIDTH or not name.endswith("SX")}
    for name, bind in peers.items():
        try:
            _enter(contests[0], name, partial(bind, value.case, jet.case), harness)
        except Exception as error:  # whatever goes wrong in a peer, it is not in the comparison, and that is said
            absent[f"{name}, {jet}, n = {n}"] = f"{type(error).__name__}: {error}"
    return contests


def _enter(contest: Contest, name: str, bind: Callable[..., Call | CFunction], harness: CHarness | None) -> None:
    if name not in C_PEERS:
        contest.enter(name, bind)
        return
    found = bind(contest.x, contest.x)
    if harness is not None and isinstance(found, CFunction):
        timed = partial(harness.time_library, found.library, found.name, n_out=len(REQUESTS))
        contest.enter_c_loop(f"{name}{C_LOOP}", timed)


def verdicts(rows: list[Row]) -> list[Verdict]:
    """The measures, each with the cell that is furthest from it."""
    time = {(row.width, row.n, row.engine): row.time.ns for row in rows}

    def verdict(measure: str, required: float, ours: str, other: str, points: Callable[[int], bool]) -> Verdict:
        cells: list[Cell] = [
            (ns / time[width, n, ours], f"{DEPTH}×{width}, n = {n:,}, {engine}")
            for (width, n, engine), ns in time.items()
            if engine.startswith(other) and points(n) and (width, n, ours) in time
        ]
        worst, where = min(cells, default=(None, ""))
        return Verdict(measure, required, worst, where, len(cells), sum(value < required for value, _ in cells))

    return [
        verdict("u alone / the jet", 1 / 3.8, OURS, VALUE, lambda n: n >= 64),
        verdict("u alone / the jet, n = 1 in C", 1 / 3.8, OURS_IN_C, VALUE, lambda n: n == 1),
        verdict("× the best of JAX, n ≥ 1 024", 1.3, OURS, "jax", lambda n: n >= 1024),
        verdict("× ONNX Runtime on our graph", 1, OURS, "onnxruntime", lambda n: True),
        verdict("× the best of CasADi, n = 1 in C", 8, OURS_IN_C, "casadi", lambda n: n == 1),
    ]


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


def main(arguments: list[str]) -> None:
    """Measure, print, and write the JSON file."""
    options = _options(arguments)
    core = max(os.sched_getaffinity(0))
    absent: dict[str, str] = {}
    rows: list[Row] = []
    load_before = os.getloadavg()
    with ExitStack() as stack:
        stack.enter_context(on_cores({core}))
        try:
            harness = stack.enter_context(compiled_harness())
        except BenchError as error:
            harness = None
            absent["C loops"] = str(error)
        for width in options.widths:
            program = network(width)
            value, jet = (
                exported(each, width, Path(stack.enter_context(TemporaryDirectory())))
                for each in (program, derivatives(program, REQUESTS))
            )
            for n in options.points:
                print(f"{jet}, n = {n:,}", file=sys.stderr)
                contests = contest_at(value, jet, n, harness, absent)
                samplers = {name: sampler for contest in contests for name, sampler in contest.samplers.items()}
                errors = {name: error for contest in contests for name, error in contest.errors.items()}
                times = take_turns(samplers, options.seconds, options.rounds)
                rows += [Row(width, n, name, time, errors[name]) for name, time in times.items()]
    judged = verdicts(rows)
    document = {
        **circumstances("bench_jets.py", arguments, options, core, load_before),
        "columns": REQUESTS,
        "rows": [{**asdict(row), "ns_per_point": row.ns_per_point} for row in rows],
        "absent": absent,
        "verdicts": [{**asdict(verdict), "holds": verdict.holds} for verdict in judged],
    }
    write_document(options.out, document)
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
        parser.error("expected: widths and points from 1, positive seconds, rounds from 2")
    return options


if __name__ == "__main__":
    main(sys.argv[1:])
