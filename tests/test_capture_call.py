"""Capture of whatever people have in hand: how it is called, what it returns, what it is wrapped in."""

from __future__ import annotations

import functools
import sys
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import kdpinn_edge
from kdpinn_edge.errors import CaptureError
from kdpinn_edge.importers.pytorch.module import capture
from kdpinn_edge.program.interp import interpret

torch.set_num_threads(1)
torch.manual_seed(0)
NET = nn.Sequential(nn.Linear(2, 6), nn.Tanh(), nn.Linear(6, 3))
XT = ("x", "t")
POINTS = np.random.default_rng(0).uniform(-1, 1, (7, 2))


def reference(x: np.ndarray) -> np.ndarray:
    """NET in float64, by NumPy."""
    first, last = NET[0], NET[2]
    w0, b0, w1, b1 = (each.detach().double().numpy() for each in (first.weight, first.bias, last.weight, last.bias))
    result: np.ndarray = np.tanh(x @ w0.T + b0) @ w1.T + b1
    return result


def is_net(given: Any, **changes: Any) -> None:
    """Assert that what is given is captured as NET."""
    program = capture(given, **{"name": "p", "inputs": XT, "outputs": ("u", "v", "p"), **changes})
    np.testing.assert_allclose(interpret(program, POINTS), reference(POINTS), rtol=1e-13, atol=1e-13)


class UVP(NamedTuple):
    u: Tensor
    v: Tensor
    p: Tensor


@dataclass
class Fields:
    v: Tensor
    u: Tensor
    p: Tensor


def parts(x: Tensor) -> tuple[Tensor, ...]:
    return NET(x).split(1, 1)


def swapped(x: Tensor) -> dict[str, Tensor]:
    u, v, p = parts(x)
    return {"p": p, "u": u, "v": v}


RETURNED: dict[str, Callable[[Tensor], Any]] = {
    "a tuple": parts,
    "a list": lambda x: list(parts(x)),
    "nested": lambda x: (parts(x)[0], [parts(x)[1], parts(x)[2]]),
    "columns of (n,)": lambda x: NET(x).unbind(1),
    "of several columns": lambda x: (NET(x)[:, 0], NET(x)[:, 1:]),
    "a dict": swapped,
    "a dict with more in it": lambda x: {**swapped(x), "hidden": NET[0](x), "n": 3},
    "an ordered dict": lambda x: OrderedDict(swapped(x)),
    "a named tuple": lambda x: UVP(*parts(x)),
    "a dataclass": lambda x: Fields(**swapped(x)),
    "an object": lambda x: SimpleNamespace(**swapped(x)),
    "an axis of size 1 first": lambda x: NET(x)[None],
    "three axes": lambda x: NET(x).reshape(-1, 3, 1),
    "float32": lambda x: NET(x).float(),
}


@pytest.mark.parametrize("function", RETURNED.values(), ids=RETURNED)
def test_outputs(function: Callable[[Tensor], Any]) -> None:
    is_net(function)


def test_outputs_of_several_columns_by_their_keys() -> None:
    is_net(lambda x: {"v": NET(x)[:, 1:], "u": NET(x)[:, 0]}, outputs=("u", ("v", 2)))


def test_one_value_of_a_dict_needs_no_name() -> None:
    is_net(lambda x: {"y_hat": NET(x)}, outputs=(("u", 3),))


def test_a_constant_part() -> None:
    program = capture(lambda x: (x, torch.tensor([0.5])), name="p", inputs=XT, outputs=(("u", 2), "nu"))
    np.testing.assert_array_equal(interpret(program, POINTS), np.column_stack([POINTS, np.full(7, 0.5)]))


def keywords(**kwargs: Tensor) -> Tensor:
    return NET(torch.cat([kwargs["x"], kwargs["t"]], 1))


def keyword_only(*, t: Tensor, x: Tensor) -> Tensor:
    return NET(torch.cat([x, t], 1))


def optional(x: Tensor, t: Tensor | None = None) -> Tensor:
    return NET(x if t is None else torch.cat([x, t], 1))


def flagged(x: Tensor, t: Tensor, training: bool = False) -> Tensor:
    return NET(torch.cat([x, t], 1)) * (2 if training else 1)


def other_order(t: Tensor, x: Tensor) -> Tensor:
    return NET(torch.cat([x, t], 1))


def checked_pair(pair: Any) -> Tensor:
    if not isinstance(pair, list | tuple):
        raise TypeError("expected a pair")
    return NET(torch.cat(list(pair), 1))


def one_axis(x: Tensor, t: Tensor) -> Tensor:
    return NET(torch.stack([x, t], -1))


def lifts(x: Tensor) -> Tensor:
    """One point (2,), as torch.func has it."""
    return NET(x) if x.ndim == 1 else NET(x)[0]


