"""`network(given)`: the function of columns in what a library calls a model, a solver, a solution or a wrapper.

Everything is recognised by what it has, not by its class: no library is imported.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from kdpinn_edge.errors import CaptureError

HOLDERS = ("net", "model", "module", "network", "nets", "models", "dnn")
"""Attributes in which an object that cannot be called keeps its network."""


def network(given: Any, method: str | None = None) -> Callable[..., Any]:
    """What is called: the given network or function, what it wraps, or its method of a name. Raises CaptureError."""
    if method is not None:
        found = getattr(given, method, None)
        if not callable(found):
            raise CaptureError(f"{type(given).__name__} has no method {method!r}; expected: one that can be called")
        return found  # type: ignore[no-any-return]
    if isinstance(given, torch.export.ExportedProgram):
        return given.module()
    if isinstance(given, nn.DataParallel | nn.parallel.DistributedDataParallel):
        return network(given.module)
    if isinstance(given, nn.Module) and "_orig_mod" in given._modules:
        return network(given._modules["_orig_mod"])
    if isinstance(given, nn.Module) or (callable(given) and not isinstance(given, type)):
        return given
    if callable(solution := getattr(given, "get_solution", None)):
        return network(solution())
    held = [each for name in HOLDERS if isinstance(each := getattr(given, name, None), nn.Module)]
    if len(held) != 1:
        raise CaptureError(
            f"{_a(given)} was given; expected: a torch.nn.Module, a function of tensors, or an object with one network"
        )
    return network(held[0])


def _a(value: object) -> str:
    """The type of a value with its article."""
    name = type(value).__name__
    return f"{'an' if name[0] in 'aeiouAEIO' else 'a'} {name}"
