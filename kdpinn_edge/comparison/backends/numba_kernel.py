"""The kernel that Numba compiles in this process: what the shared library is made from."""

from __future__ import annotations

from kdpinn_edge.bundle.manifest import PROGRAM_FILE
from kdpinn_edge.comparison.backend import Array, Backend, Call, Case, Prepared
from kdpinn_edge.comparison.backends.prepared import has_one_thread, prepared


def prepare(case: Case, threads: int | None) -> Prepared:
    """Prepare `numba_call`, compiled here: loading takes as long as compiling."""
    report = has_one_thread(threads)
    from kdpinn_edge.export.numba_call import numba_call

    call = numba_call(case.program, case.manifest.precision, case.manifest.profile)

    def bind(x: Array, y: Array) -> Call:
        def evaluate() -> None:
            call(x, y)

        return evaluate

    return prepared(case, bind, report, (case.bundle / PROGRAM_FILE).stat().st_size)


PACKAGES = ("numba", "llvmlite", "numpy")
NUMBA_KERNEL = Backend("numba, in process", "call from Python", "same bits", PACKAGES, "export", prepare, PACKAGES)
