"""`read_file(path)`: an ONNX file as data, checked, its local functions written out, in float64.

limits       LARGEST_FILE bytes with what lies beside it, MOST_NODES nodes
beside       external data is read from files below the folder of the model: no absolute path, no `..`, no link out
operators    those of ai.onnx and ai.onnx.ml; a function that the file defines is replaced by its nodes
in float64   every floating-point constant, cast and input is widened: float32 weights are taken at their float64 value
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Set
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]
from onnx import AttributeProto, TensorProto, helper, inliner, numpy_helper

from kdpinn_edge.errors import CaptureError
from kdpinn_edge.reading import opened, read_whole

LARGEST_FILE = 1 << 30
MOST_NODES = 100_000
DEEPEST = 8
"""How often what a function is made of may be made of functions."""
OLDEST_OPSET = 7
STANDARD = frozenset({"", "ai.onnx", "ai.onnx.ml"})
"""The domains whose operators are read."""
FLOATS = frozenset({TensorProto.FLOAT, TensorProto.DOUBLE, TensorProto.FLOAT16, TensorProto.BFLOAT16})
EPSILON = {TensorProto.FLOAT: 2.0**-23, TensorProto.DOUBLE: 2.0**-52, TensorProto.FLOAT16: 2.0**-10}
TYPED = frozenset({"dtype", "output_datatype", "to"})
"""Attributes that are a type of element."""


def read_file(path: Path) -> onnx.ModelProto:
    """The model in a file, with the data beside it, as it is written. Raises CaptureError where it is no such model."""
    try:
        model = onnx.load_model_from_string(read_whole(path, LARGEST_FILE))
    except FileNotFoundError as error:
        raise CaptureError(f"{path}: no such file; expected: an ONNX model") from error
    except (OSError, DecodeError, ValueError) as error:
        raise CaptureError(f"{path}: not an ONNX file ({error}); expected: a model.onnx, whole") from error
    _take_data_beside(model, path)
    return model


def check_model(model: onnx.ModelProto, read: Set[str], called: str) -> onnx.ModelProto:
    """The model without functions, its own and, but for the operators that are `read`, those of the standard.

    A function is replaced by the nodes that define it. Raises CaptureError where something in the model is not
    standard, or it is too large.
    """
    if not model.graph.node and not model.graph.output:
        raise CaptureError(f"{called}: not an ONNX model: it has no graph; expected: a model.onnx, whole")
    newest = onnx.defs.onnx_opset_version()
    opset = opsets(model).get("", newest)
    if not OLDEST_OPSET <= opset <= newest:
        raise CaptureError(f"{called} is of opset {opset}; expected: {OLDEST_OPSET} to {newest}")
    if model.functions:
        model = _inlined(model, inliner.inline_local_functions, called)
    nodes = list(_nodes(model.graph))
    if len(nodes) > MOST_NODES:
        raise CaptureError(f"{called} has {len(nodes)} nodes; expected: at most {MOST_NODES}, a small network")
    foreign = {f"{node.domain}.{node.op_type}" for node in nodes if node.domain not in STANDARD}
    if foreign:
        raise CaptureError(
            f"{called} has operators that are not of ONNX: {', '.join(sorted(foreign))}; expected: those of ai.onnx "
            "and ai.onnx.ml alone. The usual fix: export it again, before a runtime optimises it"
        )
    if model.graph.sparse_initializer:
        raise CaptureError(f"{called} has sparse constants; expected: dense ones")
    for _ in range(DEEPEST):
        others = _write_defaults(model, read)
        if not others:
            break
        model = _inlined(
            model, partial(inliner.inline_selected_functions, function_ids=others, inline_schema_functions=True), called
        )
    return model


def _inlined(
    model: onnx.ModelProto, inline: Callable[[onnx.ModelProto], onnx.ModelProto], called: str
) -> onnx.ModelProto:
    try:
        return inline(model)
    except Exception as error:  # of the C++ below, as it comes
        raise CaptureError(
            f"{called}: its functions cannot be written out ({error}); expected: functions made of ONNX's operators"
        ) from error


def _write_defaults(model: onnx.ModelProto, read: Set[str]) -> list[tuple[str, str]]:
    """The operators of a model that are not `read` and that the standard defines by others, with their defaults.

    Their nodes are given the attributes that the standard puts where they have none, which ONNX's inliner forgets:
    MeanVarianceNormalization would lose its axes.
    """
    versions, found = opsets(model), set()
    for node in _nodes(model.graph):
        if node.op_type in read or not onnx.defs.has(node.op_type, versions.get(node.domain, 1), node.domain):
            continue
        schema: Any = onnx.defs.get_schema(node.op_type, versions.get(node.domain, 1), node.domain)
        if schema.has_function or schema.has_context_dependent_function:
            found.add((node.domain, node.op_type))
            given = {attribute.name for attribute in node.attribute}
            defaults = (each.default_value for each in schema.attributes.values() if each.name not in given)
            node.attribute.extend(default for default in defaults if default.name)
    return sorted(found)


def opsets(model: onnx.ModelProto) -> dict[str, int]:
    """The version of each domain of operators; ai.onnx is called "" as nodes call it."""
    return {"" if each.domain == "ai.onnx" else each.domain: each.version for each in model.opset_import}


def _nodes(graph: onnx.GraphProto) -> Iterator[onnx.NodeProto]:
    """Every node, those of subgraphs included."""
    for node in graph.node:
        yield node
        for attribute in node.attribute:
            for inner in (attribute.g, *attribute.graphs) if attribute.type in GRAPHS else ():
                yield from _nodes(inner)


GRAPHS = (AttributeProto.GRAPH, AttributeProto.GRAPHS)


def _tensors(model: onnx.ModelProto) -> Iterator[TensorProto]:
    yield from model.graph.initializer
    bodies = (node for function in model.functions for node in function.node)
    for node in (*_nodes(model.graph), *bodies):
        for attribute in node.attribute:
            yield from (attribute.t, *attribute.tensors)
            for inner in (attribute.g, *attribute.graphs) if attribute.type in GRAPHS else ():
                yield from inner.initializer


def _take_data_beside(model: onnx.ModelProto, path: Path) -> None:
    """Put external data into the model, from files that lie beside it."""
    folder = path.parent.resolve()
    left = LARGEST_FILE
    for tensor in _tensors(model):
        if tensor.data_location != TensorProto.EXTERNAL:
            continue
        facts = {entry.key: entry.value for entry in tensor.external_data}
        location = Path(facts.get("location", ""))
        beside = (folder / location).resolve()
        if location.is_absolute() or ".." in location.parts or not beside.is_relative_to(folder):
            raise CaptureError(
                f"{path}: the constant {tensor.name!r} lies in {str(location)!r}; expected: a file below the model's "
                "own folder"
            )
        try:
            with opened(beside, LARGEST_FILE) as (file, size):
                offset = int(facts.get("offset", 0))
                length = int(facts.get("length", size - offset))
                if offset < 0 or not (0 <= length <= size - offset):
                    raise ValueError(f"{length} bytes from {offset} on, of {size}")
                if length > left:
                    raise ValueError(f"more than {LARGEST_FILE} bytes in all")
                left -= length
                file.seek(offset)
                tensor.raw_data = file.read(length)
        except (OSError, ValueError) as error:
            raise CaptureError(
                f"{path}: the constant {tensor.name!r} cannot be read from {str(location)!r} ({error}); expected: the "
                "file that was exported with the model, beside it"
            ) from error
        tensor.ClearField("external_data")
        tensor.data_location = TensorProto.DEFAULT


def in_float64(model: onnx.ModelProto) -> onnx.ModelProto:
    """A copy of the model that calculates in float64."""
    wide = onnx.ModelProto()
    wide.CopyFrom(model)
    _widen_graph(wide.graph)
    return wide


def _widen_graph(graph: onnx.GraphProto) -> None:
    for tensor in graph.initializer:
        _widen(tensor)
    for value in (*graph.input, *graph.output):
        if value.type.tensor_type.elem_type in FLOATS:
            value.type.tensor_type.elem_type = TensorProto.DOUBLE
    graph.ClearField("value_info")
    for node in graph.node:
        _widen_node(node)


def _widen_node(node: onnx.NodeProto) -> None:
    for attribute in node.attribute:
        if attribute.type == AttributeProto.TENSOR:
            _widen(attribute.t)
        elif attribute.type in GRAPHS:
            for inner in (attribute.g, *attribute.graphs):
                _widen_graph(inner)
        elif attribute.name in TYPED and attribute.i in FLOATS:
            attribute.i = TensorProto.DOUBLE
        elif node.op_type == "Constant" and attribute.name in ("value_float", "value_floats"):
            numbers: Any = attribute.f if attribute.name == "value_float" else list(attribute.floats)
            attribute.CopyFrom(helper.make_attribute("value", numpy_helper.from_array(np.array(numbers, np.float64))))
    given = {attribute.name for attribute in node.attribute}
    if node.op_type == "ConstantOfShape" and "value" not in given:
        node.attribute.append(helper.make_attribute("value", numpy_helper.from_array(np.zeros(1))))


def _widen(tensor: TensorProto) -> None:
    if tensor.data_type in FLOATS:
        tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor).astype(np.float64), tensor.name))
