"""`to_onnx(program, precision)`: the Program as an ONNX model, and `from_onnx` back to an equal Program.

The model has one input `x` (n, n_in) and one output `y` (n, n_out), the columns being the Program's variables one after
another; n is free. Only standard operators of opset 17 occur:

    Affine  Gemm, transB = 1        Map     the recipe of the function, in `kdpinn_edge/functions`
    Scale   Mul, then Add           Add     Add
    Concat  Concat, axis 1          Mul     Mul
    Select  Greater, then Where
    Slice   Slice, axis 1           Concat of all inputs: Identity(x), which an engine removes

A node has the name of the variable that it defines. A node that is only part of an op has a suffix after a dot, which
no variable can have. What ONNX cannot say stands in the metadata, under `kdpinn.`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from itertools import zip_longest
from typing import Any

import numpy as np
import onnx
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from kdpinn_edge.bundle.manifest import Input, Output, Precision
from kdpinn_edge.errors import ProgramError
from kdpinn_edge.functions import FUNCTIONS, find_function
from kdpinn_edge.functions.power import power_name
from kdpinn_edge.functions.recipe import Constant, Recipe, chosen, matched, operand_name
from kdpinn_edge.numerics.reference import rounded
from kdpinn_edge.program.ir import (
    Add,
    Affine,
    Concat,
    Map,
    Mul,
    Op,
    Program,
    Scale,
    Select,
    Slice,
    Var,
    parameters,
    unknown,
)
from kdpinn_edge.program.verify import verify

OPSET = 17
IR_VERSION = 8  # the oldest that opset 17 goes with: ONNX Runtime 1.12 and later read it
ELEMENT = {"float32": TensorProto.FLOAT, "float64": TensorProto.DOUBLE}
IN_FLOAT32 = "Acos Acosh Asin Asinh Atan Atanh Cosh Elu Erf HardSigmoid Selu Sinh Softplus Softsign Tan"
RUNTIME_LACKS = {"float32": (), "float64": tuple(IN_FLOAT32.split())}
"""Operators that ONNX Runtime has not for numbers of this type: another recipe is taken where there is one."""
ENDS: Mapping[str, Sequence[tuple[str, Recipe]]] = {
    operator: sorted(
        ((fn.name, recipe) for fn in FUNCTIONS.values() for recipe in fn.onnx if recipe[-1].operator == operator),
        key=lambda named: -len(named[1]),
    )
    for operator in {recipe[-1].operator for fn in FUNCTIONS.values() for recipe in fn.onnx}
}
"""The functions and their recipes by the operator that a recipe ends with; long ones first, as short ones end them."""
ACCEPTED = "expected: a model.onnx that `export` wrote"


def to_onnx(
    program: Program, precision: Precision, inputs: Sequence[Input] = (), outputs: Sequence[Output] = ()
) -> onnx.ModelProto:
    """The ONNX model of `program`, its parameters rounded once to `precision` ("float32" or "float64").

    `inputs` and `outputs` describe its columns; they go into the metadata, as `capture_onnx` reads them.

    Equal Programs with equal variable names give equal bytes. Raises ProgramError where a parameter is too large.
    """
    verify(program)
    written = _Graph(program, precision)
    element = ELEMENT[precision]
    graph = helper.make_graph(
        written.nodes,
        program.name,
        [helper.make_tensor_value_info("x", element, ["n", program.n_in])],
        [helper.make_tensor_value_info("y", element, ["n", program.n_out])],
        written.constants,
    )
    model = helper.make_model(
        graph,
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=IR_VERSION,
        producer_name="kdpinn_edge",
        doc_string=str(program),
    )
    metadata = {
        "kdpinn.inputs": json.dumps([[var.name, var.size] for var in program.inputs]),
        "kdpinn.outputs": json.dumps([var.name for var in program.outputs]),
        "kdpinn.precision": precision,
        "kdpinn.program_sha256": program.sha256,
    }
    if inputs or outputs:
        described = {"inputs": list(map(asdict, inputs)), "outputs": list(map(asdict, outputs))}
        metadata["kdpinn.columns"] = json.dumps(described)
    for key, value in metadata.items():
        model.metadata_props.add(key=key, value=value)
    return model


class _Graph:
    """The nodes and the constants of a Program, in its order."""

    def __init__(self, program: Program, precision: Precision) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []
        self._program, self._precision = program, precision
        self._tensor = {var: f"{var.name}.value" for var in (*program.inputs, *(op.out for op in program.ops))}
        self._inputs()
        direct = len(program.outputs) == 1 and program.outputs[0] not in program.inputs
        if direct:
            self._tensor[program.outputs[0]] = "y"
        for op in program.ops:
            self._operation(op)
        if not direct:
            self._node("Concat", "outputs.concat", [self._tensor[var] for var in program.outputs], ["y"], axis=1)

    def _node(self, operator: str, name: str, inputs: list[str], outputs: list[str], **attributes: Any) -> None:
        self.nodes.append(helper.make_node(operator, inputs, outputs, name=name, **attributes))

    def _constant(self, name: str, array: NDArray[Any]) -> str:
        self.constants.append(numpy_helper.from_array(array, name))
        return name

    def _inputs(self) -> None:
        inputs = self._program.inputs
        if len(inputs) == 1:
            self._tensor[inputs[0]] = "x"
        else:
            sizes = self._constant("inputs.sizes", np.array([var.size for var in inputs]))
            self._node("Split", "inputs.split", ["x", sizes], [self._tensor[var] for var in inputs], axis=1)

    def _operation(self, op: Op) -> None:
        name, out, tensor = op.out.name, self._tensor[op.out], self._tensor
        values = [
            self._constant(f"{name}.{what}", rounded(array, self._precision))
            for what, array in zip(("weight", "bias"), parameters(op), strict=False)
        ]
        match op:
            case Affine(x=x):
                self._node("Gemm", name, [tensor[x], *values], [out], transB=1)
            case Scale(x=x):
                self._node("Mul", f"{name}.product", [tensor[x], values[0]], [f"{name}.product"])
                self._node("Add", name, [f"{name}.product", values[1]], [out])
            case Map(x=x, fn=fn):
                self._function(name, fn, tensor[x], out)
            case Add(a=a, b=b) | Mul(a=a, b=b):
                self._node(type(op).__name__, name, [tensor[a], tensor[b]], [out])
            case Select(c=c, a=a, b=b):
                zero = self._constant(f"{name}.zero", np.zeros(1, self._precision))
                self._node("Greater", f"{name}.condition", [tensor[c], zero], [f"{name}.condition"])
                self._node("Where", name, [f"{name}.condition", tensor[a], tensor[b]], [out])
            case Concat(xs=xs) if xs == self._program.inputs:
                self._node("Identity", name, ["x"], [out])
            case Concat(xs=xs):
                self._node("Concat", name, [tensor[x] for x in xs], [out], axis=1)
            case Slice(x=x, start=start):
                start_end_axis = [("start", start), ("end", start + op.out.size), ("axis", 1)]
                bounds = [self._constant(f"{name}.{what}", np.array([value])) for what, value in start_end_axis]
                self._node("Slice", name, [tensor[x], *bounds], [out])
            case _:
                raise unknown(op)

    def _function(self, name: str, fn: str, x: str, out: str) -> None:
        """The steps of the recipe of a function; a constant that several of them take is stored once."""
        tensors = {"x": x, "": out}
        for step in _recipe(fn, self._precision):
            for each in step.operands:
                if isinstance(each, Constant) and each.name not in tensors:
                    array = np.full(1, each.value, self._precision)
                    tensors[each.name] = self._constant(f"{name}.{each.name}", array)
            label = f"{name}.{step.name}" if step.name else name
            result = tensors.setdefault(step.name, label)
            self._node(step.operator, label, [tensors[operand_name(each)] for each in step.operands], [result])


def _recipe(fn: str, precision: Precision) -> Recipe:
    """How a function is written: so that ONNX Runtime can compute it, where there is such a recipe."""
    recipes = find_function(fn).onnx
    return chosen(recipes, lambda operator: operator not in RUNTIME_LACKS[precision]) or recipes[0]


def from_onnx(model: onnx.ModelProto | bytes) -> Program:
    """The Program in `model`, which `to_onnx` made; its parameters are those of the model, exactly.

    So from_onnx(to_onnx(p, "float64")) == p. What was read is written again and compared, so that nothing in `model`
    goes unread. Raises ProgramError for every other file, ONNX or not.
    """
    try:
        if isinstance(model, bytes):
            model = onnx.load_model_from_string(model)
        program, precision = _program(model)
        again = to_onnx(program, precision).graph
    except DecodeError as error:
        raise ProgramError(f"not an ONNX file ({error}); {ACCEPTED}") from error
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        raise ProgramError(f"not the ONNX model of a Program ({type(error).__name__}: {error}); {ACCEPTED}") from error
    if again != model.graph:
        raise ProgramError(
            f"{program.name!r} is not as `to_onnx` writes it: {_difference(model.graph, again)}; {ACCEPTED}"
        )
    return program


def _program(model: onnx.ModelProto) -> tuple[Program, Precision]:
    metadata = {entry.key: entry.value for entry in model.metadata_props}
    if "kdpinn.precision" not in metadata:
        raise ValueError(f"the metadata has no kdpinn.precision; the producer is {model.producer_name!r}")
    if [(entry.domain, entry.version) for entry in model.opset_import] != [("", OPSET)]:
        raise ValueError(f"the operators are not those of opset {OPSET} alone")
    inputs = tuple(Var(str(name), int(size)) for name, size in json.loads(metadata["kdpinn.inputs"]))
    constants = {tensor.name: _array(tensor) for tensor in model.graph.initializer}
    parts = {node.name: (node.op_type, list(node.input)) for node in model.graph.node if "." in node.name}
    known = {"x": inputs[0]} if len(inputs) == 1 else {f"{var.name}.value": var for var in inputs}
    ops: list[Op] = []
    for node in model.graph.node:
        if node.name not in parts:
            op = _op(node, inputs, known, constants, parts)
            known[node.output[0]] = op.out
            ops.append(op)
    names = {var.name: var for var in known.values()}
    outputs = tuple(names[name] for name in json.loads(metadata["kdpinn.outputs"]))
    return Program(model.graph.name, inputs, outputs, tuple(ops)), metadata["kdpinn.precision"]


def _op(
    node: onnx.NodeProto,
    inputs: tuple[Var, ...],
    known: dict[str, Var],
    constants: dict[str, NDArray[Any]],
    parts: dict[str, tuple[str, list[str]]],
) -> Op:
    """The op whose last node is `node`."""
    name = node.name
    for fn, recipe in ENDS.get(node.op_type, ()):
        argument = matched(recipe, name, parts, (node.op_type, list(node.input)))
        if argument is not None:
            return Map(Var(name, known[argument].size), known[argument], fn)
    match node.op_type, list(node.input):
        case "Gemm", [x, weight, bias]:
            return Affine(Var(name, len(constants[bias])), known[x], constants[weight], constants[bias])
        case "Add", [product, bias] if product in parts:
            _, (x, weight) = parts[product]
            return Scale(Var(name, known[x].size), known[x], constants[weight], constants[bias])
        case "Add", [a, b]:
            return Add(Var(name, known[a].size), known[a], known[b])
        case "Mul", [a, b]:
            return Mul(Var(name, known[a].size), known[a], known[b])
        case "Pow", [x, exponent]:
            return Map(Var(name, known[x].size), known[x], power_name(float(constants[exponent][0])))
        case "Where", [condition, a, b]:
            _, (c, _) = parts[condition]
            return Select(Var(name, known[a].size), known[c], known[a], known[b])
        case "Identity", ["x"]:
            return Concat(Var(name, sum(var.size for var in inputs)), inputs)
        case "Concat", xs:
            return Concat(Var(name, sum(known[x].size for x in xs)), tuple(known[x] for x in xs))
        case "Slice", [x, start, end, _]:
            first, last = int(constants[start][0]), int(constants[end][0])
            return Slice(Var(name, last - first), known[x], first)
    raise ValueError(f"node {name!r} is {node.op_type} of {len(node.input)}, which stands for no op of a Program")


def _array(tensor: onnx.TensorProto) -> NDArray[Any]:
    if tensor.data_location == TensorProto.EXTERNAL:
        raise ValueError(f"{tensor.name!r} is stored outside the model")
    array: NDArray[Any] = numpy_helper.to_array(tensor)
    return array


def _difference(found: onnx.GraphProto, expected: onnx.GraphProto) -> str:
    """The first part of the graph that differs, in words."""
    for field in ("input", "output", "node", "initializer"):
        for one, other in zip_longest(getattr(found, field), getattr(expected, field)):
            if one != other:
                return f"{field} {(one or other).name!r} differs"
    return "the graph carries more than inputs, outputs, nodes and initializers"
