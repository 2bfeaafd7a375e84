"""What `--arithmetic int16` makes of a model: what it goes with, and the kernels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kdpinn_edge.bundle.fixed_point import FixedPointRecord, Part
from kdpinn_edge.bundle.manifest import FunctionName, Grade, Precision, Storage
from kdpinn_edge.errors import ExportError
from kdpinn_edge.export.lowering.fixed_kernel import make_fixed_kernel
from kdpinn_edge.export.lowering.kernel import Kernel
from kdpinn_edge.export.measure.accuracy import error_points
from kdpinn_edge.export.targets.interface import Interface
from kdpinn_edge.export.targets.table import TARGETS, Target
from kdpinn_edge.numerics.fixed_point.calls import FixedPoint
from kdpinn_edge.numerics.fixed_point.parts import with_rounded_weights
from kdpinn_edge.numerics.reference import NumpyProgram
from kdpinn_edge.program.interp import interpret
from kdpinn_edge.program.ir import Program


def check_words(
    programs: Mapping[FunctionName, Program],
    *,
    precision: Precision,
    storage: Storage | None,
    grade: Grade,
    per_call: Sequence[str],
) -> None:
    """Raise ExportError, with every fault, for what does not go with integers."""
    faults = {
        f"precision {precision}: points and results are float32, numbers in between are words of 32 bits": (
            precision != "float32"
        ),
        f"storage {storage}: weights are words of 32 bits": storage is not None,
        f"grade {grade}: functions have one grade": grade != "accurate",
        "per_call: what depends on constant inputs alone is not evaluated apart": bool(per_call),
        "residual: its terms cancel, and what is left of them has too few digits": ("residual" in programs),
    }
    if found := [fault for fault, holds in faults.items() if holds]:
        raise ExportError(f"arithmetic int16 does not go with {'; nor with '.join(found)}. Leave it out, or int16")


def bits_of(
    references: Mapping[FunctionName, NumpyProgram],
) -> dict[FunctionName, tuple[tuple[int, ...], tuple[int, ...]]]:
    """The fraction bits of the inputs and of the outputs of each function in integers."""
    made = {function: each.fixed for function, each in references.items()}
    return {function: (fixed.x_bits, fixed.y_bits) for function, fixed in made.items() if fixed is not None}


def fixed_kernels(
    interface: Interface,
    references: Mapping[FunctionName, NumpyProgram],
    golden_x: NDArray[Any],
    golden_y: Mapping[FunctionName, NDArray[Any]],
) -> list[Kernel]:
    """A kernel for each of the targets that the target of `interface` consists of."""
    return [
        make_fixed_kernel(
            interface.functions,
            {function: each.fixed for function, each in references.items() if each.fixed is not None},
            variant.vectors(interface.precision).lanes,
            narrow=interface.target.pointer_bits == 32,
            rows_at_once=rows_at_once(variant),
            lower=np.array(interface.lower),
            upper=np.array(interface.upper),
            golden_x=golden_x,
            golden_y=golden_y,
        )
        for variant in interface.target.compiled
    ]


def record(
    function: FunctionName, interface: Interface, reference: NumpyProgram, fixed: FixedPoint, n_points: int
) -> FixedPointRecord:
    """The scales of a function, and the parts of its errors at the points at which those are measured.

    `fixed` is the function in integers, which `reference` evaluates.
    """
    program, profile = interface.functions[function], TARGETS[interface.target.name].profile
    x = error_points(interface.inputs, n_points).astype(reference.dtype)
    steps = [
        interpret(program, x),
        with_rounded_weights(program, fixed, x, tables=False),
        with_rounded_weights(program, fixed, x, tables=True),
        reference(x),
    ]
    in_float32 = NumpyProgram(program, interface.precision, profile)(x)
    pairs = [(steps[0], in_float32), *pairwise(steps)]
    float32, weights, functions, sums = (_part(b - a) for a, b in pairs)
    return FixedPointRecord(fixed.x_bits, fixed.y_bits, float32, weights, functions, sums)


def _part(difference: NDArray[Any]) -> Part:
    return Part(
        tuple(map(float, np.abs(difference).max(axis=0))), tuple(map(float, np.sqrt(np.mean(difference**2, axis=0))))
    )


def rows_at_once(target: Target) -> int:
    """How many rows of a layer are summed at once: as many as registers hold, with two sums for each."""
    vectors = target.vectors("float32")
    return vectors.registers // 4 if target.multiplies_in_pairs and vectors.lanes > 1 else 0
