"""A machine that fails: a kill, a disk that is full, memory that is not there."""

from __future__ import annotations

import os
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from killed import killed
from typer.testing import CliRunner

from kdpinn_edge.cli import app
from kdpinn_edge.training import TrainConfig, train
from kdpinn_edge.training.run_folder import read_metrics

TINY = TrainConfig(
    hidden=(6,), n_points=40, n_candidates=40, adam_rounds=1, adam_steps=5, newton_rounds=6, n_held_out=40
)


@contextmanager
def limited(kind: int, amount: int) -> Iterator[None]:
    """This process may take so much of a resource, and no more."""
    before = resource.getrlimit(kind)
    resource.setrlimit(kind, (amount, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(kind, before)


@pytest.mark.slow
def test_an_export_that_is_killed_leaves_a_whole_bundle(tmp_path: Path) -> None:
    """`make verify-kill` does it to every command, 50 times each."""
    assert "killed" in killed("export", tmp_path, 2)


@pytest.mark.parametrize(("file", "largest"), [("config.json", 20), ("checkpoint.safetensors", 1500)])
def test_a_run_on_a_disk_that_is_full_goes_on_where_there_is_room(file: str, largest: int, tmp_path: Path) -> None:
    whole, run = train("heat", tmp_path / "whole", TINY), tmp_path / "run"
    with pytest.raises(OSError, match=file) as raised, limited(resource.RLIMIT_FSIZE, largest):
        train("heat", run, TINY)
    assert Path(raised.value.filename) == run / file
    assert not list(tmp_path.rglob(".*"))
    again = train("heat", run, TINY, resume=run.exists())
    assert again.record["sha256"] == whole.record["sha256"]
    assert [row["step"] for row in read_metrics(run)] == [row["step"] for row in read_metrics(tmp_path / "whole")]


def test_too_little_memory_is_said(tmp_path: Path) -> None:
    """A file within what a Program may have, on a machine that has less."""
    path = tmp_path / "program.npz"
    path.touch()
    os.truncate(path, 1 << 30)
    taken = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    with limited(resource.RLIMIT_AS, taken + (64 << 20)):
        result = CliRunner().invoke(app, ["info", str(path)])
    assert result.exit_code == 2
    assert "there is not enough memory" in result.stderr
