"""A DeepONet at many points: its sensors given once per call, beside all inputs at every point.

    python benchmarks/bench_per_call.py                   100 sensors, 40-wide branch and trunk, 10,000 points
    python benchmarks/bench_per_call.py --points 1000

u(s, x) = Σ branch(s) · trunk(x) + b, the trunk at x and t, tanh, float32, one thread. The three ways take turns in one
process; the least time of each is taken, and the bits are compared first. `repeated` evaluates an array that has the
sensors in every row already, `repeating` makes that array too. Prints a Markdown table.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from time import perf_counter_ns
from typing import Any

import numpy as np

from kdpinn_edge import compile
from kdpinn_edge.program.builder import Builder
from kdpinn_edge.program.ir import Program, Var

SENSORS, WIDTH, ROUNDS = 100, 40, 40
SHAPES = (((WIDTH,) * 2, (WIDTH,) * 2), ((WIDTH,) * 4, (WIDTH,) * 2), ((WIDTH,) * 4, (WIDTH,)))
"""The hidden layers of branch and trunk; the first is the usual one."""


def deeponet(branch: Sequence[int], trunk: Sequence[int]) -> Program:
    """A DeepONet with weights as they are initialised, of `SENSORS` sensors s and of x and t."""
    rng = np.random.default_rng(0)
    s, x = Var("s", SENSORS), Var("x", 2)
    builder = Builder([s, x], reserved=["u"])
    sides = []
    for v, sizes in ((s, branch), (x, trunk)):
        for size in sizes:
            weight = rng.normal(0, v.size**-0.5, (size, v.size))
            v = builder.map(builder.affine(v, weight, rng.normal(0, 0.1, size)), "tanh")
        sides.append(v)
    return builder.program("deeponet", {"u": builder.affine(builder.mul(*sides), np.ones((1, WIDTH)), [0.1])})


def least_ns(calls: Sequence[Callable[[], Any]]) -> list[float]:
    """The least time of each of several calls that take turns."""
    best = [np.inf] * len(calls)
    for _ in range(ROUNDS):
        for i, call in enumerate(calls):
            start = perf_counter_ns()
            call()
            best[i] = min(best[i], perf_counter_ns() - start)
    return best


def main() -> int:
    """One row per shape."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--points", type=int, default=10_000)
    n = parser.parse_args().points
    rng = np.random.default_rng(1)
    p, x = rng.uniform(-1, 1, SENSORS).astype(np.float32), rng.uniform(-1, 1, (n, 2)).astype(np.float32)

    def repeated() -> Any:
        return np.concatenate([np.broadcast_to(p, (n, SENSORS)), x], axis=1)

    everywhere = repeated()
    print("| branch | trunk | ns per point: per call | repeated | repeating | repeated / per call |")
    print("|---|---|---|---|---|---|")
    for branch, trunk in SHAPES:
        engine = compile(deeponet(branch, trunk), per_call=["s"])
        if engine.eval_for(p, x).tobytes() != engine.eval(everywhere).tobytes():
            raise SystemExit("the bits differ")
        ways = (
            lambda e=engine: e.eval_for(p, x),
            lambda e=engine: e.eval(everywhere),
            lambda e=engine: e.eval(repeated()),
        )
        per_call, whole, made = (ns / n for ns in least_ns(ways))
        shapes = ("→".join(map(str, (first, *sizes))) for first, sizes in ((SENSORS, branch), (2, trunk)))
        print(
            f"| {' | '.join(shapes)} | {per_call:.0f} | {whole:.0f} | {made:.0f} | {whole / per_call:.1f} |", flush=True
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
