"""The application: every command by its name, in the order of `--help`."""

from __future__ import annotations

from collections.abc import Callable
from importlib.metadata import version
from typing import Annotated, Any

import typer
from rich.markup import escape
from typer.core import TyperCommand, TyperGroup

from kdpinn_edge.cli import checks, comparison, export, models, studies, training
from kdpinn_edge.cli.output import BAD_INPUT, FAILED, INTERRUPTED, stderr
from kdpinn_edge.errors import BudgetError, KdpinnError
from kdpinn_edge.extras import what_is_missing

PYDANTIC = "Value error, "
"""What pydantic, by which typer reads values, puts before what is wrong with one."""


class Commands(TyperGroup):
    """The group of all commands: it turns their errors into a message and an exit code."""

    def invoke(self, ctx: Any) -> Any:
        """Run the command that was named. Raises typer.Exit with its code where it fails."""
        try:
            return super().invoke(ctx)
        except BrokenPipeError:  # typer ends quietly, as `| head` wants
            raise
        except OSError as error:
            message, code = _said(error), BAD_INPUT
        except KdpinnError as error:
            message, code = str(error), FAILED if isinstance(error, BudgetError) else BAD_INPUT
        except ModuleNotFoundError as error:
            message, code = what_is_missing(error.name or "a package", ctx.invoked_subcommand or ""), BAD_INPUT
        except MemoryError:
            message, code = "there is not enough memory; expected: a smaller model, or a larger machine", BAD_INPUT
        except RecursionError:
            message, code = "the model has too many operations that need each other; expected: fewer", BAD_INPUT
        except KeyboardInterrupt:
            message, code = "interrupted", INTERRUPTED
        stderr().print(f"[bold red]error:[/] {escape(message)}", soft_wrap=True)
        raise typer.Exit(code)


class Command(TyperCommand):
    """A command whose help is plain text. typer reads it as Rich's markup, in which the unit of `x[m]` vanishes."""

    def __init__(self, name: str | None, **rest: Any) -> None:
        super().__init__(name, **rest)
        for parameter in self.params:
            parameter.help = escape(parameter.help or "")  # type: ignore[attr-defined]

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Read the arguments. Raises typer.BadParameter without the words by which pydantic begins."""
        try:
            return super().parse_args(ctx, args)
        except typer.BadParameter as error:
            error.message = error.message.removeprefix(PYDANTIC)
            raise


def _said(error: OSError) -> str:
    """What the system says, behind the file that it is about."""
    return f"{error.filename}: {error.strerror}" if error.filename is not None else str(error)


app = typer.Typer(
    cls=Commands,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Distilled physics-informed neural networks as small, bit-exact C libraries.",
    epilog="Exit codes: 0 success, 1 a check or a budget failed, 2 bad usage or bad input, 130 interrupted. "
    "With --install-completion your shell completes commands, options, problems, models and targets.",
)


@app.callback(invoke_without_command=True)
def _main(show_version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False) -> None:
    if show_version:
        print(version("kdpinn-edge"))


COMMANDS: dict[str, Callable[..., None]] = {
    "problems": models.problems,
    "new": training.new,
    "train": training.train,
    "distill": training.distill,
    "study": studies.study,
    "search": studies.search,
    "export": export.export,
    "layout": export.layout,
    "targets": export.targets,
    "check": checks.check,
    "certify": checks.certify,
    "evidence": checks.evidence,
    "bench": comparison.bench,
    "bench-zoo": comparison.bench_zoo,
    "audit": checks.audit,
    "info": models.info,
}
for name, command in COMMANDS.items():
    app.command(name, cls=Command)(command)