def cartesian(pair: tuple[Tensor, Tensor]) -> Tensor:
    """Every x with every t."""
    x, t = pair
    every = torch.stack(torch.broadcast_tensors(x, t.T), -1)
    return NET(every.reshape(-1, 2)).reshape(len(x), len(t), 3)


class Positions(dict[str, int]):
    """The space of a library: names and sizes."""

    def __hash__(self) -> int:
        raise TypeError("unhashable")


class Points:
    """What a library has instead of a tensor."""

    def __init__(self, x: Tensor, space: Positions | None = None) -> None:
        self.as_tensor, self.space = x, space


class LabelTensor(Tensor):
    """A tensor of a library, with a name for each column."""

    labels: list[str]


def appended(x: Any) -> Tensor:
    """A feature as a column more, under its name."""
    feature = torch.sin(x.extract(["x"]).as_subclass(Tensor)).as_subclass(LabelTensor)
    feature.labels = ["wave"]
    more = x.append(feature).to(torch.float32)
    assert more.labels == [*more.stored_labels[1]["dof"]] == ["x", "t", "wave"]
    return NET(more.extract(["x", "t"])) + more.extract("wave") - torch.sin(more["x"])


def joined(points: Any) -> Tensor:
    """Coordinates of the inputs and of the outputs of a network in one, as a constraint takes them."""
    net = Points(NET(points.as_tensor), Positions(u=1, vp=2))
    both = points.join(net).coordinates
    assert set(points.variables) == {"x", "t"}
    assert list(both) == ["x", "t", "u", "vp"]
    return torch.cat([both["u"], both["vp"]], 1)


TAKEN: dict[str, Callable[..., Any]] = {
    "one matrix": NET,
    "a tensor for each": lambda a, b: NET(torch.cat([a, b], 1)),
    "any number": lambda *columns: NET(torch.cat(columns, 1)),
    "keywords": keywords,
    "keyword only": keyword_only,
    "a default": optional,
    "a flag": flagged,
    "names in another order": other_order,
    "a pair": lambda pair: NET(torch.cat(pair, 1)),
    "a pair that is checked": checked_pair,
    "a dict": lambda columns: NET(torch.cat([columns["x"], columns["t"]], 1)),
    "labels": lambda x: NET(torch.cat([x.extract(["x"]), x.extract("t")], 1)),
    "labels in another order": lambda x: NET(x.extract(["t", "x"]).flip(1)),
    "labels by index": lambda x: NET(torch.cat([x["x"], x[:, ["t"]]], 1)),
    "labels of a clone": lambda x: NET(x.requires_grad_().clone().detach().extract(x.labels)),
    "labels that are appended": appended,
    "points that are joined": joined,
    "points, if there are any": lambda points: NET(points.as_tensor if points else torch.zeros(1, 2)),
    "one axis each": one_axis,
    "a pair of one axis each": lambda pair: one_axis(*pair),
    "one point": lifts,
    "numbers of one point": lambda x, t: NET(torch.hstack([x, t])),
    "every one with every other": cartesian,
}


@pytest.mark.parametrize("function", TAKEN.values(), ids=TAKEN)
def test_inputs(function: Callable[..., Any]) -> None:
    is_net(function)


class Spaced(nn.Module):
    """A network that knows the names of its inputs, and wants points of just this space."""

    def __init__(self) -> None:
        super().__init__()
        self.net = NET
        self.input_space = Positions(t=1, x=1)

    def forward(self, points: Any) -> Points:
        if points.space != self.input_space:
            points = points[..., list(self.input_space)]
        return Points(self.net(points.coordinates["x"] * torch.tensor([1.0, 0]) + points["t"] * torch.tensor([0.0, 1])))


class Constrained(Spaced):
    """A network whose constraint reads the space of inputs and outputs together."""

    def forward(self, points: Any) -> Points:
        both = points.join(Points(super().forward(points).as_tensor, Positions(y=3)))
        assert both.space == {"t": 1, "x": 1, "y": 3}
        return Points(both[..., ["y"]].as_tensor)


