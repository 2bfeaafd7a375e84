"""The printed kernel in C99: the third meaning of its text, after those under NumPy and Numba.

A function is read with `ast` and printed as one C function. A value of L lanes is L expressions; a variable of L lanes
is an array of L numbers that only constants index, so that a compiler keeps them in registers. What is written here is
all the Python that is understood; anything else is refused.
"""

from __future__ import annotations

import ast
import inspect
import io
import re
import tokenize
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import count
from textwrap import wrap
from typing import Any, TypeGuard

import numpy as np

from kdpinn_edge.errors import ExportError
from kdpinn_edge.numerics import activations

ATOM, PRODUCT, SUM, LOOSE = 3, 2, 1, 0
OPERATORS = {
    "add": ("+", SUM),
    "sub": ("-", SUM),
    "mul": ("*", PRODUCT),
    "div": ("/", PRODUCT),
    "iadd": ("+", SUM),
    "isub": ("-", SUM),
    "ishl": ("<<", LOOSE),
    "ixor": ("^", LOOSE),
    "less": ("<", LOOSE),
}
CALLS = ("fma", "absolute", "copysign", "canonical", "bits", "from_bits", "ishr")
POINT_NUMBERS = ("n", "p", "q", "count")  # as many as there are points; other integers are small
HALVES = "const uint16_t *"
INTEGERS = ("int32_t", "int64_t")
COMPARISONS = {ast.Lt: "<", ast.LtE: "<=", ast.Gt: ">"}
SUPERSCRIPTS = str.maketrans("⁻⁺¹²ᵏˣⁱᵐⁿ", "-+12kximn")
PLAIN: dict[str, str | int | None] = {"…": "...", "π": "pi", "½": "1/2", "Σ": "sum", "±": "+-", "→": "->"}


@dataclass(frozen=True)
class Real:
    """One precision in C: the types of numbers and of their bits, how literals end, and which of a pair is meant."""

    number: str
    bits: str
    width: int
    nan: str
    suffix: str
    position: int

    def literal(self, value: float) -> str:
        """The number, rounded once, as C99 has to read it: short in decimal, or exact in hexadecimal."""
        exact = float(np.float32(value)) if self.width == 32 else float(value)
        if (exact * 8).is_integer() and abs(exact) < 1e6:
            return f"{exact!r}{self.suffix}"
        digits, exponent = exact.hex().split("p")
        return f"{digits.rstrip('0').rstrip('.')}p{exponent}{self.suffix}"


REAL: Mapping[str, Real] = {
    "float32": Real("float", "uint32_t", 32, "0x7fc00000u", "f", 0),
    "float64": Real("double", "uint64_t", 64, "0x7ff8000000000000u", "", 1),
}


@dataclass(frozen=True)
class Value:
    """A C expression per lane, all of one C type; `binds` is how tightly their operator does."""

    type: str
    lanes: tuple[str, ...]
    binds: int = ATOM

    def each(self, binds: int) -> tuple[str, ...]:
        """The expressions as operands of an operator that takes what binds at least so tightly."""
        return self.lanes if self.binds >= binds else tuple(f"({text})" for text in self.lanes)

    @property
    def text(self) -> str:
        """The only one."""
        (text,) = self.lanes
        return text


@dataclass(frozen=True)
class Named:
    """A constant of the activations: a number, or a pair of numbers or of polynomials for the two precisions."""

    name: str
    value: Any

    def of(self, real: Real) -> Any:
        """What it is in one precision."""
        return self.value[real.position] if isinstance(self.value, tuple) else self.value


Known = Value | Named | float
Scope = dict[str, Value | int]


