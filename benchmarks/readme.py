"""Writes the comparison that README.md shows: `make readme`. Run it on a machine that does nothing else."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

README = Path(__file__).parent.parent / "README.md"
BEGIN, END = "<!-- make readme: begin -->\n", "<!-- make readme: end -->\n"


def main(bundle: str) -> None:
    """Put what `kdpinn-edge bench` prints for `bundle` between the two markers of README.md."""
    command = [sys.executable, "-m", "kdpinn_edge", "bench", bundle]
    table = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout  # noqa: S603
    head, rest = README.read_text().split(BEGIN)
    tail = rest.split(END)[1]
    text = "\n".join(line.rstrip() for line in table.strip().splitlines())
    README.write_text(f"{head}{BEGIN}```\n{text}\n```\n{END}{tail}")


if __name__ == "__main__":
    main(*sys.argv[1:])
