"""The NumPy program: a Program in one precision, with every rounding pinned down. Kernels return exactly these bits.

In the numerics profile `fma-2` a multiply-add is rounded once, as processors do that have the instruction; in
`muladd-1` the product is rounded, and then the sum. `fma-2-fast` and `muladd-1-fast`, for float32, have the fast grade
of the activations. All else they have in common:
  - parameters are rounded to the precision once;
  - Affine sums products by multiply-add over `partial_sums` interleaved sums, term k going to sum k mod P; sum 0 starts
    from the bias, the others from +0; they are added by halving (sum i + sum i + P/2, until one is left);
  - Scale is one multiply-add; Add and Mul are one operation; Map is the function of `activations.py`, of the grade;
  - division is IEEE, nothing is flushed to zero, and every NaN that comes out is the canonical quiet NaN.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kdpinn_edge.errors import EngineError, ProgramError
from kdpinn_edge.numerics.activations import Activation, functions
from kdpinn_edge.numerics.lanes import PROFILES, Lanes, canonical, fma, is_fast
from kdpinn_edge.numerics.lanes import profile as rounding_of
from kdpinn_edge.numerics.words import affine
from kdpinn_edge.program.ir import Add, Affine, Concat, Map, Mul, Op, Program, Scale, Slice, parameters

PRECISIONS: dict[str, np.dtype[Any]] = {"float32": np.dtype(np.float32), "float64": np.dtype(np.float64)}
POINTS_AT_ONCE = 1024


def rounded(array: NDArray[Any], dtype: str) -> NDArray[Any]:
    """Round `array` to "float16", "float32" or "float64". Raises ProgramError where that is not finite."""
    with np.errstate(over="ignore"):
        result = np.ascontiguousarray(array, dtype)
    if not np.isfinite(result).all():
        raise ProgramError(
            f"a parameter is {np.abs(array).max():.3g}, which {dtype} cannot hold; expected: up to "
            f"{np.finfo(dtype).max:.3g}. Rescale the layer, or export with a wider type."
        )
    return result


class NumpyProgram:
    """A Program as a function of points (n, n_in) to (n, n_out), in "float32" or "float64", bit for bit as exported.

    `profile` is the numerics profile of the target. Raises EngineError for one that is unknown or lacks the
    precision, ProgramError where a parameter does not fit the precision.
    """

    def __init__(self, program: Program, precision: str, profile: str = "fma-2") -> None:
        if profile not in PROFILES:
            raise EngineError(
                f"the numerics profile is {profile!r}; this version computes {', '.join(PROFILES)}: update kdpinn_edge"
            )
        if is_fast(profile) and precision != "float32":
            raise EngineError(f"the numerics profile {profile} has no {precision}; expected: float32")
        self.program = program
        self.profile = profile
        self.dtype = PRECISIONS[precision]
        self._functions = functions(profile)
        self._parameters = [tuple(rounded(a, precision) for a in parameters(op)) for op in program.ops]

    def __call__(self, x: NDArray[Any]) -> NDArray[Any]:
        """Evaluate at x (n, n_in), of the precision of the program."""
        y: NDArray[Any] = np.empty((len(x), self.program.n_out), self.dtype)
        with np.errstate(all="ignore"), rounding_of(self.profile):
            for i in range(0, len(x), POINTS_AT_ONCE):
                y[i : i + POINTS_AT_ONCE] = self._columns(x[i : i + POINTS_AT_ONCE].T).T
        return y

    def _columns(self, rows: Lanes) -> Lanes:
        starts = np.cumsum([var.size for var in self.program.inputs])
        split = np.split(rows, starts[:-1])
        env = {var.name: value for var, value in zip(self.program.inputs, split, strict=True)}
        for op, constants in zip(self.program.ops, self._parameters, strict=True):
            env[op.out.name] = _value(op, constants, env, self._functions)
        return canonical(np.concatenate([env[var.name] for var in self.program.outputs]))


def _value(op: Op, constants: tuple[Lanes, ...], env: dict[str, Lanes], functions: Mapping[str, Activation]) -> Lanes:
    match op:
        case Affine(x=x):
            weight, bias = constants
            return affine(env[x.name], weight, bias)
        case Scale(x=x):
            weight, bias = constants
            return fma(weight[:, None], env[x.name], bias[:, None])
        case Map(x=x, fn=fn):
            return functions[fn](env[x.name])
        case Add(a=a, b=b):
            return env[a.name] + env[b.name]
        case Mul(a=a, b=b):
            return env[a.name] * env[b.name]
        case Concat(xs=xs):
            return np.concatenate([env[x.name] for x in xs])
        case Slice(out=out, x=x, start=start):
            return env[x.name][start : start + out.size]
