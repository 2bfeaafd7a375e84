"""The reference, generated from the code: each command with its options, each public name with its docstring."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator
from enum import Enum
from pathlib import Path
from typing import Any

import typer
from rich.text import Text

import kdpinn_edge
from kdpinn_edge.bundle.manifest import Input, Manifest, Output
from kdpinn_edge.checks.audit import Audit
from kdpinn_edge.cli.application import app
from kdpinn_edge.training.config import DistillConfig, TrainConfig

MET = (TrainConfig, DistillConfig, Manifest, Input, Output, Audit)
"""What public functions take and return, beside the public names themselves."""

COMMANDS_HEAD = """# Command line

`kdpinn-edge COMMAND --help` prints the same. An option whose value is missing in the table is a switch.

{epilog}
"""
API_HEAD = """# Python

`import kdpinn_edge` costs nothing: each name is imported when it is first used. Where a function needs an extra that is
not installed, the error names it.
"""
COLUMNS = re.compile(r"(?:^\w[\w, ]* {2,}\S.*\n?(?:^ {4,}\S.*\n?)*)+", re.MULTILINE)
EXAMPLE = re.compile(r"(?:^ {4}.*\n?|^\n(?= {4}))+", re.MULTILINE)


def write(folder: Path) -> None:
    """Write the two pages into `folder`; what has not changed keeps its date."""
    folder.mkdir(exist_ok=True)
    for name, text in (("cli", cli_page()), ("api", api_page())):
        path = folder / f"{name}.md"
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            path.write_text(text, encoding="utf-8")


def cli_page() -> str:
    """Every command, in the order of `kdpinn-edge --help`."""
    group: Any = typer.main.get_command(app)
    parts = [COMMANDS_HEAD.format(epilog=plain(group.epilog))]
    for name, command in group.commands.items():
        context = typer.Context(command, info_name=f"kdpinn-edge {name}")
        parts += [
            f"## {name}",
            f"    kdpinn-edge {name} {' '.join(command.collect_usage_pieces(context))}",
            plain(command.help),
            "\n".join(["| | value | meaning |", "| --- | --- | --- |", *parameters(command, context)]),
        ]
    return "\n\n".join(parts) + "\n"


def parameters(command: Any, context: typer.Context) -> Iterator[str]:
    """A row of the table for each argument and option."""
    for each in command.get_params(context):
        names = (
            ", ".join(each.opts + each.secondary_opts) if each.opts[0].startswith("-") else each.metavar or each.name
        )
        value = "" if getattr(each, "is_flag", False) else (each.display_type_rich(ctx=context) or "").strip("<>")
        meaning = plain(each.help)
        if each.required:
            meaning += " Required."
        elif not getattr(each, "is_flag", False) and each.default not in (None, ()):
            default = each.default.value if isinstance(each.default, Enum) else each.default
            meaning += f" [default: {default}]"
        yield f"| {code(names)} | {code(value)} | {cell(meaning)} |"


def plain(help_text: str | None) -> str:
    """Help without the markup of Rich."""
    return Text.from_markup(inspect.cleandoc(help_text or "")).plain


def code(text: str) -> str:
    """The text as code, in a cell of a table."""
    return f"`{text}`".replace("|", r"\|") if text else ""


def cell(text: str) -> str:
    """The text in a cell of a table, with brackets that are brackets."""
    return re.sub(r"([|\[\]<>])", r"\\\1", " ".join(text.split()))


def api_page() -> str:
    """Every public name: functions first, then what they take and return."""
    public = {name: getattr(kdpinn_edge, name) for name in sorted(kdpinn_edge.__all__, key=str.lower)}
    functions = {name: found for name, found in public.items() if inspect.isfunction(found)}
    classes = {name: found for name, found in public.items() if inspect.isclass(found)}
    met = {found.__name__: found for found in MET if found.__name__ not in public}
    parts = [API_HEAD, "| function | |\n| --- | --- |"]
    for name, found in functions.items():
        parts[-1] += f"\n| [`{name}`](#kdpinn_edge.{name}) | {cell(documentation(found).partition(chr(10))[0])} |"
    parts += ["## Functions", *(directive("function", f"kdpinn_edge.{name}", f) for name, f in functions.items())]
    parts += ["## Classes", *(class_directive(f"kdpinn_edge.{name}", found) for name, found in classes.items())]
    parts += ["## What functions take and return"]
    parts += [class_directive(f"{found.__module__}.{name}", found) for name, found in sorted(met.items())]
    return "\n\n".join(parts) + "\n"


def class_directive(path: str, kind: type) -> str:
    """A class with its own public methods and properties."""
    members = []
    for name, member in vars(kind).items():
        if name.startswith("_") or not inspect.getdoc(member):
            continue
        if isinstance(member, property):
            members.append(directive("property", name, member))
        elif isinstance(member, (classmethod, staticmethod)) or inspect.isfunction(member):
            members.append(directive("method", name, getattr(kind, name)))
    category = "exception" if issubclass(kind, Exception) else "class"
    return directive(category, path, kind, "\n\n".join(members))


def directive(category: str, path: str, found: Any, members: str = "") -> str:
    """The directive of Sphinx's Python domain, its content Markdown."""
    signature = ""
    if category in ("function", "method", "class"):
        shown = unquoted(inspect.signature(found))
        if category == "method" and "self" in shown.parameters:
            shown = shown.replace(parameters=list(shown.parameters.values())[1:])
        signature = str(shown)
        if category == "class":
            signature = signature.partition(" -> ")[0]
    fence = ":" * (4 if members or category in ("class", "exception") else 3)
    return f"{fence}{{py:{category}}} {path}{signature}\n\n{documentation(found)}\n\n{members}\n{fence}"


class Bare(str):
    """Text that is shown without quotes."""

    __slots__ = ()
    __repr__ = str.__str__


def unquoted(signature: inspect.Signature) -> inspect.Signature:
    """The signature as it is written: annotations without quotes, functions and members of an Enum by their names."""

    def bare(annotation: Any) -> Any:
        return Bare(annotation) if isinstance(annotation, str) else annotation

    def named(default: Any) -> Any:
        if inspect.isfunction(default):
            return Bare("…" if default.__name__ == "<lambda>" else default.__name__)
        return Bare(default) if isinstance(default, Enum) else default

    parameters = [
        each.replace(annotation=bare(each.annotation), default=named(each.default))
        for each in signature.parameters.values()
    ]
    return inspect.Signature(parameters, return_annotation=bare(signature.return_annotation))


def documentation(found: Any) -> str:
    """The docstring as Markdown: examples as Python, columns of fields as they are aligned."""
    text = (inspect.getdoc(found) or "") + "\n"
    text = (
        EXAMPLE.sub(lambda m: f"```python\n{inspect.cleandoc(m[0])}\n```\n", text) if not COLUMNS.search(text) else text
    )
    return COLUMNS.sub(lambda m: f"```text\n{m[0].rstrip()}\n```\n", text).strip()
