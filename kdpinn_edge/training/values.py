"""Tensors as an equation sees them: arithmetic and the functions of a Program, in torch's own operators."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from kdpinn_edge.equation.arithmetic import Arithmetic
from kdpinn_edge.training.torch_functions import torch_function


@dataclass(frozen=True, eq=False)
class Values(Arithmetic):
    """A number at every point, in a tensor."""

    tensor: Tensor

    def mapped(self, fn: str) -> Values:
        """The function of a Program that is called `fn`, of these values."""
        return Values(torch_function(fn)(self.tensor))

    def _plus(self, other: Any) -> Values:
        return Values(self.tensor + _operand(other))

    def _times(self, other: Any) -> Values:
        return Values(self.tensor * _operand(other))

    def _minus(self, other: Any) -> Values:
        return Values(self.tensor - _operand(other))

    def _from(self, other: float) -> Values:
        return Values(other - self.tensor)

    def _over(self, other: float) -> Values:
        return Values(self.tensor / other)

    def _raised(self, exponent: int) -> Values:
        return Values(self.tensor**exponent)

    def __neg__(self) -> Values:
        return Values(-self.tensor)


def _operand(other: Any) -> Any:
    return other.tensor if isinstance(other, Values) else other


def joined(columns: Sequence[Values]) -> Tensor:
    """The tensors (n, 1) of `columns` side by side, (n, k)."""
    return torch.cat([column.tensor for column in columns], dim=1)


def split(points: Tensor) -> list[Values]:
    """The columns of `points` (n, k), each (n, 1)."""
    return [Values(column) for column in torch.tensor_split(points, points.shape[1], dim=1)]
