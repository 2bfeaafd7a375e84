"""What is concluded from samples: intervals hold what they promise, and changes are found where there are any."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import pytest
from records import example_record

from kdpinn_edge.comparison.compare import compare
from kdpinn_edge.comparison.durations import duration, parse_duration
from kdpinn_edge.comparison.gate import gate_protocol, verdict
from kdpinn_edge.comparison.record import Absent, Block, Cell, Record
from kdpinn_edge.comparison.statistics import misses, percentiles, row, rows, samples_for, summary
from kdpinn_edge.errors import BenchError


def cell(*blocks: tuple[int, list[float]]) -> Cell:
    return Cell("a", 1, "periodic", 1, 1_000_000, tuple(Block(i, p, tuple(ns)) for i, (p, ns) in enumerate(blocks)))


def test_percentiles_are_by_nearest_rank() -> None:
    shuffled = np.random.default_rng(0).permutation(np.arange(1.0, 2001.0)).tolist()
    found = row(cell((0, shuffled[:900]), (1, shuffled[900:])), 1998.5)
    assert [(p.p, p.ns) for p in found.percentiles] == [(50.0, 1000), (90.0, 1800), (99.0, 1980)]
    assert (found.min_ns, found.max_ns, found.samples) == (1, 2000, 2000)
    assert found.misses is not None
    assert found.misses.count == 2


def test_a_percentile_has_ten_samples_beyond_it() -> None:
    assert [samples_for(p) for p in (50, 90, 99, 99.9)] == [20, 100, 1000, 10_000]
    assert [p.p for p in row(cell((0, [1.0] * 999)), 2).percentiles] == [50.0, 90.0]


@pytest.mark.parametrize("n", [10, 300, 10_000])
def test_none_missed_in_n_means_less_than_3_in_n(n: int) -> None:
    bound = misses(np.zeros(n), 1.0).share_bound
    assert 0.85 * 3 / n < bound < 3 / n


def test_the_bound_of_missed_calls_is_exact() -> None:
    """At the bound itself, so few misses come with a probability of 5 %: a binomial tail, summed up."""
    from math import comb

    p, n, k = misses(np.r_[np.zeros(96), np.ones(4)], 0.5).share_bound, 100, 4
    assert sum(comb(n, i) * p**i * (1 - p) ** (n - i) for i in range(k + 1)) == pytest.approx(0.05)
    assert misses(np.ones(5), 0.5).share_bound == 1.0


def few(seed: int, slower: Mapping[str, float] | None = None) -> Record:
    """The example's cells in the closed loop."""
    record = example_record(seed, slower)
    return replace(record, cells=tuple(cell for cell in record.cells if cell.mode == "closed"))


def noisy_cell(rng: np.random.Generator, processes: int, rounds: int, of_process: float, of_block: float) -> Cell:
    blocks = []
    for process in range(processes):
        process_ns = 1e5 * rng.lognormal(0, of_process)
        for _ in range(rounds):
            block_ns = process_ns * rng.lognormal(0, of_block)
            blocks.append((process, (block_ns * rng.lognormal(0, 0.03, 30)).tolist()))
    return cell(*blocks)


@pytest.mark.parametrize(
    ("processes", "rounds", "of_process", "of_block"),
    [(3, 2, 0.01, 0.01), (3, 2, 0.03, 0.0), (4, 2, 0.0, 0.03), (1, 12, 0.0, 0.02), (5, 1, 0.01, 0.01)],
)
def test_a_repetition_falls_into_the_interval(processes: int, rounds: int, of_process: float, of_block: float) -> None:
    """Nine rows of ten, at least, whether processes or moments differ; and the interval is not merely wide."""
    rng, hits, widths, repetitions = np.random.default_rng(0), 0, [], 120
    for _ in range(repetitions):
        ((first,), (again,)) = (
            percentiles(noisy_cell(rng, processes, rounds, of_process, of_block), [50.0]) for _ in range(2)
        )
        hits += first.low_ns <= again.ns <= first.high_ns
        widths.append(first.high_ns / first.ns - 1)
    assert hits >= 0.9 * repetitions
    assert np.median(widths) < 10 * max(of_process, of_block)


