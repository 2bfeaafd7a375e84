"""The kernels against the speed limit of this machine and against every peer that is installed, in one run.

    python benchmarks/bench_kernels.py                                   10 networks, 5 batch sizes, all peers
    python benchmarks/bench_kernels.py --widths 64 --depths 4            one network
    python benchmarks/bench_kernels.py --points 1 64 --peers openvino    one peer; --peers alone for none
    python benchmarks/bench_kernels.py --grade fast                      our kernels with the cheaper tanh

Prints Markdown tables and the measures that the kernels are held to, and writes every figure to `--out`. README.md
beside this file states the protocol.
"""

from __future__ import annotations

import argparse
import gc
import json
import math
import os
import platform
import re
import shlex
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from itertools import pairwise
from pathlib import Path
from statistics import median, quantiles
from tempfile import TemporaryDirectory
from time import perf_counter_ns
from typing import Any, get_args

import numpy as np
from fma_peak import FmaPeak
from kernel_report import OURS, OURS_IN_C, OURS_ON_TWO, Cells, Row, Time, verdict_table
from numpy.typing import NDArray

from kdpinn_edge.bundle.manifest import PROGRAM_FILE, Grade, read_manifest
from kdpinn_edge.bundle.parity import Parity
from kdpinn_edge.bundle.probe import probe_points
from kdpinn_edge.comparison.backend import Call, Case, CFunction
from kdpinn_edge.comparison.backends import BACKENDS
from kdpinn_edge.errors import BenchError
from kdpinn_edge.export.bundle import export_bundle
from kdpinn_edge.files import write_whole
from kdpinn_edge.program.file import read_program
from kdpinn_edge.program.interp import interpret
from kdpinn_edge.program.ir import Affine, Map, Op, Program, Var
from kdpinn_edge.runtime import load
from kdpinn_edge.runtime.c_harness import CHarness, compiled_harness
from kdpinn_edge.runtime.timing import Latency

Array = NDArray[Any]
Sampler = Callable[[float], tuple[float, int]]
"""`sampler(seconds)` measures for about so long: the median nanoseconds of one call, and the number of samples."""

WIDTHS, DEPTHS, POINTS = (16, 20, 32, 64, 128), (3, 4), (1, 64, 1024, 10_000, 100_000)
SAMPLE_NS = 20_000  # a sample takes at least so long, in as many calls as that needs: the clock is below 1 % of it
LEAST_SAMPLES = 3
N_TWO_THREADS = 100_000
PACKAGES = ("kdpinn-edge", "numpy", "llvmlite", "numba", "onnx", "cffi")
PEERS = {backend.name: backend for backend in BACKENDS if backend.promise == "same function"}


@dataclass(frozen=True)
class Net:
    """One network: `depth` tanh layers of `width` between 2 inputs and 1 output; peers get it as `case`.

    Values further than `allowed_error` from the float64 Program are not this network's.
    """

    width: int
    depth: int
    case: Case
    allowed_error: float

    def __str__(self) -> str:
        return f"{self.depth}×{self.width}"

    @property
    def program(self) -> Program:
        """Its Program."""
        return self.case.program

    @property
    def bundle(self) -> Path:
        """The bundle with its library and its ONNX model."""
        return self.case.bundle

    @property
    def multiply_adds(self) -> int:
        """Multiply-adds of the matrix products per point."""
        return sum(op.weight.size for op in self.program.ops if isinstance(op, Affine))


def mlp(width: int, depth: int) -> Program:
    """`depth` tanh layers of `width` neurons from x (2) to u (1), with random weights of Xavier's variance."""
    rng = np.random.default_rng(0)
    x = v = Var("x", 2)
    ops: list[Op] = []
    for i, (n_in, n_out) in enumerate(pairwise((2, *[width] * depth, 1))):
        weight = rng.normal(0, np.sqrt(2 / (n_in + n_out)), (n_out, n_in))
        z = Var(f"z{i}", n_out)
        ops.append(Affine(z, v, weight, rng.normal(0, 0.1, n_out)))
        v = Var(f"v{i}", n_out)
        ops.append(Map(v, z, "tanh"))
    return Program(f"mlp_{depth}x{width}", (x,), (z,), tuple(ops[:-1]))


