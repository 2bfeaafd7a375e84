"""`found_call(model, …)`: how a network is called with columns, and what it returns for them.

There is a list of readings of the arguments, from the plainest to the rarest, and the first one that works is taken:
the call returns what the named outputs can be found in. If none does, the error tells what was tried.
"""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import accumulate
from typing import Any

import torch
from torch import Tensor, nn

from kdpinn_edge.errors import CaptureError, listing
from kdpinn_edge.importers.torch_trace import Untraceable, in_float64, user_line
from kdpinn_edge.program.ir import Array, Var

Arguments = tuple[tuple[Any, ...], dict[str, Any]]


SCALAR = "returns one number for all points"


class Misfit(Exception):  # noqa: N818
    """Why what was returned holds no outputs."""


@dataclasses.dataclass(frozen=True)
class Reading:
    """A way to call a model: in words, and its arguments from all columns (n, n_in) or from the parts (n, k)."""

    words: str
    arguments: Callable[[Tensor, list[Tensor]], Arguments]
    one_by_one: bool = False
    """Whether the model takes one point, without the axis of points."""


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
        args, kwargs = self.reading.arguments(x, list(x.split([var.size for var in self.ins], 1)))
        model = torch.vmap(self.model) if self.reading.one_by_one else self.model
        return outputs(model(*args, **kwargs), self.outs, len(x))

    def evaluated(self, points: Array) -> Array:
        """The outputs at points, in float64."""
        x = torch.from_numpy(points)
        size = self.points or len(x)
        whole = torch.cat([x, x[-1:].expand(-len(x) % size, -1)])
        y: Array = torch.cat([self._at(part.clone()) for part in whole.split(size)])[: len(x)].numpy()
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
    failures: dict[str, list[str]] = {}
    untaken: list[str] = []
    for reading in _readings(model, ins):
        if reading.one_by_one and any(SCALAR in why for why in failures):
            break
        call = Call(model, ins, outs, reading, _fixed_points(model))
        for each in (call, dataclasses.replace(call, gradients=True)):
            try:
                return each, each.evaluated(points)
            except CaptureError:
                raise
            except Exception as error:
                if not each.gradients and "does not require grad" in str(error):
                    continue
                if failures and isinstance(error, TypeError | AttributeError | LookupError):
                    untaken.append(reading.words)
                else:
                    failures.setdefault(failure(error), []).append(reading.words)
                break
    if not failures:
        raise CaptureError(
            f"{called(model)} takes {_takes(model)}, but {len(ins)} inputs are named: {', '.join(map(str, ins))}; "
            f"expected: one tensor (n, {sum(var.size for var in ins)}), or one tensor per input. Columns that belong "
            'together are one input, as ("x", 3)'
        )
    told = [f"called in float64 with {' or '.join(readings)}, {why}" for why, readings in failures.items()]
    if len(told) > 1 and untaken:
        told.append(f"it takes no {', '.join(untaken)}".replace("no a ", "no "))
    raise CaptureError(f"{called(model)}, {told[0]}" if len(told) == 1 else f"{called(model)}: {listing(told)}")


