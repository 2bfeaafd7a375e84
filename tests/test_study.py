"""The study: budgets that are equal, work that is never done twice, and what it concludes from what it measured."""

from __future__ import annotations

import json
import shutil
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from io import StringIO
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from artifacts import BOX, SMALL, Artifacts
from rich.console import Console
from typer.testing import CliRunner

from kdpinn_edge import cli, zoo
from kdpinn_edge.bundle.manifest import read_manifest
from kdpinn_edge.derive.closed_form import closed_form_program
from kdpinn_edge.derive.derivatives import derivatives
from kdpinn_edge.errors import ExportError, StudyError
from kdpinn_edge.importers.model import Model, find_model
from kdpinn_edge.problems import problem
from kdpinn_edge.program.interp import interpret
from kdpinn_edge.studies.study import (
    METHODS,
    MethodRow,
    Plan,
    StudyCell,
    latency,
    make_plan,
    read_plan,
    study,
    verdicts,
)
from kdpinn_edge.studies.study.baselines import baseline, closed_form, reference, tables
from kdpinn_edge.studies.study.cost import net_cost
from kdpinn_edge.studies.study.latency import NetLatency
from kdpinn_edge.studies.study.measure import NetAccuracy, accuracy, reference_slopes
from kdpinn_edge.studies.study.page import page, pareto, write_page
from kdpinn_edge.studies.study.plan import faults_of, write_plan
from kdpinn_edge.studies.study.report import StudyReport, report
from kdpinn_edge.studies.study.results import Spread, read_accuracy, results, rows
from kdpinn_edge.studies.study.run import ACCURACY_FILE, TEACHER, StudyProgress, train_and_measure
from kdpinn_edge.studies.study.significance import LEVEL, p_value, seeds_needed
from kdpinn_edge.studies.study.text_report import print_report
from kdpinn_edge.training import DistillConfig, TrainConfig, train
from kdpinn_edge.training.run_folder import CHECKPOINT_FILE

BURGERS, HEAT = problem("burgers"), problem("heat")
TINY = {"n_points": 64, "n_candidates": 128, "adam_rounds": 1, "adam_steps": 5, "newton_rounds": 1, "n_held_out": 64}
SCRATCH = StudyCell("scratch", TrainConfig(hidden=(3,), newton_steps=2, **TINY))
KNOWN = Plan("heat", "burgers_teacher", "lm", 1.0, 100.0, ())
STUDY = """
import sys
from pathlib import Path
from kdpinn_edge.studies.study import read_plan, study

folder = Path(sys.argv[1])
study(read_plan(folder), folder)
"""
PATIENCE_SECONDS = 240.0
VALUES = StudyCell("values", DistillConfig(hidden=(3,), newton_steps=2, physics_weight=0.0, **TINY))


@pytest.fixture(scope="module")
def plan(artifacts: Artifacts) -> Plan:
    """Two students of a small teacher, all of them hardly trained."""
    config = TrainConfig(hidden=(5,), newton_steps=2, **TINY)
    teacher = artifacts.made("teacher", lambda folder: train("heat", folder, config), "a run", config)
    return Plan("heat", str(teacher), "lm", 1.0, 100.0, (SCRATCH, VALUES))


@pytest.fixture(scope="module")
def folder(plan: Plan, artifacts: Artifacts) -> Path:
    """Their study, trained in this process: what a worker of it does."""

    def make(folder: Path) -> None:
        for cell in plan.cells:
            assert train_and_measure(plan, cell, folder / cell.name)
        write_plan(plan, folder)
        assert study(plan, folder)

    return artifacts.made("study", make, plan)


@pytest.fixture
def brief(monkeypatch: pytest.MonkeyPatch) -> None:
    """Turns of the latencies that are over soon."""
    monkeypatch.setattr(latency, "TURN_SECONDS", 0.002)


# The plan


