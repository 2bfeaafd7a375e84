"""Simplify: one text per rewrite, and the promises that hold for every Program."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import count

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import mlp, points, programs, renamed

from kdpinn_edge.errors import ProgramError
from kdpinn_edge.functions import FUNCTIONS, slopes
from kdpinn_edge.functions.slope import Operators, values
from kdpinn_edge.numerics.reference import NumpyProgram
from kdpinn_edge.program.evaluate import evaluate
from kdpinn_edge.program.interp import interpret
from kdpinn_edge.program.ir import Add, Affine, Array, Concat, Map, Mul, Op, Program, Scale, Select, Slice, Var
from kdpinn_edge.program.simplify import multiply_adds, simplify, together
from kdpinn_edge.program.verify import verify

EPSILON = 2.0**-53
Bounded = tuple[Array, Array]
X, T = Var("x", 2), Var("t", 1)
A, B, C, D = (Var(name, 2) for name in "abcd")
W3, U = Var("w3", 3), Var("u", 2)


def scale(out: Var, x: Var, weight: float = 2.0, bias: float = 0.5) -> Scale:
    return Scale(out, x, np.full(x.size, weight), np.full(x.size, bias))


def affine(out: Var, x: Var, start: float = 1.0) -> Affine:
    weight = start + np.arange(out.size * x.size).reshape(out.size, x.size)
    return Affine(out, x, weight, start + np.arange(out.size))


def program(*ops: Op, outputs: tuple[Var, ...] = (U,)) -> Program:
    return verify(Program("p", (X, T), outputs, ops))


CASES: dict[str, tuple[Program, str]] = {
    "identity scale": (
        program(scale(A, X, 1, 0), Map(B, A, "sin"), scale(U, B, 1, 0)),
        "u[2] = sin(x)",
    ),
    "slice of everything": (
        program(Slice(A, X, 0), Map(U, A, "sin")),
        "u[2] = sin(x)",
    ),
    "concat of one": (
        program(Concat(A, (X,)), Map(U, A, "sin")),
        "u[2] = sin(x)",
    ),
    "output that is an input": (
        program(Map(U, X, "sin"), outputs=(X, T)),
        "",
    ),
    "output that is a copy of an input": (
        program(scale(U, X, 1, 0)),
        "u[2] = x[0:2]",
    ),
    "two outputs that are one": (
        program(Map(U, X, "sin"), Map(A, X, "sin"), outputs=(A, U)),
        "u[2] = sin(x)\na[2] = u[0:2]",
    ),
    "three outputs that are one": (
        program(Map(D, X, "sin"), Concat(A, (D,)), Concat(B, (A,)), Concat(C, (D,)), outputs=(C, B, A)),
        "a[2] = sin(x)\nb[2] = a[0:2]\nc[2] = a[0:2]",
    ),
    "dead operations": (
        program(affine(A, X), Map(B, A, "tanh"), Map(U, X, "sin")),
        "u[2] = sin(x)",
    ),
    "common subexpressions": (
        program(affine(A, X), affine(B, X), Map(C, A, "tanh"), Map(D, B, "tanh"), Mul(U, C, D)),
        "v0[2] = affine(x)  weight 2x2\nv1[2] = tanh(v0)\nu[2]  = v1 * v1",
    ),
    "common sums and products": (
        program(Map(A, X, "sin"), Add(B, A, X), Add(C, X, A), Mul(U, B, C)),
        "v0[2] = sin(x)\nv1[2] = v0 + x\nu[2]  = v1 * v1",
    ),
    "constants that differ stay apart": (
        program(scale(A, X, 2), scale(B, X, 3), Mul(U, A, B)),
        "v0[2] = scale(x)\nv1[2] = scale(x)\nu[2]  = v0 * v1",
    ),
    "slice of slice": (
        program(
            affine(Var("h", 5), X), Map(Var("g", 5), Var("h", 5), "sin"), Slice(W3, Var("g", 5), 1), Slice(U, W3, 1)
        ),
        "v0[5] = affine(x)  weight 5x2\nv1[5] = sin(v0)\nu[2]  = v1[2:4]",
    ),
    "slice of a part": (
        program(Map(A, X, "sin"), Concat(W3, (T, A)), Slice(U, W3, 1)),
        "u[2] = sin(x)",
    ),
    "slice in a part": (
        program(Map(A, X, "sin"), Concat(W3, (T, A)), Slice(Var("u", 1), W3, 2), outputs=(Var("u", 1),)),
        "v0[2] = sin(x)\nu[1]  = v0[1:2]",
    ),
    "slice across parts stays": (
        program(Concat(W3, (T, X)), Slice(U, W3, 0)),
        "v0[3] = concat(t, x)\nu[2]  = v0[0:2]",
    ),
    "concat of concat": (
        program(Concat(W3, (T, X)), Concat(Var("u", 4), (T, W3)), outputs=(Var("u", 4),)),
        "u[4] = concat(t, t, x)",
    ),
    "concat of the slices of one": (
        program(
            *(Slice(Var(f"s{i}", 1), X, i) for i in range(2)),
            Concat(Var("y", 4), (Var("s1", 1), Var("s0", 1), Var("s1", 1), T)),
            outputs=(Var("y", 4),),
        ),
        "v0[1] = x[1:2]\ny[4]  = concat(v0, x, t)",
    ),
    "scale of affine": (
        program(affine(A, X), scale(U, A)),
        "u[2] = affine(x)  weight 2x2",
    ),
    "scale of affine that others read": (
        program(affine(A, X), scale(B, A), Mul(U, A, B)),
        "v0[2] = affine(x)  weight 2x2\nv1[2] = scale(v0)\nu[2]  = v0 * v1",
    ),
    "scale of scale": (
        program(scale(A, X), scale(B, A), scale(U, B)),
        "u[2] = scale(x)",
    ),
    "affine of scale": (
        program(scale(A, X), affine(U, A)),
        "u[2] = affine(x)  weight 2x2",
    ),
    "affines of one scale": (
        program(scale(A, X), affine(B, A), affine(C, A, 3), Mul(U, B, C)),
        "v0[2] = affine(x)  weight 2x2\nv1[2] = affine(x)  weight 2x2\nu[2]  = v0 * v1",
    ),
    "affine of a scale that stays": (
        program(scale(A, X), affine(B, A), Mul(U, A, B)),
        "v0[2] = scale(x)\nv1[2] = affine(v0)  weight 2x2\nu[2]  = v0 * v1",
    ),
    "affine of scaled columns": (
        program(Slice(Var("s", 1), X, 1), scale(Var("y", 1), Var("s", 1)), Concat(W3, (X, Var("y", 1))), affine(U, W3)),
        "v0[1] = x[1:2]\nv1[3] = concat(x, v0)\nu[2]  = affine(v1)  weight 2x3",
    ),
    "affine of affine": (
        program(affine(A, X), affine(U, A, 3)),
        "u[2] = affine(x)  weight 2x2",
    ),
    "affine of affine through one number stays": (
        program(affine(T1 := Var("t1", 1), X), affine(Var("u", 9), T1), outputs=(Var("u", 9),)),
        "v0[1] = affine(x)  weight 1x2\nu[9]  = affine(v0)  weight 9x1",
    ),
    "affine of affine that others read stays": (
        program(affine(A, X), affine(B, A, 3), Mul(U, A, B)),
        "v0[2] = affine(x)  weight 2x2\nv1[2] = affine(v0)  weight 2x2\nu[2]  = v0 * v1",
    ),
    "affine of an output": (
        program(affine(A, X), affine(U, A, 3), outputs=(A, U)),
        "a[2] = affine(x)  weight 2x2\nu[2] = affine(a)  weight 2x2",
    ),
    "slice of affine": (
        program(affine(W3, X), Slice(U, W3, 1)),
        "u[2] = affine(x)  weight 2x2",
    ),
    "slices of an affine that need every row": (
        program(affine(W3, X), Slice(U, W3, 1), Slice(Var("r", 1), W3, 0), outputs=(U, Var("r", 1))),
        "v0[3] = affine(x)  weight 3x2\nu[2]  = v0[1:3]\nr[1]  = v0[0:1]",
    ),
    "affine of slice stays": (
        program(Slice(Var("s", 1), X, 1), affine(U, Var("s", 1))),
        "v0[1] = x[1:2]\nu[2]  = affine(v0)  weight 2x1",
    ),
    "a shared matrix stays one": (
        program(
            scale(A, X),
            affine(B, A),
            scale(C, B, 3),
            Map(D, C, "sin"),
            Affine(Var("e", 2), D, affine(B, A).weight, [0, 0]),
            scale(U, Var("e", 2), 5),
        ),
        "v0[2] = scale(x)\nv1[2] = affine(v0)  weight 2x2\nv2[2] = scale(v1)\nv3[2] = sin(v2)\n"
        "v4[2] = affine(v3)  weight 2x2\nu[2]  = scale(v4)",
    ),
    "constants that would overflow stay apart": (
        program(scale(A, X, 1e200), scale(U, A, 1e200)),
        "v0[2] = scale(x)\nu[2]  = scale(v0)",
    ),
    "names of the interface are not used again": (
        Program("p", (Var("v0", 1),), (Var("v2", 1),), (Map(T, Var("v0", 1), "sin"), Map(Var("v2", 1), T, "exp"))),
        "v1[1] = sin(v0)\nv2[1] = exp(v1)",
    ),
}


def body(simplified: Program) -> str:
    return "\n".join(line.strip() for line in str(simplified).splitlines()[1:])


@pytest.mark.parametrize(("before", "after"), CASES.values(), ids=CASES)
def test_rewrite(before: Program, after: str) -> None:
    simplified = simplify(before)
    assert body(simplified) == after
    x = points(before, 20)
    np.testing.assert_allclose(interpret(simplified, x), interpret(before, x), rtol=1e-14)
    for column in range(before.n_in):
        assert_nothing_spreads(before, simplified, np.where(np.arange(before.n_in) == column, np.inf, x))


def assert_nothing_spreads(before: Program, after: Program, x: Array) -> None:
    """Where an output is finite although an input is not, it does not depend on it, or saturates: both stay."""
    y, z = interpret(before, x), interpret(after, x)
    assert not np.isnan(z[~np.isnan(y)]).any()
    assert np.isfinite(z[np.isfinite(y)]).all()


def test_malformed_program_is_refused() -> None:
    with pytest.raises(ProgramError, match="is used before it is defined"):
        simplify(Program("p", (X,), (U,), (Map(U, A, "sin"),)))


def rounding_bound(program: Program, x: Array) -> Array:
    """How far float64 may be from exact arithmetic at the points x, first order; (n, n_out).

    Of two Programs of the same meaning, each is within its bound of the exact value. A function is taken to be
    accurate to 4 units in the last place.
    """
    return evaluate(program, WithError(), (x, np.zeros_like(x)))[1]


class WithError:
    """The operations on values and the bounds of their errors."""

    def affine(self, op: Affine, x: Bounded) -> Bounded:
        (value, error), w, b = x, op.weight, op.bias
        rounding = (op.x.size + 1) * EPSILON * (abs(value) @ abs(w.T) + abs(b))
        return value @ w.T + b, error @ abs(w.T) + rounding

    def scale(self, op: Scale, x: Bounded) -> Bounded:
        (value, error), w, b = x, op.weight, op.bias
        return w * value + b, abs(w) * error + 2 * EPSILON * (abs(w * value) + abs(b))

    def map(self, fn: str, x: Bounded) -> Bounded:
        value, error = x
        y = FUNCTIONS[fn].exact(value)
        steepest = 0.1 + np.max([abs(slope(fn, at)) for at in (value - error, value, value + error)], axis=0)
        return y, steepest * error + 4 * EPSILON * abs(y)

    def add(self, a: Bounded, b: Bounded) -> Bounded:
        y = a[0] + b[0]
        return y, a[1] + b[1] + EPSILON * abs(y)

    def mul(self, a: Bounded, b: Bounded) -> Bounded:
        y = a[0] * b[0]
        return y, abs(a[0]) * b[1] + abs(b[0]) * a[1] + EPSILON * abs(y)

    def select(self, c: Bounded, a: Bounded, b: Bounded) -> Bounded:
        y, error = (np.where(c[0] > 0, one, other) for one, other in zip(a, b, strict=True))
        uncertain = abs(c[0]) <= c[1]
        return y, np.where(uncertain, abs(a[0] - b[0]) + np.maximum(a[1], b[1]), error)

    def concat(self, xs: Sequence[Bounded]) -> Bounded:
        value, error = (np.concatenate(each, axis=1) for each in zip(*xs, strict=True))
        return value, error

    def slice(self, x: Bounded, start: int, size: int) -> Bounded:
        value, error = (each[:, start : start + size] for each in x)
        return value, error


def slope(fn: str, x: Array) -> Array:
    exact = {name: function.exact for name, function in FUNCTIONS.items()}
    (found,) = values(slopes(fn, 1), Operators(exact.__getitem__), x, exact[fn](x))
    return np.asarray(found)


@given(programs())
def test_meaning_is_unchanged(drawn: Program) -> None:
    simplified, x = simplify(drawn), points(drawn, 20)
    tolerance = rounding_bound(drawn, x) + rounding_bound(simplified, x)
    assert (abs(interpret(simplified, x) - interpret(drawn, x)) <= tolerance).all()


@given(programs())
def test_interface_is_unchanged_and_nothing_costs_more(drawn: Program) -> None:
    simplified = verify(simplify(drawn))
    assert (simplified.name, simplified.inputs, simplified.outputs) == (drawn.name, drawn.inputs, drawn.outputs)
    assert multiply_adds(simplified) <= multiply_adds(drawn)
    assert len(simplified.ops) <= len(drawn.ops)


@given(programs())
def test_simplify_is_idempotent_and_deterministic(drawn: Program) -> None:
    simplified = simplify(drawn)
    for again in (simplify(simplified), simplify(drawn), simplify(renamed(drawn))):
        assert again == simplified
        assert str(again) == str(simplified)


@given(programs())
def test_inner_names_are_counted(drawn: Program) -> None:
    simplified = simplify(drawn)
    outputs = {var.name for var in drawn.outputs}
    inner = [op.out.name for op in simplified.ops if op.out.name not in outputs]
    free = (name for name in map("v{}".format, count()) if name not in outputs)
    assert inner == [name for name, _ in zip(free, inner, strict=False)]


@given(programs(), st.sampled_from((np.nan, np.inf, -np.inf)), st.data())
def test_what_is_not_finite_does_not_spread(drawn: Program, value: float, data: st.DataObject) -> None:
    x = points(drawn, 4)
    x[:, data.draw(st.integers(0, drawn.n_in - 1))] = value
    assert_nothing_spreads(drawn, simplify(drawn), x)


@given(programs(scale=1e3, bound=np.inf), st.sampled_from((1.0, 1e3, 1e30)))
def test_finite_results_stay_finite(drawn: Program, largest: float) -> None:
    x = points(drawn, 10, lower=-largest, upper=largest)
    before, after = interpret(drawn, x), interpret(simplify(drawn), x)
    assert np.isfinite(after[np.isfinite(before)]).all()


def test_a_network_with_scaled_input_and_output_is_its_affines_and_maps() -> None:
    network = mlp(2, 32, 4, 1)
    concat, first, *rest = network.ops
    assert isinstance(first, Affine)
    y, v = Var("y", 2), Var("v", 1)
    scaled = (scale(y, first.x), Affine(first.out, y, first.weight, first.bias), *rest, scale(v, Var("u", 1)))
    simplified = simplify(Program("scaled", network.inputs, (v,), (concat, *scaled)))
    assert [type(op) for op in simplified.ops] == [type(op) for op in network.ops]
    assert multiply_adds(simplified) == multiply_adds(network) == 2 * 32 + 3 * 32 * 32 + 32


def test_what_reads_equal_copies_is_done_once() -> None:
    """Of two choices between x and x, one is a copy of the other as well as of x."""
    x, copy, y = Var("x", 1), Var("copy", 1), Var("y", 1)
    once = Program("p", (x,), (y,), (Select(copy, x, x, x), Select(y, x, x, copy)))
    assert len(together([once, once]).ops) == 3


@given(st.data(), st.integers(0, 2**32 - 1))
@settings(max_examples=30)
def test_programs_evaluated_together_have_the_bits_that_each_has_alone(data: st.DataObject, seed: int) -> None:
    first = data.draw(programs(any_function=True))
    second = data.draw(programs(inputs=first.inputs, any_function=True))
    several = [first, second, first, replace(first, outputs=first.inputs)]
    x = np.random.default_rng(seed).uniform(-1, 1, (7, first.n_in)).astype(np.float32)
    found = NumpyProgram(together(several), "float32")(x)
    assert found.tobytes() == np.concatenate([NumpyProgram(each, "float32")(x) for each in several], axis=1).tobytes()
    assert len(together([first, first]).ops) <= len(first.ops) + len(first.outputs)
