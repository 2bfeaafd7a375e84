"""Numbers with an exponent each in the profile int16-1: their words, and the Programs that need them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from kdpinn_edge.errors import ProgramError
from kdpinn_edge.numerics.fixed_point import PROFILE, floating
from kdpinn_edge.numerics.fixed_point.floating_calls import ROUNDING, TABLE, mantissas, nearest_floating
from kdpinn_edge.numerics.fixed_point.quantise import quantise
from kdpinn_edge.numerics.fixed_point.words import Words
from kdpinn_edge.numerics.reference import NumpyProgram
from kdpinn_edge.program.interp import interpret
from kdpinn_edge.program.ir import Add, Map, Mul, Op, Program, Scale, Var
from kdpinn_edge.program.verify import verify


def drawn(n: int, seed: int) -> Words:
    """Floating numbers of both signs and many sizes, with the smallest and the largest mantissas."""
    random = np.random.default_rng(seed)
    m = random.integers(floating.LEAST, floating.MOST + 1, n)
    m[: n // 4] = random.choice([floating.LEAST, floating.LEAST + 1, floating.MOST - 1, floating.MOST], n // 4)
    return np.stack([m * random.choice([-1, 1], n), random.integers(-70, 10, n)])


def numbers(x: Words) -> NDArray[np.float64]:
    return np.ldexp(x[0].astype(np.float64), x[1])


def well_formed(x: Words) -> bool:
    size = np.abs(x[0])
    return bool(((size == 0) | ((size >= floating.LEAST) & (size <= floating.MOST))).all())


def test_sums_and_products_round_by_less_than_is_stated() -> None:
    a, b = drawn(20000, 0), drawn(20000, 1)
    b[1, ::2] = a[1, ::2] + np.random.default_rng(2).integers(-3, 4, 10000)
    b[:, :100] = a[:, :100] * np.array([[-1], [1]])
    product, total = floating.float_mul(a, b), floating.float_add(a, b)
    assert well_formed(product)
    assert well_formed(total)
    exact = numbers(a) * numbers(b)
    assert (np.abs(numbers(product) - exact) <= ROUNDING / 2 * np.abs(exact)).all()
    largest = np.maximum(np.abs(numbers(a)), np.abs(numbers(b)))
    assert (np.abs(numbers(total) - (numbers(a) + numbers(b))) <= ROUNDING / 2 * largest).all()
    assert (total[0, :100] == 0).all()
    m, e = b[:1, 7], b[1:, 7]
    assert (floating.float_scale(a, m, e) == floating.float_mul(a, np.repeat(b[:, 7:8], 20000, axis=1))).all()
    assert (floating.float_plus(a, m, e) == floating.float_add(a, np.repeat(b[:, 7:8], 20000, axis=1))).all()
    assert (numbers(floating.float_move(a, -1, 3)) == -8 * numbers(a)).all()


def test_roots_and_reciprocals_are_off_by_less_than_is_stated() -> None:
    x = drawn(20000, 3)
    found = floating.float_reciprocal(x)
    assert well_formed(found)
    assert (np.abs(numbers(found) * numbers(x) - 1) < TABLE).all()
    x[0] = np.abs(x[0])
    found = floating.float_rsqrt(x)
    assert well_formed(found)
    assert (np.abs(numbers(found) * np.sqrt(numbers(x)) - 1) < TABLE).all()


def test_words_become_floating_and_back() -> None:
    x = np.array([[0, 1, -1, 5, -(2**31) + 1, 2**31 - 1, 2**30, -(2**29), 123456789]])
    found = floating.to_floating(x, 20)
    assert well_formed(found)
    assert (np.abs(numbers(found) - x[0] / 2**20) <= 2.0**-29 * np.abs(x[0]) / 2**20).all()
    for fraction in (19, 5, -8):
        back = floating.to_fixed(found, fraction)[0]
        exact = np.clip(np.trunc(np.ldexp(numbers(found), fraction)), -floating.CUT, floating.CUT)
        assert (back == exact).all()
    assert (np.abs(floating.to_fixed(found, 40)[0]) == np.where(np.abs(x[0]) < 2**10, np.abs(x[0]) << 20, 2**30)).all()
    zero = floating.float_add(found, floating.float_move(found, -1, 0))
    assert (floating.to_fixed(zero, 60) == 0).all()


def test_constants_are_the_nearest_floating_numbers() -> None:
    given = np.array([0.0, 1.0, -0.1, 1e-35, 1e30, 1 - 2.0**-40, -(1 - 2.0**-40)])
    m, e = mantissas(given)
    assert well_formed(np.stack([m, e]))
    assert (np.abs(nearest_floating(given) - given) <= 2.0**-30 * np.abs(given)).all()


def program_of(*ops: Op) -> Program:
    x, t = Var("x", 1), Var("t", 1)
    return verify(Program("far", (x, t), (ops[-1].out,), ops))


def chain(*steps: tuple[str, Any]) -> Program:
    """A Program in which each step is made of the one before, "x" and "t"."""
    ops: list[Op] = []
    known = {"x": Var("x", 1), "t": Var("t", 1)}
    for name, step in steps:
        out = known[name] = Var(name, 1)
        match step:
            case str():
                fn, of = step.split()
                ops.append(Map(out, known[of], fn))
            case (str(a), "*", str(b)):
                ops.append(Mul(out, known[a], known[b]))
            case (str(a), "+", str(b)):
                ops.append(Add(out, known[a], known[b]))
            case (str(a), weight, bias):
                ops.append(Scale(out, known[a], [weight], [bias]))
    return program_of(*ops)


INVERSE_ROOT = (("s", ("t", 1.0, 1e-5)), ("w", "sqrt s"), ("r", "reciprocal w"))
FAR = {
    "a root times x": chain(("s", ("t", 1.0, 1e-5)), ("w", "sqrt s"), ("y", ("w", "*", "x"))),
    "a quotient that a tanh cuts": chain(*INVERSE_ROOT, ("z", ("x", "*", "r")), ("y", "tanh z")),
    "the slope of such a tanh": chain(
        *INVERSE_ROOT, ("z", ("x", "*", "r")), ("h", "tanh z"), ("q", ("h", "*", "h")), ("m", ("q", -1.0, 1.0)),
        ("a", ("z", "*", "z")), ("b", ("a", "*", "a")), ("c", ("b", "*", "a")), ("y", ("c", "*", "m")),
    ),
    "its square in an exponential": chain(
        *INVERSE_ROOT, ("z", ("x", "*", "r")), ("q", ("z", "*", "z")), ("m", ("q", -1.0, 0.0)), ("y", "exp m")
    ),
    "an error function": chain(*INVERSE_ROOT, ("z", ("x", "*", "r")), ("h", ("z", 0.5, 0.0)), ("y", "erf h")),
    "an angle": chain(
        ("a", ("x", "*", "x")), ("b", ("t", "*", "t")), ("c", ("a", "+", "b")), ("d", ("c", 1.0, 1e-8)),
        ("r", "sqrt d"), ("o", "reciprocal r"), ("p", ("t", "*", "o")), ("y", "atan p"),
    ),
    "an angle of any size": chain(("z", ("x", 300.0, 1.0)), ("y", "atan z")),
    "a power": chain(("s", ("t", 1.0, 1e-5)), ("r", "power(-0.5) s"), ("y", ("r", "*", "s"))),
    "a sum of far ones": chain(*INVERSE_ROOT, ("d", ("r", 3.0, -2.0)), ("e", ("d", "+", "r")), ("y", ("e", "*", "t"))),
    "no pole": chain(("a", "tanh x"), ("s", ("a", 1.0, 2.0)), ("y", "reciprocal s")),
}  # fmt: skip


@pytest.mark.parametrize("what", FAR)
def test_what_reaches_far_keeps_its_digits(what: str) -> None:
    program, sides = FAR[what], ([-1.0, 0.0], [1.0, 1.0])
    x = np.random.default_rng(0).uniform(*sides, (4000, 2)).astype(np.float32)
    x[::3, 1] **= 4
    x[::5, 0] **= 5
    x = np.rint(x * 2.0**24) / np.float32(2.0**24)
    exact = interpret(program, x)
    found = NumpyProgram(program, "float32", PROFILE, sides)(x)
    assert np.abs(found - exact).max() < 4e-6 * np.abs(exact).max()
    assert np.linalg.norm(found - exact) < 2e-6 * np.linalg.norm(exact)


def test_a_program_without_roots_has_no_floating_number() -> None:
    program = chain(("a", ("x", 1e4, 0.0)), ("b", ("a", "*", "t")), ("y", ("b", "*", "b")))
    assert not any("float" in call.word for call in quantise(program, [-1, 0], [1, 1]).calls[:-1])


@pytest.mark.parametrize("fn", ["sqrt", "reciprocal", "power(-0.5)"])
def test_an_argument_that_may_be_zero_is_refused(fn: str) -> None:
    with pytest.raises(ProgramError, match=r"the argument of .* may be from .*, as far as intervals prove"):
        quantise(chain(("y", f"{fn} x")), [-1, 0], [1, 1])
