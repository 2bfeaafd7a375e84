"""`capture(module)`: a live `torch.nn.Module` becomes a Program, by way of `torch.export`.

    capture     copies the module, calls it, exports it, reads the graph, proves the result
    _Reader     reads one exported graph, node by node, into the ops of a Program

A tensor that depends on the point is followed as a Value: a Var of the Program, and for every element of the tensor
the entry of the Var that it holds. So whatever only moves numbers (view, slice, stack, expand, …) is carried out by
torch itself, on the table of entries, and costs nothing until the numbers are calculated with. The table has a few
rows, one per point, and each row must keep to its own point: what mixes points shows itself there.
"""

from __future__ import annotations

import copy
import inspect
import math
import operator
import os
import re
import traceback
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache
from itertools import accumulate
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor, nn
from torch.export.graph_signature import InputKind
from torch.fx.experimental.symbolic_shapes import GuardOnDataDependentSymNode
from torch.fx.node import Node, map_arg

from kdpinn_edge.errors import CaptureError, listing
from kdpinn_edge.functions import FUNCTIONS
from kdpinn_edge.program.builder import Builder
from kdpinn_edge.program.interp import interpret
from kdpinn_edge.program.ir import Array, Mul, Program, Scale, Slice, Var
from kdpinn_edge.program.ir import columns as named_columns
from kdpinn_edge.program.simplify import simplify
from kdpinn_edge.program.verify import verify

Module = nn.Module
"""What can be captured."""

ROUNDINGS = 32
"""Where terms cancel, the difference may be so many times what rounding to float64 makes of the Program itself."""
PARITY = 1e-12
"""Largest difference of Program and module, relative to the largest |output| of that name on the probe points.

Both calculate in float64 and differ in the order of sums and in functions by a few units in the last place, 1e-16.
Depth, width and frequency amplify this: to 7e-15 in a sine network of 6 layers of 128 with frequency 60. An operation
that was misread shows above 1e-6.
"""
PROBES = 1024
"""Probe points, where the caller gives none."""

POINTS = 5
"""Points with which a module is exported, and its graph is read."""

ROW = 2**32
"""In the table of entries, point p has the numbers p * ROW, p * ROW + 1, …"""

MOVES = frozenset({
    "alias", "clone", "expand", "flip", "getitem", "index", "index_select", "permute", "repeat", "select", "slice",
    "split_with_sizes", "squeeze", "unsqueeze", "view",
})  # fmt: skip
"""Operators that only say where each number goes."""

ATEN = {operator: function.name for function in FUNCTIONS.values() for operator in function.aten}
"""The functions of a Program, by the operators of ATen that they are."""

CALCULATIONS = frozenset({
    *ATEN, "_to_copy", "add", "addmm", "bmm", "cat", "div", "full_like", "linear", "mean", "mm", "mul",
    "mv", "neg", "pow", "reciprocal", "sub", "sum", "sym_size",
})  # fmt: skip
"""Operators with a meaning in a Program, some of them for some arguments only."""

