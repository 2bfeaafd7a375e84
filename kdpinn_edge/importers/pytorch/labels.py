"""`labelled(x, …)`: columns with names, as networks of PINA, TorchPhysics and others expect them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import accumulate
from typing import Any

import torch
from torch import Tensor

from kdpinn_edge.program.ir import Var


class Labelled(Tensor):
    """Columns with names, as libraries have them: `x.extract(["x"])`, `x["t"]`, `x.append(y)`, `x.coordinates`."""

    __torch_function__ = torch._C._disabled_torch_function_impl  # type: ignore[assignment]
    places: dict[str, slice]
    space: Any

    @property
    def labels(self) -> list[str]:
        """The names."""
        return list(self.places)

    @property
    def stored_labels(self) -> dict[int, dict[str, Any]]:
        """The names of the columns by the axis that they are the names of."""
        return {self.ndim - 1: {"dof": self.labels, "name": self.ndim - 1}}

    @property
    def variables(self) -> set[str]:
        """The names, in no order."""
        return set(self.places)

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
        if unknown := [name for name in wanted if name not in coordinates]:
            raise KeyError(f"no column is called {', '.join(map(repr, unknown))}: they are {', '.join(coordinates)}")
        parts = [coordinates[name] for name in wanted]
        sizes = {name: part.shape[-1] for name, part in zip(wanted, parts, strict=True)}
        return _labelled(torch.cat(parts, -1), sizes, self.space)

    def append(self, other: Any, mode: str = "std") -> Labelled:
        """Its columns, and after them those of another that has names: `labels` or a `space`."""
        if mode != "std":
            raise ValueError(f"append in the mode {mode!r} makes other points; expected: 'std'")
        space = getattr(other, "space", None)
        sizes = dict(space if isinstance(space, Mapping) else dict.fromkeys(other.labels, 1))
        columns = other if isinstance(other, Tensor) else other.as_tensor
        whole = torch.cat([self.tensor, columns.as_subclass(Tensor)], -1)
        both = None if self.space is None else type(self.space)({**self.space, **sizes})
        return _labelled(whole, {**self._sizes, **sizes}, both)

    join = append

    def __bool__(self) -> bool:
        """Whether there are any points."""
        return len(self) > 0

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

    def to(self, *args: Any, **kwargs: Any) -> Labelled:
        """The same in another type or on another device."""
        return self._again(self.tensor.to(*args, **kwargs))

    def detach(self) -> Labelled:
        """The same without a history."""
        return self._again(self.tensor.detach())

    @property
    def _sizes(self) -> dict[str, int]:
        return {name: place.stop - place.start for name, place in self.places.items()}

    def _again(self, x: Tensor) -> Labelled:
        return _labelled(x, self._sizes, self.space)


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
