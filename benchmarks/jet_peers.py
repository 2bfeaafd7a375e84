"""The peers of bench_jets.py: other ways from one tanh network of x and t to u, u_x, u_t and u_xx.

They differentiate by themselves: `value` is the case of u alone. ONNX Runtime, which cannot, runs our graph of `jet`.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from kdpinn_edge.comparison.backend import Array, Call, Case, CFunction
from kdpinn_edge.comparison.backends.c_source import NAME, Source, library
from kdpinn_edge.comparison.backends.casadi_c import EVAL
from kdpinn_edge.program.ir import Affine
from kdpinn_edge.runtime import load

Bind = Callable[[Case, Case, Array, Array], Call | CFunction]
"""`bind(value, jet, x, y)`: as in kdpinn_edge/comparison/backend.py, with y (n, 4)."""


def layers(case: Case) -> list[tuple[Array, Array]]:
    """(weight, bias) of each layer in float32, weight (out, in)."""
    affine = [op for op in case.program.ops if isinstance(op, Affine)]
    return [(op.weight.astype(np.float32), op.bias.astype(np.float32)) for op in affine]


def onnx_runtime(value: Case, jet: Case, x: Array, y: Array) -> Call:
    """The graph that we export, x and y in the caller's memory."""
    return load(jet.bundle, engine="onnx").bind(x, y)


def jax_jit(value: Case, jet: Case, x: Array, y: Array, *, method: str, columns: bool) -> Call:
    """JAX's jitted forward-mode jet: `method` "jvp" nests jvp, "jet" is jax.experimental.jet.

    All points at once, as vmap would have it; a point in each row, or in each of `columns`. XLA finds what the
    derivatives have in common.
    """
    import jax
    from jax.experimental.jet import jet as taylor

    jax.config.update("jax_cpu_enable_async_dispatch", False)
    parameters = [(jax.numpy.asarray(weight), jax.numpy.asarray(bias)) for weight, bias in layers(value)]

    def u(v: Any) -> Any:
        for i, (weight, bias) in enumerate(parameters):
            v = jax.numpy.tanh(v) if i else v
            v = weight @ v + bias[:, None] if columns else v @ weight.T + bias
        return v

    def along(f: Callable[[Any], Any], direction: Any) -> Callable[[Any], Any]:
        return lambda v: jax.jvp(f, (v,), (direction,))

    def evaluate(v: Any) -> Any:
        v = v.T if columns else v
        axis = 0 if columns else 1
        e_x, e_t = (jax.numpy.zeros_like(v).at[(i, ...) if columns else (..., i)].set(1) for i in (0, 1))
        if method == "jvp":
            (value, u_x), (_, u_xx) = along(along(u, e_x), e_x)(v)
        else:
            value, (u_x, u_xx) = taylor(u, (v,), ((e_x, jax.numpy.zeros_like(v)),))
        _, u_t = along(u, e_t)(v)
        jets = jax.numpy.concatenate([value, u_x, u_t, u_xx], axis=axis)
        return jets.T if columns else jets

    compiled, points = jax.jit(evaluate), jax.device_put(x)
    return lambda: compiled(points).block_until_ready()


def casadi_c(value: Case, jet: Case, x: Array, y: Array, *, kind: str) -> CFunction:
    """CasADi's C, from scalar ("SX") or matrix ("MX") expressions and its own jtimes, in float with -Ofast.

    Its calls of tanh are made tanhf's, which CasADi's float does not.
    """
    import casadi

    point = getattr(casadi, kind).sym("x", 2)
    u = point
    for i, (weight, bias) in enumerate(layers(value)):
        u = casadi.tanh(u) if i else u
        u = casadi.mtimes(casadi.DM(weight.astype(np.float64)), u) + casadi.DM(bias.astype(np.float64))
    u_x, u_t = (casadi.jtimes(u, point, casadi.DM(direction)) for direction in ([1, 0], [0, 1]))
    u_xx = casadi.jtimes(u_x, point, casadi.DM([1, 0]))
    function = casadi.Function("model", [point], [casadi.vertcat(u, u_x, u_t, u_xx)], {"cse": True})
    generator = casadi.CodeGenerator("model.c", {"casadi_real": "float"})
    generator.add(function)
    code = EVAL.format(
        code=f"#include <math.h>\n#define tanh tanhf\n{generator.dump()}",
        scalar="float",
        arg=function.sz_arg(),
        res=function.sz_res(),
        w=max(1, function.sz_w()),
        iw=max(1, function.sz_iw()),
        n_in=2,
        n_out=4,
    )
    return CFunction(library(jet, Source(f"casadi_{kind}", code), "-Ofast"), NAME)


PEERS: dict[str, Bind] = {
    "onnxruntime, our graph": onnx_runtime,
    "jax, jvp": partial(jax_jit, method="jvp", columns=False),
    "jax, jvp, points in columns": partial(jax_jit, method="jvp", columns=True),
    "jax, jet": partial(jax_jit, method="jet", columns=False),
    "jax, jet, points in columns": partial(jax_jit, method="jet", columns=True),
}
C_PEERS: dict[str, Bind] = {
    "casadi, SX": partial(casadi_c, kind="SX"),
    "casadi, MX": partial(casadi_c, kind="MX"),
}
