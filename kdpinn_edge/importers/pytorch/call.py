"""`found_call(model, …)`: how a network is called with columns, and what it returns for them.

There is a list of readings of the arguments, from the plainest to the rarest, and the first one that works is taken:
the call returns what the named outputs can be found in. If none does, the error tells what was tried.

Names decide: arguments that are called as the inputs get them. Where a signature leaves open which argument gets which
columns, every reading is tried: (n, 1) broadcasts against (n, k), so the wrong one may work as well. They must agree.
"""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Callable, Iterator, Sequence
from itertools import takewhile
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from kdpinn_edge.errors import CaptureError, listing
from kdpinn_edge.importers.pytorch.labels import labelled
from kdpinn_edge.importers.pytorch.outputs import SCALAR, Misfit, outputs
from kdpinn_edge.importers.pytorch.trace import Untraceable, in_float64, user_line
from kdpinn_edge.program.ir import Array, Var

Arguments = tuple[tuple[Any, ...], dict[str, Any]]

DIFFERENCE = 1e-9
"""Two readings give different values, if they differ by more of the largest one than rounding makes."""
NAMED = "columns by their names"
UNNAMED = "'Tensor' object"
"""What Python calls columns without names that are asked for what only named ones have."""


@dataclasses.dataclass(frozen=True)
class Reading:
    """A way to call a model: in words, and its arguments from all columns (n, n_in) or from the parts (n, k)."""

    words: str
    arguments: Callable[[Tensor, list[Tensor]], Arguments]
    one_by_one: bool = False
    """Whether the model takes one point, without the axis of points."""
    container: bool = False
    """Whether it is one container of tensors."""
    open: bool = False
    """Whether the signature leaves open that another reading is meant, which gives arguments other columns."""


@dataclasses.dataclass(frozen=True)
class Call:
    """A function from columns (n, n_in) to columns (n, n_out), which calls a model by one reading of its arguments."""

    model: Callable[..., Any]
    ins: tuple[Var, ...]
    outs: tuple[Var, ...]
    reading: Reading
    points: int | None = None
    """The number of points that the model takes: None if any."""
    gradients: bool = False
    """Whether the model differentiates with respect to what it is given, without asking for it."""

    def __call__(self, x: Tensor) -> Tensor:
        """The outputs at the points x."""
        if self.gradients:
            x = x.detach().requires_grad_()
        args, kwargs = self.reading.arguments(x, list(torch.split(x, [var.size for var in self.ins], 1)))
        model = torch.vmap(self.model) if self.reading.one_by_one else self.model
        return outputs(model(*args, **kwargs), self.outs, len(x))

    def evaluated(self, points: Array) -> Array:
        """The outputs at points, in float64."""
        x = torch.from_numpy(points)
        size = self.points or len(x)
        whole = torch.cat([x, x[-1:].expand(-len(x) % size, -1)])
        y: Array = torch.cat([self._at(part.clone()) for part in torch.split(whole, size)])[: len(x)].numpy()
        return y

    def _at(self, x: Tensor) -> Tensor:
        with in_float64(x):
            return self(x).detach()

    def __str__(self) -> str:
        return f"{called(self.model)}, called in float64 with {self.reading.words},"


def called(model: Callable[..., Any]) -> str:
    """What is called, in an error."""
    if isinstance(model, nn.Module):
        return f"{type(model).__name__}.forward"
    return str(getattr(model, "__qualname__", type(model).__name__))


def found_call(
    model: Callable[..., Any], ins: tuple[Var, ...], outs: tuple[Var, ...], points: Array
) -> tuple[Call, Array]:
    """The first reading that works, and the outputs at the points.

    Raises CaptureError, which tells of all that were tried.
    """
    failures: dict[str, str] = {}
    untaken: list[str] = []
    for_names: set[str] = set()
    readings = list(_readings(model, ins))
    for i, reading in enumerate(readings):
        if reading.one_by_one and any(SCALAR in why for why in failures):
            break
        try:
            call, found = _tried(Call(model, ins, outs, reading, _fixed_points(model)), points)
        except CaptureError:
            raise
        except Exception as error:
            if reading.container and isinstance(error, TypeError | AttributeError | LookupError):
                untaken.append(reading.words)
            else:
                why = failure(error).replace("'Labelled' object", UNNAMED)
                failures.setdefault(why, reading.words)
                if isinstance(error, AttributeError) and UNNAMED in str(error):
                    for_names.add(why)
        else:
            _check_alternatives(call, found, readings[i + 1 :], points)
            return call, found
    if NAMED in failures.values():
        failures = {why: words for why, words in failures.items() if words == NAMED or why not in for_names}
    if not failures:
        raise CaptureError(
            f"{called(model)} takes {_takes(model)}, but {len(ins)} inputs are named: {', '.join(map(str, ins))}; "
            f"expected: one tensor (n, {sum(var.size for var in ins)}), or one tensor per input. Columns that belong "
            'together are one input, as ("x", 3)'
        )
    told = [f"called in float64 with {words}, {why}" for why, words in failures.items()]
    if len(told) > 1 and untaken:
        told.append(f"it takes no {', '.join(untaken)}".replace("no a ", "no "))
    if len(ins) > 2 and any(words.startswith("a tuple") for words in failures.values()):
        told.append('columns that belong to one tensor of a tuple are one input, as ("x", 2)')
    raise CaptureError(f"{called(model)}, {told[0]}" if len(told) == 1 else f"{called(model)}: {listing(told)}")


