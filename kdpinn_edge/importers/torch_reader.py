"""`read(exported, …)`: the graph of an ExportedProgram of torch becomes a Program, node by node.

The names of ATen stand here, and what they calculate in `tensors.py`. A tensor of the graph that depends on no input
is calculated by torch itself.
"""

from __future__ import annotations

import operator
import os
import re
from collections.abc import Callable, Sequence
from functools import cache
from itertools import accumulate
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.export.graph_signature import InputKind
from torch.fx.node import Node, map_arg

from kdpinn_edge.errors import CaptureError, listing
from kdpinn_edge.functions import FUNCTIONS
from kdpinn_edge.importers.tensors import Refusal, Tensor, Tensors
from kdpinn_edge.program.builder import Builder
from kdpinn_edge.program.ir import Program, Slice, Var
from kdpinn_edge.program.simplify import simplify
from kdpinn_edge.program.verify import verify

MOVES = dict.fromkeys((
    "alias", "cat", "clone", "expand", "flip", "getitem", "index", "index_select", "permute", "repeat", "select",
    "slice", "split_with_sizes", "squeeze", "unsqueeze", "view",
), (0,))  # fmt: skip
"""Operators that only say where each number goes, and which of their arguments hold the numbers."""

ATEN = {operator: function.name for function in FUNCTIONS.values() for operator in function.aten}
"""The functions of a Program, by the operators of ATen that they are."""

CALCULATIONS = frozenset({
    *ATEN, "_to_copy", "add", "addmm", "bmm", "div", "full_like", "linear", "mean", "mm", "mul",
    "mv", "neg", "pow", "reciprocal", "sub", "sum", "sym_size",
})  # fmt: skip
"""Operators with a meaning in a Program, some of them for some arguments only."""

REWRITES = {
    name: rewrite
    for names, rewrite in (
        (
            "celu elu gelu hardshrink hardsigmoid hardswish hardtanh leaky_relu log_sigmoid mish prelu relu relu6 "
            "rrelu selu softshrink softsign tanhshrink threshold",
            "use tanh, sin, cos, sigmoid, silu or softplus, and train again",
        ),
        (
            "batch_norm _native_batch_norm_legit_no_training",
            "fold it, in eval mode, into the Linear before it: torch.nn.utils.fusion.fuse_linear_bn_eval(linear, norm)",
        ),
        (
            "group_norm instance_norm layer_norm log_softmax norm rms_norm softmax",
            "it divides by a variable, which is not supported yet: distill into a student without it",
        ),
        (
            "div reciprocal rsqrt",
            "division by a variable is not supported yet, but by a + b * x * x where a and b are positive constants: "
            "divide by that or by constants, or multiply by a function of it",
        ),
        (
            "abs clamp clamp_max clamp_min eq ge gt heaviside le lt maximum minimum ne sign where",
            "it branches on the data: blend the sides with a smooth weight such as torch.sigmoid(k * x)",
        ),
        (
            "bernoulli dropout native_dropout normal rand rand_like randint randn randn_like randperm uniform",
            "it is random: use nn.Dropout, which is off in eval mode, or guard it by `if self.training:`",
        ),
        ("lerp", "write a + w * (b - a)"),
        ("pow", "use an exponent of 1, 2, 3 or 4, or a product"),
    )
    for name in names.split()
}
"""What to write instead."""

KEPT = {"linear", *ATEN, *REWRITES}
"""Operators that stay whole in the exported graph: captured as they are, or named in an error as they are."""


@cache
def decompositions() -> dict[Any, Callable[..., Any]]:
    """The way to core ATen, on which what is KEPT stays whole."""
    table = torch.export.default_decompositions()
    return {each: table[each] for each in table if _operator(each) not in KEPT}


