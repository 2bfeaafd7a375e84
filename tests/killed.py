"""Commands that are killed at random moments: what they wrote before is there and whole, and the same command goes on.

Each command is run once without a kill, for its result and for how long it writes; then again and again, killed at a
moment that is drawn from that time, and once more to its end. What comes after the last file, as the latencies that a
study prints, has nothing to lose and is cut off.
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

import numpy as np

from kdpinn_edge import zoo
from kdpinn_edge.bundle.manifest import check_files, read_manifest
from kdpinn_edge.comparison.record_file import read_record
from kdpinn_edge.export.bundle import export_bundle
from kdpinn_edge.program.file import read_program
from kdpinn_edge.studies.study.plan import Plan, StudyCell, read_plan, write_plan
from kdpinn_edge.studies.study.results import read_accuracy
from kdpinn_edge.training import DistillConfig
from kdpinn_edge.training.run_folder import read_json, read_metrics, record_of
from kdpinn_edge.training.weights import read_tensors

PATIENCE_S = 900


@dataclass(frozen=True)
class Command:
    """A command and what it writes, `out`; with the words `again` it goes on with what is there, or replaces it.

    `finished` checks that all that is there is whole, and counts what is finished: that never becomes less. `begun`
    says whether there is something to go on with. `result` is the hash of what does not depend on kills. `prepare` lays
    into the folder what the command reads, and `start` into `out` what it begins with.
    """

    words: tuple[str, ...]
    out: str
    finished: Callable[[Path], int]
    again: tuple[str, ...] = ()
    begun: Callable[[Path], bool] = Path.exists
    result: Callable[[Path], str] = lambda out: ""
    prepare: Callable[[Path], object] = lambda folder: None
    start: Callable[[Path], object] = lambda out: None


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


def _all_weights(out: Path) -> str:
    return " ".join(_weights(run) for run in sorted(out.glob("values_*")))


def _small_plan(out: Path) -> None:
    """A study of two sizes and two seeds, with fewer steps than the smallest budget would give it."""
    cells = [
        StudyCell("values", DistillConfig(hidden, seed, 100, 100, 1, 20, newton_rounds=4, n_held_out=100))
        for seed in range(2)
        for hidden in ((4,), (5,))
    ]
    taken = record_of(TEACHER).training_cpu_seconds
    write_plan(Plan("heat", TEACHER, "lm", 1.0, taken, tuple(cells)), out)


def _few_samples(folder: Path) -> None:
    """A source that a student follows in a second, of whatever size."""
    x = np.random.default_rng(0).random((60, 2))
    np.savez(folder / "samples.npz", x=x, u=np.sin(x[:, :1]))


def _search(out: Path) -> int:
    for run in (*out.glob("trial_*"), *out.glob("best_*")):
        _run(run)
        _bundle(run / "bundle")
    path = out / "search.db"
    if not path.exists():
        return 0
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("pragma integrity_check").fetchone() == ("ok",)
        tables = connection.execute("select count(*) from sqlite_master where name='trials'").fetchone()[0]
        count = "select count(*) from trials where state='COMPLETE'"
        return int(connection.execute(count).fetchone()[0]) if tables else 0


def _heat(folder: Path) -> None:
    export_bundle(read_program(zoo.program("heat_small")), folder / "bundle", name="heat")


def _record(out: Path) -> int:
    return sum(len(cell.blocks) for cell in read_record(out).cells) if out.exists() else 0


TINY = ("--hidden", "6", "--points", "100", "--rounds", "6", "--steps", "10")
TEACHER = "heat_small"  # a small one: tables through it, which the report measures, are laid out at once
STUDY = ("--teacher", TEACHER, "--size", "4", "--size", "5", "--seeds", "2", "--method", "values", "--seconds", "1")
BENCH = ("--backend", "library, cffi", "--backend", "numpy program", "--n", "1")
SAMPLES = ("samples.npz", "--inputs", "x=0:1, t=0:1", "--outputs", "u")
SEARCH = (*SAMPLES, "--max-error", "1", "--trials", "2", "--seconds", "1", "--rounds", "1")
COMMANDS = {
    "export": Command(("export", "heat_small", "--target", "c99", "--out"), "heat", _bundle, ("--force",)),
    "train": Command(("train", "heat", *TINY, "--out"), "run", _run, ("--resume",), _is_run, _weights),
    "study": Command(("study", "heat", *STUDY, "--out"), "study", _study, result=_all_weights, start=_small_plan),
    "search": Command(("search", *SEARCH, "--out"), "search", _search, prepare=_few_samples),
    "bench": Command(("bench", "bundle", *BENCH, "--out"), "record.json", _record, ("--resume",), prepare=_heat),
}


def killed(name: str, folder: Path, kills: int, seed: int = 0) -> str:
    """Kill a command so often, check what it left after each, and return a line that says what was seen.

    Raises AssertionError where something that was finished is gone, or what was left cannot be gone on with.
    """
    command, rng, out = COMMANDS[name], Random(seed), folder / COMMANDS[name].out  # noqa: S311
    command.prepare(folder)
    command.start(out)
    began = time.time()
    _whole(command, folder)
    writes_s = max(path.stat().st_mtime for path in (folder, *folder.rglob("*"))) - began
    result, finished = command.result(out), command.finished(out)
    count = left = 0
    through = True
    for _ in range(kills):
        if through and name != "export":
            (shutil.rmtree if out.is_dir() else Path.unlink)(out)
            command.start(out)
            finished = 0
        process = _started(command, folder)
        try:
            process.communicate(timeout=rng.uniform(0, writes_s))
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
    return f"{name}: killed {count} times within {writes_s:.1f} s, at most {left} unfinished beside; all went on"


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
