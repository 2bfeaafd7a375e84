"""`capture_onnx(path)`: an ONNX file becomes a Program.

file.py       reads the file as data, checks it, widens it to float64
interface.py  says what its inputs and outputs are: points, columns, names
reader.py     reads its nodes; operators.py has what they calculate
capture_onnx       does all this, and proves the result with ONNX's reference evaluator
"""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from itertools import accumulate
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import onnx
from numpy.typing import ArrayLike, NDArray
from onnx import helper
from onnx.reference import ReferenceEvaluator
from onnx.reference.op_run import OpRun

from kdpinn_edge.bundle.manifest import Input, Output
from kdpinn_edge.bundle.probe import probed
from kdpinn_edge.errors import CaptureError, ProgramError, listing
from kdpinn_edge.export.onnx_model import from_onnx
from kdpinn_edge.importers.columns import Column, Columns, output_columns, read_columns
from kdpinn_edge.importers.onnx_files.file import EPSILON, check_model, in_float64, opsets, read_file
from kdpinn_edge.importers.onnx_files.interface import GraphInput, Interface, interface, output_variables
from kdpinn_edge.importers.onnx_files.operators import OPERATORS, REFUSED
from kdpinn_edge.importers.onnx_files.reader import CONTROL, MOVES, RANDOM, GraphReader
from kdpinn_edge.importers.proof import PARITY, probe_points, prove
from kdpinn_edge.importers.tensors.tensors import Refusal, Tensor, Tensors, Value
from kdpinn_edge.program.builder import Builder
from kdpinn_edge.program.ir import Array, Program, Slice, Var, columns
from kdpinn_edge.program.simplify import simplify
from kdpinn_edge.program.verify import verify

FILE_ROUNDINGS = 4096
"""So many units in the last place of the file's own precision its results may differ from the Program.

It is what depth and frequency make of rounding; an operation that was misread shows above.
"""
MOST_NODES = 1 << 14
"""Nodes that the proof evaluates, where a file takes one point at a time: fewer points for a larger graph."""
FEWEST_PROBES = 16
CAUSE = "The usual cause: the file depends on the number of points, or on what is no number, such as NaN"

C = TypeVar("C", Input, Output)


DAMAGE = (LookupError, TypeError, ValueError, AttributeError, ArithmeticError, MemoryError, RecursionError)
"""What the parts of a damaged graph raise in NumPy and in ONNX's own functions, which expect a sound one."""


def capture_onnx(
    path: str | os.PathLike[str],
    inputs: Columns | None = None,
    outputs: Columns | None = None,
    *,
    name: str | None = None,
    probe: ArrayLike | None = None,
) -> Program:
    """The Program of the network in an ONNX file, simplified, and proved equal to the file on probe points.

    `inputs` and `outputs` name the columns and state units and domain, as in "x[m]=0:5000, T[K]=300:1500"; without
    them the names are those in the file. A matrix (n, k) may be named as one input of k columns or as k inputs; a file
    with an input per column is read alike. The axis of points may be free, fixed or missing. `name` is by default the
    name of the file.

    Operators are those of opset 7 to the newest (docs/onnx.md has the table), and every constant is taken at its
    float64 value. The proof compares with ONNX's reference evaluator, in float64 and in the file's own precision, on
    `probe` (n, n_in) or on points of the domain. A file that `export` wrote becomes an equal Program.

    Raises CaptureError where the file is damaged, too large or not standard, an operator is not read or mixes points
    (all of them at once, by operator and node), or the proof fails; ProgramError where columns cannot be read.

        program = capture_onnx("model.onnx", inputs="x=-1:1, t=0:1", outputs="u")
    """
    stated = read_columns(inputs, "inputs"), read_columns(outputs, "outputs")
    return read_onnx(Path(path), name, *stated, probe=probe)[0]


def read_onnx(
    path: Path,
    name: str | None,
    inputs: Sequence[Column] | None,
    outputs: Sequence[Column] | None,
    *,
    probe: ArrayLike | None = None,
) -> tuple[Program, tuple[Input, ...], tuple[Output, ...]]:
    """The Program in a file, and what is known of its columns; see `capture_onnx`."""
    try:
        return _read(path, name, inputs, outputs, probe)
    except DAMAGE as error:
        raise CaptureError(
            f"{path}: its graph is not that of a network ({type(error).__name__}: {error}); expected: a model that "
            "onnx.checker accepts, whole"
        ) from error


