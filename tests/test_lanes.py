"""The lane vocabulary and the activations under NumPy: exact where exactness is promised."""

from __future__ import annotations

import math
from concurrent.futures import ThreadPoolExecutor
from fractions import Fraction

import mpmath
import numpy as np
import pytest
from function_cases import FUNCTION_CASES
from hypothesis import given, settings
from hypothesis import strategies as st
from scripts import script

from kdpinn_edge.functions import FUNCTIONS, computations, functions
from kdpinn_edge.functions.hyperbolic import tanh_fast
from kdpinn_edge.numerics import coefficients, lanes

PRECISIONS = (np.float32, np.float64)
arithmetics = pytest.mark.parametrize(
    ("profile", "dtype"),
    [
        (profile, dtype)
        for dtype in PRECISIONS
        for profile in lanes.PROFILES
        if dtype is np.float32 or not lanes.is_fast(profile)
    ],
)


def exact_fma(a: float, b: float, c: float, dtype: type) -> float:
    """a * b + c rounded once, by rational arithmetic."""
    if not (math.isfinite(a) and math.isfinite(b)):
        return a * b + c
    if not math.isfinite(c):
        return c
    exact = Fraction(a) * Fraction(b) + Fraction(c)
    if exact == 0:
        return math.copysign(0.0, a) * math.copysign(1.0, b) + c if a == 0 or b == 0 else 0.0
    bits, tiny = (24, -149) if dtype is np.float32 else (53, -1074)
    magnitude = abs(exact)
    exponent = magnitude.numerator.bit_length() - magnitude.denominator.bit_length()
    exponent -= magnitude < Fraction(2) ** exponent
    unit = Fraction(2) ** max(exponent - bits + 1, tiny)
    rounded = round(magnitude / unit) * unit
    limit = Fraction(2) ** (128 if dtype is np.float32 else 1024)
    return math.copysign(math.inf if rounded >= limit else float(rounded), 1 if exact > 0 else -1)


@pytest.mark.parametrize("dtype", PRECISIONS)
@given(data=st.data())
@settings(max_examples=200)
def test_fma_rounds_once(dtype: type, data: st.DataObject) -> None:
    width = 8 * np.dtype(dtype).itemsize
    numbers = st.floats(width=width)
    a, b = data.draw(numbers), data.draw(numbers)
    with np.errstate(all="ignore"):
        product = float(dtype(a) * dtype(b))
    near = st.sampled_from([product, -product, math.nextafter(product, 0.0), -math.nextafter(product, math.inf)])
    c = data.draw(numbers | near.map(lambda v: _as_float(v, dtype)))
    with np.errstate(all="ignore"):
        found = lanes.fma(np.array([a], dtype), np.array([b], dtype), np.array([c], dtype))[0]
    expected = exact_fma(a, b, c, dtype)
    assert found.dtype == dtype
    assert math.isnan(expected) == math.isnan(found)
    if not math.isnan(expected):
        assert (float(found), math.copysign(1, found)) == (expected, math.copysign(1, expected))


EXPONENTS = st.integers(-2148, 2046) | st.integers(-1080, -1015) | st.integers(-910, -890) | st.integers(985, 1026)


def doubles(rng: np.random.Generator, exponents: np.ndarray) -> np.ndarray:
    """±1 to ±2 times powers of two, as far as doubles go: with random digits, with few, or with nothing but ones."""
    n = exponents.shape
    digits = rng.integers(0, 2**52, n) >> rng.choice([0, 26, 49], n) << rng.choice([0, 0, 49], n)
    fractions = rng.choice([1.0, -1.0], n) * (1 + np.where(rng.random(n) < 0.1, 2**52 - 1, digits % 2**52) / 2**52)
    return np.ldexp(fractions, exponents)


