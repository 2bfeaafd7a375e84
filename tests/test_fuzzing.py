"""Every reader on mutated files: it refuses them by name, or reads what they say. `make fuzz` reads a million."""

from __future__ import annotations

from pathlib import Path

import pytest
from fuzz_targets import MAKERS, WEIGHTS, targets
from fuzzing import ACCEPTED, REFUSED, fuzzed

PER_WEIGHT, MOST = 3, 100
"""Mutations of the slowest reader, and of the fastest."""


@pytest.mark.parametrize("which", MAKERS)
def test_no_reader_is_misled(which: str, tmp_path: Path) -> None:
    found = targets(tmp_path, which)
    assert found.keys() == WEIGHTS[which].keys()
    for name, target in found.items():
        target.path.write_bytes(target.data)
        assert target.meaning(target.data, target.read()), name
        counts = fuzzed(target, range(min(MOST, PER_WEIGHT * WEIGHTS[which][name])))
        assert not counts.wrong, (name, counts.examples)
        assert counts.ends[REFUSED], name
        assert set(counts.ends) <= {REFUSED, ACCEPTED}, name
