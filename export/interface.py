"""What a model shows to C: one name, one precision, one target, and its columns."""

from __future__ import annotations

import math
from dataclasses import dataclass

from kdpinn_edge.export.target import Target
from kdpinn_edge.ir import Program
from kdpinn_edge.manifest import Input, Output, Precision

ABI = 1
SCALAR = {"float32": "float", "float64": "double"}


@dataclass(frozen=True)
class Interface:
    """`program` as the C functions `name`_eval, …; `inputs` and `outputs` have one entry per number of a point."""

    name: str
    program: Program
    precision: Precision
    target: Target
    inputs: tuple[Input, ...]
    outputs: tuple[Output, ...]

    @property
    def scalar(self) -> str:
        """The C type of a number."""
        return SCALAR[self.precision]

    @property
    def lower(self) -> tuple[float, ...]:
        """The domain box from below, -inf where it is open."""
        return tuple(-math.inf if column.lower is None else column.lower for column in self.inputs)

    @property
    def upper(self) -> tuple[float, ...]:
        """The domain box from above, +inf where it is open."""
        return tuple(math.inf if column.upper is None else column.upper for column in self.inputs)