def test_a_plan_has_a_cell_for_every_method_size_and_seed(tmp_path: Path) -> None:
    plan = make_plan("burgers", sizes=((3,), (4, 4)), seeds=2, methods=("scratch", "values"), cpu_seconds=9.0)
    assert [cell.name for cell in plan.cells] == [
        f"{method}_{size}_seed{seed}" for seed in (0, 1) for size in ("3", "4x4") for method in ("scratch", "values")
    ]
    assert plan.teacher_cpu_seconds == zoo.record("burgers_teacher")["training_cpu_seconds"]
    for one, another in zip(plan.cells[:4], plan.cells[4:], strict=True):
        assert one.config.newton_rounds == another.config.newton_rounds >= 1  # a seed changes nothing else
        assert isinstance(one.config, DistillConfig) == METHODS[one.method].distils
    write_plan(plan, tmp_path)
    assert read_plan(tmp_path) == plan
    more = make_plan("burgers", sizes=((3,),), seeds=3, methods=("values",), cpu_seconds=9.0, known=plan)
    assert more.cells[:8] == plan.cells  # what was planned stays as it was
    assert [cell.name for cell in more.cells[8:]] == ["values_3_seed2"]
    assert more.cells[8].config == replace(plan.cells[1].config, seed=2)
    command = "kdpinn-edge study burgers --size 3 --size 4,4 --method scratch --method values --seeds 2 --seconds 9"
    assert plan.commands == (command,)
    here = make_plan("burgers", sizes=((3,),), seeds=1, methods=("scratch",), cpu_seconds=9.0, teacher_cpu_seconds=25.0)
    assert here.teacher_cpu_seconds == 25
    assert here.commands == (
        "kdpinn-edge study burgers --teacher-seconds 25 --size 3 --method scratch --seeds 1 --seconds 9",
    )
    assert faults_of(plan, here) == "teacher_cpu_seconds was 66.2, is now 25.0"
    assert more.commands == (
        "kdpinn-edge study burgers --size 3 --method scratch --seeds 2 --seconds 9",
        "kdpinn-edge study burgers --size 3 --method values --seeds 3 --seconds 9",
        command.replace("--size 3 ", ""),
    )


def test_each_method_has_as_many_residuals_as_the_weights_ask_for() -> None:
    """Whatever the optimiser: one that is quickly timed."""
    stated = {"seeds": 1, "optimiser": "lbfgs", "cpu_seconds": 600.0}
    plan = make_plan("kovasznay", sizes=((24, 24),), **stated)
    points = {cell.name: cell.config.n_points for cell in plan.cells}
    weights = 5 * 24 + 25 * 24 + 25 * 4  # four features, four outputs
    per_point = {"scratch": 3, "scratch_long": 3, "paper": 3 + 3, "values": 3, "slopes": 3 + 6}
    assert points == {f"{name}_24x24_seed0": max(200, -(-2 * weights // count)) for name, count in per_point.items()}
    small = make_plan("kovasznay", sizes=((3,),), methods=("scratch",), **stated)
    assert [cell.config.n_points for cell in small.cells] == [200]
    large = make_plan("heat", sizes=((40, 40),), methods=("values",), **stated)
    assert [cell.config.n_points for cell in large.cells] == [3000]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"methods": ("magic",)}, "no method is called 'magic'; expected: scratch, scratch_long, paper"),
        ({"teacher": "burgers_nu_teacher"}, "solves burgers_nu; expected: a teacher of burgers"),
        ({"cpu_seconds": 1e-3}, "scratch, 3: 0.001 s do not hold Adam and one round; expected: more time"),
        ({"known": KNOWN}, "(?s)another study.*problem was 'heat', is now 'burgers'.*cpu_seconds was 1.0, is now"),
    ],
)
def test_what_cannot_be_planned(options: dict[str, object], message: str) -> None:
    with pytest.raises(StudyError, match=message):
        make_plan("burgers", **{"sizes": ((3,),), "methods": ("scratch",), **options})


def test_a_folder_without_a_plan_and_with_one_that_was_edited(tmp_path: Path) -> None:
    assert read_plan(tmp_path) is None
    (tmp_path / "plan.json").write_text('{"problem": "burgers"}')
    with pytest.raises(StudyError, match=r"not the plan of a study .* or one of another version: take a new folder"):
        read_plan(tmp_path)


# The work


@pytest.mark.parametrize("cells", [{}, "", None, {"a": 1}, 3])
def test_cells_that_are_no_list_are_refused(cells: object, tmp_path: Path) -> None:
    write_plan(KNOWN, tmp_path)
    document = json.loads((tmp_path / "plan.json").read_text())
    (tmp_path / "plan.json").write_text(json.dumps(document | {"cells": cells}))
    with pytest.raises(StudyError, match="expected: a list"):
        read_plan(tmp_path)


def test_an_accuracy_below_zero_is_refused(tmp_path: Path) -> None:
    measured = {"relative_l2": 1e-3, "rmse": 1e-3, "max_abs": -2.0, "slopes_l2": None}
    (tmp_path / ACCURACY_FILE).write_text(json.dumps(measured))
    with pytest.raises(StudyError, match="max_abs is -2; expected: an error, which is not negative"):
        read_accuracy(tmp_path)


