"""The operators of ATen that a Program can calculate, each by its name: what moves numbers, and what calculates.

Arguments are those of the operator's schema, in its order and with its defaults: Tensors, arrays of NumPy, numbers.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from kdpinn_edge.functions import FUNCTIONS
from kdpinn_edge.importers.tensors import rewritings as r
from kdpinn_edge.importers.tensors import windows as w
from kdpinn_edge.importers.tensors.tensors import Constant, Operand, Refusal, Tensor, Tensors, Value, shape_of

Calculation = Callable[..., Value | list[Value]]

MOVES: Mapping[str, Sequence[int]] = {
    **dict.fromkeys((
        "alias", "cat", "clone", "contiguous", "detach", "diagonal", "expand", "flip", "gather",
        "getitem", "index", "index_select", "permute", "repeat", "roll", "select", "slice", "split", "split_with_sizes",
        "squeeze", "stack", "t", "transpose", "unbind", "unfold", "unsqueeze", "view",
    ), (0,)),
    **dict.fromkeys(("as_strided_scatter", "copy", "diagonal_scatter", "select_scatter", "slice_scatter"), (0, 1)),
    "index_put": (0, 2),
    "scatter": (0, 3),
    "where": (1, 2),
}  # fmt: skip
"""Operators that only say where each number goes, and which of their arguments hold the numbers."""


def _axes(axes: int | Sequence[int] | None) -> Sequence[int] | None:
    """Axes as torch has them, where none means all."""
    return [axes] if isinstance(axes, int) else axes or None


def _last(x: Operand, normalized_shape: Sequence[int]) -> list[int]:
    return list(range(len(shape_of(x)) - len(normalized_shape), len(shape_of(x))))


def _add(t: Tensors, a: Operand, b: Operand, alpha: float = 1) -> Value:
    return t.add(a, b if alpha == 1 else t.scale(b, alpha))


def _addmm(t: Tensors, c: Operand, a: Operand, b: Operand, beta: float = 1, alpha: float = 1) -> Value:
    product = t.matmul(a, b)
    return t.add(product if alpha == 1 else t.scale(product, alpha), c if beta == 1 else t.scale(c, beta))


def _linear(t: Tensors, x: Operand, weight: Operand, bias: Operand | None = None) -> Value:
    y = t.matmul(x, t.move(np.transpose, weight))
    return y if bias is None else t.add(y, bias)


def _trilinear(t: Tensors, a: Operand, b: Operand, c: Operand, *axes: Sequence[int]) -> Value:
    """The product of three, to whom axes are added, summed over the last list of axes."""
    *added, over = axes[:4]
    a, b, c = (
        t.move(lambda table, new=new: np.expand_dims(table, tuple(new)), x)
        for x, new in zip((a, b, c), added, strict=True)
    )
    return t.sum(t.multiply(t.multiply(a, b), c), over)


def _pad(t: Tensors, x: Operand, pad: Sequence[int], value: float = 0.0) -> Value:
    """x with constants before and after, or cut off there: pairs of numbers from the last axis on."""
    pairs = [(pad[i], pad[i + 1]) for i in range(0, len(pad), 2)][::-1]
    pairs = [(0, 0)] * (len(shape_of(x)) - len(pairs)) + pairs
    cut = tuple(slice(max(-a, 0), size - max(-b, 0)) for (a, b), size in zip(pairs, shape_of(x), strict=True))
    more = [(max(a, 0), max(b, 0)) for a, b in pairs]
    return t.move(lambda table, fill: np.pad(table[cut], more, constant_values=fill), x, value)


def _solve(t: Tensors, a: Operand, b: Operand, left: bool = True, *_: Any) -> list[Value]:
    """The solution X of a X = b, or of X a = b, for a constant matrix."""
    if isinstance(a, Tensor):
        raise Refusal("the matrix of the equations depends on the point: write the solution with its entries")
    inverse = np.linalg.inv(a)
    return [t.matmul(inverse, b) if left else t.matmul(b, inverse)]


def _convolution(
    t: Tensors,
    x: Operand,
    weight: Operand,
    bias: Operand | None,
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
    transposed: bool,
    output_padding: Sequence[int],
    groups: int,
) -> Value:
    if transposed:
        raise Refusal(UNKNOWN)
    return w.convolution(t, x, weight, bias, stride, padding, padding, dilation, groups)


def _average_pool(
    t: Tensors,
    x: Operand,
    size: Sequence[int],
    stride: Sequence[int] = (),
    padding: Sequence[int] = (0, 0),
    ceil: bool = False,
    counted: bool = True,
    divisor: int | None = None,
) -> Value:
    if ceil or divisor or (any(padding) and not counted):
        raise Refusal(
            "a pool whose windows count differently: leave out ceil_mode, divisor_override, count_include_pad"
        )
    return w.average_pool(t, x, size, stride or size, padding)


def _largest_pool(
    t: Tensors,
    x: Operand,
    size: Sequence[int],
    stride: Sequence[int] = (),
    padding: Sequence[int] = (0, 0),
    dilation: Sequence[int] = (1, 1),
    ceil: bool = False,
) -> list[Value]:
    if ceil:
        raise Refusal("a pool whose windows have different sizes: leave out ceil_mode")
    return [w.largest_pool(t, x, size, stride or size, padding, dilation)]


def _divide(t: Tensors, a: Operand, b: Operand, rounding_mode: str | None = None) -> Value:
    if rounding_mode is not None:
        raise Refusal(ROUNDS)
    return t.divide(a, b)


def _power(t: Tensors, x: Operand, exponent: Operand) -> Value:
    if isinstance(x, Tensor):
        return r.power(t, x, exponent)
    return r.exponential(t, x, exponent)


def _prelu(t: Tensors, x: Operand, weight: Operand) -> Value:
    n, ndim = np.size(shape_of(weight)), len(shape_of(x))
    if n and ndim > 1:
        weight = t.move(lambda table: table.reshape(1, -1, *(1,) * (ndim - 2)), weight)
    return r.leaky_relu(t, x, weight)


def _rrelu(
    t: Tensors, x: Operand, lower: float = 0.125, upper: float = 1 / 3, training: bool = False, *_: Any
) -> Value:
    if training:
        raise Refusal(RANDOM)
    return r.leaky_relu(t, x, (lower + upper) / 2)


def _batch_norm(
    t: Tensors,
    x: Operand,
    weight: Operand | None,
    bias: Operand | None,
    mean: Constant | None,
    variance: Constant | None,
    training: bool,
    momentum: float,
    eps: float,
    *_: Any,
) -> Value:
    if training or mean is None or variance is None:
        raise Refusal("it takes mean and variance of the batch, so it mixes points: use track_running_stats=True")
    return r.batch_norm(t, x, weight, bias, mean, variance, eps)


def _instance_norm(
    t: Tensors,
    x: Operand,
    weight: Operand | None,
    bias: Operand | None,
    mean: Constant | None,
    variance: Constant | None,
    use_input_stats: bool,
    momentum: float,
    eps: float,
    *_: Any,
) -> Value:
    if not use_input_stats:
        return _batch_norm(t, x, weight, bias, mean, variance, False, momentum, eps)
    return r.group_norm(t, x, shape_of(x)[1], weight, bias, eps)


def _rms_norm(
    t: Tensors, x: Operand, normalized: Sequence[int], weight: Operand | None = None, eps: float | None = None
) -> Value:
    return r.rms_norm(t, x, _last(x, normalized), weight, float(np.finfo(np.float64).eps) if eps is None else eps)


def _correction(unbiased: bool | float | None) -> float:
    return 1.0 if unbiased is None else float(unbiased)


def _variance(
    t: Tensors, x: Operand, axes: Any = None, correction: float | None = None, keepdims: bool = False
) -> Value:
    return r.variance(t, x, _axes(axes), _correction(correction), keepdims=keepdims)


def _deviation(
    t: Tensors, x: Operand, axes: Any = None, correction: float | None = None, keepdims: bool = False
) -> Value:
    return r.root(t, _variance(t, x, axes, correction, keepdims))


def _norm(t: Tensors, x: Operand, order: float | None = 2, axes: Any = None, keepdims: bool = False, *_: Any) -> Value:
    return r.norm(t, x, 2.0 if order is None else float(order), _axes(axes), keepdims=keepdims)


def _cdist_backward(t: Tensors, grad: Operand, a: Operand, b: Operand, p: float, *_: Any) -> Value:
    """The cotangent of the rows of a, for distances of p = 2."""
    if p != 2:
        raise Refusal(f"the derivative of distances with p = {p:g}; expected: p = 2, or torch.linalg.vector_norm")
    rows = t.move(lambda table: table[..., :, None, :], a)
    difference = t.subtract(rows, t.move(lambda table: table[..., None, :, :], b))
    square = t.sum(t.multiply(difference, difference), [-1])
    factor = t.multiply(grad, t.select(square, r.rsqrt(t, t.select(square, square, 1.0)), 0.0))
    return t.sum(t.multiply(difference, t.move(lambda table: table[..., None], factor)), [-2])


def _mask(t: Tensors, x: Operand) -> Value:
    return r.different(t, x, 0.0)


def _sort(t: Tensors, x: Operand, axis: int = -1, descending: bool = False, *_: Any) -> list[Value]:
    values = r.sort(t, x, axis)
    return [t.move(lambda table: np.flip(table, axis), values) if descending else values]


def _topk(t: Tensors, x: Operand, k: int, axis: int = -1, largest: bool = True, *_: Any) -> list[Value]:
    (values,) = _sort(t, x, axis, largest)
    return [t.move(lambda table: table.take(range(k), axis), values)]


def _extreme(function: Calculation) -> Calculation:
    """`max.dim` and `min.dim`, without the indices."""

    def values(t: Tensors, x: Operand, axis: int, keepdims: bool = False) -> list[Value]:
        found = function(t, x, [axis], keepdims=keepdims)
        assert not isinstance(found, list)  # noqa: S101
        return [found]

    return values


RANDOM = "it is random: use nn.Dropout, which is off in eval mode, or guard it by `if self.training:`"
ROUNDS = "it rounds to whole numbers, which a Program cannot: blend steps, such as torch.sigmoid(k * (x - 1))"

FOUND: Mapping[str, Calculation] = {
    operator: lambda t, x, *_, name=function.name: t.map(x, name)
    for function in FUNCTIONS.values()
    for operator in function.aten
}
"""The functions of a Program, by the operators of ATen that they are."""

CALCULATIONS: Mapping[str, Calculation] = {
    **FOUND,
    # sums and products
    "add": _add,
    "sub": lambda t, a, b, alpha=1: _add(t, a, b, -alpha),
    "rsub": lambda t, a, b, alpha=1: _add(t, b, a, -alpha),
    "mul": lambda t, a, b: t.multiply(a, b),
    "div": _divide,
    "neg": lambda t, x: t.negative(x),
    "lerp": lambda t, a, b, weight: t.add(a, t.multiply(weight, t.subtract(b, a))),
    "addcmul": lambda t, c, a, b, value=1: _add(t, c, t.multiply(a, b), value),
    "addcdiv": lambda t, c, a, b, value=1: _add(t, c, t.divide(a, b), value),
    "linear": _linear,
    "_trilinear": _trilinear,
    "constant_pad_nd": _pad,
    "addmm": _addmm,
    "baddbmm": _addmm,
    "addmv": _addmm,
    "_linalg_solve_ex": _solve,
    **dict.fromkeys(("mm", "bmm", "mv", "dot", "matmul"), lambda t, a, b: t.matmul(a, b)),
    # elementary functions
    "reciprocal": lambda t, x: t.reciprocal(x),
    "rsqrt": r.rsqrt,
    "square": lambda t, x: t.multiply(x, x),
    "pow": _power,
    "exp2": lambda t, x: r.exponential(t, 2.0, x),
    "log10": lambda t, x: r.logarithm(t, x, 10.0),
    "log2": lambda t, x: r.logarithm(t, x, 2.0),
    "logit": lambda t, x, eps=None: r.logit(t, x if eps is None else r.clamp(t, x, eps, 1 - eps)),
    "xlogy": r.x_log_y,
    "special_xlog1py": lambda t, x, y: r.x_log_y(t, x, t.scale(y, 1.0, 1.0)),
    "special_entr": lambda t, x: t.negative(r.x_log_y(t, x, x)),
    "logaddexp": r.log_add_exp,
    "sinh": r.sinh,
    "cosh": r.cosh,
    "tan": r.tan,
    "asin": r.asin,
    "acos": r.acos,
    "asinh": r.asinh,
    "acosh": r.acosh,
    "atanh": r.atanh,
    "atan2": r.atan2,
    "hypot": r.hypot,
    "sinc": r.sinc,
    "erfc": lambda t, x: t.scale(t.map(x, "erf"), -1.0, 1.0),
    "deg2rad": lambda t, x: t.scale(x, np.pi / 180),
    "rad2deg": lambda t, x: t.scale(x, 180 / np.pi),
    # choices
    **dict.fromkeys(("maximum", "fmax", "max.other"), r.maximum),
    **dict.fromkeys(("minimum", "fmin", "min.other"), r.minimum),
    "clamp": r.clamp,
    "clamp_min": lambda t, x, lower: r.clamp(t, x, lower),
    "clamp_max": lambda t, x, upper: r.clamp(t, x, None, upper),
    **dict.fromkeys(("sign", "sgn"), r.sign),
    "heaviside": r.heaviside,
    "copysign": r.copysign,
    "nan_to_num": r.nan_to_num,
    "isfinite": r.finite,
    "isnan": r.nan,
    "isinf": r.infinite,
    "where": lambda t, mask, a, b: t.select(mask, a, b),
    "masked_fill": lambda t, x, mask, value: t.select(mask, value, x),
    # masks
    "gt": r.greater,
    "lt": lambda t, a, b: r.greater(t, b, a),
    "ge": lambda t, a, b: r.not_(t, r.greater(t, b, a)),
    "le": lambda t, a, b: r.not_(t, r.greater(t, a, b)),
    "ne": r.different,
    "eq": lambda t, a, b: r.not_(t, r.different(t, a, b)),
    "logical_not": lambda t, x: r.not_(t, _mask(t, x)),
    "logical_and": lambda t, a, b: r.and_(t, _mask(t, a), _mask(t, b)),
    "logical_or": lambda t, a, b: r.or_(t, _mask(t, a), _mask(t, b)),
    "logical_xor": lambda t, a, b: r.different(t, _mask(t, a), _mask(t, b)),
    "bitwise_not": r.not_,
    "bitwise_and": r.and_,
    "bitwise_or": r.or_,
    "bitwise_xor": r.different,
    "any": lambda t, x, axes=None, keepdims=False: r.any_(t, _mask(t, x), _axes(axes), keepdims=keepdims),
    "all": lambda t, x, axes=None, keepdims=False: r.all_(t, _mask(t, x), _axes(axes), keepdims=keepdims),
    # activations
    "leaky_relu": r.leaky_relu,
    "prelu": _prelu,
    "rrelu": _rrelu,
    **dict.fromkeys(
        ("rrelu_with_noise", "rrelu_with_noise_functional"), lambda t, x, noise, *rest: [_rrelu(t, x, *rest), noise]
    ),
    "relu6": lambda t, x: r.hardtanh(t, x, 0.0, 6.0),
    "hardtanh": r.hardtanh,
    "hardsigmoid": r.hardsigmoid,
    "hardswish": r.hardswish,
    "elu": r.elu,
    "selu": r.selu,
    "celu": r.celu,
    "gelu": lambda t, x, approximate="none": r.gelu(t, x, by_tanh=approximate == "tanh"),
    "mish": r.mish,
    "softplus": r.softplus,
    "softsign": r.softsign,
    "log_sigmoid": r.log_sigmoid,
    "log_sigmoid_forward": lambda t, x: [r.log_sigmoid(t, x), t.map(t.negative(t.map(x, "abs")), "exp")],
    "hardshrink": r.hardshrink,
    "softshrink": r.softshrink,
    "tanhshrink": r.tanhshrink,
    "threshold": r.threshold,
    "glu": r.glu,
    # reductions
    "sum": lambda t, x, axes=None, keepdims=False, *_: t.sum(x, _axes(axes), keepdims=keepdims),
    "mean": lambda t, x, axes=None, keepdims=False, *_: t.mean(x, _axes(axes), keepdims=keepdims),
    "prod": lambda t, x, *_: r.product(t, x),
    "prod.dim_int": lambda t, x, axis, keepdims=False, *_: r.product(t, x, [axis], keepdims=keepdims),
    "amax": lambda t, x, axes=None, keepdims=False: r.largest(t, x, _axes(axes), keepdims=keepdims),
    "amin": lambda t, x, axes=None, keepdims=False: r.smallest(t, x, _axes(axes), keepdims=keepdims),
    "max": lambda t, x: r.largest(t, x),
    "min": lambda t, x: r.smallest(t, x),
    "max.dim": _extreme(r.first_largest),
    "min.dim": _extreme(r.first_smallest),
    "var": lambda t, x, unbiased=True: _variance(t, x, None, unbiased),
    **dict.fromkeys(("var.dim", "var.correction"), _variance),
    "std": lambda t, x, unbiased=True: _deviation(t, x, None, unbiased),
    **dict.fromkeys(("std.dim", "std.correction"), _deviation),
    "var_mean.correction": lambda t, x, axes=None, correction=None, keepdims=False: [
        _variance(t, x, axes, correction, keepdims),
        t.mean(x, _axes(axes), keepdims=keepdims),
    ],
    "std_mean.correction": lambda t, x, axes=None, correction=None, keepdims=False: [
        _deviation(t, x, axes, correction, keepdims),
        t.mean(x, _axes(axes), keepdims=keepdims),
    ],
    **dict.fromkeys(("norm", "linalg_vector_norm"), _norm),
    **dict.fromkeys(("cdist", "_cdist_forward", "_euclidean_dist"), lambda t, a, b, p=2.0, *_: r.distances(t, a, b, p)),
    **dict.fromkeys(("softmax", "_softmax"), lambda t, x, axis, *_: r.softmax(t, x, axis)),
    **dict.fromkeys(("log_softmax", "_log_softmax"), lambda t, x, axis, *_: r.log_softmax(t, x, axis)),
    "logsumexp": lambda t, x, axes, keepdims=False: r.log_sum_exp(t, x, _axes(axes), keepdims=keepdims),
    "cumsum": lambda t, x, axis, *_: r.cumulative_sum(t, x, axis),
    "cumprod": lambda t, x, axis, *_: r.cumulative_product(t, x, axis),
    "sort": _sort,
    "sort.stable": lambda t, x, stable, axis=-1, descending=False: _sort(t, x, axis, descending),
    "topk": _topk,
    "median.dim": lambda t, x, axis, keepdims=False: [r.median(t, x, axis, keepdims=keepdims)],
    # windows
    "convolution": _convolution,
    "avg_pool2d": _average_pool,
    "max_pool2d_with_indices": _largest_pool,
    "_adaptive_avg_pool2d": w.adaptive_average_pool,
    # normalisations
    "layer_norm": lambda t, x, normalized, weight=None, bias=None, eps=1e-5, *_: r.layer_norm(
        t, x, _last(x, normalized), weight, bias, eps
    ),
    "rms_norm": _rms_norm,
    "group_norm": lambda t, x, groups, weight=None, bias=None, eps=1e-5, *_: r.group_norm(
        t, x, groups, weight, bias, eps
    ),
    "instance_norm": _instance_norm,
    "batch_norm": _batch_norm,
    "_native_batch_norm_legit_no_training": lambda t, x, weight, bias, mean, variance, momentum, eps: [
        r.batch_norm(t, x, weight, bias, mean, variance, eps)
    ],
    # backward passes of operators that stay whole, as far as torch has no other words for them
    **dict.fromkeys(
        ("hardshrink_backward", "softshrink_backward"),
        lambda t, grad, x, limit: t.select(t.scale(t.map(x, "abs"), 1.0, -limit), grad, 0.0),
    ),
    "rrelu_with_noise_backward": lambda t, grad, x, noise, lower, upper, *_: t.select(
        x, grad, t.scale(grad, (lower + upper) / 2)
    ),
    "logit_backward": lambda t, grad, x, *_: t.divide(grad, t.multiply(x, t.scale(x, -1.0, 1.0))),
    "_cdist_backward": _cdist_backward,
}
"""What each operator calculates; the overload is named where overloads differ."""

UNKNOWN = "it is unknown: write it with arithmetic, activations, elementary functions, torch.where, sums over columns"
INDICES = "it gives the place of a number, which depends on the data: use the value alone, such as torch.amax"

REFUSED: Mapping[str, str] = {
    name: reason
    for names, reason in (
        ("floor ceil round trunc frac floor_divide fmod remainder", ROUNDS),
        ("argmax argmin argsort nonzero searchsorted bucketize", INDICES),
        (
            "bernoulli dropout native_dropout normal rand rand_like randint randn randn_like randperm uniform",
            RANDOM,
        ),
        (
            "complex _fft_c2c _fft_c2r _fft_r2c view_as_complex view_as_real real imag polar angle",
            "it calculates with complex numbers: use two columns",
        ),
    )
    for name in names.split()
}
"""Why an operator is refused."""