def _read(
    path: Path,
    name: str | None,
    inputs: Sequence[Column] | None,
    outputs: Sequence[Column] | None,
    probe: ArrayLike | None,
) -> tuple[Program, tuple[Input, ...], tuple[Output, ...]]:
    called = str(path)
    written = read_file(path)
    model = check_model(written, READ, called)
    given = interface(model, inputs, outputs, called)
    program = _own(written, inputs, outputs)
    if program is not None:
        return program, _fitting(given.described, program.inputs, Input), _own_outputs(program, given)
    file = _File(model, given, called)
    program, described_outputs = file.program(name or "model")
    sides = list(zip(*map(probed, given.described), strict=True))
    points = probe_points(program.n_in, probe, None if probe is not None else (sides[0], sides[1]))
    file.prove(program, points)
    return program, given.described, described_outputs


def _own(model: onnx.ModelProto, inputs: Sequence[Column] | None, outputs: Sequence[Column] | None) -> Program | None:
    """The Program that `export` wrote, where it did and nobody calls its columns otherwise."""
    if not any(entry.key == "kdpinn.precision" for entry in model.metadata_props):
        return None
    try:
        program = from_onnx(model)
    except ProgramError:
        return None
    for stated, variables in ((inputs, program.inputs), (outputs, program.outputs)):
        if stated is not None and [column.variable for column in stated] != [(v.name, v.size) for v in variables]:
            return None
    return program


def _own_outputs(program: Program, given: Interface) -> tuple[Output, ...]:
    stated = None if given.stated_outputs is None else output_columns(given.stated_outputs)
    return _fitting(stated or given.output_records or (), program.outputs, Output)


def _fitting(described: tuple[C, ...], variables: tuple[Var, ...], kind: type[C]) -> tuple[C, ...]:
    """The columns as they are described, where they are those of the variables; else by name alone."""
    names = columns(variables)
    return described if tuple(each.name for each in described) == names else tuple(map(kind, names))


READ = frozenset({*OPERATORS, *MOVES, *REFUSED, *RANDOM, *CONTROL, "Range"})
"""The operators that stay whole: the standard defines Range by a loop, and it is of constants."""


class Erf(OpRun):
    """The error function in the precision of x; that of the evaluator rounds to float32."""

    op_domain = ""

    def _run(self, x: Array) -> tuple[Array]:
        return (np.vectorize(math.erf, otypes=[x.dtype])(x),)


class Gelu(OpRun):
    """x Φ(x), or its approximation by tanh; the evaluator's constants are of float32."""

    op_domain = ""

    def _run(self, x: Array, approximate: str = "none") -> tuple[Array]:
        if approximate == "tanh":
            return (x / 2 * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3))),)
        return (np.vectorize(lambda x: x / 2 * (1 + math.erf(x / math.sqrt(2))), otypes=[x.dtype])(x),)


class HardSwish(OpRun):
    """x clip(x / 6 + 1/2, 0, 1); the evaluator's 1/6 is of float32."""

    op_domain = ""

    def _run(self, x: Array) -> tuple[Array]:
        return (x * np.clip(x / 6 + 0.5, 0, 1),)


