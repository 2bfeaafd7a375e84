"""Activations as typed loops: each is called once with a symbol, and what it does is written down."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from functools import cache, partial
from typing import Any

import numpy as np

from kdpinn_edge.export.lowering.loops import (
    FLOAT_OF,
    Elementwise,
    Expr,
    Get,
    Let,
    Number,
    Scalar,
    Type,
    Variable,
    apply,
)
from kdpinn_edge.functions import kernel
from kdpinn_edge.functions.record import Kernel
from kdpinn_edge.numerics.lanes import Symbolic

DTYPES: Mapping[Scalar, np.dtype[Any]] = {
    "float32": np.dtype(np.float32),
    "float64": np.dtype(np.float64),
    "bits32": np.dtype(np.int32),
    "bits64": np.dtype(np.int64),
}
DOUBLE = ("float64", "bits64")


@cache
def traced(fn: str, precision: Scalar, profile: str) -> Elementwise:
    """The function `fn` of a Program as the numerics profile computes it in this precision."""
    function = kernel(fn, profile)
    lets: list[Let] = []
    parameter = Variable("x", Type(precision))
    result: Any = function(Symbol(Get(parameter), lets))  # type: ignore[arg-type]
    word = function.func if isinstance(function, partial) else function
    return Elementwise(symbol(function), inspect.getdoc(word) or "", parameter, tuple(lets), result.value)


def symbol(function: Kernel) -> str:
    """What the code of a function is called: by its word, and by the number that it is given, if any: power_m1p5."""
    if not isinstance(function, partial):
        return function.__name__
    (number,) = function.keywords.values()
    return f"{function.func.__name__}_{number!r}".translate({ord("-"): "m", ord("."): "p", ord("+"): None})


class Symbol(Symbolic):
    """A number that is calculated. Each operation on it becomes a variable of `lets`."""

    def __init__(self, value: Expr, lets: list[Let]) -> None:
        self.value = value
        self._lets = lets
        self.dtype = DTYPES.get(value.type.scalar, np.dtype(bool))

    def word(self, name: str, operands: tuple[Any, ...]) -> Symbol:
        """The operation `name`; numbers take the type of the other operands, in `select` of those it chooses from."""
        typed = operands[1:] if name == "select" else operands
        scalar = next(each.value.type.scalar for each in typed if isinstance(each, Symbol))
        values = [each.value if isinstance(each, Symbol) else _number(each, scalar) for each in operands]
        value = apply(name, *values)
        variable = Variable(f"t{len(self._lets)}", value.type)
        self._lets.append(Let(variable, value))
        return Symbol(Get(variable), self._lets)


def _number(value: Any, scalar: Scalar) -> Number:
    """A number of Python, or the entry of a pair that belongs to the precision, rounded once."""
    number = value[scalar in DOUBLE] if isinstance(value, tuple) else value
    return Number(Type(scalar), int(number) if scalar in FLOAT_OF else float(np.asarray(number, DTYPES[scalar])))
