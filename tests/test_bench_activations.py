"""benchmarks/bench_activations.py: what a network of equal error costs. Never how fast."""

from __future__ import annotations

import math

import pytest
from scripts import script

bench = script("benchmarks/bench_activations.py")


def test_the_cost_of_equal_error_lies_between_its_neighbours() -> None:
    """Costs 4^k have errors 10^-2k; two networks that others beat have no say."""
    networks = [(4.0, 1e-2), (16.0, 1e-4), (64.0, 1e-6), (20.0, 2e-4), (16.0, 1e-3)]
    for error, expected in ((1e-2, 4.0), (1e-3, 8.0), (1e-4, 16.0), (1e-5, 32.0), (1e-6, 64.0)):
        assert bench.cost_at(error, networks) == pytest.approx(expected, rel=1e-12)


def test_there_is_no_cost_of_an_error_that_no_network_is_near() -> None:
    networks = [(4.0, 1e-2), (16.0, 1e-4)]
    assert math.isnan(bench.cost_at(1.1e-2, networks))
    assert math.isnan(bench.cost_at(0.9e-4, networks))


def test_networks_are_compared_with_tanh_of_equal_error(capsys: pytest.CaptureFixture[str]) -> None:
    small, large = (8, 8), (12, 12)
    errors = {
        (small, "tanh"): [3e-3, 1e-2, 2e-2],
        (large, "tanh"): [1e-4],
        (large, "lorentzian"): [1e-3, 2e-3, 5e-4],
        (small, "lorentzian"): [0.1],
    }
    costs = {(small, "tanh"): 4.0, (large, "tanh"): 16.0, (large, "lorentzian"): 5.0, (small, "lorentzian"): 2.0}
    bench.compare(errors, {"ns": costs})
    *_, row, last = capsys.readouterr().out.splitlines()
    assert row == "| 12x12 | lorentzian | 1.0e-03 | 5.0e-04 to 2.0e-03 | 5.0, 1.60× |"
    assert last == "| 8x8 | lorentzian | 1.0e-01 | 1.0e-01 to 1.0e-01 | 2.0 |"
