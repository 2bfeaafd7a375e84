"""The networks that every target is held to, with their jets, and one of all operations and functions."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise

import numpy as np
from strategies import LIMITED, mlp

from kdpinn_edge.bundle.manifest import FunctionName
from kdpinn_edge.derive.derivatives import derivatives
from kdpinn_edge.functions import FUNCTIONS
from kdpinn_edge.program.ir import Add, Affine, Concat, Map, Mul, Op, Program, Scale, Select, Slice, Var, columns
from kdpinn_edge.program.verify import verify


def fourier_net() -> Program:
    """sin and cos of a random projection of two inputs, then sin layers."""
    rng = np.random.default_rng(1)
    x, t = Var("x", 1), Var("t", 1)
    z, phase, sine, cosine, h = Var("z", 2), Var("phase", 16), Var("sine", 16), Var("cosine", 16), Var("h", 32)
    ops: list[Op] = [
        Concat(z, (x, t)),
        Affine(phase, z, rng.normal(0, 4, (16, 2)), np.zeros(16)),
        Map(sine, phase, "sin"),
        Map(cosine, phase, "cos"),
        Concat(h, (sine, cosine)),
    ]
    for i, (n_in, n_out) in enumerate(pairwise((32, 32, 32))):
        a, out = Var(f"a{i}", n_out), Var(f"h{i}", n_out)
        ops += [Affine(a, h, rng.normal(0, 0.2, (n_out, n_in)), rng.normal(0, 0.1, n_out)), Map(out, a, "sin")]
        h = out
    u = Var("u", 1)
    ops.append(Affine(u, h, rng.normal(0, 0.2, (1, 32)), np.zeros(1)))
    return verify(Program("fourier", (x, t), (u,), tuple(ops)))


def with_jet(program: Program) -> Mapping[FunctionName, Program]:
    """The value, both slopes, and the second derivative by the first input."""
    a, b = columns(program.inputs)[:2]
    return {"eval": program, "jet": derivatives(program, ["u", f"u_{a}", f"u_{b}", f"u_{a}_{a}"])}


NETS = {"tanh": mlp(2, 32, 4, 1), "fourier": fourier_net(), "silu": mlp(2, 32, 3, 1, fn="silu")}


def mlp_of_everything(rng: np.random.Generator) -> Program:
    """Every operation and every function there is, in three inputs and two outputs."""
    x, t = Var("x", 2), Var("t", 1)
    whole, part = Var("whole", 3), Var("part", 2)
    ops: list[Op] = [Concat(whole, (x, t)), Slice(part, whole, 1)]
    mapped = []
    for i, fn in enumerate(FUNCTIONS):
        z, e, a = (Var(f"{letter}{i}", 4) for letter in "zea")
        ops.append(Affine(z, part, rng.normal(0, 0.6, (4, part.size)), rng.normal(0, 0.1, 4)))
        ops += [Map(e, z, "exp"), Map(a, e, fn)] if fn in LIMITED else [Map(a, z, fn)]
        mapped.append(a)
    side_by_side, v = Var("side_by_side", 4 * len(mapped)), Var("v", 4)
    ops.append(Concat(side_by_side, tuple(mapped)))
    ops.append(Affine(v, side_by_side, rng.normal(0, 0.2, (4, side_by_side.size)), rng.normal(0, 0.1, 4)))
    scaled, product, chosen, total = (Var(name, 4) for name in ("scaled", "product", "chosen", "total"))
    u = Var("u", 2)
    ops += [
        Scale(scaled, v, rng.normal(1, 0.1, 4), rng.normal(0, 0.1, 4)),
        Mul(product, scaled, v),
        Select(chosen, product, scaled, v),
        Add(total, product, chosen),
        Affine(u, total, rng.normal(0, 0.5, (2, 4)), rng.normal(0, 0.1, 2)),
    ]
    return Program("everything", (x, t), (u,), tuple(ops))
