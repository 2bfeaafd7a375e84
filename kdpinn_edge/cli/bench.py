"""What `kdpinn-edge bench` does: a table, a gate or a frontier, as a JSON document, and whether it succeeded."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from rich.console import Console

from kdpinn_edge.bundle.manifest import read_manifest
from kdpinn_edge.cli.options import BenchOptions
from kdpinn_edge.comparison import selection, text_tables
from kdpinn_edge.comparison.backend_config import BackendConfig
from kdpinn_edge.comparison.compare import Comparison, compare
from kdpinn_edge.comparison.device import read_devices, with_devices
from kdpinn_edge.comparison.durations import duration, parse_duration
from kdpinn_edge.comparison.frontier import frontier as search
from kdpinn_edge.comparison.gate import gate_protocol, verdict
from kdpinn_edge.comparison.record import Protocol, Record
from kdpinn_edge.comparison.record_file import read_record, write_record
from kdpinn_edge.comparison.session import check_out, estimate_s, measure
from kdpinn_edge.comparison.statistics import summary
from kdpinn_edge.errors import BenchError
from kdpinn_edge.files import check_folder

POINTS, PERCENTILE = 1, 99.0
BUDGET = "10ms"
Result = tuple[dict[str, Any], bool]


def table(bundle: Path, options: BenchOptions, out: Console, status: Console, quiet: bool, *, source: str) -> Result:
    """Measure and show every backend; `source` is what the user called the bundle."""
    if options.report:
        check_folder(options.report, BenchError)
    if (options.points, options.percentile, options.samples) != (POINTS, PERCENTILE, None):
        raise BenchError("--points, --percentile and --samples are of a budget; expected: with --budget or --frontier")
    protocol = selection.FULL if options.full else selection.QUICK
    if options.n_points:
        protocol = replace(protocol, n_points=tuple(options.n_points))
    earlier = read_record(options.compare) if options.compare else None
    if options.clock and not options.add:
        raise BenchError(f"--clock {options.clock}: the rate of a device that counts cycles; expected: with --add")
    devices = read_devices(options.add, bundle, options.clock) if options.add else []
    record = _complete(bundle, options) or _measured(bundle, options, _configs(bundle, options), protocol, status)
    if devices:
        record = with_devices(record, devices)
        if options.out:
            write_record(record, options.out)
    comparison = compare(earlier, record) if earlier else None
    if not quiet:
        text_tables.print_record(out, record)
        if not (options.full or options.backends):
            for line in selection.beyond_quick():
                out.print(line, soft_wrap=True, markup=False)
        if comparison:
            text_tables.print_comparison(out, comparison)
        out.print(f"Next: {_next(source, options)}", soft_wrap=True, markup=False)
    if options.report:
        from kdpinn_edge.comparison.report import write_report

        write_report(record, options.report)
    return summary(record) | ({"comparison": _changes(comparison)} if comparison else {}), bool(record.entries)


def gate(bundle: Path, options: BenchOptions, out: Console, status: Console, quiet: bool) -> Result:
    """Hold one backend to the budget: the library, where no other is named."""
    _refuse(options, "the budget of one backend", "full", "n_points", "report", "compare", "add", "clock")
    protocol = gate_protocol(options.points, _budget_ns(options), options.percentile, options.samples)
    configs = _configs(bundle, options, (selection.LIBRARY,))
    if len(configs) > 1:
        raise BenchError(f"a budget is for one backend, and {len(configs)} are named; expected: one --backend")
    record = _measured(bundle, options, configs, protocol, status)
    found = verdict(record, options.percentile)
    if not quiet:
        text_tables.print_verdict(out, found)
    return summary(record) | {"verdict": asdict(found) | {"verdict": found.verdict}}, found.verdict == "held"


def frontier(bundle: Path, options: BenchOptions, out: Console, status: Console, quiet: bool) -> Result:
    """Find how many points of each backend fit into the budget."""
    _refuse(
        options, "the frontier", "n_points", "out", "resume", "force", "report", "compare", "samples", "add", "clock"
    )
    budget_ns = _budget_ns(options)
    with status.status("searching") as spinner:
        fits, absent = search(
            _configs(bundle, options),
            budget_ns,
            options.percentile,
            lambda name: spinner.update(f"searching how many points {name} evaluates in {duration(budget_ns)}"),
        )
    if not quiet:
        text_tables.print_frontier(out, fits, budget_ns, options.percentile)
        text_tables.print_absent(out, absent)
    document = {"budget_ns": budget_ns, "percentile": options.percentile, "fits": [asdict(fit) for fit in fits]}
    return document | {"absent": [asdict(missing) for missing in absent]}, True


def _next(source: str, options: BenchOptions) -> str:
    """What to do with the figures: the page of everything, or the way to use the library."""
    if not options.report:
        return f"kdpinn-edge bench {shlex.quote(source)} --full --out bench.json --report bench.html"
    return f"kdpinn-edge bench {shlex.quote(source)} --budget {BUDGET} --points 10000, or open {options.report}"


def _budget_ns(options: BenchOptions) -> int:
    """The budget that is named, or BUDGET. Raises BenchError for what is no duration."""
    return parse_duration(BUDGET if options.budget is None else options.budget)


def _configs(bundle: Path, options: BenchOptions, default: Sequence[str] = ()) -> list[BackendConfig]:
    """Those that were named; or everyone; or `default`, and by default the quick ones."""
    if options.full and not options.backends:
        if options.threads > 1:
            raise BenchError(f"--threads {options.threads}: not for everyone; expected: without --full, which has both")
        return selection.full(bundle)
    names = options.backends or default
    chosen = selection.named(names, bundle) if names else selection.quick(bundle)
    return [replace(config, threads=options.threads) for config in chosen]


def _refuse(options: BenchOptions, what: str, *others: str) -> None:
    """Raise BenchError for options that would be ignored."""
    if given := [f"--{name.removesuffix('_points')}" for name in others if getattr(options, name)]:
        raise BenchError(f"{', '.join(given)}: not for {what}; leave it out")


def _complete(bundle: Path, options: BenchOptions) -> Record | None:
    """The record in `out` to which devices alone are added: it is complete, and nothing else is asked for."""
    asks_more = options.full or options.backends or options.n_points
    if not options.add or not options.resume or asks_more or options.out is None or not options.out.exists():
        return None
    record, manifest = read_record(options.out), read_manifest(bundle)
    program_sha256 = manifest.functions["eval"].program_sha256
    if record.is_complete and program_sha256 not in (subject.program_sha256 for subject in record.subjects):
        raise BenchError(f"{options.out} is the record of another Program than {bundle}: {program_sha256} is not in it")
    return record if record.is_complete else None


def _measured(
    bundle: Path, options: BenchOptions, configs: Sequence[BackendConfig], protocol: Protocol, status: Console
) -> Record:
    if (options.resume or options.force) and not options.out:
        what = "--resume goes on with" if options.resume else "--force replaces"
        raise BenchError(f"{what} a record; expected: with --out RECORD.json")
    if options.out:
        check_out(options.out, resume=options.resume, force=options.force)
    status.print(
        f"measuring {read_manifest(bundle).name}: {len(configs)} backends in {estimate_s(configs, protocol):.0f} s",
        soft_wrap=True,
        markup=False,
    )
    with text_tables.live(status) as report:
        return measure(
            configs,
            protocol,
            name=read_manifest(bundle).name,
            out=options.out,
            resume=options.resume,
            force=options.force,
            report=report,
        )


def _changes(comparison: Comparison) -> dict[str, Any]:
    return {
        **asdict(comparison),
        "changes": [
            asdict(change) | {"factor": change.factor, "is_beyond_noise": change.is_beyond_noise}
            for change in comparison.changes
        ],
    }