class Translation:
    """C functions as they are translated, and what they need.

    `functions` are their texts, in an order in which C knows what it calls; `constants` are the named numbers of the
    activations; `words` are the words of the lane vocabulary that have to be C functions. `memory` says which C
    expression, and which type, each constant array of the kernel is.
    """

    def __init__(self, precision: str, memory: Mapping[str, Value]) -> None:
        self.real = REAL[precision]
        self.memory = memory
        self.functions: list[str] = []
        self.constants: dict[str, tuple[str, str]] = {}
        self.words: set[str] = set()
        self._results: dict[str, tuple[str, str]] = {}
        self._activations = {
            node.name: node
            for node in ast.parse(inspect.getsource(activations)).body
            if isinstance(node, ast.FunctionDef)
        }

    def kernel(self, source: str, parameters: Mapping[str, str], c_name: Callable[[str], tuple[str, str]]) -> None:
        """Translate every function of the printed module.

        `parameters` has the C type of each parameter by its name; `c_name` the storage class and the name in C of each
        function.
        """
        comments = {
            token.start[0]: token.string.removeprefix("# ")
            for token in tokenize.generate_tokens(io.StringIO(source).readline)
            if token.type == tokenize.COMMENT
        }
        for node in ast.parse(source).body:
            if isinstance(node, ast.FunctionDef):
                types = {arg.arg: parameters.get(arg.arg, "") for arg in node.args.args}
                if not all(types.values()):
                    raise ExportError(
                        f"the kernel has {node.name}({', '.join(types)}); expected: {', '.join(parameters)}"
                    )
                self._function(node, types, comments, *c_name(node.name))

    def call(self, name: str, arguments: Sequence[Value]) -> tuple[str, str]:
        """What the function `name` is called in C, and the type of its result; an activation is translated first."""
        if name not in self._results and name in self._activations:
            node = self._activations[name]
            types = {arg.arg: value.type for arg, value in zip(node.args.args, arguments, strict=True)}
            self._function(node, types, {}, "static ", f"kdpinn_{name.strip('_')}")
        if name not in self._results:
            raise ExportError(f"the kernel calls {name!r}, which has no meaning in C here")
        return self._results[name]

    def word(self, name: str) -> str:
        """What a word of the lane vocabulary is called in C."""
        self.words.add(name)
        return f"kdpinn_{name}"

    def polynomial(self, word: str, table: str) -> str:
        """What the C function for `word`, horner or horner2, with this table of coefficients is called."""
        name = f"kdpinn_{table.lower()}"
        if name in self._results:
            return name
        fma, number = self.word("fma"), self.real.number
        *rest, p = [self.real.literal(c) for c in vars(activations)[table][self.real.position]]
        if word == "horner":
            about, parameters = "sum c[i] x^i by Horner's rule", f"{number} x"
            steps = [f"p = {fma}(p, x, {c});" for c in reversed(rest)]
        else:
            about, parameters = "sum c[i] x^i for z = x^2, by Horner's rule of second order", f"{number} x, {number} z"
            c = [*rest, p]
            pairs = [f"{fma}({c[i + 1]}, x, {c[i]})" if i + 1 < len(c) else c[i] for i in range(0, len(c), 2)]
            p = pairs.pop()
            steps = [f"p = {fma}(p, z, {pair});" for pair in reversed(pairs)]
        body = [f"{number} p = {p};", *steps, "return p;"]
        self.functions.append(_c_function([f"{about}."], f"static {number} {name}({parameters})", body))
        self._results[name] = name, number
        return name

    def _function(
        self, node: ast.FunctionDef, types: Mapping[str, str], comments: Mapping[int, str], storage: str, name: str
    ) -> None:
        body = _Body(self, node, types, comments)
        self._results[node.name] = name, body.result
        parameters = ", ".join(_declared(type_, parameter) for parameter, type_ in types.items())
        about = inspect.cleandoc(ast.get_docstring(node) or "").splitlines()
        self.functions.append(_c_function(about, f"{storage}{body.result} {name}({parameters or 'void'})", body.lines))


