"""`outputs(returned, …)`: the columns of the named outputs in what a network returns."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from kdpinn_edge.program.ir import Var

SCALAR = "returns one number for all points"


class Misfit(Exception):  # noqa: N818
    """Why what was returned holds no outputs."""


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
    """A part of what was returned as (n, size): it has n points along its first axis, or is a constant if it may be.

    Axes of size 1 before the points count for nothing.
    """
    if isinstance(part, int | float) and constant:
        part = torch.tensor(float(part))
    if not isinstance(part, Tensor):
        raise Misfit(f"returns a {type(part).__name__} for n = {n}; expected: {expected}")
    if part.is_complex():
        raise Misfit("returns complex numbers; expected: real and imaginary part as two outputs")
    if constant and part.numel() == size and part.ndim < 2 and part.shape != (n,):
        part = part.reshape(1, size).expand(n, size)
    while part.ndim > 1 and len(part) == 1 != n:
        part = part[0]
    if not part.ndim:
        raise Misfit(f"{SCALAR}; expected: {expected}")
    if len(part) != n or part.numel() != n * size:
        raise Misfit(
            f"returns shape {tuple(part.shape)} for n = {n}; expected: {expected}. The usual fix: a name in outputs= "
            "for each column"
        )
    columns: Tensor = part.reshape(n, size).to(torch.float64)
    return columns
