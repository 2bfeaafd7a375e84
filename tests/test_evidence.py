"""The evidence of a bundle: every verdict belongs to a requirement, and none is called met that was not tested."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest
from artifacts import Artifacts
from conftest import Need
from edited import edit
from strategies import mlp
from typer.testing import CliRunner

from kdpinn_edge import cli
from kdpinn_edge.bundle.manifest import Input, read_manifest
from kdpinn_edge.bundle.read import open_bundle
from kdpinn_edge.checks.check import CheckResult, check
from kdpinn_edge.checks.coverage import source_coverage
from kdpinn_edge.checks.evidence import REQUIREMENTS, Evidence, Line, evidence, write_evidence
from kdpinn_edge.errors import BundleError, MisfitError
from kdpinn_edge.program.ir import Affine, Program, Var

X, U = Var("x", 2), Var("u", 1)
PROGRAM = Program("net", (X,), (U,), (Affine(U, X, [[0.5, 0.25]], [0.1]),))
MARKUP = '<script>alert("1")</script>'
INPUTS = (Input("x[0]", -1.0, 1.0, MARKUP), Input("x[1]", None, 2.0, "s"))


@pytest.fixture(scope="module")
def bundle(artifacts: Artifacts) -> Path:
    return artifacts.bundle(PROGRAM, name="net", inputs=INPUTS, equation=MARKUP)


@pytest.fixture(scope="module")
def found(bundle: Path) -> Evidence:
    return evidence(bundle)


def outcomes(found: Evidence) -> dict[str, str]:
    return {line.requirement.id: line.outcome for line in found.lines}


def test_every_verdict_belongs_to_one_requirement(bundle: Path) -> None:
    for verdict in check(bundle):
        assert sum(requirement.is_tested_by(verdict.name) for requirement in REQUIREMENTS) == 1, verdict.name


def test_what_was_not_tested_is_open(found: Evidence) -> None:
    assert found.holds
    assert outcomes(found) | {"R7": ""} == {
        **dict.fromkeys(("R1", "R3", "R4", "R5", "R6", "R8"), "met"),
        "R2": "open",
        "R7": "",
        "R9": "open",
    }


def test_the_outcomes() -> None:
    passed, failed, skipped = (CheckResult("files", result, "") for result in ("passed", "failed", "skipped"))
    for verdicts, outcome in (
        ((), "open"),
        ((skipped,), "open"),
        ((passed, skipped), "met in part"),
        ((passed, passed), "met"),
        ((passed, skipped, failed), "not met"),
    ):
        assert Line(REQUIREMENTS[0], verdicts).outcome == outcome


def test_a_bundle_that_was_edited(bundle: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(bundle, tmp_path / "net"))
    evaluated = read_manifest(copy).functions["eval"]
    edit(copy, functions={"eval": replace(evaluated, errors=replace(evaluated.errors, max_abs=(1.0,)))})
    assert outcomes(evidence(copy))["R6"] == "not met"
    (copy / "net.h").unlink()
    found = evidence(copy)
    assert not found.holds
    assert outcomes(found) == {"R1": "not met", **{f"R{i}": "open" for i in range(2, 10)}}
    found = evidence(copy, sha256="0" * 64)
    assert found.manifest is None
    assert outcomes(found)["R2"] == "not met"
    write_evidence(found, tmp_path / "page.html")
    assert "1 not met" in (tmp_path / "page.html").read_text()


class Elements(HTMLParser):
    """The names of the elements of a page, and its text."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.names: set[str] = set()
        self.text = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.names.add(tag)

    def handle_data(self, data: str) -> None:
        self.text += data


def test_the_page_and_the_json(found: Evidence, tmp_path: Path) -> None:
    write_evidence(found, tmp_path / "net.html")
    page, record = (tmp_path / "net.html").read_text(), json.loads((tmp_path / "net.json").read_text())
    elements = Elements(page)
    assert "script" not in elements.names
    assert MARKUP in elements.text
    assert found.manifest is not None
    for digest in (found.sha256, *found.manifest.files.values()):
        assert digest in page
    for line in found.lines:
        assert line.requirement.text in elements.text
        assert all(verdict.detail in elements.text for verdict in line.verdicts)
    assert record["manifest_sha256"] == found.sha256
    assert [each["outcome"] for each in record["requirements"]] == list(outcomes(found).values())
    assert record["manifest"]["name"] == "net"
    assert record["limits"]


def test_the_coverage_of_the_source(found: Evidence, artifacts: Artifacts, tmp_path: Path, need: Need) -> None:
    """The self-test reaches all arithmetic: what is left are refusals, its own failing, and functions beside."""
    for tool in ("gcc", "gcov"):
        need(tool)
    net = artifacts.bundle(mlp(2, 12, 2, 1), name="net")
    coverage = source_coverage(read_manifest(net), {"eval": open_bundle(net).program("eval")})
    assert coverage.statements > 100
    assert coverage.statements - coverage.statements_reached == len(coverage.unreached)
    assert 0 < coverage.branches_reached < coverage.branches
    assert any("net_outside(" in line for line in coverage.unreached)
    assert not any("fma(" in line for line in coverage.unreached)
    assert not isinstance(found.coverage, str), found.coverage
    write_evidence(found, tmp_path / "net.html")
    assert str(found.coverage) in (tmp_path / "net.html").read_text()
    record = json.loads((tmp_path / "net.json").read_text())
    assert record["coverage"]["statements_reached"] == found.coverage.statements_reached


def test_without_gcov_the_coverage_is_open(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    programs = {"eval": open_bundle(bundle).program("eval")}
    monkeypatch.setenv("PATH", "")
    with pytest.raises(MisfitError, match="gcc and gcov are not installed"):
        source_coverage(read_manifest(bundle), programs)


def test_on_the_command_line(bundle: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(bundle, tmp_path / "net"))
    runner = CliRunner()
    done = runner.invoke(cli.app, ["evidence", str(copy), "--out", str(tmp_path / "net.html")])
    assert done.exit_code == 0, done.stderr
    (copy / "net.h").write_text("")
    done = runner.invoke(cli.app, ["evidence", str(copy), "--out", str(tmp_path / "net.html"), "--json"])
    assert done.exit_code == 1
    assert json.loads(done.stdout)["holds"] is False
    for out, message in ((copy / "e.html", "would lie in the bundle"), (tmp_path / "e.txt", "ends in .html")):
        done = runner.invoke(cli.app, ["evidence", str(copy), "--out", str(out)])
        assert done.exit_code == 2
        assert message in " ".join(done.stderr.split())
        assert not out.exists()


def test_there_has_to_be_a_manifest(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="cannot be read"):
        evidence(tmp_path)
