"""Typed loops: what the words of a kernel are made of, before they are LLVM or C.

    Routine   = (name, parameters, body)
    Statement = Let(variable, value) | Set(variable, value) | Store(buffer, at, value)
              | For(counter, start, stop, step, body) | Block(body) | If(condition, then, otherwise)
              | Integer(symbol, value) | Call(routine, pointers, symbols) | Return(value) | Comment(text)
    Expr      = Number(type, value) | Get(variable) | Load(type, buffer, at) | Lookup(type, buffer, at, stride, index)
              | Count(type, linear) | IsNull(buffer) | Apply(type, operation, operands, detail)
    Type      = (scalar, lanes)
    Linear    = base + Σ factor * symbol

A value has `lanes` numbers of one scalar type. An index is a linear form of loop counters and parameters, of 32 or 64
bits. `verify` checks that the types fit and that every access lies inside its buffer. An operation that is not in
`OPERATIONS` is an error, here and in every emitter.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from math import inf
from typing import Literal

from kdpinn_edge.errors import ExportError, listing

Scalar = Literal["float16", "float32", "float64", "bits16", "bits32", "bits64", "int32", "int64", "bool"]
"""The bits of numbers are integers of their own: they wrap around, and counts do not. Numbers of 16 bits are stored."""

WIDENED: Mapping[Scalar, Scalar] = {"float16": "float32", "bits16": "bits32"}
"""What is read from memory where it holds narrower numbers; the sign of integers is kept."""


BITS_OF: Mapping[Scalar, Scalar] = {"float32": "bits32", "float64": "bits64"}
FLOAT_OF: Mapping[Scalar, Scalar] = {bits: real for real, bits in BITS_OF.items()}


@dataclass(frozen=True)
class Type:
    """`lanes` numbers of the type `scalar`."""

    scalar: Scalar
    lanes: int = 1

    def of(self, scalar: Scalar) -> Type:
        """As many lanes of another scalar type."""
        return Type(scalar, self.lanes)

    def __str__(self) -> str:
        return self.scalar if self.lanes == 1 else f"{self.scalar}x{self.lanes}"


BOOL = Type("bool")
STATUS = Type("int32")


@dataclass(frozen=True, eq=False)
class Symbol:
    """An integer of 32 or 64 bits: a loop counter, or a parameter from `least` to `most`, where that is known."""

    name: str
    bits: Literal[32, 64]
    least: int = 0
    most: int | None = None


@dataclass(frozen=True)
class Linear:
    """base + Σ factor * symbol; no symbol occurs twice, and no factor is zero."""

    base: int
    terms: tuple[tuple[int, Symbol], ...] = ()

    def __add__(self, other: Linear | int) -> Linear:
        factors = dict.fromkeys(symbol for _, symbol in self.terms) | (
            dict.fromkeys(symbol for _, symbol in other.terms) if isinstance(other, Linear) else {}
        )
        if isinstance(other, int):
            return Linear(self.base + other, self.terms)
        total = {s: self.factor(s) + other.factor(s) for s in factors}
        return Linear(self.base + other.base, tuple((f, s) for s, f in total.items() if f))

    def __mul__(self, factor: int) -> Linear:
        return Linear(factor * self.base, tuple((factor * f, s) for f, s in self.terms if factor))

    def __sub__(self, other: Linear | int) -> Linear:
        return self + other * -1

    def factor(self, symbol: Symbol) -> int:
        """What `symbol` is multiplied by."""
        return next((f for f, s in self.terms if s is symbol), 0)

    @property
    def bits(self) -> Literal[32, 64]:
        """The width in which it is calculated: that of its widest symbol."""
        return 64 if any(symbol.bits == 64 for _, symbol in self.terms) else 32

    def __str__(self) -> str:
        texts = [f"{f} * {s.name}" if f != 1 else s.name for f, s in self.terms]
        return " + ".join([str(self.base), *texts] if self.base or not texts else texts)


def linear(value: Linear | Symbol | int) -> Linear:
    """A number or a symbol as a linear form."""
    if isinstance(value, Symbol):
        return Linear(0, ((1, value),))
    return Linear(value) if isinstance(value, int) else value


def place(base: int, *terms: tuple[int, Symbol | int]) -> Linear:
    """base + Σ factor * index, where an index is a symbol or a number."""
    total = Linear(base)
    for factor, index in terms:
        total = total + linear(index) * factor
    return total


@dataclass(eq=False)
class Buffer:
    """Memory for `size` numbers. One that is `constant` is never written; a `scratch` one belongs to its routine.

    The size of scratch memory is known when all that lies in it has a place.
    """

    name: str
    scalar: Scalar
    size: Linear
    constant: bool = False
    scratch: bool = False


@dataclass(frozen=True, eq=False)
class Variable:
    """A value with a name. Only one that `changes` is set again after it was made."""

    name: str
    type: Type
    changes: bool = False


@dataclass(frozen=True, eq=False)
class Number:
    """The same number in every lane."""

    type: Type
    value: float | int


@dataclass(frozen=True, eq=False)
class Get:
    """The value of a variable."""

    variable: Variable

    @property
    def type(self) -> Type:
        """The type of the variable."""
        return self.variable.type


@dataclass(frozen=True, eq=False)
class Load:
    """Numbers that lie side by side, the first of them at the index `at`; narrow ones are widened."""

    type: Type
    buffer: Buffer
    at: Linear


@dataclass(frozen=True, eq=False)
class Lookup:
    """For each lane the number at `at` + stride * i, where `index`, an operation "top", gives i; widened if narrow."""

    type: Type
    buffer: Buffer
    at: int
    stride: int
    index: Apply

    @property
    def last(self) -> int:
        """The largest place that is read: `index` has so many bits as its `detail` says."""
        bits = self.index.detail if isinstance(self.index.detail, int) else 0
        return self.at + self.stride * ((1 << bits) - 1)


@dataclass(frozen=True, eq=False)
class Count:
    """An integer."""

    type: Type
    value: Linear


@dataclass(frozen=True, eq=False)
class IsNull:
    """Whether the caller passed no memory."""

    buffer: Buffer

    @property
    def type(self) -> Type:
        """A truth value."""
        return BOOL


@dataclass(frozen=True, eq=False)
class Apply:
    """An operation of `OPERATIONS`. `detail` is what `lane`, `first` and `top` take, or the function of `call`."""

    type: Type
    operation: str
    operands: tuple[Expr, ...]
    detail: int | Elementwise | None = None


Expr = Number | Get | Load | Lookup | Count | IsNull | Apply


@dataclass(frozen=True, eq=False)
class Elementwise:
    """A function of one number, written in operations on single numbers; emitted for as many lanes as it is given.

    It reads no memory but tables.

    `doc` says what it computes; `lets` are evaluated in order, then `result`.
    """

    name: str
    doc: str
    parameter: Variable
    lets: tuple[Let, ...]
    result: Expr


@dataclass(frozen=True, eq=False)
class Let:
    """Makes a variable."""

    variable: Variable
    value: Expr


@dataclass(frozen=True, eq=False)
class Set:
    """Gives a variable that changes another value."""

    variable: Variable
    value: Expr


@dataclass(frozen=True, eq=False)
class Store:
    """Writes numbers side by side, the first of them at the index `at`."""

    buffer: Buffer
    at: Linear
    value: Expr


@dataclass(frozen=True, eq=False)
class For:
    """`body` for counter = start, start + step, … below stop. It runs at least once unless it is `guarded`."""

    counter: Symbol
    start: Linear
    stop: Linear
    step: int
    body: tuple[Statement, ...]
    guarded: bool = False


@dataclass(frozen=True, eq=False)
class Block:
    """Statements with variables of their own, as the only turn of a loop has them."""

    body: tuple[Statement, ...]


@dataclass(frozen=True, eq=False)
class If:
    """One of two bodies."""

    condition: Expr
    then: tuple[Statement, ...]
    otherwise: tuple[Statement, ...] = ()


@dataclass(frozen=True, eq=False)
class Integer:
    """Makes an integer that indices can be made of."""

    symbol: Symbol
    value: Expr


@dataclass(frozen=True, eq=False)
class Call:
    """Calls a routine with addresses of buffers, each from an index on, and integers."""

    routine: str
    pointers: tuple[tuple[Buffer, Linear], ...]
    symbols: tuple[Linear, ...] = ()


@dataclass(frozen=True, eq=False)
class Return:
    """Ends the routine."""

    value: Expr


@dataclass(frozen=True, eq=False)
class Comment:
    """What follows, in words."""

    text: str


Statement = Let | Set | Store | For | Block | If | Integer | Call | Return | Comment
Body = tuple[Statement, ...]


@dataclass(frozen=True, eq=False)
class Routine:
    """A function: its buffers and integers in the order of its parameters, and what it returns, if anything."""

    name: str
    doc: str
    parameters: tuple[Buffer | Symbol, ...]
    body: Body
    result: Type | None = None


def _same(*types: Type) -> Type | None:
    return types[0] if len(set(types)) == 1 else None


def _floats(*types: Type) -> Type | None:
    return _same(*types) if types[0].scalar in BITS_OF else None


def _bits(*types: Type) -> Type | None:
    return _same(*types) if types[0].scalar in FLOAT_OF else None


def _vectors(a: Type, b: Type) -> Type | None:
    return _same(a, b) if a.scalar == "bits32" and a.lanes % 2 == 0 else None


def _truth(*types: Type) -> Type | None:
    return BOOL if all(each == BOOL for each in types) else None


Rule = Callable[..., Type | None]

OPERATIONS: Mapping[str, tuple[int, Rule]] = {
    "add": (2, _floats),
    "sub": (2, _floats),
    "mul": (2, _floats),
    "div": (2, _floats),
    "inverse": (1, _floats),
    "fma": (3, _floats),
    "absolute": (1, _floats),
    "copysign": (2, _floats),
    "canonical": (1, _floats),
    "iadd": (2, lambda a, b: _bits(a, b) or _same(a, b, Type("int64"))),
    "isub": (2, _bits),
    "ishl": (2, _bits),
    "ishr": (2, _bits),
    "ixor": (2, _bits),
    "iand": (2, _bits),
    "ior": (2, _bits),
    "ilshr": (2, _bits),
    "imul": (2, _bits),
    "mulh": (2, lambda a, b: _same(a, b) if a.scalar == "bits32" else None),
    "mule": (2, _vectors),
    "mulo": (2, _vectors),
    "uppers": (2, _vectors),
    "top": (1, _bits),
    "sign": (1, _bits),
    "opaque": (1, lambda i: _bits(i) if i.lanes == 1 else None),
    "bits": (1, lambda x: x.of(BITS_OF[x.scalar]) if x.scalar in BITS_OF else None),
    "word": (1, lambda i: i.of("bits32") if i.scalar == "int32" else None),
    "integer": (1, lambda i: i.of("int32") if i.scalar == "bits32" else None),
    "from_bits": (1, lambda i: i.of(FLOAT_OF[i.scalar]) if i.scalar in FLOAT_OF else None),
    "less": (2, lambda a, b: a.of("bool") if _same(a, b) and a.scalar != "bool" else None),
    "at_most": (2, lambda a, b: a.of("bool") if _floats(a, b) else None),
    "equal": (2, lambda a, b: a.of("bool") if _bits(a, b) else None),
    "select": (3, lambda c, a, b: _same(a, b) if c == a.of("bool") else None),
    "call": (1, lambda x: _floats(x) or _bits(x)),
    "splat": (1, lambda x: x if x.lanes == 1 else None),
    "lane": (1, lambda x: Type(x.scalar)),
    "first": (2, _floats),
    "total": (1, lambda x: Type(x.scalar) if x.scalar in BITS_OF and x.lanes & (x.lanes - 1) == 0 else None),
    "min": (2, lambda a, b: a if (a, b) == (Type("int32"), Type("int64")) else None),
    "and": (2, _truth),
    "or": (2, _truth),
    "not": (1, _truth),
}
"""For each operation how many operands it takes, and its type by theirs: None where they do not fit.

