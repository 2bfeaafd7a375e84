"""What the commands print, and the codes that they exit with."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

from rich.console import Console
from rich.markup import escape
from rich.table import Table

Told = TypeVar("Told")
FAILED, BAD_INPUT, INTERRUPTED = 1, 2, 130


def print_facts(facts: Mapping[str, str]) -> None:
    """Print each fact on stdout behind its name."""
    width = max([14, *map(len, facts)])
    for name, fact in facts.items():
        stdout().print(f"[bold]{name:{width}}[/]  {escape(fact)}", soft_wrap=True)


def text_table(*columns: str) -> Table:
    """Make an empty table without lines, which breaks texts for a narrow terminal and cuts none."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        table.add_column(column, overflow="fold")
    return table


def stdout() -> Console:
    """Make the console for results."""
    return Console(highlight=False)


def stderr() -> Console:
    """Make the console for progress and errors."""
    return Console(stderr=True, highlight=False)


def announcing(said: str, report: Callable[[Told], None]) -> Callable[[Told], None]:
    """Make of `report` a function that first says, once, what is done: then the input has been found right."""
    unsaid = [said]

    def told(progress: Told) -> None:
        while unsaid:
            stderr().print(unsaid.pop(), markup=False, soft_wrap=True)
        report(progress)

    return told


def print_json(document: Mapping[str, Any] | Sequence[Any]) -> None:
    """Print `document` on stdout as JSON, and nothing else; in ASCII where stdout is not UTF-8: nothing is lost."""
    is_utf8 = (sys.stdout.encoding or "utf-8").lower().replace("-", "") == "utf8"
    print(json.dumps(document, indent=2, ensure_ascii=not is_utf8, allow_nan=False))
