"""`faults(record)`: what a record says that no measurement can have said, so that whatever is made of it can be made.

A record is a file, and a file may have been edited. Types are checked where it is read; here are the ranges of its
numbers, and that its parts name each other.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

from kdpinn_edge.comparison.record import Block, Cell, Device, Protocol, Record

MOST_POINTS, MOST_CALLS, MOST_NS = 1 << 31, 1 << 40, 1e18
"""A batch of two thousand million points, a million million calls, thirty years."""


def faults(record: Record) -> list[str]:
    """Every such fault, by its place in the record."""
    entries = [entry.name for entry in record.entries]
    subjects = [subject.name for subject in record.subjects]
    found = [*_protocol(record.protocol), *_twice("entries", entries), *_twice("subjects", subjects)]
    found += [f"entries: {e.name} is of {e.subject!r}, no subject" for e in record.entries if e.subject not in subjects]
    found += [f"devices: {d.name} is of {d.subject!r}, no subject" for d in record.devices if d.subject not in subjects]
    found += [] if record.subjects else ["subjects: none"]
    found += [] if record.conditions else ["conditions: none"]
    for i, cell in enumerate(record.cells):
        found += [] if cell.entry in entries else [f"cells[{i}]: {cell.entry!r} is no entry"]
        found += (f"cells[{i}]: {fault}" for fault in _cell(cell))
    for baseline in record.baselines:
        for cell in baseline.cells:
            found += (f"baselines: {baseline.layer}: {fault}" for fault in _cell(cell))
    for device in record.devices:
        found += (f"devices: {device.name}: {fault}" for fault in _device(device))
    return found


def _twice(what: str, names: Sequence[str]) -> Iterator[str]:
    return (f"{what}: {name!r} occurs twice" for name, count in Counter(names).items() if count > 1)


def _protocol(protocol: Protocol) -> Iterator[str]:
    within = {
        "n_points": protocol.n_points and all(0 < n <= MOST_POINTS for n in protocol.n_points),
        "modes": protocol.modes and len(set(protocol.modes)) == len(protocol.modes),
        "processes": 0 < protocol.processes <= MOST_CALLS,
        "rounds": 0 < protocol.rounds <= MOST_CALLS,
        "turn_seconds": 0 < protocol.turn_seconds <= MOST_NS,
        "deadline_ns": 0 < protocol.deadline_ns <= MOST_NS,
        "least_samples": 0 < protocol.least_samples <= MOST_CALLS,
        "budget_s": protocol.budget_s is None or 0 < protocol.budget_s <= MOST_NS,
        "loading_s": protocol.loading_s is None or 0 < protocol.loading_s <= MOST_NS,
    }
    return (f"protocol.{name}: {getattr(protocol, name)!r:.80}" for name, holds in within.items() if not holds)


def _cell(cell: Cell) -> Iterator[str]:
    if not (0 <= cell.n <= MOST_POINTS and 0 < cell.batch <= MOST_CALLS):
        yield f"{cell.n} points, {cell.batch} calls"
    if cell.period_ns is not None and not 0 < cell.period_ns <= MOST_NS:
        yield f"a period of {cell.period_ns} ns"
    if not any(block.samples_ns for block in cell.blocks):
        yield "no samples"
    if len({bool(block.pairs_ns) for block in cell.blocks}) > 1:
        yield "pairs in some turns only"
    for i, block in enumerate(cell.blocks):
        if not _holds(block):
            yield f"blocks[{i}]: times below zero or beyond {MOST_NS:g} ns, or not as many as samples"


def _holds(block: Block) -> bool:
    """Whether the times of a turn are times, and as many as its samples."""
    turn = block.disturbance
    return (
        all(0 <= ns <= MOST_NS for ns in (*block.samples_ns, *block.on_core_ns))
        and all(0 < ns <= MOST_NS for pair in block.pairs_ns for ns in pair)
        and len(block.on_core_ns) in (0, len(block.samples_ns))
        and (turn is None or 0 < turn.wall_ns <= MOST_NS)
        and (turn is None or all(0 <= count <= MOST_NS for count in (turn.waited_ns, turn.stolen_ns, turn.switches)))
        and -1 <= block.turn <= MOST_CALLS
        and 0 <= block.process <= MOST_CALLS
    )


def _device(device: Device) -> Iterator[str]:
    if not (0 <= device.clock.per_second <= MOST_NS and device.cells):
        yield f"{device.clock.per_second} ticks per second, {len(device.cells)} cells"
    for cell in device.cells:
        counted = cell.ticks and all(0 <= ticks <= MOST_NS for ticks in cell.ticks)
        if not (counted and 0 < cell.n <= MOST_POINTS and 0 < cell.batch <= MOST_CALLS):
            yield f"{cell.function}, {cell.n} points: {cell.batch} calls, {len(cell.ticks)} times"
