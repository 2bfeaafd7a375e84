"""The record of a comparison: it is written whole, read back equal, and refused where it is something else."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from records import example_record

from kdpinn_edge.comparison.record_file import read_record, write_record
from kdpinn_edge.comparison.statistics import rows
from kdpinn_edge.errors import BenchError


def test_a_record_is_read_back_equal(tmp_path: Path) -> None:
    record, path = example_record(), tmp_path / "record.json"
    write_record(record, path)
    assert read_record(path) == record
    assert list(tmp_path.iterdir()) == [path]
    assert rows(read_record(path)) == rows(record)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda text: text[:-100], "not a record"),
        (lambda text: b"", "not a record"),
        (lambda text: b"[" * 100_000, "not a record"),
        (lambda text: text.replace(b'"schema":4', b'"schema":3'), "schema 3; expected: 4, which has the known work"),
        (lambda text: text.replace(b'"mode":"closed"', b'"mode":"open"'), "not a record"),
    ],
)
def test_another_file_is_refused(change: Callable[[bytes], bytes], message: str, tmp_path: Path) -> None:
    path = tmp_path / "record.json"
    write_record(example_record(), path)
    path.write_bytes(change(path.read_bytes()))
    with pytest.raises(BenchError, match=message):
        read_record(path)


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BenchError, match=r"cannot be read .*expected: a record of `bench --out`"):
        read_record(tmp_path / "record.json")
