"""Measures every activation of every numerics profile, as compiled: float32 on all 2³² inputs, float64 by a search.

    python benchmarks/verify_activations.py             all of it, about 40 minutes of one core, on all of them
    python benchmarks/verify_activations.py log erf     these functions alone
    python benchmarks/verify_activations.py --stride 64 every 64th float32, about a minute
    python benchmarks/verify_activations.py --precision float64
                                                        float64 alone, about 10 minutes
    python benchmarks/verify_activations.py --write     also put the rows into the table of docs/numerics.md, but where
                                                        it has one of more inputs and no smaller error

The reference is NumPy in the next wider type (float64 for float32; the 80-bit long double for float64), whose own
error is below 0.002 units in the last place of the narrower one. A profile is computed by the best target that runs
here. Exit 1 if a bound of BOUNDS is exceeded, a result
leaves the range of its function, NaN does not propagate, or an odd function is not odd.
"""

from __future__ import annotations

import argparse
import ctypes
import math
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import scipy.special
from numpy.typing import NDArray
from pages import DOCS, block_of, cells, insert

from kdpinn_edge.bundle.manifest import Grade, Input
from kdpinn_edge.export.bundle import export_bundle
from kdpinn_edge.export.targets.table import TARGETS
from kdpinn_edge.functions import FUNCTIONS, computations
from kdpinn_edge.numerics.lanes import PROFILES, is_fast
from kdpinn_edge.program.ir import Map, Program, Var

Array = NDArray[Any]
DOCUMENT = DOCS / "numerics.md"
BLOCK = 1 << 16  # what a second-level cache holds
PART_BITS = 46
"""The lowest bits of a float64 that differ within a part of a binade."""
N_WORST = 64
"""The search draws from so many parts."""
WIDER = {"float32": np.float64, "float64": np.longdouble}
FASTER: dict[str, Callable[[Array], Array]] = {"erf": scipy.special.erf}
"""The function in float64, where SciPy's takes a tenth of the time of the formula that also holds in long double."""
TASKS = [
    (fn, precision, profile)
    for precision in WIDER
    for fn, function in FUNCTIONS.items()
    for profile in PROFILES
    if not is_fast(profile) or (function.fast is not None and precision in function.fast.max_ulp)
]
HEAD = "| function | precision | profile | x | max ULP | at x | inputs |\n|---|---|---|---|---|---|---|"


def compiled(fn: str, precision: Any, profile: str, folder: Path) -> Callable[[Array], Array]:
    """fn as a shared library computes it, for arrays (n,)."""
    grade: Grade = "fast" if is_fast(profile) else "accurate"
    target = next(t.name for t in TARGETS.values() if t.graded(grade).profile == profile and t.runs_here())
    bundle = folder / f"{fn}_{precision}_{profile}"
    x, y = Var("x", 1), Var("y", 1)
    program = Program(fn, (x,), (y,), (Map(y, x, fn),))
    defined = [Input("x", 0.5, 1.5)]  # an export measures errors where every function has values
    manifest = export_bundle(
        program, bundle, name="activation", precision=precision, grade=grade, target=target, inputs=defined
    )
    evaluate = ctypes.CDLL(str(bundle / manifest.library)).activation_eval

    def call(values: Array) -> Array:
        result = np.empty_like(values)
        pointers = [ctypes.c_void_p(a.ctypes.data) for a in (values, result)]
        if evaluate(*pointers, ctypes.c_int64(values.size)) != 0:
            raise RuntimeError("the library refused the call")
        return result

    return call


def numbers(stride: int) -> Iterator[Array]:
    """Every `stride`-th float32 there is."""
    for start in range(0, 1 << 32, BLOCK * stride):
        codes = np.arange(start, min(start + BLOCK * stride, 1 << 32), stride, dtype=np.uint64)
        yield codes.astype(np.uint32).view(np.float32)


class Search:
    """Values of float64, and specials, that are drawn where errors are the largest.

    Of the first half, one third has the binades of [2^-70, 2^10] drawn equally, two thirds those of [2^-4, 2^7]. The
    rest comes from those of the 64 parts of each binade in which the largest errors were seen so far.
    """

    def __init__(self, samples: int) -> None:
        self._samples = samples
        self._seen = np.zeros(1 << (64 - PART_BITS))

    def __iter__(self) -> Iterator[Array]:
        rng = np.random.default_rng(0)
        yield np.array([0.0, -0.0, np.nan, np.inf, -np.inf, 5e-324, -5e-324, 1.7e308, -1.7e308])
        for block in range(0, self._samples, BLOCK):
            parts = np.argpartition(self._seen, -N_WORST)[-N_WORST:]
            parts = parts[self._seen[parts] > 0]
            if 2 * block < self._samples or not len(parts):
                exponent = rng.integers(-70, 11, BLOCK) if block // BLOCK % 3 == 0 else rng.integers(-4, 8, BLOCK)
                yield np.ldexp(rng.uniform(0.5, 1, BLOCK) * rng.choice([-1.0, 1.0], BLOCK), exponent)
            else:
                places = rng.integers(1 << PART_BITS, size=BLOCK)
                yield (rng.choice(parts, BLOCK) << PART_BITS | places).view(np.float64)

    def tell(self, x: Array, ulp: Array) -> None:
        """Say how large the errors were at the values x."""
        np.maximum.at(self._seen, (x.view(np.uint64) >> PART_BITS).astype(np.int64), ulp)