class GroupNormalization(OpRun):
    """(x - mean) / √(variance + ε) per group; the evaluator rounds to float32, and its E[x²] - E[x]² cancels."""

    op_domain = ""

    def _run(self, x: Array, scale: Array, bias: Array, **attributes: Any) -> tuple[Array]:
        groups = x.reshape(len(x), attributes["num_groups"], -1)
        centred = groups - groups.mean(-1, keepdims=True)
        normal = centred / np.sqrt((centred**2).mean(-1, keepdims=True) + attributes["epsilon"])
        # one scale per group up to opset 20, one per channel since
        scale, bias = (
            np.repeat(each, x.shape[1] // len(each)).reshape(-1, *(1,) * (x.ndim - 2)) for each in (scale, bias)
        )
        return (normal.reshape(x.shape) * scale + bias,)


IN_FULL: tuple[type[OpRun], ...] = (Erf, Gelu, GroupNormalization, HardSwish)
"""The operators that the evaluator calculates in part in float32, whatever it is given; these keep to x's precision."""


class _File:
    """A model and how it is called."""

    def __init__(self, model: onnx.ModelProto, given: Interface, called: str) -> None:
        self.model, self.wide = model, in_float64(model)
        self.given, self.called = given, called
        self.axes: list[int] = []
        """The axis of points of each output."""

    def program(self, name: str) -> tuple[Program, tuple[Output, ...]]:
        """The Program of the graph. Raises CaptureError with all that is not read at once."""
        given = self.given
        builder = Builder(given.variables, reserved=given.reserved)
        tensors = Tensors(builder, given.points)
        point = builder.concat(given.variables)
        known: dict[str, Value] = {
            each.name: tensors.tensor(builder.slice(point, each.start, each.size), each.shape, each.axis)
            for each in given.inputs
        }
        reader = GraphReader(tensors, opsets(self.model), OPERATORS, REFUSED)
        reader.read(self.wide.graph, known)
        if reader.faults:
            raise CaptureError(f"{self.called} cannot be read: {listing(reader.faults)}")
        parts = [self._output(tensors, known[each], each) for each in given.outputs]
        outs, described = output_variables(given, [part.size for part in parts], self.called)
        if shared := {var.name for var in given.variables} & {var.name for var in outs}:
            raise CaptureError(f"{', '.join(sorted(shared))} names an input and an output; expected: different names")
        whole = builder.concat(parts)
        ends = accumulate(var.size for var in outs)
        copies = [Slice(out, whole, end - out.size) for out, end in zip(outs, ends, strict=True)]
        return simplify(verify(Program(name, given.variables, outs, (*builder.ops, *copies)))), described

    def _output(self, tensors: Tensors, value: Value, name: str) -> Var:
        """The numbers of one output of the graph for one point."""
        if not isinstance(value, Tensor):
            raise CaptureError(
                f"{self.called}: the output {name!r} is the same for all points; expected: outputs that depend on the "
                "inputs. The usual fix: name those that are meant, by their names in the file"
            )
        try:
            self.axes.append(value.axis or 0)
        except Refusal as refusal:
            raise CaptureError(f"{self.called}: the output {name!r} is not read: {refusal}") from refusal
        return tensors.vector(value)

    def prove(self, program: Program, points: Array) -> None:
        """Compare with ONNX's reference evaluator, in float64 and in the file's own precision."""
        free = self.given.free and not any(each.fixed for each in self.given.inputs)
        at_once = len(points) if free else 1 if self.given.free else self.given.points
        calls = max(1, MOST_NODES // max(1, len(self.model.graph.node)))
        points = points[: max(FEWEST_PROBES, min(len(points), calls * at_once))]
        prove(program, points, self._evaluated(self.wide, points, at_once), self.called, CAUSE)
        precision = {each.type.tensor_type.elem_type for each in self.model.graph.input}
        least = FILE_ROUNDINGS * max(EPSILON.get(element, 0.0) for element in precision)
        if PARITY < least < 1:
            points = points[: max(at_once, FEWEST_PROBES)]
            found = self._evaluated(self.model, points, at_once)
            prove(program, points, found, f"{self.called} in its own precision", CAUSE, least)

    def _evaluated(self, model: onnx.ModelProto, points: Array, at_once: int) -> Array:
        """What ONNX's reference evaluator makes of the points, so many at once: (n, n_out)."""
        types = {each.name: each.type.tensor_type.elem_type for each in model.graph.input}
        blocks = np.resize(points, (-(-len(points) // at_once), at_once, points.shape[1]))
        rows = []
        try:
            evaluator = ReferenceEvaluator(model, new_ops=list(IN_FULL))
            for block in blocks:
                fed = {each.name: self._fed(each, block, types[each.name]) for each in self.given.inputs}
                with np.errstate(all="ignore"):
                    made = evaluator.run(list(self.given.outputs), fed)
                parts = zip(map(np.asarray, made), self.axes, strict=True)
                rows.append(np.hstack([self._rows(y, axis, at_once) for y, axis in parts]))
        except Exception as error:  # of NumPy and of the evaluator, as it comes
            reason = (str(error).strip().splitlines() or [""])[0]
            raise CaptureError(
                f"{self.called} fails when ONNX's reference evaluator runs it ({type(error).__name__}: {reason}); "
                "expected: a model that takes the points of its inputs"
            ) from error
        found: Array = np.concatenate(rows)[: len(points)].astype(np.float64)
        return found

    def _fed(self, given: GraphInput, block: Array, element: int) -> NDArray[Any]:
        """The numbers of the points that an input takes, in its shape and precision."""
        own = block[:, given.start : given.start + given.size].astype(helper.tensor_dtype_to_np_dtype(element))
        own = own.reshape(len(block), *given.shape)
        return own[0] if self.given.points == 1 else np.moveaxis(own, 0, given.axis)

    def _rows(self, y: NDArray[Any], axis: int, at_once: int) -> NDArray[Any]:
        """An output with a row for each point."""
        return (y if self.given.points == 1 else np.moveaxis(y, axis, 0)).reshape(at_once, -1)
