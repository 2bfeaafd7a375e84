"""What is concluded from samples: intervals hold what they promise, and changes are found where there are any."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import pytest
from records import example_record

from kdpinn_edge.comparison.compare import compare
from kdpinn_edge.comparison.disturbance import is_spoilt
from kdpinn_edge.comparison.durations import duration, parse_duration
from kdpinn_edge.comparison.gate import gate_protocol, verdict
from kdpinn_edge.comparison.ratios import FRAMEWORK, LOOP, Ratio, Scatter, has_changed, quotient, ratio
from kdpinn_edge.comparison.record import Absent, Block, Cell, Disturbance, Record
from kdpinn_edge.comparison.statistics import (
    misses,
    row,
    rows,
    samples_for,
    share_bounds,
    summary,
)
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
    assert 0.85 * 3 / n < share_bounds(0, n)[0] < 3 / n


def test_the_bounds_of_missed_calls_are_exact() -> None:
    """At the bounds themselves, so few or so many misses come with a probability of 5 %: binomial tails, summed up."""
    from math import comb

    n, k = 100, 4
    above, below = share_bounds(k, n)
    assert sum(comb(n, i) * above**i * (1 - above) ** (n - i) for i in range(k + 1)) == pytest.approx(0.05)
    assert sum(comb(n, i) * below**i * (1 - below) ** (n - i) for i in range(k, n + 1)) == pytest.approx(0.05)
    assert share_bounds(5, 5)[0] == 1.0
    assert share_bounds(0, 5)[1] == 0.0


def test_a_stalled_call_is_neither_late_nor_in_time() -> None:
    """Late by itself, late because of others, in time in spite of others, in time."""
    found = misses([Block(0, 0, (12.0, 12.0, 9.0, 2.0), on_core_ns=(11.0, 3.0, 1.0, 2.0))], 10)
    assert (found.count, found.stalled, found.samples) == (1, 1, 3)


@pytest.mark.parametrize(("stolen_ns", "stalled"), [(0, 0), (1, 1), (4, 2), (5, 2), (99, 3)])
def test_stolen_time_excuses_no_more_calls_than_it_explains(stolen_ns: int, stalled: int) -> None:
    turn = Disturbance(100, 0, stolen_ns, 0)
    late = (11.0, 13.0, 14.0, 5.0)  # by 1, 3 and 4
    found = misses([Block(0, 0, late, on_core_ns=late, disturbance=turn)], 10)
    assert (found.stalled, found.count, found.samples) == (stalled, 3 - stalled, 4 - stalled)


def test_a_limit_is_held_or_missed_only_with_confidence() -> None:
    verdicts = [misses([Block(0, 0, (1.0,) * (3000 - k) + (20.0,) * k)], 10).verdict(99.9) for k in (0, 3, 9)]
    assert verdicts == ["held", "not decidable here", "missed"]
    nothing_left = misses([Block(0, 0, (20.0,) * 9, on_core_ns=(1.0,) * 9)], 10)
    assert nothing_left.verdict(50.0) == "not decidable here"


def few(seed: int, slower: Mapping[str, float] | None = None) -> Record:
    """The example's cells in the closed loop."""
    record = example_record(seed, slower)
    return replace(record, cells=tuple(cell for cell in record.cells if cell.mode == "closed"))


WORK_NS, SLOWER = 1000.0, 1.7
SUFFERS = {LOOP: 0.05, FRAMEWORK: 0.3}
LOADS = ((0.0, 0.6), (0.5, 0.1), (0.8, 0.3))  # of a run, and of its repetition


def pairs_cell(
    rng: np.random.Generator,
    factor: float,
    load: float,
    processes: int,
    turns: int,
    of_process: float,
    of_turn: float,
    suffers: float = SUFFERS[LOOP],
) -> Cell:
    """Pairs of calls on a core whose speed drifts and that others share in a part `load` of the time: then all is
    SLOWER times as slow, the call by `suffers` more than its partner. Each process and each turn has an offset of its
    own, and one call of twenty is an outlier of any size.
    """
    blocks, speed, is_shared = [], 1.0, bool(rng.random() < load)
    for process in range(processes):
        offset = rng.normal(0, of_process)
        for _ in range(turns):
            speed *= rng.lognormal(0, 0.1)
            own = factor * np.exp(offset + rng.normal(0, of_turn))
            pairs = []
            for _ in range(15):
                is_shared = bool(rng.random() < load) if rng.random() < 0.3 else is_shared
                before = is_shared
                is_shared = bool(rng.random() < load) if rng.random() < 0.1 else is_shared
                outlier = 1 + (rng.random(2) < 0.05) * rng.exponential(1.0, 2)
                noise = speed * outlier * rng.lognormal(0, 0.03, 2)
                a = own * noise[0] * (SLOWER * np.exp(suffers) if before else 1)
                b = noise[1] * (SLOWER if is_shared else 1)
                work = WORK_NS * (1 + rng.exponential(0.05)) * (SLOWER if before or is_shared else 1)
                pairs.append((float(a), float(b), float(work)))
            blocks.append(Block(len(blocks), process, (1.0,), tuple(pairs)))
    return Cell("a", 1, "closed", 1, None, tuple(blocks))


