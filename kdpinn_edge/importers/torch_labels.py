"""`labelled(x, …)`: columns with names, as networks of PINA, TorchPhysics and others expect them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import accumulate
from typing import Any

import torch
from torch import Tensor

from kdpinn_edge.program.ir import Var


class Labelled(Tensor):
    """Columns with names, as libraries have them: `x.extract(["x"])`, `x["t"]`, `x.labels`, `x.coordinates`."""

    __torch_function__ = torch._C._disabled_torch_function_impl  # type: ignore[assignment]
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
        sizes = {name: part.shape[-1] for name, part in zip(wanted, parts, strict=True)}
        return _labelled(torch.cat(parts, -1), sizes, self.space)

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
    if isinstance(space, Mapping) and set(space) != set(sizes):
        sizes = dict(space.items())
    return _labelled(x, sizes, space)


def _labelled(x: Tensor, sizes: Mapping[str, int], space: Any) -> Labelled:
    result = x.as_subclass(Labelled)
    ends = list(accumulate(sizes.values()))
    result.places = {name: slice(end - size, end) for (name, size), end in zip(sizes.items(), ends, strict=True)}
    result.space = _part(space, list(sizes)) if isinstance(space, Mapping) else None
    return result


def _part(space: Any, names: list[str]) -> Any:
    """The space of some of the names, in their order."""
    if list(space) == names:
        return space
    try:
        return space[names]
    except TypeError:
        return type(space)({name: space[name] for name in names})
