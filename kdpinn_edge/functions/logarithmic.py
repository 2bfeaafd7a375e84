"""log and log1p.

With ln 2 in two parts, ln(2ᵏ (1 + f)) = k ln 2 + 2 atanh(f / (2 + f)), where 1 + f lies between √½ and √2.
"""

from __future__ import annotations

import numpy as np

from kdpinn_edge.functions.recipe import Constant, Recipe, Step, one
from kdpinn_edge.functions.record import Computation, Curve, Function, both
from kdpinn_edge.functions.slope import Applied, X
from kdpinn_edge.numerics.coefficients import (
    LOG_TAIL,
    MAGIC,
    MAGIC_BITS,
    MANTISSA,
    MINUS_LN2_1,
    MINUS_LN2_2,
    ROOT_HALF_BITS,
    TWO_BITS,
)
from kdpinn_edge.numerics.lanes import (
    Lanes,
    add,
    bits,
    copysign,
    div,
    fma,
    from_bits,
    horner2,
    iadd,
    ishl,
    ishr,
    isub,
    less,
    mul,
    select,
    sub,
)

SMALLEST_NORMAL = (2.0**-126, 2.0**-1022)
NORMALISING, ITS_EXPONENT = (2.0**25, 2.0**54), (25.0, 54.0)


def log(x: Lanes) -> Lanes:
    """ln x. A subnormal number is scaled to a normal one."""
    subnormal = less(x, SMALLEST_NORMAL)
    v = select(subnormal, mul(x, NORMALISING), x)
    k, m = _exponent(v)
    minus_k = sub(MAGIC, from_bits(iadd(k, MAGIC_BITS)))
    minus_k = select(subnormal, add(minus_k, ITS_EXPONENT), minus_k)
    return _where_positive(x, x, _log(minus_k, sub(m, 1.0)))


def log1p(x: Lanes) -> Lanes:
    """ln(1 + x) = ln(u + c), u = 1 + x as it is rounded and c what that leaves, exactly: f = m - 1 + 2⁻ᵏ c.

    2¹⁻ᵏ is 0, and not out of the range of exponents, where k is largest.
    """
    u = add(x, 1.0)
    of_x = sub(u, 1.0)
    c = add(sub(1.0, sub(u, of_x)), sub(x, of_x))
    k, m = _exponent(u)
    two_over_power = from_bits(isub(TWO_BITS, ishl(k, MANTISSA)))
    minus_k = sub(MAGIC, from_bits(iadd(k, MAGIC_BITS)))
    y = _log(minus_k, fma(mul(c, two_over_power), 0.5, sub(m, 1.0)))
    return copysign(_where_positive(u, x, y), x)


def _exponent(v: Lanes) -> tuple[Lanes, Lanes]:
    """The integer k and the number m with v = 2ᵏ m, √½ <= m < √2, for normal positive v."""
    k = ishr(isub(bits(v), ROOT_HALF_BITS), MANTISSA)
    return k, from_bits(isub(bits(v), ishl(k, MANTISSA)))


def _log(minus_k: Lanes, f: Lanes) -> Lanes:
    """k ln 2 + ln(1 + f), and ln(1 + f) = f - (h - s (h + r)), h = f²/2, s = f / (2 + f), r = 2 atanh(s) / s - 2."""
    s = div(f, add(f, 2.0))
    w = mul(s, s)
    h = mul(mul(f, 0.5), f)
    low = fma(s, fma(w, horner2(w, mul(w, w), LOG_TAIL), h), mul(minus_k, MINUS_LN2_2))
    return fma(minus_k, MINUS_LN2_1, add(f, sub(low, h)))


def _where_positive(u: Lanes, x: Lanes, y: Lanes) -> Lanes:
    """y, the logarithm of u, but -inf for u = 0, NaN for u < 0, and x where that is infinite or NaN."""
    y = select(less(0.0, u), y, -np.inf)
    y = select(less(u, 0.0), np.nan, y)
    return select(less(x, np.inf), y, x)


def _log1p_by_log() -> Recipe:
    """log u - ((u - 1) - x) / u for u = 1 + x, where x is held below what has no 1 to lose, and u above 0."""
    one_more = Constant("one", 1.0)
    return (
        Step("Add", ("x", one_more), "sum"),
        Step("Log", ("sum",), "log"),
        Step("Min", ("x", Constant("largest", 1e18)), "held"),
        Step("Add", ("held", one_more), "u"),
        Step("Sub", ("u", one_more), "of_x"),
        Step("Sub", ("of_x", "held"), "excess"),
        Step("Max", ("u", Constant("smallest", 1e-30)), "bottom"),
        Step("Div", ("excess", "bottom"), "correction"),
        Step("Sub", ("log", "correction")),
    )


LOG = Function(
    name="log",
    exact=np.log,
    accurate=Computation(log, both(1.0)),
    slope=Applied("reciprocal", X),
    onnx=(one("Log"),),
    aten=("log",),
    torch="log",
    arguments=1e6,
    curve=Curve(undefined=(-np.inf, 0.0)),
)
LOG1P = Function(
    name="log1p",
    exact=np.log1p,
    accurate=Computation(log1p, both(1.6)),
    slope=Applied("reciprocal", 1 + X),
    onnx=(_log1p_by_log(),),
    aten=("log1p",),
    torch="log1p",
    arguments=1e6,
    curve=Curve(undefined=(-np.inf, -1.0)),
)
LOGARITHMIC = (LOG, LOG1P)
