"""What a function of somebody else returns, as columns: one array, or several of which each has some of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from kdpinn_edge.errors import TrainError
from kdpinn_edge.problems import Array


def as_columns(found: object, n: int, outputs: Sequence[str], name: str) -> Tensor:
    """The values (n, n_out), float64, that `name` returned for n points.

    An array or a tensor (n, n_out), or (n,) for one output; or a tuple or dict of such, side by side, a dict that has
    the names of the outputs in their order. Raises TrainError for anything else.
    """
    if isinstance(found, Mapping):
        found = tuple(found[each] for each in (outputs if set(outputs) <= set(found) else found))
    parts = list(found) if isinstance(found, tuple) else [found]
    read = [_column(part, name) for part in parts]
    shapes = " and ".join(str(tuple(part.shape)) for part in read)
    read = [part[:, None] if part.ndim == 1 else part for part in read]
    if any(part.ndim != 2 or len(part) != n for part in read) or sum(part.shape[1] for part in read) != len(outputs):
        raise TrainError(
            f"{name} returns {shapes or 'nothing'} for {n} points; expected: ({n}, {len(outputs)}), with the columns "
            f"{', '.join(outputs)}"
        )
    return torch.cat(read, dim=1)


def check_finite(x: Array, values: Array, inputs: Sequence[str], name: str) -> None:
    """Raise TrainError, with a point, where not all values (n, n_out) of `name` at the points x are finite."""
    finite = np.isfinite(values).all(axis=1)
    if not finite.all():
        at = ", ".join(f"{column} = {number:g}" for column, number in zip(inputs, x[np.argmin(finite)], strict=True))
        raise TrainError(
            f"{name} is not finite at {np.sum(~finite)} of {len(x)} points, the first is {at}; expected: finite values "
            "in all of the domain. The usual cause is a domain that is too wide"
        )


def _column(part: object, name: str) -> Tensor:
    if isinstance(part, Tensor):
        found = part
    else:
        array = np.asarray(part)
        if array.dtype.kind not in "biuf":
            raise TrainError(
                f"{name} returns {type(part).__name__} of {array.dtype}; expected: an array of real numbers"
            )
        found = torch.from_numpy(np.array(array, dtype=np.float64))
    if found.is_complex():
        raise TrainError(f"{name} returns complex numbers; expected: real ones, as in torch.view_as_real(u)")
    return found.to(torch.float64)
