"""What both kernels of a function share: its steps, their places, and how a row of a block is finished.

The batch kernel (`schedule_batch.py`) has points in lanes, the single-point kernel (`schedule_single.py`) the neurons
of a layer. They compute the same bits: both sum in the order of the numerics profile.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain

from kdpinn_edge.errors import ExportError
from kdpinn_edge.export.lowering.blocking import Blocking, Choice, most_streams, powers_of_two
from kdpinn_edge.export.lowering.constants import Constants, Place, is_zero
from kdpinn_edge.export.lowering.fusion import Step, fuse, is_view
from kdpinn_edge.export.lowering.loops import (
    Body,
    Buffer,
    Code,
    Expr,
    Get,
    Linear,
    Load,
    Number,
    Scalar,
    Symbol,
    Type,
    Variable,
    apply,
)
from kdpinn_edge.export.lowering.trace import traced
from kdpinn_edge.numerics.words import partial_sums
from kdpinn_edge.program.ir import Add, Affine, Map, Mul, Op, Program, Scale, Select, Var, operands

SUMS = "abcdefgh"
"""What partial sums are called: there are at most eight."""


@dataclass(frozen=True)
class Lowered:
    """A Program as the steps of either kernel, and what was decided for them.

    `steps` are those of the printed text. Each is one of a kernel too, or two (`Step.parts`).
    The first `held` numbers of the inputs are the same for all points, and lie where the scratch memory begins.
    """

    program: Program
    precision: Scalar
    profile: str
    steps: Sequence[Step]
    batch_steps: Sequence[Sequence[Step]]
    single_steps: Sequence[Sequence[Step]]
    constants: Constants
    blocking: Blocking
    narrow: bool
    held: int

    @property
    def n_x(self) -> int:
        """Numbers of x per point."""
        return self.program.n_in - self.held

    @property
    def points_per_batch(self) -> int:
        """One per lane."""
        return self.constants.vectors.lanes * self.blocking.vectors_per_batch


@dataclass(frozen=True)
class Schedule:
    """A kernel as loops: what reads the point or points, the statements of each step, what writes the results."""

    x: Buffer
    y: Buffer
    scratch: Buffer
    load: Body
    steps: Sequence[Body]
    store: Body


def lower_program(
    program: Program,
    weights: str,
    precision: Scalar,
    profile: str,
    constants: Constants,
    *,
    narrow: bool,
    held: int = 0,
) -> Lowered:
    """Decide how `program` is computed, and give its parameters a place among `constants`, new ones in `weights`.

    In a batch, the activation of a single product is a step of its own: its latency is hidden behind many vectors, and
    the product has all registers. One point would wait for its sums to be stored and loaded again, but on processors
    that are in order, which wait for nothing and lack registers.
    """
    steps = fuse(program, most_streams(constants.vectors))
    batch = [step.parts() for step in steps]
    single = batch if constants.vectors.in_order else [(step,) for step in steps]
    constants.place(steps, weights)
    blocking = Blocking(_flat(batch), _flat(single), constants.vectors)
    return Lowered(program, precision, profile, steps, batch, single, constants, blocking, narrow, held)


def _flat(steps: Sequence[Sequence[Step]]) -> list[Step]:
    return [part for parts in steps for part in parts]


@dataclass(frozen=True)
class Pass:
    """Partial sums that are computed in one pass through the terms: `loop` has those of one turn, `rest` the others."""

    sums: Sequence[int]
    stride: int
    whole: int
    loop: Sequence[int]
    rest: Sequence[int]


def passes(n_in: int, P: int, choice: Choice) -> list[Pass]:
    """One pass for all P sums, or one for each, in which a turn of the loop has several terms all the same."""
    groups, stride = ([range(P)], P) if choice.interleaved else ([(p,) for p in range(P)], choice.terms * P)
    whole = n_in - n_in % stride
    return [
        Pass(
            sums,
            stride,
            whole,
            [k for k in range(stride) if whole and k % P in sums],
            [k for k in range(n_in - whole) if k % P in sums],
        )
        for sums in groups
    ]


class Spills:
    """Partial sums that wait in the scratch memory from `at` on while others are computed."""

    def __init__(self, scratch: Buffer, at: int) -> None:
        self.end = at
        self._scratch = scratch

    def spill(self, code: Code, sums: list[Expr], chosen: Sequence[int]) -> None:
        """Store the `chosen` sums of one row; what stands for them in `sums` loads them again."""
        for p in chosen:
            value = sums[p]
            code.store(self._scratch, Linear(self.end), value)
            sums[p] = Load(value.type, self._scratch, Linear(self.end))
            self.end += value.type.lanes


Sums = Sequence[Sequence[Mapping[int, Variable]]]
"""Partial sums that advance together: of each row, of each product, by their numbers."""


def summed(
    code: Code,
    lowered: Lowered,
    step: Step,
    choice: Choice,
    rows: Sequence[int | str],
    zero: Number,
    number: Callable[[Place, int], Expr],
    term: Callable[[Sums, Symbol | int, int], None],
    spills: Spills,
) -> list[list[list[Expr]]]:
    """The partial sums of a block, of each of its `rows` for each product; the first starts from the bias.

    `rows` are the ends of their names, `number(i, r)` is the constant i of row r, and `term(sums, k, i)` adds term
    k + i to `sums`.
    """
    products, n_in = step.products, step.products[0].x.size
    P = partial_sums(n_in, step.size)
    done: list[list[list[Expr]]] = [[[zero] * P for _ in products] for _ in rows]
    for each in passes(n_in, P, choice):
        sums: list[list[dict[int, Variable]]] = [[{} for _ in products] for _ in rows]
        for r, row in enumerate(rows):
            for q, op in enumerate(products):
                for p in each.sums:
                    start = zero if p or is_zero(op.bias) else number(lowered.constants.of(op)[1], r)
                    sums[r][q][p] = code.let(f"{SUMS[p]}{f'{q}_' if q else ''}{row}", start, changes=True)
        if each.whole:
            with code.loop("k", 0, each.whole, each.stride) as k:
                for i in each.loop:
                    term(sums, k, i)
        for i in each.rest:
            term(sums, each.whole, i)
        for found, variables in zip(chain(*done), chain(*sums), strict=True):
            for p, variable in variables.items():
                found[p] = Get(variable)
            if P - 1 not in each.sums:
                spills.spill(code, found, each.sums)
    return done


def tree_sum(sums: Sequence[Expr]) -> Expr:
    """The partial sums added by halving: sum i + sum i + P/2, until one is left."""
    while len(sums) > 1:
        half = len(sums) // 2
        sums = [apply("add", a, b) for a, b in zip(sums[:half], sums[half:], strict=True)]
    return sums[0]


def statements(lowered: Lowered, steps: Sequence[Sequence[Step]], emit: Callable[[Code, Step], None]) -> list[Body]:
    """The statements of each step, of which `emit` makes those of a part; what lies in memory already needs none."""
    found = []
    for parts in steps:
        code = Code(narrow=lowered.narrow)
        for part in parts:
            if part.stored and not is_view(lowered.program, part.ops[0]):
                code.comment(str(part))
                emit(code, part)
        found.append(code.body)
    return found


def finish(
    code: Code,
    step: Step,
    lowered: Lowered,
    products: Sequence[Expr],
    scratch: Buffer,
    at: Callable[[Var], Linear],
    number: Callable[[Place], Expr],
    lanes: int,
) -> None:
    """Finish one row, or some vectors of rows, of a block.

    `products` are its matrix products, `at(var)` is where the row of a variable lies, `number(i)` the constant i of the
    row. A result that is used once is not made a variable.
    """
    type_ = Type(lowered.precision, lanes)
    uses = Counter(var.name for op in step.ops for var in operands(op))
    uses.update(var.name for var in step.stored)
    values: dict[str, Expr] = {}

    def keep(var: Var, value: Expr) -> Expr:
        shared = uses[var.name] > 1 and not isinstance(value, Number | Get)
        values[var.name] = Get(code.let(f"v{len(values)}", value)) if shared else value
        return values[var.name]

    for i, op in enumerate(step.ops):
        if isinstance(op, Affine):
            value = products[i]
        else:
            for var in operands(op):
                if var.name not in values:
                    keep(var, Load(type_, scratch, at(var)))
            value = _elementwise(op, [values[var.name] for var in operands(op)], lowered, number, type_)
        value = keep(op.out, value)
        if op.out in step.stored:
            code.store(scratch, at(op.out), value)


def _elementwise(op: Op, parts: Sequence[Expr], lowered: Lowered, number: Callable[[Place], Expr], type_: Type) -> Expr:
    constants = lowered.constants
    match op:
        case Scale(weight=weight, bias=bias):
            uniform = [constants.uniform(vector) for vector in (weight, bias)]
            texts = [
                number(at) if value is None else Number(type_, value)
                for value, at in zip(uniform, constants.of(op), strict=True)
            ]
            return apply("fma", texts[0], parts[0], texts[1])
        case Map(fn=fn):
            return apply("call", parts[0], detail=traced(fn, lowered.precision, lowered.profile))
        case Add():
            return apply("add", *parts)
        case Mul():
            return apply("mul", *parts)
        case Select():
            c, a, b = parts
            return apply("select", apply("less", Number(type_, 0.0), c), a, b)
    raise ExportError(f"the operation {type(op).__name__} has no meaning row by row")


def chunks(size: int, constants: Constants, vectors: int) -> list[tuple[int, int, int]]:
    """`size` numbers as (start, stop, lanes): some vectors at once, then the rest."""
    size = constants.padded(size)
    wide = vectors * constants.vectors.lanes
    whole = size - size % wide
    found = [(0, whole, wide)] if whole else []
    start = whole
    for lanes in powers_of_two(size - whole):
        found.append((start, start + lanes, lanes))
        start += lanes
    return found


def buffers(lowered: Lowered, points: Linear) -> tuple[Buffer, Buffer, Buffer]:
    """x and y of some points, and the scratch memory."""
    scalar, program = lowered.precision, lowered.program
    return (
        Buffer("x", scalar, points * lowered.n_x, constant=True),
        Buffer("y", scalar, points * program.n_out),
        Buffer("s", scalar, Linear(0), scratch=True),
    )
