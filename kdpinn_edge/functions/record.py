"""`Function`: everything that is to be known about one function of a Program, in one place."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from kdpinn_edge.functions.recipe import Recipe
from kdpinn_edge.functions.slope import Expression
from kdpinn_edge.numerics.lanes import Lanes

Array = NDArray[Any]
Kernel = Callable[[Lanes], Lanes]
"""A function of lanes in the words of `numerics/lanes.py` alone: one assignment after another, without a branch."""


@dataclass(frozen=True)
class Computation:
    """The computation of a function in one accuracy grade: by `lanes`, with errors of at most `max_ulp`.

    `max_ulp` has a bound for each precision that the grade exists in, in units in the last place of the result; it
    holds in every numerics profile for |x| up to `Function.reach`: in float32 for every number, in float64 as far as
    `benchmarks/verify_activations.py` draws them. `level` is a result that is returned exactly, and from which argument
    outward, for either precision: (-1.0, (-10.0, -20.0)) says that x <= -10 gives -1 in float32, and x <= -20 in
    float64. What is odd has the opposite level, too.
    """

    lanes: Kernel
    max_ulp: Mapping[str, float]
    level: tuple[float, tuple[float, float]] | None = None


@dataclass(frozen=True)
class Curve:
    """How the graph of a function runs: what its values and slopes between two arguments are follows from this.

    turns        where it changes between rising and falling
    inflections  where its slope does
    period       the distance in which both come again; None where they do not
    undefined    no argument from here to here, both included, has a finite value
    jumps        where its value does, from one side to the other
    passes       points (x, y): values before x are at most y and those behind x at least y, also as they are computed
    """

    turns: tuple[float, ...] = ()
    inflections: tuple[float, ...] = ()
    period: float | None = None
    undefined: tuple[float, float] | None = None
    jumps: tuple[float, ...] = ()
    passes: tuple[tuple[float, float], ...] = ()


@dataclass(frozen=True)
class Function:
    """An elementwise function.

    name         in a Program, and in every message
    exact        the meaning, for arrays of float64 or long double
    accurate     how it is computed, and how far that is off
    fast         the same in the fast grade, where that differs
    slope        f′ in terms of X and Y = f(X): `slope.py`
    onnx         how ONNX says it, the preferred recipe first: `recipe.py`
    aten         the names of the operators of ATen that are this function, called with one argument
    torch        the function of torch, such as "nn.functional.silu"; "" where torch has none and composes a recipe
    reach        the error bounds hold for |x| up to here
    arguments    tests draw |x| up to here: beyond, little happens, or the bounds end
    lower, upper no value leaves this range
    symmetry     "odd", "even" or none: to the bit
    curve        where it turns, bends, jumps and is not defined
    """

    name: str
    exact: Callable[[Array], Array]
    accurate: Computation
    slope: Expression
    onnx: tuple[Recipe, ...]
    arguments: float
    fast: Computation | None = None
    aten: tuple[str, ...] = ()
    torch: str = ""
    reach: float = field(default=np.inf)
    lower: float = field(default=-np.inf)
    upper: float = field(default=np.inf)
    symmetry: Literal["odd", "even"] | None = None
    curve: Curve = field(default=Curve())

    def computed(self, *, fast: bool) -> Computation:
        """The computation in the fast grade, or in the accurate one."""
        return self.fast if fast and self.fast is not None else self.accurate


def both(ulp: float) -> dict[str, float]:
    """The same error bound for either precision."""
    return {"float32": ulp, "float64": ulp}
