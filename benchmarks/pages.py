"""What programs write into pages: tables in Markdown, between <!-- NAME: begin --> and <!-- NAME: end -->."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table in Markdown, without the end of its last line."""
    return "\n".join(f"| {' | '.join(each)} |" for each in (head, ["---"] * len(head), *rows))


def cells(row: str) -> list[str]:
    """What a row of such a table says, column by column."""
    return row.strip("| ").split(" | ")


def insert(page: Path, name: str, text: str) -> None:
    """Put `text` into the block `name` of a page, in place of what is there."""
    before, _, after = _around(page, name)
    page.write_text(f"{before}{text.rstrip()}\n{after}", encoding="utf-8")


def block_of(page: Path, name: str) -> str:
    """The text of the block `name` of a page."""
    return _around(page, name)[1]


def _around(page: Path, name: str) -> tuple[str, str, str]:
    """What stands before a block, in it, and behind it; its two marks are outside."""
    begin, end = f"<!-- {name}: begin -->\n", f"<!-- {name}: end -->\n"
    before, _, rest = page.read_text(encoding="utf-8").partition(begin)
    text, found, after = rest.partition(end)
    if not found:
        raise SystemExit(f"{page} has no block {begin.strip()} … {end.strip()}; nothing was written")
    return before + begin, text, end + after