def test_what_is_there_is_not_done_again(plan: Plan, folder: Path) -> None:
    times = {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.name != "plan.json"}
    seen: list[StudyProgress] = []
    assert study(plan, folder, report=seen.append)
    assert [progress.done for progress in seen] == [2]
    assert times == {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.name != "plan.json"}


def test_a_cell_that_was_cut_short_goes_on(plan: Plan, folder: Path, tmp_path: Path) -> None:
    """What a worker does: one cell as if it had been killed while it measured, the other anew, to the same weights."""
    shutil.copytree(folder / VALUES.name, tmp_path / VALUES.name)
    (tmp_path / VALUES.name / ACCURACY_FILE).unlink()
    for cell in (SCRATCH, VALUES):
        run = tmp_path / cell.name
        assert train_and_measure(plan, cell, run)
        assert (run / ACCURACY_FILE).exists()
        assert (run / "model.safetensors").read_bytes() == (folder / cell.name / "model.safetensors").read_bytes()


@pytest.mark.proof
@pytest.mark.parametrize("jobs", [1, 2])
def test_a_study_that_was_cut_short_goes_on(jobs: int, plan: Plan, folder: Path, tmp_path: Path) -> None:
    """The same by workers."""
    again = tmp_path / "again"
    shutil.copytree(folder, again)
    (again / VALUES.name / ACCURACY_FILE).unlink()
    shutil.rmtree(again / SCRATCH.name)
    seen: list[StudyProgress] = []
    assert study(plan, again, jobs=jobs, report=seen.append)
    assert [progress.done for progress in seen] == [0, 1, 2]
    assert {progress.name for progress in seen} == {None, SCRATCH.name, VALUES.name}
    assert (again / VALUES.name / ACCURACY_FILE).exists()
    for cell in (SCRATCH, VALUES):
        name = f"{cell.name}/model.safetensors"
        assert (again / name).read_bytes() == (folder / name).read_bytes()


@pytest.mark.skipif(not Path("/proc/thread-self/children").exists(), reason="finds the workers in /proc: Linux")
@pytest.mark.proof
def test_workers_end_with_a_study_that_is_killed(plan: Plan, tmp_path: Path) -> None:
    endless = replace(plan, cells=(replace(SCRATCH, config=replace(SCRATCH.config, newton_rounds=1_000_000)),))
    write_plan(endless, tmp_path)
    with subprocess.Popen([sys.executable, "-c", STUDY, str(tmp_path)]) as killed:
        try:
            until((tmp_path / SCRATCH.name / CHECKPOINT_FILE).exists)
            children = Path(f"/proc/{killed.pid}/task/{killed.pid}/children").read_text(encoding="ascii").split()
        finally:
            killed.kill()
    assert children
    until(lambda: not any(runs(child) for child in children))


def runs(pid: str) -> bool:
    """Whether the process is there, and not only waiting to be buried."""
    try:
        return Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):  # the latter where it ends between opening and reading
        return False


def until(condition: Callable[[], bool]) -> None:
    """Wait for it; fails after PATIENCE_SECONDS."""
    end = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.1)


def test_another_study_is_not_overwritten(plan: Plan, folder: Path) -> None:
    with pytest.raises(StudyError, match="holds other cells"):
        study(replace(plan, cells=(SCRATCH,)), folder)
    assert read_plan(folder) == plan


# What is measured


def test_the_accuracy_is_that_of_the_record() -> None:
    found, record = accuracy(find_model("heat_small").program, HEAT), zoo.record("heat_small")["errors"]
    assert found.relative_l2 == pytest.approx(record["relative_l2"], rel=0.02)  # float32
    assert found.max_abs == pytest.approx(record["max_abs"], rel=0.02)
    assert found.relative_l2 < found.slopes_l2 < 5e-2


def test_without_a_reference_the_accuracy_is_that_of_the_residual() -> None:
    program = find_model("heat").program
    found = accuracy(program, replace(HEAT, exact=None, closed_form=None))
    x = HEAT.grid(HEAT.per_axis)
    u_t, u_xx = interpret(derivatives(program, ["u_t", "u_xx"]), x).T
    r = u_t - 0.4 * u_xx
    share = np.linalg.norm(r) / np.linalg.norm(u_t)  # the ansatz is a product, so u_t is a sum of larger terms
    assert 0.2 * share < found.relative_l2 < share
    assert found.max_abs == pytest.approx(np.abs(r).max(), rel=0.1)  # float32
    assert found.rmse == pytest.approx(np.sqrt(np.mean(r**2)), rel=0.1)
    assert found.slopes_l2 is None


