"""What came of all studies: tables of docs/study.md, from the .json files beside the pages docs/study_*.md.

    python benchmarks/studies.py            print them
    python benchmarks/studies.py --write    into docs/study.md

`kdpinn-edge study PROBLEM --page docs/study_PROBLEM.md` makes a page and its file.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from pages import DOCS, insert, table

from kdpinn_edge.studies.study.plan import size_name
from kdpinn_edge.studies.study.results import compared
from kdpinn_edge.studies.study.significance import LEVEL

Document = Mapping[str, Any]
SHOWN = "scratch", "values", "paper", "slopes", "scratch_long"
HEAD = (
    *("equation", "student", "from scratch", "values", "values and equation", "values and slopes"),
    *("best distilled, to scratch", "scratch, both times", "best distilled, to that"),
)


def documents(folder: Path) -> list[Document]:
    """The studies of a folder, by name."""
    return [json.loads(path.read_text(encoding="utf-8")) for path in sorted(folder.glob("study_*.json"))]


def rows_of(study: Document) -> Iterator[Sequence[str]]:
    """The medians of each size, largest first, and the verdicts on the best distillation."""
    for size in sorted({tuple(row["hidden"]) for row in study["rows"]}, key=sum, reverse=True):
        of_size = [row for row in study["rows"] if tuple(row["hidden"]) == size]
        medians = {row["method"]: f"{row['relative_l2']['median']:.1e}" for row in of_size}
        scratch, values, paper, slopes, both = (medians.get(method, "") for method in SHOWN)
        against = {each["other"]: said(each) for each in study["verdicts"] if tuple(each["hidden"]) == size}
        short, long = against.get("scratch", ""), against.get("scratch_long", "")
        yield study["problem"], size_name(size), scratch, values, paper, slopes, short, both, long


def said(verdict: Mapping[str, Any]) -> str:
    """By how much the distillation is better or worse, and whether it may be chance."""
    by, p = compared(verdict["factor"]), verdict["p"]
    return f"{by} (p = {p:.2g})" if p <= LEVEL else f"~{by}"


def tables(studies: Sequence[Document]) -> str:
    """One table of all studies, and for each the times."""
    rows = [row for study in studies for row in rows_of(study)]
    times = [
        (
            f"[{study['problem']}](study_{study['problem']}.md)",
            f"{study['plan']['cpu_seconds']:g}",
            f"{study['plan']['teacher_cpu_seconds']:.3g}",
            f"{study['teacher_in_float64']['relative_l2']:.1e}",
            f"{sum(row['seeds'] * row['cpu_seconds'] for row in study['rows']) / 60:.0f}",
        )
        for study in studies
    ]
    heads = "study", "s of a student", "s of the teacher", "teacher's error in float64", "CPU min of all students"
    return f"{table(HEAD, rows)}\n\n{table(heads, times)}"


def main() -> None:
    """Print the tables, and write them where that is asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", action="store_true", help="into docs/study.md")
    given = parser.parse_args()
    text = tables(documents(DOCS))
    print(text)
    if given.write:
        insert(DOCS / "study.md", "studies", text)


if __name__ == "__main__":
    main()
