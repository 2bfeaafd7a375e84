"""`GraphReader`: reads the nodes of an ONNX graph into Tensors, one after another.

A node of which every input is a constant is calculated by ONNX's reference evaluator. One that only moves numbers is
too, on the tables of its tensors. What calculates with variables is in `operators.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import AttributeProto, NodeProto, TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator
from onnx.shape_inference import infer_node_outputs

from kdpinn_edge.importers.tensors.tensors import Refusal, Tensor, Tensors, Value

LARGEST_CONSTANT = 1 << 24
"""Numbers that a constant may have which a graph calculates."""
SMALL = 1024
"""Numbers of a constant, up to which it may say what shape a result has."""

Operator = Callable[[Tensors, "Node"], "Value | Sequence[Value]"]

MOVES: Mapping[str, tuple[int, ...]] = {
    **dict.fromkeys(
        (
            "DepthToSpace", "Expand", "Flatten", "Gather", "GatherElements", "GatherND", "Identity", "Reshape",
            "ReverseSequence", "Slice", "SpaceToDepth", "Split", "Squeeze", "Tile", "Transpose", "Unsqueeze",
            "ArrayFeatureExtractor", "Compress",
        ),
        (0,),
    ),
    "ScatterElements": (0, 2),
    "ScatterND": (0, 2),
}  # fmt: skip
"""Operators that only say where each number goes, and which of their inputs hold the numbers."""

RANDOM = frozenset(
    {"Bernoulli", "Multinomial", "RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike"}
)
CONTROL = frozenset({"Loop", "Scan", "SequenceMap"})


@dataclass(frozen=True)
class Node:
    """A node with its inputs: a Tensor, a constant, or None where an input is left out."""

    operator: str
    inputs: tuple[Value | None, ...]
    attributes: Mapping[str, Any]
    """Those of the node, and those that the standard puts where it has none."""
    n_outputs: int
    version: int
    domain: str = ""

    def value(self, i: int) -> Value:
        """Input i. Raises Refusal where it is left out."""
        found = self.optional(i)
        if found is None:
            raise Refusal(f"its input {i} is left out; expected: the inputs that it needs")
        return found if isinstance(found, Tensor) or found.dtype.kind == "f" else found.astype(np.float64)

    def element(self, i: int) -> int:
        """ONNX's number for the type of input i."""
        found = self.optional(i)
        return TensorProto.UNDEFINED if found is None else _element(found)

    def optional(self, i: int) -> Value | None:
        """Input i, or None where it is left out."""
        return self.inputs[i] if i < len(self.inputs) else None

    def constant(self, i: int) -> NDArray[Any] | None:
        """Input i, which must be a constant, or None where it is left out."""
        found = self.optional(i)
        if isinstance(found, Tensor):
            raise Refusal(f"its input {i} depends on the point; expected: a constant")
        return found

    def attribute(self, name: str) -> Any:
        """An attribute; None where it is left out and the standard has none for that."""
        return self.attributes.get(name)

    def integers(self, name: str, i: int) -> list[int] | None:
        """Integers that newer versions take as input i and older ones as an attribute."""
        given = self.constant(i) if self.optional(i) is not None else self.attribute(name)
        return None if given is None else np.asarray(given).reshape(-1).astype(int).tolist()


