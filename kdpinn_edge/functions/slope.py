"""The algebra that the derivative of a function is written in: once, for everything that differentiates.

    Expression = X | Y                      the argument x, and the value y = f(x)
               | Number(value)              a constant
               | Scaled(a, weight, bias)    weight * a + bias, two numbers
               | Sum(a, b) | Product(a, b)
               | Applied(fn, a)             another function of the table, by its name

`1 - Y * Y` is the slope of tanh, `Number(0.0)` that of a step. What the leaves stand for is the reader's choice:
streams of a Program (`derive/`), tensors (`training/jets.py`), arrays. It is closed under d/dx, so higher derivatives
follow.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

V = TypeVar("V")


class Expression:
    """The operators of expressions."""

    def __add__(self, other: Expression | float) -> Expression:
        return Sum(self, other) if isinstance(other, Expression) else scaled(self, 1.0, other)

    def __radd__(self, other: float) -> Expression:
        return scaled(self, 1.0, other)

    def __mul__(self, other: Expression | float) -> Expression:
        return Product(self, other) if isinstance(other, Expression) else scaled(self, other)

    def __rmul__(self, other: float) -> Expression:
        return scaled(self, other)

    def __neg__(self) -> Expression:
        return scaled(self, -1.0)

    def __sub__(self, other: Expression | float) -> Expression:
        return self + -other

    def __rsub__(self, other: float) -> Expression:
        return scaled(self, -1.0, other)


@dataclass(frozen=True)
class Argument(Expression):
    """The argument of the function."""


@dataclass(frozen=True)
class Result(Expression):
    """The value of the function."""


@dataclass(frozen=True)
class Scaled(Expression):
    """The expression weight * a + bias."""

    a: Expression
    weight: float
    bias: float


@dataclass(frozen=True)
class Sum(Expression):
    """The sum a + b."""

    a: Expression
    b: Expression


@dataclass(frozen=True)
class Product(Expression):
    """The product a * b."""

    a: Expression
    b: Expression


@dataclass(frozen=True)
class Applied(Expression):
    """The function called `fn`, of a."""

    fn: str
    a: Expression


@dataclass(frozen=True)
class Number(Expression):
    """The constant `value`."""

    value: float


X, Y = Argument(), Result()


def scaled(a: Expression, weight: float, bias: float = 0.0) -> Expression:
    """The expression weight * a + bias, in one operation where `a` is scaled itself."""
    if isinstance(a, Scaled):
        return Scaled(a.a, weight * a.weight, weight * a.bias + bias)
    return Scaled(a, float(weight), float(bias))


class Algebra(Protocol[V]):
    """The meaning of expressions on values of one kind."""

    def number(self, value: float) -> V:
        """The constant `value`."""

    def scaled(self, a: V, weight: float, bias: float) -> V:
        """The value weight * a + bias."""

    def sum(self, a: V, b: V) -> V:
        """The sum a + b."""

    def product(self, a: V, b: V) -> V:
        """The product a * b."""

    def applied(self, fn: str, a: V) -> V:
        """The function called `fn`, of a."""


class Operators:
    """The algebra of what has + and *, as arrays and tensors do; `function` gives the functions on them by name."""

    def __init__(self, function: Callable[[str], Callable[[Any], Any]]) -> None:
        self._function = function

    def number(self, value: float) -> Any:
        """The constant `value`, which + and * take as it is."""
        return value

    def scaled(self, a: Any, weight: float, bias: float) -> Any:
        """The value weight * a + bias, in no more operations than it takes."""
        scaled = -a if weight == -1 and bias == 0 else a * weight
        return scaled + bias if bias else scaled

    def sum(self, a: Any, b: Any) -> Any:
        """The sum a + b."""
        return a + b

    def product(self, a: Any, b: Any) -> Any:
        """The product a * b."""
        return a * b

    def applied(self, fn: str, a: Any) -> Any:
        """The function called `fn`, of a."""
        return self._function(fn)(a)


@dataclass(frozen=True)
class Formula:
    """Expressions as a straight line: every part once, behind what it is made of.

    A step is a part and the places of its operands; places count x, y and then the steps. `results` are the places of
    the expressions.
    """

    steps: tuple[tuple[Expression, tuple[int, ...]], ...]
    results: tuple[int, ...]


def formula(expressions: Sequence[Expression]) -> Formula:
    """The straight line of these expressions."""
    places: dict[Expression, int] = {X: 0, Y: 1}
    steps: list[tuple[Expression, tuple[int, ...]]] = []

    def place(expression: Expression) -> int:
        if expression not in places:
            operands = tuple(map(place, _parts(expression)))
            steps.append((expression, operands))
            places[expression] = len(steps) + 1
        return places[expression]

    results = tuple(map(place, expressions))
    return Formula(tuple(steps), results)


def values(line: Formula, algebra: Algebra[V], x: V, y: V) -> tuple[V, ...]:
    """The values of the expressions of `line` for the argument x and the value y."""
    known = [x, y]
    for expression, operands in line.steps:
        match expression, [known[place] for place in operands]:
            case Number(number), []:
                value = algebra.number(number)
            case Scaled(_, weight, bias), [a]:
                value = algebra.scaled(a, weight, bias)
            case Sum(), [a, b]:
                value = algebra.sum(a, b)
            case Product(), [a, b]:
                value = algebra.product(a, b)
            case Applied(fn, _), [a]:
                value = algebra.applied(fn, a)
            case _:
                raise AssertionError(expression)
        known.append(value)
    return tuple(known[place] for place in line.results)


def _parts(expression: Expression) -> tuple[Expression, ...]:
    match expression:
        case Scaled(a, _, _) | Applied(_, a):
            return (a,)
        case Sum(a, b) | Product(a, b):
            return (a, b)
        case Argument() | Result() | Number():
            return ()
        case _:
            raise AssertionError(expression)


def differentiated(expression: Expression, slope: Expression, slope_of: Callable[[str], Expression]) -> Expression:
    """The derivative of `expression` by X, where that of Y is `slope`; `slope_of` gives those of other functions."""

    def of(part: Expression) -> Expression:
        return differentiated(part, slope, slope_of)

    match expression:
        case Number():
            return Number(0.0)
        case Argument():
            return Number(1.0)
        case Result():
            return slope
        case Scaled(a, weight, _):
            return _times(of(a), Number(weight))
        case Sum(a, b):
            return _plus(of(a), of(b))
        case Product(a, b) if a == b:
            return _times(_times(of(a), a), Number(2.0))
        case Product(a, b):
            return _plus(_times(of(a), b), _times(of(b), a))
        case Applied(fn, a):
            return _times(of(a), _with(slope_of(fn), a, expression))
        case _:
            raise AssertionError(expression)


def replaced(expression: Expression, old: Expression, new: Expression) -> Expression:
    """The expression with `new` wherever `old` occurs."""
    if expression == old:
        return new
    match expression:
        case Argument() | Result() | Number():
            return expression
        case Scaled(a, weight, bias):
            return Scaled(replaced(a, old, new), weight, bias)
        case Sum(a, b):
            return Sum(replaced(a, old, new), replaced(b, old, new))
        case Product(a, b):
            return Product(replaced(a, old, new), replaced(b, old, new))
        case Applied(fn, a):
            return Applied(fn, replaced(a, old, new))
        case _:
            raise AssertionError(expression)


def _with(expression: Expression, x: Expression, y: Expression) -> Expression:
    """`expression` with other leaves."""
    marked = replaced(expression, Y, Applied("", Y))  # no function is called so: x may hold a Y of its own
    return replaced(replaced(marked, X, x), Applied("", Y), y)


def _plus(a: Expression, b: Expression) -> Expression:
    match a, b:
        case Number(), Number():
            return Number(a.value + b.value)
        case Number(), _:
            return _plus(b, a)
        case _, Number():
            return a if b.value == 0 else a + b.value
    return a + b


def _times(a: Expression, b: Expression) -> Expression:
    match a, b:
        case Number(), Number():
            return Number(a.value * b.value)
        case Number(), _:
            return _times(b, a)
        case _, Number():
            return a if b.value == 1 else b if b.value == 0 else a * b.value
    return a * b
