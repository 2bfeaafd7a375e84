"""The floating-point environment: what a thread has set, and what the bits of every profile depend on."""

from __future__ import annotations

import numpy as np

from kdpinn_edge.bundle.selftest import OTHER_ENVIRONMENT
from kdpinn_edge.export.lowering.loops import BITS_OF, STATUS, Code, Number, Return, Scalar, Type, apply


def refuse_another(code: Code, scalar: Scalar) -> None:
    """Return OTHER_ENVIRONMENT unless arithmetic rounds to nearest even and keeps subnormal numbers.

    Of the sums, the first is larger where rounding goes up or ties away from zero, the second smaller where it goes
    down or to zero. Of the products, one has a subnormal result and one a subnormal factor.
    """
    limits = np.finfo(scalar)
    ulp, tiny = float(limits.eps), float(limits.smallest_normal)
    for operation, a, b, expected in (
        ("add", 1.0, ulp / 2, 1.0),
        ("add", 1.0 + ulp, ulp / 2, 1.0 + 2 * ulp),
        ("mul", tiny, 0.5, tiny / 2),
        ("mul", tiny / 2, 2.0, tiny),
    ):
        operands = (apply("from_bits", apply("opaque", _bits(scalar, number))) for number in (a, b))
        same = apply("equal", apply("bits", apply(operation, *operands)), _bits(scalar, expected))
        with code.when(apply("not", same)):
            code.statements.append(Return(Number(STATUS, OTHER_ENVIRONMENT)))


def _bits(scalar: Scalar, number: float) -> Number:
    """The bits of a number, as an integer."""
    integer = np.array(number, scalar).view(f"int{np.finfo(scalar).bits}")
    return Number(Type(BITS_OF[scalar]), int(integer))
