"""What the inputs and outputs of an ONNX file are: where the points lie, how many columns there are, their names.

    points    the axis of an input whose size is free; or its first axis, where a size of 2 or more is fixed there; or
              none, where a file takes one point: (1, k), (k,) or a number
    names     those that are stated; else those in the metadata; else those of the graph's inputs and outputs

The metadata may have `kdpinn.columns`: {"inputs": [{"name": "x", "lower": 0, "upper": 5000, "unit": "m"}, …],
"outputs": [{"name": "u", "unit": "K"}, …]}, an entry for each column, everything but the name optional.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import onnx

from kdpinn_edge.bundle.manifest import Input, Output
from kdpinn_edge.errors import CaptureError
from kdpinn_edge.importers.columns import Column, input_columns, output_columns
from kdpinn_edge.importers.onnx_files.file import FLOATS
from kdpinn_edge.importers.tensors.tensors import POINTS
from kdpinn_edge.program.ir import Var, columns

METADATA = "kdpinn.columns"
MOST_POINTS = 1 << 16
"""Points that a file may fix."""


@dataclass(frozen=True)
class GraphInput:
    """An input of the graph: its shape without the axis of points, and which entries of the point it takes."""

    name: str
    shape: tuple[int, ...]
    axis: int
    start: int = 0
    fixed: bool = False
    """Whether its axis of points has size 1 in the file, whatever the others have."""

    @property
    def size(self) -> int:
        """The numbers that it takes of a point."""
        return math.prod(self.shape)


@dataclass(frozen=True)
class Interface:
    """How a file is called: `points` at once, or any number where `free`."""

    inputs: tuple[GraphInput, ...]
    outputs: tuple[str, ...]
    points: int
    free: bool
    variables: tuple[Var, ...]
    described: tuple[Input, ...]
    output_names: tuple[str, ...]
    stated_outputs: tuple[Column, ...] | None
    output_records: tuple[Output, ...] | None

    @property
    def reserved(self) -> set[str]:
        """What outputs may be called, for nothing else to be called so."""
        stated = {column.name for column in self.stated_outputs or ()}
        return stated.union(self.output_names, (each.name.partition("[")[0] for each in self.output_records or ()))


def interface(
    model: onnx.ModelProto,
    inputs: Sequence[Column] | None,
    outputs: Sequence[Column] | None,
    called: str,
) -> Interface:
    """The Interface of a model. Raises CaptureError where it cannot be one of points, or the columns do not fit."""
    records = _records(model, called)
    shapes = _shapes(model, inputs, called)
    found, points, free = _points(shapes, inputs, called)
    described = _input_records(model, records) if inputs is None else None
    if inputs is not None:
        placed, variables = _placed(found, inputs, called), tuple(Var(*column.variable) for column in inputs)
        described = input_columns(inputs)
    elif described and len(described) == sum(each.size for each in found):
        placed, variables = _in_order(found), _variables([each.name for each in described])
    else:
        placed = _in_order(found)
        variables = tuple(Var(_name(each.name, "x"), each.size) for each in found)
        described = tuple(map(Input, columns(variables)))
    names = tuple(each.name for each in model.graph.output)
    if outputs is not None and {column.name for column in outputs} < set(names):
        names = tuple(column.name for column in outputs)
    taken = {var.name for var in variables}
    listed = records.get("outputs") or _names_of_outputs(model)
    return Interface(
        inputs=placed,
        outputs=names,
        points=points,
        free=free,
        variables=variables,
        described=described,
        output_names=tuple(_free_name(name, taken) for name in names),
        stated_outputs=None if outputs is None else tuple(outputs),
        output_records=tuple(Output(each["name"], each.get("unit")) for each in listed) if listed else None,
    )


def output_variables(given: Interface, sizes: Sequence[int], called: str) -> tuple[tuple[Var, ...], tuple[Output, ...]]:
    """The outputs of the Program, once the number of columns of each output of the graph is known."""
    total = sum(sizes)
    if given.stated_outputs is not None:
        described = output_columns(given.stated_outputs)
        if len(described) != total:
            shapes = ", ".join(f"{name!r} of {size}" for name, size in zip(given.outputs, sizes, strict=True))
            raise CaptureError(
                f"--outputs states {len(described)} columns, but {called} returns {total}: {shapes}; expected: a name "
                f'for each, as in --outputs "u, v", or one with a size, as in --outputs "u[{total}]"'
            )
        return tuple(Var(*column.variable) for column in given.stated_outputs), described
    if given.output_records is not None and len(given.output_records) == total:
        return _variables([each.name for each in given.output_records]), given.output_records
    variables = tuple(Var(name, size) for name, size in zip(given.output_names, sizes, strict=True))
    return variables, tuple(map(Output, columns(variables)))


# Points


Shape = tuple[int | None, ...]


def _shapes(model: onnx.ModelProto, inputs: Sequence[Column] | None, called: str) -> list[tuple[str, Shape | None]]:
    """The shape of each input, None where a size is free, or where none is given."""
    constants = {each.name for each in model.graph.initializer}
    found: list[tuple[str, Shape | None]] = []
    for each in model.graph.input:
        if each.name in constants:
            continue
        kind = each.type.tensor_type
        if each.type.WhichOneof("value") != "tensor_type" or kind.elem_type not in FLOATS:
            raise CaptureError(f"{called}: the input {each.name!r} is no floating-point tensor; expected: numbers")
        dims = tuple(dim.dim_value if dim.dim_value > 0 else None for dim in kind.shape.dim)
        found.append((each.name, dims if kind.HasField("shape") else None))
    if not found:
        raise CaptureError(f"{called} has no inputs; expected: a network that depends on a point")
    return found


def _points(
    shapes: Sequence[tuple[str, Shape | None]], inputs: Sequence[Column] | None, called: str
) -> tuple[list[GraphInput], int, bool]:
    """The inputs without the axis of points, how many points they are read with, and whether that is free."""
    sizes = _stated_sizes(shapes, inputs)
    if any(shape is None or None in shape for _, shape in shapes):
        return [_free(name, shape, sizes.get(name), called) for name, shape in shapes], POINTS, True
    full = [(name, tuple(size or 1 for size in shape or ())) for name, shape in shapes]
    leading = {shape[0] if len(shape) > 1 else 1 for _, shape in full}
    per_column = all(len(shape) == 1 and sizes.get(name) == 1 for name, shape in full)
    if per_column:
        leading = {shape[0] for _, shape in full}
    whole = inputs is not None and sum(c.size for c in inputs) == sum(math.prod(shape) for _, shape in full)
    n = leading.pop() if len(leading) == 1 else 1
    if n == 1 or (whole and not per_column):
        return [GraphInput(name, shape, 0) for name, shape in full], 1, False
    if n > MOST_POINTS:
        raise CaptureError(f"{called} takes exactly {n} points; expected: a free number, or at most {MOST_POINTS}")
    return [GraphInput(name, shape[1:], 0) for name, shape in full], n, False


def _stated_sizes(shapes: Sequence[tuple[str, Shape | None]], inputs: Sequence[Column] | None) -> dict[str, int]:
    """The number of columns of each input of the graph, as far as what is stated says it."""
    if inputs is None:
        return {}
    names = [name for name, _ in shapes]
    if len(names) == 1:
        return {names[0]: sum(column.size for column in inputs)}
    if len(inputs) != len(names):
        return {}
    if {column.name for column in inputs} == set(names):
        return {column.name: column.size for column in inputs}
    return {name: column.size for name, column in zip(names, inputs, strict=True)}


def _free(name: str, shape: Shape | None, size: int | None, called: str) -> GraphInput:
    """An input of a file that takes any number of points."""
    if shape is None:
        shape = (None, size)
    if None not in shape:
        if shape and shape[0] not in (None, 1):
            raise CaptureError(
                f"{called}: the input {name!r} has the fixed shape {_shown(shape)} beside others with a free number of "
                "points; expected: points on one axis of every input"
            )
        return GraphInput(name, tuple(each or 1 for each in shape[1:]), 0, fixed=True)
    axis = shape.index(None)
    rest = [each for i, each in enumerate(shape) if i != axis]
    unknown = [i for i, each in enumerate(rest) if each is None]
    if unknown:
        known = math.prod(each for each in rest if each is not None)
        if len(unknown) > 1 or size is None or size % known:
            raise CaptureError(
                f"{called}: the input {name!r} has the shape {_shown(shape)}; expected: one free size, that of the "
                'points. The usual fix: name its columns, as in --inputs "x, t"'
            )
        rest[unknown[0]] = size // known
    return GraphInput(name, tuple(each or 1 for each in rest), axis)


def _shown(shape: Shape) -> str:
    return f"({', '.join('?' if each is None else str(each) for each in shape)})"


# Names


def _in_order(found: Sequence[GraphInput]) -> tuple[GraphInput, ...]:
    return tuple(_placed_at(found, {}))


def _placed(found: Sequence[GraphInput], inputs: Sequence[Column], called: str) -> tuple[GraphInput, ...]:
    """The inputs of the graph, each with its place among the columns that are stated: by name, or else in order."""
    by_name = {column.name: column.size for column in inputs} == {each.name: each.size for each in found}
    starts: dict[str, int] = {}
    at = 0
    for column in inputs:
        starts[column.name] = at
        at += column.size
    total = sum(each.size for each in found)
    if at != total:
        shapes = ", ".join(f"{each.name!r} of {each.size}" for each in found)
        raise CaptureError(
            f"--inputs states {at} columns, but {called} takes {total}: {shapes}; expected: a name for each, as in "
            f'--inputs "x, t", or one with a size, as in --inputs "x[{total}]"'
        )
    return tuple(_placed_at(found, starts if by_name else {}))


def _placed_at(found: Sequence[GraphInput], starts: dict[str, int]) -> Iterator[GraphInput]:
    at = 0
    for each in found:
        yield GraphInput(each.name, each.shape, each.axis, starts.get(each.name, at), each.fixed)
        at += each.size


def _name(text: str, otherwise: str) -> str:
    """A name of a variable, made of one in the graph."""
    name = re.sub(r"[^A-Za-z0-9]+", "_", text.partition(":")[0]).strip("_")[:40]
    return name if re.match(r"[A-Za-z]", name) else f"{otherwise}_{name}".rstrip("_")


def _free_name(text: str, taken: set[str]) -> str:
    name = _name(text, "y")
    while name in taken:
        name += "_out"
    taken.add(name)
    return name


def _variables(names: Sequence[str]) -> tuple[Var, ...]:
    """The variables whose columns have these names: v[0], v[1], … are those of v."""
    found: dict[str, int] = {}
    for name in names:
        base, entry = re.fullmatch(r"([^\[]*)(\[\d+\])?", name).groups()  # type: ignore[union-attr]
        found[base if entry else name] = found.get(base, 0) + 1 if entry else 1
    return tuple(Var(name, size) for name, size in found.items())


def _records(model: onnx.ModelProto, called: str) -> dict[str, list[dict[str, Any]]]:
    text = {entry.key: entry.value for entry in model.metadata_props}.get(METADATA)
    if text is None:
        return {}
    try:
        found = json.loads(text)
        return {side: [_record(each, side) for each in found.get(side, ())] for side in ("inputs", "outputs")}
    except (ValueError, TypeError, LookupError, AttributeError, RecursionError) as error:
        raise CaptureError(
            f"{called}: the metadata {METADATA} cannot be read ({error}); expected: "
            '{"inputs": [{"name": "x", "lower": 0, "upper": 1, "unit": "m"}], "outputs": [{"name": "u"}]}'
        ) from error


def _record(record: dict[str, Any], side: str) -> dict[str, Any]:
    name, unit = record["name"], record.get("unit")
    if not isinstance(name, str) or not re.fullmatch(r"[A-Za-z]\w*(\[\d+\])?", name, re.ASCII):
        raise ValueError(f"{name!r} is no name")
    if unit is not None and not isinstance(unit, str):
        raise ValueError(f"{unit!r} is no unit")
    bounds = [record.get(bound) for bound in ("lower", "upper")] if side == "inputs" else []
    if any(bound is not None and not isinstance(bound, int | float) for bound in bounds):
        raise ValueError(f"{bounds} are no bounds of {name}")
    return {"name": name, "unit": unit} | dict(zip(("lower", "upper"), bounds, strict=False))


def _input_records(model: onnx.ModelProto, records: dict[str, list[dict[str, Any]]]) -> tuple[Input, ...]:
    if records.get("inputs"):
        return tuple(Input(**each) for each in records["inputs"])
    text = {entry.key: entry.value for entry in model.metadata_props}.get("kdpinn.inputs", "[]")
    try:
        return tuple(map(Input, columns(tuple(Var(str(name), int(size)) for name, size in json.loads(text)))))
    except (ValueError, TypeError, LookupError):
        return ()


def _names_of_outputs(model: onnx.ModelProto) -> list[dict[str, Any]]:
    text = {entry.key: entry.value for entry in model.metadata_props}.get("kdpinn.outputs", "[]")
    try:
        return [{"name": str(name)} for name in json.loads(text)]
    except (ValueError, TypeError):
        return []
