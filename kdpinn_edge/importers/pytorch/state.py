"""`evaluating(model)`: every network that is called meanwhile is float64 and in eval mode, and afterwards as it was.

Nothing is copied: networks carry locks, generators, optimisers and tensors with a history, which cannot be. What a
call may change is put back instead: attributes, what is in lists, dicts and sets, and the numbers of tensors.
"""

from __future__ import annotations

import warnings
from collections import OrderedDict, defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch._C._functorch import is_functorch_wrapped_tensor
from torch._functorch.pyfunctorch import temporarily_clear_interpreter_stack
from torch.nn.modules.module import register_module_forward_pre_hook
from torch.nn.parameter import is_lazy
from torch.utils._python_dispatch import _disable_current_modes

from kdpinn_edge.errors import CaptureError, listing
from kdpinn_edge.importers.pytorch.trace import LOW

CONTAINERS = (list, dict, set, OrderedDict, defaultdict)


@contextmanager
def evaluating(model: Callable[..., Any]) -> Iterator[None]:
    """Put what is called meanwhile into float64 and eval mode, and everything back afterwards, random generators too.

    Raises CaptureError where a network has parameters without numbers, or ones that are not finite.
    """
    kept = _Kept()
    for each in (model, getattr(model, "__self__", None)):
        if isinstance(each, nn.Module):
            kept.modules(each)
        elif hasattr(each, "__dict__"):
            kept.object(each)

    def met(module: nn.Module, _: Any) -> None:
        with _disable_current_modes(), temporarily_clear_interpreter_stack():
            kept.modules(module, met=True)

    handle = register_module_forward_pre_hook(met)
    try:
        with torch.random.fork_rng(devices=()), warnings.catch_warnings():
            # about the hook above, and about what torch itself does
            warnings.filterwarnings("ignore", "Using `torch.compile.module.` when there are global hooks", UserWarning)
            warnings.filterwarnings("ignore", ".*torch.jit", DeprecationWarning)
            yield
    finally:
        handle.remove()
        kept.put_back()


class _Kept:
    """What objects were before they were called."""

    def __init__(self) -> None:
        self._seen: dict[int, Any] = {}
        self._undo: list[Callable[[], None]] = []

    def modules(self, root: nn.Module, *, met: bool = False) -> None:
        """Keep a module and all that are in it, and put them into float64 and eval mode.

        Of one that is met in a call the parameters may be others for the moment (`torch.func.functional_call`).
        """
        if id(root) in self._seen:
            return
        _check_numbers(root)
        for module in root.modules():
            self.object(module, but=("_parameters", "_buffers") if met else ())
            for tensor in (*module.parameters(recurse=False), *module.buffers(recurse=False)):
                self._double(tensor)
            if module.training:
                self._undo.append(partial(setattr, module, "training", True))
                module.training = False

    def object(self, owner: Any, but: Sequence[str] = ()) -> None:
        """Keep the attributes of an object, what is in their containers, and their tensors."""
        if id(owner) in self._seen:
            return
        self._seen[id(owner)] = owner
        attributes = vars(owner)
        self._content(attributes)
        for name, value in attributes.items():
            if name in but:
                continue
            if type(value) in CONTAINERS:
                self._content(value)
            for each in value.values() if isinstance(value, dict) else (value,):
                if type(each) in (Tensor, nn.Parameter) and not each.is_meta and not is_functorch_wrapped_tensor(each):
                    self._undo.append(partial(_put_numbers_back, each, each.detach().clone()))

    def put_back(self) -> None:
        """Undo what was changed since, the last first."""
        for undo in reversed(self._undo):
            undo()

    def _double(self, tensor: Tensor) -> None:
        if is_functorch_wrapped_tensor(tensor):
            return
        if id(tensor) not in self._seen and (tensor.dtype in LOW or tensor.device.type != "cpu"):
            self._seen[id(tensor)] = tensor
            self._undo.append(partial(setattr, tensor, "data", tensor.data))
            tensor.data = tensor.data.to("cpu", torch.float64 if tensor.dtype in LOW else tensor.dtype)

    def _content(self, container: Any) -> None:
        before = container.copy()
        self._undo.append(partial(_put_content_back, container, before))


def _put_content_back(container: Any, before: Any) -> None:
    if isinstance(container, dict):
        same = [(key, id(value)) for key, value in container.items()] == [(key, id(v)) for key, v in before.items()]
    else:
        same = list(map(id, container)) == list(map(id, before))
    if not same:
        container.clear()
        (container.extend if isinstance(container, list) else container.update)(before)


def _put_numbers_back(tensor: Tensor, before: Tensor) -> None:
    if not (tensor.detach() == before).logical_or(before.isnan()).all():
        tensor.data.copy_(before)


def _check_numbers(module: nn.Module) -> None:
    name = type(module).__name__
    named = [
        each
        for each in (*module.named_parameters(), *module.named_buffers())
        if not is_functorch_wrapped_tensor(each[1])
    ]
    for each, tensor in named:
        if is_lazy(tensor) or tensor.is_meta:
            raise CaptureError(f"{name}.{each} has no numbers yet; expected: a network that was called, or loaded")
    faults = [f"{each} holds a NaN or an infinity" for each, tensor in named if not torch.isfinite(tensor).all()]
    if faults:
        raise CaptureError(f"{name} has parameters that are not finite: {listing(faults)}")