def _tried(call: Call, points: Array) -> tuple[Call, Array]:
    """The call, with gradients where the model needs them, and the outputs at the points."""
    try:
        return call, call.evaluated(points)
    except Exception as error:
        if "does not require grad" not in str(error):
            raise
    call = dataclasses.replace(call, gradients=True)
    return call, call.evaluated(points)


def _check_alternatives(call: Call, found: Array, readings: list[Reading], points: Array) -> None:
    """Raise CaptureError where the signature leaves open that another reading is meant, and it gives other values.

    A model that gives other values whenever it is called is left to the trace, which knows why.
    """

    def differs(values: Array) -> bool:
        return not np.allclose(values, found, rtol=0, atol=DIFFERENCE * np.abs(found).max(), equal_nan=True)

    for reading in readings:
        if not (call.reading.open and reading.open):
            continue
        try:
            _, other = _tried(dataclasses.replace(call, reading=reading, gradients=False), points)
        except Exception:  # noqa: S112  it is no alternative then, whatever fails
            continue
        if differs(other) and not differs(call.evaluated(points)):
            names = ", ".join(var.name for var in call.ins)
            raise CaptureError(
                f"{called(call.model)} can be called in two ways, and returns different numbers: with "
                f"{call.reading.words}, and with {reading.words}; expected: one way. The usual fix: name the columns "
                f'of one tensor as one input, as ("x", {sum(var.size for var in call.ins)}), or say what each argument '
                f"is: capture(lambda {names}: model({names}), …)"
            )


def failure(error: BaseException) -> str:
    """What went wrong in a call, in one line: the user's line, if known, and the reason."""
    if isinstance(error, Misfit):
        return str(error)
    if isinstance(error, Untraceable):
        return f"cannot be recorded: {error}"
    lines = [each.strip() for each in str(error).splitlines() if each.strip()]
    text = f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__
    if "TorchScript interpreter" in text:
        # where it was traced or scripted, and the reason, which is lost where an operator fails in float64
        text = f"{lines[2]}: {lines[-1]}".removesuffix(":")
    text = text if len(text) <= 200 else text[:200] + "…"
    return ": ".join(filter(None, ("fails", user_line(error), text)))


def _signature(model: Callable[..., Any]) -> inspect.Signature | None:
    try:
        return inspect.signature(model.forward if isinstance(model, nn.Module) else model)
    except (TypeError, ValueError):
        return None


def _takes(model: Callable[..., Any]) -> str:
    parameters = getattr(_signature(model), "parameters", {}).values()
    required = [each.name for each in parameters if each.default is each.empty]
    return f"{len(required)} arguments ({', '.join(required)})"


def _fixed_points(model: Callable[..., Any]) -> int | None:
    """The number of points that an exported graph was made for, if it takes no other."""
    if not isinstance(model, torch.fx.GraphModule):
        return None
    values = [node.meta.get("val") for node in model.graph.nodes if node.op == "placeholder"]
    sizes = [each.shape[0] for each in values if isinstance(each, Tensor) and each.ndim]
    return next((size for size in sizes if isinstance(size, int)), None)


