"""Generates kdpinn_edge/numerics/coefficients.py: minimax polynomials by the Remez exchange, in 60 digits.

python tools/coefficients.py            rewrite the file
python tools/coefficients.py --check    exit 1 if the file is not what this script writes
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from functools import cache, partial
from pathlib import Path

import mpmath
import numpy as np
from mpmath import mp, mpf

mp.dps = 60
TARGET = Path(__file__).parent.parent / "kdpinn_edge" / "numerics" / "coefficients.py"
HEAD = '''"""Written by tools/coefficients.py: change that and run it; never edit a number here.

Each constant is a pair: for float32, for float64. Polynomials have their lowest power first.
"""
'''
Function = Callable[[mpf], mpf]
ROOT_BIAS = mpf("0.0450466")
"""log2(1 + m) - m in the middle. So the bits of 1/√x are those of 1 times 3/2, less half of x's, to within 3.5 %."""
TANH_FAST_GAP = mpf(2) ** -22
"""How far from 1 the fast tanh stays: four times the spacing of float32 there, what its own rounding errors come to."""


def remez(f: Function, weight: Function, lo: mpf, hi: mpf, degree: int) -> list[mpf]:
    """The c that minimise max |weight(x) (f(x) - Σ c_i xⁱ)| on [lo, hi] (E. Remez, 1934)."""
    n = degree + 1
    nodes = [(lo + hi) / 2 - (hi - lo) / 2 * mpmath.cos(mpmath.pi * (i + mpf(1) / 2) / (n + 1)) for i in range(n + 1)]
    for _ in range(30):
        matrix = mp.matrix(n + 1, n + 1)
        right = mp.matrix(n + 1, 1)
        for i, x in enumerate(nodes):
            for j in range(n):
                matrix[i, j] = x**j
            matrix[i, n] = (-1) ** i / weight(x)
            right[i] = f(x)
        solution = list(mp.lu_solve(matrix, right))
        coefficients, level = solution[:n], abs(solution[n])

        def error(x: mpf, c: list[mpf] = coefficients) -> mpf:
            return weight(x) * (f(x) - mpmath.polyval(c[::-1], x))

        nodes = _alternating_extrema(error, lo, hi, n + 1)
        if max(abs(error(x)) for x in nodes) < level * (1 + mpf(10) ** -6):
            break
    return coefficients


def even_rational_remez(f: Function, weight: Function, lo: mpf, hi: mpf, degree: int) -> tuple[list[mpf], list[mpf]]:
    """The p, q of one degree, q_0 = 1, that minimise max |weight(x) (f(x) - Σ p_i x²ⁱ / Σ q_i x²ⁱ)| on [lo, hi].

    The first nodes are the extrema of the error of an interpolant. The level of the error is multiplied by Σ q_i x²ⁱ,
    which is taken from the solution before, as H. L. Loeb's algorithm does.
    """
    n = 2 * degree + 1

    def solved(nodes: list[mpf], level: Function) -> tuple[list[mpf], list[mpf]]:
        matrix, right = mp.matrix(len(nodes), len(nodes)), mp.matrix(len(nodes), 1)
        for i, x in enumerate(nodes):
            row = [x ** (2 * j) for j in range(degree + 1)] + [-f(x) * x ** (2 * j) for j in range(1, degree + 1)]
            for j, entry in enumerate([*row, (-1) ** i * level(x)][: len(nodes)]):
                matrix[i, j] = entry
            right[i] = f(x)
        solution = list(mp.lu_solve(matrix, right))
        return solution[: degree + 1], [mpf(1), *solution[degree + 1 : n]]

    zeros = [(lo + hi) / 2 - (hi - lo) / 2 * mpmath.cos(mpmath.pi * (i + mpf(1) / 2) / n) for i in range(n)]
    top, bottom = solved(zeros, lambda _: mpf(0))
    for _ in range(30):

        def error(x: mpf, p: list[mpf] = top, q: list[mpf] = bottom) -> mpf:
            return weight(x) * (f(x) - mpmath.polyval(p[::-1], x * x) / mpmath.polyval(q[::-1], x * x))

        nodes = _alternating_extrema(error, lo, hi, n + 1)
        heights = [abs(error(x)) for x in nodes]
        if max(heights) < min(heights) * (1 + mpf(10) ** -6):
            break
        for _ in range(10):
            q = bottom[::-1]
            top, bottom = solved(nodes, partial(lambda q, x: mpmath.polyval(q, x * x) / weight(x), q))
    return top, bottom


def _alternating_extrema(error: Function, lo: mpf, hi: mpf, count: int) -> list[mpf]:
    """`count` points of alternating, locally largest |error|, found on a grid of Chebyshev points and polished."""
    m = 40 * count
    grid = [(lo + hi) / 2 - (hi - lo) / 2 * mpmath.cos(mpmath.pi * i / m) for i in range(m + 1)]
    values = [error(x) for x in grid]
    extrema: list[int] = []
    for i, value in enumerate(values):
        if extrema and (values[extrema[-1]] > 0) == (value > 0):
            if abs(value) > abs(values[extrema[-1]]):
                extrema[-1] = i
        else:
            extrema.append(i)
    while len(extrema) > count:
        extrema.pop(0 if abs(values[extrema[0]]) < abs(values[extrema[-1]]) else -1)
    if len(extrema) < count:
        raise ArithmeticError(f"the error alternates only {len(extrema)} times; {count} needed")
    return [_polish(error, grid, i) for i in extrema]


