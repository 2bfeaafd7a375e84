"""Reverse mode: the gradient of one output with respect to every input, by one sweep from the output back.

    out = W x + b      x̄ += Wᵀ out̄           out = a + b    ā += out̄, b̄ += out̄
    out = w * x + b    x̄ += w * out̄          out = a * b    ā += b * out̄, b̄ += a * out̄
    out = f(x)         x̄ += f′(x) * out̄      out = a if c > 0 else b    ā += out̄ if c > 0 else 0, …

with v̄ = ∂output/∂v. It costs about as much as the value, however many inputs there are; the matrices are transposed.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from kdpinn_edge.derive.forward import chained, slope
from kdpinn_edge.derive.names import Derivative, Names
from kdpinn_edge.derive.streams import Draft, Stream, joined, zeros
from kdpinn_edge.errors import DerivativeError, did_you_mean
from kdpinn_edge.program.ir import (
    Add,
    Affine,
    Concat,
    Map,
    Mul,
    Op,
    Program,
    Scale,
    Select,
    Slice,
    Var,
    columns,
    unknown,
)
from kdpinn_edge.program.simplify import simplify


def adjoint(program: Program, output: str) -> Program:
    """The output column `output`, followed by its derivative with respect to each input column; simplified.

    `output` is one of `columns(program.outputs)`; all outputs of the result have size 1 and the names of `names.py`:
    u, u_x, u_t. Raises DerivativeError for a column that is none, ProgramError where `program` is malformed.
    """
    names = Names(columns(program.inputs), columns(program.outputs))
    if output not in names.outputs:
        raise DerivativeError(
            f"{output!r} is no output column; expected: {', '.join(names.outputs)}{did_you_mean(output, names.outputs)}"
        )
    program = simplify(program)
    draft = Draft(program)
    value = draft.column(program.outputs, output)
    cotangents = gradient(draft, program.inputs, value)
    outputs = {output: value}
    for column in names.inputs:
        name = names.spell(Derivative(output, (column,)))
        outputs[name] = draft.whole(cotangents[column], draft.column(program.inputs, column))
    return simplify(draft.with_outputs(outputs))


def gradient(draft: Draft, inputs: tuple[Var, ...], output: Var) -> dict[str, Stream]:
    """The derivative of `output`, of size 1, with respect to each input column, by its name."""
    found: dict[str, Stream] = {output.name: (np.ones(1),)}
    for op in reversed(draft.below(output, {var.name for var in inputs})):
        for var, pulled in _pulled(draft, op, found[op.out.name]):
            found[var.name] = draft.add(found[var.name], pulled) if var.name in found else pulled
    cotangents = {var: found.get(var.name, zeros(var.size)) for var in inputs}
    return {
        column: draft.cut(cotangent, i, 1)
        for var, cotangent in cotangents.items()
        for i, column in enumerate(columns((var,)))
    }


def _pulled(draft: Draft, op: Op, cotangent: Stream) -> Iterator[tuple[Var, Stream]]:
    """What `op` adds to the derivatives by its operands; `cotangent` is that by its result."""
    match op:
        case Affine(x=x, weight=weight):
            yield x, draft.affine(np.ascontiguousarray(weight.T), cotangent)
        case Scale(x=x, weight=weight):
            yield x, draft.scale(cotangent, weight)
        case Map(x=x):
            yield x, chained(draft, op, slope, cotangent)
        case Add(a=a, b=b):
            yield a, cotangent
            yield b, cotangent
        case Mul(a=a, b=b):
            yield a, draft.mul(cotangent, (b,))
            yield b, draft.mul(cotangent, (a,))
        case Select(c=c, a=a, b=b):
            yield a, draft.select(c, cotangent, zeros(a.size))
            yield b, draft.select(c, zeros(b.size), cotangent)
            yield c, zeros(c.size)
        case Concat(xs=xs):
            start = 0
            for x in xs:
                yield x, draft.cut(cotangent, start, x.size)
                start += x.size
        case Slice(out=out, x=x, start=start):
            yield x, joined((zeros(start), cotangent, zeros(x.size - start - out.size)))
        case _:
            raise unknown(op)