def test_slopes_of_a_reference_are_its_derivatives() -> None:
    x, t = points = np.random.default_rng(0).uniform(0.01, 0.99, (2, 50))
    decay = np.exp(-0.4 * np.pi**2 * t)
    expected = np.stack([np.pi * np.cos(np.pi * x) * decay, -0.4 * np.pi**2 * np.sin(np.pi * x) * decay], axis=1)
    np.testing.assert_allclose(reference_slopes(HEAT, points.T), expected, rtol=0, atol=1e-10)


def test_tables_store_no_more_numbers_than_they_may() -> None:
    found = dict(tables(HEAT, HEAT.reference, 120))
    assert [title.split(" ")[0] for title in found] == ["cubic", "Chebyshev"]
    for title, table in found.items():
        made = baseline(title, table, HEAT, NetLatency(1.0, 1.0))
        assert 60 < made.numbers <= 120
        assert made.accuracy.relative_l2 < 1e-3
    assert not dict(tables(HEAT, HEAT.reference, 15))  # 4 along each axis are the least
    (graded, _) = tables(BURGERS, BURGERS.reference, 120)
    assert graded[0].endswith(", graded")


def test_the_reference_and_the_closed_form() -> None:
    assert reference(HEAT).accuracy.max_abs == HEAT.exact_error
    exact = closed_form(Model("heat", closed_form_program(HEAT)), HEAT, NetLatency(1.0, 1.0))
    assert 0 < exact.accuracy.relative_l2 < 1e-6  # float32


# What is concluded


def row(method: str, errors: Sequence[float], cpu_seconds: float = 1.0) -> MethodRow:
    spread = Spread.of(errors)
    return MethodRow((8,), method, len(errors), 41, cpu_seconds, tuple(errors), spread, 1.0, 1.0, spread)


LOW, HIGH, MIXED = (1.0, 0.5, 2.0, 1.5, 0.75), (8.0, 3.0, 9.0, 10.0, 7.0), (0.6, 3.0, 9.0, 1.2, 7.0)


@pytest.mark.parametrize(
    ("values", "scratch", "said"),
    [
        (LOW, HIGH, "is better by 8 (p = 0.016), compared with"),  # 2 · 2/252
        (HIGH, LOW, "is worse by 8 (p = 0.016), compared with"),
        (LOW, [1.02 * error for error in LOW], "is better by 1.02 in the median, which may be chance (p = 1)"),
        (LOW, MIXED, "is better by 3 in the median, which may be chance (p = 0.44)"),
        (LOW[:3], HIGH[:3], "is better by 8 in the median, of which 3 seeds prove nothing (5 are needed)"),
        (LOW, HIGH[:2], "is better by 5.5 in the median, of which 2 seeds prove nothing (5 are needed)"),
    ],
)
def test_a_verdict_is_that_of_a_rank_test(values: Sequence[float], scratch: Sequence[float], said: str) -> None:
    verdict, _ = verdicts([row("scratch", scratch), row("values", values), row("paper", (100.0,) * 5)])
    assert said in str(verdict)
    assert "CPU time" not in str(verdict)
    assert verdict.is_significant == ("(p = 0.016)" in said)
    (uneven,) = verdicts([row("scratch", scratch, 2.0), row("values", values, 3.0)])
    assert str(uneven).endswith("student's time”, in 1.5 times its CPU time")


def test_what_more_than_values_brings_is_compared_with_values_alone() -> None:
    of_scratch, of_paper, of_slopes = verdicts(
        [row("scratch", HIGH), row("values", MIXED), row("paper", LOW), row("slopes", HIGH)]
    )
    assert (of_scratch.distilled, of_scratch.other, of_scratch.chosen_from) == ("paper", "scratch", 3)
    assert str(of_paper).startswith("8: “distilled: values and equation” is better by 3 in the median, which may be")
    assert (of_paper.p, of_paper.seeds) == (2 * p_value(LOW, MIXED), 5)
    assert (of_slopes.distilled, of_slopes.other) == ("slopes", "values")
    assert of_slopes.factor < 1


def test_equal_methods_are_told_apart_in_at_most_one_of_twenty_cases() -> None:
    for n, found in ((3, 0), (4, 2), (5, 8)):
        splits = list(combinations(range(2 * n), n))
        apart = [p_value(a, sorted(set(range(2 * n)) - set(a))) <= LEVEL for a in splits]
        assert found <= sum(apart) <= LEVEL * len(splits)
        assert (sum(apart) > 0) == (n >= seeds_needed())
    assert [seeds_needed(chosen_from=k) for k in (1, 2, 3)] == [4, 5, 5]