def _polish(error: Function, grid: list[mpf], i: int) -> mpf:
    if i in (0, len(grid) - 1):
        return grid[i]
    x0, x1, x2 = grid[i - 1 : i + 2]
    e0, e1, e2 = (error(x) for x in (x0, x1, x2))
    top = (x1 - x0) ** 2 * (e1 - e2) - (x1 - x2) ** 2 * (e1 - e0)
    bottom = (x1 - x0) * (e1 - e2) - (x1 - x2) * (e1 - e0)
    return min(max(x1 - top / bottom / 2, x0), x2) if bottom else x1


def rounded_minimax(f: Function, weight: Function, lo: mpf, hi: mpf, degree: int, dtype: type) -> list[float]:
    """Coefficients of the minimax polynomial, lowest power first, each rounded to `dtype`."""
    return [_round(c, dtype) for c in remez(f, weight, lo, hi, degree)]


def refitted_minimax(f: Function, weight: Function, lo: mpf, hi: mpf, degree: int, dtype: type) -> list[float]:
    """The same for 0 < lo, each coefficient rounded in turn and the higher ones fitted again to make up for it."""
    result: list[float] = []

    def rest(x: mpf) -> mpf:
        return (f(x) - mpmath.polyval(result[::-1], x)) / x ** len(result)

    def rest_weight(x: mpf) -> mpf:
        return weight(x) * x ** len(result)

    while len(result) <= degree:
        result.append(_round(remez(rest, rest_weight, lo, hi, degree - len(result))[0], dtype))
    return result


def _round(x: mpf, dtype: type) -> float:
    """x as the nearest number of `dtype`, without double rounding."""
    bits = np.finfo(dtype).nmant + 1
    with mpmath.workprec(bits):
        return float(+x)


def parts(x: mpf, widths: list[int]) -> list[float]:
    """x as an unevaluated sum of numbers of so many bits, largest first.

    A product of one with an integer is exact as long as the bits of both fit into a number.
    """
    result: list[float] = []
    for bits in widths:
        rest = x - sum(map(mpf, result), mpf(0))
        with mpmath.workprec(bits):
            result.append(float(+rest))
    return result


def expm1_tail(x: mpf) -> mpf:
    """(eˣ - 1 - x) / x²."""
    return mpf(1) / 2 + x / 6 if abs(x) < mpf(10) ** -25 else (mpmath.expm1(x) - x) / x**2


def expm1_weight(x: mpf) -> mpf:
    """Turns an error of the tail into nearly a relative error of eˣ - 1, and keeps off zero."""
    return abs(x) + mpf(1) / 32


def sin_tail(s: mpf) -> mpf:
    """(sin r - r) / r³ as a function of s = r²."""
    r = mpmath.sqrt(s)
    return (mpmath.sin(r) - r) / (s * r)


def sin_weight(s: mpf) -> mpf:
    """Turns an error of the tail into a relative error of sin r."""
    r = mpmath.sqrt(s)
    return s * r / mpmath.sin(r)


def atanh_tail(w: mpf) -> mpf:
    """(atanh s / s - 1) / w as a function of w = s²."""
    s = mpmath.sqrt(w)
    return (mpmath.atanh(s) / s - 1) / w


def log_tail(w: mpf) -> mpf:
    """(2 atanh s / s - 2) / w as a function of w = s²."""
    return 2 * atanh_tail(w)


@cache
def erf_tail(a: mpf) -> mpf:
    """ln(erfc -a) / a - 1, for negative a."""
    return mpmath.log(mpmath.erfc(-a)) / a - 1


@cache
def erf_weight(a: mpf) -> mpf:
    """Turns an error of the tail into a relative error of erf a."""
    return a * mpmath.erfc(-a) / mpmath.erf(a)


def atan_tail(w: mpf) -> mpf:
    """(atan t / t - 1) / w as a function of w = t²."""
    t = mpmath.sqrt(w)
    return (mpmath.atan(t) / t - 1) / w


def tanh_ratio(x: mpf) -> mpf:
    """Tanh x / x."""
    return mpmath.tanh(x) / x


