"""`measure(configs, protocol)`: a Record, turn by turn. An interrupted one goes on where it stopped."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from time import monotonic, sleep

import numpy as np

from kdpinn_edge.comparison.backend_config import BackendConfig, absence, admit, check_installed, start
from kdpinn_edge.comparison.background import Background, background
from kdpinn_edge.comparison.baseline import BASELINES
from kdpinn_edge.comparison.machine import conditions, this_machine, versions
from kdpinn_edge.comparison.plan import Turn, plan
from kdpinn_edge.comparison.record import (
    MODES,
    Absent,
    Block,
    Cell,
    Device,
    Entry,
    Mode,
    NoiseBaseline,
    Protocol,
    Record,
    read_record,
    write_record,
)
from kdpinn_edge.comparison.reference import Reference
from kdpinn_edge.comparison.sizes import installed_bytes
from kdpinn_edge.comparison.worker import Worker
from kdpinn_edge.errors import BenchError, listing

START_S = 2.0  # to start a process and load a backend: from 0.3 s to 30 s, guessed
SAVE_S = 2.0
SETTLE_S = 0.002  # between turns: what the last one woke goes back to sleep
BACKGROUND_S = 0.02  # until a background load is at work
BACKGROUND_AT_MOST_S = 60.0
TOO_SLOW_TURNS = 4  # of one call
SWEEP_S = 0.02
LEAST_CLOSED = 3
MOST_KEPT = 1250  # samples of a turn: eight turns have a p99.9
LONGEST_S = 0.4  # of a turn, for the sake of a tail
LEAST_PERIOD_NS = 200_000
DUTY = 3  # a period lasts at least so many calls
OWN_THREADS_MODES: tuple[Mode, ...] = ("closed", "first")
BASELINE_MODES: tuple[Mode, ...] = ("closed", "periodic", "periodic, load")
FLOOR = "nothing"


@dataclass(frozen=True)
class MeasurementProgress:
    """The progress of a run, in seconds of its estimate."""

    done_s: float
    total_s: float
    doing: str


def estimate_s(configs: Sequence[BackendConfig], protocol: Protocol) -> float:
    """Estimate the seconds that `measure` will take: backends that are slow to load or to call take longer."""
    turns = len(_turns(configs, protocol))
    return turns * _turn_s(protocol) + len(configs) * protocol.processes * START_S


def measure(
    configs: Sequence[BackendConfig],
    protocol: Protocol,
    *,
    name: str,
    out: Path | None = None,
    resume: bool = False,
    report: Callable[[MeasurementProgress], None] = lambda progress: None,
) -> Record:
    """Measure the backends `configs` as `protocol` has it; benchmarks/README.md says the rest.

    The record is in `out` from the first turn on, readable at every moment, and is_complete at the end; with `resume`
    the one that is there, if any, is continued. Raises BenchError for arguments that make no comparison, for a file
    `out` that exists where it is not resumed, and for one to resume that is of another bundle, machine, version or
    protocol; BundleError for a damaged bundle.
    """
    _check(configs, protocol)
    if out is not None and out.exists() and not resume:
        raise BenchError(f"{out} exists; expected: a new file, or --resume to continue the record in it")
    run = _Run(configs, protocol, name)
    if out is not None and out.exists():
        run.resume(read_record(out), out)
    run.measure(out, report)
    return run.record(is_complete=True)


class _Run:
    def __init__(self, configs: Sequence[BackendConfig], protocol: Protocol, name: str) -> None:
        self._configs = {config.name: config for config in configs}
        self._protocol, self._name = protocol, name
        self._turns = _turns(configs, protocol)
        self._machine = this_machine()
        self._references: dict[Path, Reference] = {}
        for config in configs:
            if config.bundle not in self._references:
                self._references[config.bundle] = Reference(config.bundle, config.rmse)
        self._entries: dict[str, Entry] = {}
        self._absent: dict[tuple[str, int | None], Absent] = {}
        self._cells: dict[tuple[str, int, Mode], Cell] = {}
        self._devices: tuple[Device, ...] = ()
        self._clocks_ns: dict[str, float] = {}
        self._conditions = [conditions()]
        self._paces: dict[tuple[str, int], tuple[int, float]] = {}
        self._first_process = 0
        self._done_s = 0.0

    def record(self, is_complete: bool) -> Record:
        keys = [key for key in _cells_of(self._configs.values(), self._protocol) if key in self._cells]
        return Record(
            name=self._name,
            protocol=self._protocol,
            machine=self._machine,
            versions=versions(("kdpinn-edge", "numpy")),
            subjects=tuple(reference.subject for reference in self._references.values()),
            entries=tuple(self._entries[name] for name in self._configs if name in self._entries),
            absent=tuple(self._absent.values()),
            cells=tuple(self._cells[key] for key in keys if key[0] in self._entries),
            baselines=tuple(
                NoiseBaseline(
                    backend.layer,
                    self._clocks_ns[backend.name],
                    tuple(replace(self._cells[key], entry=FLOOR) for key in keys if key[0] == backend.name),
                )
                for backend in BASELINES
                if backend.name in self._clocks_ns
            ),
            conditions=(*self._conditions, conditions()),
            is_complete=is_complete,
            devices=self._devices,
        )

    def resume(self, earlier: Record, path: Path) -> None:
        """Take over what `earlier` has. Raises BenchError unless it is a part of this run."""
        here, faults = self.record(is_complete=False), []
        for field in ("name", "protocol", "machine", "versions", "subjects"):
            found, expected = getattr(earlier, field), getattr(here, field)
            if found != expected:
                faults.append(f"{field}: {found!r}, and here {expected!r}")
        known = {entry.name for entry in earlier.entries} | {absent.name for absent in earlier.absent}
        if earlier.entries and known != self._configs.keys():
            faults.append(f"backends: {', '.join(sorted(known))}, and here {', '.join(self._configs)}")
        if faults:
            raise BenchError(
                f"{path} is the record of another run: {listing(faults)}\nExpected: the same bundle, options, versions "
                "and machine; or another file."
            )
        self._entries = {entry.name: entry for entry in earlier.entries}
        self._absent = {(absent.name, absent.n): absent for absent in earlier.absent}
        self._cells = {(cell.entry, cell.n, cell.mode): cell for cell in earlier.cells}
        for baseline in earlier.baselines:
            (backend,) = (b for b in BASELINES if b.layer == baseline.layer)
            self._clocks_ns[backend.name] = baseline.clock_ns
            for cell in baseline.cells:
                self._cells[backend.name, cell.n, cell.mode] = replace(cell, entry=backend.name)
        self._devices = earlier.devices
        self._conditions = [*earlier.conditions, *self._conditions]
        self._first_process = 1 + max((b.process for c in self._cells.values() for b in c.blocks), default=-1)

    def measure(self, out: Path | None, report: Callable[[MeasurementProgress], None]) -> None:
        """Take every turn that is not yet in the record, and keep `out` up to date."""
        done = {block.turn for cell in self._cells.values() for block in cell.blocks}
        todo = [turn for turn in self._turns if turn.index not in done and not self._is_absent(turn)]
        processes = sorted({turn.process for turn in todo})
        total_s = len(todo) * _turn_s(self._protocol) + len(processes) * len(self._configs) * START_S

        def advance(seconds: float, doing: str) -> None:
            report(MeasurementProgress(self._done_s, total_s, doing))
            self._done_s += seconds

        with ExitStack() as stack:
            folder = Path(stack.enter_context(TemporaryDirectory(prefix="kdpinn_edge_", ignore_cleanup_errors=True)))
            for number in range(len(self._configs) + len(BASELINES)):
                (folder / str(number)).mkdir()
            load = stack.enter_context(background(self._machine.affinity))
            for process in processes:
                with ExitStack() as those:
                    workers = self._start(process, folder, those, advance)
                    self._take_turns([t for t in todo if t.process == process], workers, load, out, advance)
            report(MeasurementProgress(total_s, total_s, "done"))
        if out is not None:
            write_record(self.record(is_complete=True), out)

    def _take_turns(
        self,
        turns: Sequence[Turn],
        workers: dict[str, Worker],
        load: Background,
        out: Path | None,
        advance: Callable[[float, str], None],
    ) -> None:
        saved_s = monotonic()
        try:
            for turn in turns:
                advance(_turn_s(self._protocol), f"{turn.entry}, {turn.n:,} points, {turn.mode}")
                if turn.entry in workers and not self._is_absent(turn):
                    try:
                        self._take(turn, workers[turn.entry], load)
                    except BenchError as error:
                        del workers[turn.entry]
                        self._leave_out(turn.entry, error)
                if out is not None and monotonic() - saved_s > SAVE_S:
                    write_record(self.record(is_complete=False), out)
                    saved_s = monotonic()
        finally:
            if out is not None:
                write_record(self.record(is_complete=False), out)

    def _start(
        self, process: int, folder: Path, stack: ExitStack, advance: Callable[[float, str], None]
    ) -> dict[str, Worker]:
        """A loaded worker for every backend that keeps its promise, and for the baselines, started in random order."""
        label, workers = self._first_process + process, {}
        names = list(self._configs)
        for k in np.random.default_rng((self._protocol.seed, process)).permutation(len(names)):
            config = self._configs[names[k]]
            advance(START_S, f"loading {config.name}")
            if (config.name, None) in self._absent:
                continue
            try:
                workers[config.name] = self._admit(config, label, folder, stack)
            except BenchError as error:
                self._leave_out(config.name, error)
        some = next(iter(self._configs.values()))
        for backend in BASELINES:
            baseline = BackendConfig(backend.name, backend, some.bundle)
            try:
                worker = start(baseline, self._machine.affinity, folder / str(self._number(baseline.name)), stack)
                x = self._references[some.bundle].points(1)
                worker.load(x)
                worker.bind(x)
                clock_ns = worker.clock_ns(1)
            except BenchError:
                continue  # no C compiler, which the backends that need it say
            self._clocks_ns[backend.name] = min(clock_ns, self._clocks_ns.get(backend.name, clock_ns))
            workers[backend.name] = worker
        return workers

    def _admit(self, config: BackendConfig, label: int, folder: Path, stack: ExitStack) -> Worker:
        """A worker whose values are right at the probe points; each n at which they are not is left out."""
        backend, reference = config.backend, self._references[config.bundle]
        check_installed(backend)
        worker = start(config, self._machine.affinity, folder / str(self._number(config.name)), stack)
        loaded, error = admit(worker, config, reference)
        for n in self._protocol.n_points:
            if (config.name, n) in self._absent:
                continue
            try:
                bound = worker.bind(reference.points(n))
                reference.judge_timed(bound.values, n, backend.promise)
                self._check_pace(bound.first_ns, bound.second_ns)
            except BenchError as fault:
                self._leave_out(config.name, fault, n)
                continue
            if "first" in self._protocol.modes:
                self._add((config.name, n, "first"), 1, None, Block(-1, label, (round(bound.first_ns, 1),)))
        starts = self._entries[config.name].starts if config.name in self._entries else ()
        self._entries[config.name] = Entry(
            name=config.name,
            backend=backend.name,
            subject=reference.subject.name,
            threads=config.threads,
            layer=backend.layer,
            promise=backend.promise,
            error=error,
            threads_set=loaded.threads,
            cpus=config.cpus(self._machine.affinity),
            versions=versions(backend.packages),
            artifact_bytes=loaded.artifact_bytes,
            installed_bytes=installed_bytes(backend.runtime),
            starts=(*starts, loaded.start),
        )
        return worker

    def _take(self, turn: Turn, worker: Worker, load: Background) -> None:
        """Measure one turn and keep its samples."""
        sleep(SETTLE_S)
        pace, key = (turn.entry, turn.n), (turn.entry, turn.n, turn.mode)
        if pace not in self._paces:
            self._paces[pace] = worker.find_batch(turn.n)
        batch, call_ns = self._paces[pace]
        earlier = self._cells.get(key)
        turn_ns = self._protocol.turn_seconds * 1e9
        period_ns = None
        match turn.mode:
            case "closed":
                batch = earlier.batch if earlier else batch
                count = max(LEAST_CLOSED, round(turn_ns / (batch * call_ns)))
                samples = worker.sample(turn.n, "closed", batch, count)[:: -(-count // MOST_KEPT)]
            case "cold":
                batch, count = 1, max(1, round(turn_ns / (call_ns + SWEEP_S * 1e9)))
                samples = worker.sample(turn.n, "cold", 2 * self._machine.cache_bytes, count)
            case _:
                period_ns = (earlier.period_ns if earlier else None) or period_for(call_ns)
                batch, count = 1, max(self._least_samples(turn.entry, period_ns), round(turn_ns / period_ns))
                with load.running(BACKGROUND_AT_MOST_S) if turn.mode == "periodic, load" else nullcontext():
                    sleep(BACKGROUND_S)
                    samples = worker.sample(turn.n, "periodic", period_ns, count)
        kept = tuple(np.round(samples, 1).tolist())
        self._add(key, batch, period_ns, Block(turn.index, self._first_process + turn.process, kept))

    def _least_samples(self, entry: str, period_ns: int) -> int:
        """How many periodic calls a turn has at least."""
        config, turns = self._configs.get(entry), self._protocol.processes * self._protocol.rounds
        needed = -(-self._protocol.least_samples // turns)
        wanted = -(-config.tail_samples // turns) if config else 1
        return max(needed, wanted if wanted * period_ns <= LONGEST_S * 1e9 else 1)

    def _add(self, key: tuple[str, int, Mode], batch: int, period_ns: int | None, block: Block) -> None:
        cell = self._cells.get(key, Cell(*key, batch, period_ns, ()))
        self._cells[key] = replace(cell, blocks=(*cell.blocks, block))

    def _check_pace(self, first_ns: float, second_ns: float) -> None:
        limit_ns = TOO_SLOW_TURNS * self._protocol.turn_seconds * 1e9
        if min(first_ns, second_ns) > limit_ns:
            raise BenchError(f"one call takes {second_ns / 1e9:.2g} s; expected: up to {limit_ns / 1e9:.2g} s")

    def _leave_out(self, name: str, error: BenchError, n: int | None = None) -> None:
        """List the backend `name` as absent, at n points or, with all that it has measured, altogether."""
        self._absent[name, n] = absence(name, error, n)
        if n is None:
            self._entries.pop(name, None)
        self._cells = {key: c for key, c in self._cells.items() if key[0] != name or n not in (None, key[1])}

    def _is_absent(self, turn: Turn) -> bool:
        return not self._absent.keys().isdisjoint({(turn.entry, None), (turn.entry, turn.n)})

    def _number(self, name: str) -> int:
        return [*self._configs, *(backend.name for backend in BASELINES)].index(name)


def period_for(call_ns: float) -> int:
    """The least period, 1, 2 or 5 times a power of ten nanoseconds, in which the processor is idle most of the time."""
    wanted = max(DUTY * call_ns, LEAST_PERIOD_NS)
    power: int = 10 ** math.floor(math.log10(wanted))
    return min(k * power for k in (1, 2, 5, 10) if k * power >= wanted)


def _cells_of(configs: Iterable[BackendConfig], protocol: Protocol) -> list[tuple[str, int, Mode]]:
    """Every cell (entry, n, mode) of the record, in its order; the baselines' at the end."""
    cells = [
        (config.name, n, mode)
        for config in configs
        for n in protocol.n_points
        for mode in protocol.modes
        if config.threads is not None or mode in OWN_THREADS_MODES
    ]
    return cells + [
        (backend.name, 1, mode) for backend in BASELINES for mode in protocol.modes if mode in BASELINE_MODES
    ]


