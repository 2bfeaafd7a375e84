"""Commands that are killed at random moments: what they wrote before is there and whole, and the same command goes on.

Each command is run once without a kill, for its duration and its result; then again and again, killed at a moment that
is drawn from that duration, and once more to its end.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from random import Random

from kdpinn_edge import zoo
from kdpinn_edge.bundle.manifest import check_files, read_manifest
from kdpinn_edge.comparison.record import read_record
from kdpinn_edge.export.bundle import export_bundle
from kdpinn_edge.program.file import read_program
from kdpinn_edge.studies.study.plan import read_plan
from kdpinn_edge.studies.study.results import read_accuracy
from kdpinn_edge.training.run_folder import read_json, read_metrics
from kdpinn_edge.training.weights import read_tensors

PATIENCE_S = 900


@dataclass(frozen=True)
class Command:
    """A command and what it writes, `out`; with the words `again` it goes on with what is there, or replaces it.

    `finished` checks that all that is there is whole, and counts what is finished: that never becomes less. `begun`
    says whether there is something to go on with. `result` is the hash of what does not depend on kills.
    """

    words: tuple[str, ...]
    out: str
    finished: Callable[[Path], int]
    again: tuple[str, ...] = ()
    begun: Callable[[Path], bool] = Path.exists
    result: Callable[[Path], str] = lambda out: ""


def _bundle(out: Path) -> int:
    if not out.exists():
        return 0
    check_files(out, read_manifest(out))
    return 1


def _run(out: Path) -> int:
    if not (out / "config.json").exists():
        return 0
    read_json(out / "config.json")
    for name in ("checkpoint.safetensors", "model.safetensors"):
        if (out / name).exists():
            read_tensors(out / name)
    if (out / "model.json").exists():
        read_json(out / "model.json")
    if (out / "metrics.jsonl").exists():
        read_metrics(out)
    path = out / "checkpoint.safetensors"
    return int(read_tensors(path)[0]["numbers"][0]) if path.exists() else 0


def _is_run(out: Path) -> bool:
    return (out / "config.json").exists()


def _weights(out: Path) -> str:
    return hashlib.sha256((out / "model.safetensors").read_bytes()).hexdigest()


def _study(out: Path) -> int:
    plan = read_plan(out) if out.exists() else None
    cells = () if plan is None else plan.cells
    for cell in cells:
        _run(out / cell.name)
    measured = [cell for cell in cells if (out / cell.name / "accuracy.json").exists()]
    for cell in measured:
        read_accuracy(out / cell.name)
    return len(measured)


def _search(out: Path) -> int:
    path = out / "search.db"
    if not path.exists():
        return 0
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("pragma integrity_check").fetchone() == ("ok",)
        tables = connection.execute("select count(*) from sqlite_master where name='trials'").fetchone()[0]
        count = "select count(*) from trials where state='COMPLETE'"
        return int(connection.execute(count).fetchone()[0]) if tables else 0


def _record(out: Path) -> int:
    return sum(len(cell.blocks) for cell in read_record(out).cells) if out.exists() else 0


TINY = ("--hidden", "6", "--points", "100", "--rounds", "6", "--steps", "10")
STUDY = ("--size", "4", "--size", "5", "--seeds", "1", "--method", "values", "--seconds", "5")
BENCH = ("--backend", "library, cffi", "--backend", "numpy program", "--n", "1")
SEARCH = ("--max-error", "1", "--trials", "2", "--seconds", "1", "--rounds", "1")
COMMANDS = {
    "export": Command(("export", "heat_small", "--target", "c99", "--out"), "heat", _bundle, ("--force",)),
    "train": Command(("train", "heat", *TINY, "--out"), "run", _run, ("--resume",), _is_run, _weights),
    "study": Command(("study", "heat", *STUDY, "--out"), "study", _study),
    "search": Command(("search", "heat", *SEARCH, "--out"), "search", _search),
    "bench": Command(("bench", "bundle", *BENCH, "--out"), "record.json", _record, ("--resume",)),
}


def killed(name: str, folder: Path, kills: int, seed: int = 0) -> str:
    """Kill a command so often, check what it left after each, and return a line that says what was seen.

    Raises AssertionError where something that was finished is gone, or what was left cannot be gone on with.
    """
    command, rng, out = COMMANDS[name], Random(seed), folder / COMMANDS[name].out  # noqa: S311
    if name == "bench":
        export_bundle(read_program(zoo.program("heat_small")), folder / "bundle", name="heat")
    began = time.perf_counter()
    _whole(command, folder)
    duration, result, finished = time.perf_counter() - began, command.result(out), command.finished(out)
    count = left = 0
    through = True
    for _ in range(kills):
        if through and name != "export":
            (shutil.rmtree if out.is_dir() else Path.unlink)(out)
            finished = 0
        process = _started(command, folder)
        try:
            process.communicate(timeout=rng.uniform(0, duration))
            through = True
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
            count, through = count + 1, False
        found = command.finished(out)
        assert found >= finished, f"{name}: {finished} were finished, {found} are left"
        finished = found
        left = max(left, len(list(folder.glob(".*.unfinished"))))
    _whole(command, folder)
    assert command.result(out) == result, f"{name}: another result than without a kill"
    assert not list(folder.glob(".*.unfinished")), name
    return f"{name}: killed {count} times within {duration:.1f} s, at most {left} unfinished beside; all went on"


def _started(command: Command, folder: Path) -> subprocess.Popen[bytes]:
    more = command.again if command.begun(folder / command.out) else ()
    return subprocess.Popen(
        [sys.executable, "-m", "kdpinn_edge", *command.words, command.out, *more],
        cwd=folder,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )


def _whole(command: Command, folder: Path) -> None:
    """Run the command to its end, which may be that a limit is not kept."""
    process = _started(command, folder)
    _, said = process.communicate(timeout=PATIENCE_S)
    assert process.returncode in (0, 1), said.decode()
    assert b"Traceback" not in said, said.decode()
