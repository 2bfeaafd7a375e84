"""Records, verdicts and comparisons on a terminal; and the progress of a run."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from statistics import median

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, TextColumn, TimeElapsedColumn
from rich.progress import Progress as Bar
from rich.table import Table

from kdpinn_edge.comparison.backend import Layer
from kdpinn_edge.comparison.compare import Comparison
from kdpinn_edge.comparison.durations import duration
from kdpinn_edge.comparison.frontier import Fit
from kdpinn_edge.comparison.gate import GateVerdict
from kdpinn_edge.comparison.record import Absent, Device, Entry, Mode, Protocol, Record
from kdpinn_edge.comparison.session import MeasurementProgress
from kdpinn_edge.comparison.statistics import LatencyRow, Percentile, device_rows, percentiles, rows

LAYERS: Mapping[Layer, str] = {"kernel in C": "C", "call from Python": "Python", "framework call": "framework"}
TITLES: Mapping[Mode, str] = {
    "closed": "closed loop: calls follow each other",
    "periodic": "periodic: one call per period, timed from its intended start",
    "periodic, load": "periodic, beside a process on each core that writes through memory",
    "cold": "cold: one call after the caches were swept",
    "first": "first call of a process",
}
MOST_WIDTH = 250
START_FIELDS = ("process_ns", "load_ns", "first_call_ns", "resident_bytes")
CLOSED = ("p50 µs", "±", "p99 µs", "ns/point", "error")


@contextmanager
def live(console: Console) -> Iterator[Callable[[MeasurementProgress], None]]:
    """Show a bar with what is being measured; yields the function to give as `report`."""
    bar = Bar(
        BarColumn(bar_width=16),
        TextColumn("{task.percentage:>3.0f} %"),
        TimeElapsedColumn(),
        TextColumn("{task.description}"),
        console=console,
        transient=True,
        disable=not console.is_terminal,
    )
    with bar:
        task = bar.add_task("", total=None)

        def report(progress: MeasurementProgress) -> None:
            bar.update(task, description=progress.doing, total=progress.total_s, completed=progress.done_s)

        yield report


def print_record(console: Console, record: Record) -> None:
    """Print the tables of `record`, one per mode; what loading takes; who is absent; protocol and machine."""
    found = {(row.entry, row.n, row.mode): row for row in rows(record)}
    for subject in record.subjects:
        console.print(
            f"[bold]{subject.name}[/] {subject.precision}, {subject.target}, profile {subject.profile}, "
            f"Program {subject.program_sha256[:16]}"
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


def _print_mode(
    console: Console,
    record: Record,
    found: Mapping[tuple[str, int, Mode], LatencyRow],
    mode: Mode,
    entries: Sequence[Entry],
    title: str,
) -> None:
    """The rows of `entries` in `mode`, layer by layer at each n; nothing where there are none."""
    table = _table("points", "layer", "backend", *(CLOSED if mode == "closed" else _single_calls(record)))
    for n in record.protocol.n_points:
        is_first = True
        for entry in sorted(entries, key=lambda entry: list(LAYERS).index(entry.layer)):
            if row := found.get((entry.name, n, mode)):
                figures = _closed(row, entry) if mode == "closed" else _single(row)
                table.add_row(f"{n:,}" if is_first else "", LAYERS[entry.layer], entry.name, *figures)
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


def print_verdict(console: Console, verdict: GateVerdict) -> None:
    """Print what the gate found, in one sentence, and what it rests on."""
    colour, said = ("green", "kept by") if verdict.holds else ("bold red", "missed by")
    p = f"p{verdict.latency.p:g}"
    console.print(
        f"[{colour}]{duration(verdict.budget_ns)} {said} {duration(abs(verdict.excess_ns))}[/]: {verdict.backend}, "
        f"{verdict.n:,} points, {p} {duration(verdict.latency.ns)}",
        soft_wrap=True,
    )
    console.print(
        f"a repetition is expected from {duration(verdict.latency.low_ns)} to {duration(verdict.latency.high_ns)}; "
        f"{verdict.misses.count} of {verdict.misses.samples:,} calls were late, with 95 % confidence less than "
        f"{verdict.misses.share_bound:.2%} are; "
        f"one call every {duration(verdict.period_ns)}, timed from its intended start",
        soft_wrap=True,
    )


def print_frontier(console: Console, fits: Sequence[Fit], budget_ns: int, percentile: float) -> None:
    """Print how many points fit, most first."""
    table = _table(f"points in {duration(budget_ns)}", "backend", f"p{percentile:g}", "points that do not fit")
    for fit in sorted(fits, key=lambda fit: -fit.n):
        above = "none tried" if fit.n_above is None else f"{fit.n_above:,}"
        table.add_row(f"{fit.n:,}", fit.backend, duration(fit.ns) if fit.n else "", above)
    print_table(console, table)


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
        table = _table("times as long", "backend", "points", "mode", "", "before", "now")
        for change in changed:
            colour = "bold red" if change.factor > 1 else "green"
            times = duration(change.before.ns), duration(change.after.ns)
            figures = f"{change.n:,}", change.mode, f"p{change.after.p:g}", *times
            table.add_row(f"[{colour}]{change.factor:.2f}[/]", change.entry, *figures)
        print_table(console, table)
    console.print(f"{len(changed)} of {len(comparison.changes)} figures changed beyond noise")


def protocol_lines(protocol: Protocol) -> tuple[str, ...]:
    """Describe what was timed and what was not; benchmarks/README.md says it in full."""
    return (
        f"Protocol: {protocol.processes} processes of each backend, {protocol.rounds} turns of "
        f"{protocol.turn_seconds * 1e3:g} ms each per row, in random order (seed {protocol.seed}). Timed is a call on "
        "arrays that are ready: no loading, compiling, binding, conversion. A closed sample is the mean of as many "
        "calls as make the clock less than 1 % of it; all others are single calls. Parity comes first, at 1,024 points "
        "and at those that are timed; error is the largest difference to the Program in float64.",
        "± is where a repetition of the run is expected in 95 of 100 cases. A percentile has at least ten samples "
        "beyond it, or is not shown. Late calls: with 95 % confidence their share is below what stands in brackets.",
    )


def _machine_lines(record: Record) -> Iterator[str]:
    machine, (before, *_, after) = record.machine, record.conditions
    yield (
        f"Machine: {machine.cpu}, {machine.cores} cores, affinity {machine.affinity}, governor {machine.governor}, "
        f"clock {machine.clocksource}, {machine.kernel}, Python {machine.python}; load average "
        f"{before.load_average[0]:.2f} before and {after.load_average[0]:.2f} after, "
        f"{after.stolen_seconds - before.stolen_seconds:.1f} s stolen."
    )
    for baseline in record.baselines:
        medians = "; ".join(f"{cell.mode} {duration(percentiles(cell, [50.0])[0].ns)}" for cell in baseline.cells)
        yield f"Noise baseline, {baseline.layer}: clock {duration(baseline.clock_ns)}; no work, p50: {medians}."


def _single_calls(record: Record) -> tuple[str, ...]:
    late = f"later than {duration(record.protocol.deadline_ns)}"
    return ("period", "p50 µs", "±", "p99 µs", "p99.9 µs", "max µs", late)


def _closed(row: LatencyRow, entry: Entry) -> tuple[str, ...]:
    p50 = row.percentiles[0]
    return (_us(p50), _spread(p50), _us(row.percentile(99.0)), _four_digits(p50.ns / row.n), f"{entry.error:.1e}")


def _single(row: LatencyRow) -> tuple[str, ...]:
    p50 = row.percentiles[0]
    period = duration(row.period_ns) if row.period_ns else ""
    tail = (_us(row.percentile(p)) for p in (99.0, 99.9))
    late = f"{row.misses.count} of {row.misses.samples:,} (< {row.misses.share_bound:.2%})" if row.misses else ""
    return (period, _us(p50), _spread(p50), *tail, _four_digits(row.max_ns / 1e3), late)


def _starts(entries: Sequence[Entry]) -> Table:
    times = ("process ms", "load ms", "first call ms")
    table = _table("backend", *times, "memory MB", "model kB", "runtime MB", "threads")
    for entry in entries:
        medians = [median(getattr(start, field) for start in entry.starts) / 1e6 for field in START_FIELDS]
        model, runtime = (
            "" if size is None else _four_digits(size / unit)
            for size, unit in ((entry.artifact_bytes, 1e3), (entry.installed_bytes, 1e6))
        )
        table.add_row(entry.name, *map(_four_digits, medians), model, runtime, entry.threads_set)
    return table


def _us(percentile: Percentile | None) -> str:
    return "" if percentile is None else _four_digits(percentile.ns / 1e3)


def _spread(percentile: Percentile) -> str:
    """How far a repetition may go up, in %; intervals are symmetrical in the logarithm."""
    return f"{percentile.high_ns / percentile.ns - 1:.1%}"


def _four_digits(value: float) -> str:
    digits = next((digits for digits, bound in ((3, 10), (2, 100), (1, 1000)) if value < bound), 0)
    return f"{value:,.{digits}f}"


def _table(*columns: str) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in columns:
        is_text = name in ("layer", "backend", "mode", "threads", "device", "target", "function")
        table.add_column(name, justify="left" if is_text else "right", no_wrap=True)
    return table
