"""The numerics profile int16-1: its words, its proof, and the same bits in every form that a model takes."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from compiled import same_bits
from hypothesis import given, settings
from loops_numpy import Machine as LoopMachine
from strategies import programs, wild

from kdpinn_edge import zoo
from kdpinn_edge.bundle.manifest import Input
from kdpinn_edge.export.lowering.fixed_kernel import make_fixed_kernel
from kdpinn_edge.export.lowering.kernel import Kernel
from kdpinn_edge.numerics.fixed_point import words
from kdpinn_edge.numerics.fixed_point.calls import FixedPoint
from kdpinn_edge.numerics.fixed_point.quantise import FUNCTIONS, quantise
from kdpinn_edge.numerics.fixed_point.tables import EXP2, SIN, TANH, Table
from kdpinn_edge.program.interp import interpret
from kdpinn_edge.program.ir import Map, Program

BOX = (Input("x0", -1.0, 1.0), Input("x1", -1.0, 1.0))
MEANINGS = {TANH: lambda x: np.tanh(8 * x), SIN: lambda x: np.sin(np.pi * x), EXP2: lambda x: 2.0 ** (x - 1)}
STUDENTS = [name for name in zoo.names() if not name.endswith("teacher")]
WITH_SQUARE_ROOTS = ("allen_cahn", "black_scholes")
"""Problems whose hard conditions have a square root by Newton's iteration: its range is not proved."""


@pytest.mark.parametrize("table", MEANINGS, ids=lambda table: table.name)
def test_a_table_is_right_at_each_of_its_words(table: Table) -> None:
    """At both ends of the words of each segment whose upper half of s is the same: in between it is a line."""
    steps = np.arange(1 << (16 + table.bits), dtype=np.int64) << (16 - table.bits)
    for u in (steps, steps + (1 << (16 - table.bits)) - 1):
        found = words.polynomial(table, u)
        assert found.min() > -256
        assert found.max() < 1 << 31
        assert np.abs(found / 2.0**31 - MEANINGS[table](u / 2.0**32)).max() < 2.0**-22.8


def test_functions_keep_their_symmetry_and_their_ends() -> None:
    x = np.array([[-(2**31) + 1, -(2**20), 2**20, 2**31 - 1]])
    assert (words.tanh(x, 3) == -words.tanh(-x, 3)).all()
    assert words.tanh(x, 3)[0, -1] / 2**31 == pytest.approx(1.0, abs=3e-7)
    assert words.sigmoid(x, 3)[0, :2].sum() + words.sigmoid(x, 3)[0, 2:].sum() == pytest.approx(2**32, abs=8)
    assert words.exp(np.array([[-(2**31), -(2**27)]]), 0, 25, 2)[0] == pytest.approx([30, np.exp(-1) * 2**28], abs=32)


def of(program: Program, lower: float = -1.0, upper: float = 1.0) -> FixedPoint:
    return quantise(program, [lower] * program.n_in, [upper] * program.n_in)


def kernel_of(program: Program, fixed: FixedPoint, lanes: int) -> Kernel:
    golden_x = wild(program, 12, "float32")
    golden_x[np.isnan(golden_x)] = 0.5
    return make_fixed_kernel(
        {"eval": program},
        {"eval": fixed},
        lanes,
        narrow=lanes == 1,
        lower=-np.ones(program.n_in),
        upper=np.ones(program.n_in),
        golden_x=golden_x,
        golden_y={"eval": fixed(golden_x.T).T},
    )


def with_words(program: Program) -> Program:
    """The same Program with functions that have words."""
    ops = (replace(op, fn="tanh") if isinstance(op, Map) and op.fn not in FUNCTIONS else op for op in program.ops)
    return replace(program, ops=tuple(ops))


@settings(max_examples=12)
@given(programs(max_ops=6))
def test_no_word_overflows_and_loops_and_module_have_the_bits(program: Program) -> None:
    program = with_words(program)
    fixed = of(program)
    x = wild(program, 20, "float32")
    values = fixed.values(x.T)
    for name in fixed.fractions:
        assert np.abs(values[name]).max() < 1 << 31
    y = np.ascontiguousarray(values["y"].T)
    for lanes in (1, 4):
        kernel = kernel_of(program, fixed, lanes)
        machine = LoopMachine([*kernel.functions["eval"].routines, kernel.selftest, kernel.outside], kernel.arrays)
        found = np.empty_like(y)
        assert machine.call("eval", x.ravel(), found.ravel(), len(x)) == 0
        assert same_bits(found, y)
        assert machine.call("selftest") == 0
        inside = ((x >= -1) & (x <= 1)).all(axis=1)
        assert machine.call("outside", x.ravel(), len(x)) == (~inside).sum()
    found = np.empty_like(y)
    assert kernel.load().eval_all(x.ravel(), found.ravel(), len(x)) == 0
    assert same_bits(found, y)
    assert np.isnan(y).all(axis=1)[np.isnan(x).any(axis=1)].all()
    exact = interpret(program, np.clip(x, -1, 1))
    some = ~np.isnan(x).any(axis=1)
    assert np.abs(y - exact)[some].max(initial=0.0) <= 1e-4 * max(np.abs(exact[some]).max(initial=0.0), 1.0)
