"""The command line as a person and a script meet it: text, JSON, exit codes, messages."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from artifacts import Artifacts
from strategies import mlp
from typer.testing import CliRunner, Result

from kdpinn_edge import cli
from kdpinn_edge.bundle.manifest import MANIFEST_FILE, ONNX_FILE, read_manifest
from kdpinn_edge.comparison import selection, session
from kdpinn_edge.comparison.backend import Backend
from kdpinn_edge.comparison.backend_config import NotInstalledError
from kdpinn_edge.errors import did_you_mean
from kdpinn_edge.export.targets.table import TARGETS
from kdpinn_edge.problems import problem
from kdpinn_edge.program.file import write_program
from kdpinn_edge.program.ir import Map, Program, Var

PROGRAM = mlp(2, 8, 2, 1)
EXAMPLE = Path(__file__).parents[1] / "examples" / "front.c"


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(cli.app, [str(argument) for argument in arguments])


def refused(*arguments: str | Path) -> str:
    """What a command that must exit with 2 says, in one line; it prints nothing on stdout."""
    result = run(*arguments)
    assert result.exit_code == 2, result.output
    assert result.stdout == ""
    assert "Traceback" not in result.stderr
    return " ".join(result.stderr.replace("│", "").split())


def document(*arguments: str | Path, exit_code: int = 0) -> object:
    """What a command prints with --json: one document, and nothing else on stdout."""
    result = run(*arguments, "--json")
    assert result.exit_code == exit_code, result.output
    found: object = json.loads(result.stdout)
    return found


@pytest.fixture(scope="module")
def program_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("program") / "program.npz"
    write_program(PROGRAM, path)
    return path


@pytest.fixture(scope="module")
def exported(program_file: Path, artifacts: Artifacts) -> Path:
    def export(out: Path) -> None:
        assert run("export", program_file, "--out", out, "--name", "net").exit_code == 0

    return artifacts.made("net", export, "by the command line", PROGRAM)


@pytest.fixture
def bundle(exported: Path, tmp_path: Path) -> Path:
    """A bundle to damage."""
    return Path(shutil.copytree(exported, tmp_path / "net"))


def test_problems() -> None:
    assert "u_t + u u_x" in run("problems").stdout
    found = document("problems")
    assert isinstance(found, list)
    (burgers,) = (each for each in found if each["name"] == "burgers")
    assert burgers["lower"] == [-1.0, 0.0]


def test_export_writes_a_bundle_and_says_what_is_in_it(program_file: Path, tmp_path: Path) -> None:
    out = tmp_path / "double"
    found = document("export", program_file, "--out", out, "--name", "net", "--precision", "float64")
    assert isinstance(found, dict)
    assert found["manifest"]["precision"] == "float64"
    assert json.loads((out / MANIFEST_FILE).read_text()) == found["manifest"]


def test_a_bundle_is_replaced_when_it_is_forced(program_file: Path, tmp_path: Path) -> None:
    out = tmp_path / "net"
    export = ("export", program_file, "--out", out, "--target", "c99", "--name")
    assert run(*export, "net").exit_code == 0
    before = {path.name: path.read_bytes() for path in out.iterdir()}
    assert "already holds a bundle; expected: a folder that is new or empty" in refused(*export, "other")
    assert "is taken by C" in refused(*export, "double", "--force")
    assert {path.name: path.read_bytes() for path in out.iterdir()} == before
    (out / "notes.txt").write_text("mine")
    assert "other files than those of a bundle (notes.txt)" in refused(*export, "other", "--force")
    (out / "notes.txt").unlink()
    assert run(*export, "other", "--force").exit_code == 0
    assert read_manifest(out).name == "other"
    assert not (out / "net.c").exists()
    assert run("export", out, "--out", out, "--target", "c99", "--force").exit_code == 0  # what it is made of
    assert [path.name for path in tmp_path.iterdir()] == ["net"]


def test_a_domain_is_given_and_goes_on_with_the_bundle(program_file: Path, tmp_path: Path) -> None:
    """As text, and as the bundle says it when that is the model of another export."""
    out, again = tmp_path / "net", tmp_path / "again"
    options = ("--name", "net", "--target", "c99", "--inputs", "x0=-2:1, x1=0:inf")
    assert run("export", program_file, "--out", out, *options).exit_code == 0
    assert run("export", out, "--out", again, "--target", "c99").exit_code == 0
    assert read_manifest(again).inputs == read_manifest(out).inputs
    shutil.rmtree(again)
    assert run("export", out, "--out", again, "--target", "c99", "--inputs", "x0=-1:1, x1=0:").exit_code == 0
    sides = [[(side.lower, side.upper) for side in read_manifest(folder).inputs] for folder in (out, again)]
    assert sides == [[(-2.0, 1.0), (0.0, None)], [(-1.0, 1.0), (0.0, None)]]
    for stated, found in {
        "x0=0:1": "--inputs states x0, but the model has x0, x1; expected: the same",
        "x0=0:nan, x1": "the bound 'nan' of x0 is no number; expected: as in x0=0:5000",
        "x0=0:1, x1=a:": "the bound 'a' of x1 is no number",
        "x0=0, x1": "'x0=0' is no column; expected: columns as in",
    }.items():
        assert found in refused("export", out, "--out", tmp_path / "none", "--inputs", stated)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["again", "net"]


def test_a_model_that_is_not_finite_in_its_domain(tmp_path: Path) -> None:
    x, u = Var("x", 1), Var("u", 1)
    write_program(Program("steep", (x,), (u,), (Map(u, x, "exp"),)), tmp_path / "steep.npz")
    export = ("export", tmp_path / "steep.npz", "--name", "steep", "--target", "c99", "--out", tmp_path / "steep")
    said = refused(*export, "--inputs", "x=0:1000")
    assert "eval: u is not finite in float32 at [" in said
    assert "a point of x ∈ [0, 1000]. The usual cause is an open or a wrong domain" in said
    assert [path.name for path in tmp_path.iterdir()] == ["steep.npz"]


def test_the_residual_of_a_bundle_is_that_of_its_equation(tmp_path: Path) -> None:
    assert run("export", "heat", "--out", tmp_path / "heat", "--target", "c99").exit_code == 0
    assert run("export", tmp_path / "heat", "--out", tmp_path / "again", "--target", "c99", "--residual").exit_code == 0
    first, again = read_manifest(tmp_path / "heat"), read_manifest(tmp_path / "again")
    assert list(again.functions) == ["eval", "residual"]
    assert again.equation == first.equation
    assert again.functions["eval"].program_sha256 == first.functions["eval"].program_sha256


def test_a_name_with_brackets_is_no_markup(tmp_path: Path) -> None:
    assert "'[/b]' is not a model name" in refused("export", "heat", "--name", "[/b]", "--out", tmp_path / "heat")


@pytest.fixture(scope="module")
def burgers(artifacts: Artifacts) -> Path:
    """The shipped student with every function, and in a file what its export prints with --json."""
    columns = "u, u_x, u_xx, laplacian(u, x)"

    def export(folder: Path) -> None:
        folder.mkdir()
        found = document("export", "burgers", "--out", folder / "burgers", "--derivatives", columns, "--residual")
        (folder / "printed.json").write_text(json.dumps(found))

    return artifacts.made("shipped", export, "burgers by the command line", columns) / "burgers"


@pytest.mark.slow
def test_the_shipped_student_is_compared_with_its_module(burgers: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(selection, "QUICK", replace(selection.QUICK, processes=1, rounds=1, turn_seconds=0.002))
    compared = document("bench", burgers, "--n", "1", "--backend", "torch, eager", "--backend", selection.LIBRARY)
    assert isinstance(compared, dict)
    assert [entry["name"] for entry in compared["entries"]] == ["torch, eager", selection.LIBRARY]
    assert "burgers_teacher: x[1], t[1] -> u[1]" in run("info", "burgers_teacher", "--program").stdout


@pytest.mark.slow
def test_export_with_every_function(burgers: Path, tmp_path: Path, need: Callable[[str], str]) -> None:
    out, found = burgers, json.loads((burgers.parent / "printed.json").read_text())
    assert found["manifest"]["name"] == "burgers"
    assert found["manifest"]["inputs"][0] == {"name": "x", "lower": -1.0, "upper": 1.0, "unit": "1"}
    assert found["manifest"]["equation"] == "u_t + u u_x = (0.01/π) u_xx"
    functions = found["manifest"]["functions"]
    assert {name: [column["name"] for column in function["outputs"]] for name, function in functions.items()} == {
        "eval": ["u"],
        "jet": ["u", "u_x", "u_xx", "laplacian(u, x)"],
        "residual": ["residual"],
    }
    described = document("info", out)
    assert isinstance(described, dict)
    assert [program["outputs"] for program in described["programs"].values()] == [
        [{"name": column["name"], "size": 1} for column in function["outputs"]] for function in functions.values()
    ]
    text, whole = run("info", out).stdout, run("info", out, "--program").stdout
    assert len(text.splitlines()) <= 17
    assert whole.startswith(text)
    for words in ("jet work", "laplacian(u, x) at most", "residual errors", "residual is"):
        assert words in whole
        assert words not in text
    header = (out / "burgers.h").read_text()
    assert len(header.partition("*/")[0].splitlines()) <= 10
    for function, stated in functions.items():
        assert f"burgers_{function} is the Program {stated['program_sha256']}" in header
        assert f"the Program {stated['program_sha256']}" in whole
    checks = document("check", out)
    assert isinstance(checks, dict)
    assert checks["passed"]
    for function in functions:
        assert {f"{function}, {backend}" for backend in ("library", "numba kernel", "onnx runtime")} <= {
            entry["name"] for entry in checks["checks"]
        }
    strict = ["-std=c99", "-Wall", "-Wextra", "-Wpedantic", "-Werror", "-Wshadow", "-Wconversion"]
    flags = [f"-I{out}", f"-L{out}", "-lburgers", f"-Wl,-rpath,{out}", "-o", str(tmp_path / "front")]
    subprocess.run([need("cc"), *strict, str(EXAMPLE), *flags], check=True)
    printed = subprocess.run([tmp_path / "front"], capture_output=True, text=True, check=True).stdout
    lines = re.findall(r"t = (\S+): steepest at x = (\S+), u_x = (\S+), u_xx = (\S+), residual (\S+)\n", printed)
    numbers = np.array(lines, dtype=np.float64)
    np.testing.assert_allclose(numbers[:, 0], [0.2, 0.4, 0.6, 0.8, 1.0])
    beside = np.array([[1e-5, t] for t in numbers[:, 0]])
    slopes = problem("burgers").exact(beside)[:, 0] / 1e-5  # u is odd in x
    np.testing.assert_allclose(numbers[:, 2], slopes, rtol=1e-2)
    assert (np.abs(numbers[:, 1]) < 2e-3).all()


def test_info_prints_the_program(exported: Path, program_file: Path) -> None:
    assert str(PROGRAM.sha256) in run("info", program_file).stdout.replace("\n", "")
    text = run("info", exported).stdout
    assert "x0 ∈ (-∞, ∞)" in text
    assert "tanh(" not in text
    assert "tanh(" in run("info", exported, "--program").stdout
    found = document("info", exported)
    assert isinstance(found, dict)
    assert found["manifest"]["functions"]["eval"]["program_sha256"] == found["programs"]["eval"]["sha256"]


def test_check_passes_what_export_wrote(exported: Path) -> None:
    found = document("check", exported)
    assert isinstance(found, dict)
    assert found["passed"]
    assert {entry["result"] for entry in found["checks"]} == {"passed"}
    assert "the bits of the NumPy program" in run("check", exported).stdout


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-100])


def test_check_fails_a_truncated_library(bundle: Path) -> None:
    truncate(bundle / "libnet.so")
    found = document("check", bundle, exit_code=1)
    assert isinstance(found, dict)
    assert not found["passed"]
    assert found["checks"][-1]["name"] == "files"
    assert "libnet.so: SHA-256 is" in found["checks"][-1]["detail"]


def test_check_of_what_is_no_bundle_is_bad_input(bundle: Path) -> None:
    truncate(bundle / MANIFEST_FILE)
    assert "not JSON" in refused("check", bundle)
    (bundle / MANIFEST_FILE).unlink()
    assert "expected" in refused("check", bundle)


def test_check_fails_another_model_behind_right_hashes(bundle: Path) -> None:
    """Every hash is right, but the manifest describes another Program."""
    path = bundle / MANIFEST_FILE
    record = json.loads(path.read_text())
    record["functions"]["eval"]["program_sha256"] = "0" * 64
    path.write_text(json.dumps(record))
    found = document("check", bundle, exit_code=1)
    assert isinstance(found, dict)
    assert [entry["name"] for entry in found["checks"] if entry["result"] == "failed"] == ["files"]


@pytest.mark.parametrize("described", ["an input more", "an output more", "no machine code"])
def test_check_fails_a_manifest_that_describes_another_model(described: str, bundle: Path) -> None:
    path = bundle / MANIFEST_FILE
    record = json.loads(path.read_text())
    function = record["functions"]["eval"]
    if described == "an input more":
        record["inputs"].append(record["inputs"][0] | {"name": "more"})
    elif described == "an output more":
        function["outputs"].append({"name": "more", "unit": None})
        function["errors"] |= {key: function["errors"][key] * 2 for key in ("max_abs", "rms", "scale")}
    else:
        record["target"]["name"] = "c99"
    path.write_text(json.dumps(record))
    found = document("check", bundle, exit_code=1)
    assert isinstance(found, dict)
    failed = {entry["name"] for entry in found["checks"] if entry["result"] == "failed"}
    assert failed == {"files"}  # the library carries the hash of what its manifest has to state


def test_a_program_that_the_manifest_does_not_name_is_refused(bundle: Path, tmp_path: Path) -> None:
    """Not even where the manifest lists no such file, so that no hash is wrong."""
    path = bundle / MANIFEST_FILE
    record = json.loads(path.read_text())
    del record["files"]["program.npz"]
    path.write_text(json.dumps(record))
    write_program(mlp(2, 8, 2, 1, seed=5), bundle / "program.npz")
    for command in (
        ("info", bundle),
        ("export", bundle, "--out", tmp_path / "new"),
        ("distill", "heat", "--teacher", bundle, "--out", tmp_path / "run"),
    ):
        assert "'program.npz' is not in the manifest" in refused(*command)
    assert sorted(each.name for each in tmp_path.iterdir()) == ["net"]


def test_check_fails_what_is_no_library_behind_right_hashes(bundle: Path) -> None:
    path, rubbish = bundle / MANIFEST_FILE, b"no library"
    (bundle / "libnet.so").write_bytes(rubbish)
    record = json.loads(path.read_text())
    record["files"]["libnet.so"] = hashlib.sha256(rubbish).hexdigest()
    path.write_text(json.dumps(record))
    found = document("check", bundle, exit_code=1)
    assert isinstance(found, dict)
    failed = [entry["name"] for entry in found["checks"] if entry["result"] == "failed"]
    assert failed == ["files"]


@pytest.mark.parametrize("command", ["info", "bench"])
def test_a_damaged_bundle_is_refused(command: str, bundle: Path) -> None:
    truncate(bundle / ONNX_FILE)
    assert "model.onnx: SHA-256 is" in refused(command, bundle)


@pytest.fixture
def brief(monkeypatch: pytest.MonkeyPatch) -> None:
    """A comparison that is over soon, however long a call takes on a busy machine."""
    monkeypatch.setattr(session, "TOO_SLOW_TURNS", 1e9)
    short = replace(selection.QUICK, processes=1, rounds=1, turn_seconds=0.002, n_points=(1, 20))
    monkeypatch.setattr(selection, "QUICK", short)
    monkeypatch.setattr(selection, "QUICK_NAMES", ("library, C loop", selection.LIBRARY, "numpy program"))


@pytest.mark.usefixtures("brief")
def test_bench_prints_a_table_with_its_protocol_and_keeps_a_record(
    exported: Path, tmp_path: Path, need: Callable[[str], str]
) -> None:
    """The record has every n; JSON is printed of what it has, as nothing is left to measure."""
    need("cc")
    out, page = tmp_path / "record.json", tmp_path / "page.html"
    result = run("bench", exported, "--out", out, "--report", page)
    assert result.exit_code == 0, result.output
    for part in (
        "library, cffi",
        "how many times as long as the library",
        "Machine: ",
        "Noise baseline",
        "--full also",
        f"Next: kdpinn-edge bench {exported} --budget",
    ):
        assert part in result.stdout
    assert "measuring" in result.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["page.html", "record.json"]
    before = out.read_bytes()
    found = document("bench", exported, "--out", out, "--resume")
    assert isinstance(found, dict)
    rows = {(row["entry"], row["n"], row["mode"]) for row in found["rows"]}
    assert rows == {
        (name, n, mode) for name in selection.QUICK_NAMES for n in (1, 20) for mode in ("closed", "periodic")
    }
    manifest = json.loads((exported / MANIFEST_FILE).read_text())
    assert found["subjects"][0]["program_sha256"] == manifest["functions"]["eval"]["program_sha256"]
    assert {"cpu", "kernel", "governor", "affinity"} <= found["machine"].keys()
    assert [baseline["layer"] for baseline in found["baselines"]] == ["call from Python", "kernel in C"]
    assert "replace it by --force" in refused("bench", exported, "--out", out)
    assert out.read_bytes() == before
    one = ("bench", exported, "--n", "1", "--backend", "numpy program", "--out", out)
    again = run(*one, "--force")
    assert again.exit_code == 0
    assert out.read_bytes() != before
    again = run(*one, "--resume", "--compare", out)
    assert re.search(r"^0 of [1-9]\d* ratios changed beyond noise$", again.stdout, re.M)


def test_the_quick_comparison_says_who_else_there_is(exported: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def check_installed(backend: Backend) -> None:
        asked.append(backend.name)
        if backend.extra == "peers":
            raise NotInstalledError

    monkeypatch.setattr(selection, "check_installed", check_installed)
    installed, missing = selection.beyond_quick()
    assert installed == "--full also compares: numba, in process; numpy program; torch.compile; AOTInductor"
    assert missing.startswith("not installed: openvino; litert; iree; tract; jax, jit; ")
    assert missing.endswith("; --full compares them after: pip install 'kdpinn-edge[peers]'")
    everyone = {config.name for config in selection.full(exported) if config.threads}
    assert {*asked, *selection.QUICK_NAMES} == everyone - {*selection.RIVALS}


@pytest.mark.usefixtures("brief")
def test_bench_leaves_out_what_is_missing(exported: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    result = run("bench", exported, "--n", "1", "--backend", "library, C loop", "--backend", "numpy program")
    assert result.exit_code == 0
    assert "failed: library, C loop: the C compiler 'cc' is not on PATH" in result.stdout


@pytest.mark.usefixtures("brief")
@pytest.mark.parametrize(("budget", "said", "exit_code"), [("10s", "10.0 s held", 0), ("1ns", "1.00 ns missed", 1)])
def test_a_budget_is_kept_or_missed(budget: str, said: str, exit_code: int, exported: Path, tmp_path: Path) -> None:
    words = (
        "bench",
        exported,
        "--budget",
        budget,
        "--points",
        "20",
        "--percentile",
        "50",
        "--out",
        tmp_path / "record",
    )
    result = run(*words)
    assert result.exit_code == exit_code, result.output
    assert said in result.stdout
    found = document(*words, "--resume", exit_code=exit_code)
    assert isinstance(found, dict)
    assert found["verdict"]["verdict"] == ("missed" if exit_code else "held")


@pytest.mark.usefixtures("brief")
def test_the_frontier_is_printed(exported: Path) -> None:
    arguments = ("bench", exported, "--backend", "library, cffi", "--budget", "50us", "--percentile", "50")
    assert "points in 50.0 µs" in run(*arguments, "--frontier").stdout
    found = document(*arguments, "--frontier")
    assert isinstance(found, dict)
    assert found["fits"][0]["n"] > 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["export", "{program}", "--out", "{new}"], "does not say what its library is called; add --name"),
        (["export", "{program}", "--out", "{new}", "--name", "double"], "'double' is taken by C"),
        (["export", "{program}", "--out", "{new}", "--name", "n", "--target", "pdp11"], "'pdp11' is unknown"),
        (
            ["export", "{program}", "--out", "{new}", "--precision", "float16"],
            "for '--precision': 'float16' is not",
        ),
        (["export", "{program}", "--out", "{bundle}", "--name", "net"], "replace the bundle by --force (in Python"),
        (["export", "{program}", "--out", "{program}", "--name", "net", "--force"], "is no folder; expected: a folder"),
        (["train", "heat", "--out", "{bundle}", "--force"], "already holds other files than those of a run (CM"),
        (["train", "heat", "--out", "{new}", "--force", "--resume"], "--force begins a new run and --resume goes on"),
        (["study", "heat", "--out", "{bundle}", "--force"], "already holds other files than those of a study"),
        (
            ["search", "heat", "--max-error", "1", "--out", "{bundle}", "--force"],
            "already holds other files than those of a search",
        ),
        (
            ["search", "heat", "--max-error", "1", "--storage", "sqlite:///x", "--out", "{new}", "--force"],
            "other workers may use it; expected: a new storage",
        ),
        (
            ["export", "{program}", "--out", "{new}", "--name", "net", "--residual"],
            "does not say what equation it solves",
        ),
        (
            ["export", "{program}", "--out", "{new}", "--name", "net", "--derivatives", "u_y"],
            "'u_y' is no column and no",
        ),
        (["export", "{program}", "--out", "{new}", "--name", "net", "--derivatives", "u,"], "a request is empty"),
        (["export", "{program}", "--out", "{new}", "--name", "net", "--derivatives", ""], "a request is empty"),
        (["export", "nothing.npz", "--out", "{new}", "--name", "net"], "no such file"),
        (
            ["export", "{here}", "--out", "{new}"],
            "holds no model: neither manifest.json, as a bundle does, nor model.s",
        ),
        (["export", "", "--out", "{new}"], "no model is called ''"),
        (["export", "{folder}.npz", "--out", "{new}"], "not a Program file: it cannot be read (Is a dir"),
        (["export", "{folder}.onnx", "--out", "{new}"], "folder.onnx: this is a folder; expected: model.onnx"),
        (
            ["export", "{empty}", "--name", "n", "--out", "{new}"],
            "not a Program file (ValueError: no NumPy archive of a Program)",
        ),
        (
            ["export", "{junk}", "--inputs", "x", "--outputs", "u", "--out", "{new}"],
            "junk.pt: not a file that torch.save wrote",
        ),
        (["export", "heat", "--name", "", "--out", "{new}"], "'' is not a model name"),
        (["export", "heat", "--cc", "", "--out", "{new}"], "it is empty; expected: a command as in a shell"),
        (["export", "heat", "--cc", "no-such-cc", "--out", "{new}"], "the linker no-such-cc cannot be run: No such f"),
        (["export", "heat", "--out", "{program}/new"], "program.npz is no folder, so there can be none in it"),
        (["train", "heat", "--out", "{program}/new"], "program.npz is no folder, so there can be none in it"),
        (["export", "heat", "--target", "c99", "--max-flash", "9k", "--out", "{new}"], "heat.c is source code"),
        (["distill", "heat", "--teacher", "{here}", "--out", "{new}"], "a model of the zoo (`kdpinn-edge problems` l"),
        (
            ["export", "lunch", "--out", "{new}"],
            "no model is called 'lunch', and no folder or file; expected: a problem",
        ),
        (
            ["export", "{bundle}/model.onnx", "--inputs", "x", "--outputs", "y", "--out", "{new}"],
            "--inputs states 1 columns, but",
        ),
        (["train", "lunch", "--out", "{new}"], "no problem is called 'lunch'; expected: "),
        (["train", "burgers", "--out", "{bundle}"], "already holds other files"),
        (["train", "burgers", "--out", "{new}", "--resume"], "holds no run"),
        (["distill", "burgers", "--out", "{new}", "--teacher", "{new}"], "no model is called"),
        (["check", "{new}"], "is no bundle: no such folder; expected: a folder that `kdpinn-edge export` wr"),
        (["check", "{program}"], "program.npz is no bundle: a file; expected: a folder"),
        (["audit", "{here}"], "is no bundle: it has no manifest.json; expected: a folder"),
        (["bench", "{bundle}", "--report", "{here}"], "this is a folder; expected: the file to write"),
        (["bench-zoo", "heat", "--student", "burgers"], "error: the student burgers solves burgers; expected: a mod"),
        (["bench", "{bundle}", "--n", "0"], "expected: at least one n, from 1"),
        (["bench", "{bundle}", "--backend", "abacus"], "no backend is called 'abacus'; expected: library"),
        (
            ["bench", "{bundle}", "--budget", "10 parsecs"],
            "'10 parsecs' is not a duration; expected: a positive number",
        ),
        (["bench", "{bundle}", "--budget", "1s", "--samples", "9"], "9 samples have no 99th percentile; expected"),
        (["bench", "{bundle}", "--budget", "1s", "--percentile", "100"], "percentile 100; expected: above 0"),
        (["bench", "{bundle}", "--compare", "{new}"], "cannot be read"),
        (["bench", "{bundle}", "--budget", "1s", "--full", "--n", "5"], "--full, --n: not for the budget"),
        (["bench", "{bundle}", "--budget", ""], "'' is not a duration"),
        (
            ["bench", "{bundle}", "--points", "9"],
            "--points, --percentile and --samples are of a budget; expected: with",
        ),
        (["bench", "{bundle}", "--frontier", "--percentile", "100"], "percentile 100; expected: above 0"),
        (["search", "heat", "--max-error", "0", "--out", "{new}"], "max_error is 0.0; expected: above 0"),
        (["search", "heat", "--max-flash", "0", "--out", "{new}"], "max_flash is 0; expected: above 0"),
        (["train", "heat", "--seed", "-1", "--out", "{new}"], "--seed"),
        (["export", "heat", "--cc", "'gcc", "--out", "{new}"], "No closing quotation; expected: a command"),
        (["bench", "{bundle}", "--frontier", "--resume"], "--resume: not for the frontier; leave it out"),
        (["bench", "{bundle}", "--resume"], "--resume goes on with a record; expected: with --out RECORD.json"),
        (["bench", "{bundle}", "--force"], "--force replaces a record; expected: with --out RECORD.json"),
        (["bench", "{bundle}", "--out", "{new}", "--force", "--resume"], "--force begins a new record and --resume g"),
        (["bench", "{bundle}", "--out", "{junk}", "--force"], "not a record ("),
        (["bench", "{bundle}", "--out", "{new}/record.json"], "make it first"),
        (["audit", "{bundle}", "--limit", "nan"], "--limit"),
        (["search", "heat", "--max-error", "nan", "--out", "{new}"], "--max-error"),
        (["study", "heat", "--page", "{new}/page.md", "--out", "{new}"], "there is no folder"),
        (["study", "heat", "--page", "page.png", "--out", "{new}"], "the suffix '.png' is unknown; expected: .md"),
        (["study", "heat", "--seconds", "inf", "--out", "{new}"], "--seconds"),
        (["export", "heat", "--inputs", "x=1:0, t=0:1", "--out", "{new}"], "inputs: x=1:0 is no interval; expected: "),
        (["export", "heat", "--inputs", "x=-3e38:3e38, t=0:1", "--out", "{new}"], "too far for float32"),
        (
            ["search", "heat", "--max-error", "1", "--storage", "nonsense", "--out", "{new}"],
            "'nonsense' cannot be opened",
        ),
        (["sesame"], "No such command 'sesame'"),
    ],
)
def test_bad_input_is_refused(
    arguments: list[str], message: str, program_file: Path, exported: Path, tmp_path: Path
) -> None:
    new, junk, empty = tmp_path / "new", tmp_path / "junk.pt", tmp_path / "empty.npz"
    junk.write_text("junk")
    empty.write_bytes(b"PK\x05\x06" + bytes(18))
    for suffix in ("npz", "onnx"):
        (tmp_path / f"folder.{suffix}").mkdir()
    named = {"program": program_file, "bundle": exported, "folder": tmp_path / "folder", "here": tmp_path}
    said = refused(*(a.format(new=new, junk=junk, empty=empty, **named) for a in arguments))
    assert message in said
    assert not any(word in said for word in ("compiling", "counting"))  # nothing is announced
    assert not new.exists()


@pytest.mark.parametrize(
    ("arguments", "meant"),
    [
        (["train", "Burger"], "burgers"),
        (["study", "heet"], "heat"),
        (["export", "burgers_techer", "--out", "{new}"], "burgers_teacher"),
        (["distill", "heat", "--teacher", "heat_student_", "--out", "{new}"], "heat_student"),
        (["export", "heat", "--target", "cortexm4", "--out", "{new}"], "cortex-m4"),
        (["export", "heat", "--target", "x86-64-V3", "--out", "{new}"], "x86-64-v3"),
        (["export", "heat", "--derivatives", "U_xx", "--out", "{new}"], "u_xx"),
        (["export", "heat", "--per-call", "X", "--out", "{new}"], "x"),
        (["export", "heat", "--inputs", "x, T=0:1", "--out", "{new}"], "t"),
        (["bench", "{bundle}", "--backend", "lib"], "library, C loop"),
        (["bench", "{bundle}", "--backend", "torch eager"], "torch, eager"),
        (["bench-zoo", "taylorgreen"], "taylor_green"),
        (["train", "heat", "--activation", "tahn", "--out", "{new}"], "tanh"),
        (["study", "heat", "--method", "value"], "values"),
        (["sesrch"], "search"),
    ],
)
def test_a_misspelt_name_is_answered_by_the_nearest(
    arguments: list[str], meant: str, exported: Path, tmp_path: Path
) -> None:
    said = refused(*(a.format(bundle=exported, new=tmp_path / "new") for a in arguments))
    assert said.endswith(f"Did you mean '{meant}'?") or f"Did you mean '{meant}'?" in said.partition("Error")[2]
    assert list(tmp_path.iterdir()) == []


def test_a_name_that_is_like_no_other_is_answered_by_none() -> None:
    assert did_you_mean("lunch", ["burgers", "heat"]) == did_you_mean("", ["burgers"]) == ""
    assert did_you_mean("HEAT", iter(["burgers", "heat"])) == ". Did you mean 'heat'?"


def test_a_pickle_is_not_opened(tmp_path: Path) -> None:
    weights = tmp_path / "weights.pt"
    torch.save(Path("a Python object"), weights)
    message = refused("export", weights, "--inputs", "x", "--outputs", "u", "--out", tmp_path / "new")
    assert "this is a pickle of Python objects (it names pathlib" in message
    weights.rename(tmp_path / "weights.npz")
    assert "not a Program file" in refused("info", tmp_path / "weights.npz")


def test_export_without_a_compiler_says_what_to_install(
    program_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr("kdpinn_edge.export.artifacts.linking.find_spec", lambda name: None)
    message = refused("export", program_file, "--out", tmp_path / "new", "--name", "net")
    assert "Install a C compiler" in message
    assert list(tmp_path.iterdir()) == []


COMPLETED = {
    "train he": ["heat", "helmholtz"],
    "study wav": ["wave"],
    "export burgers_t": ["burgers_teacher"],
    "distill heat --teacher heat_s": ["heat_small", "heat_student"],
    "export heat --target cortex-m": ["cortex-m4", "cortex-m7", "cortex-m33", "cortex-m0plus", "cortex-m3"],
    "search heat --target nat": ["native"],
    "bench-zoo heat kov": ["kovasznay"],
    "export ./": [],
}
ASK_FOR_EACH = """
import os, sys
sys.modules["torch"] = None
from kdpinn_edge.__main__ import main
for words in sys.argv[1:]:
    sys.argv = ["kdpinn-edge"]
    os.environ |= {"COMP_WORDS": f"kdpinn-edge {words}", "COMP_CWORD": str(len(words.split()))}
    try:
        main()
    except SystemExit as exit:
        print("exit code", exit.code, flush=True)
