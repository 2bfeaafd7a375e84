"""Prints, for one Program, the Python module that is its kernel: loops over points, written in the lane vocabulary.

The text has two meanings. Under NumPy it runs as it stands; under Numba the same functions become machine code.
"""

from __future__ import annotations

import importlib.util
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kdpinn_edge.errors import ExportError
from kdpinn_edge.export.lowering import Constants
from kdpinn_edge.export.schedules import Text, print_schedules
from kdpinn_edge.ir import FUNCTIONS, Program
from kdpinn_edge.numpy_program import PRECISIONS, PROFILE

WORDS = (
    "add",
    "canonical",
    "first",
    "fma",
    "is_null",
    "item",
    "load",
    "mul",
    "put",
    "same_bits",
    "scratch",
    "splat",
    "store",
    "tail",
    "total",
    "zeros",
)


@dataclass(frozen=True)
class Kernel:
    """The printed module and the arrays that it names: `source` mentions every key of `constants` as a global."""

    source: str
    constants: Mapping[str, NDArray[Any]]


ENTRY = '''

def evaluate(x, y, n):
    """y[i] = u(x[i]) for n points: 0, or an error code of kdpinn_edge.h."""
    if n < 0:
        return -2
    if n > 0 and (is_null(x) or is_null(y)):
        return -1
    w = W
    s = scratch(x, {size})
    p = 0
    while p < n:
        m = min({L}, n - p)
        if m > {crossover}:
            points(x, y, p, m, s, w)
        else:
            for q in range(p, p + m):
                point(x, y, q, s, w)
        p += m
    return 0


def outside(x, n):
    """How many of n points lie outside the domain box (a NaN does); or an error code of kdpinn_edge.h."""
    if n < 0:
        return -2
    if n > 0 and is_null(x):
        return -1
    box = BOX
    count = 0
    for p in range(n):
        inside = True
        for c in range({n_in}):
            v = item(x, p * {n_in} + c)
            inside = inside and item(box, c) <= v and v <= item(box, {n_in} + c)
        if not inside:
            count += 1
    return count


def selftest():
    """Replay the golden points, together and one by one: 0, or 1 + the first golden number whose bits differ."""
    g = GOLDEN_X
    h = GOLDEN_Y
    y = scratch(g, {n_golden_y})
    for size in ({n_golden}, 1):
        for p in range(0, {n_golden}, size):
            evaluate(tail(g, p * {n_in}), tail(y, p * {n_out}), size)
        for i in range({n_golden_y}):
            if not same_bits(y, i, h, i):
                return 1 + i
            put(y, i, 0.0)
    return 0
'''


def print_kernel(
    program: Program,
    precision: str,
    *,
    V: int,
    crossover: int,
    lower: NDArray[np.float64],
    upper: NDArray[np.float64],
    golden_x: NDArray[Any],
    golden_y: NDArray[Any],
    storage: str | None = None,
) -> Kernel:
    """The kernel of `program` in "float32" or "float64" for registers of V lanes.

    A tile of up to `crossover` points goes through the schedule for single points. `lower` and `upper` (n_in,) are the
    domain box; `golden_x` (k, n_in) and `golden_y` (k, n_out) are what the self-test replays. `storage` is how the
    parameters lie in memory: in `precision`, or "float16".
    """
    numbers = Constants(storage or precision, V)
    text = Text()
    schedules = print_schedules(text, ("points", "point"), program, numbers)
    entry = ENTRY.format(
        size=schedules.size,
        L=schedules.L,
        crossover=crossover,
        n_in=program.n_in,
        n_out=program.n_out,
        n_golden=len(golden_x),
        n_golden_y=golden_y.size,
    )
    body = "\n".join(text.lines) + "\n" + entry
    words, functions = ([name for name in names if f"{name}(" in body] for names in (WORDS, sorted(FUNCTIONS)))
    description = "\n".join(f"    {line}" for line in str(program).splitlines())
    head = [
        f'"""Kernel of the Program {program.sha256}',
        "",
        f"numerics profile {PROFILE}, {precision}, {V} lanes per register",
        "",
        description,
        '"""',
        "",
        *([f"from kdpinn_edge.activations import {', '.join(functions)}"] if functions else []),
        f"from kdpinn_edge.lanes import {', '.join(words)}",
    ]
    dtype = PRECISIONS[precision]
    constants = {
        "W": numbers.numbers,
        "BOX": np.concatenate([lower, upper]).astype(dtype),
        "GOLDEN_X": golden_x.ravel(),
        "GOLDEN_Y": golden_y.ravel(),
    }
    return Kernel("\n".join(head) + body, constants)


def load_kernel(kernel: Kernel, constants: Mapping[str, Any] | None = None) -> ModuleType:
    """The printed module, imported, with its constants in place: arrays as they are, or what `constants` says."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "kdpinn_kernel.py"
        path.write_text(kernel.source)
        spec = importlib.util.spec_from_file_location("kdpinn_kernel", path)
        if spec is None or spec.loader is None:
            raise ExportError(f"{path} cannot be imported")
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
    vars(module).update(kernel.constants if constants is None else constants)
    return module
