"""The NumPy program: a Program in one precision, with every rounding pinned down. Kernels return exactly these bits.

In the numerics profile `fma-2` a multiply-add is rounded once, as processors do that have the instruction; in
`muladd-1` the product is rounded, and then the sum. `fma-2-fast` and `muladd-1-fast`, for float32, have the fast grade
of the activations. All else they have in common:
  - parameters are rounded to the precision once;
  - Affine sums products by multiply-add over `partial_sums` interleaved sums, term k going to sum k mod P; sum 0 starts
    from the bias, the others from +0; they are added by halving (sum i + sum i + P/2, until one is left);
  - Scale is one multiply-add; Add and Mul are one operation; Select moves bits;
  - Map is as `kdpinn_edge/functions` computes it, by grade;
  - division is IEEE, nothing is flushed to zero, and every NaN that comes out is the canonical quiet NaN.

The profile `int16-1`, for float32 points and results, is one of integers: `fixed_point/`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kdpinn_edge.errors import EngineError, ProgramError
from kdpinn_edge.functions import kernel
from kdpinn_edge.numerics import fixed_point
from kdpinn_edge.numerics.fixed_point.quantise import quantise
from kdpinn_edge.numerics.lanes import PROFILES, Lanes, canonical, fma, is_fast
from kdpinn_edge.numerics.lanes import profile as rounding_of
from kdpinn_edge.numerics.words import affine, where_positive
from kdpinn_edge.program.evaluate import evaluate
from kdpinn_edge.program.ir import Affine, Program, Scale, parameters

PRECISIONS: dict[str, np.dtype[Any]] = {"float32": np.dtype(np.float32), "float64": np.dtype(np.float64)}
Box = tuple[Sequence[float], Sequence[float]]
"""The domain of a model: the lower ends of its inputs, and the upper ends."""
NUMBERS_AT_ONCE = 1 << 12
"""How many numbers a variable has for the points that are evaluated at once: so many that NumPy's work is in cache."""


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


KNOWN = (*PROFILES, fixed_point.PROFILE)
"""The numerics profiles."""


class NumpyProgram:
    """A Program as a function of points (n, n_in) to (n, n_out), in "float32" or "float64", bit for bit as exported.

    `profile` is the numerics profile of the target, and `box` the domain, which only int16-1 depends on. Raises
    EngineError for a profile that is unknown or lacks the precision, ProgramError where a parameter does not fit it.
    """

    def __init__(self, program: Program, precision: str, profile: str = "fma-2", box: Box | None = None) -> None:
        if profile not in KNOWN:
            raise EngineError(
                f"the numerics profile is {profile!r}; this version computes {', '.join(KNOWN)}: update kdpinn_edge"
            )
        if (is_fast(profile) or profile == fixed_point.PROFILE) and precision != "float32":
            raise EngineError(f"the numerics profile {profile} has no {precision}; expected: float32")
        self.program = program
        self.profile = profile
        self.dtype = PRECISIONS[precision]
        self._step = max(
            1, NUMBERS_AT_ONCE // max(var.size for var in (*program.inputs, *(op.out for op in program.ops)))
        )
        self.fixed = None
        if profile == fixed_point.PROFILE:
            self.fixed = quantise(program, *(box or ((-np.inf,) * program.n_in, (np.inf,) * program.n_in)))
            return
        self._semantics = _Rounded(program, precision, profile)

    def __call__(self, x: NDArray[Any]) -> NDArray[Any]:
        """Evaluate at x (n, n_in), of the precision of the program."""
        y: NDArray[Any] = np.empty((len(x), self.program.n_out), self.dtype)
        if self.fixed is not None:
            for i in range(0, len(x), self._step):
                y[i : i + self._step] = self.fixed(x[i : i + self._step].T).T
            return y
        with np.errstate(all="ignore"), rounding_of(self.profile):
            for i in range(0, len(x), self._step):
                y[i : i + self._step] = self._columns(x[i : i + self._step].T).T
        return y

    def on_integers(self, x: NDArray[np.int32]) -> NDArray[np.int32]:
        """Evaluate at points x (n, n_in) of scaled integers, in a profile of integers; the results are such, too."""
        if self.fixed is None:
            raise EngineError(f"the numerics profile {self.profile} has no integers; expected: {fixed_point.PROFILE}")
        y, function = np.empty((len(x), self.program.n_out), np.int32), self.fixed.on_integers
        for i in range(0, len(x), self._step):
            y[i : i + self._step] = function(x[i : i + self._step].T).T
        return y

    def _columns(self, rows: Lanes) -> Lanes:
        return canonical(evaluate(self.program, self._semantics, rows))


class _Rounded:
    """The operations in one precision and profile, on the entries of a variable along the first axis."""

    def __init__(self, program: Program, precision: str, profile: str) -> None:
        self._profile = profile
        self._parameters = {op.out.name: [rounded(a, precision) for a in parameters(op)] for op in program.ops}

    def affine(self, op: Affine, x: Lanes) -> Lanes:
        weight, bias = self._parameters[op.out.name]
        return affine(x, weight, bias)

    def scale(self, op: Scale, x: Lanes) -> Lanes:
        weight, bias = self._parameters[op.out.name]
        return fma(weight[:, None], x, bias[:, None])

    def map(self, fn: str, x: Lanes) -> Lanes:
        return kernel(fn, self._profile)(x)

    def add(self, a: Lanes, b: Lanes) -> Lanes:
        return a + b

    def mul(self, a: Lanes, b: Lanes) -> Lanes:
        return a * b

    def select(self, c: Lanes, a: Lanes, b: Lanes) -> Lanes:
        return where_positive(c, a, b)

    def concat(self, xs: Sequence[Lanes]) -> Lanes:
        return np.concatenate(xs)

    def slice(self, x: Lanes, start: int, size: int) -> Lanes:
        return x[start : start + size]
