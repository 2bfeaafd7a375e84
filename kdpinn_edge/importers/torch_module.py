"""`capture(module)`: a live `torch.nn.Module` becomes a Program, by way of `torch.export`.

capture     copies the module, calls it, exports it, has the graph read (`torch_reader.py`), proves the result
"""

from __future__ import annotations

import copy
import inspect
import traceback
import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor, nn
from torch.fx.experimental.symbolic_shapes import GuardOnDataDependentSymNode

from kdpinn_edge.errors import CaptureError, listing
from kdpinn_edge.importers.tensors import POINTS
from kdpinn_edge.importers.torch_reader import decompositions, read, user_line
from kdpinn_edge.program.interp import interpret
from kdpinn_edge.program.ir import Array, Program, Var
from kdpinn_edge.program.ir import columns as named_columns

Module = nn.Module
"""What can be captured."""

ROUNDINGS = 32
"""Where terms cancel, the difference may be so many times what rounding to float64 makes of the Program itself."""
PARITY = 1e-12
"""Largest difference of Program and module, relative to the largest |output| of that name on the probe points.

Both calculate in float64 and differ in the order of sums and in functions by a few units in the last place, 1e-16.
Depth, width and frequency amplify this: to 7e-15 in a sine network of 6 layers of 128 with frequency 60. An operation
that was misread shows above 1e-6.
"""
PROBES = 1024
"""Probe points, where the caller gives none."""


def capture(
    module: nn.Module,
    *,
    name: str,
    inputs: Sequence[str | tuple[str, int]],
    outputs: Sequence[str | tuple[str, int]],
    probe: ArrayLike | None = None,
    domain: tuple[ArrayLike, ArrayLike] | None = None,
) -> Program:
    """The Program of a module's `forward`, simplified, and proved equal to the module on probe points.

    `inputs` and `outputs` name the columns that `forward` takes and returns; a name stands for one column, a pair
    (name, k) for k of them. `forward` takes one tensor (n, n_in), or one tensor (n, k) per input, and returns one
    tensor (n, n_out). It may use Linear and matrix products with constants, the functions that a Program has,
    sums, differences and products, powers 1 to 4, division by constants and by a + b x² where a and b are
    positive constants, sums and means over columns, and whatever only moves columns: cat, stack, slices, chunk, reshape
    and so on. Parameters, buffers and constants come along.

    What is captured is `copy.deepcopy(module).double().eval()`: dropout is off, float32 weights are taken at their
    float64 value, and the module itself is left as it is.

    The proof compares Program and copy in float64 on `probe` (n, n_in), or on 1024 points drawn from the box
    `domain = (lower, upper)`, by default [-1, 1] in every input, always the same ones; `PARITY` says how close.

    Raises CaptureError where an operation is unknown or mixes points (all of them at once, each with its source
    line and the usual rewrite), where parameters are not finite, shapes do not fit, or the proof fails; ProgramError
    where a name is not one.

        program = capture(pinn, name="burgers", inputs=("x", "t"), outputs=("u",), domain=((-1, 0), (1, 1)))
    """
    ins, outs = _variables("inputs", inputs), _variables("outputs", outputs)
    if shared := {var.name for var in ins} & {var.name for var in outs}:
        raise CaptureError(f"{', '.join(sorted(shared))} names an input and an output; expected: different names")
    points = _probe_points(ins, probe, domain)
    model = _double_copy(module)
    columns = _columns_per_tensor(model, ins)
    expected = _evaluated(model, columns, points, outs)
    program = read(_exported(model, columns), name, ins, outs, columns)
    _prove(program, points, expected)
    return program


def _variables(what: str, names: Sequence[str | tuple[str, int]]) -> tuple[Var, ...]:
    if isinstance(names, str) or not names:
        raise CaptureError(f'{what} is {names!r}; expected: a tuple of names or (name, size) pairs, such as ("x", "t")')
    return tuple(Var(each, 1) if isinstance(each, str) else Var(*each) for each in names)


def _probe_points(ins: tuple[Var, ...], probe: ArrayLike | None, domain: tuple[ArrayLike, ArrayLike] | None) -> Array:
    n_in = sum(var.size for var in ins)
    if probe is not None:
        if domain is not None:
            raise CaptureError("probe and domain are both given; expected: probe points, or a domain to draw them from")
        points = np.asarray(probe, dtype=np.float64)
        if points.ndim != 2 or points.shape[1] != n_in or len(points) == 0 or not np.isfinite(points).all():
            raise CaptureError(f"probe has shape {points.shape}; expected: finite numbers (n, {n_in}), n at least 1")
        return points
    box = [np.asarray(bound, dtype=np.float64) for bound in ((-1.0, 1.0) if domain is None else domain)]
    lower, upper = box[0], box[-1]
    fits = len(box) == 2 and {lower.shape, upper.shape} <= {(), (n_in,)}
    if not fits or not (np.isfinite(upper - lower) & (lower < upper)).all():
        raise CaptureError(f"domain is {domain}; expected: (lower, upper), each a number or {n_in}, with lower < upper")
    return np.random.default_rng(0).uniform(lower, upper, (PROBES, n_in))


def _double_copy(module: nn.Module) -> nn.Module:
    if not isinstance(module, nn.Module):
        raise CaptureError(f"a {type(module).__name__} was given; expected: a torch.nn.Module")
    try:
        model = copy.deepcopy(module).to("cpu", torch.float64).eval().requires_grad_(False)
    except RuntimeError as error:
        raise CaptureError(f"{type(module).__name__} cannot be copied by copy.deepcopy: {error}") from error
    named = (*model.named_parameters(), *model.named_buffers())
    faults = [f"{name} holds a NaN or an infinity" for name, tensor in named if not torch.isfinite(tensor).all()]
    if faults:
        raise CaptureError(f"{type(module).__name__} has parameters that are not finite: {listing(faults)}")
    return model