class _Body:
    """The body of one function in C: `lines`, and the type of its `result`."""

    def __init__(
        self, translation: Translation, node: ast.FunctionDef, types: Mapping[str, str], comments: Mapping[int, str]
    ) -> None:
        self._to = translation
        self._real = translation.real
        self._comments = {i: text for i, text in comments.items() if node.lineno < i <= (node.end_lineno or 0)}
        self._changing = {n.target.id for n in ast.walk(node) if isinstance(n, ast.AugAssign) and _is_name(n.target)}
        read = _read(node)
        self.result = "void"
        self.lines = [f"(void){name};" for name in types if name not in read]
        start = 1 if ast.get_docstring(node) else 0
        scope: Scope = {name: Value(type_, (name,)) for name, type_ in types.items()}
        self.lines += self._block(node.body[start:], scope, turns=True)

    def _block(self, statements: Sequence[ast.stmt], outer: Scope, *, turns: bool = False) -> list[str]:
        """Statements that see the variables of `outer`; those that they make are gone afterwards.

        An index with a number stands for the only turn of a loop, and is that number from there on. With `turns` such a
        turn has variables of its own, as that of a loop has.
        """
        scope, lines = dict(outer), []
        waiting = _live(statements, outer)
        while waiting:
            statement = waiting.pop(0)
            lines += [f"/* {self._comments.pop(i)} */" for i in sorted(self._comments) if i < statement.lineno]
            index = self._index(statement)
            if index is None:
                lines += self._statement(statement, scope)
                continue
            name, number = index
            if not turns:
                scope[name] = number
                continue
            covers = self._covers(name, statement, waiting)
            inner = self._block(waiting[:covers], {**scope, name: number})
            lines += ["{", *_indented(inner), "}"] if any(map(_declares, inner)) else inner
            del waiting[:covers]
        return lines

    def _index(self, statement: ast.stmt) -> tuple[str, int] | None:
        """The name and number of an index that stands for the only turn of a loop."""
        match statement:
            case ast.Assign(targets=[ast.Name(id=name)], value=ast.Constant(value=int(number))):
                is_index = not isinstance(number, bool) and name not in self._changing
                return (name, number) if is_index else None
        return None

    def _covers(self, name: str, statement: ast.stmt, following: Sequence[ast.stmt]) -> int:
        """How many of the statements that follow an index belong to its turn: up to the next turn or comment."""
        last = statement
        for i, after in enumerate(following):
            turn = self._index(after)
            loops = isinstance(after, ast.For) and _is_name(after.target) and after.target.id == name
            comment = any(line in self._comments for line in range(last.lineno + 1, after.lineno))
            if (turn and turn[0] == name) or loops or comment:
                return i
            last = after
        return len(following)

    def _statement(self, node: ast.stmt, scope: Scope) -> list[str]:
        match node:
            case ast.Assign(targets=targets, value=value):
                return self._assign([target.id for target in targets if _is_name(target)], value, scope)
            case ast.AugAssign(target=ast.Name(id=name), op=ast.Add(), value=value):
                return [f"{name} += {self._value(value, scope).text};"]
            case ast.Expr(value=ast.Call() as call):
                return self._do(call, scope)
            case ast.Return(value=ast.expr() as value):
                returned = self._value(value, scope)
                self.result = returned.type if self.result in ("void", "int32_t") else self.result
                return [f"return {returned.text};"]
            case ast.While(test=test, body=body):
                return self._braced(f"while ({self._value(test, scope).text})", body, scope)
            case ast.If(test=test, body=body, orelse=[]):
                return self._braced(f"if ({self._value(test, scope).text})", body, scope)
            case ast.If(test=test, body=body, orelse=orelse):
                *lines, _ = self._braced(f"if ({self._value(test, scope).text})", body, scope)
                return [*lines, *self._braced("} else", orelse, scope)]
            case ast.For(target=ast.Name(id=name), iter=ast.Tuple(elts=elements), body=body):
                numbers = ", ".join(self._value(element, scope).text for element in elements)
                lines = self._braced(
                    f"for (int32_t turn = 0; turn < {len(elements)}; turn++)",
                    body,
                    {**scope, name: Value("int32_t", (f"{name}s[turn]",))},
                )
                return [f"static const int32_t {name}s[] = {{{numbers}}};", *lines]
            case ast.For(
                target=ast.Name(id=name), iter=ast.Call(func=ast.Name(id="range" | "range32"), args=args), body=body
            ):
                return self._loop(name, [self._value(arg, scope) for arg in args], body, scope)
        raise _refused(node)

    def _braced(self, head: str, body: Sequence[ast.stmt], scope: Scope) -> list[str]:
        return [f"{head} {{", *_indented(self._block(body, scope)), "}"]

    def _loop(self, name: str, bounds: Sequence[Value], body: Sequence[ast.stmt], scope: Scope) -> list[str]:
        texts = [bound.text for bound in bounds]
        start, stop, step = {1: ["0", *texts, "1"], 2: [*texts, "1"], 3: texts}[len(texts)]
        index = Value(_integer(name), (name,))
        advance = f"{name}++" if step == "1" else f"{name} += {step}"
        head = f"for ({index.type} {name} = {start}; {name} < {stop}; {advance})"
        return self._braced(head, body, {**scope, name: index})

    def _assign(self, names: Sequence[str], node: ast.expr, scope: Scope) -> list[str]:
        match node:
            case ast.Call(func=ast.Name(id="scratch"), args=[_, ast.Constant(value=int(size))]):
                (name,) = names
                scope[name] = Value(f"{self._real.number} *", (name,))
                return [f"{self._real.number} {name}[{size}];"]
        value = self._value(node, scope)
        L = len(value.lanes)
        new = [name for name in names if name not in scope]
        variables = []
        for name in names:
            type_ = _integer(name) if value.type in INTEGERS else value.type
            variable = Value(type_, (name,) if L == 1 else tuple(f"{name}[{lane}]" for lane in range(L)))
            if scope.setdefault(name, variable) != variable:
                raise ExportError(f"{name} = {ast.unparse(node)} makes another thing of {name}, which C cannot do")
            variables.append(variable)
        type_ = variables[0].type
        if L == 1 and new == list(names):
            return [f"{_declared(type_, ', '.join(f'{name} = {value.text}' for name in names))};"]
        declared = [f"{_declared(type_, ', '.join(f'{name}[{L}]' for name in new))};"] if new else []
        return declared + [
            f"{' = '.join(variable.lanes[lane] for variable in variables)} = {text};"
            for lane, text in enumerate(value.lanes)
        ]

    def _do(self, call: ast.Call, scope: Scope) -> list[str]:
        """A call that is not made for its value."""
        match call:
            case ast.Call(func=ast.Name(id="store" | "put"), args=[memory, index, value]):
                places = self._places(memory, index, scope)
                texts = self._value(value, scope).lanes
                return [f"{next(places)} = {text};" for text in texts]
        called = self._value(call, scope)
        return [f"{called.text};" if called.type == "void" else f"(void){called.text};"]

    def _places(self, memory: ast.expr, index: ast.expr, scope: Scope) -> Iterator[str]:
        """The elements of some memory, in order from an index on."""
        base, terms = self._value(memory, scope).text, self._linear(index, scope)
        for lane in count():
            yield f"{base}[{_sum({**terms, '': terms.get('', 0) + lane})}]"

    def _value(self, node: ast.expr, scope: Scope) -> Value:
        """What an expression is in C; a number is one of the type that it has in Python."""
        match self._known(node, scope):
            case Value() as value:
                return value
            case bool(truth):
                return Value("int", (f"{int(truth)}",))
            case int(number):
                return Value("int32_t", (f"{number}",))
            case known:
                return self._as(self._real.number, known)

    def _known(self, node: ast.expr, scope: Scope) -> Known:
        """What an expression is in C, or the number in Python whose type is that of what it goes with."""
        match node:
            case ast.Constant(value=bool() | int() | float() as number):
                return number
            case ast.UnaryOp(op=ast.USub(), operand=ast.Constant(value=int() | float() as number)):
                return -number
            case ast.Name(id=name):
                return self._named(name, scope)
            case ast.BinOp():
                return self._integer(node, scope)
            case ast.Compare() | ast.BoolOp() | ast.UnaryOp(op=ast.Not()):
                return self._truth(node, scope)
            case ast.Call(func=ast.Name(id=name), args=args):
                return self._call(name, args, scope)
        raise _refused(node)

    def _named(self, name: str, scope: Scope) -> Known:
        if name in scope:
            return scope[name]
        if name in self._to.memory:
            return self._to.memory[name]
        if name.isupper() and hasattr(activations, name):
            return Named(name, getattr(activations, name))
        raise ExportError(f"the kernel says {name!r} where it has no value, so that it cannot be said in C")

    def _integer(self, node: ast.expr, scope: Scope) -> Value:
        terms = self._linear(node, scope)
        long = any(name in POINT_NUMBERS for name in terms)
        return Value("int64_t" if long else "int32_t", (_sum(terms),), SUM)

    def _linear(self, node: ast.expr, scope: Scope) -> dict[str, int]:
        """An integer as a factor for each variable; the term without one belongs to ""."""
        match node:
            case ast.Constant(value=int(number)):
                return {"": number}
            case ast.Name(id=name):
                known = self._named(name, scope)
                if not isinstance(known, Named | float):
                    return {"": known} if isinstance(known, int) else {known.text: 1}
            case ast.BinOp(left=left, op=ast.Add() | ast.Sub() as op, right=right):
                a, b = self._linear(left, scope), self._linear(right, scope)
                sign = 1 if isinstance(op, ast.Add) else -1
                return {name: a.get(name, 0) + sign * b.get(name, 0) for name in {**a, **b}}
            case ast.BinOp(left=left, op=ast.Mult(), right=right):
                a, b = self._linear(left, scope), self._linear(right, scope)
                factor, terms = (a, b) if set(a) == {""} else (b, a)
                if set(factor) == {""}:
                    return {name: factor[""] * number for name, number in terms.items()}
        raise _refused(node)

    def _truth(self, node: ast.expr, scope: Scope) -> Value:
        match node:
            case ast.Compare(left=left, ops=[op], comparators=[right]) if type(op) in COMPARISONS:
                a, b = self._value(left, scope), self._value(right, scope)
                return Value("int", (f"{a.each(SUM)[0]} {COMPARISONS[type(op)]} {b.each(SUM)[0]}",), LOOSE)
            case ast.BoolOp(op=op, values=values):
                texts = [
                    f"({text})" if isinstance(value, ast.BoolOp) else text
                    for value, text in ((value, self._value(value, scope).text) for value in values)
                ]
                return Value("int", ((" && " if isinstance(op, ast.And) else " || ").join(texts),), LOOSE)
            case ast.UnaryOp(operand=operand):
                return Value("int", (f"!{self._value(operand, scope).each(ATOM)[0]}",))
        raise _refused(node)

    def _call(self, name: str, args: Sequence[ast.expr], scope: Scope) -> Value:
        """A word of the lane vocabulary, or another function."""
        real = self._real
        match name, args:
            case "load", [memory, index, ast.Constant(value=int(L))]:
                return self._loaded(memory, index, L, scope)
            case "item", [memory, index]:
                return self._loaded(memory, index, 1, scope)
            case "lane", [value, ast.Constant(value=int(i))]:
                value_ = self._value(value, scope)
                return replace(value_, lanes=(value_.lanes[i],))
            case "splat", [value, ast.Constant(value=int(L))]:
                return replace(self._value(value, scope), lanes=self._value(value, scope).lanes * L)
            case "zeros", [_, ast.Constant(value=int(L))]:
                return Value(real.number, (real.literal(0.0),) * L)
            case "first", [ast.Constant(value=int(m)), *_]:
                a, b = self._alike(args[1:], scope)
                return Value(a.type, a.lanes[:m] + b.lanes[m:], min(a.binds, b.binds))
            case "total", [value]:
                return _total(self._value(value, scope))
            case "tail", [memory, index]:
                start, terms = self._value(memory, scope), self._linear(index, scope)
                return Value(start.type, (f"{start.text} + {_sum(terms)}",), SUM)
            case "is_null", [memory]:
                return Value("int", (f"{self._value(memory, scope).text} == NULL",), LOOSE)
            case "same_bits", [a, i, b, j]:
                bits = self._to.word("bits")
                texts = [f"{bits}({next(self._places(*place, scope))})" for place in ((a, i), (b, j))]
                return Value("int", (" == ".join(texts),), LOOSE)
            case "min", [a, b]:
                texts = [self._value(value, scope).text for value in args]
                return Value("int32_t", (f"{self._to.word('min')}({', '.join(texts)})",))
            case "select", [condition, *_]:
                a, b = self._alike(args[1:], scope)
                lanes = zip(self._value(condition, scope).lanes, a.each(SUM), b.each(SUM), strict=True)
                return Value(a.type, tuple(f"{c} ? {x} : {y}" for c, x, y in lanes), LOOSE)
            case "horner" | "horner2", [*_, ast.Name(id=table)]:
                values = self._alike(args[:-1], scope)
                return self._called(self._to.polynomial(name, table), real.number, values)
        if name in OPERATORS:
            return self._operator(name, *self._alike(args, scope))
        if name in CALLS:
            values = self._alike(args, scope)
            result = {"bits": real.bits, "from_bits": real.number}.get(name, values[0].type)
            return self._called(self._to.word(name), result, values)
        values = [self._value(value, scope) for value in args]
        return self._called(*self._to.call(name, values), values)

    def _loaded(self, memory: ast.expr, index: ast.expr, L: int, scope: Scope) -> Value:
        places = self._places(memory, index, scope)
        lanes = tuple(next(places) for _ in range(L))
        if self._value(memory, scope).type == HALVES:
            widen = self._to.word("half")
            lanes = tuple(f"{widen}({lane})" for lane in lanes)
        return Value(self._real.number, lanes)

    def _operator(self, word: str, a: Value, b: Value) -> Value:
        symbol, binds = OPERATORS[word]
        least = {"<": SUM, "<<": ATOM, "^": ATOM}.get(symbol, binds)
        right = min(least + 1, ATOM) if least == binds else least
        lanes = zip(a.each(least), b.each(right), strict=True)
        return Value("int" if word == "less" else a.type, tuple(f"{x} {symbol} {y}" for x, y in lanes), binds)

    def _called(self, name: str, result: str, values: Sequence[Value]) -> Value:
        if not values:
            return Value(result, (f"{name}()",))
        lanes = zip(*(value.lanes for value in values), strict=True)
        return Value(result, tuple(f"{name}({', '.join(texts)})" for texts in lanes))

    def _alike(self, nodes: Sequence[ast.expr], scope: Scope) -> list[Value]:
        """Operands of one type and of as many lanes; a number is in every lane."""
        operands = [self._known(node, scope) for node in nodes]
        values = [value for value in operands if isinstance(value, Value)]
        L = max(len(value.lanes) for value in values)
        alike = [v if isinstance(v, Value) else self._as(values[0].type, v) for v in operands]
        return [value if len(value.lanes) == L else replace(value, lanes=value.lanes * L) for value in alike]

    def _as(self, type_: str, known: Named | float) -> Value:
        """A number of Python as one of this C type; a named one by its name."""
        number = known.of(self._real) if isinstance(known, Named) else known
        text = self._real.literal(number) if type_ == self._real.number else f"{number:{'#x' if number > 99 else ''}}u"
        if isinstance(known, Named):
            self._to.constants[known.name] = type_, text
            text = known.name
        return Value(type_, (text,))