"""


def test_a_shell_completes_names() -> None:
    """As the shell asks, in a process that has no torch."""
    command = [sys.executable, "-c", ASK_FOR_EACH, *COMPLETED]
    asked = os.environ | {"_KDPINN_EDGE_COMPLETE": "complete_bash"}
    found = subprocess.run(command, env=asked, capture_output=True, text=True)
    *answers, last = found.stdout.split("exit code 0\n")
    assert ([answer.split() for answer in answers], last, found.stderr) == ([*COMPLETED.values()], "", "")


def test_help_is_quick_and_lists_every_command() -> None:
    code = (
        "import sys; from kdpinn_edge.__main__ import main\ntry: main()\nfinally: print(*sys.modules, file=sys.stderr)"
    )
    result = subprocess.run([sys.executable, "-c", code, "--help"], capture_output=True, text=True, check=True)
    for command in ("problems", "targets", "train", "distill", "export", "check", "bench", "info"):
        assert command in result.stdout
    assert not {"torch", "numba", "onnx", "onnxruntime", "numpy", "cffi"} & set(result.stderr.split())


def test_a_table_on_a_narrow_terminal_cuts_no_name() -> None:
    command = [sys.executable, "-m", "kdpinn_edge", "targets"]
    done = subprocess.run(command, env=os.environ | {"COLUMNS": "80"}, capture_output=True, text=True, check=True)
    rows = {line.split()[0] for line in done.stdout.splitlines() if line.strip()}
    assert set(TARGETS) <= rows
    assert {target.library.format("NAME") for target in TARGETS.values()} <= set(done.stdout.split())
    assert "…" not in done.stdout


def test_a_missing_package_is_named_with_its_extra(program_file: Path, tmp_path: Path) -> None:
    code = "import sys; sys.modules['llvmlite'] = None; from kdpinn_edge.__main__ import main; main()"
    command = [sys.executable, "-c", code, "export", program_file, "--out", tmp_path / "new", "--name", "net"]
    result = subprocess.run(command, capture_output=True, text=True)
    assert (result.returncode, result.stdout) == (2, "")
    assert result.stderr == (
        "error: llvmlite is not installed, which `kdpinn-edge export` needs: pip install 'kdpinn-edge[export]'\n"
    )
    assert not (tmp_path / "new").exists()


def test_interrupted(exported: Path) -> None:
    code = """
