"""What a device printed that ran the program of `export --with-bench`: read, judged like any backend, and merged."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
import numpy as np
from msgspec import Meta
from numpy.typing import NDArray

from kdpinn_edge.bundle.manifest import FunctionName, Manifest
from kdpinn_edge.bundle.parity import Parity
from kdpinn_edge.bundle.probe import DEVICE_SCHEMA, N_DEVICE, timed_points
from kdpinn_edge.bundle.read import Bundle, open_bundle
from kdpinn_edge.bundle.selftest import selftest_fault
from kdpinn_edge.comparison.backend_config import absence
from kdpinn_edge.comparison.durations import parse_rate
from kdpinn_edge.comparison.record import Absent, Clock, Device, DeviceCell, Record
from kdpinn_edge.comparison.reference import RefusedError
from kdpinn_edge.errors import BenchError, listing
from kdpinn_edge.numerics.reference import KNOWN, PRECISIONS, NumpyProgram
from kdpinn_edge.reading import MIB, read_whole

NAME = "device: {}"
LARGEST = 16 * MIB
"""Bytes that a device may print."""

Crc = Annotated[int, Meta(ge=0, lt=1 << 32)]
Count = Annotated[int, Meta(ge=1, le=1 << 24)]
Ticks = Annotated[int, Meta(ge=0, le=10**18)]


class _Clock(msgspec.Struct, forbid_unknown_fields=True):
    source: str
    unit: Literal["ns", "cycles"]
    resolution: Count
    per_second: Annotated[int, Meta(ge=0, le=10**12)]


class _Row(msgspec.Struct, forbid_unknown_fields=True):
    n: Count
    status: int
    crc32: Crc = 0
    batch: Count = 1
    ticks: tuple[Ticks, ...] = ()


class _Function(msgspec.Struct, forbid_unknown_fields=True):
    name: FunctionName
    program_sha256: str
    rows: Annotated[tuple[_Row, ...], Meta(min_length=1)]


class _Results(msgspec.Struct, forbid_unknown_fields=True):
    """What bench.c prints."""

    schema: int
    name: str
    precision: str
    profile: str
    target: str
    points_crc32: Crc
    selftest: int
    clock: _Clock
    functions: Annotated[tuple[_Function, ...], Meta(min_length=1)]


class _Schema(msgspec.Struct):
    schema: int


def read_devices(paths: Sequence[Path], bundle: Path, clock: str | None) -> list[Device | Absent]:
    """Read the device of each file, or why it is refused: its self-test failed, or it has other bits.

    A device is named after its file. `clock` is the rate of the one device that counts cycles. Raises BenchError for a
    file that is something else, or not of this bundle; BundleError for a damaged bundle.
    """
    opened = open_bundle(bundle)
    found = {NAME.format(path.stem): (path, _read(path)) for path in paths}
    if len(found) < len(paths):
        raise BenchError(
            f"--add {', '.join(map(str, paths))}: a device is named after its file; expected: files of different names"
        )
    if clock is not None:
        counting = [results for _, results in found.values() if results.clock.per_second == 0]
        if len(counting) != 1:
            raise BenchError(
                f"--clock {clock}: {len(counting)} of the devices count cycles and do not say how fast; expected: one. "
                "Add them one by one."
            )
        counting[0].clock.per_second = parse_rate(clock)
    for path, results in found.values():
        _check(path, results, opened.manifest)
    devices: list[Device | Absent] = []
    for name, (_, results) in found.items():
        try:
            devices.append(_judged(name, results, opened))
        except RefusedError as error:
            devices.append(absence(name, error))
    return devices


def with_devices(record: Record, devices: Sequence[Device | Absent]) -> Record:
    """Add `devices` to `record`, each in place of what has its name."""
    names = {device.name for device in devices}
    return replace(
        record,
        absent=(*(a for a in record.absent if a.name not in names), *(b for b in devices if isinstance(b, Absent))),
        devices=(*(b for b in record.devices if b.name not in names), *(b for b in devices if isinstance(b, Device))),
    )


def _read(path: Path) -> _Results:
    try:
        text = read_whole(path, LARGEST)
        schema = msgspec.json.decode(text, type=_Schema).schema
        if schema != DEVICE_SCHEMA:
            raise BenchError(
                f"{path}: results of schema {schema}; this version reads {DEVICE_SCHEMA}. Export the bench for the "
                "device again."
            )
        return msgspec.json.decode(text, type=_Results)
    except OSError as error:
        raise BenchError(
            f"{path}: cannot be read ({error.strerror}); expected: what the bench for the device printed"
        ) from error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise BenchError(
            f"{path}: not the results of a device ({error}); expected: the JSON that the bench for the device printed, "
            "and nothing else. The usual cause is a line of a debugger, or a run that was stopped."
        ) from error


def _check(path: Path, results: _Results, manifest: Manifest) -> None:
    """Raise BenchError unless `results` are of the bundle of `manifest`."""
    faults = []
    if results.precision != manifest.precision:
        faults.append(f"precision {results.precision!r}; expected: {manifest.precision}")
    if results.profile not in KNOWN:
        faults.append(f"numerics profile {results.profile!r}; expected: {', '.join(KNOWN)}")
    for function in results.functions:
        expected = manifest.functions.get(function.name)
        if expected is None:
            faults.append(f"the function {function.name}; expected: {', '.join(manifest.functions)}")
        elif function.program_sha256 != expected.program_sha256:
            faults.append(
                f"{function.name} is the Program {function.program_sha256}; expected: {expected.program_sha256}"
            )
    cells = [(function.name, row.n) for function in results.functions for row in function.rows]
    if len(set(cells)) < len(cells):
        faults.append("a function has two rows of the same n; expected: one")
    if any(not row.ticks and row.status == 0 for function in results.functions for row in function.rows):
        faults.append("a row has no ticks; expected: at least one number")
    if not faults and results.points_crc32 != zlib.crc32(_points(manifest).tobytes()):
        faults.append("other points; expected: those of the domain box of the bundle")
    if faults:
        raise BenchError(
            f"{path} is not of this bundle: {listing(faults)}\nExport both from the same model with the same options."
        )


def _judged(name: str, results: _Results, bundle: Bundle) -> Device:
    """The device of `results`. Raises RefusedError where it does not compute what the NumPy program does."""
    if results.selftest != 0:
        raise RefusedError(f"it does not pass its self-test: {selftest_fault(results.selftest)}")
    manifest = bundle.manifest
    cells = []
    for function in results.functions:
        program = bundle.program(function.name)
        y = NumpyProgram(program, manifest.precision, results.profile, manifest.box)(_points(manifest))
        parity = Parity(program, replace(manifest, profile=results.profile))
        for row in function.rows:
            if row.status != 0:
                raise RefusedError(f"{function.name} of {row.n:,} points returned {row.status}; expected: 0")
            if row.crc32 != zlib.crc32(np.resize(y, (row.n, program.n_out)).tobytes()):
                raise RefusedError(
                    f"{function.name} of {row.n:,} points has other bits than the NumPy program of {results.profile}"
                )
            cells.append(DeviceCell(function.name, row.n, row.batch, row.ticks, parity.error(parity.bits)))
    clock = Clock(**msgspec.structs.asdict(results.clock))
    return Device(name, manifest.name, results.target, results.profile, clock, tuple(cells))


def _points(manifest: Manifest) -> NDArray[Any]:
    return timed_points(manifest.inputs, N_DEVICE).astype(PRECISIONS[manifest.precision])
