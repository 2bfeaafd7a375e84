"""Writes the figures that README.md shows. Run it on a machine that does nothing else.

make readme                                                    the comparison of one bundle
python benchmarks/readme.py --kernels bench_kernels.json       what bench_kernels.py wrote
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from kernel_report import C_LOOP, OURS, OURS_IN_C, OURS_ON_TWO

README = Path(__file__).parent.parent / "README.md"
DEPTH = 4
POINTS = (64, 1024, 100_000)


def comparison(bundle: str) -> str:
    """The closed loop of what `kdpinn-edge bench` prints for `bundle`."""
    command = [sys.executable, "-m", "kdpinn_edge", "bench", bundle]
    table = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout  # noqa: S603
    subject, closed, *others = table.strip().split("\n\n")
    machine = next(line for line in others[-1].splitlines() if line.startswith("Machine: "))
    text = "\n".join(line.rstrip() for part in (subject, closed, machine) for line in part.splitlines())
    return f"```\n{text}\n```\n"


def kernels(document: dict[str, Any]) -> str:
    """The networks of four layers: one point in a C loop, then many from Python, beside the fastest peer of each n."""
    rows = [row for row in document["rows"] if row["depth"] == DEPTH and row["engine"] != OURS_ON_TWO]
    head = ["network", "n = 1, in C", *(f"n = {n:,}" for n in POINTS), "of the FMA peak"]
    lines = [head, ["---"] * len(head)]
    for width in sorted({row["width"] for row in rows}):
        cells, fractions = [], []
        for n, c_loop in ((1, True), *((n, False) for n in POINTS)):
            found = {
                row["engine"]: row
                for row in rows
                if (row["width"], row["n"], row["engine"].endswith(C_LOOP)) == (width, n, c_loop)
            }
            ours = found.pop(OURS_IN_C if c_loop else OURS)
            best = min(found.values(), key=lambda row: float(row["ns_per_point"]))
            factor = best["ns_per_point"] / ours["ns_per_point"]
            cells.append(f"{digits(ours['ns_per_point'])} ns, {factor:.2f}× {best['engine'].removesuffix(C_LOOP)}")
            fractions.append(ours["peak_fraction"])
        lines.append([f"{DEPTH}×{width}", *cells, f"{max(fractions):.0%}"])
    table = "\n".join(f"| {' | '.join(line)} |" for line in lines)
    machine, peak = document["machine"]["cpu"], document["peak"]["gflops"]
    return f"{table}\n\n{machine}, peak {peak:.0f} GFLOP/s per core: `{document['command']}`\n"


def digits(ns: float) -> str:
    """Three of them, or all before the point."""
    return f"{ns:,.0f}" if ns >= 100 else f"{ns:.3g}"


def insert(marker: str, text: str) -> None:
    """Put `text` between the two markers of this name."""
    begin, end = f"<!-- {marker}: begin -->\n", f"<!-- {marker}: end -->\n"
    head, rest = README.read_text(encoding="utf-8").split(begin)
    README.write_text(f"{head}{begin}{text}{end}{rest.split(end)[1]}", encoding="utf-8")


def main() -> None:
    """Write one of the two."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--bundle", help="what to compare the backends of")
    source.add_argument("--kernels", type=Path, help="the JSON file of bench_kernels.py")
    options = parser.parse_args()
    if options.bundle:
        insert("make readme", comparison(options.bundle))
    else:
        insert("kernels", kernels(json.loads(options.kernels.read_text(encoding="utf-8"))))


if __name__ == "__main__":
    main()
