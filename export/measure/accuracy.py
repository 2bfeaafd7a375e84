"""The errors that rounding makes of a model: measured at points of its domain box, and refused where they are large."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from kdpinn_edge.bundle.manifest import Errors, FunctionName, Input
from kdpinn_edge.bundle.probe import probe_points, probed
from kdpinn_edge.errors import ExportError
from kdpinn_edge.numerics.reference import NumpyProgram
from kdpinn_edge.program.interp import interpret
from kdpinn_edge.program.ir import Array, Program, columns
from kdpinn_edge.program.simplify import multiply_adds, together

N_ERROR, LEAST_N_ERROR, ERROR_WORK = 4096, 256, 1 << 26
"""At how many points the errors are measured: fewer where they would take more multiply-adds than ERROR_WORK."""
AT_ONCE = 256
"""For so many points BLAS needs no second thread, which costs many times what it saves where layers are small."""
POINTS_PER_JUMP = 1000
"""One point of so many may be off by more: it may lie where a jump, as of `where`, is on the other side of it."""


def error_points(inputs: Sequence[Input], n_points: int) -> Array:
    """The points (n_points, n_in) of the domain box at which errors are measured."""
    return probe_points(inputs, n_points, seed=1)


@dataclass(frozen=True)
class Values:
    """A function at points x (n, n_in): `exact` is what its Program means (n, n_out), `computed` what is exported."""

    program: Program
    reference: NumpyProgram
    x: Array
    exact: Array
    computed: Array


def values_of(
    programs: Mapping[FunctionName, Program],
    references: Mapping[FunctionName, NumpyProgram],
    inputs: Sequence[Input],
    *,
    most_points: int = N_ERROR,
) -> dict[FunctionName, Values]:
    """The functions of a model at the points where their errors are measured. What they share is evaluated once."""
    found: dict[FunctionName, Values] = {}
    of_size: dict[int, list[FunctionName]] = {}
    for name, program in programs.items():
        n_points = max(LEAST_N_ERROR, min(most_points, ERROR_WORK // (multiply_adds(program) or 1)))
        of_size.setdefault(n_points, []).append(name)
    for n_points, names in of_size.items():
        x = error_points(inputs, n_points).astype(references[names[0]].dtype)
        with np.errstate(all="ignore"):
            exact = _apart([programs[name] for name in names], partial(_meant, x))
        computed = _computed([references[name] for name in names], x)
        for name, *both in zip(names, exact, computed, strict=True):
            found[name] = Values(programs[name], references[name], x, *both)
    return found


def _meant(x: Array, program: Program) -> Array:
    return np.concatenate([interpret(program, x[i : i + AT_ONCE]) for i in range(0, len(x), AT_ONCE)])


def _computed(references: Sequence[NumpyProgram], x: Array) -> list[Array]:
    if any(reference.fixed for reference in references):  # whose scales depend on the whole Program
        return [reference(x) for reference in references]
    precision, profile = references[0].dtype.name, references[0].profile
    return _apart([each.program for each in references], lambda program: NumpyProgram(program, precision, profile)(x))


def _apart(programs: Sequence[Program], evaluate: Callable[[Program], Array]) -> list[Array]:
    """What each of several Programs gives, by one evaluation of all."""
    y, ends = evaluate(together(programs)), np.cumsum([program.n_out for program in programs])
    return [np.ascontiguousarray(part) for part in np.split(y, ends[:-1], axis=1)]


def measured_errors(
    function: FunctionName,
    values: Values,
    inputs: Sequence[Input],
    against: str,
    *,
    max_relative_error: float = np.inf,
) -> Errors:
    """The differences of what is computed to what is meant, at points of the domain box.

    Raises ExportError where a value is not finite there, or where an error exceeds `max_relative_error` times the
    largest value of its column (of `jet`: the largest value of all columns, as a derivative may vanish; a residual is
    meant to, and is not judged).
    """
    x, exact, reference = values.x, values.exact, values.reference
    with np.errstate(all="ignore"):
        difference: Array = np.abs(values.computed - exact)
    scale = np.abs(exact).max(axis=0)
    names = columns(values.program.outputs)
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
        n_points=len(x),
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
