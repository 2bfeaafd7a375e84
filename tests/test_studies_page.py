"""The tables of docs/study.md that programs write: what their rows say, and that they are those of the files."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from pages import DOCS, block_of, cells
from scripts import script

studies, paper_plain = script("benchmarks/studies.py"), script("benchmarks/paper_plain.py")
STUDY: dict[str, Any] = {
    "problem": "heat",
    "plan": {"cpu_seconds": 10.0, "teacher_cpu_seconds": 2.25},
    "teacher_in_float64": {"relative_l2": 6e-11},
    "rows": [
        {"hidden": [8], "method": "scratch", "seeds": 5, "cpu_seconds": 12.0, "relative_l2": {"median": 3e-4}},
        {"hidden": [8], "method": "values", "seeds": 5, "cpu_seconds": 12.0, "relative_l2": {"median": 1e-4}},
        {
            "hidden": [16, 16],
            "method": "scratch_long",
            "seeds": 5,
            "cpu_seconds": 24.0,
            "relative_l2": {"median": 2e-5},
        },
        {"hidden": [16, 16], "method": "slopes", "seeds": 5, "cpu_seconds": 12.0, "relative_l2": {"median": 5e-5}},
    ],
    "verdicts": [
        {"hidden": [8], "other": "scratch", "factor": 3.0, "p": 0.008},
        {"hidden": [16, 16], "other": "scratch_long", "factor": 0.4, "p": 0.2},
        {"hidden": [16, 16], "other": "values", "factor": 9.0, "p": 0.001},
    ],
}


def test_a_row_has_the_medians_of_a_size_and_what_was_concluded() -> None:
    assert [*studies.rows_of(STUDY)] == [
        ("heat", "16x16", "", "", "", "5.0e-05", "", "2.0e-05", "~worse by 2.5"),
        ("heat", "8", "3.0e-04", "1.0e-04", "", "", "better by 3 (p = 0.008)", "", ""),
    ]
    assert studies.tables([STUDY]).splitlines()[-1] == "| [heat](study_heat.md) | 10 | 2.25 | 6.0e-11 | 5 |"


def test_each_weight_stands_beside_values_alone() -> None:
    size = replace(paper_plain.SMALL, seeds=5, weights=(0.0, 1.0, 100.0))
    seeds = [{"teacher": [1e-3, 80], "0": [2e-3 + k * 1e-4, 6], "1": [3e-3, 17], "100": [1e-3, 17]} for k in range(5)]
    _, _, teacher, alone, first, second = map(cells, paper_plain.tables({"burgers": seeds}, size).splitlines())
    assert teacher[:4] == ["teacher", "1.00e-03", "1.0e-03 to 1.0e-03", "80 s"]
    assert alone[:3] == ["values alone", "2.20e-03", "2.0e-03 to 2.4e-03"]
    assert (first[4:], second[4:]) == (["0.73×", "0 of 5 teachers", "0.016"], ["2.20×", "5 of 5 teachers", "0.016"])


@pytest.mark.parametrize(("seeds", "possible"), [(4, False), (5, True)])
def test_too_few_seeds_are_said_to_be_too_few(seeds: int, possible: bool) -> None:
    size = replace(paper_plain.SMALL, seeds=seeds, weights=(0.0, 1.0, 100.0))
    found = {"burgers": [{key: [1e-3, 1.0] for key in ("teacher", "0", "1", "100")}] * seeds}
    assert ("No verdict on any weight is possible" in paper_plain.tables(found, size)) != possible


def test_the_page_has_the_tables_of_the_studies_beside_it() -> None:
    assert block_of(DOCS / "study.md", "studies").rstrip() == studies.tables(studies.documents(DOCS))


def test_the_page_has_the_tables_of_the_plain_networks() -> None:
    document = json.loads((DOCS / "paper_plain.json").read_text(encoding="utf-8"))
    size = replace(paper_plain.FULL, seeds=document["size"]["seeds"], weights=tuple(document["size"]["weights"]))
    assert block_of(DOCS / "study.md", "paper plain").rstrip() == paper_plain.tables(document["found"], size)
