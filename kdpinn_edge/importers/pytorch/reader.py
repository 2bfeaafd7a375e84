"""`read(graph, …)`: a recorded graph of torch becomes a Program, node by node.

What each operator means stands in `aten.py`. A tensor of the graph that depends on no input is calculated by torch
itself.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Sequence
from functools import cache
from itertools import accumulate
from typing import Any

import numpy as np
import torch
from torch import fx
from torch._decomp import decomposition_table
from torch.fx.node import Node, map_arg

from kdpinn_edge.errors import CaptureError, listing
from kdpinn_edge.importers.pytorch.aten import (
    CALCULATIONS,
    INDICES,
    MOVES,
    RANDOM,
    REFUSED,
    ROUNDS,
    UNKNOWN,
    Calculation,
)
from kdpinn_edge.importers.tensors.tensors import Refusal, Tensor, Tensors, Value, shape_of
from kdpinn_edge.program.builder import Builder
from kdpinn_edge.program.ir import Program, Slice, Var
from kdpinn_edge.program.simplify import simplify
from kdpinn_edge.program.verify import verify

ROUNDINGS = 64
"""By so many units in the last place of its largest number a constant may differ between points that it is equal for.

The proof tells whether it was meant to differ.
"""
LIKE = {"full_like", "ones_like", "zeros_like", "empty_like", "new_zeros", "new_ones", "new_full", "new_empty"}
"""Operators that make constants, to whom a tensor tells its shape and its type."""

NORMS = {"native_layer_norm", "native_group_norm", "native_batch_norm", "_fused_rms_norm"}
"""Operators that core ATen has, with a backward pass, and that torch writes as sums and roots as well."""
OTHERS = {*MOVES, *LIKE, "_to_copy", "as_strided", "scatter_add"}
"""Operators that are read here, though they calculate nothing."""

KEPT = {*(name.partition(".")[0] for name in CALCULATIONS), *REFUSED}
"""Operators that stay whole in the graph: captured as they are, or named in an error as they are."""


@cache
def decompositions() -> dict[Any, Callable[..., Any]]:
    """The way to core ATen, and of normalisations to sums, on which what is KEPT stays whole."""
    table = torch.export.default_decompositions()
    norms = {each: every for each, every in decomposition_table.items() if _operator(each) in NORMS}
    return {each: every for each, every in {**norms, **table}.items() if _operator(each) not in KEPT}


def read(graph: fx.GraphModule, name: str, ins: tuple[Var, ...], outs: tuple[Var, ...]) -> Program:
    """The Program of a recorded graph (`trace.py`) from the columns `ins` to the columns `outs`.

    Raises CaptureError with all that is not captured at once.
    """
    builder = Builder(ins, reserved=[var.name for var in outs])
    points = len(next(iter(graph.graph.nodes)).meta["val"])
    tensors = Tensors(builder, points)
    x = builder.concat(ins)
    result = _Reader(graph, tensors).read(tensors.tensor(x, (1, x.size) if points == 1 else None))
    if not isinstance(result, Tensor):
        raise CaptureError("forward returns a constant; expected: a tensor that depends on the inputs")
    try:
        whole = tensors.vector(result)
    except Refusal as refusal:
        raise CaptureError(f"what forward returns is not captured: {refusal}") from None
    ends = accumulate(var.size for var in outs)
    parts = [Slice(out, whole, end - out.size) for out, end in zip(outs, ends, strict=True)]
    return simplify(verify(Program(name, ins, outs, (*builder.ops, *parts))))


class _Reader:
    """Reads one recorded graph."""

    def __init__(self, graph: fx.GraphModule, tensors: Tensors) -> None:
        self.graph = graph
        self.tensors = tensors

    def read(self, x: Tensor) -> object:
        """What the graph returns for x: a Tensor, or one of torch that depends on no input."""
        known: dict[Node, Any] = {}
        faults: list[str] = []
        for node in self.graph.graph.nodes:
            if node.op == "placeholder":
                known[node] = x
            elif node.op == "get_attr":
                known[node] = _same_for_all(getattr(self.graph, node.target), self.tensors.points)
            elif node.op == "call_function":
                try:
                    if all(each in known for each in node.all_input_nodes):
                        args, kwargs = (map_arg(each, known.__getitem__) for each in (node.args, node.kwargs))
                        known[node] = self._result(node, args, kwargs)
                    elif not _meaning(node.target) and _operator(node.target) not in OTHERS:
                        raise Refusal(_reason(node.target))
                except Refusal as refusal:
                    faults.append(f"{node.meta['where']}: {_operator(node.target)} is not captured: {refusal}")
                except (ArithmeticError, LookupError, RuntimeError, TypeError, ValueError) as error:
                    why = f"these arguments are unknown ({type(error).__name__}: {str(error).split(chr(10))[0]})"
                    faults.append(f"{node.meta['where']}: {_operator(node.target)} is not captured: {why}")
        if faults:
            raise CaptureError(f"forward cannot be captured: {listing(list(dict.fromkeys(faults)))}")
        (returned,) = node.all_input_nodes
        return known[returned]

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
        if name in LIKE:
            return target(torch.zeros(args[0].shape, dtype=torch.float64), *args[1:], **kwargs)
        for read in (self._by_hand, self._moved, self._calculated):
            if (result := read(node, name, args, kwargs)) is not NotImplemented:
                return [_torch(each) for each in result] if isinstance(result, list) else _torch(result)
        raise Refusal(_reason(target))

    def _by_hand(self, node: Node, name: str, args: Any, kwargs: Any) -> Any:
        match name, args:
            case "_to_copy", (x, *_):
                return self._cast(node, x)
            case "as_strided", (x, *layout):
                return self._strided(node.all_input_nodes[0].meta["val"], x, *layout)
            case "scatter_add", (x, axis, index, values):
                return self._scattered(x, lambda places: places.gather(axis, index), values)
            case "index_put", (x, index, values, True):
                return self._scattered(x, lambda places: torch.ops.aten.index(places, index), values)
            case "index_put", (x, index, value, *_) if _tensors(index):
                return self._masked(node, x, index, value)
        return NotImplemented

    def _calculated(self, node: Node, name: str, args: Any, kwargs: Any) -> Any:
        meaning = _meaning(node.target)
        return NotImplemented if meaning is None else meaning(self.tensors, *_bound(node.target, args, kwargs))

    def _cast(self, node: Node, x: Tensor) -> Any:
        """x in another type: every floating type stands for the precision of the export."""
        (source,) = node.all_input_nodes
        old, new = (each.meta["val"].dtype for each in (source, node))
        if new == torch.bool and old != torch.bool:
            return CALCULATIONS["ne"](self.tensors, x, 0.0)
        if new.is_complex:
            raise Refusal(REFUSED["complex"])
        if old.is_floating_point and not new.is_floating_point:
            raise Refusal(ROUNDS)
        return x

    def _masked(self, node: Node, x: Any, places: Sequence[Any], value: Any) -> Any:
        """x with one value where a mask holds, over the first axes or with places in the others."""
        masks = [each for each in node.args[1] if isinstance(each, Node)]  # type: ignore[union-attr]
        if len(places) != 1 or masks[0].meta["val"].dtype != torch.bool or math.prod(shape_of(_arrays(value))) != 1:
            raise Refusal("where it writes depends on the data: use torch.where(condition, a, b)")
        missing = len(shape_of(_arrays(x))) - len(places[0].shape)
        mask = self.tensors.move(lambda table: table.reshape(*table.shape, *(1,) * missing), places[0])
        return self.tensors.select(mask, _arrays(value), _arrays(x))

    def _scattered(self, x: Any, picked: Callable[[torch.Tensor], torch.Tensor], values: Any) -> Any:
        """x, with values added to the elements that `picked` finds."""
        shape = shape_of(_arrays(x))
        found = picked(torch.arange(math.prod(shape)).view(shape)).numpy()
        places, table = (
            np.broadcast_to(each, found.shape).reshape(-1) for each in (found, self.tensors.table(_arrays(values)))
        )
        nothing = self.tensors.table(np.zeros(shape)).reshape(-1)
        total: Value = _arrays(x)
        while len(places):
            _, first = np.unique(places, return_index=True)
            added = nothing.copy()
            added[places[first]] = table[first]
            total = self.tensors.add(total, self.tensors.value(added.reshape(shape)))
            places, table = np.delete(places, first), np.delete(table, first)
        return total

    def _strided(self, source: torch.Tensor, x: Any, size: Any, stride: Any, offset: int | None = None) -> Value:
        """What lies in the memory of x, whose layout is that of `source`, at other places."""
        whole = source.untyped_storage().nbytes() // source.element_size()
        memory = torch.full((whole,), self._table(math.nan))
        memory.as_strided(source.shape, source.stride(), source.storage_offset()).copy_(self._table(x))
        start = source.storage_offset() if offset is None else offset
        return self.tensors.value(memory.as_strided(size, stride, start).numpy())

    def _moved(self, node: Node, name: str, args: Any, kwargs: Any) -> Any:
        """The operator, carried out on the tables of those of its arguments that hold the numbers."""
        target: Any = node.target
        data = MOVES.get(name, ())
        if not data or _tensors(([each for i, each in enumerate(args) if i not in data], kwargs)):
            return NotImplemented
        moved = target(*(self._table(each) if i in data else each for i, each in enumerate(args)), **kwargs)
        if isinstance(moved, torch.Tensor):
            return self.tensors.value(moved.numpy())
        return [self.tensors.value(each.numpy()) for each in moved]

    def _table(self, argument: Any) -> Any:
        if isinstance(argument, list | tuple):
            return [self._table(each) for each in argument]
        if isinstance(argument, int | float):
            return int(self.tensors.table(argument))
        return torch.from_numpy(self.tensors.table(_arrays(argument)).copy())


def _same_for_all(constant: torch.Tensor, points: int) -> torch.Tensor:
    """A constant; what is the same for all points but for rounding, as of the first.

    A matrix product of equal rows need not have equal rows: some are calculated together and some one by one.
    """
    for axis in (axis for axis, size in enumerate(constant.shape) if size == points > 1):
        first = constant.narrow(axis, 0, 1)
        if constant.is_floating_point() and not torch.equal(constant, first.expand_as(constant)):
            rounding = ROUNDINGS * torch.finfo(constant.dtype).eps * first.abs().max()
            if (constant - first).abs().max() <= rounding:
                return first.expand_as(constant)
    return constant


def _meaning(target: Any) -> Calculation | None:
    """What an operator calculates, if that is known."""
    name = _operator(target)
    return CALCULATIONS.get(f"{name}.{getattr(target, '_overloadname', '')}") or CALCULATIONS.get(name)


def _reason(target: Any) -> str:
    """Why an operator is not captured."""
    return REFUSED.get(_operator(target), UNKNOWN)


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
