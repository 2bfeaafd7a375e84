"""`kdpinn-edge` and `python -m kdpinn_edge`."""

from __future__ import annotations

import sys
from typing import NoReturn


def main() -> None:
    """Run the command line, or say which extra brings what it needs. An interrupt ends it in one line, with 130."""
    try:
        from kdpinn_edge.cli import app

        app()
    except ModuleNotFoundError as error:
        if error.name not in ("typer", "rich"):
            raise
        sys.exit(f"kdpinn-edge: the command line needs {error.name}: pip install 'kdpinn-edge[export]'")
    except KeyboardInterrupt:
        _interrupted()
    except SystemExit as exit:
        if isinstance(
            getattr(exit.__context__, "__cause__", None), KeyboardInterrupt
        ):  # while typer read the arguments
            _interrupted()
        raise


def _interrupted() -> NoReturn:
    print("error: interrupted", file=sys.stderr)
    sys.exit(130)


if __name__ == "__main__":
    main()
