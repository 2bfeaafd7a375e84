"""A Program of which only a part is as in its fixed-point program: by which errors are told apart."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray

from kdpinn_edge.numerics.fixed_point.calls import FixedPoint
from kdpinn_edge.numerics.fixed_point.quantise import END_OF_ATAN
from kdpinn_edge.numerics.fixed_point.tables import ATAN, ERF, EXP2, INVERSE_ROOT, RECIPROCAL, SIN, TANH, Table
from kdpinn_edge.numerics.fixed_point.words import polynomial
from kdpinn_edge.program.evaluate import evaluate
from kdpinn_edge.program.interp import Meaning
from kdpinn_edge.program.ir import Affine, Array, Program, Scale


def with_rounded_weights(program: Program, fixed: FixedPoint, x: Array, *, tables: bool) -> Array:
    """The values of `program` at x (n, n_in) in float64, with the weights of `fixed`; with its tables, too."""
    return evaluate(program, _Partly(fixed, tables=tables), np.asarray(x, np.float64))


class _Partly(Meaning):
    def __init__(self, fixed: FixedPoint, *, tables: bool) -> None:
        self._parameters, self._tables = fixed.parameters, tables

    def affine(self, op: Affine, x: Array) -> Array:
        weight, bias = self._parameters[op.out.name]
        return x @ weight.T + bias

    def scale(self, op: Scale, x: Array) -> Array:
        weight, bias = self._parameters[op.out.name]
        return weight * x + bias

    def map(self, fn: str, x: Array) -> Array:
        return TABULATED[fn](x) if self._tables else super().map(fn, x)


def _looked_up(table: Table, share: Array) -> Array:
    """The value of a table where it is so far from its begin to its end, from 0 to 1."""
    u: NDArray[np.int64] = np.clip(np.rint(share * 2.0**32), 0, 2**32 - 1).astype(np.int64)
    return polynomial(table, u) / 2.0**31


def _odd(table: Table, end: float, x: Array) -> Array:
    return np.copysign(_looked_up(table, np.abs(x) / end), x)


def _tanh(x: Array) -> Array:
    """Beyond the table it is exact, as its slope is there."""
    found: Array = np.where(np.abs(x) < 8, _odd(TANH, 8, x), np.tanh(x))
    return found


def _sigmoid(x: Array) -> Array:
    return 0.5 + 0.5 * _tanh(0.5 * x)


def _sin(x: Array) -> Array:
    half_turns = x / np.pi
    whole = np.floor(half_turns)
    return np.where(whole % 2 == 0, 1.0, -1.0) * _looked_up(SIN, half_turns - whole)


def _exp(x: Array) -> Array:
    power = x / np.log(2.0)
    whole = np.floor(power)
    found: Array = np.ldexp(_looked_up(EXP2, power - whole), whole.astype(np.int64) + 1)
    return found


def _atan(x: Array) -> Array:
    near = np.abs(x) <= END_OF_ATAN
    return np.where(near, 2 * _odd(ATAN, 4, x), 4 * _odd(ATAN, 4, x / (1 + np.sqrt(1 + x * x))))


def _reciprocal(x: Array) -> Array:
    mantissa, exponent = np.frexp(np.abs(x))
    found: Array = np.ldexp(_looked_up(RECIPROCAL, 2 * mantissa - 1), 2 - exponent)
    return np.copysign(found, x)


def _rsqrt(x: Array) -> Array:
    mantissa, exponent = np.frexp(x)
    odd, half = (exponent - 1) % 2, (exponent - 1) // 2
    found: Array = np.ldexp(_looked_up(INVERSE_ROOT, (2 * mantissa - 1 + odd) / 2), 1 - half)
    return found


TABULATED: Mapping[str, Callable[[Array], Array]] = {
    "tanh": _tanh,
    "sigmoid": _sigmoid,
    "silu": lambda x: x * _sigmoid(x),
    "sin": _sin,
    "cos": lambda x: _sin(x + np.pi / 2),
    "exp": _exp,
    "erf": lambda x: _odd(ERF, 4, x),
    "atan": _atan,
    "lorentzian": lambda x: _reciprocal(1 + x * x),
    "abs": np.abs,
    "relu": lambda x: np.maximum(x, 0.0),
    "step": lambda x: np.heaviside(x, 0.0),
    "sqrt": lambda x: x * _rsqrt(x),
    "reciprocal": _reciprocal,
    "power(-0.5)": _rsqrt,
}
