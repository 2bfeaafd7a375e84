"""What the manifest of a model in integers states beside other models: its scales, and where its errors come from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from kdpinn_edge.bundle.shape import COUNT_OR_NULL, INSTRUCTIONS, MAGNITUDE, Leaf, Shape

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

PARTS = ("float32", "weights", "functions", "sums")


@dataclass(frozen=True)
class Part:
    """The largest and the root-mean-square difference, for each output."""

    max_abs: tuple[float, ...]
    rms: tuple[float, ...]


@dataclass(frozen=True)
class FixedPointRecord:
    """A function in the numerics profile int16-1.

    `x_bits` and `y_bits` are the fraction bits of each input and output: a word q stands for q 2^-bits. `stack` and
    `instructions` are those of the form that takes and returns words, as a Function has them. Differences are
    at the points at which the errors of the function are measured: `float32` is what the same function is off in
    float32; `weights` is what the rounded weights make of it, `functions` what the tables in place of tanh and the like
    add to that, and `sums` what the rounding of products, sums, and points adds to both.
    """

    x_bits: tuple[int, ...]
    y_bits: tuple[int, ...]
    float32: Part
    weights: Part
    functions: Part
    sums: Part
    stack: int | None = None
    instructions: Mapping[str, int] | None = None

    def integers(self, x: NDArray[Any]) -> NDArray[np.int32]:
        """The numbers of points x (n, n_in) as words, to the nearest; what no word holds is the largest one."""
        import numpy as np

        scaled = np.rint(np.ldexp(np.asarray(x, np.float64), self.x_bits))
        return np.clip(scaled, -(2**31), 2**31 - 1).astype(np.int32)

    def numbers(self, y: NDArray[np.int32]) -> NDArray[np.float64]:
        """What the words y (n, n_out) stand for."""
        import numpy as np

        found: NDArray[np.float64] = np.ldexp(y.astype(np.float64), np.negative(self.y_bits))
        return found


_BITS = [Leaf("a whole number from -60 to 60", lambda value: type(value) is int and -60 <= value <= 60)]
SHAPE: dict[str, Shape] = {
    "x_bits": _BITS,
    "y_bits": _BITS,
    "stack": COUNT_OR_NULL,
    "instructions": INSTRUCTIONS,
    **{part: {"max_abs": [MAGNITUDE], "rms": [MAGNITUDE]} for part in PARTS},
}


def faults(record: Mapping[str, Any], n_in: int, n_out: int, where: str) -> list[str]:
    """What is wrong with the lengths of the JSON of a FixedPointRecord."""
    lengths = {"x_bits": (record["x_bits"], n_in), "y_bits": (record["y_bits"], n_out)}
    lengths |= {f"{part}.{key}": (record[part][key], n_out) for part in PARTS for key in ("max_abs", "rms")}
    return [
        f"{where}.{name}: {len(found)} numbers; expected: {expected}"
        for name, (found, expected) in lengths.items()
        if len(found) != expected
    ]


def fixed_point_record(record: Mapping[str, Any]) -> FixedPointRecord:
    """The FixedPointRecord of its JSON."""
    parts = {part: Part(tuple(record[part]["max_abs"]), tuple(record[part]["rms"])) for part in PARTS}
    bits = {side: tuple(record[side]) for side in ("x_bits", "y_bits")}
    return FixedPointRecord(**{**record, **bits, **parts})
