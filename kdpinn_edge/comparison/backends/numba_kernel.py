"""The kernel that Numba compiles in this process: what the shared library is made from."""

from __future__ import annotations

from kdpinn_edge.bundle.manifest import PROGRAM_FILE
from kdpinn_edge.comparison.backend import Array, Backend, Call, Case, Prepared
from kdpinn_edge.comparison.backends.prepared import has_one_thread, prepared


def prepare(case: Case, threads: int | None) -> Prepared:
    """The Programs of the bundle, compiled here: loading takes as long as compiling."""
    report = has_one_thread(threads)
    from kdpinn_edge.engines import load

    engine = load(case.bundle, engine="numba")

    def bind(x: Array, y: Array) -> Call:
        return engine.bind(x, y)

    return prepared(case, bind, report, (case.bundle / PROGRAM_FILE).stat().st_size)


PACKAGES = ("numba", "llvmlite", "numpy")
NUMBA_KERNEL = Backend(
    "numba, in process", "call from Python", "same bits", PACKAGES, "export", prepare, PACKAGES, is_deployed=False
)
