"""Programs for tests and benchmarks: drawn by hypothesis, or one plain MLP."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise

import numpy as np
from function_cases import FUNCTION_CASES
from hypothesis import strategies as st

from kdpinn_edge.functions import FUNCTIONS
from kdpinn_edge.program.ir import (
    Add,
    Affine,
    Array,
    Concat,
    Map,
    Mul,
    Op,
    Program,
    Scale,
    Select,
    Slice,
    Var,
    operands,
)
from kdpinn_edge.program.verify import verify

KINDS = (Affine, Scale, Map, Add, Mul, Select, Concat, Slice)
ANALYTIC = tuple(fn for fn, case in FUNCTION_CASES.items() if case.at_kink is None)
LIMITED = tuple(fn for fn, case in FUNCTION_CASES.items() if case.above > -np.inf)
SIZES = (1, 2, 3, 4, 5, 7, 8, 16, 17, 20, 33, 40)
UNITS = (-1.0, 0.0, 1.0)
RECENT = 6  # operands and outputs are among the last few variables, so that ops build on each other


@st.composite
def programs(
    draw: st.DrawFn,
    *,
    inputs: Sequence[Var] | None = None,
    max_ops: int = 10,
    scale: float = 1.0,
    bound: float = 64.0,
    any_function: bool = False,
) -> Program:
    """A well-formed Program of any shape: shared, dead and forwarded variables, outputs that are inputs.

    Its inputs are drawn too, unless they are given.
    `scale` is the size of the weights. For inputs in [-1, 1] no value exceeds `bound` in magnitude: an op that could is
    preceded by a tanh. `bound=np.inf` lets values overflow. Functions with a kink are left out, and the argument of one
    that is not defined everywhere is an exponential of at most e; with `any_function`, which is for tests of bits,
    all are drawn, of any argument.
    """
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1), label="seed of the weights"))
    if inputs is None:
        inputs = [Var(name, draw(st.integers(1, 3))) for name in "xyzt"[: draw(st.integers(1, 4))]]
    variables = list(inputs)
    magnitude = dict.fromkeys(inputs, 1.0)
    ops: list[Op] = []

    def emit(op: Op, largest: float) -> Var:
        ops.append(op)
        variables.append(op.out)
        magnitude[op.out] = largest
        return op.out

    def fresh(size: int) -> Var:
        return Var(f"v{len(ops)}", size)

    def tame(x: Var, limit: float) -> Var:
        return x if magnitude[x] <= limit else emit(Map(fresh(x.size), x, "tanh"), 1.0)

    for _ in range(draw(st.integers(0, max_ops))):
        kind = draw(st.sampled_from(KINDS))
        x = draw(st.sampled_from(variables[-RECENT:]))
        if kind is Affine:
            x = tame(x, bound / (4 * scale))
            size = draw(st.sampled_from(SIZES))
            weight = scale * rng.uniform(-1, 1, (size, x.size)) / np.sqrt(x.size)
            bias = scale * rng.uniform(-1, 1, size)
            largest = np.max(np.abs(weight).sum(axis=1) * magnitude[x] + np.abs(bias))
            emit(Affine(fresh(size), x, weight, bias), float(largest))
        elif kind is Scale:
            x = tame(x, bound / (2 * scale))
            weight, bias = scale * _coefficients(draw, rng, x.size), scale * _coefficients(draw, rng, x.size)
            emit(Scale(fresh(x.size), x, weight, bias), 2 * scale * magnitude[x])
        elif kind is Map:
            fn = draw(st.sampled_from(tuple(FUNCTIONS) if any_function else ANALYTIC))
            limited = fn in LIMITED and not any_function
            x = tame(x, 1.0 if limited else bound if _largest(fn, magnitude[x]) <= bound else 0.0)
            x = emit(Map(fresh(x.size), x, "exp"), np.e) if limited else x
            emit(Map(fresh(x.size), x, fn), _largest(fn, magnitude[x]))
        elif kind in (Add, Mul, Select):
            limit = {Add: bound / 2, Mul: float(np.sqrt(bound)), Select: bound}[kind]
            alike = [var for var in variables if var.size == x.size]
            others = [draw(st.sampled_from(alike)) for _ in range(2 if kind is Select else 1)]
            tamed = [tame(var, limit) for var in (x, *others)]
            emit(kind(fresh(x.size), *tamed), bound)
        elif kind is Concat:
            xs = (x, *draw(st.lists(st.sampled_from(variables), max_size=2)))
            while sum(var.size for var in xs) > max(SIZES):
                xs = xs[:-1]
            emit(Concat(fresh(sum(var.size for var in xs)), xs), max(magnitude[var] for var in xs))
        else:
            size = draw(st.integers(1, x.size))
            emit(Slice(fresh(size), x, draw(st.integers(0, x.size - size))), magnitude[x])

    outputs = draw(st.lists(st.sampled_from(variables[-RECENT:]), min_size=1, max_size=3, unique=True))
    return verify(Program("drawn", tuple(inputs), tuple(outputs), tuple(ops)))


def _largest(fn: str, magnitude: float) -> float:
    """The largest |fn(x)| for |x| up to `magnitude`: functions have bounds, or are largest at an end."""
    function = FUNCTIONS[fn]
    if np.isfinite(function.lower) and np.isfinite(function.upper):
        return max(abs(function.lower), abs(function.upper))
    span = (1 / np.e, np.e) if fn in LIMITED else (-min(magnitude, 700), min(magnitude, 700))
    with np.errstate(over="ignore"):
        ends = function.exact(np.array(span))
    return float(np.abs(ends).max())


def _coefficients(draw: st.DrawFn, rng: np.random.Generator, size: int) -> Array:
    """Random in [-1, 1], or all of them -1, 0 or 1, the values that rewrites look for."""
    constant = draw(st.sampled_from((None, *UNITS)))
    return rng.uniform(-1, 1, size) if constant is None else np.full(size, constant)


def renamed(program: Program) -> Program:
    """`program` with other names for the variables that are neither inputs nor outputs."""
    interface = {var.name for var in (*program.inputs, *program.outputs)}

    def new(var: Var) -> Var:
        return var if var.name in interface else replace(var, name=f"renamed_{var.name}")

    def new_op(op: Op) -> Op:
        match op:
            case Add(a=a, b=b) | Mul(a=a, b=b):
                return replace(op, out=new(op.out), a=new(a), b=new(b))
            case Select(c=c, a=a, b=b):
                return replace(op, out=new(op.out), c=new(c), a=new(a), b=new(b))
            case Concat(xs=xs):
                return replace(op, out=new(op.out), xs=tuple(map(new, xs)))
            case _:
                return replace(op, out=new(op.out), x=new(operands(op)[0]))

    return replace(program, ops=tuple(map(new_op, program.ops)))


def points(program: Program, n: int, *, seed: int = 0, lower: float = -1.0, upper: float = 1.0) -> Array:
    """Inputs of `program`, (n, n_in), float64, uniform in [lower, upper]."""
    return np.random.default_rng(seed).uniform(lower, upper, (n, program.n_in))


def mlp(n_in: int, width: int, depth: int, n_out: int, fn: str = "tanh", seed: int = 0) -> Program:
    """`depth` hidden layers of `width` neurons from inputs x0, x1, … of size 1 to one output u of size `n_out`.

    A function that is not defined everywhere is that of the exponentials of the neurons.
    """
    rng = np.random.default_rng(seed)
    inputs = tuple(Var(f"x{i}", 1) for i in range(n_in))
    ops: list[Op] = []
    x = inputs[0]
    if n_in > 1:
        x = Var("x", n_in)
        ops.append(Concat(x, inputs))
    for i, (rows, columns) in enumerate(pairwise((n_in, *[width] * depth, n_out))):
        last = i == depth
        a = Var("u" if last else f"a{i}", columns)
        weight = rng.normal(0, np.sqrt(2 / (rows + columns)), (columns, rows))
        ops.append(Affine(a, x, weight, rng.normal(0, 0.1, columns)))
        if not last:
            x = Var(f"h{i}", columns)
            if fn in LIMITED:
                positive = Var(f"p{i}", columns)
                ops.append(Map(positive, a, "exp"))
                a = positive
            ops.append(Map(x, a, fn))
    return verify(Program(f"mlp_{n_in}_{depth}x{width}_{n_out}", inputs, (Var("u", n_out),), tuple(ops)))


def wild(program: Program, n: int, precision: str) -> np.ndarray:
    """Points of every kind: ordinary, huge, subnormal, zeros of both signs, NaN and infinities."""
    x = points(program, n, seed=n).astype(precision)
    info = np.finfo(precision)
    special = [0.0, -0.0, np.nan, np.inf, -np.inf, info.max, -info.max, info.tiny, info.smallest_subnormal, 1e30]
    rng = np.random.default_rng(n)
    chosen = rng.random(x.shape) < 0.2
    return np.where(chosen, rng.choice(np.array(special, precision), x.shape), x).astype(precision)
