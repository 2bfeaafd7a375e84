"""How sharp the certificates of shipped models are, and that no point is outside of them.

    python benchmarks/verify_certificates.py                        values of all models, 10^8 points in all
    python benchmarks/verify_certificates.py burgers_student heat_small --points 1e6
    python benchmarks/verify_certificates.py --derivatives          also the first derivatives, of all students
    python benchmarks/verify_certificates.py --precision float64    values of the teachers with random features
    python benchmarks/verify_certificates.py --write                also into docs/certificates.md

Half of the points are uniform in the box, and half come from a local search: those with the largest error, and the
largest and the smallest values, of each round are moved by steps of any size, or onto a side of the box. Exact values
are those of a library in float64, and for float64 those of the Program in the 80-bit long double. Prints a row for each
model: the CPU seconds of certifying and of checking, the cells, the largest bound on an error divided by the largest
error that was met, and by how much of the range met a certified range exceeds it. Exit 1 if a value leaves its range or
an error its bound.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pages import DOCS, block_of, cells, insert, table

from kdpinn_edge import certify, compile, export_bundle, load, read_program, zoo
from kdpinn_edge.bundle.manifest import FunctionName, Precision
from kdpinn_edge.bundle.posed import posed
from kdpinn_edge.bundle.read import open_bundle
from kdpinn_edge.certificates.certificate import Side
from kdpinn_edge.certificates.checker import prove
from kdpinn_edge.certificates.stage import MOST_CELLS
from kdpinn_edge.problems import problem
from kdpinn_edge.program.interp import interpret
from kdpinn_edge.runtime import Engine

Array = NDArray[Any]
Computed = Callable[[Array], Array]
"""Of points (BLOCK, n_in), with values (BLOCK, n_out)."""
BLOCK = 1 << 16
KEPT = 512
"""So many points are moved in the next round."""
PAGE = DOCS / "certificates.md"
HEAD = "model", "certify, s", "check, s", "cells", "10⁶ points", "bound / error met", "range beyond, %", "outside"
RANDOM_FEATURES = [f"{name}_teacher" for name in ("beam", "heat", "helmholtz", "poisson", "wave")]
"""Their weights are so large that float32 rounds several digits away."""


@dataclass(frozen=True)
class Row:
    """What was found of one model: times in seconds, points in millions, and figures for each output."""

    model: str
    certify_s: float
    check_s: float
    cells: int
    points: float
    ratios: tuple[float, ...]
    beyond: tuple[float, ...]
    outside: int

    @property
    def text(self) -> Sequence[str]:
        """The cells of the table."""
        ratios, beyond = ", ".join(f"{r:.1f}" for r in self.ratios), ", ".join(f"{b:.2f}" for b in self.beyond)
        figures = f"{self.certify_s:.1f}", f"{self.check_s:.1f}", f"{self.cells:,}", f"{self.points:.2f}"
        return self.model, *figures, ratios, beyond, str(self.outside)


def read_row(line: str) -> Row:
    """The row of a line of the table."""
    model, certify_s, check_s, count, points, ratios, beyond, outside = cells(line)
    first, second = (tuple(map(float, each.split(", "))) for each in (ratios, beyond))
    times = float(certify_s), float(check_s)
    return Row(model, *times, int(count.replace(",", "")), float(points), first, second, int(outside))


def found(name: str, points: int, derivatives: bool, cells: int, precision: Precision) -> Row:
    """Certify one model, prove the certificate again, and look for points that are outside of it."""
    program, equation = read_program(zoo.program(name)), problem(zoo.record(name)["problem"])
    inputs, outputs = posed(equation)
    jet = [f"{u}_{x}" for u in equation.outputs for x in equation.inputs] if derivatives else []
    function: FunctionName = "jet" if derivatives else "eval"
    with tempfile.TemporaryDirectory() as folder:
        bundle = Path(folder) / "bundle"
        export_bundle(
            program, bundle, name="model", precision=precision, inputs=inputs, outputs=outputs, derivatives=jet
        )
        start = time.process_time()
        certificate = certify(bundle, functions=[function], cells=cells)
        certified = time.process_time()
        opened = open_bundle(bundle)
        prove(certificate, opened.manifest, {function: opened.program(function)})
        checked = time.process_time()
        exact = meaning(opened.program(function))
        if precision == "float32":
            box = equation.lower, equation.upper
            exact = bound(compile(program, domain=box, derivatives=jet, precision="float64"), function)
        met = attacked(bound(load(bundle), function), exact, np.dtype(precision), certificate.domain, points)
    claims = certificate.functions[function].outputs
    lower, upper, error = (np.array([getattr(c, k) for c in claims]) for k in ("lower", "upper", "error"))
    return Row(
        name,
        certified - start,
        checked - certified,
        sum(text.count(".") for text in certificate.functions[function].cells),
        met["points"] / 1e6,
        tuple(error / met["error"]),
        tuple(100 * np.maximum(upper - met["upper"], met["lower"] - lower) / (met["upper"] - met["lower"])),
        int((met["lower"] < lower).sum() + (met["upper"] > upper).sum() + (met["error"] > error).sum()),
    )


def bound(engine: Engine, function: FunctionName) -> Computed:
    """The function of a library, for points in any precision."""
    x = np.empty((BLOCK, engine.manifest.n_in), engine.dtype)
    y = np.empty((BLOCK, engine.manifest.functions[function].n_out), engine.dtype)
    call = engine.bind(x, y, function=function)

    def computed(points: Array) -> Array:
        x[:] = points
        call()
        return y

    return computed


def meaning(program: Any) -> Computed:
    """The function as the Program means it, in long double, for points in parts of a size that memory holds."""
    return lambda points: np.concatenate(
        [interpret(program, part.astype(np.longdouble)) for part in np.array_split(points, 16)]
    )


def attacked(
    computed: Computed, exact: Computed, dtype: np.dtype[Any], domain: Sequence[Side], points: int
) -> dict[str, Any]:
    """The range of values, and the largest error of each output, at so many points."""
    rng = np.random.default_rng(7)
    lower, upper = (np.array([getattr(side, end) for side in domain]) for end in ("lower", "upper"))
    least, most = (end.astype(dtype) for end in (lower, upper))
    worst = rng.uniform(lower, upper, (KEPT, len(domain)))
    met: dict[str, Any] = {"lower": np.inf, "upper": -np.inf, "error": 0.0, "points": 0}
    for i in range(max(2, -(-points // BLOCK))):
        if i % 2 == 0:
            tried = rng.uniform(lower, upper, (BLOCK, len(domain)))
        else:
            tried = worst[rng.integers(len(worst), size=BLOCK)]
            size = 10.0 ** rng.uniform(-7, -0.5, (BLOCK, 1))
            tried += size * (upper - lower) * rng.normal(size=tried.shape)
            side = rng.random(tried.shape) < 0.02
            tried[side] = np.where(rng.random(tried.shape) < 0.5, lower, upper)[side]
        x = np.clip(np.clip(tried, lower, upper).astype(dtype), least, most)
        y, true = computed(x), exact(x)
        error = np.abs(y - true)
        for values in (y, true):
            met["lower"] = np.minimum(met["lower"], values.min(axis=0))
            met["upper"] = np.maximum(met["upper"], values.max(axis=0))
        met["error"] = np.maximum(met["error"], error.max(axis=0))
        met["points"] += BLOCK
        sought = [(error / (met["error"] + 1e-300)).max(axis=1), *true.T, *-true.T]
        count = max(1, KEPT // 4 // len(sought))
        best = [np.argpartition(each, -count)[-count:] for each in sought]
        worst = np.concatenate([x[np.concatenate(best)].astype(np.float64), worst])[:KEPT]
    return met


def page(rows: Sequence[Row]) -> str:
    """The table of these rows, and a sentence with what holds of all."""
    certify_s, check_s, points, outside = (
        sum(getattr(row, of) for row in rows) for of in ("certify_s", "check_s", "points", "outside")
    )
    ratio, beyond = (max(max(getattr(row, of)) for row in rows) for of in ("ratios", "beyond"))
    return (
        f"{table(HEAD, (row.text for row in rows))}\n\n"
        f"Together: {certify_s:.0f} s of CPU to certify, {check_s:.0f} s to check, {points:.1f} million points; bounds "
        f"up to {ratio:.1f} times the error met, ranges up to {beyond:.2f} % beyond those met; "
        f"{f'{outside} bounds do not hold' if outside else 'every bound holds'}."
    )


def write(rows: Sequence[Row], block: str) -> None:
    """Put the rows into a block of the page, in the place of those of the same models."""
    _, _, *lines = [line for line in block_of(PAGE, block).splitlines() if line.startswith("| ")] or ["", ""]
    lines += [" | ".join(row.text) for row in rows]  # totals are those of the figures on the page
    latest = {row.model: row for row in map(read_row, lines)}
    insert(PAGE, block, page([latest[name] for name in zoo.names() if name in latest]))


def main() -> int:
    """Print the table; 0 if every bound holds."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="*", help="by default those above")
    parser.add_argument("--points", type=float, default=1e8, help="in all, for the models together")
    parser.add_argument("--derivatives", action="store_true", help="certify the values and first derivatives")
    parser.add_argument("--precision", choices=["float32", "float64"], default="float32")
    parser.add_argument("--cells", type=int, default=MOST_CELLS, help="that are tried for each function")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--write", action="store_true", help="put the rows into docs/certificates.md")
    options = parser.parse_args()
    students = [name for name in zoo.names() if name.endswith("_student")]
    wide = students if options.derivatives else RANDOM_FEATURES
    models = options.models or (zoo.names() if options.precision == "float32" and not options.derivatives else wide)
    rows = []
    with ProcessPoolExecutor(options.processes, mp_context=get_context("spawn")) as pool:
        one = partial(
            found,
            points=int(options.points / len(models)),
            derivatives=options.derivatives,
            cells=options.cells,
            precision=options.precision,
        )
        for each in pool.map(one, models):
            print(" | ".join(each.text), flush=True)
            rows.append(each)
            if options.write:
                write([each], f"{'derivatives' if options.derivatives else 'values'} in {options.precision}")
    print(f"\n{page(rows)}")
    return 1 if any(row.outside for row in rows) else 0


if __name__ == "__main__":
    sys.exit(main())