def _columns_per_tensor(model: nn.Module, ins: tuple[Var, ...]) -> list[int]:
    """The number of columns of each tensor that `forward` takes."""
    sizes = [var.size for var in ins]
    parameters = inspect.signature(model.forward).parameters.values()
    if _takes_any_number(model):
        return sizes
    taken = sum(each.default is each.empty and each.kind is not each.VAR_KEYWORD for each in parameters)
    if taken not in (1, len(sizes)):
        raise CaptureError(
            f"{type(model).__name__}.forward takes {taken} tensors, but {len(sizes)} inputs are named; expected: one "
            f"tensor (n, {sum(sizes)}), or one tensor per input"
        )
    return [sum(sizes)] if taken == 1 else sizes


def _takes_any_number(model: nn.Module) -> bool:
    return any(each.kind is each.VAR_POSITIONAL for each in inspect.signature(model.forward).parameters.values())


def _evaluated(model: nn.Module, columns: list[int], points: Array, outs: tuple[Var, ...]) -> Array:
    """What the module returns at the points, (n, n_out)."""
    parts = np.split(points, np.cumsum(columns)[:-1], axis=1)
    try:
        with torch.no_grad():
            returned = model(*(torch.from_numpy(np.ascontiguousarray(part)) for part in parts))
    except Exception as error:
        raise CaptureError(f"{_called(model, columns)} fails: {_reason(error)}") from error
    shape = (len(points), sum(var.size for var in outs))
    if not isinstance(returned, Tensor) or returned.shape != shape:
        found = f"shape {tuple(returned.shape)}" if isinstance(returned, Tensor) else f"a {type(returned).__name__}"
        raise CaptureError(
            f"{_called(model, columns)} returns {found} for n = {shape[0]}; expected: one tensor (n, {shape[1]}), the "
            f"columns of {', '.join(map(str, outs))}. The usual fix: torch.cat(columns, dim=1), and a name for each"
        )
    y: Array = returned.to(torch.float64).numpy()
    return y


def _called(model: nn.Module, columns: list[int]) -> str:
    return f"{type(model).__name__}, called in float64 with {', '.join(f'(n, {k})' for k in columns)},"


def _exported(model: nn.Module, columns: list[int]) -> torch.export.ExportedProgram:
    n = torch.export.Dim("n")
    example = tuple(torch.zeros(POINTS, k, dtype=torch.float64) for k in columns)
    shapes: Any = tuple({0: n} for _ in columns)
    if _takes_any_number(model):
        shapes = (shapes,)
    try:
        with warnings.catch_warnings():
            # torch 2.13 deep-copies its own LeafSpec in run_decompositions and warns that it should not.
            warnings.filterwarnings("ignore", r"`isinstance\(treespec, LeafSpec\)` is deprecated", FutureWarning)
            exported = torch.export.export(model, example, dynamic_shapes=shapes, strict=False)
            core: torch.export.ExportedProgram = exported.run_decompositions(decompositions())
            return core
    except Exception as error:
        raise CaptureError(f"{_called(model, columns)} cannot be exported: {_reason(error)}") from error


def _reason(error: Exception) -> str:
    """Where a call of the module failed, why, and the usual fix."""
    place = user_line(traceback.format_tb(error.__traceback__)[1:])
    text = f"{type(error).__name__}: {str(error).strip().splitlines()[0] if str(error) else ''}"
    if isinstance(error, GuardOnDataDependentSymNode):
        text = (
            "control flow depends on the data: remove the branch, or blend its sides with a smooth weight such as "
            "torch.sigmoid(k * x)"
        )
    elif "Constraints violated" in str(error):
        text = (
            "forward fixes the number of points n, or mixes points: use -1 or x.shape[0], not len(x), for the axis of "
            "points, and work on the columns only"
        )
    elif "dtype" in str(error):
        text += ". The usual fix: register_buffer for every tensor that is not a parameter, so that double() reaches it"
    return f"{place}: {text}" if place else text


def _prove(program: Program, points: Array, expected: Array) -> None:
    undefined = ~np.isfinite(expected).all(axis=1)
    if undefined.any():
        raise CaptureError(
            f"the module returns {expected[undefined][0].tolist()} at {points[undefined][0].tolist()}; expected: "
            "finite numbers. The usual fix: give the domain, or probe points, on which it is defined"
        )
    found = interpret(program, points)
    allowed = PARITY * abs(expected).max(axis=0)
    difference = np.nan_to_num(abs(found - expected), nan=np.inf)
    if (difference > allowed).any():
        rounding = abs(interpret(program, points.astype(np.longdouble)) - found).max(axis=0)
        allowed = np.maximum(allowed, ROUNDINGS * rounding.astype(np.float64))
    if (difference > allowed).any():
        row, column = np.unravel_index(np.argmax(difference - allowed), difference.shape)
        at = zip(named_columns(program.inputs), points[row].tolist(), strict=True)
        raise CaptureError(
            f"the Program differs from the module at {', '.join(f'{name} = {value!r}' for name, value in at)}: "
            f"{named_columns(program.outputs)[column]} is {float(expected[row, column])!r} in the module and "
            f"{float(found[row, column])!r} in the Program; allowed: {allowed[column]:.3g}. The usual cause: forward "
            "depends on the number of points, or on attributes that it changes"
        )
