"""`kdpinn-edge` and `python -m kdpinn_edge`."""

from __future__ import annotations

import sys
from importlib.metadata import metadata
from io import TextIOWrapper
from typing import NoReturn

from kdpinn_edge.errors import did_you_mean
from kdpinn_edge.extras import COMMANDS, pip_install, what_is_missing


def main() -> None:
    """Run the command line; where an extra is missing, say which. An interrupt ends it in one line, with 130.

    A character that the console does not have is printed as a question mark.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="replace")
    try:
        from kdpinn_edge.cli import app

        app()
    except ModuleNotFoundError as error:
        if (name := error.name) not in ("typer", "rich"):
            raise
        _without_extras(sys.argv[1:], str(name))
    except KeyboardInterrupt:
        _interrupted()
    except SystemExit as exit:
        if isinstance(
            getattr(exit.__context__, "__cause__", None), KeyboardInterrupt
        ):  # while typer read the arguments
            _interrupted()
        raise


def _without_extras(arguments: list[str], missing: str) -> None:
    """Answer `--version` and `--help`; exit with what any command needs."""
    package = metadata("kdpinn-edge")
    command = next((word for word in arguments if not word.startswith("-")), "")
    if command in COMMANDS:
        sys.exit(_refused(what_is_missing(missing, command)))
    if command:
        known = f"expected: {', '.join(COMMANDS)}{did_you_mean(command, COMMANDS)}"
        sys.exit(_refused(f"there is no command {command!r}; {known}"))
    if "--version" in arguments:
        print(package["Version"])
        return
    width = max(map(len, COMMANDS))
    print(f"kdpinn-edge {package['Version']}: {package['Summary']}\n\nUsage: kdpinn-edge COMMAND …\n")
    print("This is the base install, for programs that load and call bundles. Each command needs its extras:\n")
    for name, extras in COMMANDS.items():
        print(f"  {name:{width}}  {pip_install(extras)}")


def _refused(message: str) -> int:
    print(f"error: {message}", file=sys.stderr)
    return 2


def _interrupted() -> NoReturn:
    print("error: interrupted", file=sys.stderr)
    sys.exit(130)


if __name__ == "__main__":
    main()
