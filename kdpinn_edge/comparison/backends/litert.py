"""LiteRT (TensorFlow Lite with XNNPACK): the Program written as a .tflite model for the shape, in float32."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np

from kdpinn_edge.comparison.backend import Array, Backend, Call, Case, Prepared
from kdpinn_edge.comparison.backends.prepared import prepared, require_float32
from kdpinn_edge.comparison.backends.traced import require_functions
from kdpinn_edge.errors import BenchError
from kdpinn_edge.functions import find_function
from kdpinn_edge.functions.recipe import Recipe, chosen, composed, unsupported
from kdpinn_edge.numerics.reference import rounded
from kdpinn_edge.program.evaluate import evaluate
from kdpinn_edge.program.ir import Affine, Program, Scale


def prepare(case: Case, threads: int | None) -> Prepared:
    """Prepare an interpreter per shape; x is stored into its tensor before the clock runs, y is new at every call."""
    from ai_edge_litert.interpreter import Interpreter

    require_float32(case)

    def bind(x: Array, y: Array) -> Call:
        interpreter = Interpreter(model_content=tflite(case.program, len(x)), num_threads=threads)
        interpreter.allocate_tensors()
        (source,), (sink,) = interpreter.get_input_details(), interpreter.get_output_details()
        interpreter.set_tensor(source["index"], x)
        invoke, values, index = interpreter.invoke, interpreter.get_tensor, sink["index"]

        def call() -> Any:
            invoke()
            return values(index)

        return call

    report = f"num_threads={threads}" if threads else "its own choice"
    return prepared(case, bind, report, len(tflite(case.program, 1)))


def tflite(program: Program, n: int) -> bytes:
    """Write `program` for n points as a TensorFlow Lite model, parameters rounded to float32."""
    import flatbuffers
    from ai_edge_litert import schema_py_generated as schema

    graph = _Graph(schema, n)
    require_functions(program, graph.recipe)
    x = graph.tensor("x", (n, program.n_in))
    y = evaluate(program, graph, x)
    builder = flatbuffers.Builder()
    builder.Finish(graph.model(x, y).Pack(builder), b"TFL3")
    return bytes(builder.Output())


OPERATORS: Mapping[str, tuple[str, str | None]] = {
    "Abs": ("ABS", None),
    "Add": ("ADD", "AddOptions"),
    "Cos": ("COS", None),
    "Div": ("DIV", "DivOptions"),
    "Exp": ("EXP", None),
    "Log": ("LOG", None),
    "Max": ("MAXIMUM", "MaximumMinimumOptions"),
    "Min": ("MINIMUM", "MaximumMinimumOptions"),
    "Mul": ("MUL", "MulOptions"),
    "Neg": ("NEG", None),
    "Pow": ("POW", "PowOptions"),
    "Relu": ("RELU", None),
    "Sigmoid": ("LOGISTIC", None),
    "Sign": ("SIGN", None),
    "Sin": ("SIN", None),
    "Sqrt": ("SQRT", None),
    "Sub": ("SUB", "SubOptions"),
    "Tanh": ("TANH", None),
}
"""Operators of ONNX, as TensorFlow Lite calls them and their options."""


class _Graph:
    """A subgraph of tensors (n, size), in the classes of TensorFlow Lite's `schema`; tensors are named by number."""

    def __init__(self, schema: Any, n: int) -> None:
        self._schema, self._n = schema, n
        self._graph, self._model = schema.SubGraphT(), schema.ModelT()
        self._graph.tensors, self._graph.operators = [], []
        self._model.version, self._model.subgraphs = 3, [self._graph]
        self._model.buffers, self._model.operatorCodes = [schema.BufferT()], []
        self._codes: dict[str, int] = {}

    def model(self, x: int, y: int) -> Any:
        """The model with the input x and the output y."""
        self._graph.inputs, self._graph.outputs = [x], [y]
        return self._model

    def tensor(self, name: str, shape: tuple[int, ...], kind: str = "FLOAT32", buffer: int = 0) -> int:
        tensor = self._schema.TensorT()
        tensor.name, tensor.shape, tensor.buffer = name, list(shape), buffer
        tensor.type = getattr(self._schema.TensorType, kind)
        self._graph.tensors.append(tensor)
        return len(self._graph.tensors) - 1

    def constant(self, values: Array, kind: str = "FLOAT32") -> int:
        buffer = self._schema.BufferT()
        buffer.data = np.frombuffer(rounded(values, "float32") if kind == "FLOAT32" else values, np.uint8)
        self._model.buffers.append(buffer)
        return self.tensor(f"c{len(self._graph.tensors)}", values.shape, kind, len(self._model.buffers) - 1)

    def recipe(self, fn: str) -> Recipe:
        """How the function called `fn` is made. Raises BenchError where TensorFlow Lite lacks an operator for it."""
        recipes = find_function(fn).onnx
        found = chosen(recipes, {*OPERATORS, "Reciprocal"}.__contains__)
        if found is None:
            raise BenchError(f"{unsupported(fn, recipes, OPERATORS)}, which TensorFlow Lite has not")
        return found

    def affine(self, op: Affine, x: int) -> int:
        """FULLY_CONNECTED."""
        operands = [x, self.constant(op.weight), self.constant(op.bias)]
        return self.node("FULLY_CONNECTED", operands, op.out.size, "FullyConnectedOptions")

    def scale(self, op: Scale, x: int) -> int:
        """MUL, then ADD."""
        return self.operator("Add", self.operator("Mul", x, self.constant(op.weight)), self.constant(op.bias))

    def map(self, fn: str, x: int) -> int:
        """The recipe of the function."""
        library: dict[str, Callable[..., int]] = {name: partial(self.operator, name) for name in OPERATORS}
        library["Reciprocal"] = lambda a: self.operator("Div", self.constant(np.ones(1)), a)
        return composed(self.recipe(fn), library, x, lambda number: self.constant(np.full(1, number)))

    def add(self, a: int, b: int) -> int:
        """ADD."""
        return self.operator("Add", a, b)

    def mul(self, a: int, b: int) -> int:
        """MUL."""
        return self.operator("Mul", a, b)

    def select(self, c: int, a: int, b: int) -> int:
        """GREATER, then SELECT_V2."""
        size = self._graph.tensors[c].shape[-1]
        condition = self.node("GREATER", [c, self.constant(np.zeros(1))], size, "GreaterOptions", kind="BOOL")
        return self.node("SELECT_V2", [condition, a, b], size, "SelectV2Options")

    def operator(self, name: str, *operands: int) -> int:
        """An elementwise operator of ONNX."""
        operator, options = OPERATORS[name]
        size = max(self._graph.tensors[each].shape[-1] for each in operands)
        return self.node(operator, list(operands), size, options)

    def node(
        self,
        operator: str,
        operands: list[int],
        size: int,
        options: str | None = None,
        *,
        kind: str = "FLOAT32",
        **fields: int,
    ) -> int:
        schema, result = self._schema, self.tensor(f"v{len(self._graph.tensors)}", (self._n, size), kind)
        if operator not in self._codes:
            code = schema.OperatorCodeT()
            code.builtinCode = getattr(schema.BuiltinOperator, operator)
            code.deprecatedBuiltinCode, code.version = min(code.builtinCode, 127), 1
            self._codes[operator] = len(self._codes)
            self._model.operatorCodes.append(code)
        node = schema.OperatorT()
        node.opcodeIndex, node.inputs, node.outputs = self._codes[operator], operands, [result]
        if options is not None:
            node.builtinOptionsType = getattr(schema.BuiltinOptions, options)
            node.builtinOptions = getattr(schema, f"{options}T")()
            for field, value in fields.items():
                setattr(node.builtinOptions, field, value)
        self._graph.operators.append(node)
        return result

    def slice(self, x: int, start: int, size: int) -> int:
        """SLICE, where it is not all of x."""
        if self._graph.tensors[x].shape == [self._n, size]:
            return x
        bounds = [self.constant(np.array(pair, np.int32), "INT32") for pair in ((0, start), (self._n, size))]
        return self.node("SLICE", [x, *bounds], size, "SliceOptions")

    def concat(self, xs: Sequence[int]) -> int:
        """CONCATENATION, where there are several."""
        if len(xs) == 1:
            return xs[0]
        size = sum(self._graph.tensors[x].shape[1] for x in xs)
        return self.node("CONCATENATION", list(xs), size, "ConcatenationOptions", axis=1)


LITERT = Backend(
    "litert", "framework call", "same function", ("ai-edge-litert", "numpy"), "peers", prepare, ("ai-edge-litert",)
)
