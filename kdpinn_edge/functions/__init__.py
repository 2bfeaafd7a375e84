"""The functions of a Program, one record each: meaning, lanes, derivative, operators, error bounds.

To add one, write its record into the file of its family, or into a new file and its line below. Everything else reads
the table: the Program, its meaning and its check, the NumPy program, derivatives, capture, training, ONNX, the peers
of the comparison, the tests and the table of errors in docs/numerics.md.

A computation is branch-free in the words of `numerics/lanes.py`: no libm, the same bits on every target of one
profile. NaN propagates, infinities saturate, a bounded function stays in its range, an odd one is odd. The coefficients
come from `tools/coefficients.py`. The parts of ln 2 and pi, but the last, have so few bits that their multiples are
exact in a profile that rounds the product of a multiply-add, too.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache

from kdpinn_edge.errors import ProgramError, did_you_mean
from kdpinn_edge.functions.error_function import ERROR_FUNCTION
from kdpinn_edge.functions.exponential import EXPONENTIAL
from kdpinn_edge.functions.hyperbolic import HYPERBOLIC
from kdpinn_edge.functions.logarithmic import LOGARITHMIC
from kdpinn_edge.functions.piecewise import PIECEWISE
from kdpinn_edge.functions.power import find_power
from kdpinn_edge.functions.rational import RATIONAL
from kdpinn_edge.functions.record import Computation, Function, Kernel
from kdpinn_edge.functions.roots import ROOTS
from kdpinn_edge.functions.slope import Applied, Formula, X, Y, differentiated, formula, replaced
from kdpinn_edge.functions.trigonometric import TRIGONOMETRIC
from kdpinn_edge.numerics.lanes import is_fast

FAMILIES = (HYPERBOLIC, TRIGONOMETRIC, EXPONENTIAL, RATIONAL, ROOTS, LOGARITHMIC, ERROR_FUNCTION, PIECEWISE)
FUNCTIONS: Mapping[str, Function] = {function.name: function for family in FAMILIES for function in family}
"""Every function by its name."""


def find_function(name: str) -> Function:
    """The function of this name, of the table or of the family of powers. Raises ProgramError where there is none."""
    found = FUNCTIONS.get(name) or find_power(name)
    if found is None:
        raise ProgramError(
            f"the function {name!r} is unknown; expected: {', '.join(FUNCTIONS)}, or as in power(1.5)"
            f"{did_you_mean(name, FUNCTIONS)}"
        )
    return found


def kernel(name: str, profile: str) -> Kernel:
    """The kernel of the function of this name in the numerics profile `profile`, as `numerics/lanes.py` has words."""
    return find_function(name).computed(fast=is_fast(profile)).lanes


def computations(profile: str) -> Mapping[str, Computation]:
    """The computation of each function in the numerics profile of this name."""
    return {name: function.computed(fast=is_fast(profile)) for name, function in FUNCTIONS.items()}


def functions(profile: str) -> Mapping[str, Kernel]:
    """The kernel of each function in the numerics profile of this name, in the words of `numerics/lanes.py`."""
    return {name: computation.lanes for name, computation in computations(profile).items()}


@cache
def slopes(name: str, order: int) -> Formula:
    """The derivatives f′, f″, … of the function of this name, up to the derivative of this order, by x and y = f(x)."""
    own = find_function(name).slope
    found = [own]
    while len(found) < order:
        following = differentiated(found[-1], own, lambda other: find_function(other).slope)
        found.append(replaced(following, Applied(name, X), Y))
    return formula(found[:order])