def read(
    exported: torch.export.ExportedProgram,
    name: str,
    ins: tuple[Var, ...],
    outs: tuple[Var, ...],
    columns: Sequence[int],
) -> Program:
    """The Program of a graph with POINTS points, whose inputs have so many columns.

    Raises CaptureError with all that is not captured at once.
    """
    builder = Builder(ins, reserved=[var.name for var in outs])
    tensors = Tensors(builder)
    given = ins if len(columns) == len(ins) else (builder.concat(ins),)
    result = _Reader(exported, tensors).read([tensors.tensor(var) for var in given])
    if not isinstance(result, Tensor):
        raise CaptureError("forward returns a constant; expected: a tensor that depends on the inputs")
    whole = tensors.vector(result)
    ends = accumulate(var.size for var in outs)
    parts = [Slice(out, whole, end - out.size) for out, end in zip(outs, ends, strict=True)]
    return simplify(verify(Program(name, ins, outs, (*builder.ops, *parts))))


class _Reader:
    """Reads one exported graph."""

    def __init__(self, exported: torch.export.ExportedProgram, tensors: Tensors) -> None:
        self.exported = exported
        self.tensors = tensors

    def read(self, arguments: Sequence[Tensor]) -> object:
        """What the graph returns: a Tensor, or one of torch that depends on no input."""
        signature = self.exported.graph_signature
        specs = {spec.arg.name: spec for spec in signature.input_specs}
        tensors = {**self.exported.constants, **self.exported.state_dict}
        given = iter(arguments)
        known: dict[Node, Any] = {}
        faults: list[str] = []
        for node in self.exported.graph.nodes:
            if node.op == "placeholder":
                spec = specs[node.name]
                if spec.kind is InputKind.USER_INPUT:
                    known[node] = next(given)
                else:
                    known[node] = tensors[spec.target]
            elif node.op == "call_function":
                try:
                    if all(each in known for each in node.all_input_nodes):
                        args, kwargs = (map_arg(each, known.__getitem__) for each in (node.args, node.kwargs))
                        known[node] = self._result(node, args, kwargs)
                    elif _operator(node.target) not in {*MOVES, *CALCULATIONS}:
                        raise Refusal(_unknown(_operator(node.target)))
                except Refusal as refusal:
                    faults.append(f"{_where(node)}: {_operator(node.target)} is not captured: {refusal}")
        faults += (f"forward changes the buffer {name!r}" for name in signature.buffers_to_mutate.values())
        if faults:
            raise CaptureError(f"forward cannot be captured: {listing(list(dict.fromkeys(faults)))}")
        (returned,) = signature.user_outputs
        return {node.name: value for node, value in known.items()}[returned]

    def _result(self, node: Node, args: Any, kwargs: Any) -> Any:
        target: Any = node.target
        name = _operator(target)
        if target is operator.getitem:
            return args[0][args[1]]
        if not _tensors((args, kwargs)):
            if torch.Tag.nondeterministic_seeded in getattr(target, "tags", ()):
                raise Refusal(_unknown(name))
            return target(*args, **kwargs)
        if name == "sym_size":
            return args[0].shape[args[1]]
        if name == "_assert_tensor_metadata":
            return None
        if name == "full_like":
            return torch.full(args[0].shape, args[1], dtype=torch.float64)
        data = MOVES.get(name, ())
        if data and not _tensors(([each for i, each in enumerate(args) if i not in data], kwargs)):
            return self._moved(target, data, args, kwargs)
        value = node.meta["val"]
        if not isinstance(value, torch.Tensor):
            raise Refusal(_unknown(name))
        return self._calculated(name, _arrays(args), _arrays(kwargs), value)

    def _moved(self, target: Any, data: Sequence[int], args: Sequence[Any], kwargs: Any) -> Any:
        """`target`, carried out on the tables of the arguments at the places `data`."""
        moved = target(*(self._table(each) if i in data else each for i, each in enumerate(args)), **kwargs)
        if isinstance(moved, torch.Tensor):
            return self._value(moved)
        return [self._value(each) for each in moved]

    def _table(self, argument: Any) -> Any:
        if isinstance(argument, list | tuple):
            return [self._table(each) for each in argument]
        return torch.from_numpy(self.tensors.table(_arrays(argument)).copy())

    def _value(self, table: torch.Tensor) -> Any:
        value = self.tensors.value(table.numpy())
        return value if isinstance(value, Tensor) else torch.from_numpy(value)

    def _calculated(self, name: str, args: Any, kwargs: Any, result: torch.Tensor) -> Any:
        for group in (self._elementwise, self._matrix, self._along_axes):
            if (value := group(name, args, kwargs, result)) is not None:
                return value
        raise Refusal(_unknown(name))

    def _elementwise(self, name: str, args: Any, kwargs: Any, result: torch.Tensor) -> Any:
        tensors = self.tensors
        match name, args:
            case "_to_copy", (x,):
                if result.dtype != torch.float64:
                    raise Refusal(f"it casts to {result.dtype}: an export chooses the precision, so remove the cast")
                return x
            case name, (x,) if name in ATEN:
                return tensors.map(x, ATEN[name])
            case "neg", (x,):
                return tensors.negative(x)
            case "add" | "sub", (a, b):
                factor = kwargs.get("alpha", 1) * (1 if name == "add" else -1)
                return tensors.add(a, b if factor == 1 else tensors.scale(b, factor))
            case "mul", (a, b):
                return tensors.multiply(a, b)
            case "div", (a, b) if not kwargs:
                return tensors.divide(a, b)
            case "reciprocal", (x,):
                return tensors.reciprocal(x)
            case "pow", (Tensor() as x, int() | float() as exponent):
                return tensors.power(x, exponent)
        return None

    def _matrix(self, name: str, args: Any, kwargs: Any, result: torch.Tensor) -> Any:
        tensors = self.tensors
        match name, args:
            case "linear", (x, weight, *bias):
                y = tensors.matmul(x, tensors.move(np.transpose, weight))
                return tensors.add(y, bias[0]) if bias and bias[0] is not None else y
            case "mm" | "bmm" | "mv", (a, b):
                return tensors.matmul(a, b)
            case "addmm", (bias, a, b):
                y, alpha, beta = tensors.matmul(a, b), kwargs.get("alpha", 1), kwargs.get("beta", 1)
                return tensors.add(
                    y if alpha == 1 else tensors.scale(y, alpha), bias if beta == 1 else tensors.scale(bias, beta)
                )
        return None

    def _along_axes(self, name: str, args: Any, kwargs: Any, result: torch.Tensor) -> Any:
        tensors = self.tensors
        match name, args:
            case "sum", (x, over, *keep):
                return tensors.sum(x, over or None, keepdims=any(keep))
            case "mean", (x, over, *keep):
                return tensors.mean(x, over or None, keepdims=any(keep))
        return None