def exported(width: int, depth: int, folder: Path, grade: Grade = "accurate") -> Net:
    """The network and its bundle. Raises BenchError if the library does not return the bits of the NumPy program."""
    bundle = folder / f"{depth}x{width}"
    export_bundle(mlp(width, depth), bundle, name="kernel", grade=grade)
    products = folder / f"{depth}x{width}_peers"
    products.mkdir()
    case = Case(bundle, read_manifest(bundle), read_program(bundle / PROGRAM_FILE), products)
    parity = Parity(case.program, case.manifest)
    if not parity.is_exact(load(bundle)(parity.x)):
        raise BenchError(f"{depth}×{width}: the library returns other bits than the NumPy program")
    return Net(width, depth, case, parity.allowed)


class Contest:
    """Those that evaluate one network at the same n points. Each enters with values that are found right."""

    def __init__(self, net: Net, n: int, harness: CHarness | None = None) -> None:
        self.net, self.n, self._harness = net, n, harness
        self.x = probe_points(net.case.manifest.inputs, n, seed=3).astype(np.float32)
        self._exact = interpret(net.program, self.x)
        self._outputs: list[Array] = []  # not every peer keeps the memory alive that it was told to write to
        self.samplers: dict[str, Sampler] = {}
        self.errors: dict[str, float] = {}

    def enter(self, name: str, bind: Callable[[Array, Array], Call | CFunction]) -> None:
        """An engine that is called from Python, or in the C program's loop."""
        y = np.full(self._exact.shape, np.nan, np.float32)
        self._outputs.append(y)
        call = bind(self.x, y)
        if isinstance(call, CFunction):
            if self._harness is None:
                raise BenchError("needs the C program's loop, which cannot be compiled here")
            self.enter_c_loop(name, partial(self._harness.time_library, call.library, call.name, n_out=1))
            return
        result = call()
        self._admit(name, y if result is None else np.asarray(result), in_process(call))

    def enter_c_loop(self, name: str, timed: Callable[..., tuple[Latency, Array]]) -> None:
        """A library in harness.c: `timed(x, seconds=…)`."""

        def sampler(seconds: float) -> tuple[float, int]:
            latency, _ = timed(self.x, seconds=seconds)
            return latency.p50_ns, latency.samples

        self._admit(name, timed(self.x, seconds=1e-3)[1], sampler)

    def _admit(self, name: str, values: Array, sampler: Sampler) -> None:
        if values.dtype != np.float32:
            raise BenchError(f"returns {values.dtype}; expected: float32")
        error = float(np.abs(values.reshape(self._exact.shape) - self._exact).max())
        if not error <= self.net.allowed_error:
            raise BenchError(f"is off by {error:.2g} from the float64 Program; expected: {self.net.allowed_error:.2g}")
        self.samplers[name], self.errors[name] = sampler, error


def in_process(call: Call) -> Sampler:
    """Samples of a call made from Python, the garbage collector off, after one call that is not timed."""

    def sample(batch: int) -> float:
        start_ns = perf_counter_ns()
        for _ in range(batch):
            call()
        return (perf_counter_ns() - start_ns) / batch

    def sampler(seconds: float) -> tuple[float, int]:
        gc.disable()
        try:
            call()
            end_ns = perf_counter_ns() + seconds * 1e9
            samples = [sample(1) for _ in range(LEAST_SAMPLES)]
            batch = math.ceil(SAMPLE_NS / min(samples))
            if batch > 1:
                samples.clear()
            while len(samples) < LEAST_SAMPLES or perf_counter_ns() < end_ns:
                samples.append(sample(batch))
        finally:
            gc.enable()
        return median(samples), len(samples)

    return sampler