def test_medians_and_spread_are_over_the_seeds(plan: Plan, folder: Path) -> None:
    found = results(plan, folder)
    three = [replace(found[1], accuracy=NetAccuracy(error, 1.0, error, 1.0)) for error in (3.0, 1.0, 7.0)]
    (only,) = rows(three, NetAccuracy(1.0, 1.0, 2.0, 1.0))
    assert only.seeds == 3
    assert only.relative_l2 == Spread(3.0, 1.0, 7.0)
    assert only.rmse_ratio == 1.5


# What is shown


def test_without_a_reference_residuals_are_shown_and_called_so(plan: Plan, folder: Path) -> None:
    net = NetAccuracy(0.25, 1.0, 0.5, None)
    latency = {name: NetLatency(1.0, 1.0) for name in (TEACHER, "3")}
    counts = dict.fromkeys(latency, 1)
    table = tuple(rows([replace(each, accuracy=net) for each in results(plan, folder)], net))
    said = tuple(verdicts(table))
    found = StudyReport(plan, HEAT, 2, net, 1, table, said, counts, latency, (), None, None)
    text = page(found, "study.png")
    assert "heat has no reference solution, so these are residuals" in text
    assert "is not always a smaller error" in text
    assert "| teacher |  | 1 | 2.5e-01 | 1.0e+00 | 1 |" in text
    for word in ("slopes", "relative L2", "Without a network"):
        assert word not in text
    assert "by residuals" in repr(found)
    assert found.document()["errors_are"] == "residuals"
    assert found.document()["baselines"] == []
    assert "residual" in found.plot().axes[0].get_ylabel()


@pytest.mark.usefixtures("brief")
def test_the_page_shows_every_row(plan: Plan, folder: Path, tmp_path: Path) -> None:
    found = report(plan, folder)
    page, figure = tmp_path / "study.md", tmp_path / "study.png"
    write_page(found, page)
    text = page.read_text()
    for method in ("scratch", "values"):
        assert f"| 3 | {METHODS[method].title} | 1 |" in text
    assert "| teacher |" in text
    assert f"`{plan.commands[0]}`" in text
    assert "![Errors over latency and over what is stored](study.png)" in text
    assert struct.unpack(">II", figure.read_bytes()[16:24]) > (800, 400)
    assert json.loads((tmp_path / "study.json").read_text()) == json.loads(json.dumps(found.document()))
    assert len(pareto(found)) == 1  # one size has one latency
    assert min(latency.per_point_ns for latency in found.latencies.values()) > 0
    assert "closed form" in [each.name for each in found.baselines]
    assert "| closed form |  | " in text
    console = Console(width=300, record=True, file=StringIO())
    print_report(console, found)
    shown = console.export_text()
    assert all(str(verdict) in shown for verdict in found.verdicts)
    assert f"in float64, where it errs by {found.teacher_in_float64.relative_l2:.1e}." in text
    document = json.loads(json.dumps(found.document(), allow_nan=False))
    assert document["plan"] == json.loads(json.dumps(asdict(plan)))
    assert [each["method"] for each in document["rows"]] == ["scratch", "values"]


@pytest.mark.slow
@pytest.mark.usefixtures("brief")
@pytest.mark.parametrize("times", [1, pytest.param(2, marks=pytest.mark.proof)])
def test_the_command_makes_a_study_and_goes_on_with_it(times: int, tmp_path: Path) -> None:
    planned = "--teacher heat_small --size 3 --method values --seeds 1 --seconds 2"
    options = [*planned.split(), "--out", str(tmp_path / "study")]
    page = ["--page", str(tmp_path / "page.md"), "--json"]
    for _ in range(times):
        result = CliRunner().invoke(cli.app, ["study", "heat", *options, *page])
        assert result.exit_code == 0, result.output
        (found,) = json.loads(result.stdout)["rows"]
        assert (found["method"], found["hidden"], found["seeds"]) == ("values", [3], 1)
    assert f"`kdpinn-edge study heat {planned}`" in (tmp_path / "page.md").read_text()
    refused = CliRunner().invoke(cli.app, ["study", "heat", *options, "--size", "3x3"])
    assert refused.exit_code == 2
    assert "'3x3'; expected: sizes of layers" in " ".join(refused.stderr.replace("│", "").split())


def test_the_cost_of_a_network_is_what_its_export_states(artifacts: Artifacts) -> None:
    model, stated = Model("net", SMALL, BOX), read_manifest(artifacts.small("cortex-m7")).functions["eval"].instructions
    cost = net_cost(model, "cortex-m7")
    assert stated == {"1": cost.one_point, "64": cost.per_point * 64}
    assert 0 < cost.flash < 10_000
    with pytest.raises(ExportError, match="no instructions counted for c99"):
        net_cost(model, "c99")
