"""benchmarks/bench_jets.py: what enters the comparison, and what is concluded from its figures. Never how fast."""

from __future__ import annotations

import importlib
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kdpinn_edge.errors import BenchError
from kdpinn_edge.program.interp import interpret

BENCHMARKS = Path(__file__).parent.parent / "benchmarks"


@pytest.fixture(scope="module")
def bench() -> Iterator[Any]:
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(BENCHMARKS)
        yield importlib.import_module("bench_jets")


@pytest.mark.proof
def test_a_small_run_writes_every_figure(bench: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "figures.json"
    tiny = ["--widths", "4", "--points", "1", "64", "--seconds", "0.01", "--rounds", "2"]
    bench.main([*tiny, "--out", str(out)])
    document = json.loads(out.read_text())
    assert list(tmp_path.iterdir()) == [out]
    entered = {(row["engine"], row["n"]) for row in document["rows"]}
    assert {(name, n) for name in ("kdpinn", "u alone") for n in (1, 64)} <= entered
    assert (("kdpinn, C loop", 1) in entered) == (shutil.which("cc") is not None)
    for package in ("jax", "onnxruntime", *(["casadi"] if shutil.which("cc") else [])):
        if package in document["versions"]:
            assert any(name.startswith(package) for name, _ in entered), document["absent"]
    for row in document["rows"]:
        assert 0 < row["time"]["ns"] <= row["time"]["q1_ns"] <= row["time"]["q3_ns"]
        assert row["error"] < 1e-5
    shown = capsys.readouterr().out
    assert all(verdict["measure"] in shown for verdict in document["verdicts"])


def test_wrong_values_do_not_enter(bench: Any, tmp_path: Path) -> None:
    jet = bench.exported(bench.derivatives(bench.network(4), bench.REQUESTS), 4, tmp_path)
    contest = bench.Contest(jet, 5)
    y = interpret(jet.program, contest.x).astype(np.float32)
    contest.enter("right", lambda x, out: lambda: y)
    with pytest.raises(BenchError, match=r"is off by .* expected"):
        contest.enter("wrong", lambda x, out: lambda: y + np.array([0, 0, 0, 1e-3], np.float32))
    assert list(contest.samplers) == ["right"]


def row(bench: Any, engine: str, ns: float, n: int = 1024) -> Any:
    return bench.Row(32, n, engine, bench.Time(ns, ns, ns, 3), 0.0)


def test_each_measure_is_judged_by_its_worst_cell(bench: Any) -> None:
    rows = [
        row(bench, "kdpinn", 300),
        row(bench, "u alone", 100),
        row(bench, "jax, jvp", 400),
        row(bench, "jax, jet", 380),
        row(bench, "kdpinn, C loop", 10, n=1),
        row(bench, "casadi, MX, C loop", 70, n=1),
    ]
    holds = {verdict.measure: (verdict.worst, verdict.holds) for verdict in bench.verdicts(rows)}
    assert holds == {
        "u alone / the jet": (1 / 3, True),
        "u alone / the jet, n = 1 in C": (None, None),
        "× the best of JAX, n ≥ 1 024": (380 / 300, False),
        "× ONNX Runtime on our graph": (None, None),
        "× the best of CasADi, n = 1 in C": (7.0, False),
    }
