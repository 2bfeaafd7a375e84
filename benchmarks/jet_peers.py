"""The peers of bench_jets.py: other ways to u, u_x, u_t and u_xx of one tanh network, on one thread.

As in peers.py, `bind(net, x)` returns a call without arguments; it returns the columns u, u_x, u_t, u_xx at x (n, 2).
"""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kdpinn_edge.errors import BenchError
from kdpinn_edge.ir import Affine, Program
from kdpinn_edge.runtime.c_harness import SOURCE as HARNESS

Array = NDArray[Any]
Call = Callable[[], Any]


def layers(program: Program) -> list[tuple[Array, Array]]:
    """(weight, bias) of each layer in float64, weight (out, in)."""
    return [(op.weight, op.bias) for op in program.ops if isinstance(op, Affine)]


def jax_call(program: Program, x: Array, *, method: str, columns: bool) -> Call:
    """JAX's jitted forward-mode jet: `method` "jvp" nests jvp, "jet" is jax.experimental.jet.

    For all points at once, as vmap would make it; a point in each row, or in each of `columns`. XLA finds what the
    derivatives have in common.
    """
    import jax
    from jax.experimental.jet import jet

    jax.config.update("jax_cpu_enable_async_dispatch", False)
    parameters = [tuple(jax.numpy.asarray(a, np.float32) for a in layer) for layer in layers(program)]

    def u(v: Any) -> Any:
        for i, (weight, bias) in enumerate(parameters):
            v = weight @ v + bias[:, None] if columns else v @ weight.T + bias
            v = v if i == len(parameters) - 1 else jax.numpy.tanh(v)
        return v

    def along(f: Any, direction: Any) -> Any:
        return lambda v: jax.jvp(f, (v,), (direction,))

    @jax.jit
    def evaluate(v: Any) -> Any:
        v = v.T if columns else v
        rows = (slice(0, 1), slice(1, 2)) if columns else ((slice(None), 0), (slice(None), 1))
        e_x, e_t = (jax.numpy.zeros_like(v).at[row].set(1) for row in rows)
        if method == "jvp":
            (value, u_x), (_, u_xx) = along(along(u, e_x), e_x)(v)
        else:
            value, (u_x, u_xx) = jet(u, (v,), ((e_x, jax.numpy.zeros_like(v)),))
        _, u_t = along(u, e_t)(v)
        jets = jax.numpy.concatenate([value, u_x, u_t, u_xx], axis=0 if columns else 1)
        return jets.T if columns else jets

    points = jax.device_put(x)
    return lambda: evaluate(points).block_until_ready()


JAX: dict[str, Callable[[Program, Array], Call]] = {
    f"jax-{method}{suffix}": partial(jax_call, method=method, columns=bool(suffix))
    for method in ("jvp", "jet")
    for suffix in ("", "-columns")
}

CASADI = {f"casadi-{kind}-{real}": (kind, real) for kind in ("SX", "MX") for real in ("double", "float")}
CASADI_LIBRARY = """
#include <math.h>
{narrow}
#include "jet.c"
#include "kdpinn_edge.h"

static int32_t eval(const {real} *x, {real} *y, int64_t n) {{
    const {real} *arg[{sz_arg} + 1];
    {real} *res[{sz_res} + 1], w[{sz_w} + 1];
    casadi_int iw[{sz_iw} + 1];
    for (int64_t i = 0; i < n; i++) {{
        arg[0] = x + 2 * i;
        res[0] = y + 4 * i;
        jet(arg, res, iw, w, 0);
    }}
    return KDPINN_OK;
}}

static int32_t selftest(void) {{ return 0; }}

const kdpinn_model *casadi_model(void) {{
    static const kdpinn_function functions[] = {{{{.name = "eval", .f{bits} = eval, .n_out = 4}}}};
    static const kdpinn_model description = {{
        .abi = KDPINN_ABI, .scalar_bytes = sizeof({real}), .n_in = 2, .n_functions = 1, .functions = functions,
        .selftest = selftest}};
    return &description;
}}
"""


def casadi_library(program: Program, folder: Path, kind: str, real: str) -> Path:
    """CasADi's C for the jet, from scalar ("SX") or matrix ("MX") expressions, in `real`, compiled for this machine.

    A library that harness.c takes for a model of the name casadi. In float its calls of tanh are tanhf's. Raises
    BenchError where the C compiler is missing or fails.
    """
    import casadi

    compiler = shutil.which("cc")
    if compiler is None:
        raise BenchError("the C compiler 'cc' is not on PATH; install one (on Debian: apt install gcc)")
    x = getattr(casadi, kind).sym("x", 2)
    u = x
    for i, (weight, bias) in enumerate(layers(program)):
        u = casadi.tanh(u) if i else u
        u = casadi.mtimes(casadi.DM(weight), u) + casadi.DM(bias)
    u_x, u_t = (casadi.jtimes(u, x, casadi.DM(direction)) for direction in ([1, 0], [0, 1]))
    u_xx = casadi.jtimes(u_x, x, casadi.DM([1, 0]))
    function = casadi.Function("jet", [x], [casadi.vertcat(u, u_x, u_t, u_xx)], {"cse": True})
    generator = casadi.CodeGenerator("jet.c", {"casadi_real": real})
    generator.add(function)
    folder.mkdir()
    generator.generate(f"{folder}/")
    sizes = {name: getattr(function, name)() for name in ("sz_arg", "sz_res", "sz_w", "sz_iw")}
    narrow, bits = ("#define tanh tanhf", 32) if real == "float" else ("", 64)
    (folder / "unit.c").write_text(CASADI_LIBRARY.format(real=real, narrow=narrow, bits=bits, **sizes))
    flags = ["-Ofast", "-march=native", "-fPIC", "-fno-semantic-interposition", f"-I{HARNESS.parent}"]
    # linked without -Ofast, which would add a constructor that flushes subnormal numbers in the whole process
    for command in (
        [compiler, *flags, "-c", str(folder / "unit.c"), "-o", str(folder / "unit.o")],
        [compiler, "-shared", str(folder / "unit.o"), "-o", str(folder / "casadi.so"), "-lm"],
    ):
        done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603
        if done.returncode != 0:
            raise BenchError(f"{command[0]} failed with exit code {done.returncode}: {done.stderr.strip()}")
    return folder / "casadi.so"
