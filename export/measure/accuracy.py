"""The errors that rounding makes of a model: measured at points of its domain box, and refused where they are large."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from kdpinn_edge.bundle.manifest import Errors, FunctionName, Input
from kdpinn_edge.bundle.probe import probe_points, probed
from kdpinn_edge.errors import ExportError
from kdpinn_edge.numerics.reference import NumpyProgram
from kdpinn_edge.program.interp import interpret
from kdpinn_edge.program.ir import Array, Program, columns
from kdpinn_edge.program.simplify import multiply_adds

N_ERROR, LEAST_N_ERROR, ERROR_WORK = 4096, 256, 1 << 26
"""At how many points the errors are measured: fewer where they would take more multiply-adds than ERROR_WORK."""
AT_ONCE = 256
"""For so many points BLAS needs no second thread, which costs many times what it saves where layers are small."""
POINTS_PER_JUMP = 1000
"""One point of so many may be off by more: it may lie where a jump, as of `where`, is on the other side of it."""


def error_points(inputs: Sequence[Input], n_points: int) -> Array:
    """The points (n_points, n_in) of the domain box at which errors are measured."""
    return probe_points(inputs, n_points, seed=1)


def measured_errors(
    function: FunctionName,
    program: Program,
    reference: NumpyProgram,
    inputs: Sequence[Input],
    against: str,
    *,
    most_points: int = N_ERROR,
    max_relative_error: float = np.inf,
) -> Errors:
    """The differences of the NumPy program to the meaning of `program`, at points of the domain box.

    Raises ExportError where a value is not finite there, or where an error exceeds `max_relative_error` times the
    largest value of its column (of `jet`: the largest value of all columns, as a derivative may vanish; a residual is
    meant to, and is not judged).
    """
    n_points = max(LEAST_N_ERROR, min(most_points, ERROR_WORK // (multiply_adds(program) or 1)))
    x = error_points(inputs, n_points).astype(reference.dtype)
    with np.errstate(all="ignore"):
        exact: Array = np.concatenate([interpret(program, x[i : i + AT_ONCE]) for i in range(0, n_points, AT_ONCE)])
        difference: Array = np.abs(reference(x) - exact)
    scale = np.abs(exact).max(axis=0)
    names = columns(program.outputs)
    if not np.isfinite(difference).all():
        row, column = np.argwhere(~np.isfinite(difference))[0]
        raise ExportError(
            f"{function}: {names[column]} is not finite in {reference.dtype} at {x[row].tolist()}, a point of "
            f"{_box(inputs)}. The usual cause is an open or a wrong domain: give the one that the model is meant for, "
            'by --inputs "x=-1:1, t=0:1", or in Python by inputs=[Input(name, lower, upper), …]'
        )
    if function != "residual":
        judged = scale if function == "eval" else np.full_like(scale, scale.max())
        _check(function, names, x, difference, judged, inputs, max_relative_error, reference)
    return Errors(
        max_abs=tuple(map(float, difference.max(axis=0))),
        rms=tuple(map(float, np.sqrt(np.mean(difference**2, axis=0)))),
        scale=tuple(map(float, scale)),
        n_points=n_points,
        against=against,
    )


def _check(
    function: FunctionName,
    names: Sequence[str],
    x: Array,
    difference: Array,
    scale: Array,
    inputs: Sequence[Input],
    max_relative_error: float,
    reference: NumpyProgram,
) -> None:
    too_large = difference > max_relative_error * scale
    column = int(np.argmax(too_large.sum(axis=0)))
    if too_large[:, column].sum() <= max(1, len(x) // POINTS_PER_JUMP):
        return
    row = int(np.argmax(difference[:, column]))
    what, instead = ("int16", "floats") if reference.fixed else (str(x.dtype), "float64")
    raise ExportError(
        f"{function}: in {what}, rounding makes an error of {difference[row, column]:.2g} in {names[column]} at "
        f"{x[row].tolist()}, a point of {_box(inputs)}, where values are up to {scale[column]:.2g}; expected: at most "
        f"{max_relative_error:g} of that. The usual causes are a domain that is too wide (in float32, sin and cos lose "
        "their digits at arguments of 1e6 to 1e8) and sums that cancel: give a narrower domain, take "
        f"{instead}, or accept the error by max_relative_error "
        "(--max-relative-error)"
    )


def _box(inputs: Sequence[Input]) -> str:
    sides = zip(inputs, map(probed, inputs), strict=True)
    return ", ".join(f"{side.name} ∈ [{low:g}, {high:g}]" for side, (low, high) in sides)
