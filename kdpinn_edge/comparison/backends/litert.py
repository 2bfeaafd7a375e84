"""LiteRT (TensorFlow Lite with XNNPACK): the Program written as a .tflite model for the shape, in float32."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from kdpinn_edge.comparison.backend import Array, Backend, Call, Case, Prepared
from kdpinn_edge.comparison.backends.prepared import prepared, require_float32
from kdpinn_edge.numerics.reference import rounded
from kdpinn_edge.program.ir import Add, Affine, Concat, Map, Mul, Op, Program, Scale, Slice, Var


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
    x = graph.tensor("x", (n, program.n_in))
    env: dict[Var, int] = {}
    start = 0
    for var in program.inputs:
        env[var] = graph.part(x, start, var)
        start += var.size
    for op in program.ops:
        env[op.out] = _node(graph, op, env)
    y = graph.concat([env[var] for var in program.outputs], Var("y", program.n_out))
    builder = flatbuffers.Builder()
    builder.Finish(graph.model(x, y).Pack(builder), b"TFL3")
    return bytes(builder.Output())


def _node(graph: _Graph, op: Op, env: Mapping[Var, int]) -> int:
    """The tensor that `op` makes of those in `env`."""
    out = op.out
    match op:
        case Affine(x=a, weight=weight, bias=bias):
            operands = [env[a], graph.constant(weight), graph.constant(bias)]
            return graph.node("FULLY_CONNECTED", operands, out, "FullyConnectedOptions")
        case Scale(x=a, weight=weight, bias=bias):
            product = graph.node("MUL", [env[a], graph.constant(weight)], out, "MulOptions")
            return graph.node("ADD", [product, graph.constant(bias)], out, "AddOptions")
        case Map(x=a, fn=fn):
            return _mapped(graph, fn, env[a], out)
        case Add(a=a, b=b):
            return graph.node("ADD", [env[a], env[b]], out, "AddOptions")
        case Mul(a=a, b=b):
            return graph.node("MUL", [env[a], env[b]], out, "MulOptions")
        case Concat(xs=xs):
            return graph.concat([env[a] for a in xs], out)
        case Slice(x=a, start=start):
            return graph.part(env[a], start, out)


def _mapped(graph: _Graph, fn: str, value: int, out: Var) -> int:
    """`fn` of the tensor `value`, in the operators that TensorFlow Lite has."""
    if fn == "silu":
        return graph.node("MUL", [value, graph.node("LOGISTIC", [value], out)], out, "MulOptions")
    if fn == "softplus":
        for operator in ("NEG", "LOGISTIC", "LOG", "NEG"):  # -log sigmoid(-x)
            value = graph.node(operator, [value], out)
        return value
    if fn == "lorentzian":
        one = graph.constant(np.ones(1))
        square = graph.node("MUL", [value, value], out, "MulOptions")
        return graph.node("DIV", [one, graph.node("ADD", [square, one], out, "AddOptions")], out, "DivOptions")
    return graph.node({"sigmoid": "LOGISTIC"}.get(fn, fn.upper()), [value], out)


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

    def node(self, operator: str, operands: list[int], out: Var, options: str | None = None, **fields: int) -> int:
        schema, result = self._schema, self.tensor(f"v{len(self._graph.tensors)}", (self._n, out.size))
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

    def part(self, x: int, start: int, out: Var) -> int:
        if self._graph.tensors[x].shape == [self._n, out.size]:
            return x
        bounds = [self.constant(np.array(pair, np.int32), "INT32") for pair in ((0, start), (self._n, out.size))]
        return self.node("SLICE", [x, *bounds], out, "SliceOptions")

    def concat(self, xs: list[int], out: Var) -> int:
        return xs[0] if len(xs) == 1 else self.node("CONCATENATION", xs, out, "ConcatenationOptions", axis=1)


LITERT = Backend(
    "litert", "framework call", "same function", ("ai-edge-litert", "numpy"), "peers", prepare, ("ai-edge-litert",)
)