def _read(node: ast.AST) -> set[str]:
    """The names that are read somewhere in `node`."""
    return {n.id for n in ast.walk(node) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Load)}


def _live(statements: Sequence[ast.stmt], outer: Scope) -> list[ast.stmt]:
    """Without those that make a variable which nothing reads: a compiler would warn."""
    live: list[ast.stmt] = []
    read = set(outer)
    for statement in reversed(statements):
        match statement:
            case ast.Assign(targets=targets, value=ast.Call() | ast.Name()):
                if not any(_is_name(target) and target.id in read for target in targets):
                    continue
        read |= _read(statement)
        live.insert(0, statement)
    return live


def _total(value: Value) -> Value:
    while len(value.lanes) > 1:
        half = len(value.lanes) // 2
        pairs = zip(value.each(SUM)[:half], value.each(PRODUCT)[half:], strict=True)
        value = Value(value.type, tuple(f"{a} + {b}" for a, b in pairs), SUM)
    return value


def _sum(terms: Mapping[str, int]) -> str:
    """The text of a sum, the number first: 4 + 2 * j."""
    texts = [f"{terms['']}"] if terms.get("") else []
    for name, factor in terms.items():
        if name and factor:
            product = name if abs(factor) == 1 else f"{abs(factor)} * {name}"
            sign = "-" if factor < 0 else "+"
            texts += [sign, product] if texts else [product if factor > 0 else f"-{product}"]
    return " ".join(texts) or "0"