class Keyed(nn.Module):
    """A node of a graph, which takes a dict and returns one, by keys of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.callable, self.input_keys, self.output_keys = NET, ["a", "b"], ["c"]

    def forward(self, data: Mapping[str, Tensor]) -> dict[str, Tensor]:
        return {"c": self.callable(torch.cat([data[key] for key in self.input_keys], 1))}


class OneKey(nn.Module):
    """A node whose one key stands for all columns, and is the name of the first."""

    def __init__(self) -> None:
        super().__init__()
        self.callable, self.input_keys = NET, ["x"]

    def forward(self, data: Mapping[str, Tensor]) -> dict[str, Tensor]:
        return swapped(data["x"])


def operator_net(pair: tuple[Tensor, Tensor]) -> Tensor:
    """A function at sensors, and where it is evaluated."""
    sensors, points = pair
    return NET(points) * sensors[:, :3]


@pytest.mark.parametrize("function", [operator_net, lambda f, at: operator_net((f, at))])
@pytest.mark.parametrize("inputs", [(("f", 4), ("xt", 2)), (("f", 4), "x", "t")])
def test_columns_after_a_vector_belong_together(function: Callable[..., Any], inputs: Any) -> None:
    points = np.column_stack([POINTS, POINTS, POINTS])
    program = capture(function, name="p", inputs=inputs, outputs=("u", "v", "p"))
    np.testing.assert_allclose(interpret(program, points), reference(points[:, 4:]) * points[:, :3], rtol=1e-13)


def further(state: Tensor, *args: Tensor) -> Tensor:
    """A step of Euler's method; one column broadcasts against all of them."""
    return state + 0.1 * torch.tanh(torch.cat([state, *args], -1))


def test_readings_that_agree() -> None:
    is_net(lambda x, *others: NET(torch.cat([x, *others], 1)))
    program = capture(further, name="p", inputs=(("x", 2),), outputs=("u", "v"))
    np.testing.assert_allclose(interpret(program, POINTS), POINTS + 0.1 * np.tanh(POINTS), rtol=1e-14)


class Solver:
    """An object that cannot be called and keeps its network in an attribute."""

    def __init__(self) -> None:
        self.net = NET
        self.history: list[float] = []

    def solve(self, x: Tensor) -> Tensor:
        self.history.append(0.0)
        return self.net(x)


class Solution:
    """A function of its coordinates, which it makes of networks in a list."""

    def __init__(self) -> None:
        self.nets = [NET]

    def __call__(self, *coordinates: Tensor, to_numpy: bool = False) -> Any:
        shape = coordinates[0].shape
        u = self.nets[0](torch.cat([each.reshape(-1, 1) for each in coordinates], 1))
        columns = [each.reshape(shape) for each in u.unbind(1)]
        return [each.detach().numpy() for each in columns] if to_numpy else columns


class Solves:
    def get_solution(self) -> Solution:
        return Solution()


@functools.cache
def exported(n: int | None) -> torch.export.ExportedProgram:
    shapes = None if n else ({0: torch.export.Dim("n")},)
    return torch.export.export(NET, (torch.zeros(n or 3, 2),), dynamic_shapes=shapes)


WRAPPED: dict[str, Callable[[], Any]] = {
    "DataParallel": lambda: nn.DataParallel(NET),
    "compiled": lambda: torch.compile(NET),
    "compiled within": lambda: nn.Sequential(torch.compile(NET)),
    "compiled function": lambda: torch.compile(lambda x: NET(x)),
    "compiled when it is called": lambda: lambda x: torch.compile(NET)(x),
    "average": lambda: torch.optim.swa_utils.AveragedModel(NET),
    "exported": lambda: exported(None),
    "exported, its module": lambda: exported(None).module(),
    "exported for 8 points": lambda: exported(8),
    "exported for 1 point": lambda: exported(1),
    "exported for 1025 points": lambda: exported(1025),
    "function": lambda: lambda z: NET(z),
    "partial": lambda: functools.partial(torch.nn.Module.__call__, NET),
    "bound method": lambda: NET.forward,
    "method of an object": lambda: Solver().solve,
    "solver": Solver,
    "solution": Solution,
    "what solves": Solves,
    "points": Spaced,
    "points and outputs": Constrained,
    "keys": Keyed,
    "one key": OneKey,
}


def test_a_capture_does_not_load_the_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    """Which takes seconds; what the model compiles meanwhile is called as it is."""
    monkeypatch.delitem(sys.modules, "torch._dynamo", raising=False)
    is_net(lambda x: torch.compile(NET)(x))
    is_net(lambda x: torch.compile(mode="reduce-overhead")(lambda z: NET(z))(x))
    assert "torch._dynamo" not in sys.modules
    assert torch.compile.__module__ == "torch"


@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")
@pytest.mark.parametrize("build", WRAPPED.values(), ids=WRAPPED)
def test_wrappers(build: Callable[[], Any]) -> None:
    outputs = (("y", 3),) if build is Keyed else ("u", "v", "p")
    is_net(build(), outputs=outputs)


@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")
def test_torchscript() -> None:
    scripted = torch.jit.script(nn.Sequential(nn.Dropout(0.5), NET))
    is_net(scripted)
    assert scripted.training
    assert next(scripted.parameters()).dtype == torch.float32
    is_net(torch.jit.trace(NET, torch.zeros(4, 2)))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_low_precision(dtype: torch.dtype) -> None:
    layer = nn.Linear(2, 3).to(dtype)
    program = capture(layer, name="p", inputs=XT, outputs=(("u", 3),))
    y = POINTS @ layer.weight.detach().double().numpy().T + layer.bias.detach().double().numpy()
    np.testing.assert_allclose(interpret(program, POINTS), y, rtol=1e-14, atol=1e-14)
    assert layer.weight.dtype == dtype


