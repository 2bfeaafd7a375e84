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
from kdpinn_edge.importers.aten import CALCULATIONS, INDICES, MOVES, RANDOM, REFUSED, ROUNDS, Calculation
from kdpinn_edge.importers.tensors import Refusal, Tensor, Tensors, Value
from kdpinn_edge.program.builder import Builder
from kdpinn_edge.program.ir import Program, Slice, Var
from kdpinn_edge.program.simplify import simplify
from kdpinn_edge.program.verify import verify

LIKE = {"full_like", "ones_like", "zeros_like", "empty_like", "new_zeros", "new_ones", "new_full", "new_empty"}
"""Operators that make constants, to whom a tensor tells its shape and its type."""
CHECKS = {"_assert_tensor_metadata"}
"""Operators that calculate nothing."""

KEPT = {*(name.partition(".")[0] for name in CALCULATIONS), *REFUSED}
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
                    else:
                        _meaning(node.target)
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
            if args[1] >= len(args[0]):
                raise Refusal(INDICES)
            return args[0][args[1]]
        if not _tensors((args, kwargs)):
            if torch.Tag.nondeterministic_seeded in getattr(target, "tags", ()):
                raise Refusal(RANDOM)
            return target(*args, **kwargs)
        if name == "sym_size":
            return args[0].shape[args[1]]
        if name in CHECKS:
            return None
        if name == "_to_copy":
            return self._cast(node, args[0])
        if name in LIKE:
            return target(torch.zeros(args[0].shape, dtype=torch.float64), *args[1:], **kwargs)
        data = MOVES.get(name, ())
        if data and not _tensors(([each for i, each in enumerate(args) if i not in data], kwargs)):
            return self._moved(target, data, args, kwargs)
        result = _meaning(target)(self.tensors, *_bound(target, args, kwargs))
        return [_torch(each) for each in result] if isinstance(result, list) else _torch(result)

    def _cast(self, node: Node, x: Tensor) -> Any:
        """x in another type: every floating type stands for the precision of the export."""
        (source,) = node.all_input_nodes
        old, new = (each.meta["val"].dtype for each in (source, node))
        if new == torch.bool and old != torch.bool:
            return _torch(CALCULATIONS["ne"](self.tensors, x, 0.0))
        if new.is_complex:
            raise Refusal(REFUSED["complex"])
        if old.is_floating_point and not new.is_floating_point:
            raise Refusal(ROUNDS)
        return x

    def _moved(self, target: Any, data: Sequence[int], args: Sequence[Any], kwargs: Any) -> Any:
        """`target`, carried out on the tables of the arguments at the places `data`."""
        moved = target(*(self._table(each) if i in data else each for i, each in enumerate(args)), **kwargs)
        if isinstance(moved, torch.Tensor):
            return _torch(self.tensors.value(moved.numpy()))
        return [_torch(self.tensors.value(each.numpy())) for each in moved]

    def _table(self, argument: Any) -> Any:
        if isinstance(argument, list | tuple):
            return [self._table(each) for each in argument]
        return torch.from_numpy(self.tensors.table(_arrays(argument)).copy())


def _meaning(target: Any) -> Calculation:
    """What an operator calculates. Raises Refusal where that is not known."""
    name = _operator(target)
    overload = f"{name}.{getattr(target, '_overloadname', '')}"
    if overload in CALCULATIONS or name in CALCULATIONS:
        return CALCULATIONS.get(overload) or CALCULATIONS[name]
    if name in {*MOVES, *LIKE, *CHECKS, "_to_copy", "sym_size"}:
        return CALCULATIONS["neg"]
    raise Refusal(REFUSED.get(name, f"it is unknown: write it with sums, products and {', '.join(FUNCTIONS)}"))


def _bound(target: Any, args: Sequence[Any], kwargs: Any) -> list[Any]:
    """The arguments of an operator in the order of its schema, as far as they are given."""
    known = {**dict(zip((each.name for each in target._schema.arguments), args, strict=False)), **kwargs}
    last = max(i for i, each in enumerate(target._schema.arguments) if each.name in known)
    bound: list[Any] = _arrays(
        [known.get(each.name, each.default_value) for each in target._schema.arguments[: last + 1]]
    )
    return bound


def _torch(value: Value | list[Value]) -> Any:
    """A constant as a tensor of torch, for torch to calculate with."""
    return value if isinstance(value, Tensor) else torch.from_numpy(np.asarray(value))


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
