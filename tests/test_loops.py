"""Typed loops: what is malformed is refused, indices are linear forms, and what a thing is called changes nothing."""

from __future__ import annotations

import ctypes
import re
from collections.abc import Callable, Mapping
from dataclasses import fields, is_dataclass, replace
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import Any

import llvmlite.binding as llvm
import numpy as np
import pytest
from compiled import Functions, kernel, same_bits
from conftest import Need
from hypothesis import example, given, settings
from hypothesis import strategies as st
from llvmlite import ir
from loops_numpy import Machine
from numpy.typing import NDArray
from sampled import some
from strategies import mlp, wild
from test_c_source import COMPILERS, CLibrary, interface_of, write

from kdpinn_edge.derive.derivatives import derivatives
from kdpinn_edge.errors import ExportError
from kdpinn_edge.export.lowering.emit_c import Source
from kdpinn_edge.export.lowering.emit_llvm import Emitter, constant_name
from kdpinn_edge.export.lowering.emit_llvm import Machine as Processor
from kdpinn_edge.export.lowering.fixed_constants import FixedConstants
from kdpinn_edge.export.lowering.kernel import Kernel
from kdpinn_edge.export.lowering.loops import (
    BOOL,
    OPERATIONS,
    STATUS,
    Apply,
    Block,
    Buffer,
    Count,
    Expr,
    For,
    Get,
    If,
    Let,
    Linear,
    Load,
    Number,
    Return,
    Routine,
    Set,
    Statement,
    Store,
    Symbol,
    Type,
    Variable,
    apply,
    linear,
    place,
    splat,
    verify,
)
from kdpinn_edge.export.machine_code import object_code
from kdpinn_edge.export.targets.table import TARGETS
from kdpinn_edge.numerics.fixed_point import words
from kdpinn_edge.numerics.fixed_point.quantise import quantise
from kdpinn_edge.numerics.fixed_point.tables import TANH
from kdpinn_edge.numerics.lanes import fma, profile
from kdpinn_edge.numerics.reference import NumpyProgram
from kdpinn_edge.program.ir import Affine, Map, Program, Var

SINGLE, FOUR = Type("float32"), Type("float32", 4)
WEIGHTS = Buffer("W", "float32", Linear(10), constant=True)
HALVES = Buffer("H", "float16", Linear(10), constant=True)
MEMORY = Buffer("s", "float32", Linear(10), scratch=True)
ONE, DOUBLE = Number(SINGLE, 1.0), Number(Type("float64"), 1.0)
A, CHANGING = Variable("a", SINGLE), Variable("b", SINGLE, changes=True)
K, M, N = Symbol("k", 32), Symbol("m", 32, least=1, most=4), Symbol("n", 64)
POINTS = Buffer("x", "float32", linear(N) * 2, constant=True)


def loop(counter: Symbol, start: Linear | int, stop: Linear | int, step: int, *body: Statement) -> For:
    return For(counter, linear(start), linear(stop), step, body)


def load(buffer: Buffer, at: Linear | Symbol | int, type_: Type = SINGLE) -> Let:
    return Let(Variable("v", type_), Load(type_, buffer, linear(at)))


WELL_FORMED: dict[str, tuple[Statement, ...]] = {
    "a load of whole vectors": (loop(K, 0, 6, 4, load(WEIGHTS, K), load(WEIGHTS, linear(K) + 2, FOUR)),),
    "halves, widened": (load(HALVES, 9),),
    "a store": (Store(MEMORY, Linear(6), splat(ONE, 4)),),
    "a variable that changes": (Let(CHANGING, ONE), loop(K, 0, 9, 2, Set(CHANGING, apply("add", Get(CHANGING), ONE)))),
    "a backward index": (loop(K, 0, 10, 1, load(WEIGHTS, Linear(9) - linear(K))),),
    "points of a caller": (loop(K, 0, linear(N), 1, load(POINTS, place(1, (2, K)))),),
    "a parameter with bounds": (loop(K, 0, linear(M), 1, load(WEIGHTS, place(1, (2, K), (1, M)) - 2)),),
    "nested loops": (
        loop(K, 0, 3, 1, loop(j := Symbol("j", 32), linear(K), linear(K) + 4, 1, load(WEIGHTS, linear(K) + linear(j)))),
    ),
    "a choice": (
        If(apply("less", Count(STATUS, linear(M)), Number(STATUS, 2)), (Let(A, ONE), Store(MEMORY, Linear(0), Get(A)))),
    ),
    "a block": (Let(A, ONE), Block((Store(MEMORY, Linear(0), Get(A)),)), Return(Number(STATUS, 0))),
}


