"""`to_onnx(program, precision)`: the Program as an ONNX model, and `from_onnx` back to an equal Program.

The model has one input `x` (n, n_in) and one output `y` (n, n_out), the columns being the Program's variables one after
another; n is free, or a number. Only standard operators occur, and the opset is the oldest that has them all:

    Affine  Gemm, transB = 1; in float64 MatMul, then Add, since tract's Gemm has float32 factors
    Scale   Mul, then Add           Add     Add
    Concat  Concat, axis 1          Mul     Mul
    Select  Greater, then Where     Map     the recipe of the function, in `kdpinn_edge/functions`
    Slice   Slice, axis 1           Concat of all inputs: Identity(x), which an engine removes

All names are identifiers of C, and none of them is used twice. The variables are counted, the inputs first: n7 is the
node that calculates v7, v7_weight a constant of it, and n7_product a node for a part of it, v7_product. A single input
is x itself, a single output y; n_outputs makes y of several. So no text of the Program is a name of a node or a tensor.
What ONNX cannot say stands in the metadata, under `kdpinn.`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from itertools import zip_longest
from typing import Any

import numpy as np
import onnx
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from kdpinn_edge.bundle.manifest import LARGEST_BATCH, Input, Output, Precision
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
    operands,
    parameters,
    unknown,
)
from kdpinn_edge.program.verify import verify

OLDEST_OPSET = {"Slice": 10}
"""The first opset whose operator has the form that is written here; all others have it in opset 9."""
IR_VERSIONS = {9: 4, 10: 5}
"""The oldest version of the file format that an opset goes with; since version 4 a constant need not be an input."""
ELEMENT = {"float32": TensorProto.FLOAT, "float64": TensorProto.DOUBLE}
IN_FLOAT32 = "Acos Acosh Asin Asinh Atan Atanh Cosh Elu Erf HardSigmoid Selu Sinh Softplus Softsign Tan"
RUNTIME_LACKS = {"float32": (), "float64": tuple(IN_FLOAT32.split())}
"""Operators that ONNX Runtime has not for numbers of this type."""
TRACT_LACKS = {"float32": (), "float64": ("Sigmoid",)}
"""Operators that tract has not, as far as ONNX Runtime has them: another recipe is taken where there is one."""
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
    program: Program,
    precision: Precision,
    inputs: Sequence[Input] = (),
    outputs: Sequence[Output] = (),
    *,
    batch: int | None = None,
) -> onnx.ModelProto:
    """The ONNX model of `program`, its parameters rounded once to `precision` ("float32" or "float64").

    `inputs` and `outputs` describe its columns; they go into the metadata, as `capture_onnx` reads them. The model
    takes any number of points, or with `batch` exactly so many.

    Equal Programs with equal variable names give equal bytes. Raises ProgramError where a parameter is too large.
    """
    verify(program)
    check_batch(batch)
    written = _Graph(program, precision)
    element, points = ELEMENT[precision], "n" if batch is None else batch
    graph = helper.make_graph(
        written.nodes,
        program.name,
        [helper.make_tensor_value_info("x", element, [points, program.n_in])],
        [helper.make_tensor_value_info("y", element, [points, program.n_out])],
        written.constants,
    )
    opset = max([min(IR_VERSIONS), *(OLDEST_OPSET.get(node.op_type, 0) for node in written.nodes)])
    model = helper.make_model(
        graph,
        opset_imports=[helper.make_opsetid("", opset)],
        ir_version=IR_VERSIONS[opset],
        producer_name="kdpinn_edge",
        doc_string=str(program),
    )
    metadata = {
        "kdpinn.inputs": json.dumps([[var.name, var.size] for var in program.inputs]),
        "kdpinn.outputs": json.dumps([var.name for var in program.outputs]),
        "kdpinn.variables": json.dumps([op.out.name for op in program.ops]),
        "kdpinn.precision": precision,
        "kdpinn.program_sha256": program.sha256,
    }
    if inputs or outputs:
        described = {"inputs": list(map(asdict, inputs)), "outputs": list(map(asdict, outputs))}
        metadata["kdpinn.columns"] = json.dumps(described)
    for key, value in metadata.items():
        model.metadata_props.add(key=key, value=value)
    return model


def check_batch(batch: int | None) -> None:
    """Raise ProgramError where no model can take so many points."""
    if batch is not None and not 1 <= batch <= LARGEST_BATCH:
        raise ProgramError(f"batch is {batch}; expected: 1 to {LARGEST_BATCH} points, or None for any number")


class _Graph:
    """The nodes and the constants of a Program, in its order."""

    def __init__(self, program: Program, precision: Precision) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []
        self._program, self._precision = program, precision
        self._tensor = {var: f"v{i}" for i, var in enumerate((*program.inputs, *(op.out for op in program.ops)))}
        self._inputs()
        direct = len(program.outputs) == 1 and program.outputs[0] not in program.inputs
        for i, op in enumerate(program.ops, start=len(program.inputs)):
            if direct and op.out == program.outputs[0]:
                self._tensor[op.out] = "y"
            self._operation(op, str(i))
        if not direct:
            self._node("Concat", "n_outputs", [self._tensor[var] for var in program.outputs], "y", axis=1)

    def _node(self, operator: str, name: str, inputs: Sequence[str], *outputs: str, **attributes: Any) -> None:
        self.nodes.append(helper.make_node(operator, inputs, outputs, name=name, **attributes))

    def _part(self, operator: str, of: str, part: str, inputs: Sequence[str]) -> str:
        """A node for a part of an operation; returns the tensor that it makes."""
        self._node(operator, f"n{of}_{part}", inputs, f"v{of}_{part}")
        return f"v{of}_{part}"

    def _constant(self, name: str, array: NDArray[Any]) -> str:
        self.constants.append(numpy_helper.from_array(array, name))
        return name

    def _inputs(self) -> None:
        """Slices of x, where there are several inputs and one is read by itself."""
        inputs, start = self._program.inputs, 0
        if len(inputs) == 1:
            self._tensor[inputs[0]] = "x"
            return
        read = {var for op in self._program.ops if not self._is_x(op) for var in operands(op)}
        for i, var in enumerate(inputs):
            if var in read.union(self._program.outputs):
                self._slice(str(i), "x", start, var)
            start += var.size

    def _is_x(self, op: Op) -> bool:
        """Whether an operation puts all inputs together again."""
        return isinstance(op, Concat) and op.xs == self._program.inputs

    def _slice(self, i: str, x: str, start: int, out: Var) -> None:
        start_end_axis = [("start", start), ("end", start + out.size), ("axis", 1)]
        bounds = [self._constant(f"v{i}_{what}", np.array([value])) for what, value in start_end_axis]
        self._node("Slice", f"n{i}", [x, *bounds], self._tensor[out])

    def _operation(self, op: Op, i: str) -> None:
        node, out, tensor = f"n{i}", self._tensor[op.out], self._tensor
        values = [
            self._constant(f"v{i}_{what}", array)
            for what, array in zip(("weight", "bias"), self._parameters(op), strict=False)
        ]
        match op:
            case Affine(x=x) if self._precision == "float64":
                self._node("Add", node, [self._part("MatMul", i, "product", [tensor[x], values[0]]), values[1]], out)
            case Affine(x=x):
                self._node("Gemm", node, [tensor[x], *values], out, transB=1)
            case Scale(x=x):
                self._node("Add", node, [self._part("Mul", i, "product", [tensor[x], values[0]]), values[1]], out)
            case Map(x=x, fn=fn):
                self._function(i, fn, tensor[x], out)
            case Add(a=a, b=b) | Mul(a=a, b=b):
                self._node(type(op).__name__, node, [tensor[a], tensor[b]], out)
            case Select(c=c, a=a, b=b):
                zero = self._constant(f"v{i}_zero", np.zeros(1, self._precision))
                condition = self._part("Greater", i, "condition", [tensor[c], zero])
                self._node("Where", node, [condition, tensor[a], tensor[b]], out)
            case Concat() if self._is_x(op):
                self._node("Identity", node, ["x"], out)
            case Concat(xs=xs):
                self._node("Concat", node, [tensor[x] for x in xs], out, axis=1)
            case Slice(x=x, start=start):
                self._slice(i, tensor[x], start, op.out)
            case _:
                raise unknown(op)

    def _parameters(self, op: Op) -> list[NDArray[Any]]:
        """The parameters in the precision and the order in which the operators take them."""
        arrays = [rounded(array, self._precision) for array in parameters(op)]
        if isinstance(op, Affine) and self._precision == "float64":
            arrays[0] = np.ascontiguousarray(arrays[0].T)
        return arrays

    def _function(self, i: str, fn: str, x: str, out: str) -> None:
        """The steps of the recipe of a function; a constant that several of them take is stored once."""
        tensors = {"x": x}
        for step in _recipe(fn, self._precision):
            for each in step.operands:
                if isinstance(each, Constant) and each.name not in tensors:
                    array = np.full(1, each.value, self._precision)
                    tensors[each.name] = self._constant(f"v{i}_{each.name}", array)
            inputs = [tensors[operand_name(each)] for each in step.operands]
            if step.name:
                tensors[step.name] = self._part(step.operator, i, step.name, inputs)
            else:
                self._node(step.operator, f"n{i}", inputs, out)


def _recipe(fn: str, precision: Precision) -> Recipe:
    """How a function is written: so that ONNX Runtime can compute it, where there is such a recipe, and tract too."""
    recipes = find_function(fn).onnx
    lacks = RUNTIME_LACKS[precision] + TRACT_LACKS[precision]
    return chosen(recipes, lambda operator: operator not in lacks) or recipes[0]


def from_onnx(model: onnx.ModelProto | bytes) -> Program:
    """The Program in `model`, which `to_onnx` made; its parameters are those of the model, exactly.

    So from_onnx(to_onnx(p, "float64")) == p. What was read is written again and compared, so that nothing in `model`
    goes unread. Raises ProgramError for every other file, ONNX or not.
    """
    try:
        if isinstance(model, bytes):
            model = onnx.load_model_from_string(model)
        program, precision = _program(model)
        points = model.graph.input[0].type.tensor_type.shape.dim[0]
        again = to_onnx(program, precision, batch=points.dim_value if points.HasField("dim_value") else None)
    except DecodeError as error:
        raise ProgramError(f"not an ONNX file ({error}); {ACCEPTED}") from error
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        raise ProgramError(f"not the ONNX model of a Program ({type(error).__name__}: {error}); {ACCEPTED}") from error
    if difference := _difference(model, again):
        raise ProgramError(f"{program.name!r} is not as `to_onnx` writes it: {difference}; {ACCEPTED}")
    return program


def _program(model: onnx.ModelProto) -> tuple[Program, Precision]:
    metadata = {entry.key: entry.value for entry in model.metadata_props}
    if "kdpinn.precision" not in metadata:
        raise ValueError(f"the metadata has no kdpinn.precision; the producer is {model.producer_name!r}")
    inputs = tuple(Var(str(name), int(size)) for name, size in json.loads(metadata["kdpinn.inputs"]))
    constants = {tensor.name: _array(tensor) for tensor in model.graph.initializer}
    known = {"x": inputs[0]} if len(inputs) == 1 else {f"v{i}": var for i, var in enumerate(inputs)}
    read = _Reader(inputs, known, constants)
    names = json.loads(metadata["kdpinn.variables"])
    ops: list[Op] = []
    for node in model.graph.node:
        does = node.op_type, list(node.input)
        if not re.fullmatch(r"n\d+", node.name, re.ASCII):
            read.parts[node.output[0]] = does
        elif node.output[0] not in known:
            ops.append(read.op(str(names[len(ops)]), f"v{node.name[1:]}", *does))
            known[node.output[0]] = ops[-1].out
    variables = {var.name: var for var in known.values()}
    outputs = tuple(variables[name] for name in json.loads(metadata["kdpinn.outputs"]))
    return Program(model.graph.name, inputs, outputs, tuple(ops)), metadata["kdpinn.precision"]


@dataclass(frozen=True)
class _Reader:
    """What is known by the names of tensors: variables, constants, and operations that are parts of others."""

    inputs: tuple[Var, ...]
    known: dict[str, Var]
    constants: dict[str, NDArray[Any]]
    parts: dict[str, tuple[str, list[str]]] = field(default_factory=dict)

    def op(self, name: str, tensor: str, operator: str, operands: list[str]) -> Op:
        """The op whose last node is this one; its variable is called `name`, and its parts have names of `tensor`."""
        known, constants, parts = self.known, self.constants, self.parts
        for fn, recipe in ENDS.get(operator, ()):
            argument = matched(recipe, tensor, parts, (operator, operands))
            if argument is not None:
                return Map(Var(name, known[argument].size), known[argument], fn)
        match operator, operands:
            case "Gemm", [x, weight, bias]:
                return Affine(Var(name, len(constants[bias])), known[x], constants[weight], constants[bias])
            case "Add", [product, bias] if product in parts:
                return self._product_and_bias(name, *parts[product], constants[bias])
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
                return Concat(Var(name, sum(var.size for var in self.inputs)), self.inputs)
            case "Concat", xs:
                return Concat(Var(name, sum(known[x].size for x in xs)), tuple(known[x] for x in xs))
            case "Slice", [x, start, end, _]:
                first, last = int(constants[start][0]), int(constants[end][0])
                return Slice(Var(name, last - first), known[x], first)
        raise ValueError(f"the node of {name!r} is {operator} of {len(operands)}, which stands for no op of a Program")

    def _product_and_bias(self, name: str, product: str, factors: list[str], bias: NDArray[Any]) -> Op:
        x, weight = self.known[factors[0]], self.constants[factors[1]]
        if product == "MatMul":
            return Affine(Var(name, len(bias)), x, weight.T, bias)
        return Scale(Var(name, x.size), x, weight, bias)


def _array(tensor: onnx.TensorProto) -> NDArray[Any]:
    if tensor.data_location == TensorProto.EXTERNAL:
        raise ValueError(f"{tensor.name!r} is stored outside the model")
    array: NDArray[Any] = numpy_helper.to_array(tensor)
    return array


def _versions(model: onnx.ModelProto) -> str:
    opsets = (f"opset {each.version} of {each.domain or 'ai.onnx'}" for each in model.opset_import)
    return ", ".join([*opsets, f"IR version {model.ir_version}"])


def _difference(found: onnx.ModelProto, expected: onnx.ModelProto) -> str | None:
    """The first part of the model that differs, in words."""
    if _versions(found) != _versions(expected):
        return f"it has {_versions(found)} instead of {_versions(expected)}"
    for part in ("input", "output", "node", "initializer"):
        for one, other in zip_longest(getattr(found.graph, part), getattr(expected.graph, part)):
            if one != other:
                return f"{part} {(one or other).name!r} differs"
    more = "the graph carries more than inputs, outputs, nodes and initializers"
    return None if found.graph == expected.graph else more