def _integer(name: str) -> str:
    return "int64_t" if name in POINT_NUMBERS else "int32_t"


def _declared(type_: str, name: str) -> str:
    return f"{type_}{'' if type_.endswith('*') else ' '}{name}"


def _declares(line: str) -> bool:
    return re.match(r"(static |const |float |double |u?int\d*_t )", line) is not None


def _indented(lines: Sequence[str]) -> list[str]:
    return [f"    {line}" for line in lines]


def _is_name(node: ast.expr) -> TypeGuard[ast.Name]:
    return isinstance(node, ast.Name)


def _refused(node: ast.AST) -> ExportError:
    return ExportError(f"the kernel says {ast.unparse(node)!r}, which has no meaning in C here")


def _ascii(text: str) -> str:
    """Mathematics for compilers that read nothing but ASCII: 2ᵏ is 2^k, (-1)ᵏ⁺¹ is (-1)^(k+1)."""

    def power(match: re.Match[str]) -> str:
        exponent = match[0].translate(SUPERSCRIPTS)
        return f"^({exponent})" if re.search(r".[-+]", exponent) else f"^{exponent}"

    text = re.sub("[⁻⁺¹²ᵏˣⁱᵐⁿ]+", power, text)
    return text.translate(str.maketrans(PLAIN))


def _c_function(about: Sequence[str], head: str, body: Sequence[str]) -> str:
    paragraphs = [line for text in about for line in (wrap(_ascii(text), 114) or [""])]
    comment = [f"/* {paragraphs[0]}", *(f" * {line}".rstrip() for line in paragraphs[1:])] if paragraphs else []
    if comment:
        comment[-1:] = [f"{comment[-1]} */"] if len(comment) == 1 else [comment[-1], " */"]
    return "\n".join([*comment, head, "{", *_indented(body), "}"])