def _turns(configs: Iterable[BackendConfig], protocol: Protocol) -> list[Turn]:
    """The plan, which is the same whatever the order of the backends: a record that is resumed names its turns."""
    ordered = sorted(configs, key=lambda config: config.name)
    return plan(protocol, [cell for cell in _cells_of(ordered, protocol) if cell[2] != "first"])


def _turn_s(protocol: Protocol) -> float:
    return protocol.turn_seconds + SETTLE_S + BACKGROUND_S


def _check(configs: Sequence[BackendConfig], protocol: Protocol) -> None:
    """Raise BenchError for what makes no comparison."""
    faults = []
    if not protocol.n_points or min(protocol.n_points) < 1 or len(set(protocol.n_points)) < len(protocol.n_points):
        faults.append(f"n_points={protocol.n_points}; expected: at least one n, from 1, each once")
    if not protocol.modes:
        faults.append(f"no mode; expected: some of {', '.join(MODES)}")
    if protocol.processes < 1 or protocol.rounds < 1 or not protocol.turn_seconds > 0 or protocol.deadline_ns < 1:
        faults.append(
            f"processes={protocol.processes}, rounds={protocol.rounds}, turn_seconds={protocol.turn_seconds}, "
            f"deadline_ns={protocol.deadline_ns}; expected: all from 1, or above 0"
        )
    names = [config.name for config in configs]
    if not names or len(set(names)) < len(names):
        faults.append(f"backends: {', '.join(names) or 'none'}; expected: at least one, each once")
    if faults:
        raise BenchError(listing(faults))
