"""Generates kdpinn_edge/numerics/fixed_point/tables.py: functions as polynomials of degree 4, one for each segment.

python tools/fixed_point_tables.py            rewrite the file
python tools/fixed_point_tables.py --check    exit 1 if the file is not what this script writes
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import mpmath
from mpmath import mp, mpf

mp.dps = 40
TARGET = Path(__file__).parent.parent / "kdpinn_edge" / "numerics" / "fixed_point" / "tables.py"
HEAD = '''"""Written by tools/fixed_point_tables.py: change that and run it; never edit a number here.

A table is a function of a word u of 32 bits without a sign. Its upper `bits` bits are the segment, and the others are
s, from -1 to 1 within it. The value is a number with 31 fraction bits,

    c0 2^-31 + s (c1 2^-32 + s (c2 2^-24 + s (c3 2^-28 + s c4 2^-32))),

which `words.polynomial` calculates. `wide` has c0 and c1 of each segment, `narrow` has c2, c3 and c4.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Table:
    """A function in 2^bits segments."""

    name: str
    bits: int
    wide: tuple[int, ...]
    narrow: tuple[int, ...]
'''
FRACTIONS = (31, 32, 24, 28, 32)
"""The fraction bits of c0, …, c4."""
BELOW_ONE = 1 - mpf(2) ** -28
"""What a function is multiplied by, so that no value is rounded to 1, which has no 31 fraction bits and a sign."""


def inverse_root(x: mpf) -> mpf:
    """1 / (2 √y) for y from 1 to 2 in the first half, and from 2 to 4 in the second."""
    return 1 / (2 * mpmath.sqrt(1 + 2 * x if x < 0.5 else 4 * x))


TABLES: dict[str, tuple[str, Callable[[mpf], mpf], int]] = {
    "TANH": ("tanh 8x for x from 0 to 1", lambda x: mpmath.tanh(8 * x), 6),
    "SIN": ("sin πx for x from 0 to 1", lambda x: mpmath.sinpi(x), 5),
    "EXP2": ("2ˣ / 2 for x from 0 to 1", lambda x: mpf(2) ** (x - 1), 3),
    "RECIPROCAL": ("1 / (2 + 2x) for x from 0 to 1", lambda x: 1 / (2 + 2 * x), 3),
    "ERF": ("erf 4x for x from 0 to 1", lambda x: mpmath.erf(4 * x), 6),
    "ATAN": ("atan(4x) / 2 for x from 0 to 1", lambda x: mpmath.atan(4 * x) / 2, 5),
    "INVERSE_ROOT": ("1 / (2 √y), y = 1 + 2x for x from 0 to 1/2 and 4x from there to 1", inverse_root, 4),
}


def segments(f: Callable[[mpf], mpf], bits: int) -> list[list[int]]:
    """The coefficients of each segment, from polynomials that interpolate at the nodes of Chebyshev.

    A function that begins with 0 does so as it is computed: hard conditions at 0 hold exactly.
    """
    half = mpf(2) ** -(bits + 1)
    rows = []
    for i in range(1 << bits):
        middle = (2 * i + 1) * half
        powers = mpmath.chebyfit(lambda s, middle=middle: BELOW_ONE * f(middle + half * s), [-1, 1], len(FRACTIONS))
        rows.append([int(mpmath.nint(c * mpf(2) ** n)) for c, n in zip(powers[::-1], FRACTIONS, strict=True)])
    if f(mpf(0)) == 0:
        rows[0][0] -= at_begin(rows[0])
    return rows


def at_begin(row: list[int]) -> int:
    """What `words.polynomial` computes at the begin of a segment, where s is -1."""
    c0, c1, c2, c3, c4 = row
    s, short = -(1 << 31), -(1 << 15)
    p = c3 + ((c4 * short) >> 19)
    p = c2 + ((p * short) >> 19)
    p = c1 + ((p * short) >> 7)
    return c0 + ((p * s) >> 32)


def generate() -> str:
    """The text of kdpinn_edge/numerics/fixed_point/tables.py."""
    parts = [HEAD]
    for name, (doc, f, bits) in TABLES.items():
        rows = segments(f, bits)
        wide, narrow = (tuple(c for row in rows for c in row[part]) for part in (slice(2), slice(2, 5)))
        parts.append(f'{name} = Table("{name}", {bits}, {wide}, {narrow})\n"""{doc}."""\n')
    command = [sys.executable, "-m", "ruff", "format", "--stdin-filename", str(TARGET), "-"]
    text = "\n".join(parts)
    return subprocess.run(command, input=text, text=True, check=True, capture_output=True).stdout  # noqa: S603


if __name__ == "__main__":
    text = generate()
    if "--check" in sys.argv[1:]:
        sys.exit(TARGET.read_text() != text)
    TARGET.write_text(text)
