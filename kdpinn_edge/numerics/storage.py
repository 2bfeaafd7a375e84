"""How the parameters of a Program are stored in an artifact: in the precision of the arithmetic, or as float16."""

from __future__ import annotations

from dataclasses import replace

from kdpinn_edge.numerics.reference import rounded
from kdpinn_edge.program.ir import Affine, Program, Scale
from kdpinn_edge.program.verify import verify


def store_as_float16(program: Program) -> Program:
    """Round every parameter of `program` to the nearest float16, so that storing it as one loses nothing.

    A parameter keeps 11 significant bits, and below 6e-5 in magnitude fewer. Raises ProgramError where one exceeds
    65504, the largest float16.
    """
    ops = tuple(
        replace(op, weight=rounded(op.weight, "float16"), bias=rounded(op.bias, "float16"))
        if isinstance(op, Affine | Scale)
        else op
        for op in program.ops
    )
    return verify(replace(program, ops=ops))
