"""Tables of the solution in place of the network: as accurate as it is, as large, or as fast.

They are for a bundle that names the equation of a shipped problem: cubic splines through its reference, laid out by
what is known of the solution (`Problem.known`).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Literal

import numpy as np

from kdpinn_edge.bundle.probe import timed_points
from kdpinn_edge.bundle.read import open_bundle
from kdpinn_edge.classical.accuracy import against_reference
from kdpinn_edge.classical.fit import of_error, of_numbers
from kdpinn_edge.classical.table import Table
from kdpinn_edge.classical.table_c import table_source
from kdpinn_edge.comparison.backend import Backend, Case, Layer, Prepared
from kdpinn_edge.comparison.backends.c_source import NAME, Source, library, prepare
from kdpinn_edge.comparison.backends.solved import solved_problem
from kdpinn_edge.errors import BenchError
from kdpinn_edge.problems import Array, Problem
from kdpinn_edge.program.ir import parameters
from kdpinn_edge.runtime import load
from kdpinn_edge.runtime.c_harness import CHarness, CModel, compiled_harness, sealed_library

Equal = Literal["error", "bytes", "time"]
LEVEL = "-Ofast"
LARGER = 4, 1
"""Tables with so many times the numbers of the network are tried. Sixteen times as many are most often as fast too, and
take half a minute to fit.
"""
TIMED_POINTS, TIMED_SECONDS = 1024, 0.2
STORED_BYTES = {"float16": 2, "float32": 4, "float64": 8}


def generate(case: Case, n: int, *, equal: Equal) -> Source:
    """Write the C of the table, whatever n; it is chosen once per case."""
    path = case.folder / f"table_{equal}_chosen.c"
    if not path.exists():
        problem = solved_problem(case)
        table = CHOSEN[equal](case, problem)
        unfinished = path.with_suffix(".unfinished")
        unfinished.write_text(table_source(table, case.manifest.precision), encoding="utf-8")
        unfinished.replace(path)
    return Source(f"table_{equal}", path.read_text(encoding="utf-8"))


def _as_accurate(case: Case, problem: Problem) -> Table:
    """The smallest table whose relative L2 error on the problem's grid is at most the network's."""
    engine, precision = load(case.bundle), case.manifest.precision

    def network(x: Array) -> Array:
        values: Array = engine(x.astype(engine.dtype)).astype(np.float64)
        return values

    def missed(table: Table) -> float:
        return against_reference(table.rounded(precision), problem).relative_l2

    error = against_reference(network, problem).relative_l2
    table = of_error(problem.reference, problem, error, missed)
    if table is None:
        raise BenchError(f"no table that was tried has an error of at most {error:.1e}, which the network has")
    return table.rounded(precision)


def _as_large(case: Case, problem: Problem) -> Table:
    """The table that stores no more bytes than the weights of the network."""
    weights = _weights(case)
    precision = case.manifest.precision
    stored = weights * STORED_BYTES[case.manifest.storage] // STORED_BYTES[precision]
    table = of_numbers(problem.reference, problem, stored // case.program.n_out)
    if table is None:
        raise BenchError(f"the network stores {stored} numbers; expected: enough for 4 cells along each input")
    return table.rounded(precision)


def _as_fast(case: Case, problem: Problem) -> Table:
    """The largest table of LARGER that takes no longer than the network per point of many, both in the C loop."""
    precision = case.manifest.precision
    with compiled_harness() as harness, sealed_library(open_bundle(case.bundle)) as network:
        for factor in LARGER:
            table = of_numbers(problem.reference, problem, factor * _weights(case) // case.program.n_out)
            if table is not None:
                table = table.rounded(precision)
                source = Source(f"table_time_{factor}", table_source(table, precision))
                if _times(harness, case, library(case, source, LEVEL), network) <= 1:
                    return table
    raise BenchError("every table that was tried takes longer than the network for many points")


def _times(harness: CHarness, case: Case, table: Path, network: Path) -> float:
    """How many times as long the table takes as the network."""
    x = timed_points(case.manifest.inputs, TIMED_POINTS).astype(case.manifest.precision)
    partner = CModel(network, case.manifest.name, x)
    return harness.beside(table, NAME, x, partner, seconds=TIMED_SECONDS)[0]


def _weights(case: Case) -> int:
    return sum(array.size for op in case.program.ops for array in parameters(op))


CHOSEN: dict[Equal, Callable[[Case, Problem], Table]] = {"error": _as_accurate, "bytes": _as_large, "time": _as_fast}


def _backend(equal: Equal, layer: Layer) -> Backend:
    in_c_loop = layer == "kernel in C"
    name = f"table of equal {equal}, {'C loop' if in_c_loop else 'cffi'}"
    return Backend(
        name=name,
        layer=layer,
        promise="another function",
        packages=("cffi", "numpy"),
        extra="",
        prepare=partial(_prepare, equal=equal, in_c_loop=in_c_loop),
        runtime=() if in_c_loop else ("cffi", "numpy"),
    )


def _prepare(case: Case, threads: int | None, *, equal: Equal, in_c_loop: bool) -> Prepared:
    return prepare(case, threads, generate=partial(generate, equal=equal), level=LEVEL, in_c_loop=in_c_loop)


TABLE_OF_ERROR_C_LOOP, TABLE_OF_ERROR = _backend("error", "kernel in C"), _backend("error", "call from Python")
TABLE_OF_BYTES_C_LOOP, TABLE_OF_BYTES = _backend("bytes", "kernel in C"), _backend("bytes", "call from Python")
TABLE_OF_TIME_C_LOOP, TABLE_OF_TIME = _backend("time", "kernel in C"), _backend("time", "call from Python")
