"""A function or a torch module of somebody else as a teacher, run as it is: what cannot be captured can be followed."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import chain
from typing import Any, TypeGuard

import numpy as np
import torch
from torch import Tensor
from torch.nn import Module as Module

from kdpinn_edge.errors import TrainError
from kdpinn_edge.problems import Array, Problem
from kdpinn_edge.training.jets import Jet, letters
from kdpinn_edge.training.outputs import as_columns, check_finite

N_ALONE = 7
ALIKE = 1e-3
"""The largest difference of a point's values alone and among others, as a share of the largest value."""


def function_values(f: Callable[[Array], Any], x: Array, outputs: Sequence[str]) -> Array:
    """The values of `f` at the points x (n, n_in), as float64: (n, n_out). Raises TrainError where it fails."""
    name = getattr(f, "__name__", type(f).__name__)
    with _explained(name, x.shape):
        found = f(x.copy())
    values: Array = as_columns(found, len(x), outputs, name).detach().cpu().numpy()
    return values


class FunctionTeacher:
    """A function f(x) of NumPy arrays, which is known by its values alone."""

    def __init__(self, f: Callable[[Array], Any], problem: Problem) -> None:
        self.f, self.problem = f, problem

    def __call__(self, x: Tensor) -> Tensor:
        """The values of the function at the points x, (n, n_out)."""
        return torch.from_numpy(function_values(self.f, x.detach().cpu().numpy(), self.problem.outputs)).to(x.device)

    def jet(self, x: Tensor, multi_indices: tuple[str, ...]) -> Jet:
        """The values of the function at the points x, as a jet. Raises TrainError where a derivative is asked for."""
        if multi_indices != ("",):
            raise TrainError(
                "a function has values and no derivatives; expected: slope_weight=0 (--slope-weight 0), or what has "
                "them: a torch module, a Program, samples (x, u, du)"
            )
        return Jet(multi_indices, self(x)[None])


def is_module(source: object) -> TypeGuard[Module]:
    """Whether `source` is a torch module."""
    return isinstance(source, Module)


def module_values(module: Module, x: Array, outputs: Sequence[str]) -> Array:
    """The values of `module` at the points x (n, n_in), as float64: (n, n_out). Raises TrainError where it fails."""
    with torch.no_grad():
        values: Array = _evaluated(module, torch.from_numpy(x), outputs).numpy()
    return values


class ModuleTeacher:
    """A torch module, in its own precision and on its own device; its first derivatives are those of autograd."""

    def __init__(self, module: Module, problem: Problem) -> None:
        self.module, self.problem = module, problem

    def __call__(self, x: Tensor) -> Tensor:
        """The values of the module at the points x, (n, n_out)."""
        with torch.no_grad():
            return _evaluated(self.module, x, self.problem.outputs)

    def jet(self, x: Tensor, multi_indices: tuple[str, ...]) -> Jet:
        """The values and first derivatives of the module at the points x, each (n, n_out)."""
        with torch.enable_grad():
            x = x.detach().clone().requires_grad_()
            y = _evaluated(self.module, x, self.problem.outputs)
            if not y.requires_grad:
                raise TrainError(
                    f"{type(self.module).__name__} returns tensors that autograd does not follow; expected: a forward "
                    "without detach and no_grad, or slope_weight=0 (--slope-weight 0)"
                )
            slopes = [torch.autograd.grad(column.sum(), x, retain_graph=True)[0] for column in y.T]
        of = dict(zip(letters(self.problem.inputs).values(), torch.stack(slopes, dim=-1).unbind(1), strict=True))
        return Jet(multi_indices, torch.stack([(of | {"": y.detach()})[each] for each in multi_indices]))


def _evaluated(module: Module, x: Tensor, outputs: Sequence[str]) -> Tensor:
    """The outputs of `module` in eval mode at x, as float64 and where x is."""
    like = next((t for t in chain(module.parameters(), module.buffers()) if t.is_floating_point()), x)
    name = type(module).__name__
    with _in_eval_mode(module), _explained(name, tuple(x.shape)):
        found = module(x.to(like.device, like.dtype))
    return as_columns(found, len(x), outputs, name).to(x.device)


@contextmanager
def _in_eval_mode(module: Module) -> Iterator[None]:
    training = [each for each in module.modules() if each.training]
    module.eval()
    try:
        yield
    finally:
        for each in training:
            each.training = True


@contextmanager
def _explained(name: str, shape: tuple[int, ...]) -> Iterator[None]:
    """Say of what fails inside that it is the teacher. Raises TrainError from the error."""
    try:
        yield
    except Exception as error:
        raise TrainError(
            f"the teacher {name} fails for points of shape {shape}: {type(error).__name__}: {error}. Expected: a "
            "function of one array x (n, n_in), column by column as the inputs are named, or a torch module of such a "
            "tensor; else wrap it in a function f(x) that takes it apart"
        ) from error


def check_pointwise(values: Callable[[Array], Array], x: Array, inputs: Sequence[str], name: str) -> Array:
    """The values (n, n_out) at the points x. Raises TrainError where they are not finite, random, or depend on n."""
    found = values(x)
    check_finite(x, found, inputs, f"the teacher {name}")
    allowed = ALIKE * np.abs(found).max(axis=0)
    if not (np.abs(values(x) - found) <= allowed).all():
        raise TrainError(f"the teacher {name} has other values when it is asked again; expected: no randomness")
    if not (np.abs(values(x[:N_ALONE]) - found[:N_ALONE]) <= allowed).all():
        raise TrainError(
            f"the teacher {name} has other values at a point when it is asked at others as well; expected: values that "
            "depend on their own point alone"
        )
    return found
