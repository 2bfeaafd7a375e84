"""`measure(configs, protocol)`: a Record, turn by turn. An interrupted one goes on where it stopped."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, nullcontext, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from time import monotonic, sleep
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kdpinn_edge.comparison.backend_config import BackendConfig, absence, admit, check_installed, start
from kdpinn_edge.comparison.background import Background, background
from kdpinn_edge.comparison.baseline import BASELINES
from kdpinn_edge.comparison.machine import conditions, this_machine, versions
from kdpinn_edge.comparison.plan import Timetable, Turn, plan
from kdpinn_edge.comparison.record import (
    KNOWN_WORK,
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
)
from kdpinn_edge.comparison.record_file import read_record, write_record
from kdpinn_edge.comparison.reference import Reference
from kdpinn_edge.comparison.sizes import installed_bytes
from kdpinn_edge.comparison.statistics import REFERENCE
from kdpinn_edge.comparison.worker import Bound, Loaded, Worker
from kdpinn_edge.errors import BenchError, listing
from kdpinn_edge.files import check_folder
from kdpinn_edge.runtime.timing import Pace

LOAD_S, LOAD_ALL_S = 0.8, 3.0  # to start and load one of many backends, and whatever their number is: guessed
MOST_RELOADING = 0.15  # of the time of a run, to load one backend in every generation
SAVE_S = 2.0
SETTLE_S = 0.002  # between turns: what the last one woke goes back to sleep
BACKGROUND_S = 0.02  # until a background load is at work
BACKGROUND_AT_MOST_S = 60.0
TOO_SLOW_TURNS = 8  # of one call
SWEEP_S = 0.02
MOST_KEPT = 1250  # samples of a turn: eight turns have a p99.9
LONGEST_S = 0.4  # of a turn, for the sake of a tail
LEAST_PERIOD_NS = 200_000
DUTY = 3  # a period lasts at least so many calls
OWN_THREADS_MODES: tuple[Mode, ...] = ("closed", "first")
BASELINE_MODES: tuple[Mode, ...] = ("closed", "periodic", "periodic, load")
FLOOR = "nothing"
TOO_LONG_LOADING = (
    "was not loaded within {:.0f} s; expected: a machine with less work, or fewer backends, named with --backend"
)


@dataclass(frozen=True)
class MeasurementProgress:
    """The progress of a run: seconds since it began, and those that it is planned to take."""

    done_s: float
    total_s: float
    doing: str


def estimate_s(configs: Sequence[BackendConfig], protocol: Protocol) -> float:
    """The seconds that `measure` will take: it keeps to them where the protocol has a budget."""
    loading_s = protocol.processes * (LOAD_ALL_S + LOAD_S * len(configs))
    needed_s = loading_s + len(_turns(configs, protocol)) * _turn_s(protocol)
    return needed_s if protocol.budget_s is None else min(needed_s, protocol.budget_s)


def measure(
    configs: Sequence[BackendConfig],
    protocol: Protocol,
    *,
    name: str,
    out: Path | None = None,
    resume: bool = False,
    force: bool = False,
    report: Callable[[MeasurementProgress], None] = lambda progress: None,
) -> Record:
    """Measure the backends `configs` as `protocol` has it; benchmarks/README.md says the rest.

    Calls are paired with those of the library of the smallest model among them. The record is in `out` from the
    beginning on, readable at every moment, and is_complete at the end; with `resume` the one that is there, if any, is
    continued, with `force` it is replaced. Raises BenchError for arguments that make no comparison, as `check_out`
    does, and for a record to resume that is of another bundle, machine, version or protocol; BundleError for a damaged
    bundle.
    """
    _check(configs, protocol)
    if out is not None:
        check_out(out, resume=resume, force=force)
    run = _Run(configs, protocol, name)
    if out is not None and out.exists() and resume:
        earlier = read_record(out)
        run.resume(earlier, out)
        if earlier.is_complete:
            report(MeasurementProgress(0.0, 0.0, "done"))
            return run.record(is_complete=True)
    run.measure(out, report)
    return run.record(is_complete=True)


def check_out(out: Path, *, resume: bool, force: bool) -> None:
    """Raise BenchError unless `out` is new, or is a record, which `resume` continues or `force` replaces."""
    check_folder(out, BenchError)
    if resume and force:
        raise BenchError("--force begins a new record and --resume goes on with one; expected: one of them")
    if not out.exists():
        return
    read_record(out)
    if not resume and not force:
        raise BenchError(
            f"{out} already holds a record; expected: a new file. Name another one, continue the record by --resume, "
            "or replace it by --force (in Python force=True)."
        )


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
        self._smallest = min(self._references, key=lambda bundle: self._references[bundle].subject.multiply_adds)
        self._entries: dict[str, Entry] = {}
        self._absent: dict[tuple[str, int | None], Absent] = {}
        self._cells: dict[tuple[str, int, Mode], Cell] = {}
        self._devices: tuple[Device, ...] = ()
        self._clocks_ns: dict[str, float] = {}
        self._conditions = [conditions()]
        self._paces: dict[tuple[str, int], tuple[Pace, Pace]] = {}
        self._first_process = 0

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
        """Take the turns that are not yet in the record, as the timetable has them, and keep `out` up to date."""
        done = {block.turn for cell in self._cells.values() for block in cell.blocks}
        todo = [turn for turn in self._turns if turn.index not in done and not self._is_absent(turn)]
        processes = sorted({turn.process for turn in todo})
        planned_s = estimate_s(list(self._configs.values()), self._protocol) * len(todo) / max(len(self._turns), 1)
        table = Timetable(
            planned_s,
            len(processes),
            self._protocol.turn_seconds,
            is_binding=self._protocol.budget_s is not None,
        )

        def advance(doing: str) -> None:
            report(MeasurementProgress(min(table.elapsed_s, planned_s), planned_s, doing))

        self._save(out)
        with ExitStack() as stack:
            folder = Path(stack.enter_context(TemporaryDirectory(prefix="kdpinn_edge_", ignore_cleanup_errors=True)))
            for number in range(len(self._configs) + len(BASELINES)):
                (folder / str(number)).mkdir()
            cpus = self._machine.affinity if "periodic, load" in self._protocol.modes else ()
            load = stack.enter_context(background(cpus))
            pool = stack.enter_context(ThreadPoolExecutor(len(self._configs) + len(BASELINES)))
            end = stack.enter_context(ExitStack())  # of all processes, before the pool, whose threads wait for them
            workers: dict[str, _Running] = {}
            for generation, process in enumerate(processes):
                turns = [turn for turn in todo if turn.process == process]
                if not table.has_time_to_load(generation, len(turns)):
                    break
                earlier = {name: running for name, running in workers.items() if self._stays(running)}
                for name in workers.keys() - earlier.keys():
                    workers[name].end.close()
                started = self._start(process, earlier.keys(), folder, pool, end, advance)
                workers = earlier | started
                self._save(out)
                table.loaded(generation, len(turns), self._share_again(started.values()))
                self._take_turns(turns, workers, load, table, out, advance)
        report(MeasurementProgress(planned_s, planned_s, "done"))
        if out is not None:
            write_record(self.record(is_complete=True), out)

    def _stays(self, running: _Running) -> bool:
        """Whether a process goes on in the next generation: to load its backend in each would take too much of the
        time.
        """
        budget_s = self._protocol.budget_s
        return budget_s is not None and running.loading_s * self._protocol.processes > MOST_RELOADING * budget_s

    def _share_again(self, started: Collection[_Running]) -> float:
        """The share of the loading of these processes that the next generation has again."""
        whole_s = sum(running.loading_s for running in started)
        return sum(running.loading_s for running in started if not self._stays(running)) / whole_s if whole_s else 1.0

    def _take_turns(
        self,
        turns: Sequence[Turn],
        workers: dict[str, _Running],
        load: Background,
        table: Timetable,
        out: Path | None,
        advance: Callable[[str], None],
    ) -> None:
        """Take `turns` of one generation, lap by lap, while there is time."""
        saved_s, left = monotonic(), len(turns)
        try:
            for lap in sorted({turn.lap for turn in turns}):
                those = [turn for turn in turns if turn.lap == lap]
                if not table.has_time(lap, len(those)):
                    return
                for turn in those:
                    if table.is_over(lap):
                        return
                    if turn.entry in workers and not self._is_absent(turn):
                        advance(f"{turn.entry}, {turn.n:,} points, {turn.mode}")
                        try:
                            self._take(turn, workers[turn.entry], load, table.turn_s(left, SETTLE_S))
                        except BenchError as error:
                            del workers[turn.entry]
                            self._leave_out(turn.entry, error)
                    left -= 1
                    if monotonic() - saved_s > SAVE_S:
                        self._save(out)
                        saved_s = monotonic()
        finally:
            self._save(out)

    def _save(self, out: Path | None) -> None:
        if out is not None:
            write_record(self.record(is_complete=False), out)

    def _start(
        self,
        process: int,
        earlier: Collection[str],
        folder: Path,
        pool: ThreadPoolExecutor,
        end: ExitStack,
        advance: Callable[[str], None],
    ) -> dict[str, _Running]:
        """A loaded worker for every backend that keeps its promise, but for the `earlier` ones, which run; and for the
        baselines. They are started in random order.

        All load at once: what their loading takes is measured on the core, so that they do not see each other in it.
        Those that are not loaded as soon as the protocol wants are left out.
        """
        begun_s, longest_s = monotonic(), self._protocol.loading_s
        label, running = self._first_process + process, {}
        names = list(self._configs)
        order = [names[k] for k in np.random.default_rng((self._protocol.seed, process)).permutation(len(names))]
        loading: dict[str, tuple[Worker, ExitStack, Future[_Admitted]]] = {}
        advance(f"loading {len(names) - len(earlier)} backends")
        for name in order:
            if name not in earlier and (name, None) not in self._absent:
                config, own_end = self._configs[name], end.enter_context(ExitStack())
                cpus = config.cpus(self._machine.affinity, names.index(name) + process)
                try:
                    check_installed(config.backend)
                    worker = start(config, self._partner(config), cpus, folder / self._number(name), own_end)
                except BenchError as error:
                    self._leave_out(name, error)
                    continue
                loading[name] = worker, own_end, pool.submit(self._admit, config, cpus, worker)
        floors = self._baselines(folder, end, pool) if process == 0 else {}
        for name, (worker, own_end, admitted) in loading.items():
            advance(f"loading {name}")
            left_s = None if longest_s is None else max(longest_s - (monotonic() - begun_s), 0.0)
            try:
                self._enter(self._configs[name], label, admitted.result(left_s))
                running[name] = _Running(worker, label, worker.cpu_s(), own_end)
            except BenchError as error:
                self._leave_out(name, error)
            except TimeoutError:
                worker.kill()
                self._leave_out(name, BenchError(TOO_LONG_LOADING.format(longest_s)))
        for name, (worker, own_end, clock_ns) in floors.items():
            with suppress(BenchError, TimeoutError):  # no C compiler, which the backends that need it say
                self._clocks_ns[name] = clock_ns.result(longest_s)
                running[name] = _Running(worker, label, worker.cpu_s(), own_end)
        return running

    def _baselines(
        self, folder: Path, end: ExitStack, pool: ThreadPoolExecutor
    ) -> dict[str, tuple[Worker, ExitStack, Future[float]]]:
        """Workers for the calls that do nothing, what ends them, and what reading the clock costs in them."""
        found, x = {}, self._references[self._smallest].points(1)

        def load(worker: Worker) -> float:
            worker.load(x)
            worker.bind(x)
            return worker.clock_ns(1)

        for backend in BASELINES:
            baseline = BackendConfig(backend.name, backend, self._smallest)
            cpus = baseline.cpus(self._machine.affinity, 0)
            own_end = end.enter_context(ExitStack())
            worker = start(baseline, None, cpus, folder / self._number(backend.name), own_end)
            found[backend.name] = worker, own_end, pool.submit(load, worker)
        return found

    def _partner(self, config: BackendConfig) -> Path | None:
        """The bundle whose library the calls of `config` are paired with; None for that library itself."""
        is_it = config.backend.name == REFERENCE[config.backend.layer] and config.threads == 1
        return None if is_it and config.bundle == self._smallest else self._smallest

    def _admit(self, config: BackendConfig, cpus: tuple[int, ...], worker: Worker) -> _Admitted:
        """Load `worker` and call it at each n; its values are right at the probe points, or BenchError is raised."""
        reference = self._references[config.bundle]
        loaded, error = admit(worker, config, reference)
        bound: dict[int, Bound | BenchError] = {}
        for n in self._protocol.n_points:
            if (config.name, n) not in self._absent:
                try:
                    bound[n] = worker.bind(reference.points(n))
                except BenchError as fault:
                    bound[n] = fault
        return _Admitted(cpus, loaded, error, bound)

    def _enter(self, config: BackendConfig, label: int, admitted: _Admitted) -> None:
        """Take a backend into the comparison; each n at which its values are wrong is left out."""
        backend, reference, loaded = config.backend, self._references[config.bundle], admitted.loaded
        for n, bound in admitted.bound.items():
            try:
                if isinstance(bound, BenchError):
                    raise bound
                reference.judge_timed(bound.values, n, backend.promise)
                self._check_pace(bound.first_ns, bound.second_ns)
            except BenchError as fault:
                self._leave_out(config.name, fault, n)
                continue
            if "first" in self._protocol.modes:
                self._add((config.name, n, "first"), 1, None, Block(-1, label, (round(bound.first_ns, 1),)))
        earlier = self._entries.get(config.name)
        self._entries[config.name] = Entry(
            name=config.name,
            backend=backend.name,
            subject=reference.subject.name,
            threads=config.threads,
            layer=backend.layer,
            promise=backend.promise,
            is_deployed=backend.is_deployed,
            partner=REFERENCE[backend.layer] if loaded.is_paired else KNOWN_WORK,
            error=admitted.error,
            threads_set=loaded.threads,
            cpus=tuple(sorted({*(earlier.cpus if earlier else ()), *admitted.cpus})),
            versions=versions(backend.packages),
            artifact_bytes=loaded.artifact_bytes,
            installed_bytes=installed_bytes(backend.runtime),
            starts=(*(earlier.starts if earlier else ()), loaded.start),
        )

    def _take(self, turn: Turn, running: _Running, load: Background, seconds: float) -> None:
        """Measure one turn of so many seconds and keep its samples."""
        sleep(SETTLE_S)
        worker, process, index = running.worker, running.label, turn.index
        key = (turn.entry, turn.n, turn.mode)
        if key[:2] not in self._paces:
            self._paces[key[:2]] = worker.paces(turn.n)
        own, partner = self._paces[key[:2]]
        earlier = self._cells.get(key)
        match turn.mode:
            case "closed":
                own = replace(own, batch=earlier.batch) if earlier else own
                pairs, disturbance = worker.paired(turn.n, (own, partner), seconds)
                kept = pairs.samples_ns[:: -(-len(pairs.samples_ns) // MOST_KEPT)]
                those = tuple((a, b, work) for a, b, work in _rounded(pairs.pairs_ns, digits=2))
                block = Block(index, process, tuple(_rounded(kept)), pairs_ns=those, disturbance=disturbance)
                self._add(key, own.batch, None, block)
            case "cold":
                count = max(1, round(seconds * 1e9 / (own.call_ns + SWEEP_S * 1e9)))
                samples, disturbance = worker.sample(turn.n, "cold", 2 * self._machine.cache_bytes, count)
                self._add(key, 1, None, Block(index, process, tuple(_rounded(samples)), disturbance=disturbance))
            case _:
                period_ns = (earlier.period_ns if earlier else None) or period_for(own.call_ns)
                count = max(self._least_samples(turn.entry, period_ns, seconds), round(seconds * 1e9 / period_ns))
                with load.running(BACKGROUND_AT_MOST_S) if turn.mode == "periodic, load" else nullcontext():
                    sleep(BACKGROUND_S if turn.mode == "periodic, load" else 0)
                    samples, disturbance = worker.sample(turn.n, "periodic", period_ns, count)
                late, on_core = (tuple(_rounded(column)) for column in samples.T)
                block = Block(index, process, late, on_core_ns=on_core, disturbance=disturbance)
                self._add(key, 1, period_ns, block)

    def _least_samples(self, entry: str, period_ns: int, seconds: float) -> int:
        """How many periodic calls a turn of so many seconds has at least."""
        config, turns = self._configs.get(entry), self._protocol.processes * self._protocol.rounds
        needed = -(-self._protocol.least_samples // turns)
        wanted = -(-config.tail_samples // turns) if config else 1
        longest_s = LONGEST_S * min(seconds / self._protocol.turn_seconds, 1)
        return max(needed, wanted if wanted * period_ns <= longest_s * 1e9 else 1)

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

    def _number(self, name: str) -> str:
        return str([*self._configs, *(backend.name for backend in BASELINES)].index(name))


@dataclass(frozen=True)
class _Running:
    """A process in the comparison: its number, the time on the core that its loading took, and what ends it."""

    worker: Worker
    label: int
    loading_s: float
    end: ExitStack


@dataclass(frozen=True)
class _Admitted:
    """What a worker told when it was loaded and called at each n, or why that could not be."""

    cpus: tuple[int, ...]
    loaded: Loaded
    error: float
    bound: dict[int, Bound | BenchError]


def _rounded(values: NDArray[Any], digits: int = 1) -> list[Any]:
    rounded: list[Any] = np.round(values, digits).tolist()
    return rounded


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
    """The plan, which is the same whatever the order of the backends: a record that is resumed names its turns. The
    baselines are measured in the first generation alone.
    """
    ordered = sorted(configs, key=lambda config: config.name)
    turns = plan(protocol, [cell for cell in _cells_of(ordered, protocol) if cell[2] != "first"])
    baselines = {backend.name for backend in BASELINES}
    return [turn for turn in turns if turn.process == 0 or turn.entry not in baselines]


def _turn_s(protocol: Protocol) -> float:
    return protocol.turn_seconds + SETTLE_S + BACKGROUND_S


def _check(configs: Sequence[BackendConfig], protocol: Protocol) -> None:
    """Raise BenchError for what makes no comparison."""
    faults = []
    if not protocol.n_points or min(protocol.n_points) < 1 or len(set(protocol.n_points)) < len(protocol.n_points):
        faults.append(f"n_points={protocol.n_points}; expected: at least one n, from 1, each once")
    if not protocol.modes:
        faults.append(f"no mode; expected: some of {', '.join(MODES)}")
    counts, budget_s = (protocol.processes, protocol.rounds, protocol.deadline_ns), protocol.budget_s
    if min(counts) < 1 or not protocol.turn_seconds > 0 or not (budget_s is None or budget_s > 0):
        faults.append(
            f"processes={protocol.processes}, rounds={protocol.rounds}, turn_seconds={protocol.turn_seconds}, "
            f"deadline_ns={protocol.deadline_ns}, budget_s={budget_s}; expected: all from 1, or above 0"
        )
    names = [config.name for config in configs]
    if not names or len(set(names)) < len(names):
        faults.append(f"backends: {', '.join(names) or 'none'}; expected: at least one, each once")
    if faults:
        raise BenchError(listing(faults))