def failure(error: BaseException) -> str:
    """What went wrong in a call, in one line: the user's line, if known, and the reason."""
    if isinstance(error, Misfit):
        return str(error)
    if isinstance(error, Untraceable):
        return f"cannot be recorded: {error}"
    lines = [each.strip() for each in str(error).splitlines() if each.strip()]
    script = bool(lines) and "TorchScript" in lines[0]
    text = (lines[-1] if script else f"{type(error).__name__}: {lines[0]}") if lines else type(error).__name__
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
    signature = _signature(model)

    def fits(count: int, names: Sequence[str] = ()) -> bool:
        try:
            if signature is not None:
                signature.bind(*range(count), **dict.fromkeys(names))
        except TypeError:
            return False
        return True

    names = [var.name for var in ins]
    kinds = [] if signature is None else [each.kind for each in signature.parameters.values()]
    named = signature is not None and set(names) <= set(signature.parameters) and fits(0, names)
    any_number = inspect.Parameter.VAR_POSITIONAL in kinds and len(ins) > 1
    one, several, flat = fits(1), len(ins) > 1 and fits(len(ins)), all(var.size == 1 for var in ins)
    shapes, row = ", ".join(f"(n, {var.size})" for var in ins), f"(n, {sum(var.size for var in ins)})"
    words = ", ".join(names)
    keywords = fits(0, names) and (named or inspect.Parameter.VAR_KEYWORD in kinds)

    def together(x: Tensor, parts: list[Tensor]) -> Arguments:
        return (x,), {}

    def each(x: Tensor, parts: list[Tensor]) -> Arguments:
        return tuple(parts), {}

    def by_name(x: Tensor, parts: list[Tensor]) -> Arguments:
        return (), dict(zip(names, parts, strict=True))

    def in_tuple(x: Tensor, parts: list[Tensor]) -> Arguments:
        return (tuple(parts),), {}

    keys = [*getattr(model, "input_keys", ())]
    keys = keys if len(keys) == len(names) and not set(keys) & set(names) else names

    def in_dict(x: Tensor, parts: list[Tensor]) -> Arguments:
        return (dict(zip(keys, parts, strict=True)),), {}

    if named and len(ins) > 1:
        yield Reading(f"the keywords {words}", by_name)
    if several and any_number:
        yield Reading(shapes, each)
    if one:
        yield Reading(row, together)
    if several and not any_number:
        yield Reading(shapes, each)
    if keywords and not (named and len(ins) > 1):
        yield Reading(f"the keywords {words}", by_name)
    if one:
        yield Reading("columns by their names", lambda x, parts: ((labelled(x, ins, model),), {}))
        yield Reading("a tuple", in_tuple)
        yield Reading("a list", lambda x, parts: ((parts,), {}))
        yield Reading("a dict", in_dict)
    if flat:
        yield from (
            Reading(f"{reading} of (n,)" if reading != shapes else ", ".join("(n,)" for _ in ins), _flat(arguments))
            for reading, arguments, wanted in (
                (f"the keywords {words}", by_name, keywords),
                (shapes, each, several or (one and len(ins) == 1)),
                ("a tuple", in_tuple, one and len(ins) > 1),
                ("a dict", in_dict, one),
            )
            if wanted
        )
    if one:
        yield Reading(f"one point ({sum(var.size for var in ins)},) at a time", together, one_by_one=True)
        yield Reading("a tuple of one point at a time", _each_in_a_batch(in_tuple), one_by_one=True)
    if several:
        yield Reading("one point at a time", _each_in_a_batch(each), one_by_one=True)
    if several and flat:
        yield Reading("the numbers of one point at a time", _flat(each), one_by_one=True)


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


class Labelled(Tensor):
    """Columns with names, as libraries have them: `x.extract(["x"])`, `x["t"]`, `x.labels`, `x.coordinates`."""

    __torch_function__ = torch._C._disabled_torch_function_impl
    places: dict[str, slice]
    space: Any

    @property
    def labels(self) -> list[str]:
        """The names."""
        return list(self.places)

    @property
    def tensor(self) -> Tensor:
        """The columns without names."""
        return self.as_subclass(Tensor)

    as_tensor = tensor

    @property
    def coordinates(self) -> dict[str, Tensor]:
        """The columns of each name."""
        return {name: self.tensor[..., place] for name, place in self.places.items()}

    def extract(self, names: str | Sequence[str]) -> Labelled:
        """The columns of some names, in the order asked for."""
        wanted = [names] if isinstance(names, str) else list(names)
        coordinates = self.coordinates
        parts = [coordinates[name] for name in wanted]
        return _labelled(torch.cat(parts, -1), {name: part.shape[-1] for name, part in zip(wanted, parts, strict=True)})

    def __getitem__(self, item: Any) -> Any:
        """The columns of a name, or of several; otherwise as any tensor."""
        last = item[-1] if isinstance(item, tuple) and item else item
        several = isinstance(last, list | tuple) and all(isinstance(each, str) for each in last)
        if isinstance(last, str) or (several and last):
            return self.extract(last)
        return self.tensor[item]

    def requires_grad_(self, requires_grad: bool = True) -> Labelled:
        """Itself, with a gradient."""
        super().requires_grad_(requires_grad)
        return self

    def clone(self, **_: Any) -> Labelled:
        """A copy with the same names."""
        return self._again(self.tensor.clone())

    def detach(self) -> Labelled:
        """The same without a history."""
        return self._again(self.tensor.detach())

    def _again(self, x: Tensor) -> Labelled:
        return _labelled(x, {name: place.stop - place.start for name, place in self.places.items()}, self.space)


def labelled(x: Tensor, ins: tuple[Var, ...], model: object) -> Labelled:
    """The columns with the names of the inputs, or those of the space that the model states."""
    sizes = {var.name: var.size for var in ins}
    space = getattr(model, "input_space", None)
    if isinstance(space, Mapping):
        if set(space) != set(sizes):
            sizes = dict(space)
        return _labelled(x, sizes, type(space)(sizes))  # type: ignore[call-arg]
    return _labelled(x, sizes)