def constants(
    dtype: type,
    ln2_bits: int,
    pi_bits: int,
    *,
    exp_degree: int,
    sin_degree: int,
    atanh_degree: int,
    atan_degree: int,
    log_degree: int,
    erf_degree: int,
) -> dict[str, float | list[float]]:
    """Everything that activations.py needs in one precision.

    The parts of ln 2 and of pi but the last have so many bits.
    """
    ln2, pi = mpmath.log(2), mpmath.pi
    half_ln2 = ln2 / 2 * (1 + mpf(2) ** -12)
    quarter = (pi / 2 * (1 + mpf(2) ** -12)) ** 2
    mantissa = int(np.finfo(dtype).nmant)
    magic = dtype(1.5 * 2.0**mantissa)
    integer = np.dtype(f"int{8 * np.dtype(dtype).itemsize}").type
    reach = mpmath.atanh(1 - TANH_FAST_GAP)
    top, bottom = even_rational_remez(tanh_ratio, lambda x: 1 / tanh_ratio(x), reach / 10**6, reach, 4)
    tail = rounded_minimax(expm1_tail, expm1_weight, -half_ln2, half_ln2, exp_degree, dtype)
    minus_ln2 = parts(-ln2, [ln2_bits, mantissa + 1])
    log_reach = (3 - 2 * mpmath.sqrt(2)) ** 2 * (1 + mpf(2) ** -12)
    erf_reach = mpmath.erfinv(1 - mpf("0.9") * mpf(2) ** (-2 - mantissa))  # beyond, it is rounded to 1
    eighth = mpmath.tan(pi / 8) ** 2 * (1 + mpf(2) ** -12)
    quarter_pi = parts(pi / 4, [mantissa + 1, mantissa + 1])
    minus_pi = parts(-pi, [pi_bits, pi_bits, mantissa + 1])
    return {
        "MANTISSA": mantissa,
        "ONE_BITS": int(dtype(1).view(integer)),
        "MAGIC": float(magic),
        "MAGIC_BITS": int(magic.view(integer)),
        "MAGIC_EXPONENT": float(magic) + 1 - int(np.finfo(dtype).minexp),
        "MAGIC_EXPONENT_OF_HALF": float(magic) - int(np.finfo(dtype).minexp),
        "TWO_BITS": int(dtype(2).view(integer)),
        "ROOT_HALF_BITS": int(dtype(0.5**0.5).view(integer)),
        "LOG2_E": _round(1 / ln2, dtype),
        "TWO_LOG2_E": _round(2 / ln2, dtype),
        "MINUS_HALF_LN2": _round(-ln2 / 2, dtype),
        "MINUS_LN2_1": minus_ln2[0],
        "MINUS_LN2_2": minus_ln2[1],
        "EXPM1_TAIL": tail,
        "HALF_EXPM1_TAIL": [c * 2 ** (i + 1) for i, c in enumerate(tail)],
        "INVERSE_ROOT_BITS": round(1.5 * 2**mantissa * (-int(np.finfo(dtype).minexp) + 1 - ROOT_BIAS)),
        "ONE_OVER_PI": _round(1 / pi, dtype),
        "MINUS_PI_1": minus_pi[0],
        "MINUS_PI_2": minus_pi[1],
        "MINUS_PI_3": minus_pi[2],
        "SIN_TAIL": refitted_minimax(sin_tail, sin_weight, quarter / 1000, quarter, sin_degree, dtype),
        "TANH_FAST_REACH": _round(reach, dtype),
        "MINUS_TANH_FAST_REACH": _round(-reach, dtype),
        "TANH_FAST_TOP": [_round(c, dtype) for c in top],
        "TANH_FAST_BOTTOM": [_round(c, dtype) for c in bottom],
        "QUARTER_PI_1": quarter_pi[0],
        "QUARTER_PI_2": quarter_pi[1],
        "ATAN_TAIL": refitted_minimax(atan_tail, lambda w: w, eighth / 1000, eighth, atan_degree, dtype),
        "LOG_TAIL": refitted_minimax(log_tail, lambda w: w, log_reach / 1000, log_reach, log_degree, dtype),
        "MINUS_ERF_REACH": _round(-erf_reach, dtype),
        "ERF_TAIL": rounded_minimax(erf_tail, erf_weight, -erf_reach, -erf_reach / 10**6, erf_degree, dtype),
        "ATANH_TAIL": refitted_minimax(atanh_tail, lambda w: w, mpf(1) / 9000, mpf(1) / 9, atanh_degree, dtype),
    }


def generate() -> str:
    """The text of kdpinn_edge/numerics/coefficients.py."""
    degrees = [f"{name}_degree" for name in ("exp", "sin", "atanh", "atan", "log", "erf")]
    single = constants(np.float32, 16, 16, **dict(zip(degrees, (4, 3, 3, 3, 2, 8), strict=True)))
    double = constants(np.float64, 42, 33, **dict(zip(degrees, (10, 7, 9, 11, 6, 24), strict=True)))
    pairs = [f"{name} = ({_literal(single[name])}, {_literal(double[name])})" for name in single]
    text = "\n".join([HEAD, *pairs, ""])
    command = [sys.executable, "-m", "ruff", "format", "--stdin-filename", str(TARGET), "-"]
    return subprocess.run(command, input=text, text=True, check=True, capture_output=True).stdout  # noqa: S603


def _literal(value: float | list[float]) -> str:
    return f"({', '.join(map(repr, value))})" if isinstance(value, list) else repr(value)


if __name__ == "__main__":
    text = generate()
    if "--check" in sys.argv[1:]:
        sys.exit(TARGET.read_text() != text)
    TARGET.write_text(text)