def take_turns(samplers: Mapping[str, Sampler], seconds: float, rounds: int) -> dict[str, Time]:
    """The Time of each: all measure once in every round, and another one begins each round."""
    names = list(samplers)
    turns: dict[str, list[tuple[float, int]]] = {name: [] for name in names}
    for i in range(rounds):
        first = i % len(names)
        for name in names[first:] + names[:first]:
            turns[name].append(samplers[name](seconds / rounds))
    times = {}
    for name, found in turns.items():
        medians = [ns for ns, _ in found]
        q1, _, q3 = quantiles(medians, n=4, method="inclusive")
        times[name] = Time(min(medians), q1, q3, sum(samples for _, samples in found))
    return times


@contextmanager
def on_cores(cores: set[int]) -> Iterator[None]:
    """This thread on `cores`, and with it every thread and process that it starts."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cores)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def two_threads(contest: Contest, cores: set[int]) -> None:
    """Let our library take part on two threads, which may use all of `cores`; the others stay on their one."""
    with on_cores(cores):
        contest.enter(OURS_ON_TWO, partial(load(contest.net.bundle).bind, threads=2))
    sampler = contest.samplers[OURS_ON_TWO]

    def unbound(seconds: float) -> tuple[float, int]:
        with on_cores(cores):
            return sampler(seconds)

    contest.samplers[OURS_ON_TWO] = unbound


def contest_at(
    net: Net, n: int, peers: list[str], harness: CHarness | None, cores: set[int], absent: dict[str, str]
) -> Contest:
    """Everybody who can evaluate `net` at n points; who cannot goes into `absent` with the reason."""
    contest = Contest(net, n, harness)
    contest.enter(OURS, load(net.bundle).bind)
    if n == 1 and harness is not None:
        contest.enter_c_loop(OURS_IN_C, partial(harness.time, net.bundle))
    for name in peers:
        if PEERS[name].layer == "kernel in C" and (n > 1 or harness is None):
            continue
        try:
            contest.enter(name, PEERS[name].prepare(net.case, 1).bind)
        except Exception as error:  # whatever goes wrong in a peer, it is not in the comparison, and that is said
            absent[f"{name}, {net}, n = {n}"] = f"{type(error).__name__}: {error}"
    if n >= N_TWO_THREADS and len(cores) > 1:
        two_threads(contest, cores)
    return contest


def installed(names: list[str], absent: dict[str, str]) -> list[str]:
    """Those peers whose package is there; the others go into `absent`."""
    for name in names:
        for package in PEERS[name].packages:
            try:
                version(package)
            except PackageNotFoundError:
                absent[name] = f"not installed ({package})"
    return [name for name in names if name not in absent]


def machine() -> dict[str, str]:
    """What the figures depend on and the packages do not say."""
    cpu = re.search(r"^model name\s*:\s*(.+)$", Path("/proc/cpuinfo").read_text(), flags=re.M)
    try:
        cc = subprocess.run(["cc", "--version"], capture_output=True, text=True, check=True).stdout.splitlines()[0]  # noqa: S607
    except (OSError, subprocess.CalledProcessError):
        cc = "none"
    return {
        "cpu": cpu[1] if cpu else platform.machine(),
        "cores": str(os.cpu_count()),
        "system": platform.platform(),
        "python": platform.python_version(),
        "cc": cc,
    }


def versions() -> dict[str, str]:
    """The version of every package that takes part."""
    found = {}
    for package in dict.fromkeys((*PACKAGES, *(package for peer in PEERS.values() for package in peer.packages))):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def circumstances(
    script: str, arguments: list[str], options: argparse.Namespace, core: int, load_before: tuple[float, ...]
) -> dict[str, Any]:
    """What it takes to judge and to repeat a run: command, protocol, machine and versions."""
    return {
        "command": shlex.join(["python", f"benchmarks/{script}", *arguments]),
        "protocol": {
            "precision": "float32",
            "seconds": options.seconds,
            "rounds": options.rounds,
            "core": core,
            "load_before": load_before,
            "load_after": os.getloadavg(),
        },
        "machine": machine(),
        "versions": versions(),
    }


def write_document(path: Path, document: Mapping[str, Any]) -> None:
    """All of it as JSON, or no file."""
    write_whole(path, (json.dumps(document, indent=1, ensure_ascii=False, allow_nan=False) + "\n").encode())


def main(arguments: list[str]) -> None:
    """Measure, print, and write the JSON file."""
    options = _options(arguments)
    cores = os.sched_getaffinity(0)
    core = max(cores) if options.core is None else options.core
    absent: dict[str, str] = {}
    peers = installed(options.peers, absent)
    rows: list[Row] = []
    programs: dict[str, str] = {}
    load_before = os.getloadavg()
    with ExitStack() as stack:
        stack.enter_context(on_cores({core}))
        folder = Path(stack.enter_context(TemporaryDirectory()))
        try:
            harness = stack.enter_context(compiled_harness())
        except BenchError as error:
            harness = None
            absent["C loops"] = str(error)
        peak = FmaPeak()
        peak_gflops = 0.0
        for depth in options.depths:
            for width in options.widths:
                net = exported(width, depth, folder, options.grade)
                programs[str(net)] = net.program.sha256
                for n in options.points:
                    print(f"{net}, n = {n:,}", file=sys.stderr)
                    contest = contest_at(net, n, peers, harness, cores, absent)
                    samplers = {"peak": in_process(peak), **contest.samplers}
                    times = take_turns(samplers, options.seconds, options.rounds)
                    peak.check()
                    peak_gflops = max(peak_gflops, peak.flops / times.pop("peak").ns)
                    rows += [
                        Row(width, depth, n, name, net.multiply_adds, time, contest.errors[name])
                        for name, time in times.items()
                    ]
    cells = Cells(rows, peak_gflops)
    verdicts = cells.verdicts()
    document = {
        **circumstances("bench_kernels.py", arguments, options, core, load_before),
        "grade": options.grade,
        "peak": {"gflops": peak_gflops, "lanes": peak.lanes},
        "programs": programs,
        "rows": [{**asdict(row), **cells.derived(row)} for row in cells.rows],
        "absent": absent,
        "verdicts": [{**asdict(verdict), "holds": verdict.holds} for verdict in verdicts],
    }
    write_document(options.out, document)
    print(cells.tables(), verdict_table(verdicts), sep="\n\n")
    print(f"\nOur tanh is of the {options.grade} grade.")
    print(f"FMA peak {peak_gflops:.1f} GFLOP/s in {peak.lanes} lanes, {document['machine']['cpu']}; {options.out}")
    for name, reason in absent.items():
        print(f"absent: {name}: {reason}")


def _options(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--widths", type=int, nargs="+", default=WIDTHS, help="neurons per layer")
    parser.add_argument("--depths", type=int, nargs="+", default=DEPTHS, help="hidden layers")
    parser.add_argument("--points", type=int, nargs="+", default=POINTS, help="points per call")
    parser.add_argument("--grade", choices=get_args(Grade), default="accurate", help="of our tanh")
    parser.add_argument("--peers", nargs="*", choices=PEERS, default=list(PEERS), help="default: all")
    parser.add_argument("--seconds", type=float, default=0.7, help="per engine, network and n")
    parser.add_argument("--rounds", type=int, default=7, help="turns that each engine has, from 2")
    parser.add_argument("--core", type=int, help="the core to run on; default: the last")
    parser.add_argument("--out", type=Path, default=Path("bench_kernels.json"), help="the JSON file")
    options = parser.parse_args(arguments)
    if min(*options.points, options.seconds, options.rounds - 1) <= 0:
        parser.error("expected: points from 1, positive seconds, rounds from 2")
    return options


if __name__ == "__main__":
    main(sys.argv[1:])