@pytest.mark.parametrize("body", WELL_FORMED.values(), ids=WELL_FORMED)
def test_what_is_well_formed_passes(body: tuple[Statement, ...]) -> None:
    assert verify(body, (M, N)) is body


FAULTS: dict[str, tuple[Statement, str]] = {
    # Types
    "a variable of another type": (Let(A, DOUBLE), r"a = … is float64; expected: float32"),
    "a variable of other lanes": (Let(A, splat(ONE, 4)), r"a = … is float32x4; expected: float32"),
    "a load of another type": (load(WEIGHTS, 0, Type("float64")), "W holds float32, and float64 is read from it"),
    "halves that are not widened": (load(HALVES, 0, Type("float16")), "H holds float16, and float16 is read from it"),
    "a store of another type": (Store(MEMORY, Linear(0), DOUBLE), "s holds float32, and float64 is written to it"),
    "a result of another type": (
        Let(A, Apply(SINGLE, "add", (DOUBLE, DOUBLE))),
        "add is float64; expected: float32",
    ),
    "a splat of another type": (
        Let(Variable("v", FOUR), Apply(FOUR, "splat", (DOUBLE,))),
        "splat is float64x4; expected: float32x4",
    ),
    "operands of two types": (Let(A, Apply(SINGLE, "add", (ONE, DOUBLE))), r"add does not take \(float32, float64\)"),
    "an operand too few": (Let(A, Apply(SINGLE, "fma", (ONE, ONE))), r"fma does not take \(float32, float32\)"),
    "a condition that is a number": (If(ONE, ()), "a condition is float32; expected: bool"),
    # Operations
    "an unknown operation": (
        Let(A, Apply(SINGLE, "cbrt", (ONE,))),
        "the operation 'cbrt' is unknown; expected one of add, sub, mul",
    ),
    "an unknown one inside": (
        Return(Apply(SINGLE, "add", (ONE, Apply(SINGLE, "cbrt", (ONE,))))),
        "the operation 'cbrt' is unknown",
    ),
    # Accesses
    "a load behind the end": (load(WEIGHTS, 10), r"W\[10\] to 1 lanes leaves its 10 numbers"),
    "a vector over the end": (load(WEIGHTS, 7, FOUR), r"W\[7\] to 4 lanes leaves its 10 numbers"),
    "a load before the beginning": (load(WEIGHTS, -1), r"W\[-1\] to 1 lanes leaves"),
    "a store behind the end": (Store(MEMORY, Linear(9), splat(ONE, 4)), r"s\[9\] to 4 lanes leaves"),
    "the last turn": (loop(K, 0, 8, 4, load(WEIGHTS, linear(K) + 3, FOUR)), r"W\[3 \+ k\] to 4 lanes leaves"),
    "the first turn": (loop(K, 0, 8, 1, load(WEIGHTS, linear(K) - 1)), r"W\[-1 \+ k\] to 1 lanes leaves"),
    "the first turn of a backward index": (
        loop(K, 0, 10, 1, load(WEIGHTS, Linear(10) - linear(K))),
        r"W\[10 \+ -1 \* k\] to 1 lanes leaves",
    ),
    "more points than there are": (
        loop(K, 0, linear(N) + 1, 1, load(POINTS, linear(K) * 2)),
        r"x\[2 \* k\] to 1 lanes leaves its 2 \* n numbers",
    ),
    "more numbers than a point has": (
        loop(K, 0, linear(N), 1, load(POINTS, place(2, (2, K)))),
        r"x\[2 \+ 2 \* k\] to 1 lanes leaves",
    ),
    "the greatest parameter": (load(WEIGHTS, linear(M) * 3), r"W\[3 \* m\] to 1 lanes leaves"),
    "the least parameter": (load(WEIGHTS, linear(M) - 2), r"W\[-2 \+ m\] to 1 lanes leaves"),
    "a parameter without a greatest": (load(WEIGHTS, N), r"W\[n\] to 1 lanes leaves"),
    "inside a choice": (
        If(Number(BOOL, 1), (), (load(WEIGHTS, 10),)),
        r"W\[10\] to 1 lanes leaves",
    ),
    "inside an operand": (
        Return(apply("add", ONE, Load(SINGLE, WEIGHTS, Linear(10)))),
        r"W\[10\] to 1 lanes leaves",
    ),
    # Constants
    "a write to a constant": (Store(WEIGHTS, Linear(2), ONE), "W is constant and is written at 2"),
    "a write to a constant in a loop": (loop(K, 0, 3, 1, Store(WEIGHTS, linear(K), ONE)), "W is constant .* at k"),
    # Variables
    "a variable that is not made": (Return(Get(A)), "a is read before it is made"),
    "a variable in its own value": (Let(A, apply("add", Get(A), ONE)), "a is read before it is made"),
    "a set variable that is not made": (Set(CHANGING, ONE), "b is set, but it is not a variable that changes"),
    "a variable that does not change": (Block((Let(A, ONE), Set(A, ONE))), "a is set, but it is not a variable that"),
    "a variable of another block": (
        Block((Block((Let(A, ONE),)), Store(MEMORY, Linear(0), Get(A)))),
        "a is read before it is made",
    ),
    "a variable of another loop": (
        Block((loop(K, 0, 3, 1, Let(A, ONE)), Store(MEMORY, Linear(0), Get(A)))),
        "a is read before it is made",
    ),
    "a variable of the other choice": (
        If(Number(BOOL, 1), (Let(A, ONE),), (Store(MEMORY, Linear(0), Get(A)),)),
        "a is read before it is made",
    ),
}