@dataclass
class GraphReader:
    """Reads nodes; `faults` collects what is not captured, each with its operator and node."""

    tensors: Tensors
    opsets: Mapping[str, int]
    operators: Mapping[str, Operator]
    refused: Mapping[str, str]
    faults: list[str] = field(default_factory=list)

    def read(self, graph: onnx.GraphProto, known: dict[str, Value]) -> None:
        """Add what the nodes of a graph make to the known values, its constants first."""
        for tensor in graph.initializer:
            known[tensor.name] = numpy_helper.to_array(tensor)
        for node in graph.node:
            try:
                if all(name in known for name in node.input if name):
                    results = self._results(node, known)
                    known.update({name: value for name, value in zip(node.output, results, strict=False) if name})
                elif node.op_type in CONTROL | RANDOM | set(self.refused):
                    raise Refusal(self._unknown(node.op_type))
            except Refusal as refusal:
                where = f"node {node.name!r}" if node.name else f"the node that makes {node.output[0]!r}"
                fault = f"{node.op_type}, {where}, is not read: {refusal}"
                if fault not in self.faults:
                    self.faults.append(fault)

    def _results(self, proto: NodeProto, known: Mapping[str, Value]) -> Sequence[Value]:
        name = proto.op_type
        if name in RANDOM or name in CONTROL:
            raise Refusal(self._unknown(name))
        inputs = tuple(known[each] if each else None for each in proto.input)
        domain = "" if proto.domain == "ai.onnx" else proto.domain
        version = self.opsets.get(domain, 1)
        schema = _schema(name, version, domain)
        attributes = {
            **{
                each.name: _attribute(each.default_value)
                for each in schema.attributes.values()
                if each.default_value.name
            },
            **{each.name: _attribute(each) for each in proto.attribute},
        }
        node = Node(name, inputs, attributes, len(proto.output), version, domain)
        if name == "If":
            return self._branch(node, proto, known)
        if not any(isinstance(each, Tensor) for each in inputs):
            return self._folded(proto, schema, inputs)
        if name in MOVES and not any(isinstance(each, Tensor) for i, each in enumerate(inputs) if i not in MOVES[name]):
            if node.attribute("reduction") not in (None, "none"):
                raise Refusal("it combines what it scatters; expected: the reduction none")
            return self._moved(proto, inputs, MOVES[name])
        if name in self.operators:
            try:
                made = self.operators[name](self.tensors, node)
            except (ValueError, TypeError, IndexError, KeyError) as error:  # of NumPy, about shapes
                raise Refusal(f"its inputs do not fit ({_first_line(error)})") from error
            return made if isinstance(made, list | tuple) else [made]  # type: ignore[list-item]
        if name in MOVES:
            raise Refusal("which numbers it moves depends on the point; expected: constant places")
        raise Refusal(self._unknown(name))

    def _unknown(self, name: str) -> str:
        if name in RANDOM:
            return "it is random; expected: a model for inference"
        if name in CONTROL:
            return "it is control flow; expected: a graph without loops, as exporters write for a network"
        return self.refused.get(name, "it is unknown; expected: operators that work on each point by itself")

    def _branch(self, node: Node, proto: NodeProto, known: Mapping[str, Value]) -> Sequence[Value]:
        """What the branch of an If makes whose condition is a constant."""
        if isinstance(node.optional(0), Tensor):
            raise Refusal(
                "it is control flow that depends on the data; expected: Where, or the branch that is meant alone"
            )
        taken = "then_branch" if bool(np.asarray(node.value(0)).reshape(-1)[0]) else "else_branch"
        graph = next(each.g for each in proto.attribute if each.name == taken)
        inner = dict(known)
        self.read(graph, inner)
        return [_made(inner, each.name) for each in graph.output]

    def _folded(
        self, proto: NodeProto, schema: onnx.defs.OpSchema, inputs: Sequence[Value | None]
    ) -> list[NDArray[Any]]:
        """What a node makes of constants."""
        given = {name: np.asarray(each) for name, each in zip(proto.input, inputs, strict=True) if name}
        self._check_sizes(proto, schema, given)
        return [_widened(each) for each in self._evaluated(proto, given)]

    def _check_sizes(self, proto: NodeProto, schema: onnx.defs.OpSchema, given: Mapping[str, NDArray[Any]]) -> None:
        types = {
            name: helper.make_tensor_type_proto(helper.np_dtype_to_tensor_dtype(each.dtype), each.shape)
            for name, each in given.items()
        }
        data = {name: numpy_helper.from_array(each, name) for name, each in given.items() if each.size <= SMALL}
        imports = [helper.make_opsetid(domain, version) for domain, version in self.opsets.items()]
        try:
            made = infer_node_outputs(schema, proto, types, data, opset_imports=imports)
        except Exception as error:  # of the C++ below, as it comes
            raise Refusal(f"its inputs do not fit ({_first_line(error)})") from error
        for each in made.values():
            sizes = [dim.dim_value for dim in each.tensor_type.shape.dim]
            if np.prod(np.array(sizes, dtype=float)) > LARGEST_CONSTANT:
                raise Refusal(f"it makes a constant of shape {sizes}; expected: at most {LARGEST_CONSTANT} numbers")

    def _moved(self, proto: NodeProto, inputs: Sequence[Value | None], data: Sequence[int]) -> list[Value]:
        """What a node makes that only moves numbers: carried out on the tables."""
        given = {
            name: self.tensors.table(each) if i in data else np.asarray(each)
            for i, (name, each) in enumerate(zip(proto.input, inputs, strict=True))
            if name and each is not None
        }
        return [self.tensors.value(each) for each in self._evaluated(proto, given)]

    def _evaluated(self, proto: NodeProto, given: Mapping[str, NDArray[Any]]) -> list[NDArray[Any]]:
        """What ONNX's reference evaluator makes of a node."""
        ins = [helper.make_tensor_value_info(name, TensorProto.UNDEFINED, None) for name in given]
        outs = [helper.make_tensor_value_info(name, TensorProto.UNDEFINED, None) for name in proto.output if name]
        graph = helper.make_graph([proto], "node", ins, outs)
        try:
            with np.errstate(all="ignore"):
                made = ReferenceEvaluator(graph, opsets=dict(self.opsets)).run(None, dict(given))
        except Exception as error:  # of NumPy and of the evaluator, as it comes
            raise Refusal(f"its inputs do not fit ({_first_line(error)})") from error
        found = dict(zip([name for name in proto.output if name], made, strict=True))
        return [np.asarray(found[name]) if name else np.zeros(0) for name in proto.output]


def _made(known: Mapping[str, Value], name: str) -> Value:
    if name not in known:
        raise Refusal("what it is made of is not read")
    return known[name]


def _schema(name: str, version: int, domain: str) -> onnx.defs.OpSchema:
    try:
        return onnx.defs.get_schema(name, version, domain)
    except onnx.defs.SchemaError as error:
        raise Refusal(f"opset {version} has no such operator; expected: one of ONNX") from error


def _attribute(attribute: AttributeProto) -> Any:
    """The value of an attribute; text is str, and a graph None."""
    if attribute.type in (AttributeProto.GRAPH, AttributeProto.GRAPHS):
        return None
    value = helper.get_attribute_value(attribute)
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    return numpy_helper.to_array(value) if isinstance(value, TensorProto) else value


def _widened(array: NDArray[Any]) -> NDArray[Any]:
    """A constant, in float64 where it is floating-point."""
    if array.dtype.kind in "iub":
        return array
    if array.dtype.kind in "cOUS":
        raise Refusal(f"it makes a constant of {array.dtype}; expected: numbers")
    return array.astype(np.float64)


def _element(value: Value) -> int:
    if isinstance(value, Tensor):
        return TensorProto.DOUBLE
    return int(helper.np_dtype_to_tensor_dtype(np.asarray(value).dtype))


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
