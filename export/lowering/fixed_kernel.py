"""The kernel of a model in fixed point: the same short module and the same loops around it as of any other model."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kdpinn_edge.bundle.manifest import FunctionName
from kdpinn_edge.bundle.symbols import FIXED
from kdpinn_edge.export.lowering.driver import Evaluation
from kdpinn_edge.export.lowering.fixed_constants import FixedConstants
from kdpinn_edge.export.lowering.kernel import Call, Function, Kernel, Names, kernel_about, kernel_text
from kdpinn_edge.export.lowering.loops import Scalar
from kdpinn_edge.export.lowering.schedule_fixed import WORDS, fixed_schedule
from kdpinn_edge.numerics.fixed_point import PROFILE
from kdpinn_edge.numerics.fixed_point.calls import FixedPoint, meaning
from kdpinn_edge.program.ir import Program

PRECISION: Scalar = "float32"
CROSSOVER = 3
"""Up to so many points of a batch go through the single-point kernel."""


def make_fixed_kernel(
    programs: Mapping[FunctionName, Program],
    fixed: Mapping[FunctionName, FixedPoint],
    lanes: int,
    *,
    narrow: bool,
    rows_at_once: int = 0,
    lower: NDArray[np.float64],
    upper: NDArray[np.float64],
    golden_x: NDArray[Any],
    golden_y: Mapping[FunctionName, NDArray[Any]],
) -> Kernel:
    """The kernel of the functions `programs` in fixed point, in registers of so many lanes; see `make_kernel`.

    `rows_at_once` is that of `fixed_schedule`, for batches.
    """
    numbers, names = FixedConstants(in_rows=lanes > 1), Names()
    function = partial(_function, numbers=numbers, names=names, lanes=lanes, narrow=narrow, rows_at_once=rows_at_once)
    made = {name: function(name, each) for name, each in fixed.items()}
    integers = {name: function(FIXED.format(name), each.on_integers) for name, each in fixed.items()}
    points = fixed["eval"].points(golden_x.T)
    constants = {
        "BOX": np.concatenate([lower, upper]).astype(PRECISION),
        "GOLDEN_X": golden_x.ravel(),
        **{f"GOLDEN_{name.upper()}": golden_y[name].ravel() for name in programs},
        "GOLDEN_X_FIXED": points.T.ravel(),
        **{f"GOLDEN_{integers[name].name.upper()}": each.on_integers(points).T.ravel() for name, each in fixed.items()},
    }
    about = kernel_about(programs, f"the numerics profile {PROFILE}", lanes)
    homes = {word: meaning(word).__module__ for word in ("rows", "floats", "integers", *WORDS)}
    text = kernel_text(made, {}, names.parameters, homes, len(golden_x), [*integers.values()])
    kernel = Kernel(about, text, PRECISION, made, numbers.numbers, constants, names.parameters, {}, integers)
    return kernel.verified()


def _function(
    name: str,
    fixed: FixedPoint,
    *,
    numbers: FixedConstants,
    names: Names,
    lanes: int,
    narrow: bool,
    rows_at_once: int,
) -> Function:
    numbers.add(fixed, f"W_{name.upper()}")
    batch = fixed_schedule(fixed, numbers, lanes, narrow=narrow, batch=True, rows_at_once=rows_at_once)
    single = fixed_schedule(fixed, numbers, 1, narrow=narrow, batch=False)
    room = max(batch.scratch.size.base, single.scratch.size.base)
    evaluation = Evaluation(name, single.x.scalar, fixed.n_in, fixed.n_out, lanes, CROSSOVER, room, words="bits32")
    lines: list[str] = []
    calls: dict[Call, str] = {}
    finishes: dict[str, int] = {}
    for i, call in enumerate(fixed.calls):
        tokens = tuple(names.array(each) if isinstance(each, np.ndarray) else each for each in call.arguments)
        text = f"{call.word}({', '.join(map(str, tokens))})"
        calls[call.word, *tokens] = call.out
        finishes[call.out] = i
        lines.append(f"{call.out} = {text}" if i < len(fixed.calls) - 1 else f"return {text}")
    return Function(name, {"batch": batch, "single": single}, evaluation, lines, calls, finishes)
