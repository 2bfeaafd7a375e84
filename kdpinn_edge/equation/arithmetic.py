"""What an equation, its features and its ansatz may do: arithmetic, and every function of a Program.

They are called with numbers of which nothing else is known: tensors while a network is trained (`training/values.py`),
tensors with derivatives (`training/jets.py`), symbols when the Program is written (`derive/residual.py`). All three are
`Arithmetic`, so whatever training accepts can be exported.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import reduce
from math import isfinite, log
from operator import mul
from typing import Any

import numpy as np

from kdpinn_edge.errors import ProgramError
from kdpinn_edge.functions import FUNCTIONS, find_function
from kdpinn_edge.functions.power import power_name

LONGEST_PRODUCT = 8
"""Whole powers up to here are products of the number with itself; all others are functions of a Program."""

OPERATORS: Mapping[str, Callable[..., Any]] = {
    "add": lambda a, b: a + b,
    "subtract": lambda a, b: a - b,
    "sub": lambda a, b: a - b,
    "multiply": lambda a, b: a * b,
    "mul": lambda a, b: a * b,
    "divide": lambda a, b: a / b,
    "true_divide": lambda a, b: a / b,
    "div": lambda a, b: a / b,
    "power": lambda a, b: a**b,
    "float_power": lambda a, b: a**b,
    "pow": lambda a, b: a**b,
    "negative": lambda a: -a,
    "neg": lambda a: -a,
    "positive": lambda a: a,
    "square": lambda a: a * a,
    "rsqrt": lambda a: a**-0.5,
    "tan": lambda a: a.mapped("sin") / a.mapped("cos"),
    "sinh": lambda a: 0.5 * (a.mapped("exp") - (-a).mapped("exp")),
    "cosh": lambda a: 0.5 * (a.mapped("exp") + (-a).mapped("exp")),
}
"""What functions of NumPy and torch are, by their names, beside those that are functions of a Program."""
NAMES: Mapping[str, str] = {"arctan": "atan", "absolute": "abs", "fabs": "abs"}
"""Functions of a Program that NumPy calls otherwise."""


class Arithmetic:
    """A number at every point. A subclass has `_plus`, `_times` and `mapped`, and gives more where it is faster."""

    def mapped(self, fn: str) -> Any:
        """The function of a Program that is called `fn`, of this number."""
        raise NotImplementedError

    def _plus(self, other: Any) -> Any:
        """The sum with another of the same kind, or with a float."""
        raise NotImplementedError

    def _times(self, other: Any) -> Any:
        """The product with another of the same kind, or with a float."""
        raise NotImplementedError

    def _minus(self, other: Any) -> Any:
        return self._plus(-other)

    def _from(self, other: float) -> Any:
        """The difference other − self."""
        return (-self)._plus(other)

    def _over(self, other: float) -> Any:
        return self._times(1 / other)

    def _raised(self, exponent: int) -> Any:
        """The product of so many of this number, two or more."""
        return reduce(mul, [self] * exponent)

    def __add__(self, other: object) -> Any:
        return self._plus(_operand(other, self))

    def __radd__(self, other: object) -> Any:
        return self._plus(_operand(other, self))

    def __sub__(self, other: object) -> Any:
        return self._minus(_operand(other, self))

    def __rsub__(self, other: object) -> Any:
        return self._from(_number(other))

    def __mul__(self, other: object) -> Any:
        return self._times(_operand(other, self))

    def __rmul__(self, other: object) -> Any:
        return self._times(_operand(other, self))

    def __neg__(self) -> Any:
        return self._times(-1.0)

    def __pos__(self) -> Any:
        return self

    def __abs__(self) -> Any:
        return self.mapped("abs")

    def __truediv__(self, other: object) -> Any:
        if isinstance(other, Arithmetic):
            return self._times(_operand(other, self).mapped("reciprocal"))
        divisor = _number(other)
        if divisor == 0:
            raise TypeError("it divides by zero")
        return self._over(divisor)

    def __rtruediv__(self, other: object) -> Any:
        return self.mapped("reciprocal")._times(_number(other))

    def __pow__(self, exponent: object) -> Any:
        if isinstance(exponent, Arithmetic):
            raise TypeError("it raises to a power that is not the same at all points; expected: np.exp(b * np.log(a))")
        power = _number(exponent)
        if power == 0:
            raise TypeError("it raises to the power 0, which is 1")
        if power == 1:
            return self
        if power == int(power) and 2 <= power <= LONGEST_PRODUCT:
            return self._raised(int(power))
        return self.mapped({0.5: "sqrt", -1.0: "reciprocal"}.get(power) or power_name(power))

    def __rpow__(self, base: object) -> Any:
        number = _number(base)
        if number <= 0:
            raise TypeError(f"it raises {number:g} to a power; expected: a base above 0")
        return self._times(log(number)).mapped("exp")

    def __eq__(self, other: object) -> bool:
        raise TypeError("it compares a number that depends on the point")

    __hash__ = None  # type: ignore[assignment]

    def __bool__(self) -> bool:
        raise TypeError("it decides by a number that depends on the point")

    def __lt__(self, other: object) -> bool:
        raise TypeError("it compares a number that depends on the point")

    __le__ = __gt__ = __ge__ = __lt__

    def __float__(self) -> float:
        raise TypeError("it takes a number that depends on the point out; expected: np.sin in place of math.sin")

    def __array__(self, *_: object, **__: object) -> Any:
        raise TypeError("it makes an array of a number that depends on the point")

    def __iter__(self) -> Any:
        raise TypeError("it takes one number for several; expected: a tuple, as in (u_t - u_xx,)")

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, **options: Any) -> Any:
        """What a function of NumPy, as in np.exp(u), does to this number."""
        if method != "__call__" or options:
            raise TypeError(f"it calls np.{ufunc.__name__} in a way that is more than a function of its arguments")
        return _applied(ufunc.__name__, inputs, f"np.{ufunc.__name__}")

    @classmethod
    def __torch_function__(
        cls, func: Callable[..., Any], types: object, args: Sequence[Any] = (), kwargs: object = None
    ) -> Any:
        """What a function of torch, as in torch.exp(u), does to this number."""
        if kwargs:
            raise TypeError(f"it calls torch.{func.__name__} with options")
        return _applied(func.__name__, args, f"torch.{func.__name__}")


class Mathematics:
    """The functions of a Program by their names: `m.sin`, `m.exp`, `m.log`, `m.sqrt`, `m.erf`, `m.softplus`, …"""

    def __getattr__(self, name: str) -> Callable[[Any], Any]:
        if name.startswith("__"):
            raise AttributeError(name)
        return lambda x: _applied(name, (x,), f"m.{name}")


MATH = Mathematics()


def _applied(name: str, arguments: Sequence[Any], called: str) -> Any:
    name = NAMES.get(name, name)
    if name in FUNCTIONS and len(arguments) == 1:
        (x,) = arguments
        return x.mapped(name) if isinstance(x, Arithmetic) else find_function(name).exact(np.asarray(x, np.float64))
    if name in OPERATORS:
        return OPERATORS[name](*(x if isinstance(x, Arithmetic) else _number(x) for x in arguments))
    known = ", ".join(sorted({*FUNCTIONS, "tan", "sinh", "cosh"}))
    raise ProgramError(f"it calls {called}, which no Program has; expected: arithmetic and {known}")


def _operand(other: object, like: Arithmetic) -> Any:
    """`other` as `like` takes it: another of its kind, or a float."""
    if isinstance(other, Arithmetic):
        if type(other) is not type(like):
            raise TypeError(f"it joins {type(like).__name__} and {type(other).__name__}")
        return other
    return _number(other)


def _number(value: object) -> float:
    if getattr(value, "shape", None) == () and hasattr(value, "item"):
        value = value.item()
    if isinstance(value, bool) or not isinstance(value, int | float) or not isfinite(value):
        raise TypeError(f"it joins a number that depends on the point to {value!r}; expected: finite numbers")
    return value
