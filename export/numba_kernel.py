"""Prints the kernel of one model: a Python module with loops over points, written in the lane vocabulary.

The text has two meanings. Under NumPy it runs as it stands; under Numba the same functions become machine code.
"""

from __future__ import annotations

import importlib.util
import re
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kdpinn_edge.bundle.manifest import FunctionName
from kdpinn_edge.errors import ExportError
from kdpinn_edge.export.lowering import Constants
from kdpinn_edge.export.schedules import Text, lower_program, print_point, print_points
from kdpinn_edge.export.target import Vectors
from kdpinn_edge.numerics.activations import functions
from kdpinn_edge.numerics.reference import PRECISIONS
from kdpinn_edge.program.ir import Map, Program

WORDS = (
    "add",
    "canonical",
    "first",
    "fma",
    "is_null",
    "item",
    "lane",
    "load",
    "mul",
    "put",
    "range32",
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
    """The printed module: `source` defines `functions`, and mentions every key of `constants` as a global."""

    source: str
    functions: tuple[str, ...]
    constants: Mapping[str, NDArray[Any]]


ALL_POINTS = '''

def {function}_all(x, y, n):
    """y[i] = {function}(x[i]) for n points: 0, or an error code of kdpinn_edge.h."""
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
            {function}_points(x, y, p, m, s, w)
        else:
            for q in range(p, p + m):
                {function}_point(x, y, q, s, w)
        p += m
    return 0


def {function}_selftest():
    """Replay the golden points, together and one by one: 0, or 1 + the first golden number whose bits differ."""
    g = GOLDEN_X
    h = GOLDEN_{FUNCTION}
    y = scratch(g, {n_golden_y})
    for size in ({n_golden}, 1):
        p = 0
        while p < {n_golden}:
            {function}_all(tail(g, p * {n_in}), tail(y, p * {n_out}), size)
            p += size
        for i in range({n_golden_y}):
            if not same_bits(y, i, h, i):
                return 1 + i
            put(y, i, 0.0)
    return 0
'''

OUTSIDE = '''

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
    """0, or the first golden number whose bits differ, counted from 1 through the functions in order."""
'''

SELFTEST = """    k = {function}_selftest()
    if k > 0:
        return {before}k
"""


def print_kernel(
    programs: Mapping[FunctionName, Program],
    precision: str,
    *,
    profile: str,
    vectors: Vectors,
    narrow: bool = False,
    crossover: int | None = None,
    lower: NDArray[np.float64],
    upper: NDArray[np.float64],
    golden_x: NDArray[Any],
    golden_y: Mapping[FunctionName, NDArray[Any]],
    storage: str | None = None,
) -> Kernel:
    """The kernel of the functions `programs`, of the same inputs, in "float32" or "float64" for these vector registers.

    The text is the same for every numerics profile of one grade; the golden vectors are of `profile`, and it says so.

    Up to `crossover` points go through the schedule for single points, by default as many as are faster there.
    `lower` and `upper` (n_in,) are the domain box; `golden_x` (k, n_in) and for each function `golden_y` (k, n_out)
    are what the self-test replays.
    `narrow` text is for processors with registers of 32 bits.
    `storage` is how the parameters lie in memory: in `precision`, or "float16". Equal ones lie there once.
    """
    numbers = Constants(precision, vectors, storage)
    text = Text(narrow=narrow)
    names = {fn: activation.__name__ for fn, activation in functions(profile).items()}
    selftest, before = "", 0
    for function, program in programs.items():
        lowered = lower_program(_graded(program, names), numbers)
        sizes = (
            print_points(text, f"{function}_points", lowered),
            print_point(text, f"{function}_point", lowered),
        )
        n_golden_y = golden_y[function].size
        all_points = ALL_POINTS.format(
            function=function,
            FUNCTION=function.upper(),
            size=max(sizes),
            L=lowered.points_per_tile,
            crossover=lowered.blocking.crossover if crossover is None else crossover,
            n_in=program.n_in,
            n_out=program.n_out,
            n_golden=len(golden_x),
            n_golden_y=n_golden_y,
        )
        text.put(0, *all_points.splitlines())
        selftest += SELFTEST.format(function=function, before=f"{before} + " if before else "")
        before += n_golden_y
    text.put(0, *(OUTSIDE.format(n_in=golden_x.shape[1]) + selftest).splitlines(), "    return 0")
    body = "\n".join(text.lines) + "\n"
    words, activations = ([name for name in names if f"{name}(" in body] for names in (WORDS, sorted(names.values())))
    head = [
        f'"""Kernel for numerics profile {profile}, {precision}, {vectors.lanes} lanes per register',
        *(line for function, program in programs.items() for line in _described(function, program)),
        '"""',
        "",
        *([f"from kdpinn_edge.numerics.activations import {', '.join(activations)}"] if activations else []),
        f"from kdpinn_edge.numerics.lanes import {', '.join(words)}",
    ]
    dtype = PRECISIONS[precision]
    constants = {
        "W": numbers.numbers,
        "BOX": np.concatenate([lower, upper]).astype(dtype),
        "GOLDEN_X": golden_x.ravel(),
        **{f"GOLDEN_{function.upper()}": golden_y[function].ravel() for function in programs},
    }
    defined = re.findall(r"^def (\w+)", body, flags=re.M)
    return Kernel("\n".join(head) + "\n" + body, tuple(defined), constants)


def _graded(program: Program, names: Mapping[str, str]) -> Program:
    """`program` with each function called what computes it in a grade."""
    return replace(
        program, ops=tuple(replace(op, fn=names[op.fn]) if isinstance(op, Map) else op for op in program.ops)
    )


def _described(function: str, program: Program) -> list[str]:
    lines = (f"    {line}" for line in str(program).splitlines())
    return ["", f"{function} is the Program {program.sha256}", "", *lines]


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
