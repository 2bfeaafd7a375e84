"""`recorded(function, x)`: what a function of torch does with the points x, as a graph of ATen operators.

The function is called once, and every operator whose arguments depend on x is written down where torch dispatches it:
below automatic differentiation and below `torch.func`, so that a forward that differentiates is recorded together with
its backward pass. What does not depend on x is calculated at once and becomes a constant.

What depends on x is calculated in float64 on the CPU (`in_float64`): a cast of it to float32 is none, and constants of
float32 mean their float64 value. Constants are calculated as torch does, but never in half precision.
"""

from __future__ import annotations

import linecache
import operator
import os
import sys
import traceback
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np
import torch
from torch import Tensor, fx, nn
from torch.jit._fuser import optimized_execution
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map

from kdpinn_edge.importers.pytorch.aten import RANDOM, REFUSED
from kdpinn_edge.importers.pytorch.reader import decompositions

HALF = frozenset({torch.float16, torch.bfloat16})
LOW = HALF | {torch.float32}
"""What is calculated in float64 instead."""

TORCH = str(Path(torch.__file__).parent) + os.sep
NOT_USER = (TORCH, str(Path(__file__).parent) + os.sep, "<")
"""How the names of files begin whose lines are not the user's."""

LEAVES = frozenset({"__array__", "__dlpack__", "numpy", "tolist"})
"""Methods of a tensor that hand its numbers to others than torch."""

FINITE = frozenset({torch.isfinite, torch.isinf, torch.isnan, Tensor.isfinite, Tensor.isinf, Tensor.isnan})
"""Questions whose answer is known: numbers are finite."""

SHAPES = frozenset({
    "empty_like", "full_like", "new_empty", "new_empty_strided", "new_full", "new_ones", "new_zeros", "ones_like",
    "zeros_like",
})  # fmt: skip
"""Operators that want to know the shape of a tensor, and not its numbers."""

BLANKS = frozenset({
    "empty", "empty_like", "empty_strided", "new_empty", "new_empty_strided", "new_zeros", "zeros", "zeros_like",
})  # fmt: skip
"""Operators that make room for numbers."""

ANSWERS = frozenset(
    {"all", "any", "bitwise_and", "bitwise_not", "bitwise_or", "logical_and", "logical_not", "logical_or"}
)
"""Operators that make one answer of several."""

BRANCHES = (
    "control flow depends on the data: use torch.where(condition, a, b), which calculates both, or distill into a "
    "student"
)
PICKS = "how many numbers it picks depends on the data: use torch.where(condition, a, b)"


class Untraceable(Exception):  # noqa: N818
    """Why a call cannot be recorded, beginning with the line of the user."""


@contextmanager
def in_float64(x: Tensor) -> Iterator[None]:
    """Calculate whatever depends on x in float64 on the CPU meanwhile, and compile nothing."""
    mode = _Float64()
    mode.follow(x)
    with _surroundings(), mode, _Calls(mode):
        yield


@contextmanager
def _surroundings() -> Iterator[None]:
    setattr(Tensor, "__array_ufunc__", _by_torch)  # noqa: B010
    try:
        with _nothing_compiled(), optimized_execution(False), torch.enable_grad():
            yield
    finally:
        delattr(Tensor, "__array_ufunc__")


@contextmanager
def _nothing_compiled() -> Iterator[None]:
    """Meanwhile call what torch.compile made, or makes, as it was before.

    Where torch's compiler is not loaded, which takes seconds of CPU time, it has made nothing yet.
    """
    if "torch._dynamo" in sys.modules:
        with torch.compiler.set_stance("force_eager"):
            yield
        return
    compiling = torch.compile
    setattr(torch, "compile", _as_it_is)  # noqa: B010
    try:
        yield
    finally:
        setattr(torch, "compile", compiling)  # noqa: B010


def _as_it_is(model: Any = None, **options: Any) -> Any:
    """What torch.compile returns where nothing is compiled; without a model it is a decorator."""
    return (lambda function: function) if model is None else model


def _by_torch(_: Tensor, ufunc: np.ufunc, method: str, *inputs: Any, **kwargs: Any) -> Any:
    """What NumPy would calculate for `tensor - array`, or np.sin(tensor), calculated by torch."""
    function = getattr(torch, "pow" if ufunc.__name__ == "power" else ufunc.__name__, None)
    if method != "__call__" or function is None or kwargs:
        return NotImplemented
    return function(*map(torch.as_tensor, inputs))