@given(seed=st.integers(0, 2**32), exponent=EXPONENTS, below=st.integers(-170, 170))
@settings(max_examples=150)
@np.errstate(all="ignore")
def test_fma_of_doubles_rounds_once_at_every_border(seed: int, exponent: int, below: int) -> None:
    """Where a sum has to be scaled, and where a subnormal result has fewer digits: nothing may be rounded twice."""
    rng = np.random.default_rng(seed)
    e = rng.integers(max(-1074, exponent - 1023), min(1023, exponent + 1074) + 1, (6, 8))
    a, b = doubles(rng, e), doubles(rng, exponent - e)
    c = doubles(rng, np.full(a.shape, exponent - below))
    c[1], c[2], c[3] = -a[1] * b[1], np.nextafter(-a[2] * b[2], 0.0), np.nextafter(-a[3] * b[3], np.inf)
    c[4] = rng.integers(-9, 10, 8) * 2.0**-1074
    a[5], b[5], c[5] = rng.integers(0, 2**64, (3, 8), np.uint64).view(np.float64)
    found = lanes.fma(a, b, c)
    expected = np.array([exact_fma(*numbers, np.float64) for numbers in zip(a.flat, b.flat, c.flat, strict=True)])
    assert lanes.canonical(found.ravel()).view(np.int64).tolist() == lanes.canonical(expected).view(np.int64).tolist()


@pytest.mark.parametrize("dtype", PRECISIONS)
@given(data=st.data())
@settings(max_examples=300)
def test_the_other_profile_rounds_twice(dtype: type, data: st.DataObject) -> None:
    a, b, c = (np.array([data.draw(st.floats(width=8 * np.dtype(dtype).itemsize))], dtype) for _ in "abc")
    with np.errstate(all="ignore"), lanes.profile("muladd-1"):
        np.testing.assert_array_equal(lanes.fma(a, b, c), lanes.add(lanes.mul(a, b), c))
        np.testing.assert_array_equal(lanes.horner(a, ((3.0, 2.0), (3.0, 2.0))), lanes.add(lanes.mul(2.0, a), 3.0))


def test_a_profile_holds_in_its_block_and_thread_alone() -> None:
    third = np.float32([1 / 3])
    once, twice = lanes.fma(third, third, -1 / 9), lanes.add(lanes.mul(third, third), -1 / 9)
    assert once != twice
    with lanes.profile("muladd-1"):
        with lanes.profile("fma-2"):
            assert lanes.fma(third, third, -1 / 9) == once
        assert lanes.fma(third, third, -1 / 9) == twice
        with ThreadPoolExecutor() as pool:
            assert pool.submit(lanes.fma, third, third, -1 / 9).result() == once
    assert lanes.fma(third, third, -1 / 9) == once


def _as_float(value: float, dtype: type) -> float:
    with np.errstate(all="ignore"):
        return float(dtype(value))


@pytest.mark.parametrize("fn", FUNCTIONS)
@arithmetics
def test_error_of_a_function(profile: str, fn: str, dtype: type) -> None:
    rng = np.random.default_rng(0)
    function, computation = FUNCTIONS[fn], computations(profile)[fn]
    n = 50_000 if dtype is np.float32 else 1_000
    span = function.arguments
    x = np.concatenate([rng.uniform(-span, span, n), span * 10.0 ** rng.uniform(-9, 0, n)]).astype(dtype)
    x = FUNCTION_CASES[fn].defined(x)
    with lanes.profile(profile):
        y = computation.lanes(x)
    if dtype is np.float32:
        exact = function.exact(x.astype(np.float64))
        difference = np.abs(y.astype(np.float64) - exact)
    else:
        with mpmath.workprec(120):
            values = [FUNCTION_CASES[fn].exact(mpmath.mpf(float(v))) for v in x]
            difference = np.array([float(abs(mpmath.mpf(float(a)) - b)) for a, b in zip(y, values, strict=True)])
            exact = np.array([float(v) for v in values])
    unit = np.spacing(np.abs(exact).astype(dtype)).astype(np.float64)
    assert np.max(difference / unit) <= computation.max_ulp[np.dtype(dtype).name]


@pytest.mark.parametrize("fn", FUNCTIONS)
@arithmetics
def test_special_values(profile: str, fn: str, dtype: type) -> None:
    computation = computations(profile)[fn]
    with np.errstate(all="ignore"), lanes.profile(profile):
        assert np.isnan(computation.lanes(np.array([math.nan], dtype))).all()
        for x, expected in FUNCTION_CASES[fn].values:
            y = computation.lanes(np.array([x], dtype))
            if computation.lanes is tanh_fast and math.isinf(x):
                assert 1 - computation.max_ulp["float32"] * 2.0**-24 <= abs(y[0]) <= 1
                expected = math.copysign(y[0], expected)
            np.testing.assert_array_equal(y, np.array([expected], dtype))
            assert np.isnan(y[0]) or np.signbit(y[0]) == np.signbit(expected)


