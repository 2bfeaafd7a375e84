"""The code of README and docs: every block runs, is output, or says why it is not run."""

from __future__ import annotations

from pathlib import Path

import pytest
import snippets
from conftest import Need
from markdown_it import MarkdownIt

ROOT = Path(__file__).parents[1]
PAGES = snippets.pages("README.md", "docs/**/*.md")
TARGETS = {line.partition(":")[0] for line in (ROOT / "Makefile").read_text(encoding="utf-8").splitlines()}
READ = {path.relative_to(ROOT).as_posix(): snippets.read(path) for path in PAGES}
TOOLS = ("cc", "cmake", "g++", "gfortran", "openssl", "pkg-config")
PROOFS = "verify-targets"
RUN = [
    pytest.param(name, marks=[pytest.mark.proof] if page.run_by == PROOFS else [])
    for name, page in READ.items()
    if page.run_by in ("", PROOFS) and any(each.is_run for each in page.blocks)
]
"""The pages that are run here; those that take more than a few seconds are proofs."""


@pytest.mark.parametrize("name", READ)
def test_every_block_is_run_or_says_why_not(name: str) -> None:
    page = READ[name]
    assert not snippets.faults(page)
    assert not page.run_by or page.run_by in TARGETS
    tokens = MarkdownIt().parse(page.path.read_text(encoding="utf-8"))
    fences = [(token.map[0] + 1, token.info, token.content) for token in tokens if token.type == "fence" and token.map]
    assert fences == [(each.line, each.language, each.code) for each in page.blocks if not each.given]
    indented = [token.map for token in tokens if token.type == "code_block"]
    assert not indented, f"{name}: code without a fence at lines {indented}"


@pytest.mark.slow
@pytest.mark.parametrize("name", RUN)
def test_a_page_runs_as_it_is_printed(name: str, need: Need, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    code = "\n".join(block.code for block in READ[name].blocks if block.language == "sh")
    for tool in TOOLS:
        if f"{tool} " in code:
            need(tool)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    snippets.run(READ[name])


def test_a_block_that_is_neither_run_nor_marked_is_found(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(
        "```js\n1\n```\n\n```\n2\n```\n\n<!-- not run: no browser here -->\n```js\n3\n```\n", encoding="utf-8"
    )
    first, second = snippets.faults(snippets.read(page))
    assert first.startswith("page.md, line 1: a block in 'js'")
    assert second.startswith("page.md, line 5: a block in ''")


def test_blocks_run_in_order_and_in_one_session(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    page = tmp_path / "page.md"
    page.write_text(
        "<!-- given: a = 1 -->\n```python\nb = a + 1\n```\n```python\n# file: c.py\nprint(3)\n```\n"
        "```sh\npip install nothing-of-this-name\npython c.py > out.txt\n```\n"
        '<!-- cc -DN=4 -->\n```c\n#include <stdio.h>\nfclose(fopen(N == 4 ? "four" : "other", "w"));\n```\n'
        "```text\nnot a program\n```\n",
        encoding="utf-8",
    )
    assert snippets.run(snippets.read(page))["b"] == 2
    assert (tmp_path / "out.txt").read_text() == "3\n"
    assert (tmp_path / "four").exists()


@pytest.mark.parametrize(
    ("block", "error"),
    [
        ("```sh\nfalse\ntrue\n```", "page.md, line 1: exit code 1"),
        ("```c\nno_such_function();\nreturn 1;\n```", "page.md, line 1: exit code 1"),
        ("```json\n{]\n```", "Expecting property name"),
        ("```python\nraise ValueError('here')\n```", "here"),
    ],
)
def test_a_block_that_fails_fails_its_page(
    block: str, error: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "page.md").write_text(f"{block}\n", encoding="utf-8")
    with pytest.raises((AssertionError, ValueError), match=error):
        snippets.run(snippets.read(tmp_path / "page.md"))
