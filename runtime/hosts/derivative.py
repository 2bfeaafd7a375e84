"""What a differentiable function of a framework is made of: the values of a model, their Jacobian, their Hessian."""

from __future__ import annotations

import math
from typing import Any

from kdpinn_edge.errors import EngineError
from kdpinn_edge.runtime.engine import Array, Engine
from kdpinn_edge.runtime.room import check_room

HIGHEST = 2


def derivative(engine: Engine, order: int, x: Array) -> Array:
    """The values (order 0), Jacobian or Hessian at x (…, n_in): an array (…, n_out), (…, n_out, n_in), …

    Raises EngineError for another order, where the model lacks these derivatives, and where there is no room.
    """
    if order > HIGHEST:
        raise EngineError(
            f"a third derivative of {engine.manifest.name!r} is asked for; expected: first and second ones, which the "
            "model has by --derivatives 'jacobian, hessian'"
        )
    n = math.prod(x.shape[:-1])
    check_room(n, n * engine.n_out * engine.n_in**order * x.itemsize)
    found = (engine.eval, engine.jacobian, engine.hessian)[order](x.reshape(-1, engine.n_in))
    return found.reshape(*x.shape[:-1], *found.shape[1:])


def check_given(engine: Engine, shape: tuple[int, ...], dtype: Any, convert: str) -> None:
    """Raise EngineError unless points have n_in columns and the precision; `convert` is how they get it."""
    if str(dtype).removeprefix("torch.") != engine.manifest.precision:
        raise EngineError(f"x has dtype {dtype}; expected: {engine.dtype}, the precision of the model. {convert}")
    if shape[-1:] != (engine.n_in,):
        columns = ", ".join(column.name for column in engine.manifest.inputs)
        raise EngineError(f"x has shape {shape}; expected: (…, {engine.n_in}), the columns being {columns}")