@pytest.mark.parametrize(("statement", "message"), FAULTS.values(), ids=FAULTS)
def test_what_is_malformed_is_refused(statement: Statement, message: str) -> None:
    with pytest.raises(ExportError, match=message):
        verify((statement,), (M, N))


def test_every_fault_is_named_once() -> None:
    behind = load(WEIGHTS, 10)
    with pytest.raises(ExportError, match="malformed: ") as error:
        verify((behind, behind, Store(WEIGHTS, Linear(0), DOUBLE)))
    assert [line.strip() for line in str(error.value).splitlines()[1:]] == [
        "- W[10] to 1 lanes leaves its 10 numbers",
        "- W is constant and is written at 0",
        "- W holds float32, and float64 is written to it",
    ]


def test_an_operation_is_not_made_of_what_does_not_fit() -> None:
    with pytest.raises(ExportError, match="the operation 'cbrt' is unknown"):
        apply("cbrt", ONE)
    with pytest.raises(ExportError, match=r"select does not take \(float32, float32, float32\)"):
        apply("select", ONE, ONE, ONE)
    with pytest.raises(ExportError, match=r"total does not take \(float32x3\)"):
        apply("total", splat(ONE, 3))
    with pytest.raises(ExportError, match=r"splat does not take \(float32x4\)"):
        apply("splat", splat(ONE, 4))


# Linear forms


SYMBOLS = (K, M, N)
FORMS = st.builds(
    lambda base, factors: place(base, *zip(factors, SYMBOLS, strict=True)),
    st.integers(-99, 99),
    st.tuples(*[st.integers(-3, 3)] * 3),
)


def at(form: Linear, values: tuple[int, ...]) -> int:
    return form.base + sum(factor * values[SYMBOLS.index(symbol)] for factor, symbol in form.terms)


@given(FORMS, FORMS, st.integers(-5, 5), st.tuples(*[st.integers(-9, 9)] * 3))
def test_linear_forms_are_what_they_say(a: Linear, b: Linear, k: int, values: tuple[int, ...]) -> None:
    x, y = at(a, values), at(b, values)
    for found, expected in ((a + b, x + y), (a - b, x - y), (a + k, x + k), (a - k, x - k), (a * k, x * k)):
        assert at(found, values) == expected
        assert all(factor for factor, _ in found.terms)
        assert len({symbol for _, symbol in found.terms}) == len(found.terms)
    assert at(place(k, (2, K), (3, 4), (-1, K)), values) == k + values[0] + 12
    assert (a - a) == Linear(0)