def measure(fn: str, precision: Any, profile: str, folder: Path, stride: int, samples: int) -> tuple[str, bool]:
    """One row of the table, and whether all bounds hold."""
    function, max_ulp = FUNCTIONS[fn], computations(profile)[fn].max_ulp[precision]
    call = compiled(fn, precision, profile, folder)
    worst, worst_at, count, sound = 0.0, math.nan, 0, True
    reference = FASTER.get(fn, function.exact) if precision == "float32" else function.exact
    search = Search(samples)
    for x in numbers(stride) if precision == "float32" else search:
        y = call(x)
        count += x.size
        with np.errstate(all="ignore"):
            exact = reference(x.astype(WIDER[precision]))
            if max_ulp == 0 and np.array_equal(y, exact.astype(precision), equal_nan=True):
                continue
            nan = np.isnan(exact.astype(precision)) | np.isnan(x)
            finite = ~nan & (np.abs(x) <= function.reach) & np.isfinite(exact.astype(precision)) & np.isfinite(y)
            unit = np.spacing(np.abs(exact[finite]).astype(precision)).astype(WIDER[precision])
            ulp = np.abs(y[finite].astype(WIDER[precision]) - exact[finite]) / unit
            same_infinity = np.isinf(y) == np.isinf(exact.astype(precision))
        number = ~np.isnan(y)
        sound &= bool((number == ~nan).all() and (same_infinity | nan).all())
        sound &= bool(
            (y[number] >= function.lower).all() and (y[number] <= np.dtype(precision).type(function.upper)).all()
        )
        if function.symmetry == "odd":
            sound &= bool((call(-x)[number] == -y[number]).all())
        if precision == "float64":
            search.tell(x[finite], ulp.astype(float))
        if ulp.size and ulp.max() > worst:
            worst, worst_at = float(ulp.max()), float(x[finite][int(ulp.argmax())])
    reach = "all" if math.isinf(function.reach) else f"\\|x\\| ≤ {function.reach:g}"
    at = f"{worst_at:.9g}" if worst else "any"
    row = f"| {fn} | {precision} | {profile} | {reach} | {worst:.2f} | {at} | {count:,} |"
    return row, sound and worst <= max_ulp


def table_of(known: Iterable[str], measured: Iterable[str]) -> tuple[str, list[str]]:
    """The table in the order of TASKS, and the rows of `known` that stand though theirs were measured again.

    Such a row has more inputs than the new one, which has found no larger error among fewer.
    """
    rows = {_task(row): row for row in known}
    kept = []
    for row in measured:
        task = _task(row)
        if task in rows and inputs_of(row) < inputs_of(rows[task]) and error_of(row) <= error_of(rows[task]):
            kept.append(rows[task])
        else:
            rows[task] = row
    return "\n".join([HEAD, *(rows[task] for task in TASKS if task in rows)]), kept


def _task(row: str) -> tuple[str, ...]:
    return tuple(cells(row)[:3])


def error_of(row: str) -> float:
    """The largest error that a row states."""
    return float(cells(row)[-3])


def inputs_of(row: str) -> int:
    """At how many inputs it was sought."""
    return int(cells(row)[-1].replace(",", ""))


def main() -> int:
    """Measure, print the table; 0 if every bound holds."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("functions", nargs="*", default=[*FUNCTIONS], help="by default all of them")
    parser.add_argument("--precision", choices=[*WIDER], nargs="+", default=[*WIDER], help="by default both")
    parser.add_argument("--stride", type=int, default=1, help="take every STRIDE-th float32")
    parser.add_argument("--samples", type=int, default=25_165_824, help="how many float64 values")
    parser.add_argument("--write", action="store_true", help="put the table into docs/numerics.md")
    options = parser.parse_args()
    rows: list[str] = []
    sound = True
    print(HEAD)
    tasks = [task for task in TASKS if task[0] in options.functions and task[1] in options.precision]
    with tempfile.TemporaryDirectory() as folder, ProcessPoolExecutor(mp_context=get_context("spawn")) as pool:
        measured = partial(measure, folder=Path(folder), stride=options.stride, samples=options.samples)
        for row, holds in pool.map(measured, *zip(*tasks, strict=True)):
            rows.append(row)
            sound &= holds
            print(row if holds else f"{row} <- FAILS", flush=True)
    if options.write:
        text, kept = table_of(block_of(DOCUMENT, "errors").splitlines(), rows)
        insert(DOCUMENT, "errors", text)
        for row in kept:
            print(f"{DOCUMENT.name} keeps a row of more inputs: {row}")
    return 0 if sound else 1


if __name__ == "__main__":
    sys.exit(main())
