"""Typed loops → C99: one function per routine and per activation, to be read and to be compiled by any compiler.

A value of L lanes is L expressions; a variable of L lanes is an array of L numbers that only constants index, so that a
compiler keeps them in registers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import count
from math import isfinite
from textwrap import wrap

import numpy as np

from kdpinn_edge.errors import ExportError
from kdpinn_edge.export.lowering import loops
from kdpinn_edge.export.lowering.loops import Buffer, Elementwise, Expr, Linear, Scalar, Symbol, Type, Variable

ATOM, PRODUCT, SUM, LOOSE = 3, 2, 1, 0
"""How tightly an operator binds: what binds less has parentheses where it is an operand."""

OPERATORS: Mapping[str, tuple[str, int, int, int]] = {
    "add": ("+", SUM, SUM, PRODUCT),
    "sub": ("-", SUM, SUM, PRODUCT),
    "div": ("/", PRODUCT, PRODUCT, ATOM),
    "iadd": ("+", SUM, SUM, PRODUCT),
    "isub": ("-", SUM, SUM, PRODUCT),
    "ishl": ("<<", LOOSE, ATOM, ATOM),
    "ilshr": (">>", LOOSE, ATOM, ATOM),
    "ixor": ("^", LOOSE, ATOM, ATOM),
    "iand": ("&", LOOSE, ATOM, ATOM),
    "ior": ("|", LOOSE, ATOM, ATOM),
    "imul": ("*", PRODUCT, PRODUCT, ATOM),
    "less": ("<", LOOSE, SUM, SUM),
    "at_most": ("<=", LOOSE, SUM, SUM),
    "equal": ("==", LOOSE, SUM, SUM),
    "and": ("&&", LOOSE, ATOM, ATOM),
    "or": ("||", LOOSE, ATOM, ATOM),
}
"""For each operator its sign, how tightly it binds, and how tightly its operands have to."""

OF_ONE = ("inverse", "not", "word", "sign", "top")
CALLS = (
    *("mul", "fma", "absolute", "copysign", "canonical", "min"),
    *("bits", "from_bits", "integer", "ishr", "mulh", "opaque"),
)
HALF = "half"
SUPERSCRIPTS = str.maketrans("⁻⁺¹²ᵏˣⁱᵐⁿ", "-+12kximn")
PLAIN = str.maketrans({"…": "...", "π": "pi", "½": "1/2", "Σ": "sum", "±": "+-", "→": "->", "√": "sqrt ", "≈": "~"})


@dataclass(frozen=True)
class Real:
    """One precision in C: the types of numbers and of their bits, and how literals end."""

    number: str
    bits: str
    width: int
    nan: str
    suffix: str

    def literal(self, value: float) -> str:
        """The number, rounded once, as C99 has to read it: short in decimal, or exact in hexadecimal."""
        exact = float(np.float32(value)) if self.width == 32 else float(value)
        if (exact * 8).is_integer() and abs(exact) < 1e6:
            return f"{exact!r}{self.suffix}"
        digits, exponent = exact.hex().split("p")
        return f"{digits.rstrip('0').rstrip('.')}p{exponent}{self.suffix}"

    def bits_of(self, value: float) -> str:
        """The bits of the number, as an integer literal."""
        bits = np.array(value, f"float{self.width}").view(f"uint{self.width}")
        return f"{int(bits):#x}u"


REAL: Mapping[str, Real] = {
    "float32": Real("float", "uint32_t", 32, "0x7fc00000u", "f"),
    "float64": Real("double", "uint64_t", 64, "0x7ff8000000000000u", ""),
}


C_TYPES: Mapping[Scalar, str] = {
    "float16": "uint16_t",
    "float32": "float",
    "float64": "double",
    "bits16": "int16_t",
    "bits32": "uint32_t",
    "bits64": "uint64_t",
    "int32": "int32_t",
    "int64": "int64_t",
    "bool": "int",
}


@dataclass(frozen=True)
class Value:
    """A C expression per lane; `binds` is how tightly their operator does."""

    lanes: tuple[str, ...]
    binds: int = ATOM

    def each(self, binds: int) -> tuple[str, ...]:
        """The expressions as operands of an operator that takes what binds at least so tightly."""
        return self.lanes if self.binds >= binds else tuple(f"({text})" for text in self.lanes)


class Source:
    """C functions as they are written: `functions` are their texts, callees first.

    `words` are the operations that have to be C functions. `arrays` says which C expression each constant buffer is,
    `c_name` the storage class and the name of each function.
    """

    def __init__(self, precision: Scalar, arrays: Mapping[str, str], c_name: Callable[[str], tuple[str, str]]) -> None:
        self.real = REAL[precision]
        self.arrays = arrays
        self.c_name = c_name
        self.functions: list[str] = []
        self.words: set[str] = set()
        self._written: set[str] = set()

    def routine(self, routine: loops.Routine) -> None:
        """Write a routine as a C function."""
        storage, name = self.c_name(routine.name)
        result = "void" if routine.result is None else C_TYPES[routine.result.scalar]
        body = _Body(self, {*self.arrays, *(each.name for each in routine.parameters if isinstance(each, Buffer))})
        declared = [body.parameter(each) for each in routine.parameters]
        body.mentioned.clear()
        lines = body.block(routine.body)
        unused = [f"(void){body.symbol(each)};" for each in routine.parameters if each not in body.mentioned]
        scratch = [
            f"{C_TYPES[each.scalar]} {each.name}[{each.size}];"
            for each in body.mentioned
            if isinstance(each, Buffer) and each.scratch and each not in routine.parameters
        ]
        head = f"{storage}{result} {name}({', '.join(declared) or 'void'})"
        self._function([routine.doc], head, [*unused, *scratch, *lines])

    def elementwise(self, function: Elementwise) -> str:
        """The name of the C function that computes it; it is written first."""
        _, name = self.c_name(function.name)
        if name not in self._written:
            self._written.add(name)
            body = _Body(self, {*self.arrays})
            x = body.symbol(function.parameter)
            lines = [line for let in function.lets for line in body.statement(let)]
            lines.append(f"return {body.value(function.result).lanes[0]};")
            number = C_TYPES[function.parameter.type.scalar]
            self._function(function.doc.splitlines(), f"static {number} {name}({number} {x})", lines)
        return name

    def word(self, name: str) -> str:
        """What an operation is called that has to be a C function."""
        self.words.add(name)
        return self.c_name(name)[1]

    def _function(self, about: Sequence[str], head: str, body: Sequence[str]) -> None:
        paragraphs = [line for text in about for line in (wrap(_ascii(text), 114) or [""])]
        comment = [f"/* {paragraphs[0]}", *(f" * {line}".rstrip() for line in paragraphs[1:])] if paragraphs else []
        if comment:
            comment[-1:] = [f"{comment[-1]} */"] if len(comment) == 1 else [comment[-1], " */"]
        self.functions.append("\n".join([*comment, head, "{", *_indented(body), "}"]))


class _Body:
    """The body of one C function."""

    def __init__(self, source: Source, taken: set[str]) -> None:
        self.source = source
        self.mentioned: dict[Buffer | Symbol | Variable, None] = {}
        self._names: dict[object, str] = {}
        self._taken = taken

    def parameter(self, each: Buffer | Symbol) -> str:
        """The declaration of a parameter."""
        if isinstance(each, Symbol):
            return f"int{each.bits}_t {self.symbol(each)}"
        return f"{'const ' if each.constant else ''}{C_TYPES[each.scalar]} *{self.symbol(each)}"

    def symbol(self, thing: Buffer | Symbol | Variable) -> str:
        """The name of something, which no other visible thing has."""
        self.mentioned[thing] = None
        if isinstance(thing, Buffer):
            return self.source.arrays.get(thing.name, thing.name)
        if thing not in self._names:
            numbered = (f"{thing.name}_{i}" for i in count(2))
            name = thing.name if thing.name not in self._taken else next(n for n in numbered if n not in self._taken)
            self._taken.add(name)
            self._names[thing] = name
        return self._names[thing]

    def block(self, body: loops.Body) -> list[str]:
        """Statements with names of their own, which are free again behind them."""
        taken = set(self._taken)
        lines = [line for statement in body for line in self.statement(statement)]
        self._taken = taken
        return lines

    def statement(self, statement: loops.Statement) -> list[str]:
        """The lines of one statement."""
        match statement:
            case loops.Let(variable, value):
                return self._let(variable, self.value(value))
            case loops.Set(variable, value):
                pairs = zip(self._get(variable).lanes, self.value(value).lanes, strict=True)
                return [f"{name} = {text};" for name, text in pairs]
            case loops.Store(buffer, at, value):
                pairs = zip(self._places(buffer, at), self.value(value).lanes, strict=False)
                return [f"{place} = {text};" for place, text in pairs]
            case loops.For():
                return self._for(statement)
            case loops.Block(body):
                lines = self.block(body)
                declares = any(isinstance(each, loops.Let) for each in body)
                return ["{", *_indented(lines), "}"] if declares else lines
            case loops.If(condition, then, otherwise):
                lines = [f"if ({self.value(condition).lanes[0]}) {{", *_indented(self.block(then)), "}"]
                return [*lines[:-1], "} else {", *_indented(self.block(otherwise)), "}"] if otherwise else lines
            case loops.Integer(symbol, value):
                return [f"int{symbol.bits}_t {self.symbol(symbol)} = {self.value(value).lanes[0]};"]
            case loops.Call():
                return [self._call(statement)]
            case loops.Return(value):
                return [f"return {self.value(value).lanes[0]};"]
            case loops.Comment(text):
                return [f"/* {_ascii(text)} */"]

    def _let(self, variable: Variable, value: Value) -> list[str]:
        name, type_ = self.symbol(variable), C_TYPES[variable.type.scalar]
        if variable.type.lanes == 1:
            return [f"{type_} {name} = {value.lanes[0]};"]
        assigned = [f"{place} = {text};" for place, text in zip(self._get(variable).lanes, value.lanes, strict=True)]
        return [f"{type_} {name}[{variable.type.lanes}];", *assigned]

    def _get(self, variable: Variable) -> Value:
        name, L = self.symbol(variable), variable.type.lanes
        return Value((name,) if L == 1 else tuple(f"{name}[{lane}]" for lane in range(L)))

    def _for(self, loop: loops.For) -> list[str]:
        taken = set(self._taken)
        name = self.symbol(loop.counter)
        advance = f"{name}++" if loop.step == 1 else f"{name} += {loop.step}"
        start, stop = self._sum(loop.start), self._sum(loop.stop)
        head = f"for (int{loop.counter.bits}_t {name} = {start}; {name} < {stop}; {advance}) {{"
        lines = [head, *_indented(self.block(loop.body)), "}"]
        self._taken = taken
        return lines

    def _call(self, call: loops.Call) -> str:
        _, name = self.source.c_name(call.routine)
        pointers = [self._pointer(buffer, at) for buffer, at in call.pointers]
        arguments = ", ".join([*pointers, *map(self._sum, call.symbols)])
        unused = "(void)" if call.routine.removesuffix("_for").removesuffix("_fixed") in ENTRIES else ""
        return f"{unused}{name}({arguments});"

    def _pointer(self, buffer: Buffer, at: Linear) -> str:
        name = self.symbol(buffer)
        return f"{name} + {self._sum(at)}" if at.terms or at.base else name

    def _places(self, buffer: Buffer, at: Linear) -> Iterator[str]:
        """The elements of a buffer, in order from an index on."""
        for lane in count():
            yield f"{self.symbol(buffer)}[{self._sum(at + lane)}]"

    def _sum(self, form: Linear) -> str:
        """The text of a linear form, the number first: 4 + 2 * j."""
        texts = [f"{form.base}"] if form.base else []
        for factor, symbol in form.terms:
            name = self.symbol(symbol)
            product = name if abs(factor) == 1 else f"{abs(factor)} * {name}"
            sign = "-" if factor < 0 else "+"
            texts += [sign, product] if texts else [product if factor > 0 else f"-{product}"]
        return " ".join(texts) or "0"

    def value(self, expr: Expr) -> Value:
        """The C expressions of a value."""
        match expr:
            case loops.Number(type_, value):
                return Value((self._number(type_, value),) * type_.lanes)
            case loops.Get(variable):
                return self._get(variable)
            case loops.Load(type_, buffer, at):
                lanes = tuple(place for place, _ in zip(self._places(buffer, at), range(type_.lanes), strict=False))
                return self._read(lanes, buffer)
            case loops.Lookup(_, buffer, at, stride, index):
                name = self.symbol(buffer)
                places = (f"{at} + {stride} * {i}" if at else f"{stride} * {i}" for i in self.value(index).each(ATOM))
                return self._read(tuple(f"{name}[{place}]" for place in places), buffer)
            case loops.Count(_, form):
                return Value((self._sum(form),), SUM if form.terms else ATOM)
            case loops.IsNull(buffer):
                return Value((f"{self.symbol(buffer)} == NULL",), LOOSE)
            case loops.Apply():
                return self._apply(expr)

    def _read(self, places: tuple[str, ...], buffer: Buffer) -> Value:
        if buffer.scalar == "float16":
            return Value(tuple(f"{self.source.word(HALF)}({place})" for place in places))
        return Value(tuple(f"(uint32_t){place}" for place in places) if buffer.scalar == "bits16" else places)

    def _of_one(self, name: str, type_: Type, x: Value, detail: int | None) -> Value:
        """What an operation makes of one number: an inverse, a truth, a word, or the sign or the upper bits of one."""
        match name:
            case "inverse":
                return Value(tuple(f"{self._number(type_, 1.0)} / {each}" for each in x.each(ATOM)), PRODUCT)
            case "not":
                return Value(tuple(f"!{each}" for each in x.each(ATOM)))
            case "word":
                return Value(tuple(f"(uint32_t){each}" for each in x.each(ATOM)))
            case "sign":
                shift = f"{self.source.real.width - 1}u"
                return Value(tuple(f"{self.source.word('ishr')}({each}, {shift})" for each in x.lanes))
        return Value(tuple(f"{each} >> {self.source.real.width - (detail or 0)}" for each in x.each(ATOM)), LOOSE)

    def _number(self, type_: Type, value: float | int) -> str:
        if type_.scalar in REAL:
            real = REAL[type_.scalar]
            if isfinite(value):
                return real.literal(value)
            return f"{self.source.word('from_bits')}({real.bits_of(value)})"  # C99 has no literal for it
        if type_.scalar not in loops.FLOAT_OF:
            return f"{value}"
        word = int(value) % (1 << (32 if type_.scalar == "bits32" else 64))
        return f"{word:{'#x' if word > 99 else ''}}u"

    def _apply(self, expr: loops.Apply) -> Value:
        values = [self.value(operand) for operand in expr.operands]
        name, detail, L = expr.operation, expr.detail, expr.type.lanes
        if isinstance(detail, Elementwise):
            return _called(self.source.elementwise(detail), values)
        if name == "less" and expr.operands[0].type.scalar in loops.FLOAT_OF:
            values = [_in_order(value, expr.operands[0].type) for value in values]
        if name in OPERATORS:
            sign, binds, left, right = OPERATORS[name]
            pairs = zip(values[0].each(left), values[1].each(right), strict=True)
            return Value(tuple(f"{x} {sign} {y}" for x, y in pairs), binds)
        if name in OF_ONE:
            return self._of_one(name, expr.type, values[0], detail)
        if name in CALLS:
            return _called(self.source.word(name), values)
        match name:
            case "splat":
                return Value(values[0].lanes * L, values[0].binds)
            case "lane":
                return Value((values[0].lanes[detail or 0],), values[0].binds)
            case "first":
                a, b = values
                return Value(a.lanes[:detail] + b.lanes[detail:], min(a.binds, b.binds))
            case "total":
                return _total(values[0])
            case "select":
                choices = zip(values[0].lanes, values[1].each(SUM), values[2].each(SUM), strict=True)
                return Value(tuple(f"{c} ? {a} : {b}" for c, a, b in choices), LOOSE)
        raise ExportError(f"the operation {name!r} has no meaning in C here")


ENTRIES = ("eval", "jet", "residual")
"""The routines whose status the self-test does not need: their arguments are right."""


def _called(name: str, values: Sequence[Value]) -> Value:
    lanes = zip(*(value.lanes for value in values), strict=True)
    return Value(tuple(f"{name}({', '.join(texts)})" for texts in lanes))


def _in_order(bits: Value, type_: Type) -> Value:
    """Bits, which have no sign in C, so that their order is that of integers with a sign."""
    sign = 1 << (31 if type_.scalar == "bits32" else 63)
    return Value(tuple(f"({x} ^ {sign:#x}u)" for x in bits.each(ATOM)))


def _total(value: Value) -> Value:
    while len(value.lanes) > 1:
        half = len(value.lanes) // 2
        pairs = zip(value.each(SUM)[:half], value.each(PRODUCT)[half:], strict=True)
        value = Value(tuple(f"{a} + {b}" for a, b in pairs), SUM)
    return value


def _indented(lines: Sequence[str]) -> list[str]:
    return [f"    {line}" for line in lines]


def _ascii(text: str) -> str:
    """Mathematics for compilers that read nothing but ASCII: 2ᵏ is 2^k, (-1)ᵏ⁺¹ is (-1)^(k+1)."""
    return "".join(_plain(text)).translate(PLAIN)


def _plain(text: str) -> Iterator[str]:
    run = ""
    for character in f"{text}\0":
        plain = character.translate(SUPERSCRIPTS)
        if plain != character:
            run += plain
            continue
        if run:
            yield f"^({run})" if any(sign in run[1:] for sign in "+-") else f"^{run}"
        run = ""
        yield character if character != "\0" else ""
