"""sqrt."""

from __future__ import annotations

import numpy as np

from kdpinn_edge.functions.recipe import one
from kdpinn_edge.functions.record import Computation, Curve, Function, both
from kdpinn_edge.functions.slope import Applied, Y
from kdpinn_edge.numerics.coefficients import INVERSE_ROOT_BITS
from kdpinn_edge.numerics.lanes import (
    Lanes,
    absolute,
    bits,
    fma,
    for_precision,
    from_bits,
    ishr,
    isub,
    less,
    mul,
    select,
    sub,
)

UP, DOWN = (2.0**64, 2.0**512), (2.0**-64, 2.0**-512)
ROOT_UP, ROOT_DOWN = (2.0**32, 2.0**256), (2.0**-32, 2.0**-256)
STEPS = (2, 3)
BELOW_ZERO = (-np.inf, -float(np.nextafter(0.0, 1.0)))
"""Where a root is not defined."""


def sqrt(x: Lanes) -> Lanes:
    """√v = v r, r ≈ 1/√v by halving the exponent in the bits of v, then Goldschmidt's and one step of Newton's method.

    v is x times a power of two, so that no square of v r over- or underflows. What is not positive and finite is set.
    """
    small = less(x, 1.0)
    v = select(small, mul(x, UP), mul(x, DOWN))
    r = from_bits(isub(INVERSE_ROOT_BITS, ishr(bits(absolute(v)), 1)))
    y, h = mul(v, r), mul(r, -0.5)
    for _ in range(for_precision(x, STEPS)):
        error = fma(y, h, 0.5)
        y, h = fma(y, error, y), fma(h, error, h)
    y = fma(fma(y, y, sub(0.0, v)), h, y)
    y = select(small, mul(y, ROOT_DOWN), mul(y, ROOT_UP))
    y = select(less(x, np.inf), y, x)
    return select(less(x, 0.0), np.nan, y)


SQRT = Function(
    name="sqrt",
    exact=np.sqrt,
    accurate=Computation(sqrt, both(0.9)),
    slope=0.5 * Applied("reciprocal", Y),
    onnx=(one("Sqrt"),),
    aten=("sqrt",),
    torch="sqrt",
    arguments=1e6,
    lower=0.0,
    curve=Curve(undefined=BELOW_ZERO),
)
ROOTS = (SQRT,)
