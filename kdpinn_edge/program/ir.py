"""The Program: straight-line code over short vectors, a point map Rⁿ → Rᵐ.

    Program = (name, inputs: Var*, outputs: Var*, ops: Op*)
    Var     = (name, size)

    Op = Affine(out, x, weight, bias)       out = weight @ x + bias
       | Scale(out, x, weight, bias)        out = weight * x + bias, elementwise
       | Map(out, x, fn)                    out = fn(x), elementwise, fn a function of `functions/`
       | Add(out, a, b) | Mul(out, a, b)    elementwise; a, b and out are of one size
       | Select(out, c, a, b)               out = a where c > 0, else b, elementwise; all of one size
       | Concat(out, xs)                    out = xs one after another
       | Slice(out, x, start)               out = x[start : start + out.size]

There is no batch axis, no control flow, and no shape beyond one integer. Weights are float64; a kernel rounds them
once, when it is exported. `interp.py` is the meaning, `verify.py` the well-formedness, `simplify.py` the rewriting.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from functools import cached_property, partial
from typing import TYPE_CHECKING, Never, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

from kdpinn_edge.display import draw_function, facts_html, facts_text
from kdpinn_edge.errors import ProgramError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Array = NDArray[np.float64]


def frozen_array(values: ArrayLike) -> Array:
    """A private, read-only, C-contiguous float64 copy of `values`."""
    array = np.array(values, dtype=np.float64, order="C")
    array.setflags(write=False)
    return array


@dataclass(frozen=True, slots=True)
class Var:
    """A vector of `size` numbers, defined once: by being an input, or by one op."""

    name: str
    size: int

    def __str__(self) -> str:
        return f"{self.name}[{self.size}]"


def columns(variables: tuple[Var, ...]) -> tuple[str, ...]:
    """A name for each number of these variables in order: `u`, or `v[0], v[1], …` for a v of several entries."""
    return tuple(var.name if var.size == 1 else f"{var.name}[{i}]" for var in variables for i in range(var.size))


@dataclass(frozen=True, eq=False)
class Affine:
    """out = weight @ x + bias, with weight (out.size, x.size) and bias (out.size,)."""

    out: Var
    x: Var
    weight: Array
    bias: Array

    def __post_init__(self) -> None:
        object.__setattr__(self, "weight", frozen_array(self.weight))
        object.__setattr__(self, "bias", frozen_array(self.bias))


@dataclass(frozen=True, eq=False)
class Scale:
    """out = weight * x + bias, elementwise, with weight and bias (out.size,)."""

    out: Var
    x: Var
    weight: Array
    bias: Array

    def __post_init__(self) -> None:
        object.__setattr__(self, "weight", frozen_array(self.weight))
        object.__setattr__(self, "bias", frozen_array(self.bias))


@dataclass(frozen=True, eq=False)
class Map:
    """out = fn(x), elementwise."""

    out: Var
    x: Var
    fn: str


@dataclass(frozen=True, eq=False)
class Add:
    """out = a + b, elementwise."""

    out: Var
    a: Var
    b: Var


@dataclass(frozen=True, eq=False)
class Mul:
    """out = a * b, elementwise."""

    out: Var
    a: Var
    b: Var


@dataclass(frozen=True, eq=False)
class Select:
    """out = a where c > 0, else b (also where c is NaN), elementwise. Both sides are computed."""

    out: Var
    c: Var
    a: Var
    b: Var


@dataclass(frozen=True, eq=False)
class Concat:
    """out = the entries of xs, one after another."""

    out: Var
    xs: tuple[Var, ...]


@dataclass(frozen=True, eq=False)
class Slice:
    """out = x[start : start + out.size]."""

    out: Var
    x: Var
    start: int


Op = Affine | Scale | Map | Add | Mul | Select | Concat | Slice


def unknown(op: Never) -> ProgramError:
    """The error for what is no Op: every match ends with it, so that no operation is passed over in silence."""
    expected = ", ".join(kind.__name__ for kind in get_args(Op))
    return ProgramError(f"the operation {type(op).__name__} is unknown; expected: {expected}")


def operands(op: Op) -> tuple[Var, ...]:
    """The variables that `op` reads, in order."""
    match op:
        case Affine(x=x) | Scale(x=x) | Map(x=x) | Slice(x=x):
            return (x,)
        case Add(a=a, b=b) | Mul(a=a, b=b):
            return (a, b)
        case Select(c=c, a=a, b=b):
            return (c, a, b)
        case Concat(xs=xs):
            return xs
        case _:
            raise unknown(op)


def parameters(op: Op) -> tuple[Array, ...]:
    """The constant arrays that `op` carries: (weight, bias) or nothing."""
    match op:
        case Affine(weight=weight, bias=bias) | Scale(weight=weight, bias=bias):
            return (weight, bias)
        case Map() | Add() | Mul() | Select() | Concat() | Slice():
            return ()
        case _:
            raise unknown(op)


@dataclass(frozen=True, eq=False, repr=False)
class Program:
    """A point map from the concatenated inputs to the concatenated outputs.

    Two Programs are equal when they have the same name, the same named inputs and outputs, and the same operations on
    the same numbers; the names of the variables in between do not count. `sha256` is the hash of exactly that.
    """

    name: str
    inputs: tuple[Var, ...]
    outputs: tuple[Var, ...]
    ops: tuple[Op, ...]

    @property
    def n_in(self) -> int:
        """The numbers per input point."""
        return sum(var.size for var in self.inputs)

    @property
    def n_out(self) -> int:
        """The numbers per output point."""
        return sum(var.size for var in self.outputs)

    @cached_property
    def canonical(self) -> bytes:
        """The bytes that identify this Program: structure as JSON, a zero byte, numbers as little-endian f64."""
        number = {var.name: i for i, var in enumerate((*self.inputs, *(op.out for op in self.ops)))}
        structure = {
            "name": self.name,
            "inputs": [[var.name, var.size] for var in self.inputs],
            "outputs": [[var.name, number[var.name]] for var in self.outputs],
            "ops": [
                [type(op).__name__, op.out.size, [number[var.name] for var in operands(op)], _attribute(op)]
                for op in self.ops
            ],
        }
        numbers = b"".join(array.astype("<f8").tobytes() for op in self.ops for array in parameters(op))
        return json.dumps(structure, separators=(",", ":")).encode() + b"\0" + numbers

    @cached_property
    def sha256(self) -> str:
        """The identity that manifests, headers and benchmark rows quote: SHA-256 of `canonical`, in hex."""
        return hashlib.sha256(self.canonical).hexdigest()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Program) and self.canonical == other.canonical

    def __hash__(self) -> int:
        return hash(self.canonical)

    def __repr__(self) -> str:
        return facts_text(f"Program {self.name}", self._facts())

    def _repr_html_(self) -> str:
        return facts_html(f"Program {self.name}", self._facts())

    def _facts(self) -> dict[str, str]:
        numbers = sum(array.size for op in self.ops for array in parameters(op))
        return {
            "inputs": ", ".join(map(str, self.inputs)),
            "outputs": ", ".join(map(str, self.outputs)),
            "operations": f"{len(self.ops)}, with {numbers:,} numbers",
            "SHA-256": self.sha256,
        }

    def plot(self, lower: ArrayLike = -1.0, upper: ArrayLike = 1.0) -> Figure:
        """Draw the values in float64 over the box from `lower` to `upper`, of the first two inputs."""
        from kdpinn_edge.program.interp import interpret

        lows, highs = (np.broadcast_to(np.asarray(side, np.float64), (self.n_in,)).tolist() for side in (lower, upper))
        sides = list(zip(columns(self.inputs), lows, highs, strict=True))
        return draw_function(self.name, partial(interpret, self), sides, columns(self.outputs))

    def __str__(self) -> str:
        signature = f"{', '.join(map(str, self.inputs))} -> {', '.join(map(str, self.outputs))}"
        width = max((len(str(op.out)) for op in self.ops), default=0)
        lines = [f"{op.out!s:{width}} = {_right_hand_side(op)}" for op in self.ops]
        return "\n".join([f"{self.name}: {signature}", *(f"    {line}" for line in lines)])


def _attribute(op: Op) -> str | int | None:
    match op:
        case Map(fn=fn):
            return fn
        case Slice(start=start):
            return start
        case Affine() | Scale() | Add() | Mul() | Select() | Concat():
            return None
        case _:
            raise unknown(op)


def _right_hand_side(op: Op) -> str:
    match op:
        case Affine(out=out, x=x):
            return f"affine({x.name})  weight {out.size}x{x.size}"
        case Scale(x=x, weight=weight, bias=bias) if x.size == 1:
            return f"{weight[0]:.17g} * {x.name} + {bias[0]:.17g}"
        case Scale(x=x):
            return f"scale({x.name})"
        case Map(x=x, fn=fn):
            return f"{fn}({x.name})"
        case Add(a=a, b=b):
            return f"{a.name} + {b.name}"
        case Mul(a=a, b=b):
            return f"{a.name} * {b.name}"
        case Select(c=c, a=a, b=b):
            return f"{a.name} if {c.name} > 0 else {b.name}"
        case Concat(xs=xs):
            return f"concat({', '.join(x.name for x in xs)})"
        case Slice(out=out, x=x, start=start):
            return f"{x.name}[{start}:{start + out.size}]"
        case _:
            raise unknown(op)
