"""benchmarks/bench_activations.py: what a network of equal error costs. Never how fast."""

from __future__ import annotations

import importlib
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture(scope="module")
def bench() -> Iterator[Any]:
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(Path(__file__).parents[1] / "benchmarks")
        yield importlib.import_module("bench_activations")


def test_the_cost_of_equal_error_lies_between_its_neighbours(bench: Any) -> None:
    """Costs 4^k have errors 10^-2k; two networks that others beat have no say."""
    networks = [(4.0, 1e-2), (16.0, 1e-4), (64.0, 1e-6), (20.0, 2e-4), (16.0, 1e-3)]
    for error, expected in ((1e-2, 4.0), (1e-3, 8.0), (1e-4, 16.0), (1e-5, 32.0), (1e-6, 64.0)):
        assert bench.cost_at(error, networks) == pytest.approx(expected, rel=1e-12)


def test_there_is_no_cost_of_an_error_that_no_network_is_near(bench: Any) -> None:
    networks = [(4.0, 1e-2), (16.0, 1e-4)]
    assert math.isnan(bench.cost_at(1.1e-2, networks))
    assert math.isnan(bench.cost_at(0.9e-4, networks))


def test_networks_are_compared_with_tanh_of_equal_error(bench: Any) -> None:
    small, large = (8, 8), (12, 12)
    errors = {
        (small, "tanh"): [3e-3, 1e-2, 2e-2],
        (large, "tanh"): [1e-4],
        (large, "lorentzian"): [1e-3, 2e-3, 5e-4],
        (small, "lorentzian"): [0.1],
    }
    costs = {(small, "tanh"): 4.0, (large, "tanh"): 16.0, (large, "lorentzian"): 5.0, (small, "lorentzian"): 2.0}
    head, _, first, _, third, last = bench.compared(errors, {"ns": costs}).splitlines()
    assert head == "| network | activation | relative L2, median | range | ns |"
    assert first == "| 8x8 | tanh | 1.0e-02 | 3.0e-03 to 2.0e-02 | 4.0 |"
    assert third == "| 12x12 | lorentzian | 1.0e-03 | 5.0e-04 to 2.0e-03 | 5.0, 1.60× |"
    assert last == "| 8x8 | lorentzian | 1.0e-01 | 1.0e-01 to 1.0e-01 | 2.0 |"
