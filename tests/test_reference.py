"""The reference of the site is generated from the code: nothing public is missing in it, or undocumented."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import kdpinn_edge
from kdpinn_edge.cli.application import COMMANDS

TOOLS = str(Path(__file__).parents[1] / "tools")


@pytest.fixture
def pages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[str, str]:
    """The pages of the command line and of Python, as `make docs` writes them."""
    monkeypatch.syspath_prepend(TOOLS)
    from site_pages import reference

    reference.write(tmp_path / "reference")
    cli, api = (tmp_path / "reference" / f"{name}.md" for name in ("cli", "api"))
    return cli.read_text(encoding="utf-8"), api.read_text(encoding="utf-8")


def test_nothing_public_is_missing(pages: tuple[str, str]) -> None:
    cli, api = pages
    assert re.findall(r"^## (.+)$", cli, re.MULTILINE) == list(COMMANDS)
    directives = re.findall(r"^:{3,4}\{py:\w+\} kdpinn_edge\.(\w+)[(\n]", api, re.MULTILINE)
    assert sorted(directives) == sorted(kdpinn_edge.__all__)
    empty = re.findall(r"^:+\{py:\w+\} (\S+?)(?:\(.*)?\n\n+:", api, re.MULTILINE)
    assert empty == []
    assert " at 0x" not in api


def test_options_are_as_on_the_command_line(pages: tuple[str, str]) -> None:
    rows = [line for line in pages[0].splitlines() if line.startswith("| `--inputs`")]
    assert r"x\[m\]=0:5000" in rows[0]
    assert "| `--max-relative-error` | `float` |" in pages[0]
    assert r"\[default: float32\]" in pages[0]
