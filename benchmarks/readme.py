"""Writes the comparison that README.md shows: `make readme`. Run it on a machine that does nothing else."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

README = Path(__file__).parent.parent / "README.md"
BEGIN, END = "<!-- make readme: begin -->\n", "<!-- make readme: end -->\n"


def main(bundle: str) -> None:
    """Put the closed loop of what `kdpinn-edge bench` prints for `bundle` between the two markers of README.md."""
    command = [sys.executable, "-m", "kdpinn_edge", "bench", bundle]
    table = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout  # noqa: S603
    head, rest = README.read_text().split(BEGIN)
    tail = rest.split(END)[1]
    subject, closed, *others = table.strip().split("\n\n")
    machine = next(line for line in others[-1].splitlines() if line.startswith("Machine: "))
    text = "\n".join(line.rstrip() for part in (subject, closed, machine) for line in part.splitlines())
    README.write_text(f"{head}{BEGIN}```\n{text}\n```\n{END}{tail}")


if __name__ == "__main__":
    main(*sys.argv[1:])
