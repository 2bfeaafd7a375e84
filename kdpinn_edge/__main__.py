"""`kdpinn-edge` and `python -m kdpinn_edge`."""

from __future__ import annotations

import sys


def main() -> None:
    """Run the command line, or say which extra brings what it needs."""
    try:
        from kdpinn_edge.cli import app
    except ModuleNotFoundError as error:
        if error.name not in ("typer", "rich"):
            raise
        sys.exit(f"kdpinn-edge: the command line needs {error.name}: pip install 'kdpinn-edge[export]'")
    app()


if __name__ == "__main__":
    main()
