"""What the operators of ONNX calculate, in terms of `tensors.py` and `rewritings.py`: a table of names.

Operators that only move numbers, and constants, are not here (`reader.py`).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from functools import reduce

import numpy as np
from onnx import TensorProto

from kdpinn_edge.functions import FUNCTIONS
from kdpinn_edge.importers.onnx_files.file import FLOATS
from kdpinn_edge.importers.onnx_files.reader import Node, Operator
from kdpinn_edge.importers.tensors import rewritings
from kdpinn_edge.importers.tensors.tensors import Refusal, Tensor, Tensors, Value, shape_of

FUNCTION_OF = {
    recipe[0].operator: function.name for function in FUNCTIONS.values() for recipe in function.onnx if len(recipe) == 1
}
"""The functions of a Program, by the operators of ONNX that they are."""

STEPS = "its slope is 0 and it jumps, as no smooth network does; expected: a model without rounding"
WHERE = "it returns places and not values; expected: a model that calculates with its inputs alone"
IMAGES = """AveragePool Col2Im Conv ConvInteger ConvTranspose DeformConv GridSample LRN LpPool MaxPool Resize RoiAlign
    Upsample"""
QUANTISED = "DequantizeLinear DynamicQuantizeLinear MatMulInteger QLinearConv QLinearMatMul QuantizeLinear"
REFUSED = {
    **dict.fromkeys(("Ceil", "Floor", "Round", "Mod", "Hardmax"), STEPS),
    **dict.fromkeys(("ArgMax", "ArgMin", "TopK", "NonZero", "Unique", "OneHot"), WHERE),
    **dict.fromkeys(
        tuple(IMAGES.split()),
        "it works on images; expected: a network of points",
    ),
    **dict.fromkeys(
        ("LSTM", "GRU", "RNN"), "it is recurrent; expected: a network whose outputs depend on one point alone"
    ),
    **dict.fromkeys(
        tuple(QUANTISED.split()),
        "it is quantised; expected: the network in floating point, as it was trained",
    ),
}  # fmt: skip
"""Why some operators are not read, and what to bring instead."""


def _unary(function: Callable[[Tensors, Value], Value]) -> Operator:
    return lambda t, node: function(t, node.value(0))


def _mapped(name: str) -> Operator:
    return lambda t, node: t.map(node.value(0), name)


def _binary(function: Callable[[Tensors, Value, Value], Value]) -> Operator:
    return lambda t, node: function(t, node.value(0), node.value(1))


def _folded(function: Callable[[Tensors, Value, Value], Value]) -> Operator:
    """Of any number of inputs."""
    return lambda t, node: reduce(lambda a, b: function(t, a, b), map(node.value, range(len(node.inputs))))


def _total(t: Tensors, node: Node) -> Value:
    return reduce(t.add, map(node.value, range(len(node.inputs))))


# Choices


def _not_less(t: Tensors, a: Value, b: Value) -> Value:
    return rewritings.not_(t, rewritings.greater(t, b, a))


def _clip(t: Tensors, node: Node) -> Value:
    lower, upper = (
        node.value(i) if node.optional(i) is not None else node.attribute(name) for i, name in ((1, "min"), (2, "max"))
    )
    return rewritings.clamp(t, node.value(0), lower, upper)


def _shrink(t: Tensors, node: Node) -> Value:
    x, limit, bias = node.value(0), node.attribute("lambd"), node.attribute("bias")
    below = t.select(t.scale(x, -1.0, -limit), t.scale(x, 1.0, bias), 0.0)
    return t.select(t.scale(x, 1.0, -limit), t.scale(x, 1.0, -bias), below)


def _binarizer(t: Tensors, node: Node) -> Value:
    return t.map(t.scale(node.value(0), 1.0, -node.attribute("threshold")), "step")


# Elementary functions


def _power(t: Tensors, a: Value, b: Value) -> Value:
    if isinstance(a, Tensor):
        return rewritings.power(t, a, b)
    return rewritings.exponential(t, a, b)


def _swish(t: Tensors, node: Node) -> Value:
    x, alpha = node.value(0), node.attribute("alpha")
    if alpha == 1:
        return t.map(x, "silu")
    return t.multiply(x, t.map(t.scale(x, alpha), "sigmoid"))


def _gelu(t: Tensors, node: Node) -> Value:
    return rewritings.gelu(t, node.value(0), by_tanh=node.attribute("approximate") == "tanh")


def _cast(t: Tensors, node: Node) -> Value:
    return _as_type(t, node.value(0), node.attribute("to"))


def _cast_like(t: Tensors, node: Node) -> Value:
    return _as_type(t, node.value(0), node.element(1))


def _as_type(t: Tensors, x: Value, element: int) -> Value:
    if element in FLOATS:
        return x
    if element == TensorProto.BOOL:
        return rewritings.different(t, x, 0.0)
    name = TensorProto.DataType.Name(element)
    raise Refusal(f"it makes {name} of what depends on the point; expected: float32, float64 or float16")


# Reductions


def _reduction(function: Callable[..., Value]) -> Operator:
    def read(t: Tensors, node: Node) -> Value:
        x, axes = node.value(0), node.integers("axes", 1)
        if not axes:
            axes = [] if node.attribute("noop_with_empty_axes") else list(range(len(shape_of(x))))
        return function(t, x, axes, keepdims=bool(node.attribute("keepdims")))

    return read


def _sum(t: Tensors, x: Value, axes: Sequence[int], *, keepdims: bool) -> Value:
    return t.sum(x, axes, keepdims=keepdims)


def _sum_of(inner: Callable[[Tensors, Value], Value], outer: Callable[[Tensors, Value], Value]) -> Operator:
    """The outer function of the sum of inner ones."""
    return _reduction(lambda t, x, axes, keepdims: outer(t, t.sum(inner(t, x), axes, keepdims=keepdims)))


def _itself(t: Tensors, x: Value) -> Value:
    return x


def _square(t: Tensors, x: Value) -> Value:
    return t.multiply(x, x)


def _spatial(function: Callable[..., Value]) -> Operator:
    """Over all axes but those of points and channels."""
    return lambda t, node: function(t, node.value(0), list(range(2, len(shape_of(node.value(0))))), keepdims=True)


def _cumulative(function: Callable[[Tensors, Value, int], Value], first: float) -> Operator:
    def read(t: Tensors, node: Node) -> Value:
        x, (axis,) = node.value(0), node.integers("axis", 1) or [0]
        axis %= len(shape_of(x))
        turn = bool(node.attribute("reverse"))

        def turned(value: Value) -> Value:
            return t.move(lambda table: np.flip(table, axis), value) if turn else value

        made = function(t, turned(x), axis)
        if node.attribute("exclusive"):
            shape = tuple(1 if i == axis else size for i, size in enumerate(shape_of(x)))
            kept = t.move(lambda table: table.take(range(table.shape[axis] - 1), axis), made)
            made = t.concatenate([np.full(shape, first), kept], axis)
        return turned(made)

    return read


def _softmax(function: Callable[[Tensors, Value, int], Value]) -> Operator:
    def read(t: Tensors, node: Node) -> Value:
        x = node.value(0)
        if node.version >= 13:
            return function(t, x, node.attribute("axis"))
        shape = shape_of(x)
        axis = node.attribute("axis") % len(shape)  # until opset 13, over all axes from this one on
        flat = t.move(lambda table: table.reshape(*shape[:axis], -1), x)
        return t.move(lambda table: table.reshape(shape), function(t, flat, -1))

    return read


# Sums of products


def _gemm(t: Tensors, node: Node) -> Value:
    a, b = (
        t.move(np.transpose, node.value(i)) if node.attribute(name) else node.value(i)
        for i, name in ((0, "transA"), (1, "transB"))
    )
    y = t.matmul(a, b)
    alpha, beta = node.attribute("alpha"), node.attribute("beta")
    if alpha != 1:
        y = t.scale(y, alpha)
    if node.optional(2) is None:
        return y
    c = node.value(2)
    return t.add(y, c if beta == 1 else t.scale(c, beta))


def _einsum(t: Tensors, node: Node) -> Value:
    equation = node.attribute("equation").replace(" ", "")
    values = [node.value(i) for i in range(len(node.inputs))]
    terms, result = _einsum_terms(equation, [len(shape_of(value)) for value in values])
    summed = [label for label in dict.fromkeys("".join(terms)) if label not in result]
    order = [*result, *summed]
    sizes = {
        label: size
        for term, value in zip(terms, values, strict=True)
        for label, size in zip(term, shape_of(value), strict=True)
        if size != 1
    }
    aligned = [_aligned(t, value, term, order) for term, value in zip(terms, values, strict=True)]
    shape = [sizes.get(label, 1) for label in order]
    n_kept = len(result)

    def flat(value: Value) -> Value:
        """The summed axes as one, the last, where there are some."""
        own = shape_of(value)[:n_kept]
        full = (*own, *shape[n_kept:])
        return t.move(lambda table: np.broadcast_to(table, full).reshape(*own, -1), value)

    *first, last = map(flat, aligned)
    whole = t.contract(reduce(t.multiply, first), last) if first else t.contract(last, 1.0)
    return t.move(lambda table: np.broadcast_to(table, shape[:n_kept]), whole)


def _einsum_terms(equation: str, ndims: Sequence[int]) -> tuple[list[str], str]:
    """The labels of the axes of each operand, and of the result; those of an ellipsis are digits."""
    left, arrow, result = equation.partition("->")
    terms = left.split(",")
    if len(terms) != len(ndims):
        raise Refusal(f"{equation!r} is of {len(terms)} tensors and {len(ndims)} are given")
    wide = max(
        (n - len(term.replace("...", "")) for term, n in zip(terms, ndims, strict=True) if "..." in term), default=0
    )
    digits = "".join(chr(ord("0") + i) for i in range(wide))
    full = [
        term.replace("...", digits[wide - (n - len(term.replace("...", ""))) :] if "..." in term else "")
        for term, n in zip(terms, ndims, strict=True)
    ]
    if any(len(term) != n for term, n in zip(full, ndims, strict=True)):
        raise Refusal(f"{equation!r} does not fit tensors of {', '.join(map(str, ndims))} axes")
    labels = "".join(full)
    implicit = digits + "".join(sorted(each for each in set(labels) if labels.count(each) == 1 and not each.isdigit()))
    return full, result.replace("...", digits) if arrow else implicit


def _aligned(t: Tensors, value: Value, term: str, order: Sequence[str]) -> Value:
    """The value with an axis for each label of `order`, of size 1 where it has none."""
    for label in term:
        while term.count(label) > 1:
            i, j = term.index(label), term.rindex(label)
            value = t.move(lambda table, i=i, j=j: np.moveaxis(np.diagonal(table, 0, i, j), -1, i), value)
            term = term[:j] + term[j + 1 :]
    places = [term.index(label) for label in order if label in term]
    lacking = [i for i, label in enumerate(order) if label not in term]
    return t.move(lambda table: np.expand_dims(table.transpose(places), lacking), value)


# Normalisations


def _layer_norm(t: Tensors, node: Node) -> list[Value]:
    x, axis, eps = node.value(0), node.attribute("axis"), node.attribute("epsilon")
    axes = list(range(axis % len(shape_of(x)), len(shape_of(x))))
    bias = node.value(2) if node.optional(2) is not None else None
    y = rewritings.layer_norm(t, x, axes, node.value(1), bias, eps)
    mean = t.mean(x, axes, keepdims=True)
    square = rewritings.variance(t, x, axes, 0.0, keepdims=True)
    return [y, mean, rewritings.rsqrt(t, t.scale(square, 1.0, eps))]


def _rms_norm(t: Tensors, node: Node) -> Value:
    x, axis = node.value(0), node.attribute("axis")
    axes = list(range(axis % len(shape_of(x)), len(shape_of(x))))
    return rewritings.rms_norm(t, x, axes, node.value(1), node.attribute("epsilon"))


def _group_norm(t: Tensors, node: Node) -> Value:
    x, groups = node.value(0), node.attribute("num_groups")
    weight, bias = node.value(1), node.value(2)
    if node.version < 21:  # until then a weight per group
        each = shape_of(x)[1] // groups
        weight, bias = (t.move(lambda table: np.repeat(table, each), value) for value in (weight, bias))
    return rewritings.group_norm(t, x, groups, weight, bias, node.attribute("epsilon"))


def _instance_norm(t: Tensors, node: Node) -> Value:
    x = node.value(0)
    return rewritings.group_norm(t, x, shape_of(x)[1], node.value(1), node.value(2), node.attribute("epsilon"))


def _batch_norm(t: Tensors, node: Node) -> Value:
    if node.attribute("training_mode") or node.n_outputs > 1:
        raise Refusal("it is in training mode, where points depend on each other; expected: a model for inference")
    mean, variance = node.constant(3), node.constant(4)
    if mean is None or variance is None:
        raise Refusal("its mean or variance is left out; expected: a model for inference")
    return rewritings.batch_norm(
        t, node.value(0), node.value(1), node.value(2), mean, variance, node.attribute("epsilon")
    )


def _lp_norm(t: Tensors, node: Node) -> Value:
    x, axis, order = node.value(0), node.attribute("axis"), float(node.attribute("p"))
    size = rewritings.norm(t, x, order, [axis % len(shape_of(x))], keepdims=True)
    return t.divide(x, t.select(size, size, 1.0))


def _dropout(t: Tensors, node: Node) -> list[Value]:
    training, ratio = node.constant(2), node.constant(1)
    dropped = 0.5 if ratio is None else float(np.asarray(ratio).reshape(-1)[0])
    if training is not None and bool(np.asarray(training).reshape(-1)[0]) and dropped > 0:
        raise Refusal("it is in training mode, and so random; expected: a model for inference")
    return [node.value(0), np.ones(shape_of(node.value(0)))]


# What only moves numbers, and puts constants beside them


def _concat(t: Tensors, node: Node) -> Value:
    return t.concatenate([node.value(i) for i in range(len(node.inputs))], node.attribute("axis"))


def _where(t: Tensors, node: Node) -> Value:
    return t.select(node.value(0), node.value(1), node.value(2))


def _pad(t: Tensors, node: Node) -> Value:
    x, pads, mode = node.value(0), node.integers("pads", 1), node.attribute("mode")
    ndim = len(shape_of(x))
    axes = node.integers("axes", 3) or list(range(ndim))
    if pads is None or len(pads) != 2 * len(axes):
        raise Refusal("its pads do not fit its axes; expected: two for each")
    widths = [(0, 0)] * ndim
    for i, axis in enumerate(axes):
        widths[axis] = pads[i], pads[i + len(axes)]

    def cut(table: np.ndarray) -> np.ndarray:
        return table[tuple(slice(max(0, -a), table.shape[i] - max(0, -b)) for i, (a, b) in enumerate(widths))]

    x = t.move(cut, x)
    widths = [(max(0, a), max(0, b)) for a, b in widths]
    if mode != "constant":
        return t.move(lambda table: np.pad(table, widths, mode=mode), x)
    filling = node.value(2) if node.optional(2) is not None else np.asarray(node.attribute("value"))
    return t.move(lambda table, each: np.pad(table, widths, constant_values=each.reshape(-1)[0]), x, filling)


def _trilu(t: Tensors, node: Node) -> Value:
    x = node.value(0)
    k = node.integers("k", 1) or [0]
    ones = np.ones(shape_of(x)[-2:])
    kept = np.triu(ones, k[0]) if node.attribute("upper") else np.tril(ones, k[0])
    return t.select(kept, x, 0.0)


def _shape_of(t: Tensors, node: Node) -> Value:
    shape = shape_of(node.value(0))
    return np.array(shape[slice(node.attribute("start"), node.attribute("end"))], dtype=np.int64)


def _eye_like(t: Tensors, node: Node) -> Value:
    rows, columns = shape_of(node.value(0))
    return np.eye(rows, columns, k=node.attribute("k"))


# ai.onnx.ml


def _scaler(t: Tensors, node: Node) -> Value:
    offset, scale = (np.array(node.attribute(name)) for name in ("offset", "scale"))
    return t.scale(t.scale(node.value(0), 1.0, -offset), scale)


def _normalizer(t: Tensors, node: Node) -> Value:
    x, kind = node.value(0), node.attribute("norm")
    order = {"MAX": math.inf, "L1": 1.0, "L2": 2.0}[kind]
    size = rewritings.norm(t, x, order, [-1 % len(shape_of(x))], keepdims=True)
    return t.divide(x, t.select(size, size, 1.0))


def _linear_regressor(t: Tensors, node: Node) -> Value:
    if node.attribute("post_transform") != "NONE":
        raise Refusal("it transforms its result; expected: post_transform NONE")
    targets = node.attribute("targets")
    weight = np.array(node.attribute("coefficients")).reshape(targets, -1)
    y = t.matmul(node.value(0), weight.T)
    return t.add(y, np.array(node.attribute("intercepts"))) if node.attribute("intercepts") else y


def _feature_vectorizer(t: Tensors, node: Node) -> Value:
    return t.concatenate([node.value(i) for i in range(len(node.inputs))], -1)


OPERATORS: Mapping[str, Operator] = {
    **{operator: _mapped(function) for operator, function in FUNCTION_OF.items()},
    "Acos": _unary(rewritings.acos),
    "Acosh": _unary(rewritings.acosh),
    "Add": _binary(lambda t, a, b: t.add(a, b)),
    "And": _binary(rewritings.and_),
    "Asin": _unary(rewritings.asin),
    "Asinh": _unary(rewritings.asinh),
    "Atanh": _unary(rewritings.atanh),
    "BatchNormalization": _batch_norm,
    "Binarizer": _binarizer,
    "Cast": _cast,
    "CastLike": _cast_like,
    "Celu": lambda t, node: rewritings.celu(t, node.value(0), node.attribute("alpha")),
    "Clip": _clip,
    "Concat": _concat,
    "Cosh": _unary(rewritings.cosh),
    "CumProd": _cumulative(rewritings.cumulative_product, 1.0),
    "CumSum": _cumulative(rewritings.cumulative_sum, 0.0),
    "Div": _binary(lambda t, a, b: t.divide(a, b)),
    "Dropout": _dropout,
    "Einsum": _einsum,
    "Elu": lambda t, node: rewritings.elu(t, node.value(0), node.attribute("alpha")),
    "Equal": _binary(lambda t, a, b: rewritings.not_(t, rewritings.different(t, a, b))),
    "EyeLike": _eye_like,
    "FeatureVectorizer": _feature_vectorizer,
    "Gelu": _gelu,
    "Gemm": _gemm,
    "GlobalAveragePool": _spatial(lambda t, x, axes, keepdims: t.mean(x, axes, keepdims=keepdims)),
    "GlobalMaxPool": _spatial(rewritings.largest),
    "Greater": _binary(rewritings.greater),
    "GreaterOrEqual": _binary(_not_less),
    "GroupNormalization": _group_norm,
    "HardSigmoid": lambda t, node: rewritings.hardsigmoid(
        t, node.value(0), node.attribute("alpha"), node.attribute("beta")
    ),
    "HardSwish": _unary(rewritings.hardswish),
    "InstanceNormalization": _instance_norm,
    "LayerNormalization": _layer_norm,
    "LeakyRelu": lambda t, node: rewritings.leaky_relu(t, node.value(0), node.attribute("alpha")),
    "Less": _binary(lambda t, a, b: rewritings.greater(t, b, a)),
    "LessOrEqual": _binary(lambda t, a, b: _not_less(t, b, a)),
    "LinearRegressor": _linear_regressor,
    "LogSoftmax": _softmax(rewritings.log_softmax),
    "LpNormalization": _lp_norm,
    "MatMul": _binary(lambda t, a, b: t.matmul(a, b)),
    "Max": _folded(rewritings.maximum),
    "Mean": lambda t, node: t.scale(_total(t, node), 1 / len(node.inputs)),
    "Min": _folded(rewritings.minimum),
    "Mish": _unary(rewritings.mish),
    "Mul": _binary(lambda t, a, b: t.multiply(a, b)),
    "Neg": _unary(lambda t, x: t.negative(x)),
    "Normalizer": _normalizer,
    "Not": _unary(rewritings.not_),
    "Or": _binary(rewritings.or_),
    "PRelu": _binary(lambda t, x, slope: rewritings.leaky_relu(t, x, slope)),
    "Pad": _pad,
    "Pow": _binary(_power),
    "RMSNormalization": _rms_norm,
    "Reciprocal": _unary(lambda t, x: t.reciprocal(x)),
    "ReduceL1": _sum_of(lambda t, x: t.map(x, "abs"), _itself),
    "ReduceL2": _sum_of(_square, rewritings.root),
    "ReduceLogSum": _sum_of(_itself, lambda t, x: t.map(x, "log")),
    "ReduceLogSumExp": _reduction(rewritings.log_sum_exp),
    "ReduceMax": _reduction(rewritings.largest),
    "ReduceMean": _reduction(lambda t, x, axes, keepdims: t.mean(x, axes, keepdims=keepdims)),
    "ReduceMin": _reduction(rewritings.smallest),
    "ReduceProd": _reduction(rewritings.product),
    "ReduceSum": _reduction(_sum),
    "ReduceSumSquare": _sum_of(_square, _itself),
    "Scaler": _scaler,
    "Selu": lambda t, node: rewritings.selu(t, node.value(0), node.attribute("alpha"), node.attribute("gamma")),
    "Shape": _shape_of,
    "Shrink": _shrink,
    "Sign": _unary(rewritings.sign),
    "Sinh": _unary(rewritings.sinh),
    "Size": lambda t, node: np.array(math.prod(shape_of(node.value(0))), dtype=np.int64),
    "Softmax": _softmax(rewritings.softmax),
    "Softsign": _unary(rewritings.softsign),
    "Sub": _binary(lambda t, a, b: t.subtract(a, b)),
    "Sum": _total,
    "Swish": _swish,
    "Tan": _unary(rewritings.tan),
    "ThresholdedRelu": lambda t, node: rewritings.threshold(t, node.value(0), node.attribute("alpha"), 0.0),
    "Trilu": _trilu,
    "Where": _where,
    "Xor": _binary(rewritings.different),
}
"""The operators that calculate with what depends on the point."""