`less` compares counts too, `iadd` adds them, `min` is the smaller of two, `opaque` is its operand, with which no
compiler computes ahead of time. Of integers, `ilshr` shifts zeros in from the left, `top` is as many of the upper bits
as its detail says, `sign` is all ones where a word is negative and zero elsewhere, of which no compiler makes a branch,
`imul` is the lower word of a product, and `mulh` the upper word of one with signs; `less` takes the signs of bits, too.
Of vectors of words, `mule` and `mulo` are exact products, whose lower and upper words lie in two lanes: of the even
lanes of both, and of the even ones of the first with the odd ones of the second. `uppers` are the upper words of such a
pair, so that uppers(mule(a, b), mulo(a, b)) is mulh(a, b) where all lanes of a are one word.
`word` makes bits of an integer of the caller, and `integer` the other way round.
The others are the lane vocabulary of `lanes.py`.
"""


def apply(operation: str, *operands: Expr, detail: int | Elementwise | None = None) -> Apply:
    """`operation` on operands of one type each. Raises ExportError for one that is unknown, or does not fit."""
    return Apply(_typed(operation, operands), operation, operands, detail)


def splat(value: Expr, lanes: int) -> Expr:
    """One number in every lane."""
    if isinstance(value, Number):
        return Number(Type(value.type.scalar, lanes), value.value)
    return value if lanes == 1 else Apply(Type(value.type.scalar, lanes), "splat", (value,))


def _typed(operation: str, operands: Sequence[Expr]) -> Type:
    arity, rule = OPERATIONS.get(operation, (-1, None))
    if rule is None:
        raise ExportError(f"the operation {operation!r} is unknown; expected one of {', '.join(OPERATIONS)}")
    types = [operand.type for operand in operands]
    found = rule(*types) if len(types) == arity else None
    if found is None:
        raise ExportError(f"{operation} does not take ({', '.join(map(str, types))})")
    return found


class Code:
    """Statements under construction. `narrow` code counts its loops in 32 bits, other code in 64."""

    def __init__(self, *, narrow: bool = False) -> None:
        self.statements: list[Statement] = []
        self.narrow = narrow

    @property
    def body(self) -> Body:
        """What was built."""
        return tuple(self.statements)

    def let(self, name: str, value: Expr, *, changes: bool = False) -> Variable:
        """Make a variable."""
        variable = Variable(name, value.type, changes)
        self.statements.append(Let(variable, value))
        return variable

    def set(self, variable: Variable, value: Expr) -> None:
        """Give a variable that changes another value."""
        self.statements.append(Set(variable, value))

    def store(self, buffer: Buffer, at: Linear, value: Expr) -> None:
        """Write numbers."""
        self.statements.append(Store(buffer, at, value))

    def comment(self, text: str) -> None:
        """Say what follows."""
        self.statements.append(Comment(text))

    @contextmanager
    def loop(self, name: str, start: int, stop: int, step: int = 1) -> Iterator[Symbol | int]:
        """A loop that runs at least once, its counter being what `with` gives; a number where it runs just once."""
        counter = Symbol(name, 32 if self.narrow else 64)
        once = start + step >= stop
        with self._apart() as inner:
            yield start if once else counter
        body = tuple(inner)
        self.statements.append(Block(body) if once else For(counter, Linear(start), Linear(stop), step, body))

    @contextmanager
    def counting(
        self, name: str, start: Linear, stop: Linear, step: int = 1, *, bits: Literal[32, 64]
    ) -> Iterator[Symbol]:
        """A loop between bounds that are not known; it may not run at all."""
        counter = Symbol(name, bits)
        with self._apart() as inner:
            yield counter
        self.statements.append(For(counter, start, stop, step, tuple(inner), guarded=True))

    @contextmanager
    def when(self, condition: Expr) -> Iterator[None]:
        """What is done if the condition holds."""
        with self._apart() as inner:
            yield
        self.choose(condition, tuple(inner))

    @contextmanager
    def _apart(self) -> Iterator[list[Statement]]:
        """Collect what is built within this context in a list of its own."""
        outer, self.statements = self.statements, []
        try:
            yield self.statements
        finally:
            self.statements = outer

    def choose(self, condition: Expr, then: Body, otherwise: Body = ()) -> None:
        """Do one of two things."""
        self.statements.append(If(condition, then, otherwise))


def verify(body: Body, parameters: Iterable[Symbol] = ()) -> Body:
    """`body` itself, if it is well-formed. Raises ExportError with every fault: types, variables, accesses."""
    faults: list[str] = []
    _Verifier(faults).body(body, set(), dict.fromkeys(parameters))
    if faults:
        raise ExportError(f"the loops of a kernel are malformed: {listing(list(dict.fromkeys(faults)))}")
    return body


Bounds = Mapping[Symbol, tuple[Linear, Linear] | None]
"""The least and the greatest value of a counter; None for a parameter."""


@dataclass(frozen=True)
class _Verifier:
    faults: list[str] = field(default_factory=list)

    def body(self, body: Body, known: set[Variable], bounds: Bounds) -> None:
        known = set(known)
        for statement in body:
            match statement:
                case Let(variable, value) | Set(variable, value):
                    self.assignment(statement, known, bounds)
                    known.add(variable)
                case Store():
                    self.store(statement, known, bounds)
                case For(counter, _, _, _, inner):
                    self.body(inner, known, {**bounds, counter: _ends(statement)})
                case Block(inner):
                    self.body(inner, known, bounds)
                case If(condition, then, otherwise):
                    self.same("a condition", BOOL, self.value(condition, known, bounds))
                    self.body(then, known, bounds)
                    self.body(otherwise, known, bounds)
                case Return(value) | Integer(_, value):
                    self.value(value, known, bounds)

    def assignment(self, statement: Let | Set, known: set[Variable], bounds: Bounds) -> None:
        variable = statement.variable
        self.same(f"{variable.name} = …", variable.type, self.value(statement.value, known, bounds))
        if isinstance(statement, Set) and (variable not in known or not variable.changes):
            self.faults.append(f"{variable.name} is set, but it is not a variable that changes")

    def store(self, statement: Store, known: set[Variable], bounds: Bounds) -> None:
        buffer, value = statement.buffer, statement.value
        self.value(value, known, bounds)
        if buffer.constant:
            self.faults.append(f"{buffer.name} is constant and is written at {statement.at}")
        if value.type.scalar != buffer.scalar:
            self.faults.append(f"{buffer.name} holds {buffer.scalar}, and {value.type} is written to it")
        self.access(buffer, statement.at, value.type.lanes, bounds)

    def value(self, value: Expr, known: set[Variable], bounds: Bounds) -> Type:
        match value:
            case Get(variable) if variable not in known:
                self.faults.append(f"{variable.name} is read before it is made")
            case Load(type, buffer, at):
                self.read(type, buffer)
                self.access(buffer, at, type.lanes, bounds)
            case Lookup(type, buffer, at, _, index):
                self.read(type, buffer)
                self.value(index, known, bounds)
                if index.operation != "top" or at < 0:
                    self.faults.append(f"{buffer.name} is read at {index.operation} from {at} on; expected: top")
                self.access(buffer, Linear(value.last), 1, bounds)
            case Apply(type, operation, operands):
                for operand in operands:
                    self.value(operand, known, bounds)
                found = _typed(operation, operands)
                self.same(operation, type, found if operation != "splat" else Type(found.scalar, type.lanes))
        return value.type

    def read(self, type: Type, buffer: Buffer) -> None:
        if type.scalar != WIDENED.get(buffer.scalar, buffer.scalar):
            self.faults.append(f"{buffer.name} holds {buffer.scalar}, and {type} is read from it")

    def same(self, what: str, expected: Type, found: Type) -> None:
        if expected != found:
            self.faults.append(f"{what} is {found}; expected: {expected}")

    def access(self, buffer: Buffer, at: Linear, lanes: int, bounds: Bounds) -> None:
        """Whether at, …, at + lanes - 1 lie in the buffer, whatever the counters and parameters are."""
        least, greatest = _extreme(at, bounds, -1), _extreme(at, bounds, 1)
        room = _extreme(buffer.size - greatest - lanes, bounds, -1)
        for margin in (least, room):
            if _least(margin) < 0:
                self.faults.append(f"{buffer.name}[{at}] to {lanes} lanes leaves its {buffer.size} numbers")


def _ends(loop: For) -> tuple[Linear, Linear]:
    """The least and the greatest value of a counter."""
    if loop.start.terms or loop.stop.terms:
        return loop.start, loop.stop - 1
    return loop.start, Linear(loop.start.base + (loop.stop.base - 1 - loop.start.base) // loop.step * loop.step)


def _least(form: Linear) -> float:
    """The least value of a linear form of parameters."""
    ends = ((f, s.least if f > 0 else inf if s.most is None else s.most) for f, s in form.terms)
    return form.base + sum(f * end for f, end in ends)


def _extreme(form: Linear, bounds: Bounds, sign: Literal[-1, 1]) -> Linear:
    """The least (-1) or greatest (1) that `form` can be over its counters, as a linear form of parameters."""
    for symbol, ends in reversed([*bounds.items()]):
        factor = form.factor(symbol)
        if factor and ends is not None:
            end = ends[(sign * factor > 0) - 0]
            form = form - linear(symbol) * factor + end * factor
    return form
