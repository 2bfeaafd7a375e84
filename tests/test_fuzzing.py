"""Every reader on mutated files: it refuses them by name, or reads what they say. `make fuzz` reads a million."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from fuzz_targets import MAKERS, WEIGHTS, targets
from fuzzing import ACCEPTED, REFUSED, folder_in_memory, fuzzed
from scripts import script

PER_WEIGHT, MOST = 3, 50
"""Mutations of the slowest reader, and of the fastest."""


@pytest.fixture
def in_memory() -> Iterator[Path]:
    with folder_in_memory() as name:
        yield Path(name)


@pytest.mark.parametrize("which", MAKERS)
def test_no_reader_is_misled(which: str, in_memory: Path) -> None:
    found = targets(in_memory, which)
    assert found.keys() == WEIGHTS[which].keys()
    for name, target in found.items():
        target.path.write_bytes(target.data)
        assert target.meaning(target.data, target.read()), name
        counts = fuzzed(target, range(min(MOST, PER_WEIGHT * WEIGHTS[which][name])))
        assert not counts.wrong, (name, counts.examples)
        assert counts.ends[REFUSED], name
        assert set(counts.ends) <= {REFUSED, ACCEPTED}, name


def test_a_run_that_is_cut_off_has_read_for_every_reader() -> None:
    plan = script("tools/fuzz.py").plan
    names = {name for weights in WEIGHTS.values() for name in weights}
    for mutations in (100, 1_000_000):
        tasks = list(plan(mutations, [], 7))
        assert {name for _, name, _ in tasks[: len(names)]} == names
        assert mutations <= sum(len(seeds) for *_, seeds in tasks) <= mutations + len(names)
        for name in names:
            assert sorted(seed for _, own, seeds in tasks if own == name for seed in seeds)[0] == 7