def of(found: Cell, scatter: Scatter = LOOP) -> Ratio:
    return ratio(found, WORK_NS, scatter)


@pytest.mark.parametrize(
    ("processes", "turns", "of_process", "of_turn", "scatter"),
    [
        (4, 3, 0.01, 0.02, LOOP),
        (2, 3, 0.02, 0.02, FRAMEWORK),
        (1, 3, 0.01, 0.02, LOOP),
        (1, 3, 0.04, 0.02, FRAMEWORK),
        (2, 6, 0.01, 0.01, LOOP),
    ],
)
def test_the_true_ratio_and_a_repetition_lie_within_the_interval(
    processes: int, turns: int, of_process: float, of_turn: float, scatter: Scatter
) -> None:
    """At least 95 of 100 times, whatever the load of the one run and of the other, and whether it changes within.

    A round of the plan has three turns, so that no process has less.
    """
    rng, hits, repeated, factors, repetitions = np.random.default_rng(0), 0, 0, [], 100
    for k in range(repetitions):
        first, again = (
            of(pairs_cell(rng, 3.0, load, processes, turns, of_process, of_turn, SUFFERS[scatter]), scatter)
            for load in LOADS[k % 3]
        )
        assert first.low is not None
        assert first.high is not None
        hits += first.low <= 3.0 <= first.high
        repeated += first.low <= again.factor <= first.high
        factors.append(first.factor)
    assert hits >= 0.95 * repetitions
    assert repeated >= 0.95 * repetitions
    # where most of 45 pairs are disturbed some of these are used, each off by what the call suffers
    assert np.mean(np.log(factors)) == pytest.approx(np.log(3.0), abs=0.2 * SUFFERS[scatter])


@pytest.mark.parametrize("scatter", [LOOP, FRAMEWORK])
def test_a_core_that_is_never_free_makes_the_interval_wider(scatter: Scatter) -> None:
    """The run cannot know what a free core would show, but it knows that its core was not: the truth is within."""
    rng, suffers = np.random.default_rng(0), SUFFERS[scatter]
    busy, free = (of(pairs_cell(rng, 3.0, load, 4, 4, 0.01, 0.01, suffers), scatter) for load in (1.0, 0.0))
    assert busy.factor > 3.0 * np.exp(0.7 * suffers)
    assert busy.spread is not None
    assert free.spread is not None
    assert busy.spread > 2 * free.spread
    assert busy.low is not None
    assert busy.low < 3.0


def test_beside_others_and_for_a_framework_the_interval_is_wider() -> None:
    """For the same pairs: what else runs on the machine costs a framework more, and more the longer it runs."""
    cell = pairs_cell(np.random.default_rng(0), 3.0, 0.0, 4, 4, 0.01, 0.01)
    turns = [replace(block, disturbance=Disturbance(100, 50, 0, 7)) for block in cell.blocks]
    beside = replace(cell, blocks=tuple(turns))
    spreads = [of(each, scatter).spread for scatter in (LOOP, FRAMEWORK) for each in (cell, beside)]
    assert spreads == sorted(spreads, key=lambda spread: spread or 0.0)
    assert len(set(spreads)) == 4


def test_ten_percent_are_found_and_equal_runs_differ_in_one_of_twenty() -> None:
    rng, longer, found, false, repetitions = np.random.default_rng(1), 0, 0, 0, 100
    for _ in range(repetitions):
        first, again, slower = (of(pairs_cell(rng, f, 0.4, 2, 4, 0.01, 0.01)) for f in (1.0, 1.0, 1.1))
        false += has_changed(first, again)
        longer += slower.is_longer
        found += has_changed(first, slower)
    assert false <= 0.05 * repetitions
    assert longer >= 0.95 * repetitions
    assert found >= 0.9 * repetitions


def test_pairs_are_chosen_by_the_known_work_alone() -> None:
    """The undisturbed ones; with too few of these the least disturbed quarter, and what three turns need."""
    quiet, slow = (3.0, 1.0, WORK_NS), (9.0, 1.0, 2 * WORK_NS)
    cells = [
        Cell("a", 1, "closed", 1, None, tuple(Block(i, 0, (1.0,), (quiet,) * k + (slow,) * (8 - k)) for i in range(3)))
        for k in (4, 1, 0)
    ]
    found = [of(each) for each in cells]
    assert [each.pairs for each in found] == [12, 24, 24]
    assert [each.disturbed for each in found] == [12, 0, 0]
    assert found[0].factor == pytest.approx(3.0)
    assert found[2].factor == pytest.approx(9.0)