def _labelled(x: Tensor, sizes: Mapping[str, int], space: Any = None) -> Labelled:
    result = x.as_subclass(Labelled)
    ends = list(accumulate(sizes.values()))
    result.places = {name: slice(end - size, end) for (name, size), end in zip(sizes.items(), ends, strict=True)}
    result.space = type(space)(dict(sizes)) if isinstance(space, Mapping) else None
    return result


def outputs(returned: Any, outs: tuple[Var, ...], n: int) -> Tensor:
    """The outputs (n, n_out) in what was returned for n points. Raises Misfit."""
    returned = _plain(returned)
    if isinstance(returned, Tensor):
        size = sum(var.size for var in outs)
        return _columns(returned, size, n, f"one tensor (n, {size}), the columns of {', '.join(map(str, outs))}")
    if (by_name := _named(returned, outs)) is not None:
        parts = by_name
    elif isinstance(returned, list | tuple):
        parts = list(_flattened(returned))
    else:
        raise Misfit(f"returns a {type(returned).__name__}; expected: tensors with the columns of {_names(outs)}")
    if len(parts) == len(outs):
        sizes = [var.size for var in outs]
    else:
        sizes = [part.shape[-1] if isinstance(part, Tensor) and part.ndim > 1 else 1 for part in parts]
    if sum(sizes) != sum(var.size for var in outs):
        raise Misfit(
            f"returns {len(parts)} parts with {sum(sizes)} columns; expected: {sum(var.size for var in outs)}, those "
            f"of {_names(outs)}"
        )
    wanted = (f"(n, {size}) as part {i + 1}" for i, size in enumerate(sizes))
    found = zip(parts, sizes, wanted, strict=True)
    return torch.cat([_columns(part, size, n, text, constant=True) for part, size, text in found], 1)


def _names(variables: tuple[Var, ...]) -> str:
    return ", ".join(map(str, variables))


def _plain(value: Any) -> Any:
    """A tensor without its names: what libraries wrap it in has it as an attribute."""
    if isinstance(value, Tensor):
        return value.as_subclass(Tensor)
    if isinstance(inner := getattr(value, "as_tensor", None), Tensor):
        return inner
    return value


def _named(returned: Any, outs: tuple[Var, ...]) -> list[Any] | None:
    """The parts with the names of the outputs, or None where parts have no names."""
    names = [var.name for var in outs]
    if isinstance(returned, Mapping):
        parts = dict(returned)
        if not set(names) <= set(parts):
            if len(parts) == len(names) == 1:
                return [_plain(each) for each in parts.values()]
            raise Misfit(f"returns a dict with the keys {', '.join(map(str, parts))}; expected: {', '.join(names)}")
        return [_plain(parts[name]) for name in names]
    if isinstance(returned, tuple) and not hasattr(returned, "_fields"):
        return None
    if not isinstance(returned, list) and all(hasattr(returned, name) for name in names):
        return [_plain(getattr(returned, name)) for name in names]
    if dataclasses.is_dataclass(returned):
        return [_plain(getattr(returned, field.name)) for field in dataclasses.fields(returned)]
    return None


def _flattened(parts: Sequence[Any]) -> Iterator[Any]:
    for part in parts:
        if isinstance(part, list | tuple):
            yield from _flattened(part)
        else:
            yield _plain(part)


def _columns(part: Any, size: int, n: int, expected: str, *, constant: bool = False) -> Tensor:
    """A part of what was returned as (n, size): it has n points along its first axis, or is a constant if it may be."""
    if isinstance(part, int | float) and constant:
        part = torch.tensor(float(part))
    if not isinstance(part, Tensor):
        raise Misfit(f"returns a {type(part).__name__} for n = {n}; expected: {expected}")
    if part.is_complex():
        raise Misfit("returns complex numbers; expected: real and imaginary part as two outputs")
    if constant and part.numel() == size and part.ndim < 2 and part.shape != (n,):
        part = part.reshape(1, size).expand(n, size)
    if not part.ndim:
        raise Misfit(f"{SCALAR}; expected: {expected}")
    if len(part) != n or part.numel() != n * size:
        raise Misfit(
            f"returns shape {tuple(part.shape)} for n = {n}; expected: {expected}. The usual fix: a name in outputs= "
            "for each column"
        )
    return part.reshape(n, size).to(torch.float64)
