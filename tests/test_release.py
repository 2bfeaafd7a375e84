"""tools/release.py and CITATION.cff: what a release must have, and files that are the same whenever they are built."""

from __future__ import annotations

import io
import os
import subprocess
import tarfile
import tomllib
from pathlib import Path

import pytest
import yaml
from scripts import script

ROOT = Path(__file__).parents[1]


TOOL = script("tools/release.py")


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    files = {
        "pyproject.toml": '[project]\nname = "tiny"\nversion = "1.2.0"\n[tool.setuptools]\npy-modules = ["tiny"]\n',
        "tiny.py": "x = 1\n",
        "CHANGELOG.md": "# Changelog\n\n## 1.2.0 (2026-01-02)\n",
        "CITATION.cff": "version: 1.2.0\ndate-released: 2026-01-02\n",
    }
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    git(tmp_path, "init", "--quiet")
    commit(tmp_path)
    git(tmp_path, "tag", "v1.2.0")
    return tmp_path


def git(folder: Path, *arguments: str) -> None:
    identity = {f"GIT_{who}_{what}": "a@b.example" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
    date = {"GIT_COMMITTER_DATE": "2026-01-02T03:04:05Z"}
    subprocess.run(["git", *arguments], cwd=folder, check=True, env=os.environ | identity | date)


def commit(folder: Path) -> None:
    git(folder, "add", "-A")
    git(folder, "commit", "--quiet", "-m", "all")


def test_what_is_ready_has_no_faults(repository: Path) -> None:
    assert TOOL.faults(repository) == []


@pytest.mark.parametrize(
    ("file", "old", "new", "fault"),
    [
        ("CHANGELOG.md", "(2026-01-02)", "(unreleased)", "CHANGELOG.md has no heading '## 1.2.0 (YYYY-MM-DD)'"),
        ("CITATION.cff", "version: 1.2.0", "version: 1.1.0", "CITATION.cff has no line 'version: 1.2.0'"),
        ("CITATION.cff", "01-02", "01-03", "CITATION.cff has no line 'date-released: 2026-01-02'"),
    ],
)
def test_files_that_disagree_are_named(repository: Path, file: str, old: str, new: str, fault: str) -> None:
    path = repository / file
    path.write_text(path.read_text().replace(old, new))
    commit(repository)
    found = TOOL.faults(repository)
    assert fault in found
    assert "HEAD has no tag v1.2.0; git tag -a v1.2.0 makes it" in found  # the tag is at the commit before


def test_changes_that_are_not_committed_are_named(repository: Path) -> None:
    (repository / "tiny.py").write_text("x = 2\n")
    assert TOOL.faults(repository) == ["there are changes that are not committed"]


@pytest.mark.proof
def test_two_builds_are_equal(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    out = [tmp_path_factory.mktemp(f"dist{i}") for i in range(2)]
    for folder in out:
        TOOL.build(repository, folder)
    first, second = map(TOOL.sums, out)
    assert first == second
    assert [line.split("  ")[1] for line in first.splitlines()] == ["tiny-1.2.0-py3-none-any.whl", "tiny-1.2.0.tar.gz"]
    with tarfile.open(out[0] / "tiny-1.2.0.tar.gz") as sdist:
        members = sdist.getmembers()
        assert sdist.extractfile("tiny-1.2.0/tiny.py").read() == b"x = 1\n"  # type: ignore[union-attr]
    assert {(each.mtime, each.uid, each.uname) for each in members} == {(1767323045, 0, "")}


def test_an_sdist_of_another_hour_is_normalised() -> None:
    def packed(mtime: int, names: tuple[str, ...]) -> bytes:
        out = io.BytesIO()
        with tarfile.open(fileobj=out, mode="w:gz") as files:
            for name in names:
                info = tarfile.TarInfo(name)
                info.size, info.mtime, info.uid = 3, mtime, mtime % 1000
                files.addfile(info, io.BytesIO(b"abc"))
        return out.getvalue()

    one, other = packed(1, ("a", "b")), packed(86401, ("b", "a"))
    assert TOOL.normalised(one, 7) == TOOL.normalised(other, 7)


def test_the_citation_is_of_this_version() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    version = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]
    assert {"cff-version", "message", "title", "authors"} <= citation.keys()
    assert (citation["version"], citation["license"]) == (version, "Apache-2.0")
    assert citation["references"][0]["url"].endswith("2512.13336")
    bibtex = (ROOT / "docs" / "citing.md").read_text(encoding="utf-8")
    assert f"version = {{{version}}}" in bibtex
