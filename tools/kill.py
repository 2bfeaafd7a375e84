"""`make verify-kill`: kill export, train, study, search and bench at 50 random moments each, as in tests/killed.py."""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

from killed import COMMANDS, killed


def main() -> None:
    """Print what was seen of each command. Raises AssertionError where something was lost."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--kills", type=int, default=50, help="of each command")
    options.add_argument("--only", action="append", choices=COMMANDS, help="a command; by default all")
    given = options.parse_args()
    for name in given.only or COMMANDS:
        with tempfile.TemporaryDirectory(prefix="kdpinn_edge_kill_") as folder:
            print(killed(name, Path(folder), given.kills), flush=True)


if __name__ == "__main__":
    main()
