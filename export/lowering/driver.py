"""What surrounds the kernels of a function: all points in batches, the self-test, the domain box."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from kdpinn_edge.export.lowering.loops import (
    BOOL,
    INTEGER_OF,
    STATUS,
    Buffer,
    Call,
    Code,
    Count,
    Get,
    IsNull,
    Linear,
    Load,
    Number,
    Return,
    Routine,
    Scalar,
    Symbol,
    Type,
    apply,
    linear,
)

NULL_POINTER, NEGATIVE_COUNT = -1, -2
"""The error codes of kdpinn_edge.h."""

WIDE = Type("int64")


@dataclass(frozen=True)
class Evaluation:
    """A function of the model: numbers in and out per point, points in a batch, scratch memory of both kernels.

    Up to `crossover` points go through the single-point kernel.
    """

    name: str
    precision: Scalar
    n_in: int
    n_out: int
    points_per_batch: int
    crossover: int
    scratch: int


def evaluate_all(evaluation: Evaluation) -> Routine:
    """y[i] = f(x[i]) for n points, in batches or one by one; calls NAME_batch and NAME_single."""
    scalar, n = evaluation.precision, Symbol("n", 64)
    x = Buffer("x", scalar, linear(n) * evaluation.n_in, constant=True)
    y = Buffer("y", scalar, linear(n) * evaluation.n_out)
    s = Buffer("s", scalar, Linear(evaluation.scratch), scratch=True)
    code = Code()
    _check(code, n, [x, y])
    with code.counting("p", Linear(0), linear(n), evaluation.points_per_batch, bits=64) as p:
        left = Count(WIDE, linear(n) - linear(p))
        m = Symbol("m", 32, least=1)
        code.statements.append(CountOf(m, left, evaluation.points_per_batch))
        at = (x, linear(p) * evaluation.n_in), (y, linear(p) * evaluation.n_out), (s, Linear(0))
        with code.when(apply("less", Number(STATUS, evaluation.crossover), Count(STATUS, linear(m)))):
            code.statements.append(Call(f"{evaluation.name}_batch", at, (linear(m),)))
        with code.otherwise(), code.counting("i", Linear(0), linear(m), bits=32) as i:
            q = linear(p) + linear(i)
            at = (x, q * evaluation.n_in), (y, q * evaluation.n_out), (s, Linear(0))
            code.statements.append(Call(f"{evaluation.name}_single", at))
    code.statements.append(Return(Number(STATUS, 0)))
    doc = f"y[i] = {evaluation.name}(x[i]) for n points: 0, or an error code of kdpinn_edge.h."
    return Routine(evaluation.name, doc, (x, y, n), code.body, STATUS)
