"""What surrounds the kernels of the functions: all points in batches, the self-test, the domain box."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from kdpinn_edge.export.lowering.environment import refuse_another
from kdpinn_edge.export.lowering.loops import (
    BOOL,
    STATUS,
    Buffer,
    Call,
    Code,
    Count,
    Expr,
    Get,
    Integer,
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
    place,
)
from kdpinn_edge.numerics.words import NEGATIVE_COUNT, NULL_POINTER

WIDE = Type("int64")
ALIGNED = 16
"""Numbers of a cache line, in float32."""


@dataclass(frozen=True)
class Evaluation:
    """A function of the model: numbers in and out per point, points in a batch, scratch memory of both kernels.

    Up to `crossover` points of a batch go through the single-point kernel, and with a batch of one all do. The scratch
    memory holds numbers of type `held`. `once` is the function of the inputs p that are constant during a call: it is
    evaluated first, and its results lie where the scratch memory begins.
    """

    name: str
    precision: Scalar
    n_in: int
    n_out: int
    points_per_batch: int
    crossover: int
    scratch: int
    once: Evaluation | None = None
    words: Scalar | None = None

    @property
    def kinds(self) -> tuple[str, ...]:
        """The kernels that are called: there is no other."""
        if self.points_per_batch == 1 or self.points_per_batch <= self.crossover:
            return ("single",)
        return ("batch", "single") if self.crossover > 0 else ("batch",)

    @property
    def held(self) -> Scalar:
        """The type of the numbers in the scratch memory."""
        return self.words or self.precision


def evaluate_all(evaluation: Evaluation) -> Routine:
    """y[i] = f(x[i]) for n points, in batches or one by one; calls NAME_batch or NAME_single, or both.

    With `once` it is y[i] = f(p, x[i]).
    """
    scalar, n, once = evaluation.precision, Symbol("n", 64), evaluation.once
    x = Buffer("x", scalar, linear(n) * evaluation.n_in, constant=True)
    y = Buffer("y", scalar, linear(n) * evaluation.n_out)
    s = Buffer("s", evaluation.held, Linear(evaluation.scratch), scratch=True)
    parameters: tuple[Buffer, ...] = (x, y)
    code = Code()
    if once:
        p = Buffer("p", scalar, Linear(once.n_in), constant=True)
        parameters = (p, x, y)
    _check(code, n, STATUS, *parameters)
    if once:
        at_p = (p, Linear(0)), (s, Linear(0)), (s, Linear(_held(once)))
        with code.when(apply("less", Number(WIDE, 0), Count(WIDE, linear(n)))):
            code.statements.append(Call(f"{once.name}_single", at_p))
    with code.counting("p", Linear(0), linear(n), evaluation.points_per_batch, bits=64) as at:
        m = Symbol("m", 32, least=1)
        left = Count(WIDE, linear(n) - linear(at))
        code.statements.append(Integer(m, apply("min", Number(STATUS, evaluation.points_per_batch), left)))
        together = (x, linear(at) * evaluation.n_in), (y, linear(at) * evaluation.n_out), (s, Linear(0))
        one_by_one = Code()
        with one_by_one.counting("i", Linear(0), linear(m), bits=32) as i:
            q = linear(at) + linear(i)
            alone = (x, q * evaluation.n_in), (y, q * evaluation.n_out), (s, Linear(0))
            one_by_one.statements.append(Call(f"{evaluation.name}_single", alone))
        batch = (Call(f"{evaluation.name}_batch", together, (linear(m),)),)
        if len(evaluation.kinds) > 1:
            pays = apply("less", Number(STATUS, evaluation.crossover), Count(STATUS, linear(m)))
            code.choose(pays, batch, one_by_one.body)
        else:
            code.statements += batch if "batch" in evaluation.kinds else one_by_one.body
    code.statements.append(Return(Number(STATUS, 0)))
    given = "p, x[i]" if once else "x[i]"
    doc = f"y[i] = {evaluation.name}({given}) for n points: 0, or an error code of kdpinn_edge.h."
    return Routine(evaluation.name, doc, (*parameters, n), code.body, STATUS)


def scratch_of(once: Evaluation) -> int:
    """The scratch memory that the evaluation of `once` takes, its results included."""
    return _held(once) + once.scratch


def _held(once: Evaluation) -> int:
    """The room of its results, in whole cache lines."""
    return once.n_out + -once.n_out % ALIGNED


def _check(code: Code, n: Symbol, result: Type, *buffers: Buffer) -> None:
    """The error codes for a count below zero, and for points or results without memory."""
    count, zero = Count(WIDE, linear(n)), Number(WIDE, 0)
    first, *others = buffers
    missing: Expr = IsNull(first)
    for buffer in others:
        missing = apply("or", missing, IsNull(buffer))
    with code.when(apply("less", count, zero)):
        code.statements.append(Return(Number(result, NEGATIVE_COUNT)))
    with code.when(apply("and", apply("less", zero, count), missing)):
        code.statements.append(Return(Number(result, NULL_POINTER)))


def selftest(evaluations: Sequence[Evaluation], n_golden: int) -> Routine:
    """Replays the golden points, together and one by one; 0, or 1 + the first golden number whose bits differ.

    Before that it returns an error code where the floating-point environment is not the default one. The golden numbers
    are counted through the functions in order. They lie in GOLDEN_X and GOLDEN_NAME; what is constant during a call in
    GOLDEN_P, and the points beside it in GOLDEN_POINTS.
    """
    scalar, code = evaluations[0].precision, Code(narrow=True)
    in_words = evaluations[0].words is not None
    most = max(evaluation.n_out for evaluation in evaluations) * n_golden
    results = {
        each: Buffer("y" if each == scalar else "z", each, Linear(most), scratch=True)
        for each in dict.fromkeys(evaluation.precision for evaluation in evaluations)
    }
    if not in_words:
        refuse_another(code, scalar)
    before = 0
    for evaluation in evaluations if n_golden else ():
        once, of, y = evaluation.once, evaluation.precision, results[evaluation.precision]
        home = "GOLDEN_POINTS" if once else "GOLDEN_X" if of == scalar else "GOLDEN_X_FIXED"
        points = Buffer(home, of, Linear(n_golden * evaluation.n_in), constant=True)
        given = ((Buffer("GOLDEN_P", scalar, Linear(once.n_in), constant=True), Linear(0)),) if once else ()
        golden = Buffer(f"GOLDEN_{evaluation.name.upper()}", of, Linear(n_golden * evaluation.n_out), constant=True)
        together = *given, (points, Linear(0)), (y, Linear(0))
        code.statements.append(Call(evaluation.name, together, (Linear(n_golden),)))
        _compare(code, y, golden, before)
        with code.loop("p", 0, n_golden) as p:
            alone = *given, (points, place(0, (evaluation.n_in, p))), (y, place(0, (evaluation.n_out, p)))
            code.statements.append(Call(evaluation.name, alone, (Linear(1),)))
        _compare(code, y, golden, before)
        before += n_golden * evaluation.n_out
    code.statements.append(Return(Number(STATUS, 0)))
    doc = (
        "0, or the first golden number whose bits differ, counted from 1 through the functions in order; a code < 0 of "
        "kdpinn_edge.h where the floating-point environment is not the default one."
    )
    return Routine("selftest", doc, (), code.body, STATUS)


def _compare(code: Code, y: Buffer, golden: Buffer, before: int) -> None:
    number = Type(y.scalar)
    as_bits, zero = ("word", 0) if y.scalar == "int32" else ("bits", 0.0)
    with code.loop("i", 0, golden.size.base) as i:
        at = place(0, (1, i))
        same = apply("equal", *(apply(as_bits, Load(number, buffer, at)) for buffer in (y, golden)))
        with code.when(apply("not", same)):
            code.statements.append(Return(Count(STATUS, at + (before + 1))))
        code.store(y, at, Number(number, zero))


def outside(precision: Scalar, n_in: int, *, in_words: bool = False) -> Routine:
    """How many of n points lie outside the domain box BOX, the lower bounds and then the upper; a NaN does.

    With `in_words` numbers are compared as integers of their order, in which a NaN is beyond infinity.
    """
    n, number = Symbol("n", 64), Type(precision)
    x = Buffer("x", precision, linear(n) * n_in, constant=True)
    box = Buffer("BOX", precision, Linear(2 * n_in), constant=True)
    code = Code(narrow=True)
    _check(code, n, WIDE, x)
    count = code.let("count", Number(WIDE, 0), changes=True)
    with code.counting("p", Linear(0), linear(n), bits=64) as p:
        inside = code.let("inside", Number(BOOL, 1), changes=True)
        with code.loop("c", 0, n_in) as c:
            v, *sides = (
                _in_order(code, each) if in_words else each
                for each in (
                    Get(code.let("v", Load(number, x, place(0, (n_in, p), (1, c))))),
                    Load(number, box, place(0, (1, c))),
                    Load(number, box, place(n_in, (1, c))),
                )
            )
            above, below = (
                apply("not", apply("less", b, a)) if in_words else apply("at_most", a, b)
                for a, b in ((sides[0], v), (v, sides[1]))
            )
            code.set(inside, apply("and", Get(inside), apply("and", above, below)))
        with code.when(apply("not", Get(inside))):
            code.set(count, apply("iadd", Get(count), Number(WIDE, 1)))
    code.statements.append(Return(Get(count)))
    doc = (
        "How many of n points lie outside the domain box (a point with a NaN does); or an error code of kdpinn_edge.h."
    )
    return Routine("outside", doc, (x, n), code.body, WIDE)


def _in_order(code: Code, x: Expr) -> Expr:
    """An integer for a float32 that is larger where the number is; both zeros have 0."""
    bits = Get(code.let("bits", apply("bits", x)))
    sign = Get(code.let("sign", apply("ishr", bits, Number(bits.type, 31))))
    size = apply("iand", bits, Number(bits.type, 0x7FFFFFFF))
    return apply("isub", apply("ixor", size, sign), sign)
