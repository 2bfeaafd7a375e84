"""The loops of a kernel, carried out one by one under NumPy: what every target computes, on any machine."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kdpinn_edge.export.lowering.loops import (
    Apply,
    Block,
    Body,
    Buffer,
    Call,
    Comment,
    Count,
    Elementwise,
    Expr,
    For,
    Get,
    If,
    Integer,
    IsNull,
    Let,
    Linear,
    Load,
    Lookup,
    Number,
    Return,
    Routine,
    Scalar,
    Set,
    Store,
    Symbol,
    Variable,
)
from kdpinn_edge.numerics import lanes

DTYPES: Mapping[Scalar, Any] = {
    "float16": np.float16,
    "float32": np.float32,
    "float64": np.float64,
    "bits16": np.int16,
    "bits32": np.int32,
    "bits64": np.int64,
    "int32": np.int64,
    "int64": np.int64,
    "bool": np.bool_,
}
Memory = NDArray[Any] | None


class ReturnedError(Exception):
    """A routine has come to its end."""

    def __init__(self, value: int) -> None:
        self.value = value


class Machine:
    """Carries out routines; `constants` are the arrays that they read."""

    def __init__(self, routines: Sequence[Routine], constants: Mapping[str, NDArray[Any]]) -> None:
        self.routines = {routine.name: routine for routine in routines}
        self.constants = constants

    def call(self, name: str, *arguments: Memory | int) -> int:
        """What a routine returns; 0 where it returns nothing."""
        routine = self.routines[name]
        frame = _Frame(self)
        for parameter, argument in zip(routine.parameters, arguments, strict=True):
            if isinstance(parameter, Symbol):
                assert isinstance(argument, int)
                frame.symbols[parameter] = argument
            else:
                frame.buffers[parameter.name] = argument  # type: ignore[assignment]
        try:
            frame.run(routine.body)
        except ReturnedError as returned:
            return returned.value
        return 0


class _Frame:
    def __init__(self, machine: Machine) -> None:
        self.machine = machine
        self.buffers: dict[str, Memory] = dict(machine.constants)
        self.symbols: dict[Symbol, int] = {}
        self.variables: dict[Variable, Any] = {}

    def run(self, body: Body) -> None:
        for statement in body:
            match statement:
                case Let(variable, value) | Set(variable, value):
                    self.variables[variable] = self.value(value)
                case Store(buffer, at, value):
                    numbers, start = np.atleast_1d(self.value(value)), self.index(at)
                    memory = self.memory(buffer)
                    assert start >= 0
                    assert start + len(numbers) <= len(memory), buffer.name
                    memory[start : start + len(numbers)] = numbers
                case For(counter, start, stop, step, inner):
                    for i in range(self.index(start), self.index(stop), step):
                        self.symbols[counter] = i
                        self.run(inner)
                case Block(inner):
                    self.run(inner)
                case If(condition, then, otherwise):
                    self.run(then if self.value(condition) else otherwise)
                case Integer(symbol, value):
                    self.symbols[symbol] = int(self.value(value).item())
                case Call(routine, pointers, symbols):
                    views = [self.memory(buffer)[self.index(at) :] for buffer, at in pointers]
                    self.machine.call(routine, *views, *map(self.index, symbols))
                case Return(value):
                    raise ReturnedError(int(self.value(value).item()))
                case Comment():
                    pass

    def memory(self, buffer: Buffer) -> NDArray[Any]:
        if buffer.name not in self.buffers:
            assert buffer.scratch
            dtype = DTYPES[buffer.scalar]
            empty = np.nan if np.issubdtype(dtype, np.floating) else -1
            self.buffers[buffer.name] = np.full(buffer.size.base, empty, dtype)
        found = self.buffers[buffer.name]
        assert found is not None
        return found

    def index(self, form: Linear) -> int:
        return form.base + sum(factor * self.symbols[symbol] for factor, symbol in form.terms)

    def value(self, expr: Expr) -> Any:
        match expr:
            case Number(type_, value):
                return np.full(type_.lanes, value, DTYPES[type_.scalar])
            case Get(variable):
                return self.variables[variable]
            case Load(type_, buffer, at):
                start = self.index(at)
                numbers = self.memory(buffer)[start : start + type_.lanes]
                assert start >= 0
                assert len(numbers) == type_.lanes, buffer.name
                return numbers.astype(DTYPES[type_.scalar])
            case Lookup(type_, buffer, at, stride, index):
                return self.memory(buffer)[at + stride * self.value(index)].astype(DTYPES[type_.scalar])
            case Count(_, form):
                return np.array([self.index(form)])
            case IsNull(buffer):
                return np.array([self.buffers[buffer.name] is None])
            case Apply(type_, name, operands, detail):
                return self.applied(name, [self.value(each) for each in operands], type_.lanes, detail)

    def applied(self, name: str, values: list[Any], L: int, detail: int | Elementwise | None) -> Any:
        if isinstance(detail, Elementwise):
            inner = _Frame(self.machine)
            inner.variables[detail.parameter] = values[0]
            inner.run(detail.lets)
            return inner.value(detail.result)
        match name, values:
            case "splat", [x]:
                return np.repeat(x, L)
            case "opaque", [x]:
                return x
            case "lane", [x]:
                return x[detail : (detail or 0) + 1]
            case "first", [a, b]:
                return np.where(np.arange(L) < detail, a, b)
            case "sign", [x]:
                return np.where(x < 0, -1, 0).astype(x.dtype)
            case "top", [x]:
                return (x.view(np.uint32) >> (32 - (detail or 0))).view(np.int32)
            case "total", [x]:
                while x.size > 1:
                    x = x[: x.size // 2] + x[x.size // 2 :]
                return x
        return OF_COUNTS[name](*values) if name in OF_COUNTS else getattr(lanes, name)(*values)


OF_COUNTS: Mapping[str, Callable[..., Any]] = {
    "less": np.less,
    "at_most": np.less_equal,
    "equal": np.equal,
    "min": np.minimum,
    "and": np.logical_and,
    "or": np.logical_or,
    "not": np.logical_not,
    "iadd": np.add,
    "iand": np.bitwise_and,
    "ior": np.bitwise_or,
    "imul": np.multiply,
    "ilshr": lambda i, n: (i.view(np.uint32) >> n.view(np.uint32)).view(np.int32),
    "mulh": lambda a, b: ((a.astype(np.int64) * b) >> 32).astype(np.int32),
    "mule": lambda a, b: (a[::2].astype(np.int64) * b[::2]).view(np.int32),
    "mulo": lambda a, b: (a[::2].astype(np.int64) * b[1::2]).view(np.int32),
    "uppers": lambda even, odd: np.stack([even[1::2], odd[1::2]], axis=1).ravel(),
    "word": lambda x: x.astype(np.int32),
    "integer": lambda x: x.astype(np.int64),
}
