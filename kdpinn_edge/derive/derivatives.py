"""`derivatives(program, requests)`: a Program whose outputs are exactly the columns that were asked for.

Derivatives go forward, one stream per direction beside the value, second ones as the tangent of the first
(`forward.py`), the Laplacian as one stream (`laplacian.py`). First derivatives come from one sweep back per output
(`reverse.py`) where that takes clearly fewer multiply-adds.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import cache

from kdpinn_edge.derive.forward import Tangent
from kdpinn_edge.derive.groups import terms_of
from kdpinn_edge.derive.laplacian import LaplacianStream
from kdpinn_edge.derive.names import Derivative, InputColumn, Laplacian, Names, Term, parse_requests
from kdpinn_edge.derive.reverse import gradient
from kdpinn_edge.derive.streams import Draft, Stream, zeros
from kdpinn_edge.errors import DerivativeError
from kdpinn_edge.program.ir import Affine, Program, Var, columns, operands
from kdpinn_edge.program.simplify import multiply_adds, name, simplify

__all__ = ["derivatives", "parse_requests"]

WORTH_A_SWEEP = 0.9  # at equal multiply-adds streams win: they share matrices, and at n = 1 a sweep back waits for all


def derivatives(program: Program, requests: Sequence[str]) -> Program:
    """The Program with one output of size 1 per column, in the order of the requests, called as in `names.py`.

    A request is an output column ("u"), an input column ("nu"), a derivative of any order ("u_x", "u_xx", "u_x_nu"),
    or "laplacian(u)" over all inputs, "laplacian(u, x, y)" over some. "jacobian" and "hessian" ask for all first and
    all second derivatives, "jacobian(u; x, t)" for some (`groups.py`). The result is simplified, its operations are in
    the order of the layers. Raises DerivativeError for a request that has no meaning or two, or that occurs twice;
    ProgramError where `program` is malformed.
    """
    if isinstance(requests, str):
        raise DerivativeError(
            f"the requests are the text {requests!r}; expected: a list, as parse_requests makes of it"
        )
    program = simplify(program)
    terms = terms_of(requests, Names(columns(program.inputs), columns(program.outputs)))
    if not terms:
        raise DerivativeError("no derivative is asked for; expected: at least one request, as in ['u', 'u_x']")
    forward, backwards = (_differentiated(program, terms, backwards) for backwards in (False, True))
    return backwards if multiply_adds(backwards) < WORTH_A_SWEEP * multiply_adds(forward) else forward


def _differentiated(program: Program, terms: dict[str, Term], backwards: bool) -> Program:
    """The Program of `terms`, its first derivatives made by forward mode, or `backwards`."""
    draft, inputs, outputs = Draft(program), program.inputs, program.outputs

    @cache
    def along(column: str) -> Tangent:
        return Tangent.along(draft, inputs, column)

    @cache
    def laplacian(axes: tuple[str, ...]) -> LaplacianStream:
        return LaplacianStream(draft, inputs, [along(axis) for axis in axes])

    @cache
    def cotangents(column: str) -> dict[str, Stream]:
        return gradient(draft, inputs, draft.column(outputs, column))

    def forward(column: str, multi_index: tuple[str, ...]) -> Stream:
        stream: Stream = (draft.column(outputs, column),)
        for letter in multi_index:
            (piece,) = stream
            stream = along(letter).of(piece) if isinstance(piece, Var) else zeros(1)
        return stream

    def made(term: Term) -> Var:
        match term:
            case InputColumn(column):
                return draft.column(inputs, column)
            case Derivative(column, ()):
                return draft.column(outputs, column)
            case Derivative(column, multi_index):
                stream = (
                    cotangents(column)[multi_index[0]]
                    if backwards and len(multi_index) == 1
                    else forward(column, multi_index)
                )
                return draft.whole(stream, draft.column(inputs, multi_index[0]))
            case Laplacian(column, axes):
                axes = axes or columns(inputs)
                stream = laplacian(axes).of(draft.column(outputs, column))
                return draft.whole(stream, draft.column(inputs, axes[0]))

    return name(in_layers(simplify(draft.with_outputs({spelling: made(term) for spelling, term in terms.items()}))))


def in_layers(program: Program) -> Program:
    """The operations in the order of the layers: an Affine as soon as its operand is there, then what it leads to.

    So the streams of a layer stand together, and few variables live at a time.
    """
    depth = {var.name: 0 for var in program.inputs}
    for op in program.ops:
        depth[op.out.name] = max(depth[var.name] for var in operands(op)) + isinstance(op, Affine)
    ordered = sorted(program.ops, key=lambda op: (depth[op.out.name], not isinstance(op, Affine)))
    return replace(program, ops=tuple(ordered))
