"""A device that this machine does not have, in all but speed: what forgets to move a tensor there fails as on a GPU.

Within `Elsewhere()`, `.to(THERE)` makes tensors whose numbers stay in the CPU's memory, and all that is calculated from
them is there as well. As with CUDA, tensors here and there do not mix, single numbers excepted, the CPU's generators
draw none there, and NumPy takes none.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

THERE = torch.device("lazy:0")
"""A name that torch knows and that needs no driver."""


class There(Tensor):
    """`held` is the tensor on the CPU that it stands for."""

    held: Tensor

    @staticmethod
    def __new__(cls, held: Tensor) -> There:
        made: There = Tensor._make_wrapper_subclass(
            cls, held.shape, held.stride(), held.storage_offset(), dtype=held.dtype, device=THERE
        )
        made.held = held
        return made

    @classmethod
    def __torch_function__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func == Tensor.data.__set__:  # type: ignore[attr-defined]
            args[0].held = args[1].held
        with torch._C.DisableTorchFunctionSubclass():
            return func(*args, **(kwargs or {}))

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _called(func, args, kwargs or {})


class Elsewhere(TorchDispatchMode):
    """While it is entered, THERE is a device."""

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        """Whether torch's compiler, which is loaded for that, is told at each call to leave it alone."""
        return False

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _called(func, args, kwargs or {})


def _called(func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    leaves = [*_leaves(args), *_leaves(kwargs.values())]
    there = any(isinstance(leaf, There) for leaf in leaves)
    if there and any(isinstance(leaf, Tensor) and leaf.ndim and not isinstance(leaf, There) for leaf in leaves):
        raise RuntimeError(f"{func}: expected all tensors to be on the same device")
    if there and any(isinstance(leaf, torch.Generator) for leaf in leaves):
        raise RuntimeError(f"{func}: expected a generator on the same device")
    if kwargs.get("device") is not None:
        there = torch.device(kwargs["device"]) == THERE
        kwargs = kwargs | {"device": torch.device("cpu")}
    found = func(*_mapped(_held, args), **{name: _mapped(_held, value) for name, value in kwargs.items()})
    return _mapped(_there, found) if there else found


def _leaves(parts: Iterable[Any]) -> Iterator[Any]:
    """What is in `parts` and in the lists and tuples among them."""
    for part in parts:
        if isinstance(part, (list, tuple)):
            yield from _leaves(part)
        else:
            yield part


def _mapped(function: Callable[[Any], Any], part: Any) -> Any:
    """`part` with the function of each leaf: torch's own trees know more kinds, and take most of a test's time."""
    if isinstance(part, (list, tuple)):
        return type(part)([_mapped(function, each) for each in part])
    return function(part)


def _held(leaf: Any) -> Any:
    return leaf.held if isinstance(leaf, There) else leaf


def _there(leaf: Any) -> Any:
    return There(leaf) if isinstance(leaf, Tensor) else leaf
