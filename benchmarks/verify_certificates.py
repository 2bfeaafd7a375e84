"""Certifies every shipped model, proves each certificate again, and attacks it with random and adversarial points.

    python benchmarks/verify_certificates.py                        all models, 10^8 points in all
    python benchmarks/verify_certificates.py burgers_student heat_small --points 1000000
    python benchmarks/verify_certificates.py --derivatives          also the first derivatives

Half of the points are uniform in the box, and half come from a local search: those with the largest error, and the
largest and the smallest values, of each round are moved by steps of any size, or onto a side of the box. Exact values
are those of a library in float64. Prints a row for each model: the CPU seconds of certifying and of checking, the
cells, the largest bound on an error divided by the largest error that was met, and by how much of the range met a
certified range exceeds it. Exit 1 if a value leaves its range or an error its bound.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np

from kdpinn_edge import certify, compile, export_bundle, load, read_program, zoo
from kdpinn_edge.bundle.posed import posed
from kdpinn_edge.bundle.read import open_bundle
from kdpinn_edge.certificates.checker import prove
from kdpinn_edge.certificates.stage import MOST_CELLS
from kdpinn_edge.problems import problem
from kdpinn_edge.runtime import Engine

BLOCK = 1 << 16
KEPT = 512
"""So many points are moved in the next round."""
HEAD = "| model | function | certify, s | check, s | cells | bound / error met | range beyond, % | outside |"


def row(name: str, points: int, derivatives: bool, cells: int) -> tuple[str, bool]:
    """The rows of one model, and whether everything that was met is within its bounds."""
    program, equation = read_program(zoo.program(name)), problem(zoo.record(name)["problem"])
    inputs, outputs = posed(equation)
    jet = [f"{u}_{x}" for u in equation.outputs for x in equation.inputs] if derivatives else []
    with tempfile.TemporaryDirectory() as folder:
        bundle = Path(folder) / "bundle"
        export_bundle(program, bundle, name="model", inputs=inputs, outputs=outputs, derivatives=jet)
        start = time.process_time()
        certificate = certify(bundle, cells=cells)
        certified = time.process_time()
        opened = open_bundle(bundle)
        prove(certificate, opened.manifest, {each: opened.program(each) for each in opened.manifest.functions})
        checked = time.process_time()
        rows, sound = [], True
        box = equation.lower, equation.upper
        engines = load(bundle), compile(program, domain=box, derivatives=jet, precision="float64")
        for function, proved in certificate.functions.items():
            met = attacked(*engines, function, certificate.domain, points)
            lower, upper, error = (
                np.array([getattr(c, k) for c in proved.outputs]) for k in ("lower", "upper", "error")
            )
            outside = int((met["lower"] < lower).sum() + (met["upper"] > upper).sum() + (met["error"] > error).sum())
            sound &= outside == 0
            span = met["upper"] - met["lower"]
            beyond = 100 * np.maximum(upper - met["upper"], met["lower"] - lower) / span
            n_cells = sum(text.count(".") for text in proved.cells)
            ratios = ", ".join(f"{each:.1f}" for each in error / met["error"])
            shares = ", ".join(f"{each:.2f}" for each in beyond)
            times = f"{certified - start:.1f} | {checked - certified:.1f}"
            rows.append(f"| {name} | {function} | {times} | {n_cells:,} | {ratios} | {shares} | {outside} |")
    return "\n".join(rows), sound


def attacked(engine: Engine, exact: Engine, function: Any, domain: Any, points: int) -> dict[str, Any]:
    """The range of values, and the largest error of each output, at so many points."""
    rng = np.random.default_rng(7)
    lower, upper = (np.array([getattr(side, end) for side in domain]) for end in ("lower", "upper"))
    least, most = (end.astype(engine.dtype) for end in (lower, upper))
    n_in, n_out = len(domain), engine.manifest.functions[function].n_out
    x, y = np.empty((BLOCK, n_in), engine.dtype), np.empty((BLOCK, n_out), engine.dtype)
    wide, true = np.empty((BLOCK, n_in)), np.empty((BLOCK, n_out))
    calls = engine.bind(x, y, function=function), exact.bind(wide, true, function=function)
    met = {"lower": np.full(n_out, np.inf), "upper": np.full(n_out, -np.inf), "error": np.zeros(n_out)}
    worst = rng.uniform(lower, upper, (KEPT, n_in))
    for i in range(max(2, -(-points // BLOCK))):
        if i % 2 == 0:
            tried = rng.uniform(lower, upper, (BLOCK, n_in))
        else:
            tried = worst[rng.integers(len(worst), size=BLOCK)]
            size = 10.0 ** rng.uniform(-7, -0.5, (BLOCK, 1))
            tried += size * (upper - lower) * rng.normal(size=tried.shape)
            side = rng.random(tried.shape) < 0.02
            tried[side] = np.where(rng.random(tried.shape) < 0.5, lower, upper)[side]
        x[:] = np.clip(tried, lower, upper)
        wide[:] = np.clip(x, least, most, out=x)
        for call in calls:
            call()
        error = np.abs(y - true)
        for values in (y, true):
            met["lower"] = np.minimum(met["lower"], values.min(axis=0))
            met["upper"] = np.maximum(met["upper"], values.max(axis=0))
        met["error"] = np.maximum(met["error"], error.max(axis=0))
        sought = [(error / (met["error"] + 1e-300)).max(axis=1), *true.T, *-true.T]
        count = KEPT // 4 // len(sought)
        best = [np.argpartition(each, -count)[-count:] for each in sought]
        worst = np.concatenate([wide[np.concatenate(best)], worst])[:KEPT]
    return met


def main() -> int:
    """Print the table; 0 if every bound holds."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="*", default=zoo.names(), help="by default all shipped models")
    parser.add_argument("--points", type=float, default=1e8, help="in all, for the models together")
    parser.add_argument("--derivatives", action="store_true", help="certify the first derivatives, too")
    parser.add_argument("--cells", type=int, default=MOST_CELLS, help="that are tried for each function")
    parser.add_argument("--processes", type=int, default=2)
    options = parser.parse_args()
    share = int(options.points / len(options.models))
    print(HEAD, "|---" * HEAD.count(" | ") + "|---|", sep="\n", flush=True)
    sound, start = True, time.monotonic()
    with ProcessPoolExecutor(options.processes, mp_context=get_context("spawn")) as pool:
        certified = partial(row, points=share, derivatives=options.derivatives, cells=options.cells)
        for text, holds in pool.map(certified, options.models):
            print(text, flush=True)
            sound &= holds
    verdict = "all bounds hold" if sound else "a bound does not hold"
    print(f"\n{len(options.models)} models, {time.monotonic() - start:.0f} s in all; {verdict}")
    return 0 if sound else 1


if __name__ == "__main__":
    sys.exit(main())
