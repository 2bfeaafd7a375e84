"""C that is generated here or by a peer, compiled on the spot behind the interface of kdpinn_edge.h: called as ours."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from kdpinn_edge.bundle.manifest import Precision
from kdpinn_edge.comparison.backend import Array, Backend, Call, Case, CFunction, Layer, Prepared
from kdpinn_edge.comparison.backends.prepared import has_one_thread, prepared
from kdpinn_edge.errors import BenchError
from kdpinn_edge.runtime.c_harness import SOURCE as HARNESS

NAME = "peer"
SCALARS: Mapping[Precision, str] = {"float32": "float", "float64": "double"}
UNIT = """#include "kdpinn_edge.h"

{code}

static int32_t selftest(void) {{ return 0; }}

const kdpinn_model *peer_model(void) {{
    static const kdpinn_function function = {{.name = "eval", .f{bits} = eval, .n_out = {n_out}}};
    static const kdpinn_model description = {{
        .abi = KDPINN_ABI, .scalar_bytes = {scalar_bytes}, .n_in = {n_in}, .n_functions = 1, .functions = &function,
        .selftest = selftest}};
    return &description;
}}

int32_t peer_eval(const {scalar} *x, {scalar} *y, int64_t n) {{ return eval(x, y, n); }}
"""


@dataclass(frozen=True)
class Source:
    """C code with `static int32_t eval(const T *x, T *y, int64_t n)`; `stem` names it among those of one case."""

    stem: str
    code: str


Generate = Callable[[Case, int], Source]
"""`generate(case, n)`: the source that is fastest at n points; called when `stem` is new, or cheap."""


def prepare(case: Case, threads: int | None, *, generate: Generate, level: str, in_c_loop: bool) -> Prepared:
    """Compile what `generate` returns with the optimisation `level`: called through cffi, or by harness.c."""
    report = has_one_thread(threads)
    size = library(case, generate(case, 1), level).stat().st_size

    def bind(x: Array, y: Array) -> Call:
        return _call(library(case, generate(case, len(x)), level), case, x, y)

    def bind_loop(x: Array, y: Array) -> CFunction:
        return CFunction(library(case, generate(case, len(x)), level), NAME)

    loaded = prepared(case, bind, report, size)
    return Prepared(loaded.evaluate, bind_loop, report, size) if in_c_loop else loaded


def compiled(peer: str, generate: Generate, level: str, layer: Layer) -> Backend:
    """The backend of the C that the package `peer` generates, compiled at `level`."""
    in_c_loop = layer == "kernel in C"
    name = f"{peer} {level}, {'C loop' if in_c_loop else 'cffi'}"
    make = partial(prepare, generate=generate, level=level, in_c_loop=in_c_loop)
    runtime = () if in_c_loop else ("cffi", "numpy")
    return Backend(name, layer, "same function", (peer, "cffi", "numpy"), "peers", make, runtime)


def library(case: Case, source: Source, level: str) -> Path:
    """Compile `source`, once per case. Raises BenchError where that fails."""
    interface = Interface(case.manifest.precision, case.program.n_in, case.program.n_out)
    return build(source, level, interface, case.folder)


@dataclass(frozen=True)
class Interface:
    """What a library takes and returns: numbers of one precision, so many per point."""

    precision: Precision
    n_in: int
    n_out: int


def build(source: Source, level: str, interface: Interface, folder: Path) -> Path:
    """Compile `source` into `folder`, unless it is there. Raises BenchError where that fails."""
    compiler = shutil.which("cc")
    if compiler is None:
        raise BenchError("the C compiler 'cc' is not on PATH; install one (on Debian: apt install gcc)")
    result = folder / f"{source.stem}{level}.so"
    if result.exists():
        return result
    unit, compiled, linked = (result.with_suffix(suffix) for suffix in (".c", ".o", ".linked"))
    bits = 32 if interface.precision == "float32" else 64
    unit.write_text(
        UNIT.format(
            code=source.code,
            scalar=SCALARS[interface.precision],
            bits=bits,
            scalar_bytes=bits // 8,
            n_in=interface.n_in,
            n_out=interface.n_out,
        ),
        encoding="utf-8",
    )
    options = ["-march=native", "-fPIC", "-fno-semantic-interposition", f"-I{HARNESS.parent}"]
    run([compiler, level, *options, "-c", unit, "-o", compiled])
    # linked without the level: -Ofast would add a constructor that makes the whole process flush subnormal numbers
    run([compiler, "-shared", compiled, "-o", linked, "-lm"])
    linked.replace(result)
    return result


def scalar(case: Case) -> str:
    """C's name of the bundle's precision."""
    return SCALARS[case.manifest.precision]


def run(command: Sequence[str | Path]) -> None:
    """Run `command`. Raises BenchError with what it printed where it fails."""
    done = subprocess.run([os.fspath(part) for part in command], capture_output=True, text=True, check=False)  # noqa: S603
    if done.returncode != 0:
        raise BenchError(f"{Path(command[0]).name} failed with exit code {done.returncode}: {done.stderr.strip()}")


def _call(path: Path, case: Case, x: Array, y: Array) -> Call:
    import cffi

    ffi = cffi.FFI()
    ffi.cdef(f"int32_t peer_eval(const {scalar(case)} *x, {scalar(case)} *y, int64_t n);")
    loaded = ffi.dlopen(str(path))
    points = ffi.from_buffer(f"{scalar(case)}[]", x)
    values = ffi.from_buffer(f"{scalar(case)}[]", y, require_writable=True)
    evaluate, n = loaded.peer_eval, len(x)

    def call(*, kept: Any = loaded) -> None:  # cffi's functions do not keep their library open
        evaluate(points, values, n)

    return call
