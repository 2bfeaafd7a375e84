"""The record of a comparison: every raw sample, and all that is needed to judge, repeat or continue it. One JSON file.

`record_file.py` writes and reads it, `statistics.py` makes rows and intervals of it; nothing derived is stored.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from kdpinn_edge.bundle.manifest import FunctionName
from kdpinn_edge.comparison.backend import Layer, Promise

SCHEMA = 4

Mode = Literal["closed", "periodic", "periodic, load", "cold", "first"]
"""How calls follow each other: closed is back to back, in pairs with a partner; periodic at a fixed rate, each latency
measured from the intended start, on a quiet machine or beside a background load; cold after the caches were swept;
first is the first call after `bind`, once per process."""

KNOWN_WORK = "known work"
"""The partner of those that have no library to be compared with: a loop that is always the same."""

MODES: tuple[Mode, ...] = ("closed", "periodic", "periodic, load", "cold", "first")


@dataclass(frozen=True)
class Protocol:
    """The protocol of a comparison. Two records are comparable where theirs are equal.

    Each backend is loaded in `processes` processes, one after another, each taking `rounds` times one turn per n and
    mode, in the closed mode three, in a random order that `seed` decides; a turn lasts about `turn_seconds`, in
    periodic modes longer where `least_samples` in all need it. With a `budget_s` the run keeps to so many seconds:
    turns get shorter, and the last rounds and processes are left out, where the machine is slow. A backend that is not
    loaded within `loading_s`, where that is given, is left out. `deadline_ns` is what a latency may not exceed. Entries
    with threads of their own choice are measured in the modes "closed" and "first" alone.
    """

    n_points: tuple[int, ...]
    modes: tuple[Mode, ...]
    processes: int
    rounds: int
    turn_seconds: float
    deadline_ns: int
    seed: int
    least_samples: int = 1
    budget_s: float | None = None
    loading_s: float | None = None


@dataclass(frozen=True)
class Machine:
    """The machine of a comparison. `governor` and `clocksource` are "not visible" where the kernel hides them."""

    cpu: str
    cores: int
    affinity: tuple[int, ...]
    governor: str
    clocksource: str
    cache_bytes: int
    memory_bytes: int
    kernel: str
    python: str


@dataclass(frozen=True)
class Subject:
    """A model that was evaluated, as its manifest describes it.

    `scale` is the largest magnitude of its values at the probe points, and `allowed_error` what a backend of the same
    function may be off from its float64 Program. `rmse` is its root-mean-square error against the reference solution
    of the equation, where that is known; `storage_error` what that Program is off at most because its weights were
    rounded for storage, None where they were not.
    """

    name: str
    program_sha256: str
    precision: str
    profile: str
    target: str
    n_in: int
    n_out: int
    multiply_adds: int
    activations: int
    scale: float
    allowed_error: float
    rmse: float | None = None
    storage_error: float | None = None


@dataclass(frozen=True)
class Start:
    """One process, from its start to its first values: nanoseconds from exec to a ready interpreter, of loading the
    backend and the model, and of the first call at one point, all of them on the core; resident memory after loading,
    all of it and above that of the ready interpreter.
    """

    process_ns: int
    load_ns: int
    first_call_ns: int
    resident_bytes: int
    added_bytes: int


@dataclass(frozen=True)
class Entry:
    """One backend on one subject with one choice of threads (None: the backend's own), admitted by parity.

    `is_deployed` is Backend's. `partner` is what its calls were paired with: a backend's name or KNOWN_WORK. `error` is
    absolute, the largest difference to the float64 Program of the subject. `threads_set` says what was set, `cpus`
    where its processes ran. `artifact_bytes` is shipped per model, `installed_bytes` is the runtime on disk.
    """

    name: str
    backend: str
    subject: str
    threads: int | None
    layer: Layer
    promise: Promise
    is_deployed: bool
    partner: str
    error: float
    threads_set: str
    cpus: tuple[int, ...]
    versions: Mapping[str, str]
    artifact_bytes: int | None
    installed_bytes: int | None
    starts: tuple[Start, ...]


@dataclass(frozen=True)
class Absent:
    """An entry that is not in the comparison, or not at n points, and why.

    "refused" is one that broke its promise: it computes something else, and `error` says how far off.
    """

    name: str
    kind: Literal["not installed", "failed", "refused"]
    reason: str
    n: int | None = None
    error: float | None = None


@dataclass(frozen=True)
class Disturbance:
    """What the machine did during one turn of `wall_ns`: how long the process waited for its core while others had it,
    what other virtual machines took (in steps of 10 ms), and how often the process was put off the core.
    """

    wall_ns: int
    waited_ns: int
    stolen_ns: int
    switches: int


@dataclass(frozen=True)
class Block:
    """The samples of one turn, in order: `turn` is its place in the plan, -1 for what comes before the first, and
    `process` counts processes of the run.

    In the closed mode `pairs_ns` has pair by pair the times on the core of a call and of a call of the partner, and the
    longest that the known work took before, between and after them; in
    periodic modes `on_core_ns` has for each sample what the latency would be on a core that nobody else used.
    """

    turn: int
    process: int
    samples_ns: tuple[float, ...]
    pairs_ns: tuple[tuple[float, float, float], ...] = ()
    on_core_ns: tuple[float, ...] = ()
    disturbance: Disturbance | None = None


@dataclass(frozen=True)
class Cell:
    """One entry at n points in one mode. A sample is the mean of `batch` calls; periodic modes have a `period_ns`."""

    entry: str
    n: int
    mode: Mode
    batch: int
    period_ns: int | None
    blocks: tuple[Block, ...]


@dataclass(frozen=True)
class NoiseBaseline:
    """The figures of the instruments where nothing is evaluated, in Python's loop or in C's, which `layer` says.

    `clock_ns` is the cost of reading the clock; `cells` are those of a call that does nothing, entry "nothing".
    """

    layer: Layer
    clock_ns: float
    cells: tuple[Cell, ...]


@dataclass(frozen=True)
class Clock:
    """The clock of a device. `resolution` is the least step between two readings, in ticks; a tick is a `unit`, and
    `per_second` is how many there are, 0 where nobody said.
    """

    source: str
    unit: Literal["ns", "cycles"]
    resolution: int
    per_second: int


@dataclass(frozen=True)
class DeviceCell:
    """One function on n points: each of `ticks` is what `batch` calls took, back to back. `error` is as Entry's."""

    function: FunctionName
    n: int
    batch: int
    ticks: tuple[int, ...]
    error: float


@dataclass(frozen=True)
class Device:
    """A machine that the program of `export --with-bench` has measured. Its self-test passed, and its bits are
    those of the NumPy program of its numerics profile.
    """

    name: str
    subject: str
    target: str
    profile: str
    clock: Clock
    cells: tuple[DeviceCell, ...]


@dataclass(frozen=True)
class Conditions:
    """The machine at one moment: load averages of 1, 5 and 15 minutes, and seconds stolen by other virtual machines."""

    at: str
    load_average: tuple[float, float, float]
    stolen_seconds: float


@dataclass(frozen=True)
class Record:
    """A comparison, whole (`is_complete`) or interrupted between two turns. A whole one lacks the turns for which the
    protocol's budget had no time.

    `entries` and `absent` are in the order of the tables. `conditions` has the machine before, and after each session.
    `devices` are no entries: other machines have figures of their own.
    """

    name: str
    protocol: Protocol
    machine: Machine
    versions: Mapping[str, str]
    subjects: tuple[Subject, ...]
    entries: tuple[Entry, ...]
    absent: tuple[Absent, ...]
    cells: tuple[Cell, ...]
    baselines: tuple[NoiseBaseline, ...]
    conditions: tuple[Conditions, ...]
    is_complete: bool
    devices: tuple[Device, ...] = ()
    schema: int = field(default=SCHEMA)
