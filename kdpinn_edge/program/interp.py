"""The meaning of a Program, in float64 NumPy. Every other backend is judged against this file."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike

from kdpinn_edge.errors import EngineError
from kdpinn_edge.program.ir import Add, Affine, Array, Concat, Map, Mul, Op, Program, Scale, Slice


def _sigmoid(x: Array) -> Array:
    e = np.exp(-np.abs(x))
    result: Array = np.where(x < 0, e, 1) / (1 + e)
    return result


def _silu(x: Array) -> Array:
    return np.where(x < -800, -800, x) * _sigmoid(x)  # -0 at -inf, where x * sigmoid(x) would be NaN


FUNCTION: dict[str, Callable[[Array], Array]] = {
    "tanh": np.tanh,
    "sin": np.sin,
    "cos": np.cos,
    "exp": np.exp,
    "sigmoid": _sigmoid,
    "silu": _silu,
    "softplus": lambda x: np.logaddexp(0, x),
    "lorentzian": lambda x: 1 / (1 + x * x),
}


def interpret(program: Program, x: ArrayLike) -> Array:
    """Evaluate `program` at the points x (n, n_in); returns (n, n_out), float64, or long double where x is.

    Columns are the inputs, and the outputs, in the order of the Program, one after another. Raises EngineError where
    x has another shape.
    """
    points = np.asarray(x)
    points = points.astype(np.promote_types(points.dtype, np.float64), copy=False)
    if points.ndim != 2 or points.shape[1] != program.n_in:
        raise EngineError(f"x has shape {points.shape}; expected: (n, {program.n_in}), one row per point")
    ends = np.cumsum([var.size for var in program.inputs])
    columns = np.split(points, ends[:-1], axis=1)
    env = {var.name: column for var, column in zip(program.inputs, columns, strict=True)}
    with np.errstate(all="ignore"):
        for op in program.ops:
            env[op.out.name] = _value(op, env)
    return np.concatenate([env[var.name] for var in program.outputs], axis=1)


def _value(op: Op, env: dict[str, Array]) -> Array:
    match op:
        case Affine(x=x, weight=W, bias=b):
            return env[x.name] @ W.T + b
        case Scale(x=x, weight=w, bias=b):
            return w * env[x.name] + b
        case Map(x=x, fn=fn):
            return FUNCTION[fn](env[x.name])
        case Add(a=a, b=b):
            return env[a.name] + env[b.name]
        case Mul(a=a, b=b):
            return env[a.name] * env[b.name]
        case Concat(xs=xs):
            return np.concatenate([env[x.name] for x in xs], axis=1)
        case Slice(out=out, x=x, start=start):
            return env[x.name][:, start : start + out.size]
