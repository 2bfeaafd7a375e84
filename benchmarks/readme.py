"""Writes the table of README.md, or the table of the kernels in docs/speed.md.

python benchmarks/readme.py                                       that of README.md
python benchmarks/readme.py --kernels accurate.json fast.json     what bench_kernels.py wrote for the two grades
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from kernel_report import C_LOOP, OURS, OURS_IN_C, OURS_ON_TWO
from pages import DOCS, ROOT, insert

from kdpinn_edge import export_bundle
from kdpinn_edge.bundle.manifest import Manifest
from kdpinn_edge.comparison.conclusion import RowTable
from kdpinn_edge.comparison.ratios import Ratio
from kdpinn_edge.comparison.record import Protocol, Record
from kdpinn_edge.comparison.selection import DEADLINE_NS, named
from kdpinn_edge.comparison.session import measure
from kdpinn_edge.export.targets.table import TARGETS
from kdpinn_edge.importers.model import find_model
from kdpinn_edge.problems import problem
from kdpinn_edge.studies.study.measure import accuracy

MODEL, TIMED, BOARD = "burgers", "native", "cortex-m7"
PC = "x86-64-v3" if TARGETS["x86-64-v3"].runs_here() else TIMED
"""What is counted: valgrind does not know the instructions of AVX-512, which this machine may be timed with."""
PROTOCOL = Protocol(
    n_points=(1, 10_000),
    modes=("closed",),
    processes=6,
    rounds=2,
    turn_seconds=0.1,
    deadline_ns=DEADLINE_NS,
    seed=0,
)
RIVALS = {
    "onnxruntime, run": "ONNX Runtime",
    "torch, eager": "PyTorch",
    "table of equal error, C loop": "a cubic table of equal error",
}
"""What is timed, and what the page calls it."""

CAPTION = (
    "one thread, by `make readme`. Times are for 1 and for 10,000 points per call, as multiples of the library's, "
    "called from the same language; 95 of 100 repetitions are expected in the brackets."
)
DEPTH = 4
POINTS = (64, 1024, 100_000)


def front() -> str:
    """The shipped Burgers student, as it is exported for this machine and for a board, beside what else computes it."""
    model = find_model(MODEL)
    error = f"{accuracy(model.program, problem(MODEL)).relative_l2:.1e}"
    with TemporaryDirectory() as folder:
        made = {
            target: export_bundle(
                model.program,
                Path(folder) / target,
                name=MODEL,
                equation=model.problem.equation if model.problem else None,
                inputs=model.inputs,
                outputs=model.outputs,
                target=target,
            )
            for target in (PC, BOARD, TIMED)
        }
        record = measure(named(list(RIVALS), Path(folder) / TIMED), PROTOCOL, name=MODEL)
    both = made[PC], made[BOARD]
    rows = [
        ("Burgers student, 3×16, float32", f"PC, {made[PC].target.name}", "Cortex-M7 (emulated)"),
        ("---", "---", "---"),
        ("error of the solution, relative L2", error, f"{error}, same bits"),
        ("flash: code and constants", *(f"{each.sizes.flash / 1000:.1f} KB" for each in both if each.sizes)),
        ("stack of a call", *(f"{each.functions['eval'].stack:,} bytes" for each in both)),
        ("instructions for one point", *(f"{_instructions(each):,}" for each in both)),
        *beside_rivals(record),
    ]
    return f"{_table(rows)}\n{record.machine.cpu}, {made[TIMED].target.name}, {CAPTION}\n"


def beside_rivals(record: Record) -> list[tuple[str, ...]]:
    """How many times as long as the library each rival takes, for 1 point and for 10,000."""
    table, entries = RowTable(record), {entry.name: entry for entry in record.entries}
    return [
        (
            f"{title} takes",
            ", ".join(_times(table.ratio(entries[name], n)) for n in PROTOCOL.n_points),
            "–",
        )
        for name, title in RIVALS.items()
        if name in entries
    ]


def _times(ratio: Ratio | None) -> str:
    """The ratio with its interval, or a bound alone where the interval is too wide to say more."""
    if ratio is not None and ratio.low is not None and ratio.high is not None:
        factor, low, high = (f"{float(f'{value:.2g}'):g}" for value in (ratio.factor, ratio.low, ratio.high))
        if ratio.is_decidable:
            return f"{factor}× ({low}–{high})"
        if ratio.low > 1:
            return f"more than {low}×"
        if ratio.high < 1:
            return f"less than {high}×"
    raise SystemExit("this machine is too busy for a ratio that can be shown; nothing was written")


def _instructions(manifest: Manifest) -> int:
    counted = manifest.functions["eval"].instructions
    if counted is None:
        raise SystemExit(f"{manifest.target.name}: {manifest.measured}; expected: valgrind, and the extra [emulate]")
    return counted["1"]


def kernels(grades: Mapping[str, dict[str, Any]]) -> str:
    """Networks of four layers in each grade: one point in a C loop, then many, beside the fastest peer of each n."""
    rows = [
        ("network", "tanh", "n = 1, in C", *(f"n = {n:,}" for n in POINTS)),
        ("---",) * (3 + len(POINTS)),
    ]
    for width in sorted({row["width"] for document in grades.values() for row in document["rows"]}):
        for number, (grade, document) in enumerate(grades.items()):
            cells = (_beside_peers(document, width, n) for n in (1, *POINTS))
            rows.append(("" if number else f"{DEPTH}×{width}", grade, *cells))
    return _table(rows)


def _beside_peers(document: dict[str, Any], width: int, n: int) -> str:
    """Our time per point, and how many times as long the fastest peer takes; one point is called from C."""
    found = {
        row["engine"]: row
        for row in document["rows"]
        if (row["depth"], row["width"], row["n"], row["engine"].endswith(C_LOOP)) == (DEPTH, width, n, n == 1)
    }
    found.pop(OURS_ON_TWO, None)
    ours = found.pop(OURS_IN_C if n == 1 else OURS)
    best = min(found.values(), key=lambda row: float(row["ns_per_point"]))
    factor = best["ns_per_point"] / ours["ns_per_point"]
    return f"{_digits(ours['ns_per_point'])}, {factor:.2f}× {best['engine'].removesuffix(C_LOOP)}"


def _digits(ns: float) -> str:
    """Three of them, or all before the point."""
    return f"{ns:,.0f}" if ns >= 100 else f"{ns:.3g}"


def _table(rows: list[tuple[str, ...]]) -> str:
    return "".join(f"| {' | '.join(row)} |\n" for row in rows)


def main() -> None:
    """Write one of the two."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kernels", type=Path, nargs=2, metavar=("ACCURATE", "FAST"))
    options = parser.parse_args()
    if options.kernels is None:
        insert(ROOT / "README.md", "make readme", front())
    else:
        documents = (json.loads(path.read_text(encoding="utf-8")) for path in options.kernels)
        insert(DOCS / "speed.md", "kernels", kernels(dict(zip(("accurate", "fast"), documents, strict=True))))


if __name__ == "__main__":
    main()
