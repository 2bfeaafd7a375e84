"""Links of README and docs lead somewhere, and tutorials name what exists; `make docs` executes them."""

from __future__ import annotations

import ast
import importlib
import inspect
import re
import shlex
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import pytest
import snippets
import typer
from markdown_it import MarkdownIt
from markdown_it.token import Token

from kdpinn_edge.cli.application import app

ROOT = Path(__file__).parents[1]
PAGES = snippets.pages("*.md", "docs/**/*.md", "benchmarks/*.md", ".github/**/*.md")
TUTORIALS = [path for path in PAGES if "{code-cell}" in path.read_text(encoding="utf-8")]
HTML_ADDRESS = re.compile(r"""\b(?:src|href|srcset)="([^"]+)\"""")
HTML_ANCHOR = re.compile(r"""\b(?:id|name)="([^"]+)\"""")


def name(path: Path) -> str:
    return str(path.relative_to(ROOT))


@cache
def tokens(path: Path) -> list[Token]:
    """All tokens of a page, those inside lines too."""
    found = []
    for token in MarkdownIt("commonmark").enable("table").parse(path.read_text(encoding="utf-8")):
        found += [token, *(token.children or ())]
    return found


def addresses(path: Path) -> Iterator[str]:
    for token in tokens(path):
        if token.type in ("html_block", "html_inline"):
            yield from HTML_ADDRESS.findall(token.content)
        for attribute in ("href", "src"):
            if attribute in token.attrs:
                yield str(token.attrs[attribute])


@cache
def anchors(path: Path) -> set[str]:
    """What GitHub, and the site, call the headings: in lower case, without punctuation, with hyphens for spaces."""
    found: dict[str, int] = {}
    every: set[str] = set()
    before = Token("", "", 0)
    for token in tokens(path):
        if token.type in ("html_block", "html_inline"):
            every.update(HTML_ANCHOR.findall(token.content))
        if before.type == "heading_open":
            heading = "".join(part.content for part in token.children or () if part.type in ("text", "code_inline"))
            slug = re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")
            count = found[slug] = found.get(slug, -1) + 1
            every.add(f"{slug}-{count}" if count else slug)
        before = token
    return every


@pytest.mark.parametrize("path", PAGES, ids=name)
def test_links_lead_somewhere(path: Path) -> None:
    for address in addresses(path):
        parts = urlsplit(address)
        if parts.scheme:
            assert parts.scheme == "mailto" or re.fullmatch(r"https?", parts.scheme), address
            assert parts.scheme == "mailto" or re.fullmatch(r"[\w-]+(\.[\w-]+)+(:\d+)?", parts.netloc), address
            continue
        target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
        assert target.exists(), f"{name(path)}: {address}"
        assert target.is_relative_to(ROOT), f"{name(path)}: {address}"
        if parts.fragment and target.suffix == ".md":
            assert unquote(parts.fragment) in anchors(target), f"{name(path)}: {address}"


def test_headings_have_the_anchors_of_github(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(
        "# A `bundle`, and its files\n\n## What is n?\n\n## What is n?\n\n<a id='x'></a> <a id=\"here\"></a>\n"
    )
    assert anchors(page) == {"a-bundle-and-its-files", "what-is-n", "what-is-n-1", "here"}


def cells(path: Path) -> Iterator[str]:
    """The code cells of a tutorial."""
    for token in tokens(path):
        if token.type == "fence" and token.info.startswith("{code-cell}"):
            yield re.sub(r"\A(:.*\n)+", "", token.content)


@pytest.mark.parametrize("path", TUTORIALS, ids=name)
def test_tutorials_name_what_exists(path: Path) -> None:
    """Imports from the package, the arguments of what is imported, and the commands with their options."""
    imported: dict[str, Any] = {}
    checked = 0
    for cell in cells(path):
        if cell.startswith("%%bash"):
            checked += sum(check_command(words) for words in commands(cell))
            continue
        for node in ast.walk(ast.parse(cell)):
            if isinstance(node, ast.ImportFrom) and str(node.module).startswith("kdpinn_edge"):
                module = importlib.import_module(str(node.module))
                imported |= {alias.asname or alias.name: getattr(module, alias.name) for alias in node.names}
            elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in imported:
                given = {keyword.arg: None for keyword in node.keywords if keyword.arg}
                inspect.signature(imported[node.func.id]).bind(*node.args, **given)
                checked += 1
    assert checked >= 3


def commands(cell: str) -> Iterator[list[str]]:
    """The words after `kdpinn-edge`, of every command line in a cell."""
    for line in cell.replace("\\\n", " ").splitlines():
        if "kdpinn-edge" in line:
            words = shlex.split(line)
            start = words.index("kdpinn-edge") + 1
            ends = (i for i, word in enumerate(words) if i > start and word in ("|", "||", "2>&1", "2>/dev/null"))
            yield words[start : next(ends, len(words))]


def check_command(words: list[str]) -> bool:
    command = typer.main.get_command(app).commands[words[0]]  # type: ignore[attr-defined]
    known = {option for parameter in command.params for option in parameter.opts}
    assert {word for word in words if word.startswith("--")} <= known, words
    return True
