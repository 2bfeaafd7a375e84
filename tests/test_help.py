"""What `--help` prints: it fits a terminal of 80 columns, and says something of every command and option."""

from __future__ import annotations

import re
from functools import cache
from typing import Any

import pytest
import typer
from rich.cells import cell_len
from rich.text import Text
from typer.testing import CliRunner

from kdpinn_edge.cli.application import COMMANDS, app

COLUMNS = 80
FRAME = re.compile(r"[\s│╭╮╰╯─]+")


@cache
def printed(*arguments: str) -> str:
    done = CliRunner(env={"COLUMNS": str(COLUMNS), "TERM": "dumb"}).invoke(app, [*arguments, "--help"])
    assert done.exit_code == 0, done.output
    return done.output


@pytest.mark.parametrize("arguments", [[], *([name] for name in COMMANDS)], ids=lambda names: " ".join(names) or "all")
def test_it_fits_a_terminal(arguments: list[str]) -> None:
    lines = printed(*arguments).splitlines()
    assert [line for line in lines if cell_len(line) > COLUMNS] == []
    assert len(lines) > 5


def test_every_command_is_listed() -> None:
    shown = printed()
    for name, command in typer.main.get_command(app).commands.items():  # type: ignore[attr-defined]
        assert re.search(rf"^│ {re.escape(name)} ", shown, re.MULTILINE), name
        assert command.help, name
        assert command.help[0].isupper(), name
        assert command.help.endswith((".", "?")), name


@pytest.mark.parametrize("name", COMMANDS)
def test_every_option_says_what_it_does(name: str) -> None:
    command: Any = typer.main.get_command(app).commands[name]  # type: ignore[attr-defined]
    shown = FRAME.sub("", printed(name))
    for parameter in command.params:
        text = Text.from_markup(parameter.help).plain
        assert len(text) > 10, parameter.name
        assert FRAME.sub("", parameter.metavar or parameter.opts[0]) in shown, parameter.name
        for bracket in re.findall(r"\[[^\]]*\]", text):  # a unit or a default, which Rich would take for a style
            assert FRAME.sub("", bracket) in shown, (parameter.name, bracket)