REWRITES = {
    name: rewrite
    for names, rewrite in (
        (
            "celu elu gelu hardshrink hardsigmoid hardswish hardtanh leaky_relu log_sigmoid mish prelu relu6 "
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
            "div rsqrt",
            "write it as a quotient, a / b, or with sqrt",
        ),
        (
            "clamp clamp_max clamp_min eq ge gt heaviside le lt maximum minimum ne sign where",
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


def capture(
    module: nn.Module,
    *,
    name: str,
    inputs: Sequence[str | tuple[str, int]],
    outputs: Sequence[str | tuple[str, int]],
    probe: ArrayLike | None = None,
    domain: tuple[ArrayLike, ArrayLike] | None = None,
) -> Program:
    """The Program of a module's `forward`, simplified, and proved equal to the module on probe points.

    `inputs` and `outputs` name the columns that `forward` takes and returns; a name stands for one column, a pair
    (name, k) for k of them. `forward` takes one tensor (n, n_in), or one tensor (n, k) per input, and returns one
    tensor (n, n_out). It may use Linear and matrix products with constants, the functions that a Program has,
    sums, differences and products, powers 1 to 4, division by constants and by a + b x² where a and b are
    positive constants, sums and means over columns, and whatever only moves columns: cat, stack, slices, chunk, reshape
    and so on. Parameters, buffers and constants come along.

    What is captured is `copy.deepcopy(module).double().eval()`: dropout is off, float32 weights are taken at their
    float64 value, and the module itself is left as it is.

    The proof compares Program and copy in float64 on `probe` (n, n_in), or on 1024 points drawn from the box
    `domain = (lower, upper)`, by default [-1, 1] in every input, always the same ones; `PARITY` says how close.

    Raises CaptureError where an operation is unknown or mixes points (all of them at once, each with its source
    line and the usual rewrite), where parameters are not finite, shapes do not fit, or the proof fails; ProgramError
    where a name is not one.

        program = capture(pinn, name="burgers", inputs=("x", "t"), outputs=("u",), domain=((-1, 0), (1, 1)))
    """
    ins, outs = _variables("inputs", inputs), _variables("outputs", outputs)
    if shared := {var.name for var in ins} & {var.name for var in outs}:
        raise CaptureError(f"{', '.join(sorted(shared))} names an input and an output; expected: different names")
    points = _probe_points(ins, probe, domain)
    model = _double_copy(module)
    columns = _columns_per_tensor(model, ins)
    expected = _evaluated(model, columns, points, outs)
    program = _Reader(_exported(model, columns), ins, outs).program(name, columns)
    _prove(program, points, expected)
    return program


def _variables(what: str, names: Sequence[str | tuple[str, int]]) -> tuple[Var, ...]:
    if isinstance(names, str) or not names:
        raise CaptureError(f'{what} is {names!r}; expected: a tuple of names or (name, size) pairs, such as ("x", "t")')
    return tuple(Var(each, 1) if isinstance(each, str) else Var(*each) for each in names)


def _probe_points(ins: tuple[Var, ...], probe: ArrayLike | None, domain: tuple[ArrayLike, ArrayLike] | None) -> Array:
    n_in = sum(var.size for var in ins)
    if probe is not None:
        if domain is not None:
            raise CaptureError("probe and domain are both given; expected: probe points, or a domain to draw them from")
        points = np.asarray(probe, dtype=np.float64)
        if points.ndim != 2 or points.shape[1] != n_in or len(points) == 0 or not np.isfinite(points).all():
            raise CaptureError(f"probe has shape {points.shape}; expected: finite numbers (n, {n_in}), n at least 1")
        return points
    box = [np.asarray(bound, dtype=np.float64) for bound in ((-1.0, 1.0) if domain is None else domain)]
    lower, upper = box[0], box[-1]
    fits = len(box) == 2 and {lower.shape, upper.shape} <= {(), (n_in,)}
    if not fits or not (np.isfinite(upper - lower) & (lower < upper)).all():
        raise CaptureError(f"domain is {domain}; expected: (lower, upper), each a number or {n_in}, with lower < upper")
    return np.random.default_rng(0).uniform(lower, upper, (PROBES, n_in))


def _double_copy(module: nn.Module) -> nn.Module:
    if not isinstance(module, nn.Module):
        raise CaptureError(f"a {type(module).__name__} was given; expected: a torch.nn.Module")
    try:
        model = copy.deepcopy(module).to("cpu", torch.float64).eval().requires_grad_(False)
    except RuntimeError as error:
        raise CaptureError(f"{type(module).__name__} cannot be copied by copy.deepcopy: {error}") from error
    named = (*model.named_parameters(), *model.named_buffers())
    faults = [f"{name} holds a NaN or an infinity" for name, tensor in named if not torch.isfinite(tensor).all()]
    if faults:
        raise CaptureError(f"{type(module).__name__} has parameters that are not finite: {listing(faults)}")
    return model


def _columns_per_tensor(model: nn.Module, ins: tuple[Var, ...]) -> list[int]:
    """The number of columns of each tensor that `forward` takes."""
    sizes = [var.size for var in ins]
    parameters = inspect.signature(model.forward).parameters.values()
    if _takes_any_number(model):
        return sizes
    taken = sum(each.default is each.empty and each.kind is not each.VAR_KEYWORD for each in parameters)
    if taken not in (1, len(sizes)):
        raise CaptureError(
            f"{type(model).__name__}.forward takes {taken} tensors, but {len(sizes)} inputs are named; expected: one "
            f"tensor (n, {sum(sizes)}), or one tensor per input"
        )
    return [sum(sizes)] if taken == 1 else sizes


def _takes_any_number(model: nn.Module) -> bool:
    return any(each.kind is each.VAR_POSITIONAL for each in inspect.signature(model.forward).parameters.values())


def _evaluated(model: nn.Module, columns: list[int], points: Array, outs: tuple[Var, ...]) -> Array:
    """What the module returns at the points, (n, n_out)."""
    parts = np.split(points, np.cumsum(columns)[:-1], axis=1)
    try:
        with torch.no_grad():
            returned = model(*(torch.from_numpy(np.ascontiguousarray(part)) for part in parts))
    except Exception as error:
        raise CaptureError(f"{_called(model, columns)} fails: {_reason(error)}") from error
    shape = (len(points), sum(var.size for var in outs))
    if not isinstance(returned, Tensor) or returned.shape != shape:
        found = f"shape {tuple(returned.shape)}" if isinstance(returned, Tensor) else f"a {type(returned).__name__}"
        raise CaptureError(
            f"{_called(model, columns)} returns {found} for n = {shape[0]}; expected: one tensor (n, {shape[1]}), the "
            f"columns of {', '.join(map(str, outs))}. The usual fix: torch.cat(columns, dim=1), and a name for each"
        )
    y: Array = returned.to(torch.float64).numpy()
    return y


def _called(model: nn.Module, columns: list[int]) -> str:
    return f"{type(model).__name__}, called in float64 with {', '.join(f'(n, {k})' for k in columns)},"


def _exported(model: nn.Module, columns: list[int]) -> torch.export.ExportedProgram:
    n = torch.export.Dim("n")
    example = tuple(torch.zeros(POINTS, k, dtype=torch.float64) for k in columns)
    shapes: Any = tuple({0: n} for _ in columns)
    if _takes_any_number(model):
        shapes = (shapes,)
    try:
        with warnings.catch_warnings():
            # torch 2.13 deep-copies its own LeafSpec in run_decompositions and warns that it should not.
            warnings.filterwarnings("ignore", r"`isinstance\(treespec, LeafSpec\)` is deprecated", FutureWarning)
            exported = torch.export.export(model, example, dynamic_shapes=shapes, strict=False)
            core: torch.export.ExportedProgram = exported.run_decompositions(_decompositions())
            return core
    except Exception as error:
        raise CaptureError(f"{_called(model, columns)} cannot be exported: {_reason(error)}") from error


@cache
def _decompositions() -> dict[Any, Callable[..., Any]]:
    """The way to core ATen, on which what is KEPT stays whole."""
    table = torch.export.default_decompositions()
    return {each: table[each] for each in table if _operator(each) not in KEPT}


def _reason(error: Exception) -> str:
    """Where a call of the module failed, why, and the usual fix."""
    place = _user_line(traceback.format_tb(error.__traceback__)[1:])
    text = f"{type(error).__name__}: {str(error).strip().splitlines()[0] if str(error) else ''}"
    if isinstance(error, GuardOnDataDependentSymNode):
        text = (
            "control flow depends on the data: remove the branch, or blend its sides with a smooth weight such as "
            "torch.sigmoid(k * x)"
        )
    elif "Constraints violated" in str(error):
        text = (
            "forward fixes the number of points n, or mixes points: use -1 or x.shape[0], not len(x), for the axis of "
            "points, and work on the columns only"
        )
    elif "dtype" in str(error):
        text += ". The usual fix: register_buffer for every tensor that is not a parameter, so that double() reaches it"
    return f"{place}: {text}" if place else text


def _prove(program: Program, points: Array, expected: Array) -> None:
    undefined = ~np.isfinite(expected).all(axis=1)
    if undefined.any():
        raise CaptureError(
            f"the module returns {expected[undefined][0].tolist()} at {points[undefined][0].tolist()}; expected: "
            "finite numbers. The usual fix: give the domain, or probe points, on which it is defined"
        )
    found = interpret(program, points)
    allowed = PARITY * abs(expected).max(axis=0)
    difference = np.nan_to_num(abs(found - expected), nan=np.inf)
    if (difference > allowed).any():
        rounding = abs(interpret(program, points.astype(np.longdouble)) - found).max(axis=0)
        allowed = np.maximum(allowed, ROUNDINGS * rounding.astype(np.float64))
    if (difference > allowed).any():
        row, column = np.unravel_index(np.argmax(difference - allowed), difference.shape)
        at = zip(named_columns(program.inputs), points[row].tolist(), strict=True)
        raise CaptureError(
            f"the Program differs from the module at {', '.join(f'{name} = {value!r}' for name, value in at)}: "
            f"{named_columns(program.outputs)[column]} is {float(expected[row, column])!r} in the module and "
            f"{float(found[row, column])!r} in the Program; allowed: {allowed[column]:.3g}. The usual cause: forward "
            "depends on the number of points, or on attributes that it changes"
        )


class _Refusal(Exception):  # noqa: N818
    """Why one node cannot be captured, and what to write instead."""


MIXES = "it mixes points across the batch, or drops some: work on the columns only"


@dataclass(frozen=True)
class _Value:
    """A tensor that depends on the point.

    `index` (int64) has the tensor's shape for POINTS points, which lie along `axis`. Where it holds p * ROW + i, the
    tensor holds entry i of `var` at point p.
    """

    var: Var
    index: Tensor
    axis: int

    def __post_init__(self) -> None:
        rows = self.index.movedim(self.axis, -1)
        if rows.shape[-1] != POINTS or not torch.equal(rows, rows[..., :1] + ROW * torch.arange(POINTS)):
            raise _Refusal(MIXES)

    @classmethod
    def of(cls, var: Var, shape: Sequence[int], axis: int) -> _Value:
        """The tensor of this shape that holds the entries of `var` row-major."""
        index = torch.arange(var.size) + ROW * torch.arange(POINTS)[:, None]
        rest = [size for i, size in enumerate(shape) if i != axis]
        return cls(var, index.view(POINTS, *rest).movedim(0, axis), axis)

    @property
    def entries(self) -> Tensor:
        """The entries of `var` that the tensor holds for one point, in its shape without `axis`."""
        return self.index.select(self.axis, 0)

    def expanded(self, shape: Sequence[int], axis: int) -> _Value:
        """Broadcast to `shape`."""
        return _Value(self.var, self.index.expand(shape), axis)

    def transposed(self) -> _Value:
        """The last two axes exchanged."""
        last = self.index.ndim - 1
        return _Value(self.var, self.index.mT, {last: last - 1, last - 1: last}.get(self.axis, self.axis))


def _axis(result: Tensor) -> int:
    """The axis of a tensor of the exported graph along which the points lie: the only one whose size is a symbol."""
    axes = [i for i, size in enumerate(result.shape) if not isinstance(size, int)]
    if len(axes) != 1:
        raise _Refusal(MIXES)
    return axes[0]


class _Reader:
    """Reads one exported graph and writes the ops of a Program."""

    def __init__(self, exported: torch.export.ExportedProgram, ins: tuple[Var, ...], outs: tuple[Var, ...]) -> None:
        self.exported = exported
        self.ins = ins
        self.outs = outs
        self.builder = Builder(ins, reserved=[var.name for var in outs])

    def program(self, name: str, columns: list[int]) -> Program:
        """The Program of the graph, whose tensors have so many columns."""
        tensors = self.ins if len(columns) == len(self.ins) else (self.builder.concat(self.ins),)
        result = self._read([_Value.of(var, (POINTS, var.size), 0) for var in tensors])
        if not isinstance(result, _Value):
            raise CaptureError("forward returns a constant; expected: a tensor that depends on the inputs")
        whole = self._vector(result)
        ends = accumulate(var.size for var in self.outs)
        parts = [Slice(out, whole, end - out.size) for out, end in zip(self.outs, ends, strict=True)]
        return simplify(verify(Program(name, self.ins, self.outs, (*self.builder.ops, *parts))))

    def _read(self, arguments: list[_Value]) -> object:
        """What the graph returns: a _Value, or a Tensor that depends on no input. Collects faults, raises once."""
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
                    elif _operator(node.target) not in MOVES | CALCULATIONS:
                        raise _Refusal(_unknown(_operator(node.target)))
                except _Refusal as refusal:
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
        if not _values((args, kwargs)):
            if torch.Tag.nondeterministic_seeded in getattr(target, "tags", ()):
                raise _Refusal(_unknown(name))
            return target(*args, **kwargs)
        if name == "sym_size":
            return args[0].index.shape[args[1]]
        if name == "_assert_tensor_metadata":
            return None
        if name == "full_like":
            return torch.full(args[0].index.shape, args[1], dtype=torch.float64)
        value = node.meta["val"]
        if name in MOVES and not _values((args[1:], kwargs)):
            moved = target(args[0].index, *args[1:], **kwargs)
            if isinstance(moved, Tensor):
                return _Value(args[0].var, moved, _axis(value))
            return [_Value(args[0].var, part, _axis(each)) for part, each in zip(moved, value, strict=True)]
        if not isinstance(value, Tensor):
            raise _Refusal(_unknown(name))
        return self._calculated(name, args, kwargs, value)

    def _calculated(self, name: str, args: Any, kwargs: Any, result: Tensor) -> _Value:
        for group in (self._elementwise, self._matrix, self._along_an_axis):
            if (value := group(name, args, kwargs, result)) is not None:
                return value
        raise _Refusal(_unknown(name))

    def _elementwise(self, name: str, args: Any, kwargs: Any, result: Tensor) -> _Value | None:
        axis = _axis(result)
        match name, args:
            case "_to_copy", (_Value() as x,):
                if result.dtype != torch.float64:
                    raise _Refusal(f"it casts to {result.dtype}: an export chooses the precision, so remove the cast")
                return x
            case "reciprocal", (_Value() as x,):
                return self._reciprocal(x)
            case name, (_Value() as x,) if name in ATEN:
                return self._by_entry(self.builder.map, x, ATEN[name])
            case "neg", (_Value() as x,):
                return self._scaled(x, -1.0, 0.0, axis)
            case "add" | "sub", (a, b):
                factor = kwargs.get("alpha", 1) * (1 if name == "add" else -1)
                return self._sum(a, self._multiple(b, factor, axis), axis)
            case "mul", (a, b):
                return self._product(a, b, axis)
            case "div", (a, _Value() as b) if not kwargs:
                return self._product(a, self._reciprocal(b), axis)
            case "div", (_Value() as a, b) if not kwargs:
                return self._product(a, 1 / torch.as_tensor(b, dtype=torch.float64), axis)
            case "pow", (_Value() as x, (1 | 2 | 3 | 4) as exponent):
                return self._power(x, int(exponent), axis)
        return None

    def _matrix(self, name: str, args: Any, kwargs: Any, result: Tensor) -> _Value | None:
        axis = _axis(result)
        match name, args:
            case "linear", (_Value() as x, Tensor() as weight, *bias) if not _values(bias):
                y = self._affine(x, weight)
                return self._sum(y, bias[0], axis) if bias and bias[0] is not None else y
            case "mm" | "bmm", (a, b):
                return self._matrix_product(a, b)
            case "mv", (_Value() as a, Tensor() as b):
                y = self._affine(a, b[None])
                return _Value(y.var, y.index.squeeze(-1), axis)
            case "addmm", (bias, a, b):
                y = self._multiple(self._matrix_product(a, b), kwargs.get("alpha", 1), axis)
                return self._sum(y, self._multiple(bias, kwargs.get("beta", 1), axis), axis)
        return None

    def _along_an_axis(self, name: str, args: Any, kwargs: Any, result: Tensor) -> _Value | None:
        axis = _axis(result)
        match name, args:
            case "cat", (parts, *dim):
                return self._cat(parts, dim[0] if dim else 0, axis)
            case "sum" | "mean", (_Value() as x, over, *_):
                shape = [POINTS if i == axis else size for i, size in enumerate(result.shape)]
                return self._total(x, over, shape, axis, mean=name == "mean")
        return None

    def _by_entry(self, apply: Callable[..., Var], x: _Value, *operands: Any) -> _Value:
        """`apply` of the builder, on the entries of x; the result has the shape of x."""
        return _Value.of(apply(self._vector(x), *operands), x.index.shape, x.axis)

    def _vector(self, x: _Value) -> Var:
        """A Var with just the entries of x, in their order."""
        parts = []
        for start, size, repeats in _runs(x.entries.flatten().tolist()):
            part = self.builder.slice(x.var, start, size)
            if repeats > 1:
                part = self.builder.affine(part, np.ones((repeats, 1)), np.zeros(repeats))
            parts.append(part)
        return self.builder.concat(parts)

    def _constant(self, c: Tensor | float, shape: Sequence[int], axis: int) -> Array:
        """The entries of a constant, broadcast to `shape`, for one point: the same for all points, and finite."""
        rows = torch.as_tensor(c, dtype=torch.float64).expand(shape).movedim(axis, 0).reshape(POINTS, -1)
        if not torch.equal(rows, rows[:1].expand_as(rows)):
            raise _Refusal("a constant differs from point to point: use constants of shape (k,) or (1, k)")
        if not torch.isfinite(rows).all():
            raise _Refusal("a constant is a NaN or an infinity; expected: finite numbers")
        row: Array = rows[0].numpy()
        return row

    def _scaled(self, x: _Value, weight: Tensor | float, bias: Tensor | float, axis: int) -> _Value:
        shape = np.broadcast_shapes(x.index.shape, np.shape(weight), np.shape(bias))
        x = x.expanded(shape, axis)
        constants = self._constant(weight, shape, axis), self._constant(bias, shape, axis)
        return self._by_entry(self.builder.scale, x, *constants)

    def _both(self, apply: Callable[[Var, Var], Var], a: _Value, b: _Value, axis: int) -> _Value:
        shape = np.broadcast_shapes(a.index.shape, b.index.shape)
        return self._by_entry(apply, a.expanded(shape, axis), self._vector(b.expanded(shape, axis)))

    def _sum(self, a: Any, b: Any, axis: int) -> _Value:
        match a, b:
            case _Value(), _Value():
                return self._both(self.builder.add, a, b, axis)
            case _Value(), _:
                return self._scaled(a, 1.0, b, axis)
            case _:
                return self._scaled(b, 1.0, a, axis)

    def _product(self, a: Any, b: Any, axis: int) -> _Value:
        match a, b:
            case _Value(), _Value():
                return self._both(self.builder.mul, a, b, axis)
            case _Value(), _:
                return self._scaled(a, b, 0.0, axis)
            case _:
                return self._scaled(b, a, 0.0, axis)

    def _multiple(self, x: Any, factor: float, axis: int) -> Any:
        """factor * x, where x may depend on the point or not."""
        if factor == 1:
            return x
        return self._scaled(x, factor, 0.0, axis) if isinstance(x, _Value) else factor * x

    def _power(self, x: _Value, exponent: int, axis: int) -> _Value:
        if exponent == 1:
            return x
        square = self._both(self.builder.mul, x, x, axis)
        if exponent == 2:
            return square
        return self._both(self.builder.mul, square, x if exponent == 3 else square, axis)

    def _reciprocal(self, y: _Value) -> _Value:
        """1 / y; for y = a + b x², a and b positive constants, that is lorentzian(√(b / a) x) / a."""
        weight, bias = np.ones(y.var.size), np.zeros(y.var.size)
        made_by = self.builder.made_by(y.var)
        while isinstance(made_by, Scale):
            weight, bias = weight * made_by.weight, weight * made_by.bias + bias
            made_by = self.builder.made_by(made_by.x)
        match made_by:
            case Mul(a=x, b=other) if x == other and (weight > 0).all() and (bias > 0).all():
                scaled = self.builder.scale(x, np.sqrt(weight / bias), np.zeros(x.size))
                bell = self.builder.map(scaled, "lorentzian")
                return replace(y, var=self.builder.scale(bell, 1 / bias, np.zeros(x.size)))
        return self._by_entry(self.builder.map, y, "reciprocal")

    def _affine(self, x: _Value, weight: Tensor) -> _Value:
        """weight @ x over the last axis of x, which must be the only one besides the points."""
        if x.axis == x.index.ndim - 1 or x.index.numel() != POINTS * x.index.shape[-1]:
            raise _Refusal("it works on several vectors per point: use one vector (n, k), or one layer per vector")
        weights = self._constant(weight, (POINTS, *weight.shape), 0).reshape(weight.shape)
        out = self.builder.affine(self._vector(x), weights, np.zeros(len(weights)))
        return _Value.of(out, (*x.index.shape[:-1], out.size), x.axis)

    def _matrix_product(self, a: Any, b: Any) -> _Value:
        """a @ b over the last two axes, where one of the two is a constant, the same matrix for all points."""
        match a, b:
            case _Value(), Tensor():
                return self._affine(a, _one_matrix(b).mT)
            case Tensor(), _Value():
                return self._affine(b.transposed(), _one_matrix(a)).transposed()
        raise _Refusal("both matrices depend on the point: write (a * b).sum(-1, keepdim=True)")

    def _cat(self, parts: Sequence[_Value | Tensor], dim: int, axis: int) -> _Value:
        """A constant part is written as 0 times a neighbour plus the constant: a Program has no other constants."""
        entry = self.builder.slice(self._vector(_values(parts)[0]), 0, 1)
        variables = []
        for part in parts:
            if isinstance(part, _Value):
                variables.append(self._vector(part))
            else:
                bias = self._constant(part, part.shape, axis)
                variables.append(self.builder.affine(entry, np.zeros((len(bias), 1)), bias))
        shapes = [part.index.shape if isinstance(part, _Value) else part.shape for part in parts]
        whole = self.builder.concat(variables)
        starts = accumulate((var.size for var in variables), initial=0)
        indices = [
            _Value.of(var, shape, axis).index + start
            for var, shape, start in zip(variables, shapes, starts, strict=False)
        ]
        return _Value(whole, torch.cat(indices, dim), axis)

    def _total(self, x: _Value, over: Sequence[int], shape: Sequence[int], axis: int, *, mean: bool) -> _Value:
        """The sum, or the mean, over some axes of columns; the result has the given shape."""
        over = [i % x.index.ndim for i in over]
        kept = [i for i in range(x.index.ndim) if i not in (x.axis, *over)]
        terms = x.index.permute(x.axis, *kept, *over).reshape(POINTS, -1, math.prod(x.index.shape[i] for i in over))
        weight = np.full((1, terms.shape[2]), 1 / terms.shape[2] if mean else 1.0)
        totals = tuple(
            self.builder.affine(self._vector(_Value(x.var, each, 0)), weight, [0.0]) for each in terms.unbind(1)
        )
        return _Value.of(self.builder.concat(totals), shape, axis)


def _runs(entries: list[int]) -> Iterator[tuple[int, int, int]]:
    """Split entries into stretches (start, size, repeats) that count up from `start`, or repeat it."""
    at = 0
    while at < len(entries):
        step = entries[at + 1] - entries[at] if at + 1 < len(entries) else 1
        step = step if step in (0, 1) else 1
        end = at + 1
        while end < len(entries) and entries[end] - entries[end - 1] == step:
            end += 1
        yield (entries[at], end - at, 1) if step else (entries[at], 1, end - at)
        at = end


def _one_matrix(c: Tensor) -> Tensor:
    """The matrix of a constant of two axes, or of three where it is the same along the first."""
    if c.ndim == 3 and not torch.equal(c, c[:1].expand_as(c)):
        raise _Refusal("a constant matrix differs from point to point: use one matrix for all points")
    return c[0] if c.ndim == 3 else c


def _values(args: Any) -> list[_Value]:
    """Every _Value in nested arguments."""
    match args:
        case _Value():
            return [args]
        case dict():
            return _values(tuple(args.values()))
        case list() | tuple():
            return [value for each in args for value in _values(each)]
    return []


def _operator(target: Any) -> str:
    """aten.add.Tensor -> add."""
    schema = getattr(target, "_schema", None)
    return schema.name.rpartition("::")[2] if schema else getattr(target, "__name__", str(target))


def _unknown(name: str) -> str:
    return REWRITES.get(name, f"it is unknown: write it with sums, products and {', '.join(FUNCTIONS)}")


FRAME = re.compile(r'File "([^"]+)", line (\d+), in .*(?:\n\s+(.*))?')
TORCH = str(Path(torch.__file__).parent) + os.sep


def _user_line(frames: list[str]) -> str:
    """The innermost line of these traceback entries that is not in torch, if any."""
    found = FRAME.findall("\n".join(frames))
    own = [frame for frame in found if not frame[0].startswith(TORCH)]
    return "{}:{}: {}".format(*own[-1]).removesuffix(": ") if own else ""


def _where(node: Node) -> str:
    """The user's line that a node comes from, and the layer of torch that it calls, as far as known."""
    layers = list((node.meta.get("nn_module_stack") or {}).values())
    path, kind = layers[-1] if layers else ("", "")
    layer = f"layer {path} ({kind.rpartition('.')[2]})" if path and kind.startswith("torch.nn.") else ""
    return ", ".join(filter(None, (_user_line([node.meta.get("stack_trace") or ""]), layer))) or "forward"
