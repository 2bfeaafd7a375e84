"""The NumPy program: the definition of the bits, for scale. It emulates fma, and is slow."""

from __future__ import annotations

from kdpinn_edge.bundle.manifest import PROGRAM_FILE
from kdpinn_edge.comparison.backend import Backend, Case, Prepared
from kdpinn_edge.comparison.backends.prepared import has_one_thread
from kdpinn_edge.runtime import load


def prepare(case: Case, threads: int | None) -> Prepared:
    """Prepare `NumpyEngine.bind`."""
    report = has_one_thread(threads)
    engine = load(case.bundle, engine="numpy")
    return Prepared(engine, engine.bind, report, (case.bundle / PROGRAM_FILE).stat().st_size)


NUMPY_PROGRAM = Backend(
    "numpy program", "framework call", "same bits", ("numpy",), "", prepare, ("numpy",), is_deployed=False
)
