"""The comparison of backends: what gets in, what is measured in which order, and how an interrupted run goes on."""

from __future__ import annotations

import json
import os
import re
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import replace
from multiprocessing import active_children
from pathlib import Path
from time import sleep
from typing import Any

import onnx
import psutil
import pytest
from artifacts import Artifacts
from entrants import (
    cannot,
    computes_while_loading,
    dies,
    leaves_files,
    library_loop,
    never_loads,
    numpy_program,
    slow,
    wrong,
    wrong_for_many,
)
from strategies import mlp

from kdpinn_edge.comparison import session
from kdpinn_edge.comparison.backend import Backend, Case, Prepared
from kdpinn_edge.comparison.backend_config import BackendConfig
from kdpinn_edge.comparison.background import background
from kdpinn_edge.comparison.frontier import bracket, frontier
from kdpinn_edge.comparison.plan import CLOSED_TURNS, GRACE, LONGEST_TURN, Timetable, plan
from kdpinn_edge.comparison.record import MODES, Protocol, Record
from kdpinn_edge.comparison.record_file import read_record
from kdpinn_edge.comparison.session import MeasurementProgress, measure, period_for
from kdpinn_edge.errors import BenchError

TINY = Protocol(
    n_points=(1, 100), modes=("closed",), processes=1, rounds=1, turn_seconds=0.01, deadline_ns=10_000_000, seed=0
)


def backend(prepare: Callable[[Case, int | None], Prepared], *packages: str) -> Backend:
    return Backend(prepare.__name__, "call from Python", "same bits", packages, "bench", prepare)


@pytest.fixture(scope="module")
def bundle(artifacts: Artifacts) -> Path:
    return artifacts.bundle(mlp(2, 4, 1, 1), name="net")


def configs(bundle: Path, *prepares: Callable[[Case, int | None], Prepared]) -> list[BackendConfig]:
    return [BackendConfig(prepare.__name__, backend(prepare), bundle) for prepare in prepares]


IN_EVERY_MODE = replace(TINY, modes=MODES, processes=2)


@pytest.fixture(scope="module")
def entrants(bundle: Path) -> list[BackendConfig]:
    """Two backends, and five that do not get in."""
    missing = BackendConfig("missing", backend(numpy_program, "no-such-package"), bundle)
    return [*configs(bundle, numpy_program, library_loop, wrong, wrong_for_many, dies, cannot), missing]


@pytest.fixture(scope="module")
def written(bundle: Path, entrants: list[BackendConfig], artifacts: Artifacts) -> Path:
    """The record of all of them in every mode."""

    def make(out: Path) -> None:
        found = measure(entrants, IN_EVERY_MODE, name="net", out=out)
        assert replace(read_record(out), conditions=()) == replace(found, conditions=())

    return artifacts.made("record.json", make, "in every mode", bundle)


@pytest.fixture(scope="module")
def record(written: Path) -> Record:
    return read_record(written)


def test_every_row_of_those_that_got_in_is_measured(record: Record) -> None:
    assert record.is_complete
    cells = {(cell.entry, cell.n, cell.mode): cell for cell in record.cells}
    whole = {(name, n, mode) for name in ("numpy_program", "library_loop") for n in (1, 100) for mode in MODES}
    assert cells.keys() == whole | {("wrong_for_many", 1, mode) for mode in MODES}
    for cell in record.cells:
        turns = CLOSED_TURNS if cell.mode == "closed" else 1
        assert sorted(block.process for block in cell.blocks) == [0] * turns + [1] * turns
        assert all(ns > 0 for block in cell.blocks for ns in block.samples_ns)
        assert cell.batch == 1 or cell.mode == "closed"
        assert (cell.period_ns is not None) == cell.mode.startswith("periodic")
    assert {entry.name: entry.error for entry in record.entries}["numpy_program"] < 1e-6
    for entry in record.entries:
        assert len(entry.starts) == 2
        assert all(min(s.process_ns, s.load_ns, s.first_call_ns, s.resident_bytes) > 0 for s in entry.starts)
        assert len(entry.cpus) == min(2, len(os.sched_getaffinity(0)))