def test_a_quotient_has_the_errors_of_both() -> None:
    rng = np.random.default_rng(2)
    one, other = (of(pairs_cell(rng, f, 0.2, 4, 2, 0.02, 0.02)) for f in (6.0, 2.0))
    found = quotient(one, other)
    assert found.factor == pytest.approx(one.factor / other.factor)
    assert one.spread is not None
    assert other.spread is not None
    assert found.spread == pytest.approx(np.hypot(one.spread, other.spread))
    assert min(one.freedom, other.freedom) <= found.freedom <= one.freedom + other.freedom
    exact = replace(other, factor=1.0, low=1.0, high=1.0, spread=0.0)
    assert quotient(one, exact).low == pytest.approx(one.low)


def test_one_turn_has_a_ratio_and_no_interval() -> None:
    (block,) = pairs_cell(np.random.default_rng(0), 3.0, 0.0, 1, 1, 0.0, 0.0).blocks
    found = of(Cell("a", 1, "closed", 1, None, (block,)))
    assert found.factor == pytest.approx(3.0, rel=0.1)
    assert (found.low, found.high, found.is_decidable, found.is_longer) == (None, None, False, False)
    assert not has_changed(found, found)
    assert quotient(found, found).low is None


def test_turns_of_which_others_took_a_quarter_are_left_out_and_counted() -> None:
    assert [is_spoilt(Disturbance(100, 90, stolen_ns, 7)) for stolen_ns in (25, 26)] == [False, True]
    blocks = pairs_cell(np.random.default_rng(0), 3.0, 0.0, 3, 2, 0.0, 0.0).blocks
    spoilt = Block(9, 0, (1.0,), ((9.0, 1.0, WORK_NS),) * 5, disturbance=Disturbance(100, 0, 99, 0))
    found, clean = (of(Cell("a", 1, "closed", 1, None, those)) for those in ((*blocks, spoilt), blocks))
    assert found == replace(clean, disturbed=clean.disturbed + 5)


def test_equal_samples_give_equal_rows() -> None:
    assert rows(few(0)) == rows(few(0))


def test_the_summary_has_rows_and_no_samples() -> None:
    found = summary(few(0))
    assert len(found["rows"]) == len(few(0).cells)
    assert "cells" not in found
    assert found["baselines"][0]["rows"]
    assert 0.5 * found["pairs"] < found["used_pairs"] <= found["pairs"]


def test_an_unchanged_backend_does_not_show_up_and_a_slower_one_does() -> None:
    before = few(seed=1)
    found = compare(before, few(seed=2))
    assert not [change for change in found.changes if change.is_beyond_noise]
    assert (found.differences, found.gone, found.new) == ((), (), ())

    slower = compare(before, few(seed=2, slower={"onnx, run": 1.5, "library, C loop": 1.5}))
    changed = {(change.entry, change.n) for change in slower.changes if change.is_beyond_noise}
    assert changed == {(name, n) for name in ("onnx, run", "library, C loop") for n in before.protocol.n_points}
    assert all(1.4 < change.factor < 1.6 for change in slower.changes if change.entry == "onnx, run")


def test_what_else_differs_between_two_records_is_said() -> None:
    before = few(0)
    machine = replace(before.machine, cpu="Another CPU")
    entries = tuple(replace(e, versions={"example": "1.2.4"}) for e in before.entries[1:])
    cells = tuple(cell for cell in before.cells if cell.entry != before.entries[0].name)
    found = compare(before, replace(before, machine=machine, entries=entries, cells=cells))
    assert found.gone == (before.entries[0].name,)
    assert any("Another CPU" in difference for difference in found.differences)
    assert any("'1.2.4'" in difference for difference in found.differences)


def test_a_gate_says_whether_the_budget_is_held() -> None:
    late = [4e6] * 500, [5e6] * 400 + [11e6] * 100
    blocks = tuple(Block(i, i, tuple(ns), on_core_ns=tuple(ns)) for i, ns in enumerate(late))
    measured = Cell("a", 1, "periodic", 1, 20_000_000, blocks)
    record = example_record()
    record = replace(record, cells=(measured,), protocol=replace(record.protocol, deadline_ns=10_000_000))
    assert verdict(record, 80.0).verdict == "held"
    assert verdict(record, 90.0).verdict == "not decidable here"
    missed = verdict(record, 95.0)
    assert (missed.verdict, missed.latency.ns, missed.misses.count) == ("missed", 11e6, 100)
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
