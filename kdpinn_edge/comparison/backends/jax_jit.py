"""JAX: the Program traced and compiled by XLA for the shape, weights as constants, x on the device before."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial
from operator import mul, neg, sub, truediv
from typing import Any

from kdpinn_edge.comparison.backend import Array, Backend, Call, Case, Prepared
from kdpinn_edge.comparison.backends.prepared import prepared
from kdpinn_edge.comparison.backends.traced import Words, library_function, require_functions, traced
from kdpinn_edge.numerics.reference import rounded
from kdpinn_edge.program.ir import parameters


def prepare(case: Case, threads: int | None, *, points_in_rows: bool) -> Prepared:
    """Prepare `jit`. With a point in each column XLA is faster at some n."""
    if threads is not None:
        os.environ["PJRT_NPROC"] = str(threads)  # XLA takes no option; it reads this once per process
    import jax

    precision = case.manifest.precision
    jax.config.update("jax_enable_x64", precision == "float64")
    # with asynchronous dispatch n = 1 takes three times as long
    jax.config.update("jax_cpu_enable_async_dispatch", threads is None)
    words = _rows(jax) if points_in_rows else _columns(jax)
    require_functions(case.program, words.function)
    constants = [tuple(jax.numpy.asarray(rounded(a, precision)) for a in parameters(op)) for op in case.program.ops]

    def evaluate(v: Any) -> Any:
        if points_in_rows:
            return traced(case.program, constants, words, v)
        return traced(case.program, constants, words, v.T).T

    compiled = jax.jit(evaluate)

    def bind(x: Array, y: Array) -> Call:
        points = jax.device_put(x)
        compiled(points)
        return lambda: compiled(points).block_until_ready()

    report = "its own choice" if threads is None else f"PJRT_NPROC={threads}, jax_cpu_enable_async_dispatch=False"
    return prepared(case, bind, report)


def _rows(jax: Any) -> Words:
    return Words(
        affine=lambda weight, bias, x: x @ weight.T + bias,
        scale=lambda weight, bias, x: weight * x + bias,
        function=partial(_function, jax),
        select=lambda c, a, b: jax.numpy.where(c > 0, a, b),
        concat=partial(jax.numpy.concatenate, axis=1),
        part=lambda x, start, stop: x[:, start:stop],
    )


def _columns(jax: Any) -> Words:
    return Words(
        affine=lambda weight, bias, x: weight @ x + bias[:, None],
        scale=lambda weight, bias, x: weight[:, None] * x + bias[:, None],
        function=partial(_function, jax),
        select=lambda c, a, b: jax.numpy.where(c > 0, a, b),
        concat=partial(jax.numpy.concatenate, axis=0),
        part=lambda x, start, stop: x[start:stop],
    )


def _function(jax: Any, fn: str) -> Callable[[Any], Any]:
    words = "abs acos acosh add asin asinh atan atanh cos cosh exp log reciprocal sign sin sinh sqrt tan tanh"
    operators = {word.title(): getattr(jax.numpy, word) for word in words.split()}
    operators |= {"Div": truediv, "Mul": mul, "Neg": neg, "Pow": pow, "Sub": sub}
    operators |= {"Max": jax.numpy.maximum, "Min": jax.numpy.minimum}
    operators |= {"Erf": jax.lax.erf, "Relu": jax.nn.relu, "Sigmoid": jax.nn.sigmoid, "Softplus": jax.nn.softplus}
    own = {"expm1": jax.numpy.expm1, "log1p": jax.numpy.log1p, "silu": jax.nn.silu}
    return library_function("JAX", own, operators, fn)


PACKAGES = ("jax", "jaxlib", "numpy")
JAX = Backend(
    "jax, jit", "framework call", "same function", PACKAGES, "peers", partial(prepare, points_in_rows=True), PACKAGES
)
JAX_COLUMNS = Backend(
    "jax, jit, points in columns",
    "framework call",
    "same function",
    PACKAGES,
    "peers",
    partial(prepare, points_in_rows=False),
    PACKAGES,
)
