"""Records, verdicts and comparisons on a terminal; and the progress of a run. Tables of usual names fit 80 columns."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from statistics import median

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, TextColumn
from rich.progress import Progress as Bar
from rich.table import Table

from kdpinn_edge.comparison.backend import Layer
from kdpinn_edge.comparison.compare import Comparison
from kdpinn_edge.comparison.conclusion import sentence, three_digits
from kdpinn_edge.comparison.durations import duration, short_duration
from kdpinn_edge.comparison.frontier import Fit
from kdpinn_edge.comparison.gate import GateVerdict
from kdpinn_edge.comparison.ratios import WIDEST, Ratio
from kdpinn_edge.comparison.record import Absent, Device, Entry, Mode, Protocol, Record
from kdpinn_edge.comparison.session import MeasurementProgress
from kdpinn_edge.comparison.statistics import (
    LatencyRow,
    Percentile,
    device_rows,
    percentiles,
    rows,
    used_pairs,
)

LAYERS: Sequence[Layer] = ("kernel in C", "call from Python", "framework call")
TITLES: Mapping[Mode, str] = {
    "closed": "calls follow each other: how many times as long as the library",
    "periodic": "one call per period, timed from its intended start",
    "periodic, load": "the same, beside a process on each core that writes through memory",
    "cold": "one call after the caches were swept",
    "first": "first call of a process",
}
MOST_WIDTH = 250
JUDGED = 99.0
UNDECIDED = "not decidable"
CLOSED = ("points", "backend", "times", "95 %", "p50 µs", "p99 µs", "error")
TEXTS = ("backend", "target", "function", "device")


@contextmanager
def live(console: Console, title: str = "") -> Iterator[Callable[[MeasurementProgress], None]]:
    """Show a bar with the time left and what is being measured; yields the function to give as `report`."""
    bar = Bar(
        BarColumn(bar_width=16),
        TextColumn("{task.fields[left]:>5} left"),
        TextColumn("{task.description}"),
        console=console,
        transient=True,
        disable=not console.is_terminal,
    )
    with bar:
        task = bar.add_task(title, total=None, left="")

        def report(progress: MeasurementProgress) -> None:
            left = f"{progress.total_s - progress.done_s:.0f} s"
            bar.update(task, description=progress.doing, total=progress.total_s, completed=progress.done_s, left=left)

        yield report


def told(progress: MeasurementProgress) -> tuple[float, str]:
    """The share of the time that is over, and what is being measured."""
    left = max(progress.total_s - progress.done_s, 0.0)
    return progress.done_s / progress.total_s, f"{left:.0f} s left, {progress.doing}"


def print_record(console: Console, record: Record) -> None:
    """Print the tables of `record`, one per mode; what loading takes; who is absent; protocol and machine; and which
    backend to use.
    """
    found = {(row.entry, row.n, row.mode): row for row in rows(record)}
    for subject in record.subjects:
        console.print(
            f"[bold]{subject.name}[/] {subject.precision}, {subject.target}, profile {subject.profile}, "
            f"Program {subject.program_sha256[:16]}",
            soft_wrap=True,
        )
        if subject.storage_error is not None:
            console.print(f"its weights were rounded for storage: off by {subject.storage_error:.1e} more in every row")
    equal = [entry for entry in record.entries if entry.threads is not None]
    own = [entry for entry in record.entries if entry.threads is None]
    for mode in record.protocol.modes:
        _print_mode(console, record, found, mode, equal, TITLES[mode])
        _print_mode(console, record, found, mode, own, f"{TITLES[mode]}; threads of their own choice")
    _print_devices(console, record.devices)
    console.print("\n[bold]from a new process to the first value, median; and what it weighs[/]")
    print_table(console, _starts(record.entries))
    console.print()
    print_absent(console, record.absent)
    for line in (*protocol_lines(record.protocol), *_machine_lines(record)):
        console.print(line, soft_wrap=True)
    if said := sentence(record):
        console.print(f"\n[bold]{escape(said)}[/]", soft_wrap=True)


def times(ratio: Ratio | None) -> str:
    """Write a factor; "?" where it is not decidable here, "" where there is none."""
    if ratio is None:
        return ""
    return three_digits(ratio.factor) if ratio.is_decidable else "?"


def interval(ratio: Ratio | None) -> str:
    """Write where a repetition is expected; "" for the library itself, which is what the others are compared with."""
    if ratio is None or ratio.spread == 0:
        return ""
    if not ratio.is_decidable or ratio.low is None or ratio.high is None:
        return UNDECIDED
    return f"{three_digits(ratio.low)}–{three_digits(ratio.high)}"


def _print_mode(
    console: Console,
    record: Record,
    found: Mapping[tuple[str, int, Mode], LatencyRow],
    mode: Mode,
    entries: Sequence[Entry],
    title: str,
) -> None:
    """The rows of `entries` in `mode`, layer by layer at each n; nothing where there are none."""
    table = _table(*(CLOSED if mode == "closed" else _single_calls(record, mode)))
    for n in record.protocol.n_points:
        is_first = True
        for entry in sorted(entries, key=lambda entry: LAYERS.index(entry.layer)):
            if row := found.get((entry.name, n, mode)):
                figures = _closed(row, entry) if mode == "closed" else _single(row)
                table.add_row(f"{n:,}" if is_first else "", entry.name, *figures)
                is_first = False
    if table.row_count:
        console.print(f"\n[bold]{title}[/]")
        print_table(console, table)


def _print_devices(console: Console, devices: Sequence[Device]) -> None:
    """What the devices measured of themselves, each by its own clock."""
    if not devices:
        return
    table = _table("device", "target", "points", "function", "median", "p99", "most", "per point", "samples", "error")
    for device in devices:
        for row in device_rows(device):
            shown = duration if row.unit == "ns" else cycles
            figures = (row.median, row.p99, row.most, row.median / row.n)
            table.add_row(
                escape(device.name),
                escape(device.target),
                f"{row.n:,}",
                row.function,
                *("" if figure is None else shown(figure) for figure in figures),
                f"{row.samples:,}" + (f" × {row.batch:,}" if row.batch > 1 else ""),
                f"{row.error:.1e}",
            )
    console.print("\n[bold]devices: calls follow each other, measured on the device; other machines, other figures[/]")
    print_table(console, table)
    for device in devices:
        console.print(f"{device.name}: {clock_line(device)}", soft_wrap=True, markup=False)


def cycles(count: float) -> str:
    """A number of cycles, with three digits where it is small."""
    return f"{count:,.0f} cycles" if count >= 100 else f"{count:.3g} cycles"


def clock_line(device: Device) -> str:
    """Describe which bits a device has, and what it was timed by."""
    clock = device.clock
    rate = f" at {clock.per_second / 1e6:g} MHz" if clock.unit == "cycles" and clock.per_second else ""
    return f"bits of {device.profile}; clock {clock.source}{rate}, which steps by {clock.resolution:,} {clock.unit}"


def print_table(console: Console, table: Table) -> None:
    """Print `table` as wide as it is: a figure that is cut is worse than a line that wraps."""
    needed = console.measure(table, options=console.options.update(max_width=MOST_WIDTH)).maximum
    console.width = max(console.width, needed)
    console.print(table)


def print_absent(console: Console, absent: Sequence[Absent]) -> None:
    """Print which backends are not in the comparison, and why."""
    for missing in absent:
        at = f", {missing.n:,} points" if missing.n else ""
        console.print(f"{missing.kind}: {missing.name}{at}: {escape(missing.reason)}", soft_wrap=True)


def print_verdict(console: Console, found: GateVerdict) -> None:
    """Print what the gate found, in one sentence, and what it rests on."""
    colour = {"held": "green", "missed": "bold red"}.get(found.verdict, "bold yellow")
    p = f"p{found.latency.p:g}"
    console.print(
        f"[{colour}]{duration(found.budget_ns)} {found.verdict}[/]: {found.backend}, {found.n:,} points, {p} "
        f"{duration(found.on_core.ns)} on the core, {duration(found.latency.ns)} here",
        soft_wrap=True,
    )
    late = found.misses
    console.print(
        f"{late.count} of {late.samples:,} calls were late by themselves, with 95 % confidence less than "
        f"{late.share_bound:.2%} are; {late.stalled} more were late because the machine gave their core to others; "
        f"one call every {duration(found.period_ns)}, timed from its intended start",
        soft_wrap=True,
    )


def print_frontier(console: Console, fits: Sequence[Fit], budget_ns: int, percentile: float) -> None:
    """Print how many points fit, most first."""
    table = _table(f"points in {duration(budget_ns)}", "backend", f"p{percentile:g} on the core", "do not fit")
    for fit in sorted(fits, key=lambda fit: -fit.n):
        above = "none tried" if fit.n_above is None else f"{fit.n_above:,}"
        table.add_row(f"{fit.n:,}", fit.backend, duration(fit.ns) if fit.n else "", above)
    print_table(console, table)
    console.print("what lies between the two numbers of points is not decidable here, with 95 % confidence")


def print_comparison(console: Console, comparison: Comparison) -> None:
    """Print what changed beyond noise, slowest first, and what else is different."""
    for difference in comparison.differences:
        console.print(f"not the same: {escape(difference)}", soft_wrap=True)
    for name in comparison.gone:
        console.print(f"gone: {name}", markup=False)
    for name in comparison.new:
        console.print(f"new: {name}", markup=False)
    changed = sorted((c for c in comparison.changes if c.is_beyond_noise), key=lambda c: -c.factor)
    if changed:
        table = _table("times as long", "backend", "points", "ratio before", "now")
        for change in changed:
            colour = "bold red" if change.factor > 1 else "green"
            ratios = three_digits(change.before.factor), three_digits(change.after.factor)
            table.add_row(f"[{colour}]{change.factor:.2f}[/]", change.entry, f"{change.n:,}", *ratios)
        print_table(console, table)
    console.print(f"{len(changed)} of {len(comparison.changes)} ratios changed beyond noise")


def protocol_lines(protocol: Protocol) -> tuple[str, ...]:
    """Describe what was timed and what was not; benchmarks/README.md says it in full."""
    return (
        f"Protocol: up to {protocol.processes} processes of each backend, {protocol.rounds} rounds in each, of about "
        f"{protocol.turn_seconds * 1e3:g} ms for each row, back to back three times, in random order (seed "
        f"{protocol.seed}). Timed is a call on "
        "arrays that are ready: no loading, compiling, binding, conversion. Parity comes first, at 1,024 points and at "
        "those that are timed; error is the largest difference to the Program in float64.",
        "times: calls alternate with calls of the library in the same layer and process, a quarter of a "
        "millisecond each, in time on the core. Pairs count during which a loop that is always the same was as fast as "
        "ever: the core was their own. A repetition is expected in the interval "
        f"in 95 of 100 cases; one wider than a factor {WIDEST:g} is not decidable here. p50 and p99 are wall time.",
    )


def _machine_lines(record: Record) -> Iterator[str]:
    machine, (before, *_, after) = record.machine, record.conditions
    yield (
        f"Machine: {machine.cpu}, {machine.cores} cores, affinity {machine.affinity}, governor {machine.governor}, "
        f"clock {machine.clocksource}, {machine.kernel}, Python {machine.python}; load average "
        f"{before.load_average[0]:.2f} before and {after.load_average[0]:.2f} after."
    )
    found = [block.disturbance for cell in record.cells for block in cell.blocks if block.disturbance]
    if found:
        wall_ns = sum(turn.wall_ns for turn in found)
        used, pairs = used_pairs(rows(record))
        taken, stolen = (sum(ns) / wall_ns for ns in zip(*((t.waited_ns, t.stolen_ns) for t in found), strict=True))
        yield (
            f"The machine gave {taken:.0%} of the turns' time to other processes and {stolen:.1%} to other virtual "
            f"machines. The ratios rest on {used:,} of {pairs:,} pairs of calls, those that it disturbed least."
        )
    for baseline in record.baselines:
        medians = "; ".join(f"{cell.mode} {duration(percentiles(cell, [50.0])[0].ns)}" for cell in baseline.cells)
        yield f"Noise baseline, {baseline.layer}: clock {duration(baseline.clock_ns)}; no work, p50: {medians}."


def _single_calls(record: Record, mode: Mode) -> tuple[str, ...]:
    columns = ("points", "backend", "p50 µs", "p99 µs", "max µs")
    judged = f"{short_duration(record.protocol.deadline_ns)} at p{JUDGED:g}"
    return (*columns, "stalled", judged, "late") if mode.startswith("periodic") else columns


def _closed(row: LatencyRow, entry: Entry) -> tuple[str, ...]:
    tail = row.percentile(99.0)
    return (times(row.ratio), interval(row.ratio), _us(row.percentiles[0]), _us(tail), f"{entry.error:.0e}")


def _single(row: LatencyRow) -> tuple[str, ...]:
    figures = (_us(row.percentiles[0]), _us(row.percentile(99.0)), _digits(row.max_ns / 1e3))
    if row.misses is None:
        return figures
    late, said = row.misses, row.misses.verdict(JUDGED)
    return (*figures, f"{late.stalled:,}", said.removesuffix(" here"), f"< {late.share_bound:.2%}")


def _starts(entries: Sequence[Entry]) -> Table:
    table = _table("backend", "start ms", "load ms", "call ms", "memory MB", "model kB", "runtime MB")
    for entry in entries:
        process, load, call, memory = (
            median(getattr(start, field) for start in entry.starts) / 1e6
            for field in ("process_ns", "load_ns", "first_call_ns", "resident_bytes")
        )
        model, runtime = (
            "" if size is None else _digits(size / unit)
            for size, unit in ((entry.artifact_bytes, 1e3), (entry.installed_bytes, 1e6))
        )
        table.add_row(entry.name, *map(_digits, (process, load, call, memory)), model, runtime)
    return table


def _us(percentile: Percentile | None) -> str:
    return "" if percentile is None else _digits(percentile.ns / 1e3)


def _digits(value: float) -> str:
    """Three digits, or all before the point."""
    return f"{value:,.{next((digits for digits, bound in ((3, 1), (2, 10), (1, 100)) if value < bound), 0)}f}"


def _table(*columns: str) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in columns:
        table.add_column(name, justify="left" if name in TEXTS else "right", no_wrap=True)
    return table
