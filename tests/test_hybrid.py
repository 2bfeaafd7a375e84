"""The hybrid of the examples: Burgers by a network, corrected by a scheme that the network's residual drives."""

from __future__ import annotations

from types import ModuleType

import pytest
from scripts import script

from kdpinn_edge import compile, zoo
from kdpinn_edge.problems import problem
from kdpinn_edge.program.file import read_program
from kdpinn_edge.runtime import Engine


@pytest.fixture(scope="module")
def example() -> ModuleType:
    return script("examples/hybrid.py")


@pytest.fixture(scope="module")
def engine() -> Engine:
    return compile(read_program(zoo.program("burgers_small")), residual=problem("burgers"))


def test_where_the_residual_is_resolved_the_hybrid_beats_network_and_scheme(
    example: ModuleType, engine: Engine
) -> None:
    row = example.compare(engine, 1024)
    assert row.is_trusted
    assert not row.harms
    assert row.errors["hybrid"] < row.errors["network"] / 10
    assert row.errors["hybrid"] < row.errors["scheme"] / 5
    assert row.errors["spectral"] < row.errors["hybrid"]


@pytest.mark.parametrize("cells", [64, 128])
def test_where_it_is_not_the_correction_harms_and_is_not_trusted(
    example: ModuleType, engine: Engine, cells: int
) -> None:
    row = example.compare(engine, cells)
    assert row.harms
    assert not row.is_trusted


def test_outcomes_are_counted_by_what_the_test_said_and_what_was_true(example: ModuleType) -> None:
    bench = script("benchmarks/bench_hybrid.py")

    def row(missed: float, hybrid: float) -> object:
        return example.Comparison(64, {"network": 1.0, "hybrid": hybrid}, missed, {}, {})

    rows = [row(0.1, 0.5), row(0.4, 0.125), row(0.7, 0.5), row(0.9, 4.0)]
    assert list(bench.verdicts(rows)) == [
        ("trusted", "better", "2", "0.1 to 0.4", "2 to 8"),
        ("trusted", "harmful", "0", "–", "–"),
        ("not trusted", "better", "1", "0.7 to 0.7", "2 to 2"),
        ("not trusted", "harmful", "1", "0.9 to 0.9", "0.25 to 0.25"),
    ]