class Pinn(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.net = NET

    def forward(self, x: Tensor) -> Tensor:
        raise NotImplementedError

    def net_u(self, x: Tensor, t: Tensor) -> Tensor:
        return self.net(torch.cat([x, t], 1))


def test_another_method() -> None:
    is_net(Pinn(), method="net_u")
    with pytest.raises(CaptureError, match="Pinn has no method 'net_v'"):
        capture(Pinn(), name="p", inputs=XT, outputs=("u",), method="net_v")


def loss(x: Tensor) -> Tensor:
    return NET(x).square().mean()


def traced(x: Tensor) -> Tensor:
    result: Tensor = torch.jit.trace(lambda x: x.view(5, 2)[:, [0, 0, 1]], torch.zeros(5, 2, dtype=x.dtype))(x)
    return result


MISFITS: dict[str, tuple[Any, dict[str, Any], str]] = {
    "no network": ("net.pt", {}, "a str was given; expected: a torch.nn.Module, a function of tensors"),
    "a loss": (loss, {}, r"loss, called in float64 with \(n, 2\), returns one number for all points; expected: one"),
    "keys that are not there": (lambda x: {"a": x, "b": x}, {}, "returns a dict with the keys a, b; expected: u, v, p"),
    "too few parts": (lambda x: (x[:, 0], x[:, 1]), {}, "returns 2 parts with 2 columns; expected: 3"),
    "parts of other sizes": (lambda x: (x, x, x), {}, r"returns shape \(1024, 2\) for n = 1024; expected: \(n, 1\) as"),
    "arrays": (lambda x: x.detach().numpy(), {}, "returns a ndarray; expected: tensors with the columns of u"),
    "nothing": (lambda x: None, {}, "returns a NoneType; expected: tensors"),
    "complex": (lambda x: torch.complex(x, x)[:, [0, 0, 0]], {}, "returns complex numbers; expected: real and imag"),
    "more arguments": (lambda a, b: a, {"inputs": ("x", "y", "t")}, r"takes 2 arguments \(a, b\), but 3 inputs are n"),
    "no attribute": (
        lambda x: x.extracted(),
        {},
        r"with \(n, 2\), fails: .*'Tensor' object has no attribute 'extracted",
    ),
    "names that are unknown": (
        lambda x: x.extract(["y"]),
        {},
        r"<lambda>, called in float64 with columns by their names, fails: .*no column is called 'y': they are x, t",
    ),
    "an open signature": (
        further,
        {"inputs": ("x", "y", "t")},
        r"two ways, .*: with \(n, 3\), and with \(n, 1\), \(n, 1\), \(n, 1\); .*"
        r"\(\"x\", 3\), or .*lambda x, y, t: model\(x, y, t\)",
    ),
    "an open signature behind another": (
        lambda *args, **kwargs: further(*args, **kwargs),
        {"inputs": ("x", "y", "t")},
        r"two ways, .*: with \(n, 1\), \(n, 1\), \(n, 1\), and with \(n, 3\)",
    ),
    "random numbers behind an open signature": (
        lambda *args: nn.functional.dropout(torch.cat(args, -1), 0.5, training=True),
        {"inputs": ("x", "y", "t")},
        r"is random: use nn\.Dropout, which is off in eval mode",
    ),
    "columns of one tensor of a tuple": (
        lambda pair: NET(pair[1]) * pair[0],
        {"inputs": ("q", "x", "t")},
        r'columns that belong to one tensor of a tuple are one input, as \("x", 2\)',
    ),
    "traced with 5 points": (traced, {}, "TorchScript|fails: .*test_capture_call"),
    "another size": (nn.Linear(3, 3), {}, r"Linear.forward, called in float64 with \(n, 2\), fails: .*mat1 and mat2"),
}


@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")
@pytest.mark.parametrize(("given", "changes", "message"), MISFITS.values(), ids=MISFITS)
def test_misfits(given: Any, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(CaptureError, match=message):
        capture(given, **{"name": "p", "inputs": XT, "outputs": ("u", "v", "p"), **changes})


def test_the_module_of_the_name_is_the_function() -> None:
    import kdpinn_edge.capture as module
    from kdpinn_edge.capture import capture as function

    assert function is capture
    assert kdpinn_edge.capture is module is sys.modules["kdpinn_edge.capture"]
    program = kdpinn_edge.capture(NET, name="p", inputs=XT, outputs=(("u", 3),))
    assert program == capture(NET, name="p", inputs=XT, outputs=(("u", 3),))
    with pytest.raises(AttributeError, match="has no attribute 'captured'; it has: capture"):
        _ = module.captured