def recorded(function: Callable[[Tensor], Tensor], x: Tensor, layers: Mapping[int, str]) -> fx.GraphModule:
    """The graph of function(x): one placeholder, operators of ATen that change nothing in place, one output.

    Each node's `meta` has "where", the user's line and the layer of torch that it comes from; `layers` has the names
    of layers by the `id` of the module. Raises Untraceable.
    """
    recorder = _Recorder(x, layers)
    with _surroundings(), recorder, _Calls(recorder):
        result = function(x)
    graph = recorder.finished(result, changes=True)
    if not any(_mutates(node.target) for node in graph.graph.nodes):
        return graph
    return _without_mutations(graph, x, layers)


def _without_mutations(graph: fx.GraphModule, x: Tensor, layers: Mapping[int, str]) -> fx.GraphModule:
    """The same graph, where what is changed in place is replaced by a changed copy."""
    recorder = _Recorder(x, layers)
    states = {node.target: getattr(graph, node.target) for node in graph.graph.nodes if "state" in node.meta}

    def replayed(x: Tensor, states: dict[str, Tensor]) -> Any:
        return _Replay(graph, recorder, states).run(x)

    with _surroundings(), recorder:
        result = torch.func.functionalize(replayed, remove="mutations")(x, states)
    return recorder.finished(result, changes=False)


class _Replay(fx.Interpreter):
    """Carries out a recorded graph once more."""

    def __init__(self, graph: fx.GraphModule, recorder: _Recorder, states: dict[str, Tensor]) -> None:
        super().__init__(graph)
        self.recorder = recorder
        self.states = states

    def run_node(self, n: fx.Node) -> Any:
        self.recorder.place = n.meta.get("where")
        return super().run_node(n)

    def get_attr(self, target: Any, args: Any, kwargs: Any) -> Any:
        return self.states[target] if target in self.states else super().get_attr(target, args, kwargs)