def test_a_backend_that_is_dear_to_load_keeps_its_process(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All turns of both generations are taken, those of the dear one in one process."""
    monkeypatch.setattr(session, "LOAD_ALL_S", 30.0)  # a guess from which the run plans its whole budget
    monkeypatch.setattr(session, "MOST_RELOADING", 0.05)  # of a budget that holds it all on a machine with much work
    takes_long = BackendConfig("takes_long", backend(computes_while_loading), bundle)
    protocol = replace(TINY, processes=2, budget_s=60.0)
    found = measure([*configs(bundle, numpy_program), takes_long], protocol, name="net")
    processes = {cell.entry: {block.process for block in cell.blocks} for cell in found.cells}
    assert processes == {"numpy_program": {0, 1}, "takes_long": {0}}
    assert {len(cell.blocks) for cell in found.cells} == {2 * CLOSED_TURNS}
    assert {entry.name: len(entry.starts) for entry in found.entries} == {"numpy_program": 2, "takes_long": 1}


def test_the_instruments_are_measured_by_the_same_protocol(record: Record) -> None:
    assert [baseline.layer for baseline in record.baselines] == ["call from Python", "kernel in C"]
    for baseline in record.baselines:
        assert {cell.mode for cell in baseline.cells} == {"closed", "periodic", "periodic, load"}
        assert baseline.clock_ns > 0


def test_who_does_not_get_in_is_listed_with_the_reason(record: Record) -> None:
    absent = {(found.name, found.n): found for found in record.absent}
    assert absent.keys() == {
        ("wrong", None), ("wrong_for_many", 100), ("dies", None), ("cannot", None), ("missing", None)
    }  # fmt: skip
    wrong = absent["wrong", None]
    assert wrong.kind == "refused"
    assert wrong.error == pytest.approx(0.01, rel=1e-3)
    assert "has other bits than the NumPy program, and is off by 0.01 from the float64 Program" in wrong.reason
    assert absent["wrong_for_many", 100].kind == "refused"
    assert absent["dies", None].reason == "its process died with exit code 7: last words"
    assert absent["cannot", None].reason == "RuntimeError: out of luck"
    missing = absent["missing", None]
    assert missing.kind == "not installed"
    assert missing.reason == "no-such-package is not installed: pip install 'kdpinn-edge[bench]'"


def test_one_weight_changed_is_refused(bundle: Path, tmp_path: Path) -> None:
    """A model file with right hashes and one other weight: no backend that computes it is timed."""
    from kdpinn_edge.comparison.selection import named

    changed = Path(shutil.copytree(bundle, tmp_path / "net"))
    model = onnx.load(changed / "model.onnx")
    weight = next(tensor for tensor in model.graph.initializer if tensor.name.endswith("_weight"))
    values = onnx.numpy_helper.to_array(weight).copy()
    values.flat[0] += 0.001
    weight.CopyFrom(onnx.numpy_helper.from_array(values, weight.name))
    onnx.save(model, changed / "model.onnx")
    _rehash(changed, "model.onnx")
    found = measure(named(["library, cffi", "onnxruntime, io-binding"], changed), TINY, name="net")
    assert [entry.name for entry in found.entries] == ["library, cffi"]
    (refused,) = found.absent
    assert (refused.name, refused.kind) == ("onnxruntime, io-binding", "refused")
    assert refused.error is not None
    assert 1e-6 < refused.error < 1e-2
    assert "from the float64 Program; expected: up to" in refused.reason


def _rehash(bundle: Path, name: str) -> None:
    import hashlib

    path = bundle / "manifest.json"
    manifest = json.loads(path.read_text())
    manifest["files"][name] = hashlib.sha256((bundle / name).read_bytes()).hexdigest()
    path.write_text(json.dumps(manifest))


class StopHereError(Exception):
    """Raised by a test in the middle of a run."""


def interrupt_after(turns: int) -> Callable[[MeasurementProgress], None]:
    seen = [0]

    def report(progress: MeasurementProgress) -> None:
        seen[0] += "points" in progress.doing
        if seen[0] > turns:
            raise StopHereError

    return report


def test_an_interrupted_run_goes_on_where_it_stopped(bundle: Path, tmp_path: Path) -> None:
    out, who = tmp_path / "record.json", configs(bundle, numpy_program)
    protocol = replace(TINY, processes=2)
    with pytest.raises(StopHereError):
        measure(who, protocol, name="net", out=out, report=interrupt_after(7))
    part = read_record(out)
    assert not part.is_complete
    kept = {block.turn for cell in part.cells for block in cell.blocks}
    assert 0 < len(kept) < 12
    with pytest.raises(
        BenchError, match=r"record.json already holds a record; .* by --resume, or replace it by --force"
    ):
        measure(who, protocol, name="net", out=out)
    whole = measure(who, protocol, name="net", out=out, resume=True)
    assert whole.is_complete
    for cell, before in zip(whole.cells, part.cells, strict=True):
        assert cell.blocks[: len(before.blocks)] == before.blocks
        assert len({block.turn for block in cell.blocks}) == len(cell.blocks) == 6
        old = {block.process for block in before.blocks}
        assert all(block.process not in old for block in cell.blocks[len(before.blocks) :])
    assert measure(who, protocol, name="net", out=out, resume=True).cells == whole.cells


@pytest.mark.proof
def test_backends_are_resumed_in_any_order(bundle: Path, tmp_path: Path) -> None:
    out, who = tmp_path / "record.json", configs(bundle, numpy_program, library_loop)
    with pytest.raises(StopHereError):
        measure(who, TINY, name="net", out=out, report=interrupt_after(6))
    whole = measure(who[::-1], TINY, name="net", out=out, resume=True)
    assert whole.is_complete
    assert {len(cell.blocks) for cell in whole.cells} == {3}


def test_a_whole_record_is_not_measured_again(bundle: Path, tmp_path: Path) -> None:
    """Those that did not get in are not tried again either."""
    out, who = tmp_path / "record.json", configs(bundle, wrong_for_many, cannot)
    whole = measure(who, TINY, name="net", out=out, resume=True)
    doing: list[str] = []
    again = measure(who, TINY, name="net", out=out, resume=True, report=lambda progress: doing.append(progress.doing))
    assert doing == ["done"]
    assert whole.cells
    assert (again.cells, again.absent, again.entries) == (whole.cells, whole.absent, whole.entries)


@pytest.mark.parametrize("change", ["protocol", "bundle", "more backends", "fewer backends"])
def test_the_record_of_another_run_is_not_continued(
    change: str, bundle: Path, entrants: list[BackendConfig], written: Path, artifacts: Artifacts, tmp_path: Path
) -> None:
    out, who, protocol = Path(shutil.copy(written, tmp_path)), entrants, IN_EVERY_MODE
    before = out.read_bytes()
    if change == "protocol":
        protocol = replace(protocol, seed=1)
    elif change == "more backends":
        who = [*entrants, *configs(bundle, slow)]
    elif change == "fewer backends":
        who = entrants[:-1]
    else:
        other = artifacts.bundle(mlp(2, 5, 1, 1), name="net")
        who = [replace(each, bundle=other) for each in entrants]
    with pytest.raises(BenchError, match=r"is the record of another run(.|\n)*same bundle, options, versions"):
        measure(who, protocol, name="net", out=out, resume=True)
    assert out.read_bytes() == before


def test_nothing_is_left_behind(bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(tempfile, "tempdir", None)  # it is looked up anew
    found = measure(configs(bundle, library_loop, leaves_files), TINY, name="net")
    assert len(found.entries) == 2
    assert list(tmp_path.iterdir()) == []


def test_one_that_is_too_slow_is_said_to_be(bundle: Path) -> None:
    found = measure(configs(bundle, slow, numpy_program), replace(TINY, n_points=(1,)), name="net")
    assert [entry.name for entry in found.entries] == ["slow", "numpy_program"]
    (absent,) = found.absent
    assert (absent.name, absent.n, absent.kind) == ("slow", 1, "failed")
    assert re.fullmatch(r"one call takes \S+ s; expected: up to 0.08 s", absent.reason)


def test_one_that_does_not_load_in_time_is_left_out(bundle: Path) -> None:
    """A run keeps to its time: it does not wait for one that compiles for minutes."""
    who, protocol = configs(bundle, never_loads, numpy_program), replace(TINY, n_points=(1,), loading_s=10.0)
    found = measure(who, protocol, name="net")
    assert [entry.name for entry in found.entries] == ["numpy_program"]
    (absent,) = found.absent
    assert (absent.name, absent.kind) == ("never_loads", "failed")
    assert re.match(r"was not loaded within 10 s; expected: ", absent.reason)


def test_the_background_load_stops_by_itself_and_when_told(bundle: Path) -> None:
    (cpu, *_) = sorted(os.sched_getaffinity(0))
    with background((cpu,)) as load_on_it:
        (started,) = active_children()
        child = psutil.Process(started.pid)
        with load_on_it.running(at_most_s=0.2):
            busy, used = child.cpu_affinity(), [child.cpu_times().user]
            for _ in range(200):
                sleep(0.3)
                used.append(child.cpu_times().user)
                if used[-1] == used[-2] > used[0]:  # it has begun, and does nothing any more
                    break
            else:
                pytest.fail(f"it does not begin, or does not stop: {used}")
    assert busy == [cpu]
    assert not child.is_running()


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ({"n_points": ()}, "expected: at least one n, from 1, each once"),
        ({"n_points": (0,)}, "expected: at least one n, from 1, each once"),
        ({"n_points": (1, 1)}, "expected: at least one n, from 1, each once"),
        ({"modes": ()}, "no mode; expected"),
        ({"processes": 0}, "processes=0"),
        ({"turn_seconds": 0.0}, "turn_seconds=0.0"),
        ({"budget_s": 0.0}, "budget_s=0.0"),
    ],
)
def test_what_makes_no_comparison_is_refused(fault: dict[str, Any], message: str, bundle: Path) -> None:
    with pytest.raises(BenchError, match=message):
        measure(configs(bundle, numpy_program), replace(TINY, **fault), name="net")


def test_no_backend_twice(bundle: Path) -> None:
    with pytest.raises(BenchError, match="each once"):
        measure(configs(bundle, numpy_program, numpy_program), TINY, name="net")


def test_every_cell_has_its_turns_in_every_round_in_an_order_of_its_own() -> None:
    protocol = replace(TINY, processes=2, rounds=2)
    cells = [(name, n, mode) for name in "ab" for n in (1, 100) for mode in ("closed", "cold")]
    turns = plan(protocol, cells)  # type: ignore[arg-type]
    assert turns == plan(protocol, cells)  # type: ignore[arg-type]
    assert [turn.index for turn in turns] == list(range(64))
    laps = [[(t.entry, t.n, t.mode) for t in turns if (t.process, t.lap) == (p, k)] for p in (0, 1) for k in range(6)]
    closed = [cell for cell in cells if cell[2] == "closed"]
    assert [len(lap) for lap in laps] == [8, 4, 4] * 4
    assert all(sorted(lap) == sorted(closed if len(lap) == 4 else cells) for lap in laps)
    assert len({tuple(lap) for lap in laps}) > 6
    assert [turn.process for turn in turns] == [0] * 32 + [1] * 32
    assert turns != plan(replace(protocol, seed=1), cells)  # type: ignore[arg-type]


class Machine:
    """A clock that stands still but for what is done on it, each `slowness` times as slow as was guessed."""

    def __init__(self, slowness: float) -> None:
        self.slowness, self.now_s = slowness, 100.0

    def do(self, seconds: float) -> None:
        self.now_s += seconds


def taken(machine: Machine, *, planned_s: float, load_s: float, overhead_s: float) -> tuple[float, int, float]:
    """The seconds of a run of four generations of two laps of 50 turns, its turns, and the longest of them."""
    table = Timetable(planned_s, 4, 0.06, is_binding=True, now_s=lambda: machine.now_s)
    count, longest_s = 0, 0.0
    for generation in range(4):
        if not table.has_time_to_load(generation, 100):
            break
        machine.do(load_s * machine.slowness)
        table.loaded(generation, 100)
        left = 100
        for lap in range(2):
            if not table.has_time(lap, 50):
                break
            for _ in range(50):
                if table.is_over(lap):
                    break
                turn_s = table.turn_s(left, 0.002)
                machine.do(turn_s + overhead_s * machine.slowness)
                longest_s = max(longest_s, turn_s)
                count, left = count + 1, left - 1
    return table.elapsed_s, count, longest_s


@pytest.mark.parametrize(("slowness", "least_turns"), [(0.2, 400), (1.0, 400), (2.0, 300), (4.0, 100), (7.0, 100)])
def test_a_run_takes_the_time_that_was_planned(slowness: float, least_turns: int) -> None:
    elapsed_s, count, longest_s = taken(Machine(slowness), planned_s=40.0, load_s=3.0, overhead_s=0.005)
    assert 0.8 * 40 <= elapsed_s <= GRACE * 40 + 0.2
    assert count >= least_turns
    assert longest_s <= LONGEST_TURN * 0.06


def test_the_first_round_is_taken_even_where_loading_took_all_the_time() -> None:
    _, count, _ = taken(Machine(1.0), planned_s=40.0, load_s=60.0, overhead_s=0.0)
    assert count == 100


@pytest.mark.parametrize(
    ("call_ns", "period_ns"), [(1, 200_000), (100_000, 500_000), (333_333, 1_000_000), (334_000, 2_000_000)]
)
def test_a_period_leaves_time_to_spare(call_ns: float, period_ns: int) -> None:
    assert period_for(call_ns) == period_ns


@pytest.mark.parametrize("fixed_ns", [0, 3_000, 900_000])
@pytest.mark.parametrize("point_ns", [0.85, 1.0, 6.9, 13.0, 69.0, 5_000.0])
def test_the_frontier_is_bracketed_by_measurements(fixed_ns: float, point_ns: float) -> None:
    measured: dict[int, float] = {}

    def latency_ns(n: int) -> float:
        measured[n] = fixed_ns + n * point_ns
        return measured[n]

    fits, above = bracket(latency_ns, 1_000_000)
    assert above is not None
    assert measured[fits] <= 1_000_000 < measured[above]
    assert above <= max(1.1 * fits, fits + 2)
    assert len(measured) < 20


def test_the_frontier_may_have_no_end_and_no_beginning() -> None:
    assert bracket(lambda n: 1.0, 10)[1] is None
    assert bracket(lambda n: 100.0 * n, 10) == (0, 1)


def test_the_frontier_of_a_backend(bundle: Path) -> None:
    fits, absent = frontier(configs(bundle, library_loop, wrong), 300_000, 50.0)
    assert [fit.backend for fit in fits] == ["library_loop"]
    assert fits[0].n > 0
    assert fits[0].ns <= 300_000
    assert [found.name for found in absent] == ["wrong"]
