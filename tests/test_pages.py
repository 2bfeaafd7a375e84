"""What programs write into pages of docs/."""

from __future__ import annotations

from pathlib import Path

import pytest
from pages import insert, table

PAGE = "# Title\n\n<!-- one: begin -->\nold\n<!-- one: end -->\n\n<!-- two: begin -->\n<!-- two: end -->\nrest\n"


def test_a_block_is_replaced_and_nothing_else(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(PAGE)
    insert(page, "one", table(("a", "b"), [("1", "2")]))
    insert(page, "two", "text\n")
    new = "<!-- one: begin -->\n| a | b |\n| --- | --- |\n| 1 | 2 |\n<!-- one: end -->"
    expected = PAGE.replace("<!-- one: begin -->\nold\n<!-- one: end -->", new)
    assert page.read_text() == expected.replace("two: begin -->\n", "two: begin -->\ntext\n")


def test_a_page_without_the_block_stays_as_it_is(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(PAGE)
    with pytest.raises(SystemExit, match=r"page.md has no block <!-- three: begin --> … <!-- three: end -->; nothing"):
        insert(page, "three", "text")
    assert page.read_text() == PAGE
