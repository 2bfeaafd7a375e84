"""Neighbours in the wrong order: where an activation of float32 falls although the function rises.

    python benchmarks/monotonicity.py                every rising function, between all neighbours; 20 minutes of a core
    python benchmarks/monotonicity.py tanh sigmoid
    python benchmarks/monotonicity.py --stride 64    every 64th block of 65,536 neighbours

Prints a Markdown table: how many pairs of neighbouring float32 numbers x < x' have f(x) > f(x'), by how many units in
the last place at most, and where. A function that rises by less than its error from one number to the next has such
pairs; one that is computed with an error below half a unit has none.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from verify_activations import BLOCK, compiled

from kdpinn_edge.numerics.lanes import PROFILES, is_fast

RISING = ("tanh", "sigmoid", "softplus", "exp", "expm1", "log", "log1p", "sqrt", "erf", "atan")
FINITE = 0x7F800000
"""The bits of infinity: as many float32 numbers are finite and not below 0."""


def neighbours(stride: int) -> Iterator[NDArray[np.float32]]:
    """All finite numbers in rising order, in blocks that share their ends."""
    for start in range(-FINITE + 1, FINITE - 1, BLOCK * stride):
        order = np.arange(start, min(start + BLOCK + 1, FINITE))
        magnitude = np.abs(order).astype(np.uint32).view(np.float32)
        yield np.where(order < 0, -magnitude, magnitude)


def main() -> int:
    """Count for each function and profile, and print a line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("functions", nargs="*", default=RISING)
    parser.add_argument("--profiles", nargs="+", default=[name for name in PROFILES if not is_fast(name)])
    parser.add_argument("--stride", type=int, default=1, help="take every STRIDE-th block")
    stated = parser.parse_args()
    print(
        "| function | profile | falling pairs | of | largest fall, ULP | at x |\n|---|---|---|---|---|---|", flush=True
    )
    with tempfile.TemporaryDirectory() as folder:
        for fn in stated.functions:
            for profile in stated.profiles:
                call, falling, pairs, largest, at = compiled(fn, "float32", profile, Path(folder)), 0, 0, 0.0, np.nan
                for x in neighbours(stated.stride):
                    y = call(x)
                    with np.errstate(invalid="ignore"):  # from infinity to infinity
                        step = np.diff(y)
                    down = np.flatnonzero(step < 0)
                    pairs += len(step)
                    falling += len(down)
                    if down.size:
                        units = -step[down] / np.spacing(np.abs(y[1:][down]))
                        if units.max() > largest:
                            largest, at = float(units.max()), float(x[down[int(units.argmax())]])
                where = f"{at:.9g}" if falling else "none"
                print(f"| {fn} | {profile} | {falling:,} | {pairs:,} | {largest:.0f} | {where} |", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