def test_a_linear_form_is_as_wide_as_its_widest_symbol() -> None:
    assert [linear(each).bits for each in (7, K, N)] == [32, 32, 64]
    assert (linear(K) + linear(N)).bits == 64
    assert (linear(K) + linear(N) - linear(N)).bits == 32


def test_a_linear_form_in_words() -> None:
    forms = (Linear(0), linear(K), place(4, (2, K)), linear(N) - linear(K))
    assert [*map(str, forms)] == ["0", "k", "4 + 2 * k", "n + -1 * k"]


def test_symbols_of_one_name_are_two() -> None:
    other = Symbol("k", 32)
    assert len((linear(K) + linear(other)).terms) == 2
    assert (linear(K) - linear(other)) != Linear(0)


# Operations


PROCESSOR = llvm.get_host_cpu_features()


def compiled(
    value: Expr, size: int, arrays: Mapping[str, NDArray[Any]] = MappingProxyType({})
) -> Callable[[NDArray[Any]], tuple[NDArray[Any], NDArray[Any]]]:
    """A value of float32, calculated from so many numbers in memory and those in `arrays`: by LLVM, and under NumPy."""
    buffer = Buffer("s", "float32", Linear(size))
    body = verify((Store(buffer, Linear(0), value), Return(Number(STATUS, 0))))
    routine = Routine("f", "", (buffer,), body, STATUS)

    module = ir.Module("loops")
    pointer = ir.FloatType().as_pointer()
    builder = ir.IRBuilder(ir.Function(module, ir.FunctionType(ir.IntType(32), [pointer]), "f").append_basic_block())
    emitter = Emitter(
        builder,
        Processor(
            64,
            in_order=False,
            fuses=True,
            selects=True,
            widens=True,
            multiplies=True,
            in_pairs=True,
            estimates=PROCESSOR.get("avx512f", False),
            touches_frames=False,
        ),
    )
    emitter.bind(buffer, builder.function.args[0])
    emitter.emit(body)
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    machine = llvm.Target.from_default_triple().create_target_machine(features=PROCESSOR.flatten())
    linked = llvm.parse_assembly(str(module))
    for name, array in arrays.items():
        numbers = ", ".join(f"i32 {number}" for number in array.tolist())
        text = f"@{constant_name(name)} = constant [{array.size} x i32] [{numbers}]"
        linked.link_in(llvm.parse_assembly(text))
    engine = llvm.create_mcjit_compiler(linked, machine)
    engine.finalize_object()

    def evaluated(memory: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
        by_llvm, by_numpy = memory.copy(), memory.copy()
        function = ctypes.CFUNCTYPE(ctypes.c_int32, ctypes.c_void_p)(engine.get_function_address("f"))
        assert function(by_llvm.ctypes.data) == 0
        with np.errstate(all="ignore"):
            assert Machine([routine], arrays).call("f", by_numpy) == 0
        return by_llvm, by_numpy

    return evaluated


@cache
def total(n: int) -> Callable[[NDArray[Any]], tuple[NDArray[Any], NDArray[Any]]]:
    """The total of the first n of 8 numbers."""
    return compiled(apply("total", Load(Type("float32", n), Buffer("s", "float32", Linear(8)), Linear(0))), 8)


@given(st.lists(st.floats(width=32), min_size=8, max_size=8), st.integers(0, 3))
@example([np.nan] * 8, 2)
@example([1.0, 2.0**-24, 2.0**-24, 2.0**-24, -1.0, 2.0**-24, 1e30, -1e30], 3)
@settings(max_examples=30)
def test_total_adds_by_halving(values: list[float], log2: int) -> None:
    numbers = np.array(values, np.float32)
    parts = numbers[: 2**log2]
    with np.errstate(all="ignore"):
        while len(parts) > 1:
            parts = np.array([parts[i] + parts[i + len(parts) // 2] for i in range(len(parts) // 2)])
    for found in total(2**log2)(numbers):
        np.testing.assert_array_equal(found[0], parts[0])


@pytest.mark.parametrize("lanes", [1, 4, 8, 16])
def test_a_row_of_a_table_is_read_for_each_lane(lanes: int) -> None:
    constants = FixedConstants(in_rows=True)
    constants.add(quantise(mlp(1, 3, 1, 1), [-1.0], [1.0]), "W")
    at = Load(Type("float32", lanes), Buffer("s", "float32", Linear(16)), Linear(0))
    found = apply("from_bits", apply("call", apply("bits", at), detail=constants.polynomial(TANH)))
    u = np.random.default_rng(lanes).integers(0, 2**32, 16)
    expected = words.polynomial(TANH, u).astype(np.uint32)[:lanes]
    evaluated = compiled(found, 16, {"TABLES": constants.numbers["TABLES"]})
    for values in evaluated(u.astype(np.uint32).view(np.float32)):
        assert (values.view(np.uint32)[:lanes] == expected).all()


PAIRS = ("mule", "mulo", "uppers")
BITWISE = ("iadd", "isub", "ixor", "iand", "ior", "imul", "mulh")


@pytest.mark.parametrize(
    ("operation", "lanes"),
    [(each, lanes) for each in OPERATIONS if each != "call" for lanes in (1, 4) if lanes > 1 or each not in PAIRS],
)
def test_every_operation_means_the_same_in_llvm_and_under_numpy(operation: str, lanes: int) -> None:
    """All but a call, which is written out."""
    memory = Buffer("s", "float32", Linear(12))
    a, b, c = (Load(Type("float32", lanes), memory, Linear(i * lanes)) for i in range(3))
    i, j = (apply("bits", each) for each in (a, b))
    less = apply("less", a, b)
    first, second = (Load(SINGLE, memory, Linear(i)) for i in range(2))
    truth = apply("less", first, second), apply("at_most", first, first)
    one, zero = Number(Type("float32", lanes), 1.0), Number(Type("float32", lanes), 0.0)
    count = Number(STATUS, 3), Number(Type("int64"), 2)
    values: dict[str, Expr] = {
        **{name: apply(name, a, b) for name in ("add", "sub", "mul", "div", "copysign")},
        **{name: apply(name, a) for name in ("absolute", "canonical", "inverse")},
        **{name: apply("from_bits", apply(name, i, j)) for name in BITWISE},
        **{
            name: apply("from_bits", apply(name, i, splat(Number(Type("bits32"), 3), lanes)))
            for name in ("ishl", "ishr", "ilshr")
        },
        **{name: apply("from_bits", i) for name in ("bits", "from_bits")},
        **{name: apply("from_bits", apply("word", apply("integer", i))) for name in ("word", "integer")},
        **{name: apply("from_bits", apply(name, i, j)) for name in PAIRS if lanes > 1},
        **{name: apply("select", apply(name, a, b), one, zero) for name in ("less", "at_most")},
        "top": apply("from_bits", apply("top", i, detail=30)),
        "sign": apply("select", apply("equal", apply("sign", i), splat(Number(Type("bits32"), 0), lanes)), one, zero),
        "fma": apply("fma", a, b, c),
        "equal": apply("select", apply("equal", i, i), one, zero),
        "select": apply("select", less, a, b),
        "splat": Apply(a.type, "splat", (apply("add", first, second),)),
        "lane": apply("lane", a, detail=lanes - 1),
        "first": apply("first", a, b, detail=1),
        "total": apply("total", a),
        "opaque": splat(apply("from_bits", apply("opaque", apply("bits", first))), lanes),
        "min": splat(apply("select", apply("less", apply("min", *count), count[0]), first, second), lanes),
        **{name: splat(apply("select", apply(name, *truth), first, second), lanes) for name in ("and", "or")},
        "not": splat(apply("select", apply("not", truth[0]), first, second), lanes),
    }
    evaluated = compiled(values[operation], 12)
    for seed in range(20):
        rng = np.random.default_rng(seed)
        numbers = np.float32(rng.normal(0, 10, 12)) * np.float32(rng.choice([1.0, 1e-38, 0.0, 1e30], 12))
        by_llvm, by_numpy = evaluated(np.where(rng.random(12) < 0.1, np.float32("nan"), numbers))
        if operation in (
            "bits",
            "from_bits",
            "word",
            "integer",
            *PAIRS,
            "opaque",
            "ixor",
            "copysign",
            "absolute",
            "canonical",
            "select",
            "first",
            "lane",
        ):
            assert by_llvm.view(np.int32).tolist() == by_numpy.view(np.int32).tolist()
        np.testing.assert_array_equal(by_llvm, by_numpy)


def inverses(lanes: int) -> Callable[[NDArray[Any]], tuple[NDArray[Any], NDArray[Any]]]:
    """The inverses of so many numbers."""
    memory = Buffer("s", "float32", Linear(lanes))
    return compiled(apply("inverse", Load(Type("float32", lanes), memory, Linear(0))), lanes)


@pytest.mark.parametrize("lanes", [1, 8, 16, 32, 64])
def test_an_inverse_is_a_division(lanes: int) -> None:
    """Also where a processor has an estimate, which is used for 32 numbers and more."""
    inverse, rng = inverses(lanes), np.random.default_rng(lanes)
    largest, smallest = np.finfo(np.float32).max, np.float32(1.0)
    special = [smallest, np.nextafter(np.float32(2), smallest), 2.0**126, 2.0**127, largest, np.inf, np.nan]
    for _ in range(50):
        x = rng.integers(smallest.view(np.int32), largest.view(np.int32), lanes, np.int32).view(np.float32)
        x[rng.integers(0, lanes)] = rng.choice(special)
        by_llvm, by_numpy = inverse(x)
        np.testing.assert_array_equal(by_llvm, by_numpy)
        np.testing.assert_array_equal(by_llvm, np.float32(1) / x)


@pytest.mark.proof
@pytest.mark.parametrize("exponent", [0, 1, 125, 126, 127])
def test_the_second_step_of_an_inverse_rounds_correctly_after_every_estimate(exponent: int) -> None:
    """For every float32 of one power of two. Those from 2^2 to 2^125 have the mantissas of the first.

    From an estimate y = (1 + r) / x with |r| < 2^-14, Newton's step makes (1 - r^2) / x, but for the rounding of its
    remainder, by 2^-39 of 1 / x, and its own. So it makes one of the numbers that lie between the rounded ends.
    """
    x = np.ldexp(np.float32(1), exponent) * (1 + np.arange(2**23, dtype=np.float32) * np.float32(2**-23))
    exact = np.float32(1) / x
    lowest, highest = (np.float32((1 + error) / x.astype(np.float64)) for error in (-(2.0**-28) - 2.0**-38, 2.0**-38))
    tried = lowest
    while (tried <= highest).any():
        with profile("fma-2"):
            e = fma(-x, tried, np.float32(1))
            wide, square = e.astype(np.float64), e.astype(np.float64) ** 2
            total = wide + square  # with `lost`, which no number is too small for
            lost = square - (total - wide)
            upwards = total.astype(np.float32)
            below = (upwards < total) | ((upwards == total) & (lost > 0))
            upwards = np.where(below, np.nextafter(upwards, np.float32(np.inf)), upwards)
            found = fma(tried, upwards, tried)
        assert ((found == exact) | (tried > highest)).all()
        tried = np.nextafter(tried, np.float32(np.inf))


# Names


MODEL: Functions = {"eval": (net := mlp(2, 9, 2, 1)), "jet": derivatives(net, ["u", "u_x0", "u_x0_x0"])}
"""One that has layers with waiting sums, rows at the end of a layer, and terms in lanes."""


def renamed(part: Any, name: Callable[[str], str], made: dict[int, Any]) -> Any:
    """The loops with other names for every variable, counter and number of points."""
    if id(part) in made:
        return made[id(part)]
    match part:
        case tuple():
            return tuple(renamed(each, name, made) for each in part)
        case Variable() | Symbol():
            found = replace(part, name=name(part.name))
        case _ if is_dataclass(part) and not isinstance(part, type):
            each = {field.name: renamed(getattr(part, field.name), name, made) for field in fields(part)}
            found = replace(part, **each)
        case _:
            return part
    made[id(part)] = found
    return found


def with_names(kernel: Kernel, name: Callable[[str], str]) -> Kernel:
    """A kernel whose loops have other names."""
    made: dict[int, Any] = {}
    functions = {}
    for key, function in kernel.functions.items():
        schedules = {kind: renamed(each, name, made) for kind, each in function.schedules.items()}
        functions[key] = replace(function, schedules=schedules)
        vars(functions[key])["routines"] = renamed(function.routines, name, made)
    result = replace(kernel, functions=functions)
    vars(result).update(outside=renamed(kernel.outside, name, made), selftest=renamed(kernel.selftest, name, made))
    return result


NAMES: dict[str, Callable[[str], str]] = {
    "all are count": lambda _: "count",
    "all are q": lambda _: "q",
    "all are an array": lambda _: "W",
    "count is q": lambda name: {"count": "q", "q": "count"}.get(name, f"{name}_"),
}


@pytest.mark.parametrize("names", some([*NAMES], ["all are q", "count is q"]))
def test_names_of_variables_change_no_bit(names: str, tmp_path: Path, need: Need) -> None:
    chosen = TARGETS["c99-muladd"]
    original = kernel(MODEL, "float32", chosen, 2)
    other = with_names(original, NAMES[names])
    for compiler in COMPILERS[:2]:
        need(compiler[0])
        source = write(tmp_path, other, interface_of(MODEL, "float32", chosen))
        library = CLibrary(source, MODEL, "float32", compiler)
        assert library.selftest() == 0
        x = wild(MODEL["eval"], 30, "float32")
        assert library.outside(x, 30) == np.sum(~(np.abs(x) <= 1).all(axis=1))
        for function, program in MODEL.items():
            assert same_bits(library(x, function), NumpyProgram(program, "float32", chosen.profile)(x))


def test_names_of_variables_change_no_byte_of_a_library() -> None:
    chosen = next(target for target in TARGETS.values() if not target.variants)
    original = kernel(MODEL, "float32", chosen, 2)
    interface = interface_of(MODEL, "float32", chosen)
    assert object_code([with_names(original, NAMES["all are q"])], interface) == object_code([original], interface)


def test_names_of_variables_change_nothing_under_numpy() -> None:
    chosen = TARGETS["c99"]
    other = with_names(kernel(MODEL, "float32", chosen, 2), NAMES["all are count"])
    machine = Machine(other.routines, other.arrays)
    x = wild(MODEL["eval"], 9, "float32")
    with np.errstate(all="ignore"), profile(chosen.profile):
        assert machine.call("selftest") == 0
        for function, program in MODEL.items():
            y = np.zeros((9, program.n_out), np.float32)
            assert machine.call(function, x.ravel(), y.reshape(-1), 9) == 0
            assert same_bits(y, NumpyProgram(program, "float32", chosen.profile)(x))


def test_names_in_a_program_change_no_code() -> None:
    """Whatever the variables of a Program are called: as the loops' are, or the arrays'."""
    for names in (("count", "q", "m"), ("s", "W", "y"), ("x", "outputs", "affine")):
        x, h, y = (Var(name, 4) for name in names)
        numbers = np.arange(16.0).reshape(4, 4)
        program = Program("model", (x,), (y,), (Affine(h, x, numbers, numbers[0]), Map(y, h, "tanh")))
        made = kernel({"eval": program}, "float32", TARGETS["c99"], 2)
        if names[0] == "count":
            first = made
        assert made.code == first.code
        assert re.sub(r"/\*.*?\*/", "", c_text(made), flags=re.S) == re.sub(r"/\*.*?\*/", "", c_text(first), flags=re.S)


def c_text(made: Kernel) -> str:
    """The functions of a kernel in C."""
    source = Source("float32", {name: name for name in made.constants}, lambda routine: ("static ", routine))
    for routine in made.functions["eval"].routines:
        source.routine(routine)
    return "\n".join(source.functions)
