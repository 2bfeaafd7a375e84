"""Operators of networks, rewritten into the operations of a Program: activations, norms, choices, reductions.

Each takes `t`, the Tensors that it calculates in, then what its operator takes. Both sides of a choice are calculated,
so each side stays finite where the other one is taken. At a kink a derivative is that of torch. Where a function is put
together of pieces that continue each other, the pieces meet with all their derivatives.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np

from kdpinn_edge.functions.power import MOST, power_name
from kdpinn_edge.importers.tensors.tensors import Constant, Operand, Refusal, Table, Tensor, Tensors, Value, shape_of

LARGEST_SORT = 32
"""So many numbers are sorted at most: their comparisons grow with the square."""

# Comparisons give masks: 1 where they hold, else 0


def greater(t: Tensors, a: Operand, b: Operand) -> Value:
    """a > b. An infinity is the largest number."""
    return t.map(t.subtract(_bounded(a), _bounded(b)), "step")


def _bounded(x: Operand) -> Operand:
    return x if isinstance(x, Tensor) else np.nan_to_num(x, nan=np.nan)


def not_(t: Tensors, mask: Operand) -> Value:
    """Where `mask` does not hold."""
    return t.scale(mask, -1.0, 1.0)


def and_(t: Tensors, a: Operand, b: Operand) -> Value:
    """Where both masks hold."""
    return t.multiply(a, b)


def or_(t: Tensors, a: Operand, b: Operand) -> Value:
    """Where one of the masks holds, or both."""
    return t.map(t.add(a, b), "step")


def different(t: Tensors, a: Operand, b: Operand) -> Value:
    """a ≠ b."""
    return or_(t, greater(t, a, b), greater(t, b, a))


def any_(t: Tensors, mask: Operand, axes: Sequence[int] | None = None, *, keepdims: bool = False) -> Value:
    """Where the mask holds somewhere along the axes."""
    return t.map(t.sum(mask, axes, keepdims=keepdims), "step")


def all_(t: Tensors, mask: Operand, axes: Sequence[int] | None = None, *, keepdims: bool = False) -> Value:
    """Where the mask holds everywhere along the axes."""
    return not_(t, any_(t, not_(t, mask), axes, keepdims=keepdims))


def finite(t: Tensors, x: Operand) -> Value:
    """Where x is neither a NaN nor an infinity. There x - x is 0, elsewhere a NaN."""
    return t.select(t.scale(t.subtract(x, x), 1.0, 1.0), 1.0, 0.0)


def nan(t: Tensors, x: Operand) -> Value:
    """Where x is a NaN, which is not finite, not positive and not negative."""
    return t.select(finite(t, x), 0.0, t.select(x, 0.0, t.select(t.negative(x), 0.0, 1.0)))


def infinite(t: Tensors, x: Operand) -> Value:
    """Where x is an infinity."""
    return t.select(finite(t, x), 0.0, t.select(x, 1.0, t.select(t.negative(x), 1.0, 0.0)))


# Choices


def maximum(t: Tensors, a: Operand, b: Operand) -> Value:
    """max(a, b). Where they are equal, either has half of the slope."""
    return _chosen(t, t.subtract(a, b), a, b)


def minimum(t: Tensors, a: Operand, b: Operand) -> Value:
    """min(a, b). Where they are equal, either has half of the slope."""
    return _chosen(t, t.subtract(b, a), a, b)


def _chosen(t: Tensors, difference: Operand, a: Operand, b: Operand) -> Value:
    either = t.scale(t.add(a, b), 0.5)
    return t.select(difference, a, t.select(t.negative(difference), b, either))


def clamp(t: Tensors, x: Operand, lower: Operand | None = None, upper: Operand | None = None) -> Value:
    """min(max(x, lower), upper), a bound of None or ∞ being none. At a bound the slope is that of x."""
    if lower is not None and not _is(lower, -np.inf):
        x = t.select(t.subtract(lower, x), lower, x)
    if upper is not None and not _is(upper, np.inf):
        x = t.select(t.subtract(x, upper), upper, x)
    return x if isinstance(x, Tensor) else np.asarray(x)


def _is(bound: Operand, number: float) -> bool:
    return not isinstance(bound, Tensor) and bool(np.equal(bound, number).all())


def hardtanh(t: Tensors, x: Operand, lower: float = -1.0, upper: float = 1.0) -> Value:
    """min(max(x, lower), upper). At a bound the slope is 0."""
    return t.select(t.scale(x, 1.0, -lower), t.select(t.scale(x, -1.0, upper), x, upper), lower)


def sign(t: Tensors, x: Operand) -> Value:
    """1 where x > 0, -1 where x < 0, else 0."""
    return t.subtract(t.map(x, "step"), t.map(t.negative(x), "step"))


def copysign(t: Tensors, x: Operand, y: Operand) -> Value:
    """|x| where y ≥ 0, else -|x|."""
    magnitude = t.map(x, "abs")
    return t.select(t.negative(y), t.negative(magnitude), magnitude)


def nan_to_num(
    t: Tensors, x: Operand, at_nan: float | None = None, above: float | None = None, below: float | None = None
) -> Value:
    """x with numbers in place of NaN, ∞ and -∞: 0 and the largest ones, unless others are given."""
    largest = float(np.finfo(np.float64).max)
    negative = t.select(t.negative(x), -largest if below is None else below, 0.0 if at_nan is None else at_nan)
    return t.select(finite(t, x), x, t.select(x, largest if above is None else above, negative))


def heaviside(t: Tensors, x: Operand, at_zero: Operand) -> Value:
    """1 where x > 0, 0 where x < 0, else `at_zero`."""
    return t.select(x, 1.0, t.select(t.negative(x), 0.0, at_zero))


def threshold(t: Tensors, x: Operand, limit: float, value: float) -> Value:
    """x where x > limit, else `value`."""
    return t.select(t.scale(x, 1.0, -limit), x, value)


def hardshrink(t: Tensors, x: Operand, limit: float = 0.5) -> Value:
    """x where |x| > limit, else 0."""
    return t.select(t.scale(t.map(x, "abs"), 1.0, -limit), x, 0.0)


def softshrink(t: Tensors, x: Operand, limit: float = 0.5) -> Value:
    """x - limit where x > limit, x + limit where x < -limit, else 0."""
    below = t.select(t.scale(x, -1.0, -limit), t.scale(x, 1.0, limit), 0.0)
    above = t.scale(x, 1.0, -limit)
    return t.select(above, above, below)


# Activations of pieces


def leaky_relu(t: Tensors, x: Operand, slope: Operand = 0.01) -> Value:
    """x where x > 0, else slope * x."""
    return t.select(x, x, t.multiply(x, slope))


def _negative_part(t: Tensors, x: Operand) -> Value:
    """x where x ≤ 0, else 0. At 0 the slope is 1."""
    return t.subtract(x, t.map(x, "relu"))


def elu(t: Tensors, x: Operand, alpha: float = 1.0, scale: float = 1.0, input_scale: float = 1.0) -> Value:
    """scale * (x where x > 0, else alpha * (exp(input_scale * x) - 1))."""
    exponential = t.map(t.scale(_negative_part(t, x), input_scale), "expm1")
    return t.select(x, t.scale(x, scale), t.scale(exponential, alpha * scale))


def selu(t: Tensors, x: Operand, alpha: float = 1.6732632423543772, scale: float = 1.0507009873554805) -> Value:
    """The self-normalising ELU."""
    return elu(t, x, alpha, scale)


def celu(t: Tensors, x: Operand, alpha: float = 1.0) -> Value:
    """x where x > 0, else alpha * (exp(x / alpha) - 1)."""
    return elu(t, x, alpha, 1.0, 1 / alpha)


def softplus(t: Tensors, x: Operand, beta: float = 1.0, threshold: float = 20.0) -> Value:
    """ln(1 + exp(beta * x)) / beta, and x where beta * x > threshold."""
    scaled = t.scale(x, beta)
    return t.select(t.scale(scaled, 1.0, -threshold), x, t.scale(t.map(scaled, "softplus"), 1 / beta))


def hardsigmoid(t: Tensors, x: Operand, slope: float = 1 / 6, bias: float = 0.5) -> Value:
    """slope * x + bias, cut off at 0 and 1. There the slope is 0."""
    return hardtanh(t, t.scale(x, slope, bias), 0.0, 1.0)


def hardswish(t: Tensors, x: Operand) -> Value:
    """0 where x ≤ -3, x where x ≥ 3, else x * (x + 3) / 6."""
    inner = t.multiply(x, t.scale(x, 1 / 6, 0.5))
    return t.select(t.scale(x, 1.0, 3.0), t.select(t.scale(x, -1.0, 3.0), inner, x), 0.0)


# Smooth activations


def gelu(t: Tensors, x: Operand, *, by_tanh: bool = False) -> Value:
    """x Φ(x), Φ the normal distribution, or its approximation by tanh."""
    if by_tanh:
        inner = t.multiply(x, t.scale(t.multiply(x, x), 0.044715, 1.0))
        phi = t.map(t.scale(inner, math.sqrt(2 / math.pi)), "tanh")
    else:
        phi = t.map(t.scale(x, math.sqrt(0.5)), "erf")
    return t.multiply(t.scale(x, 0.5), t.scale(phi, 1.0, 1.0))


def mish(t: Tensors, x: Operand) -> Value:
    """x tanh(ln(1 + exp(x)))."""
    return t.multiply(x, t.map(t.map(x, "softplus"), "tanh"))


def log_sigmoid(t: Tensors, x: Operand) -> Value:
    """ln(1 / (1 + exp(-x)))."""
    return t.negative(t.map(t.negative(x), "softplus"))


def softsign(t: Tensors, x: Operand) -> Value:
    """x / (1 + |x|)."""
    return t.divide(x, t.scale(t.map(x, "abs"), 1.0, 1.0))


def tanhshrink(t: Tensors, x: Operand) -> Value:
    """x - tanh(x)."""
    return t.subtract(x, t.map(x, "tanh"))


def glu(t: Tensors, x: Operand, axis: int = -1) -> Value:
    """a * sigmoid(b), a and b being the halves of x along an axis."""
    a, b = (t.move(lambda table, half=half: np.split(table, 2, axis)[half], x) for half in range(2))
    return t.multiply(a, t.map(b, "sigmoid"))


# Elementary functions


def power(t: Tensors, x: Operand, exponent: Operand) -> Value:
    """x to an exponent, which is a constant, or of a positive x."""
    if isinstance(exponent, Tensor):
        return t.map(t.multiply(exponent, t.map(x, "log")), "exp")
    if not isinstance(x, Tensor):
        return np.asarray(np.power(np.asarray(x, dtype=np.float64), exponent))
    distinct = np.unique(np.asarray(exponent, dtype=np.float64))
    if len(distinct) == 1:
        return _power(t, x, float(distinct[0]))
    result: Value = np.zeros(())
    for each in distinct.tolist():
        result = t.select(np.equal(exponent, each), _power(t, x, each), result)
    return result


def _power(t: Tensors, x: Tensor, exponent: float) -> Value:
    if exponent == 0:
        return np.ones(x.shape)
    if exponent < 0 and (exponent == -0.5 or exponent.is_integer()):
        return t.reciprocal(_power(t, x, -exponent))
    if exponent == 0.5:
        return t.map(x, "sqrt")
    if exponent.is_integer() and exponent <= MOST:
        return _whole_power(t, x, int(exponent))
    if abs(exponent) > MOST:
        raise Refusal(f"an exponent of {exponent:g}; expected: one up to {MOST:g} with either sign")
    return t.map(x, power_name(exponent))


def _whole_power(t: Tensors, x: Value, exponent: int) -> Value:
    """The power by squares: x⁶ = (x²)² x²."""
    if exponent == 1:
        return x
    root = _whole_power(t, t.multiply(x, x), exponent // 2)
    return t.multiply(root, x) if exponent % 2 else root


def exponential(t: Tensors, base: Constant, x: Operand) -> Value:
    """base ** x, for positive constants."""
    if np.less_equal(base, 0).any():
        raise Refusal("a power of a constant that is not positive: use a positive base")
    return t.map(t.multiply(x, np.log(base)), "exp")


def logarithm(t: Tensors, x: Operand, base: float) -> Value:
    """The logarithm to a base."""
    return t.scale(t.map(x, "log"), 1 / math.log(base))


def x_log_y(t: Tensors, x: Operand, y: Operand) -> Value:
    """x ln y, and 0 where x = 0."""
    zero = not_(t, t.map(t.map(x, "abs"), "step"))
    return t.select(zero, 0.0, t.multiply(x, t.map(t.select(zero, 1.0, y), "log")))


def logit(t: Tensors, x: Operand) -> Value:
    """ln(x / (1 - x))."""
    return t.subtract(t.map(x, "log"), t.map(t.negative(x), "log1p"))


def rsqrt(t: Tensors, x: Operand) -> Value:
    """1 / √x."""
    return t.reciprocal(t.map(x, "sqrt"))


def sinh(t: Tensors, x: Operand) -> Value:
    """(exp(x) - exp(-x)) / 2, without cancellation at 0."""
    return t.scale(t.subtract(t.map(x, "expm1"), t.map(t.negative(x), "expm1")), 0.5)


def cosh(t: Tensors, x: Operand) -> Value:
    """(exp(x) + exp(-x)) / 2."""
    return t.scale(t.add(t.map(x, "exp"), t.map(t.negative(x), "exp")), 0.5)


def tan(t: Tensors, x: Operand) -> Value:
    """sin(x) / cos(x)."""
    return t.divide(t.map(x, "sin"), t.map(x, "cos"))


def asin(t: Tensors, x: Operand) -> Value:
    """2 atan(x / (1 + √(1 - x²)))."""
    root = t.map(t.multiply(t.scale(x, -1.0, 1.0), t.scale(x, 1.0, 1.0)), "sqrt")
    return t.scale(t.map(t.divide(x, t.scale(root, 1.0, 1.0)), "atan"), 2.0)


def acos(t: Tensors, x: Operand) -> Value:
    """2 atan(√(1 - x) / √(1 + x)), π at -1."""
    ratio = t.divide(t.map(t.scale(x, -1.0, 1.0), "sqrt"), t.map(t.scale(x, 1.0, 1.0), "sqrt"))
    return t.scale(t.map(ratio, "atan"), 2.0)


def asinh(t: Tensors, x: Operand) -> Value:
    """± ln(1 + a + a² / (1 + √(1 + a²))) with a = |x|."""

    def positive(a: Value) -> Value:
        square = t.multiply(a, a)
        root = t.map(t.scale(square, 1.0, 1.0), "sqrt")
        return t.map(t.add(a, t.divide(square, t.scale(root, 1.0, 1.0))), "log1p")

    return _odd(t, x, positive)


def acosh(t: Tensors, x: Operand) -> Value:
    """ln(1 + s + √(2 s + s²)) with s = x - 1."""
    s = t.scale(x, 1.0, -1.0)
    return t.map(t.add(s, t.map(t.multiply(s, t.scale(s, 1.0, 2.0)), "sqrt")), "log1p")


def atanh(t: Tensors, x: Operand) -> Value:
    """± ln(1 + 2 a / (1 - a)) / 2 with a = |x|."""

    def positive(a: Value) -> Value:
        return t.scale(t.map(t.divide(t.scale(a, 2.0), t.scale(a, -1.0, 1.0)), "log1p"), 0.5)

    return _odd(t, x, positive)


def _odd(t: Tensors, x: Operand, positive: Callable[[Value], Value]) -> Value:
    """The odd smooth function that is `positive` for x ≥ 0: ± positive(±x), with all derivatives at 0."""
    y = positive(t.select(x, x, t.negative(x)))
    return t.select(x, y, t.negative(y))


def atan2(t: Tensors, y: Operand, x: Operand) -> Value:
    """The angle of the point (x, y), in (-π, π]; 0 at the origin, with a slope of 0.

    The smaller coordinate is divided by the larger one; a multiple of π/2 is added.
    """
    steep = t.subtract(t.map(y, "abs"), t.map(x, "abs"))
    numerator, denominator = t.select(steep, t.negative(x), y), t.select(steep, y, x)
    angle = t.map(t.divide(numerator, _nonzero(t, denominator)), "atan")
    quarter = t.select(y, math.pi / 2, -math.pi / 2)
    half = t.select(t.negative(x), t.select(t.negative(y), -math.pi, math.pi), 0.0)
    return t.add(angle, t.select(steep, quarter, half))


def _nonzero(t: Tensors, x: Operand) -> Value:
    """x, and 1 where x = 0."""
    return t.select(t.map(x, "abs"), x, 1.0)


def hypot(t: Tensors, x: Operand, y: Operand) -> Value:
    """√(x² + y²), however large or small they are; at the origin the slope is 0."""
    flat = t.subtract(t.map(x, "abs"), t.map(y, "abs"))
    large, small = t.select(flat, x, y), t.select(flat, y, x)
    ratio = t.divide(small, _nonzero(t, large))
    return t.multiply(t.map(large, "abs"), t.map(t.scale(t.multiply(ratio, ratio), 1.0, 1.0), "sqrt"))


def sinc(t: Tensors, x: Operand) -> Value:
    """sin(π x) / (π x), and its series where |π x| < 1/2."""
    z = t.scale(x, math.pi)
    square = t.multiply(z, z)
    far = t.scale(square, 1.0, -0.25)
    quotient = t.divide(t.map(z, "sin"), t.select(far, z, 1.0))
    near = t.select(far, 0.0, square)
    series: Value = np.zeros(())
    for k in range(8, -1, -1):
        series = t.scale(t.multiply(series, near), 1.0, (-1) ** k / math.factorial(2 * k + 1))
    return t.select(far, quotient, series)


def log_add_exp(t: Tensors, a: Operand, b: Operand) -> Value:
    """ln(exp(a) + exp(b))."""
    difference = t.subtract(a, b)
    larger = t.select(difference, a, b)
    return t.add(larger, t.map(t.select(difference, t.negative(difference), difference), "softplus"))


# Reductions over axes, by default over all


def _tree(t: Tensors, combine: Callable[[Value, Value], Value], *, in_order: bool = False) -> Callable[[Value], Value]:
    """`combine`, which is associative, along the last axis, as a balanced tree; of neighbours where `in_order`."""

    def combined(terms: Value) -> Value:
        while (n := terms.shape[-1]) > 1:
            whole = n // 2 * 2
            first, second = (
                (slice(0, whole, 2), slice(1, whole, 2)) if in_order else (slice(n // 2), slice(n // 2, whole))
            )
            a, b, rest = (t.move(_last(part), terms) for part in (first, second, slice(whole, None)))
            terms = t.concatenate([combine(a, b), rest], -1)
        return t.move(lambda table: table[..., 0], terms)

    return combined


def _last(part: slice) -> Callable[[Table], Table]:
    return lambda table: table[..., part]


def product(t: Tensors, x: Operand, axes: Sequence[int] | None = None, *, keepdims: bool = False) -> Value:
    """The product."""
    return t.reduce(_tree(t, t.multiply), x, axes, keepdims=keepdims)


def largest(t: Tensors, x: Operand, axes: Sequence[int] | None = None, *, keepdims: bool = False) -> Value:
    """The largest number. Two that are equal share the slope."""
    return t.reduce(_tree(t, lambda a, b: maximum(t, a, b)), x, axes, keepdims=keepdims)


def smallest(t: Tensors, x: Operand, axes: Sequence[int] | None = None, *, keepdims: bool = False) -> Value:
    """The smallest number. Two that are equal share the slope."""
    return t.reduce(_tree(t, lambda a, b: minimum(t, a, b)), x, axes, keepdims=keepdims)


def first_largest(t: Tensors, x: Operand, axes: Sequence[int] | None = None, *, keepdims: bool = False) -> Value:
    """The largest number. Of those that are equal the first one has the slope."""

    def combine(a: Value, b: Value) -> Value:
        return t.select(t.subtract(b, a), b, a)

    return t.reduce(_tree(t, combine, in_order=True), x, axes, keepdims=keepdims)


def first_smallest(t: Tensors, x: Operand, axes: Sequence[int] | None = None, *, keepdims: bool = False) -> Value:
    """The smallest number. Of those that are equal the first one has the slope."""

    def combine(a: Value, b: Value) -> Value:
        return t.select(t.subtract(a, b), b, a)

    return t.reduce(_tree(t, combine, in_order=True), x, axes, keepdims=keepdims)


def _one_of_largest(t: Tensors, x: Operand, axes: Sequence[int] | None) -> Value:
    """The largest number, kept as an axis, for what does not depend on its slope."""
    return t.reduce(_tree(t, lambda a, b: t.select(t.subtract(a, b), a, b)), x, axes, keepdims=True)


def variance(
    t: Tensors, x: Operand, axes: Sequence[int] | None = None, correction: float = 1.0, *, keepdims: bool = False
) -> Value:
    """The mean square deviation from the mean, with n - correction in place of n."""
    n = _count(x, axes)
    if n <= correction:
        raise Refusal(f"the variance of {n} number is not defined; expected: two or more")
    centred = t.subtract(x, t.mean(x, axes, keepdims=True))
    return t.scale(t.mean(t.multiply(centred, centred), axes, keepdims=keepdims), n / (n - correction))


def _count(x: Operand, axes: Sequence[int] | None) -> int:
    sizes = shape_of(x)
    return math.prod(sizes if axes is None else (sizes[i] for i in axes))


def root(t: Tensors, x: Operand) -> Value:
    """√x for sums of squares: at 0 the slope is 0."""
    return t.select(x, t.map(t.select(x, x, 1.0), "sqrt"), 0.0)


def norm(
    t: Tensors, x: Operand, order: float = 2.0, axes: Sequence[int] | None = None, *, keepdims: bool = False
) -> Value:
    """The norm (Σ|x|^p)^(1/p), also for p = ∞, -∞ and 0."""
    if order == 2:
        return root(t, t.sum(t.multiply(x, x), axes, keepdims=keepdims))
    magnitude = t.map(x, "abs")
    if order == 1:
        return t.sum(magnitude, axes, keepdims=keepdims)
    if math.isinf(order):
        return (largest if order > 0 else smallest)(t, magnitude, axes, keepdims=keepdims)
    if order == 0:
        return t.sum(t.map(magnitude, "step"), axes, keepdims=keepdims)
    positive = t.select(magnitude, magnitude, 1.0)
    powers = t.select(magnitude, power(t, positive, order), 0.0 if order > 0 else np.inf)
    total = t.sum(powers, axes, keepdims=keepdims)
    return t.select(total, power(t, t.select(total, total, 1.0), 1 / order), 0.0)


def distances(t: Tensors, a: Operand, b: Operand, order: float = 2.0) -> Value:
    """The norms of the differences of all rows of a (…, k) and of b (…, k)."""
    rows = t.move(lambda table: table[..., :, None, :], a)
    return norm(t, t.subtract(rows, t.move(lambda table: table[..., None, :, :], b)), order, [-1])


def softmax(t: Tensors, x: Operand, axis: int = -1) -> Value:
    """exp(x) / Σ exp(x); the largest x is taken off, so that nothing overflows."""
    powers = t.map(t.subtract(x, _one_of_largest(t, x, [axis])), "exp")
    return t.divide(powers, t.sum(powers, [axis], keepdims=True))


def log_softmax(t: Tensors, x: Operand, axis: int = -1) -> Value:
    """x - ln Σ exp(x)."""
    return t.subtract(x, log_sum_exp(t, x, [axis], keepdims=True))


def log_sum_exp(t: Tensors, x: Operand, axes: Sequence[int] | None = None, *, keepdims: bool = False) -> Value:
    """ln Σ exp(x); the largest x is taken off, so that nothing overflows."""
    largest = _one_of_largest(t, x, axes)
    total = t.map(t.sum(t.map(t.subtract(x, largest), "exp"), axes, keepdims=keepdims), "log")
    return t.add(total, t.sum(largest, axes, keepdims=keepdims))


def cumulative_sum(t: Tensors, x: Operand, axis: int = -1) -> Value:
    """The sums of the first 1, 2, … numbers along an axis."""
    x = t.move(lambda table: np.moveaxis(table, axis, -1), x)
    sums = t.matmul(x, np.triu(np.ones((x.shape[-1], x.shape[-1]))))
    return t.move(lambda table: np.moveaxis(table, -1, axis), sums)


def cumulative_product(t: Tensors, x: Operand, axis: int = -1) -> Value:
    """The products of the first 1, 2, … numbers along an axis."""
    parts = _parts(t, x, axis)
    for i in range(1, len(parts)):
        parts[i] = t.multiply(parts[i - 1], parts[i])
    return t.concatenate(parts, axis)


def sort(t: Tensors, x: Operand, axis: int = -1) -> Value:
    """The numbers along an axis in ascending order, by comparing neighbours."""
    parts = _parts(t, x, axis)
    if len(parts) > LARGEST_SORT:
        raise Refusal(f"it sorts {len(parts)} numbers per point; expected: at most {LARGEST_SORT}")
    for turn in range(len(parts)):
        for i in range(turn % 2, len(parts) - 1, 2):
            a, b = parts[i], parts[i + 1]
            above = t.subtract(a, b)
            parts[i], parts[i + 1] = t.select(above, b, a), t.select(above, a, b)
    return t.concatenate(parts, axis)


def median(t: Tensors, x: Operand, axis: int = -1, *, keepdims: bool = False) -> Value:
    """The lower one of the numbers in the middle along an axis."""
    parts = _parts(t, sort(t, x, axis), axis)
    middle = parts[(len(parts) - 1) // 2]
    return middle if keepdims else t.move(lambda table: table.squeeze(axis), middle)


def _parts(t: Tensors, x: Operand, axis: int) -> list[Value]:
    """The pieces of size 1 along an axis."""
    n = shape_of(x)[axis]
    return [t.move(lambda table, i=i: table.take([i], axis), x) for i in range(n)]


# Normalisations


def standardised(t: Tensors, x: Operand, axes: Sequence[int], eps: float) -> Value:
    """(x - mean) / √(variance + eps), over axes of columns."""
    centred = t.subtract(x, t.mean(x, axes, keepdims=True))
    square = t.mean(t.multiply(centred, centred), axes, keepdims=True)
    return t.multiply(centred, rsqrt(t, t.scale(square, 1.0, eps)))


def layer_norm(
    t: Tensors, x: Operand, axes: Sequence[int], weight: Operand | None, bias: Operand | None, eps: float
) -> Value:
    """The standardised x, times weight plus bias, which have the shape of the axes."""
    return _scaled(t, standardised(t, x, axes, eps), weight, bias)


def rms_norm(t: Tensors, x: Operand, axes: Sequence[int], weight: Operand | None, eps: float) -> Value:
    """x / √(mean of x² + eps), times weight, which has the shape of the axes."""
    square = t.mean(t.multiply(x, x), axes, keepdims=True)
    return _scaled(t, t.multiply(x, rsqrt(t, t.scale(square, 1.0, eps))), weight, None)


def group_norm(t: Tensors, x: Operand, groups: int, weight: Operand | None, bias: Operand | None, eps: float) -> Value:
    """x (n, k, …), standardised in groups of its channels k, times weight plus bias per channel."""
    sizes = shape_of(x)
    grouped = t.move(lambda table: table.reshape(sizes[0], groups, -1), x)
    whole = t.move(lambda table: table.reshape(sizes), standardised(t, grouped, [2], eps))
    return _scaled(t, whole, *(_per_channel(t, each, len(sizes)) for each in (weight, bias)))


def batch_norm(
    t: Tensors,
    x: Operand,
    weight: Operand | None,
    bias: Operand | None,
    mean: Constant,
    variance: Constant,
    eps: float,
) -> Value:
    """(x - mean) / √(variance + eps), times weight plus bias, per channel of x (n, k, …)."""
    factor = 1 / np.sqrt(np.asarray(variance, dtype=np.float64) + eps)
    ndim = len(shape_of(x))
    scale, shift = (_per_channel(t, each, ndim) for each in (factor, -np.asarray(mean) * factor))
    whole = t.add(t.multiply(x, scale), shift)  # type: ignore[arg-type]
    return _scaled(t, whole, *(_per_channel(t, each, ndim) for each in (weight, bias)))


def _per_channel(t: Tensors, x: Operand | None, ndim: int) -> Operand | None:
    """A value (k,) in the shape (1, k, 1, …) of so many axes."""
    return None if x is None else t.move(lambda table: table.reshape(1, -1, *(1,) * (ndim - 2)), x)


def _scaled(t: Tensors, x: Value, weight: Operand | None, bias: Operand | None) -> Value:
    x = x if weight is None else t.multiply(x, weight)
    return x if bias is None else t.add(x, bias)
