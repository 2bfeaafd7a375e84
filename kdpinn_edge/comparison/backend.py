"""What a backend is to the comparison: how it is prepared for a bundle, judged, and called.

A backend is prepared in a process of its own, several times in a run, and never shares one with another backend. Its
module may be imported without the package that it needs; `prepare` imports that.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from numpy.typing import NDArray

from kdpinn_edge.bundle.manifest import Manifest
from kdpinn_edge.program.ir import Program

Array = NDArray[Any]
Call = Callable[[], object]

Layer = Literal["kernel in C", "call from Python", "framework call"]
"""Where the clock stands: in a C program's loop, around a foreign function called from Python, or around a framework
that takes and returns its own tensors. Figures of different layers answer different questions."""

Promise = Literal["same bits", "same function", "another function"]
"""What a backend owes the Program. The last is a rival's that evaluates the solution in its own way, as a table does:
its error is its distance to the network."""


@dataclass(frozen=True)
class Case:
    """The model that is evaluated.

    `bundle` has every file of `manifest`, their hashes checked; `program` is the Program in it.
    `folder` is empty at first, is kept for all processes of one entry (a compiled artifact may be left there for the
    next process), and vanishes with the run.
    """

    bundle: Path
    manifest: Manifest
    program: Program
    folder: Path


@dataclass(frozen=True)
class CFunction:
    """The function `name`_eval of the model that `library` describes as in kdpinn_edge.h: timed by harness.c."""

    library: Path
    name: str


@dataclass(frozen=True)
class Prepared:
    """A backend that is loaded, for arrays in the precision of the bundle.

    `evaluate(x)` gives the values at x (n, n_in), for any n: parity judges them. `bind(x, y)` makes what is timed, for
    contiguous x (n, n_in) and y (n, n_out): everything that depends on the shape alone (compiling, binding, converting)
    happens here, before the clock. The call stores into y and returns None, or, where the backend cannot be given its
    output, returns values (n, n_out) that `np.asarray` takes, or a list of just them. Values are judged at x, too.
    `threads` says what was set, in the words of the backend's own options, as in "intra_op_num_threads=1".
    `artifact_bytes` is what has to be shipped for this model, without the runtime.
    """

    evaluate: Callable[[Array], Array]
    bind: Callable[[Array, Array], Call | CFunction]
    threads: str
    artifact_bytes: int | None = None


@dataclass(frozen=True)
class Backend:
    """One way to evaluate a model.

    `packages` are the distributions that it needs, whose versions are recorded; where one is missing the backend is
    absent, and `extra` of kdpinn-edge brings it. `runtime` are those of them that must be installed where the artifact
    runs, besides Python and kdpinn-edge: none for a library that a C program calls. `prepare(case, threads)` loads it
    with exactly `threads` threads, or, where that is None, as its own defaults have it. It is pickled by name into
    another process: a function of a module. It raises KdpinnError, ImportError or anything else where it cannot; the
    message becomes the reason. One that is not `is_deployed` serves development alone, and is never recommended.
    """

    name: str
    layer: Layer
    promise: Promise
    packages: tuple[str, ...]
    extra: str
    prepare: Callable[[Case, int | None], Prepared]
    runtime: tuple[str, ...] = ()
    is_deployed: bool = True
