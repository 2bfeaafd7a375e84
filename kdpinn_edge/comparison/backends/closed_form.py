"""The closed form of the solution in place of the network, exported and called as the network is.

It is for a bundle that names the equation of a shipped problem that has one.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path

from kdpinn_edge.comparison.backend import Array, Backend, Case, CFunction, Prepared
from kdpinn_edge.comparison.backends.prepared import has_one_thread
from kdpinn_edge.comparison.backends.solved import solved_problem
from kdpinn_edge.derive.closed_form import closed_form_program
from kdpinn_edge.export.bundle import export_bundle
from kdpinn_edge.runtime import load

NAME = "closed_form"


def prepare(case: Case, threads: int | None) -> Prepared:
    """Prepare `LibraryEngine.bind` of the exported formula."""
    report, bundle = has_one_thread(threads), _bundle(case)
    engine = load(bundle)
    return Prepared(engine, partial(engine.bind, threads=1), report, _library(bundle).stat().st_size)


def prepare_loop(case: Case, threads: int | None) -> Prepared:
    """Prepare the exported formula in harness.c."""
    report, library = has_one_thread(threads), _library(_bundle(case))

    def bind(x: Array, y: Array) -> CFunction:
        return CFunction(library, NAME)

    return Prepared(load(library.parent), bind, report, library.stat().st_size)


def _bundle(case: Case) -> Path:
    """The bundle of the formula in the precision of the case, exported once."""
    folder = case.folder / NAME
    if not folder.exists():
        program = closed_form_program(solved_problem(case))
        manifest = case.manifest
        export_bundle(program, folder, name=NAME, precision=manifest.precision, inputs=manifest.inputs)
    return folder


def _library(bundle: Path) -> Path:
    return bundle / f"lib{NAME}.so"


CFFI = ("cffi", "numpy")
CLOSED_FORM = Backend("closed form, cffi", "call from Python", "another function", CFFI, "", prepare, CFFI)
CLOSED_FORM_C_LOOP = Backend("closed form, C loop", "kernel in C", "another function", CFFI, "", prepare_loop)