class _Float64(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Carries out every operator: on the CPU, and in float64 where an argument depends on the point."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._sharing: dict[int, list[Tensor]] = {}

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        """Whether torch's compiler, which is loaded for that, is told at each call to leave it alone."""
        return False

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        tensors = _tensors((args, kwargs))
        given = [] if _name(func) in SHAPES else [each for each in tensors if self.depends(each)]
        double = bool(given) or any(each.dtype == torch.float64 for each in tensors)
        args, kwargs = _converted(
            func, args, kwargs, tensors=double, low=LOW if given or _name(func) in BLANKS else HALF
        )
        return _as_wanted(
            func, self.followed(func, args, kwargs, given) if given else self.constant(func, args, kwargs)
        )

    def depends(self, tensor: Tensor) -> bool:
        """Whether a tensor depends on x."""
        return _storage(tensor) in self._sharing

    def follow(self, out: Any) -> None:
        """Note that what is returned depends on x."""
        for each in _tensors(out):
            self._sharing.setdefault(_storage(each), []).append(each)

    def constant(self, func: Any, args: Any, kwargs: Any) -> Any:
        """What an operator returns that does not depend on x."""
        out = func(*args, **kwargs)
        blank = _name(func) in BLANKS and isinstance(out, Tensor) and out.dtype in LOW
        return out.to(torch.float64) if blank else out

    def followed(self, func: Any, args: Any, kwargs: Any, given: list[Tensor]) -> Any:
        """What an operator returns some of whose arguments, `given`, depend on x."""
        out = func(*args, **kwargs)
        self.follow(out)
        return out


def _converted(func: Any, args: Any, kwargs: Any, *, tensors: bool, low: Collection[torch.dtype]) -> tuple[Any, Any]:
    """The arguments of an operator on the CPU, tensors and `low` types as float64; what it changes stays itself."""
    changed = {id(each) for each in _changed(func, args, kwargs)}

    def convert(value: Any) -> Any:
        match value:
            case Tensor():
                lift = tensors and value.dtype in LOW
                if id(value) in changed or not (lift or value.device.type != "cpu"):
                    return value
                return value.to("cpu", torch.float64 if lift else value.dtype)
            case torch.dtype():
                return torch.float64 if value in low else value
            case torch.device():
                return torch.device("cpu")
        return value

    return tree_map(convert, args), tree_map(convert, kwargs)


def _changed(func: Any, args: Any, kwargs: Any) -> list[Tensor]:
    """The arguments that an operator changes in place."""
    if not _mutates(func):
        return []
    schema = func._schema.arguments
    named = {**dict(zip((each.name for each in schema), args, strict=False)), **kwargs}
    written = (each.name for each in schema if each.alias_info and each.alias_info.is_write)
    return [each for name in written for each in _tensors(named.get(name))]


def _mutates(func: Any) -> bool:
    schema = getattr(func, "_schema", None)
    return bool(schema and schema.is_mutable)


def _as_wanted(func: Any, out: Any) -> Any:
    """The result as the subclass of Tensor that is being made: `Tensor.__new__(cls, x)` wants an alias of its class."""
    if func is not torch.ops.aten.alias.default:
        return out
    frame = next(_frames(lambda name: not name.startswith((TORCH, __file__))))
    cls = frame.f_locals.get(frame.f_code.co_varnames[0]) if frame.f_code.co_name == "__new__" else None
    if isinstance(cls, type) and issubclass(cls, Tensor) and cls is not Tensor:
        return out.as_subclass(cls)
    return out


class _Recorder(_Float64):  # type: ignore[no-untyped-call]
    """Writes down the operators that depend on x."""

    def __init__(self, x: Tensor, layers: Mapping[int, str]) -> None:
        super().__init__()
        self.graph = fx.Graph()
        self.constants = nn.Module()
        self.layers = layers
        self.place: str | None = None
        self._nodes: dict[int, fx.Node] = {}
        self._answers: set[int] = set()
        self._made(x, self.graph.placeholder("x"))

    def answers(self, tensor: Tensor) -> None:
        """Note that a tensor says whether numbers are finite."""
        self._answers.add(_storage(tensor))

    def constant(self, func: Any, args: Any, kwargs: Any) -> Any:
        """What an operator returns that does not depend on x. Raises Untraceable where it is random."""
        if torch.Tag.nondeterministic_seeded in func.tags:
            raise self.refusal(f"{_name(func)} is not captured: {RANDOM}")
        return super().constant(func, args, kwargs)

    def followed(self, func: Any, args: Any, kwargs: Any, given: list[Tensor]) -> Any:
        """What an operator returns, written down. Raises Untraceable where its numbers leave torch."""
        known = all(_storage(each) in self._answers for each in given)
        if REFUSED.get(_name(func)) == RANDOM:
            raise self.refusal(f"{_name(func)} is not captured: {RANDOM}")
        if torch.Tag.data_dependent_output in func.tags:
            if not known:
                raise self.refusal(BRANCHES)
            return func(*args, **kwargs)
        places = args[1:] if _name(func) == "index" else args
        if torch.Tag.dynamic_output_shape in func.tags and any(map(self.depends, _tensors(places))):
            raise self.refusal(f"{_name(func)} is not captured: {PICKS}")
        if (parts := self._decomposed(func, args, kwargs)) is not NotImplemented:
            return parts
        for each in _changed(func, args, kwargs):
            self._begin(each)
        arguments, keywords = (tree_map(self._node, each) for each in (args, kwargs))
        out = func(*args, **kwargs)
        if any(each.is_complex() for each in _tensors(out)):
            raise self.refusal(f"{_name(func)} is not captured: {REFUSED['complex']}")
        node = self.graph.call_function(func, arguments, keywords)
        node.meta["where"] = self._where()
        self._made(out, node)
        if known and _name(func) in ANSWERS:
            self.answers(out)
        return out

    def finished(self, result: object, *, changes: bool) -> fx.GraphModule:
        """The graph that returns `result`, without what it does not need, or with all that it changes in place."""
        self.graph.output(self._node(result))
        self.graph.eliminate_dead_code(
            lambda node: node.op in {"placeholder", "output"} or (changes and _mutates(node.target))
        )
        return fx.GraphModule(self.constants, self.graph)

    def _decomposed(self, func: Any, args: Any, kwargs: Any) -> Any:
        """What an operator returns that is carried out by others, or NotImplemented."""
        if func in (table := decompositions()):
            with self:
                return table[func](*args, **kwargs)
        if torch._C._dispatch_has_kernel_for_dispatch_key(func.name(), "CompositeImplicitAutograd"):
            with self:
                return func.decompose(*args, **kwargs)
        return NotImplemented

    def _made(self, out: Any, node: fx.Node) -> None:
        """Note that a node makes what is returned."""
        node.meta["val"] = out
        if isinstance(out, Tensor):
            self._nodes[id(out)] = node
            self.follow(out)
        elif isinstance(out, list | tuple):
            for i, each in enumerate(out):
                part = self.graph.call_function(operator.getitem, (node, i))
                part.meta["where"] = node.meta["where"]
                self._made(each, part)

    def _node(self, value: Any) -> Any:
        """The node that makes a tensor. What is no tensor stands for itself."""
        if not isinstance(value, Tensor):
            return value
        if (node := self._nodes.get(id(value))) is not None:
            return node
        if not (sharing := self._sharing.get(_storage(value))):
            return self._constant(value)
        same = next((each for each in reversed(sharing) if _layout(each) == _layout(value)), None)
        node = self._nodes[id(sharing[0] if same is None else same)]
        if same is None:
            node = self.graph.call_function(torch.ops.aten.as_strided.default, (node, *_layout(value)))
            node.meta["where"] = self._where()
        self._made(value, node)
        return node

    def _constant(self, value: Tensor) -> fx.Node:
        """The node of a constant, as it is now."""
        name = f"c{len(self.constants._buffers)}"
        self.constants.register_buffer(name, value.detach().clone())
        return self.graph.get_attr(name)

    def _begin(self, value: Tensor) -> None:
        """Let all numbers in the storage of a constant depend on x: it is about to be changed."""
        if not self.depends(value):
            size = value.untyped_storage().nbytes() // value.element_size()
            whole = value.detach().as_strided((size,), (1,), 0)
            node = self._constant(whole)
            node.meta["state"] = True
            self._made(whole, node)

    def refusal(self, reason: str) -> Untraceable:
        return Untraceable(f"{self._where()}: {reason}")

    def _where(self) -> str:
        """The user's line that is being carried out, and the layer of torch that it calls, as far as known."""
        if self.place is not None:
            return self.place
        layer = ""
        for frame in _frames(lambda name: name != __file__):
            if not frame.f_code.co_filename.startswith(NOT_USER):
                return ", ".join(filter(None, (line(frame.f_code.co_filename, frame.f_lineno), layer)))
            module = frame.f_locals.get("self")
            if not layer and frame.f_code.co_name == "forward" and type(module).__module__.startswith("torch.nn."):
                layer = f"layer {self.layers.get(id(module), '')} ({type(module).__name__})".replace("  ", " ")
        return layer or "forward"


class _Calls(TorchFunctionMode):
    """Watches over calls of torch above its operators."""

    def __init__(self, mode: _Float64) -> None:
        super().__init__()
        self.mode = mode

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = getattr(func, "__name__", "")
        if name in LEAVES and isinstance(self.mode, _Recorder) and self.mode.depends(args[0]):
            raise self.mode.refusal(f"{name}() leaves torch: write it with operators of torch")
        out = func(*args, **(kwargs or {}))
        if func in FINITE and isinstance(self.mode, _Recorder) and self.mode.depends(out):
            self.mode.answers(out)
        return out


def user_line(error: BaseException) -> str:
    """The innermost line of the user's that an error came from, if any."""
    places = [(frame.f_code.co_filename, number) for frame, number in traceback.walk_tb(error.__traceback__)]
    own = [place for place in places if not place[0].startswith(NOT_USER)]
    return line(*own[-1]) if own else ""


def line(file: str, number: int) -> str:
    """A line of source, as it is named in an error."""
    return f"{file}:{number}: {linecache.getline(file, number).strip()}".removesuffix(": ")


def _frames(wanted: Callable[[str], bool]) -> Iterator[FrameType]:
    """The frames that are being carried out, innermost first, whose file is wanted."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        if wanted(frame.f_code.co_filename):
            yield frame
        frame = frame.f_back


def _storage(tensor: Tensor) -> int:
    """The address of a tensor's storage, or of itself where it has none of its own (inside torch.func)."""
    try:
        return int(tensor.untyped_storage()._cdata)
    except (NotImplementedError, RuntimeError):
        return id(tensor)


def _tensors(values: Any) -> list[Tensor]:
    return [each for each in tree_leaves(values) if isinstance(each, Tensor)]


def _layout(tensor: Tensor) -> tuple[list[int], list[int], int]:
    """Where the numbers of a tensor lie in its storage: size, strides and offset, as as_strided takes them."""
    return list(tensor.shape), list(tensor.stride()), int(tensor.storage_offset())


def _name(func: Any) -> str:
    """aten.add.Tensor -> add."""
    return str(func._schema.name.rpartition("::")[2])
