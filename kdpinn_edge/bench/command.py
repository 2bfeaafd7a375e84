"""What `kdpinn-edge bench` does: a table, a gate or a frontier, as a JSON document, and whether all is well."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from rich.console import Console

from kdpinn_edge.bench import console, lineup
from kdpinn_edge.bench.board import read_boards, with_boards
from kdpinn_edge.bench.compare import Comparison, compare
from kdpinn_edge.bench.contender import Contender
from kdpinn_edge.bench.durations import duration, parse_duration
from kdpinn_edge.bench.frontier import frontier as search
from kdpinn_edge.bench.gate import gate_protocol, verdict
from kdpinn_edge.bench.record import Protocol, Record, read_record, write_record
from kdpinn_edge.bench.session import estimate_s, measure
from kdpinn_edge.bench.statistics import summary
from kdpinn_edge.errors import BenchError
from kdpinn_edge.files import check_folder
from kdpinn_edge.manifest import read_manifest

POINTS, PERCENTILE = 1, 99.0
BUDGET = "10ms"
Result = tuple[dict[str, Any], bool]


@dataclass(frozen=True)
class Options:
    """The options of the command, by their names."""

    bundle: Path
    full: bool
    backends: Sequence[str]
    n_points: Sequence[int]
    out: Path | None
    resume: bool
    report: Path | None
    compare: Path | None
    add: Sequence[Path]
    clock: str | None
    budget: str | None
    points: int
    percentile: float
    samples: int | None
    threads: int

    @property
    def budget_ns(self) -> int:
        """The budget that is named, or BUDGET. Raises BenchError for what is no duration."""
        return parse_duration(BUDGET if self.budget is None else self.budget)

    def contenders(self, default: Sequence[str] = ()) -> list[Contender]:
        """Those that were named; or everyone; or `default`, and by default the quick ones."""
        if self.full and not self.backends:
            if self.threads > 1:
                raise BenchError(
                    f"--threads {self.threads}: not for everyone; accepted: without --full, which has both"
                )
            return lineup.full(self.bundle)
        named = lineup.named(self.backends or default or lineup.QUICK_NAMES, self.bundle)
        return [replace(contender, threads=self.threads) for contender in named]


def table(options: Options, out: Console, status: Console, quiet: bool) -> Result:
    """Measure and show every backend."""
    if options.report:
        check_folder(options.report, BenchError)
    if (options.points, options.percentile, options.samples) != (POINTS, PERCENTILE, None):
        raise BenchError("--points, --percentile and --samples are of a budget; accepted: with --budget or --frontier")
    protocol = lineup.FULL if options.full else lineup.QUICK
    if options.n_points:
        protocol = replace(protocol, n_points=tuple(options.n_points))
    earlier = read_record(options.compare) if options.compare else None
    if options.clock and not options.add:
        raise BenchError(f"--clock {options.clock}: it is the rate of a board that counts cycles; accepted: with --add")
    boards = read_boards(options.add, options.bundle, options.clock) if options.add else []
    record = _complete(options) or _measured(options, options.contenders(), protocol, status)
    if boards:
        record = with_boards(record, boards)
        if options.out:
            write_record(record, options.out)
    comparison = compare(earlier, record) if earlier else None
    if not quiet:
        console.print_record(out, record)
        if not (options.full or options.backends):
            for line in lineup.beyond_quick():
                out.print(line, soft_wrap=True, markup=False)
        if comparison:
            console.print_comparison(out, comparison)
    if options.report:
        from kdpinn_edge.bench.report import write_report

        write_report(record, options.report)
    return summary(record) | ({"comparison": _changes(comparison)} if comparison else {}), bool(record.entries)


def gate(options: Options, out: Console, status: Console, quiet: bool) -> Result:
    """Hold one backend to the budget: the library, where no other is named."""
    _refuse(options, "the budget of one backend", "full", "n_points", "report", "compare", "add", "clock")
    protocol = gate_protocol(options.points, options.budget_ns, options.percentile, options.samples)
    contenders = options.contenders((lineup.LIBRARY,))
    if len(contenders) > 1:
        raise BenchError(f"a budget is for one backend, and {len(contenders)} are named; accepted: one --backend")
    record = _measured(options, contenders, protocol, status)
    found = verdict(record, options.percentile)
    if not quiet:
        console.print_verdict(out, found)
    return summary(record) | {
        "verdict": asdict(found) | {"holds": found.holds, "excess_ns": found.excess_ns}
    }, found.holds


def frontier(options: Options, out: Console, status: Console, quiet: bool) -> Result:
    """How many points of each backend fit into the budget."""
    _refuse(options, "the frontier", "n_points", "out", "resume", "report", "compare", "samples", "add", "clock")
    budget_ns = options.budget_ns
    with status.status("searching") as spinner:
        fits, absent = search(
            options.contenders(),
            budget_ns,
            options.percentile,
            lambda name: spinner.update(f"searching how many points {name} evaluates in {duration(budget_ns)}"),
        )
    if not quiet:
        console.print_frontier(out, fits, budget_ns, options.percentile)
        console.print_absent(out, absent)
    document = {"budget_ns": budget_ns, "percentile": options.percentile, "fits": [asdict(fit) for fit in fits]}
    return document | {"absent": [asdict(missing) for missing in absent]}, True


def _refuse(options: Options, what: str, *others: str) -> None:
    """Raise BenchError for options that would be ignored."""
    if given := [f"--{name.removesuffix('_points')}" for name in others if getattr(options, name)]:
        raise BenchError(f"{', '.join(given)}: not for {what}; leave it out")


def _complete(options: Options) -> Record | None:
    """The record in `out` to which boards alone are added: it is complete, and nothing else is asked for."""
    asks_more = options.full or options.backends or options.n_points
    if not options.add or not options.resume or asks_more or options.out is None or not options.out.exists():
        return None
    record, manifest = read_record(options.out), read_manifest(options.bundle)
    program_sha256 = manifest.functions["eval"].program_sha256
    if record.is_complete and program_sha256 not in (subject.program_sha256 for subject in record.subjects):
        raise BenchError(
            f"{options.out} is the record of another Program than {options.bundle}: {program_sha256} is not in it"
        )
    return record if record.is_complete else None


def _measured(options: Options, contenders: Sequence[Contender], protocol: Protocol, status: Console) -> Record:
    if options.resume and not options.out:
        raise BenchError("--resume goes on with a record; accepted: with --out RECORD.json")
    if options.out:
        check_folder(options.out, BenchError)
    status.print(
        f"measuring {options.bundle}: {len(contenders)} backends, about "
        f"{duration(estimate_s(contenders, protocol) * 1e9)}",
        soft_wrap=True,
        markup=False,
    )
    with console.live(status) as report:
        return measure(
            contenders,
            protocol,
            name=read_manifest(options.bundle).name,
            out=options.out,
            resume=options.resume,
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