import signal
signal.signal(signal.SIGINT, signal.default_int_handler)  # a background job starts with SIGINT ignored
from kdpinn_edge.__main__ import main
main()
"""
    command = [sys.executable, "-c", code, "bench", str(exported)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as child:
        assert child.stderr is not None
        assert "measuring" in child.stderr.readline()
        child.send_signal(signal.SIGINT)
        out, err = child.communicate()
    assert child.returncode in (130, -signal.SIGINT)  # CPython re-raises the signal if it fell into an exec; $? is 130
    assert (out, err) == ("", "error: interrupted\n")


def interrupted(code: str, *arguments: str | Path) -> tuple[int, str]:
    """The exit code and stderr of a child that got a SIGINT when it had said its first line."""
    lines = ["import signal", "signal.signal(signal.SIGINT, signal.default_int_handler)", code]
    command = [sys.executable, "-c", "\n".join(lines), *map(str, arguments)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as child:
        assert child.stderr is not None
        first = child.stderr.readline()
        child.send_signal(signal.SIGINT)
        _, err = child.communicate()
    return child.returncode, first + err


def test_an_interrupted_export_leaves_nothing_behind(program_file: Path, tmp_path: Path) -> None:
    out = tmp_path / "bundles" / "net"
    out.parent.mkdir()
    code = "from kdpinn_edge.__main__ import main\nmain()"
    found = interrupted(code, "export", program_file, "--out", out, "--name", "net")
    assert found == (130, "compiling net for native\nerror: interrupted\n")
    assert list(out.parent.iterdir()) == []


def test_a_check_shows_each_verdict_at_once_and_ends_an_interrupt_in_one_line(exported: Path) -> None:
    lines = ["import signal", "signal.signal(signal.SIGINT, signal.default_int_handler)"]
    code = "\n".join([*lines, "from kdpinn_edge.__main__ import main", "main()"])
    command = [sys.executable, "-u", "-c", code, "check", str(exported)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        assert child.stdout.readline().startswith("manifest ")
        child.send_signal(signal.SIGINT)
        out, err = child.communicate()
    assert (child.returncode, err) == (130, "error: interrupted\n")
    assert "onnx runtime" not in out


def test_an_interrupt_that_is_swallowed_comes_again() -> None:
    code = """
import sys, time
from kdpinn_edge.cli.interrupt import ended_by_interrupt
try:
    with ended_by_interrupt():
        try:
            print("ready", file=sys.stderr, flush=True)
            time.sleep(60)
        except KeyboardInterrupt:
            pass
        try:
            time.sleep(60)
        except KeyboardInterrupt:
            raise ValueError("an import that failed") from None
except KeyboardInterrupt:
    sys.exit(17)
"""
    assert interrupted(code) == (17, "ready\n")


def test_bad_input_is_refused_before_compiling_is_announced(program_file: Path, tmp_path: Path) -> None:
    message = refused("export", program_file, "--out", tmp_path / "new", "--name", "net", "--target", "cortex-m0")
    assert "compiling" not in message
    assert "the code of cortex-m0plus runs on it" in message
