"""Teacher and student, framework and native: what is concluded from a record, and one whole run. Never how fast."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from io import StringIO
from pathlib import Path

import pytest
from records import example_record
from rich.console import Console
from typer.testing import CliRunner

from kdpinn_edge import problems
from kdpinn_edge.cli import app
from kdpinn_edge.comparison import selection
from kdpinn_edge.comparison.paper import (
    FRAMEWORK,
    LIMITS_NS,
    NATIVE,
    Errors,
    PaperComparison,
    entry_name,
    pairs,
    paper_comparison,
)
from kdpinn_edge.comparison.paper_tables import errors_line, print_paper
from kdpinn_edge.comparison.record import KNOWN_WORK, Block, Cell, Entry, Mode, Record
from kdpinn_edge.comparison.record_file import read_record
from kdpinn_edge.errors import BenchError

STUDENT_NS = 500.0
TIMES_NS = {  # at n = 1 and at n = 100
    entry_name(FRAMEWORK, "teacher"): (80_000.0, 800_000.0),
    entry_name(FRAMEWORK, "student"): (40_000.0, 100_000.0),
    entry_name(NATIVE, "teacher"): (2_000.0, 100_000.0),
    entry_name(NATIVE, "student"): (STUDENT_NS, 10_000_001.0),
}
TINY = replace(selection.QUICK, n_points=(1,), modes=("closed", "periodic"), processes=1, rounds=1, turn_seconds=0.002)


def made_up() -> PaperComparison:
    """A record in which every process has the same medians, so that the intervals have no width."""
    example = example_record()
    subject, entry = example.subjects[0], example.entries[0]
    subjects = tuple(
        replace(subject, name=f"burgers_{role}", rmse=rmse) for role, rmse in (("teacher", 1e-5), ("student", 3e-5))
    )
    entries = tuple(_entry(entry, name) for name in TIMES_NS)
    cells = tuple(
        _cell(name, n, mode, ns)
        for name, times in TIMES_NS.items()
        for n, ns in zip((1, 100), times, strict=True)
        for mode in ("closed", "periodic")
    )
    protocol = replace(example.protocol, n_points=(1, 100), modes=("closed", "periodic"))
    record: Record = replace(example, protocol=protocol, subjects=subjects, entries=entries, cells=cells)
    return PaperComparison("burgers", record)


def _entry(entry: Entry, name: str) -> Entry:
    backend, role = name.split(": ")
    partner = KNOWN_WORK if name == entry_name(NATIVE, "student") else NATIVE
    return replace(
        entry, name=name, backend=backend, subject=f"burgers_{role}", layer="call from Python", partner=partner
    )


def _cell(entry: str, n: int, mode: Mode, ns: float) -> Cell:
    pairs = ((ns, STUDENT_NS, 100.0),) * 3 if mode == "closed" else ()
    blocks = tuple(Block(turn, turn, (ns,) * 300, pairs) for turn in range(4))
    return Cell(entry, n, mode, 1, None if mode == "closed" else 10**6, blocks)


def test_the_error_of_a_role_needs_no_entry() -> None:
    whole = made_up()
    students = tuple(entry for entry in whole.record.entries if entry.name.endswith("student"))
    part = PaperComparison("burgers", replace(whole.record, entries=students))
    assert (part.rmse("teacher"), part.rmse("student")) == (1e-5, 3e-5)


def test_the_speed_ups_separate_distilling_from_leaving_the_framework() -> None:
    factors = {(s.gain, s.slow.split(":")[0], s.slow.split(": ")[1], s.n): s for s in made_up().speed_ups()}
    assert factors["student for teacher", FRAMEWORK, "teacher", 1].times.factor == pytest.approx(2)
    assert factors["student for teacher", NATIVE, "teacher", 1].times.factor == pytest.approx(4)
    assert factors["native for framework", FRAMEWORK, "teacher", 1].times.factor == pytest.approx(40)
    assert factors["native for framework", FRAMEWORK, "student", 1].times.factor == pytest.approx(80)
    assert factors["both", FRAMEWORK, "teacher", 1].times.factor == pytest.approx(160)
    assert factors["both", FRAMEWORK, "teacher", 1].fast == entry_name(NATIVE, "student")
    assert len(factors) == 2 * 5
    for found in factors.values():
        assert found.times.low is not None
        assert found.times.high is not None
        assert 0.9 < found.times.low / found.times.factor < 1  # equal processes, but nobody knew that they would be
        assert found.times.low * found.times.high == pytest.approx(found.times.factor**2)


def test_what_was_not_measured_has_no_speed_up() -> None:
    whole = made_up()
    cells = tuple(c for c in whole.record.cells if (c.entry, c.n) != (entry_name(FRAMEWORK, "teacher"), 1))
    part = PaperComparison("burgers", replace(whole.record, cells=cells))
    assert {(s.gain, s.n) for s in part.speed_ups()} == {
        ("student for teacher", 1),
        ("native for framework", 1),
        ("student for teacher", 100),
        ("native for framework", 100),
        ("both", 100),
    }


def test_each_row_is_within_the_least_limit_that_it_keeps() -> None:
    limits = {(tail.entry, tail.n): (tail.p, tail.limit_ns) for tail in made_up().tails()}
    assert limits == {
        (entry_name(FRAMEWORK, "teacher"), 1): (99, 100_000),
        (entry_name(FRAMEWORK, "teacher"), 100): (99, 1_000_000),
        (entry_name(FRAMEWORK, "student"), 1): (99, 100_000),
        (entry_name(FRAMEWORK, "student"), 100): (99, 100_000),
        (entry_name(NATIVE, "teacher"), 1): (99, 100_000),
        (entry_name(NATIVE, "teacher"), 100): (99, 100_000),
        (entry_name(NATIVE, "student"), 1): (99, 100_000),
        (entry_name(NATIVE, "student"), 100): (99, None),
    }
    assert LIMITS_NS == (100_000, 1_000_000, 10_000_000)


def test_the_document_has_the_errors_of_both() -> None:
    document = json.loads(json.dumps(made_up().document()))
    assert document["rmse"] == {"teacher": 1e-5, "student": 3e-5}
    assert len(document["speed_ups"]) == 10
    assert "cells" not in document


def test_precision_and_threads_are_said_and_the_papers_latency_is_a_number_of_points() -> None:
    comparison = made_up()
    assert comparison.points_within(1e6) == {FRAMEWORK: 1000, NATIVE: 9}
    document = comparison.document()
    assert (document["precision"], document["threads"]) == ("float32", 1)
    assert document["paper"]["points_within_student_ns"] == {FRAMEWORK: 5300, NATIVE: 52}
    console = Console(width=200, record=True, file=StringIO())
    print_paper(console, comparison)
    shown = console.export_text()
    assert "float32, 1 thread(s); n is the number of points per call" in shown
    assert "arXiv 2512.13336, first version" in shown
    assert "Not stated: points per call, precision, threads, processor" in shown
    assert re.search(r"5,300 points of this student in 5\.30 ms: torch, eager", shown)


def test_the_zoo_has_pairs() -> None:
    assert set(pairs()) <= set(problems.names())
    assert "burgers" in pairs()


def test_a_problem_without_a_pair_is_refused() -> None:
    with pytest.raises(BenchError, match=r"no teacher and student of 'abacus'; expected: .*burgers"):
        paper_comparison("abacus")


def test_a_model_of_another_problem_is_refused() -> None:
    with pytest.raises(BenchError, match="the student heat_student solves heat; expected: a model of burgers"):
        paper_comparison("burgers", student=["heat_student"], backends=(NATIVE,), protocol=TINY)


def test_of_several_seeds_medians_and_ranges_are_said() -> None:
    one = made_up()
    assert errors_line(one.errors()) == ("RMSE against the reference: teacher 1.0e-05, student 3.0e-05 (+200.00%)")
    several = replace(one, others=(Errors(2e-5, 2e-5), Errors(1e-5, 2e-5)))
    assert several.document()["rmse_of_seeds"][1] == {"teacher": 2e-5, "student": 2e-5}
    assert errors_line(several.errors()) == (
        "RMSE against the reference, median and range of 3 seeds: teacher 1.0e-05 (1.0e-05 to 2.0e-05), "
        "student 2.0e-05 (2.0e-05 to 3.0e-05), the student's larger by +100.00% (+0.00% to +200.00%)"
    )


def test_runs_of_several_seeds_come_in_pairs_of_one_size() -> None:
    with pytest.raises(BenchError, match="2 teachers and 1 students; expected: as many"):
        paper_comparison("burgers", teacher=["burgers_teacher"] * 2, backends=(NATIVE,), protocol=TINY)
    sizes = ["burgers_student", "burgers_small"]
    with pytest.raises(BenchError, match="student number 2 has another size than the first"):
        paper_comparison("burgers", teacher=["burgers_teacher"] * 2, student=sizes, protocol=TINY)


def test_models_are_given_for_one_problem_alone() -> None:
    result = CliRunner().invoke(app, ["bench-zoo", "burgers", "heat", "--student", "heat_student"])
    assert result.exit_code == 2
    assert "go with one PROBLEM; found: burgers, heat" in " ".join(result.output.split())


def test_a_run_of_small_networks_as_libraries(tmp_path: Path) -> None:
    """Students in both roles, and no framework, which takes seconds to load."""
    names = {"teacher": ["burgers_student"], "student": ["burgers_small"]}
    found = paper_comparison("burgers", **names, backends=(NATIVE,), protocol=TINY, out=tmp_path / "record.json")
    assert read_record(tmp_path / "record.json") == found.record
    assert [entry.name for entry in found.record.entries] == [entry_name(NATIVE, role) for role in names]
    assert 0 < found.rmse("teacher") < found.rmse("student") < 1e-2
    (times,) = (s.times for s in found.speed_ups() if s.gain == "student for teacher" and s.n == 1)
    assert times.factor > 0


@pytest.mark.proof
@pytest.mark.parametrize("seeds", [1, 2])
def test_a_whole_run(seeds: int, tmp_path: Path) -> None:
    out = tmp_path / "burgers.json"
    found = paper_comparison(
        "burgers",
        teacher=["burgers_teacher"] * seeds,
        student=["burgers_student"] * seeds,
        backends=(NATIVE, FRAMEWORK),
        protocol=TINY,
        out=out,
    )
    assert len(found.errors()) == seeds
    assert found.errors()[0] == found.errors()[-1]
    assert read_record(out) == found.record
    assert [(entry.name, entry.subject) for entry in found.record.entries] == [
        (entry_name(NATIVE, "teacher"), "burgers_teacher"),
        (entry_name(FRAMEWORK, "teacher"), "burgers_teacher"),
        (entry_name(NATIVE, "student"), "burgers_student"),
        (entry_name(FRAMEWORK, "student"), "burgers_student"),
    ]
    assert 0 < found.rmse("teacher") < 1e-4
    assert 0 < found.rmse("student") < 1e-3
    assert {s.gain for s in found.speed_ups()} == {"student for teacher", "native for framework", "both"}
    assert all(s.times.factor > 0 for s in found.speed_ups())


def test_the_command_refuses_what_is_not_in_the_zoo(tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["bench-zoo", "abacus", "--out", str(tmp_path / "records")])
    assert result.exit_code == 2
    assert "no teacher and student of 'abacus'" in result.output