def test_a_zero_of_exp_is_not_the_end_of_an_underflow() -> None:
    with np.errstate(under="raise"):
        assert not functions("muladd-1")["exp"](np.array([-104.1, -1e4, -3e38, -math.inf], np.float32)).any()


@arithmetics
@given(data=st.data())
@settings(max_examples=20)
def test_ranges_and_symmetries(profile: str, dtype: type, data: st.DataObject) -> None:
    width = 8 * np.dtype(dtype).itemsize
    x = np.array(data.draw(st.lists(st.floats(width=width, allow_nan=False), min_size=1, max_size=50)), dtype)
    integer, finite = lanes.INTEGER[np.dtype(dtype)], np.isfinite(x)
    for fn, compute in functions(profile).items():
        function = FUNCTIONS[fn]
        with np.errstate(all="ignore"), lanes.profile(profile):
            y, mirrored = compute(x)[finite], compute(-x)[finite]
        number = ~np.isnan(y)
        assert (y[number] >= function.lower).all()
        assert (y[number] <= dtype(function.upper)).all()
        if function.symmetry is not None:
            expected = -y if function.symmetry == "odd" else y
            assert (mirrored.view(integer) == expected.view(integer)).all()


@pytest.mark.parametrize("dtype", PRECISIONS)
@pytest.mark.parametrize(
    ("part", "step", "largest"),
    [
        (coefficients.MINUS_PI_1, 0.5, (128, 2**19)),
        (coefficients.MINUS_PI_2, 0.5, (128, 2**19)),
        (coefficients.MINUS_LN2_1, 1.0, (151, 1077)),
    ],
)
def test_multiples_in_argument_reduction_are_exact(
    part: tuple[float, float], step: float, largest: tuple[int, int], dtype: type
) -> None:
    """So that one set of coefficients serves every profile."""
    i = PRECISIONS.index(dtype)
    k = np.linspace(-largest[i], largest[i], 2001 if largest[i] > 2000 else int(2 * largest[i] / step) + 1)
    k = np.round(k / step).astype(dtype) * dtype(step)
    for whole, product in zip(k.tolist(), lanes.mul(k, part).tolist(), strict=True):
        assert Fraction(product) == Fraction(whole) * Fraction(part[i])


def test_canonical_nan() -> None:
    strange = np.array([0xFFC12345, 0x7F800001, 0x3F800000], np.uint32).view(np.float32)
    assert lanes.canonical(strange).view(np.uint32).tolist() == [0x7FC00000, 0x7FC00000, 0x3F800000]


def test_a_trial_of_fewer_inputs_replaces_no_row_but_one_that_it_proves_wrong() -> None:
    benchmark = script("benchmarks/verify_activations.py")
    worst = "| tanh | float32 | fma-2 | all | {} | 0.5 | {} |"
    known = [
        benchmark.HEAD,
        worst.format("1.98", "4,294,967,296"),
        "| sin | float32 | fma-2 | \\|x\\| ≤ 100 | 2.04 | 84 | 9 |",
    ]
    for error, inputs, replaces in (
        ("1.97", "4,294,967,296", True),
        ("1.98", "67,108,864", False),
        ("1.99", "67,108,864", True),
    ):
        row = worst.format(error, inputs)
        text, kept = benchmark.table_of("\n".join(known).splitlines(), [row])
        assert text.splitlines() == [*benchmark.HEAD.splitlines(), row if replaces else known[1], known[2]]
        assert kept == ([] if replaces else [known[1]])


def test_the_search_for_errors_draws_where_they_are_the_largest() -> None:
    benchmark = script("benchmarks/verify_activations.py")
    search, drawn = benchmark.Search(4 * benchmark.BLOCK), []
    for x in search:
        known = x[np.isfinite(x)]
        search.tell(known, np.where(np.abs(known + 3.01) < 0.01, 1.0, 0.0))
        drawn.append(x)
    first, last = drawn[1], drawn[-1]
    assert first.min() < -1000
    assert first.max() > 1000
    assert -3.04 < last.min() <= last.max() <= -3
