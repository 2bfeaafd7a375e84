"""Option prices as the exported library computes them: signs of prices and gammas, and errors of small prices.

    python benchmarks/option_prices.py
    python benchmarks/option_prices.py black_scholes_student --points 100

Prints a Markdown table, a row for the call and one for the put of each model: on a grid of points × points over the
whole domain in float32, the least price and the least gamma (V_SS), and the largest relative error of the prices from
0.01 up. The exit code is 1 where a price or a gamma is negative, or such an error is above 1 %.
"""

from __future__ import annotations

import argparse
import sys

import numpy as np

from kdpinn_edge.derive.derivatives import derivatives
from kdpinn_edge.importers.model import find_model
from kdpinn_edge.numerics.reference import NumpyProgram
from kdpinn_edge.problems import problem

MODELS = ("black_scholes_small", "black_scholes_student", "black_scholes_teacher")
SMALLEST, LARGEST_ERROR = 0.01, 0.01


def main() -> int:
    """Evaluate each model once on the grid, and print its lines."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="*", default=MODELS)
    parser.add_argument("--points", type=int, default=400, help="along each side")
    stated = parser.parse_args()
    solved = problem("black_scholes")
    points = solved.grid((stated.points, stated.points)).astype(np.float32)
    exact = solved.reference(points.astype(np.float64))
    sound = True
    print(
        "| model | option | least price | least gamma | largest error from 0.01 up |", "|---|---|---|---|---|", sep="\n"
    )
    for model in stated.models:
        gammas = [f"{price}_S_S" for price in solved.outputs]
        found = NumpyProgram(derivatives(find_model(model).program, [*solved.outputs, *gammas]), "float32")(points)
        for i, option in enumerate(("call", "put")):
            price, gamma, reference = found[:, i].astype(np.float64), found[:, 2 + i], exact[:, i]
            told = reference >= SMALLEST
            error = np.abs(price[told] / reference[told] - 1).max()
            sound &= bool((price >= 0).all() and (gamma >= 0).all() and error <= LARGEST_ERROR)
            print(f"| {model} | {option} | {price.min():.1e} | {gamma.min():.1e} | {100 * error:.2f} % |", flush=True)
    return 0 if sound else 1


if __name__ == "__main__":
    sys.exit(main())
