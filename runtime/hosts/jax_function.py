"""A model as a function of JAX that `jit`, `vmap`, `jvp` and `grad` take, differentiated once or twice."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import jax
import numpy as np
from jax import numpy as jnp

from kdpinn_edge.runtime.engine import Array, Engine
from kdpinn_edge.runtime.hosts.derivative import check_given, derivative
from kdpinn_edge.runtime.hosts.host_function import HostFunction

Function = Callable[[Any], Any]
X64 = 'JAX makes float32 of everything unless jax.config.update("jax_enable_x64", True) comes before the first array'


def jax_function(engine: Engine) -> Function:
    """The values of `engine` at arrays (…, n_in) of its precision: (…, n_out)."""
    return HostFunction(_derivative, engine)


def _derivative(engine: Engine, order: int = 0) -> Function:
    fix = X64 if engine.dtype == np.float64 else "Convert it: x.astype(jnp.float32)"

    @cache
    def next_order() -> Function:
        return _derivative(engine, order + 1)

    def on_host(x: Any) -> Array:
        return derivative(engine, order, np.asarray(x))

    def values(x: Any) -> Any:
        x = jnp.asarray(x)
        check_given(engine, x.shape, x.dtype, fix)
        columns = derivative(engine, order, np.empty((0, engine.n_in), engine.dtype)).shape[1:]
        shape = (*x.shape[:-1], *columns)
        return jax.pure_callback(on_host, jax.ShapeDtypeStruct(shape, x.dtype), x, vmap_method="broadcast_all")

    def rule(primals: tuple[Any], tangents: tuple[Any]) -> tuple[Any, Any]:
        (x,), (tangent,) = primals, tangents
        along = jnp.reshape(tangent, (*tangent.shape[:-1], *(1,) * (order + 1), engine.n_in))
        return evaluate(x), (next_order()(x) * along).sum(-1)

    evaluate = jax.custom_jvp(values)
    evaluate.defjvp(rule)
    function: Function = evaluate
    return function