def _readings(model: Callable[..., Any], ins: tuple[Var, ...]) -> Iterator[Reading]:
    """Each way to call the model that its signature allows."""
    takes, names = _Takes(_signature(model)), [var.name for var in ins]
    keys = [*getattr(model, "input_keys", ())]
    if len(keys) not in (1, len(names)) or set(keys) == set(names):
        keys = names
    words = f"the keywords {', '.join(names)}"
    shapes, row = ", ".join(f"(n, {var.size})" for var in ins), f"(n, {sum(var.size for var in ins)})"

    def together(x: Tensor, parts: list[Tensor]) -> Arguments:
        return (x,), {}

    def apart(x: Tensor, parts: list[Tensor]) -> Arguments:
        return tuple(parts), {}

    def by_name(x: Tensor, parts: list[Tensor]) -> Arguments:
        return (), dict(zip(names, parts, strict=True))

    def in_tuple(x: Tensor, parts: list[Tensor]) -> Arguments:
        return (tuple(parts),), {}

    def in_dict(x: Tensor, parts: list[Tensor]) -> Arguments:
        return (dict(zip(keys, [x] if len(keys) == 1 else parts, strict=True)),), {}

    in_groups = _groups(ins)
    grouped = ", ".join(f"(n, {sum(var.size for var in group)})" for group in in_groups)

    def apart_in_groups(x: Tensor, parts: list[Tensor]) -> Arguments:
        return torch.split(x, [sum(var.size for var in group) for group in in_groups], 1), {}

    def grouped_in_tuple(x: Tensor, parts: list[Tensor]) -> Arguments:
        return apart_in_groups(x, parts)[:1], {}

    named, one, several = takes.names(names), takes.arguments(1), len(ins) > 1 and takes.arguments(len(ins))
    fewer = 1 < len(in_groups) < len(ins)
    flat = all(var.size == 1 for var in ins)
    of_one = ", ".join("(n,)" for _ in ins)
    each, matrix = Reading(shapes, apart, open=True), Reading(row, together, open=True)
    ways = [
        (named and len(ins) > 1, Reading(words, by_name)),
        (several and takes.only_any_number, each),
        (one, matrix),
        (several and not takes.only_any_number, each),
        (takes.keywords(names), Reading(words, by_name, open=True)),
        (fewer and takes.arguments(len(in_groups)), Reading(grouped, apart_in_groups, open=True)),
        (one, Reading(NAMED, lambda x, parts: ((labelled(x, ins, model),), {}))),
        (one, Reading("a tuple", in_tuple, container=True)),
        (one, Reading("a list", lambda x, parts: ((parts,), {}), container=True)),
        (one, Reading("a dict", in_dict, container=True)),
        (one and fewer, Reading(f"a tuple of {grouped}", grouped_in_tuple, container=True)),
        (flat and takes.keywords(names), Reading(f"{words}, each {of_one[:4]}", _flat(by_name))),
        (flat and (several or (one and len(ins) == 1)), Reading(of_one, _flat(apart))),
        (flat and one and len(ins) > 1, Reading("a tuple of (n,)", _flat(in_tuple), container=True)),
        (flat and one, Reading("a dict of (n,)", _flat(in_dict), container=True)),
        (one, Reading(f"one point {row.replace('n, ', '').replace(')', ',)')} at a time", together, one_by_one=True)),
        (one, Reading("a tuple of one point at a time", _each_in_a_batch(in_tuple), one_by_one=True, container=True)),
        (several, Reading("one point at a time", _each_in_a_batch(apart), one_by_one=True)),
        (several and flat, Reading("the numbers of one point at a time", _flat(apart), one_by_one=True)),
    ]
    return (reading for possible, reading in ways if possible)


def _groups(ins: tuple[Var, ...]) -> list[tuple[Var, ...]]:
    """The inputs, those of one column at the end together: a function at sensors, and where it is evaluated."""
    last = len(list(takewhile(lambda var: var.size == 1, reversed(ins))))
    return [*((var,) for var in ins[: len(ins) - last]), *([ins[len(ins) - last :]] if last else [])]


class _Takes:
    """What a signature allows; everything where it is not known."""

    def __init__(self, signature: inspect.Signature | None) -> None:
        self.signature = signature
        kinds = [] if signature is None else [each.kind for each in signature.parameters.values()]
        self.only_any_number = inspect.Parameter.VAR_POSITIONAL in kinds[:1]
        self.any_keyword = inspect.Parameter.VAR_KEYWORD in kinds

    def arguments(self, count: int, names: Sequence[str] = ()) -> bool:
        """Whether so many arguments may be given, and some by name."""
        try:
            if self.signature is not None:
                self.signature.bind(*range(count), **dict.fromkeys(names))
        except TypeError:
            return False
        return True

    def names(self, names: Sequence[str]) -> bool:
        """Whether the arguments have these names."""
        return self.signature is not None and set(names) <= set(self.signature.parameters) and self.arguments(0, names)

    def keywords(self, names: Sequence[str]) -> bool:
        """Whether arguments of these names may be given."""
        return (self.names(names) or self.any_keyword) and self.arguments(0, names)


def _each_in_a_batch(
    arguments: Callable[[Tensor, list[Tensor]], Arguments],
) -> Callable[[Tensor, list[Tensor]], Arguments]:
    """The same arguments, where each point is a batch (1, k) of its own."""
    return lambda x, parts: arguments(x, [part[:, None] for part in parts])


def _flat(
    arguments: Callable[[Tensor, list[Tensor]], Arguments],
) -> Callable[[Tensor, list[Tensor]], Arguments]:
    """The same arguments, with tensors (n,) instead of (n, 1)."""
    return lambda x, parts: arguments(x, [part.squeeze(1) for part in parts])