def test_equal_samples_give_equal_rows() -> None:
    assert rows(few(0)) == rows(few(0))


def test_one_process_with_one_block_may_be_anywhere_that_was_seen() -> None:
    (found,) = percentiles(cell((0, [3.0, 1.0, 2.0])), [50.0])
    assert (found.low_ns, found.ns, found.high_ns) == (1, 2, 3)


def test_the_summary_has_rows_and_no_samples() -> None:
    found = summary(few(0))
    assert len(found["rows"]) == len(few(0).cells)
    assert "cells" not in found
    assert found["baselines"][0]["rows"]


def test_an_unchanged_backend_does_not_show_up_and_a_slower_one_does() -> None:
    before = few(seed=1)
    found = compare(before, few(seed=2))
    assert not [change for change in found.changes if change.is_beyond_noise]
    assert (found.differences, found.gone, found.new) == ((), (), ())

    slower = compare(before, few(seed=2, slower={"onnx, run": 1.5, "library, cffi": 1.02}))
    changed = {(change.entry, change.n) for change in slower.changes if change.is_beyond_noise}
    assert changed == {("onnx, run", n) for n in before.protocol.n_points}
    factors = [c.factor for c in slower.changes if c.entry == "onnx, run" and c.mode == "closed"]
    assert all(1.4 < factor < 1.6 for factor in factors)


def test_what_else_differs_between_two_records_is_said() -> None:
    before = few(0)
    machine = replace(before.machine, cpu="Another CPU")
    entries = tuple(replace(e, versions={"example": "1.2.4"}) for e in before.entries[1:])
    found = compare(before, replace(before, machine=machine, entries=entries))
    assert found.gone == (before.entries[0].name,)
    assert any("Another CPU" in difference for difference in found.differences)
    assert any("'1.2.4'" in difference for difference in found.differences)


def test_a_gate_says_by_how_much() -> None:
    measured = cell((0, [4e6] * 500), (1, [5e6] * 400 + [11e6] * 100))
    record = example_record()
    record = replace(record, cells=(measured,), protocol=replace(record.protocol, deadline_ns=10_000_000))
    assert verdict(record, 80.0).holds
    missed = verdict(record, 95.0)
    assert not missed.holds
    assert missed.excess_ns == 1e6
    assert missed.misses.count == 100
    with pytest.raises(BenchError, match="nothing was measured: openvino: no wheel"):
        verdict(replace(record, cells=(), absent=(Absent("openvino", "failed", "no wheel"),)), 50.0)


def test_a_gate_has_the_samples_that_its_percentile_needs() -> None:
    assert gate_protocol(10, 1, 99.9).least_samples == 10_000
    assert gate_protocol(10, 1, 99.9, samples=20_000).least_samples == 20_000


@pytest.mark.parametrize(
    ("text", "ns"), [("10ms", 10_000_000), ("1us", 1000), ("1 µs", 1000), ("0.25s", 250_000_000), (" 3ns ", 3)]
)
def test_durations(text: str, ns: int) -> None:
    assert parse_duration(text) == ns


@pytest.mark.parametrize("text", ["", "10", "ms", "-1ms", "1 m", "1e3ms", "0ms", "inf s", "1ms 2"])
def test_what_is_no_duration(text: str) -> None:
    with pytest.raises(BenchError, match="is not a duration; expected: a positive number and ns, us, ms or s"):
        parse_duration(text)


def test_durations_are_shown_with_three_digits() -> None:
    shown = {0.4: "0.40 ns", 12.34: "12.3 ns", 999.6: "1,000 ns", 9_990: "9.99 µs", 1.5e6: "1.50 ms", 1.2e10: "12.0 s"}
    assert {ns: duration(ns) for ns in shown} == shown
