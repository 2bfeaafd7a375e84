"""The hybrid of examples/hybrid.py for the shipped student, and how far its test of the grid can be trusted.

python benchmarks/bench_hybrid.py             prints the tables, in two minutes
python benchmarks/bench_hybrid.py --write     into docs/hybrid.md

The first two tables are what the example prints. The third has four shipped networks of Burgers' equation on twelve
grids; the two most accurate are in float64, since float32 limits what they can be corrected to.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from itertools import product

from pages import DOCS, ROOT, insert, table

from kdpinn_edge import compile
from kdpinn_edge.bundle.manifest import Precision
from kdpinn_edge.comparison.machine import this_machine
from kdpinn_edge.importers.model import find_model
from kdpinn_edge.problems import problem
from kdpinn_edge.runtime.engine import Engine

sys.path.append(str(ROOT / "examples"))
from hybrid import CELLS, Comparison, compare, tables

SHOWN = "burgers_student"
PRECISIONS: dict[str, Precision] = {
    "burgers_teacher": "float64",
    "burgers_student": "float64",
    "burgers_fast": "float32",
    "burgers_small": "float32",
}
HEAD = "the test says", "the hybrid is", "rows", "missed", "error of the network over that of the hybrid"
BETWEEN = 192, 320, 384, 640, 768, 896


def engine(name: str, precision: Precision) -> Engine:
    """A shipped network with its residual."""
    return compile(find_model(name).program, residual=problem("burgers"), precision=precision)


def verdicts(rows: Sequence[Comparison]) -> Iterator[tuple[str, ...]]:
    """A row for each kind of outcome: how many, what share of the residual is missed, and how far off the hybrid is."""
    for trusted, harms in product((True, False), (False, True)):
        those = [each for each in rows if (each.is_trusted, each.harms) == (trusted, harms)]
        missed = [each.missed for each in those]
        gains = [each.errors["network"] / each.errors["hybrid"] for each in those]
        yield (
            "trusted" if trusted else "not trusted",
            "harmful" if harms else "better",
            str(len(those)),
            *(f"{_digits(min(each))} to {_digits(max(each))}" if each else "–" for each in (missed, gains)),
        )


def _digits(number: float) -> str:
    """Two of them."""
    return f"{float(f'{number:.2g}'):g}"


def main() -> None:
    """Compare, print, and write where that is asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", action="store_true", help="into docs/hybrid.md")
    options = parser.parse_args()
    shown = engine(SHOWN, "float32")
    text = f"On one thread of {this_machine().cpu}, which others use too.\n\n"
    text += f"```text\n{tables([compare(shown, cells) for cells in CELLS])}\n```"
    print(text, flush=True)
    rows: list[Comparison] = []
    finest: list[str] = []
    for name, precision in PRECISIONS.items():
        network = engine(name, precision)
        found = {cells: compare(network, cells) for cells in sorted((*CELLS, *BETWEEN))}
        rows += found.values()
        if name == SHOWN:
            finest = [f"{found[cells].errors['hybrid']:.1e} on {cells:,} cells" for cells in CELLS[-2:]]
    counted = (
        table(HEAD, verdicts(rows))
        + f"\n\nIn {PRECISIONS[SHOWN]} the hybrid of the student errs by {' and by '.join(finest)}."
    )
    print(counted)
    if options.write:
        insert(DOCS / "hybrid.md", "hybrid", text)
        insert(DOCS / "hybrid.md", "grids", counted)


if __name__ == "__main__":
    main()