def _arrays(args: Any) -> Any:
    """Arguments with their tensors of torch as arrays of NumPy."""
    match args:
        case torch.Tensor():
            return args.detach().to(torch.float64).numpy()
        case dict():
            return {key: _arrays(each) for key, each in args.items()}
        case list() | tuple():
            return [_arrays(each) for each in args]
    return args


def _tensors(args: Any) -> list[Tensor]:
    """Every Tensor in nested arguments."""
    match args:
        case Tensor():
            return [args]
        case dict():
            return _tensors(tuple(args.values()))
        case list() | tuple():
            return [each for nested in args for each in _tensors(nested)]
    return []


def _operator(target: Any) -> str:
    """aten.add.Tensor -> add."""
    schema = getattr(target, "_schema", None)
    return schema.name.rpartition("::")[2] if schema else getattr(target, "__name__", str(target))


def _unknown(name: str) -> str:
    return REWRITES.get(name, f"it is unknown: write it with sums, products and {', '.join(FUNCTIONS)}")


FRAME = re.compile(r'File "([^"]+)", line (\d+), in .*(?:\n\s+(.*))?')
TORCH = str(Path(torch.__file__).parent) + os.sep


def user_line(frames: list[str]) -> str:
    """The innermost line of these traceback entries that is not in torch, if any."""
    found = FRAME.findall("\n".join(frames))
    own = [frame for frame in found if not frame[0].startswith(TORCH)]
    return "{}:{}: {}".format(*own[-1]).removesuffix(": ") if own else ""


def _where(node: Node) -> str:
    """The user's line that a node comes from, and the layer of torch that it calls, as far as known."""
    layers = list((node.meta.get("nn_module_stack") or {}).values())
    path, kind = layers[-1] if layers else ("", "")
    layer = f"layer {path} ({kind.rpartition('.')[2]})" if path and kind.startswith("torch.nn.") else ""
    return ", ".join(filter(None, (user_line([node.meta.get("stack_trace") or ""]), layer))) or "forward"
