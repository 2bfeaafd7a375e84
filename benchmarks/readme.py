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

from kdpinn_edge import export_bundle
from kdpinn_edge.bundle.manifest import Manifest
from kdpinn_edge.importers.model import find_model
from kdpinn_edge.problems import problem
from kdpinn_edge.studies.study.measure import accuracy

ROOT = Path(__file__).parents[1]
MODEL, PC, BOARD = "burgers", "native", "cortex-m7"
DEPTH = 4
POINTS = (64, 1024, 100_000)


def front() -> str:
    """The shipped Burgers student, as it is exported for this machine and for a board."""
    model = find_model(MODEL)
    error = f"{accuracy(model.program, problem(MODEL)).relative_l2:.1e}"
    with TemporaryDirectory() as folder:
        made = {
            target: export_bundle(model.program, Path(folder) / target, name=MODEL, inputs=model.inputs, target=target)
            for target in (PC, BOARD)
        }
    both = list(made.values())
    rows = [
        ("Burgers student, 3×16, float32", f"PC, {made[PC].target.name}", "Cortex-M7, emulated"),
        ("---", "---", "---"),
        ("error of the solution, relative L2", error, f"{error}, the same bits"),
        ("flash: code and constants", *(f"{each.sizes.flash / 1000:.1f} KB" for each in both if each.sizes)),
        ("stack of a call", *(f"{each.functions['eval'].stack:,} bytes" for each in both)),
        ("instructions for one point", *(f"{_instructions(each):,}" for each in both)),
    ]
    return f"{_table(rows)}\n`make readme` writes this table.\n"


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


def insert(path: Path, marker: str, text: str) -> None:
    """Put `text` between the two markers of this name."""
    begin, end = f"<!-- {marker}: begin -->\n", f"<!-- {marker}: end -->\n"
    head, rest = path.read_text(encoding="utf-8").split(begin)
    path.write_text(f"{head}{begin}{text}{end}{rest.split(end)[1]}", encoding="utf-8")


def main() -> None:
    """Write one of the two."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kernels", type=Path, nargs=2, metavar=("ACCURATE", "FAST"))
    options = parser.parse_args()
    if options.kernels is None:
        insert(ROOT / "README.md", "make readme", front())
    else:
        documents = (json.loads(path.read_text(encoding="utf-8")) for path in options.kernels)
        insert(ROOT / "docs" / "speed.md", "kernels", kernels(dict(zip(("accurate", "fast"), documents, strict=True))))


if __name__ == "__main__":
    main()
