"""benchmarks/bench_kernels.py: what enters the comparison, and what is concluded from its figures. Never how fast."""

from __future__ import annotations

import importlib
import json
import math
import os
import re
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from records import example_record

from kdpinn_edge.comparison.ratios import Ratio
from kdpinn_edge.errors import BenchError

BENCHMARKS = Path(__file__).parent.parent / "benchmarks"
PEERS = ("onnxruntime, io-binding", "onnxruntime, run", "casadi -Ofast, cffi", "casadi -Ofast, C loop")


@pytest.fixture(scope="module")
def bench() -> Iterator[Any]:
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(BENCHMARKS)
        yield importlib.import_module("bench_kernels")


@pytest.fixture(scope="module")
def report(bench: Any) -> Any:
    return importlib.import_module("kernel_report")


@pytest.fixture(scope="module")
def net(bench: Any, tmp_path_factory: pytest.TempPathFactory) -> Any:
    return bench.exported(4, 1, tmp_path_factory.mktemp("nets"))


def test_a_small_run_writes_every_figure(bench: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "figures.json"
    tiny = ["--widths", "4", "--depths", "1", "--points", "1", "64", "--seconds", "0.01", "--rounds", "2", "--peers"]
    bench.main([*tiny, *PEERS, "--out", str(out)])
    document = json.loads(out.read_text())
    assert list(tmp_path.iterdir()) == [out]

    entered = {(row["engine"], row["n"]) for row in document["rows"]}
    present = [peer for peer in PEERS if peer not in document["absent"]]
    for name in ("kdpinn", *(peer for peer in present if not peer.endswith("C loop"))):
        assert {(name, 1), (name, 64)} <= entered
    for name in ("kdpinn, C loop", *(peer for peer in present if peer.endswith("C loop"))):
        assert ((name, 1) in entered) == (shutil.which("cc") is not None)
        assert (name, 64) not in entered
    for row in document["rows"]:
        time = row["time"]
        assert 0 < time["ns"] <= time["q1_ns"] <= time["q3_ns"]
        assert time["samples"] >= 2 * bench.LEAST_SAMPLES
        assert row["ns_per_point"] == time["ns"] / row["n"]
        assert row["multiply_adds"] == 4 * 2 + 4
        assert row["error"] < 1e-6
    assert document["peak"]["gflops"] > 0
    assert {"cpu", "python", "cc"} <= document["machine"].keys()
    assert {"kdpinn-edge", "onnxruntime", "numpy"} <= document["versions"].keys()

    printed = capsys.readouterr().out
    assert "| 1×4 | 64 |" in printed
    assert all(verdict["measure"] in printed for verdict in document["verdicts"])


def test_bad_options_are_refused(bench: Any, tmp_path: Path) -> None:
    for option in (["--points", "0"], ["--rounds", "1"], ["--seconds", "0"], ["--peers", "abacus"]):
        with pytest.raises(SystemExit):
            bench.main([*option, "--out", str(tmp_path / "figures.json")])
    assert not list(tmp_path.iterdir())


def test_only_right_values_enter(bench: Any, net: Any) -> None:
    contest = bench.Contest(net, 64)
    contest.enter("ours", bench.load(net.bundle).bind)
    right = bench.load(net.bundle)(contest.x)
    wrong = {
        "nothing stored": lambda x, y: lambda: None,
        "off": lambda x, y: lambda: right + np.float32(1e-3),
        "one NaN": lambda x, y: lambda: np.where(np.arange(64)[:, None] == 7, np.float32(np.nan), right),
        "another precision": lambda x, y: lambda: right.astype(np.float64),
    }
    for name, bind in wrong.items():
        with pytest.raises(BenchError, match="expected"):
            contest.enter(name, bind)
    contest.enter("returned", lambda x, y: lambda: right)
    assert list(contest.samplers) == ["ours", "returned"]


def test_a_missing_peer_is_listed(bench: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    packages = ("numpy", "kdpinn-edge-no-such-package")
    monkeypatch.setitem(bench.PEERS, "abacus", replace(bench.PEERS["openvino"], packages=packages))
    absent: dict[str, str] = {}
    assert bench.installed(["abacus"], absent) == []
    assert absent == {"abacus": "not installed (kdpinn-edge-no-such-package)"}


def test_a_peer_that_fails_is_listed(bench: Any, net: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(case: Any, threads: int) -> Any:
        raise RuntimeError("no such operator")

    monkeypatch.setitem(bench.PEERS, "openvino", replace(bench.PEERS["openvino"], prepare=fails))
    absent: dict[str, str] = {}
    contest = bench.contest_at(net, 64, ["openvino"], None, {0}, absent)
    assert list(contest.samplers) == ["kdpinn"]
    assert absent == {"openvino, 1×4, n = 64": "RuntimeError: no such operator"}


def test_two_threads_give_the_same_values(bench: Any, net: Any) -> None:
    contest = bench.contest_at(net, 10_000, [], None, set(), {})
    bench.two_threads(contest, os.sched_getaffinity(0))
    assert contest.errors["kdpinn, 2 threads"] == contest.errors["kdpinn"]


def test_every_round_has_every_engine_and_the_best_median_counts(bench: Any) -> None:
    order: list[str] = []

    def sampler(name: str, medians: list[float]) -> Any:
        remaining = iter(medians)

        def sample(seconds: float) -> tuple[float, int]:
            assert seconds == 0.25
            order.append(name)
            return next(remaining), 5

        return sample

    samplers = {"a": sampler("a", [4, 8, 6, 2]), "b": sampler("b", [1, 1, 1, 1])}
    times = bench.take_turns(samplers, seconds=1.0, rounds=4)
    assert order == list("abbaabba")
    assert (times["a"].ns, times["a"].q1_ns, times["a"].q3_ns, times["a"].samples) == (2, 3.5, 6.5, 20)


def test_the_peak_is_measured_on_arithmetic_that_is_done(bench: Any) -> None:
    peak = bench.FmaPeak()
    with pytest.raises(BenchError, match="did not do its arithmetic"):
        peak.check()
    peak()
    peak.check()
    with pytest.raises(BenchError):
        peak.check()


def rows_of(report: Any, ns: dict[str, float], n: int, width: int = 64, depth: int = 4) -> list[Any]:
    return [
        report.Row(width, depth, n, engine, 1000, report.Time(value, value, value, 9), 1e-7)
        for engine, value in ns.items()
    ]


def verdict(report: Any, rows: list[Any], measure: str, peak_gflops: float = 100.0) -> Any:
    (found,) = (v for v in report.Cells(rows, peak_gflops).verdicts() if measure in v.measure)
    return found


def test_the_worst_cell_against_the_best_peer_decides(report: Any) -> None:
    rows = rows_of(report, {"kdpinn": 100, "onnxruntime, run": 300, "jax": 140}, 1024)
    rows += rows_of(report, {"kdpinn": 100, "onnxruntime, run": 120, "jax": 900}, 10_000)
    found = verdict(report, rows, "width ≤ 64")
    assert (found.worst, found.cells, found.missed, found.holds) == (1.2, 2, 1, False)
    assert found.where == "4×64, n = 10,000, onnxruntime, run"


def test_c_loops_and_two_threads_never_meet_calls_from_python(report: Any) -> None:
    ns = {
        "kdpinn": 100,
        "onnxruntime, run": 1300,
        "kdpinn, C loop": 40,
        "emx-onnx-cgen -Ofast, C loop": 60,
        "emx-onnx-cgen -Ofast, cffi": 150,
    }
    rows = rows_of(report, ns, 1)
    assert verdict(report, rows, "best C peer").worst == 1.5
    assert verdict(report, rows, "ONNX Runtime's run").worst == 13
    rows = rows_of(report, {"kdpinn": 100, "kdpinn, 2 threads": 50, "onnxruntime, run": 200}, 100_000)
    assert verdict(report, rows, "width ≤ 64").worst == 2
    assert verdict(report, rows, "on two").worst == 2


def test_only_the_multiply_adds_of_matrix_products_count_for_the_peak(bench: Any, report: Any, net: Any) -> None:
    assert net.multiply_adds == 4 * 2 + 4
    (row,) = rows_of(report, {"kdpinn": 1024 * 40}, 1024)
    assert row.gflops == 2 * 1000 / 40
    assert verdict(report, [row], "4×64", peak_gflops=100.0).worst == 0.5


def test_the_speed_may_fall_by_a_twentieth(report: Any) -> None:
    few = rows_of(report, {"kdpinn": 1024 * 10.0}, 1024)
    for ns_per_point, holds in ((10.49, True), (10.51, False)):
        many = rows_of(report, {"kdpinn": 100_000 * ns_per_point}, 100_000)
        assert verdict(report, few + many, "the speed at n = 1 024").holds is holds


def test_what_was_not_measured_neither_holds_nor_fails(report: Any) -> None:
    found = report.Cells(rows_of(report, {"kdpinn": 100}, 64), 100.0).verdicts()
    assert {v.holds for v in found} == {None}
    assert all(v.worst is None and not math.isnan(v.required) for v in found)
    assert "not measured" in report.verdict_table(found)


def test_the_page_shows_the_fastest_peer_of_each_number_of_points(bench: Any) -> None:
    readme = importlib.import_module("readme")

    def document(ours_ns: float) -> dict[str, Any]:
        times = {
            ("kdpinn", 64): ours_ns,
            ("kdpinn", 1): 1.0,  # from Python, where one point is not shown
            ("kdpinn, 2 threads", 64): 1.0,
            ("slow", 64): 3 * ours_ns,
            ("quick", 64): 2 * ours_ns,
            ("kdpinn, C loop", 1): 4 * ours_ns,
            ("quick, C loop", 1): 6 * ours_ns,
            **{(name, n): factor * ours_ns for n in (1024, 100_000) for name, factor in (("kdpinn", 1), ("slow", 5))},
        }
        rows = [
            {"width": 16, "depth": 4, "n": n, "engine": engine, "ns_per_point": ns} for (engine, n), ns in times.items()
        ]
        return {"rows": rows + [{**row, "depth": 3, "ns_per_point": 0.1} for row in rows]}

    lines = readme.kernels({"accurate": document(123.4), "fast": document(12.34)}).splitlines()
    assert lines[2] == "| 4×16 | accurate | 494, 1.50× quick | 123, 2.00× quick | 123, 5.00× slow | 123, 5.00× slow |"
    assert lines[3] == "|  | fast | 49.4, 1.50× quick | 12.3, 2.00× quick | 12.3, 5.00× slow | 12.3, 5.00× slow |"
    page = (BENCHMARKS.parent / "docs" / "speed.md").read_text(encoding="utf-8")
    assert "\n".join(lines[:2]) in page


def test_the_front_page_shows_ratios_that_are_decidable(bench: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    readme = importlib.import_module("readme")
    monkeypatch.setattr(readme, "RIVALS", {"onnx, run": "ONNX", "torch eager": "PyTorch", "not there": "nothing"})
    (onnx, ones, _), (_, others, _) = readme.beside_rivals(example_record())
    assert onnx == "ONNX takes"
    assert re.fullmatch(r"\d+× \(\d+–\d+\), [\d.]+× \([\d.]+–[\d.]+\)", ones)
    assert re.match(r"1[56]0× \(1\d0–1\d0\), 1[23]× ", others)  # 55,165 ns beside 353, and 1,705,000 beside 131,340
    for undecided in (None, Ratio(5.0, None, None, None, 0, 1, 0), Ratio(1.5, 0.7, 3.0, 0.2, 3, 6, 0)):
        with pytest.raises(SystemExit, match="too busy"):
            readme._times(undecided)
    assert readme._times(Ratio(5.0, 3.04, 7.0, 0.2, 3, 6, 0)) == "more than 3×"
    assert readme._times(Ratio(0.2, 0.1, 0.334, 0.2, 3, 6, 0)) == "less than 0.33×"


def test_the_crossover_is_the_one_that_a_kernel_is_lowered_with(bench: Any) -> None:
    crossover = importlib.import_module("bench_crossover")
    decided = crossover.lowered(crossover.simplify(crossover.network(16)))
    assert 0 < decided.blocking.crossover < decided.points_per_batch
