"""Folders that a command may replace, and those that it may not."""

from __future__ import annotations

import os
import resource
import signal
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from multiprocessing import active_children, get_context
from pathlib import Path
from time import sleep

import pytest
from typer.testing import CliRunner

from kdpinn_edge.cli import app
from kdpinn_edge.errors import KdpinnError
from kdpinn_edge.files import Kind, check_free, clear, move_into_place, write_whole
from kdpinn_edge.interrupts import undisturbed
from kdpinn_edge.studies import worker
from kdpinn_edge.studies.search.run import SEARCH
from kdpinn_edge.studies.study.run import STUDY
from kdpinn_edge.training.run_folder import RUN, append_metrics, open_run
from kdpinn_edge.unfinished import private_name

NOTE = Kind("note", "mark", ("mark", "*/page.txt", "page[[]1].txt"))


def folder(root: Path, *files: str) -> Path:
    for file in files:
        (root / file).parent.mkdir(parents=True, exist_ok=True)
        (root / file).write_text(file)
    return root


def check(path: Path, *, force: bool) -> None:
    check_free(path, NOTE, KdpinnError, force=force, otherwise="tear it up, ")


@pytest.mark.parametrize("force", [False, True])
def test_a_folder_that_is_new_or_empty_is_free(tmp_path: Path, force: bool) -> None:
    check(tmp_path, force=force)
    check(tmp_path / "new", force=force)


def test_a_folder_of_the_kind_is_free_by_force(tmp_path: Path) -> None:
    folder(tmp_path, "mark", "a/page.txt", "page[1].txt")
    check(tmp_path, force=True)
    with pytest.raises(KdpinnError, match=r"holds a note; .*Name another one, tear it up, or replace the note by --fo"):
        check(tmp_path, force=False)


@pytest.mark.parametrize("force", [False, True])
@pytest.mark.parametrize(
    ("files", "shown"),
    [
        (("a/page.txt",), r"\(a/page.txt\)"),
        (("mark", "photo.png"), r"\(photo.png\)"),
        (("mark", "a/page.txt.bak", "page1.txt"), r"\(a/page.txt.bak, page1.txt\)"),
        (("mark", "1", "2", "3", "4"), r"\(1, 2, 3, …\)"),
        (("a/mark",), r"\(a/mark\)"),
    ],
)
def test_what_nobody_here_wrote_is_never_free(tmp_path: Path, files: tuple[str, ...], shown: str, force: bool) -> None:
    with pytest.raises(KdpinnError, match=rf"already holds other files than those of a note {shown}; expected: a fold"):
        check(folder(tmp_path, *files), force=force)


@pytest.mark.parametrize("force", [False, True])
def test_a_file_and_a_link_are_no_folder(tmp_path: Path, force: bool) -> None:
    folder(tmp_path / "real", "mark")
    (tmp_path / "link").symlink_to("real")
    (tmp_path / "dangling").symlink_to("nowhere")
    for path in (tmp_path / "link", tmp_path / "dangling", tmp_path / "real" / "mark"):
        with pytest.raises(KdpinnError, match="is no folder; expected: a folder that is new or empty"):
            check(path, force=force)


@pytest.mark.parametrize("kind", [RUN, STUDY, SEARCH])
def test_the_marker_of_a_kind_is_one_of_its_files(kind: Kind, tmp_path: Path) -> None:
    check_free(folder(tmp_path, kind.marker), kind, KdpinnError, force=True)


def test_what_a_killed_run_was_writing_is_of_its_kind(tmp_path: Path) -> None:
    left = private_name(tmp_path / "checkpoint.safetensors")
    check_free(folder(tmp_path, "config.json", left.name), RUN, KdpinnError, force=True)
    with pytest.raises(KdpinnError, match="already holds other files"):
        check_free(folder(tmp_path, private_name(tmp_path / "notes").name), RUN, KdpinnError, force=True)


def test_a_search_holds_runs_with_bundles(tmp_path: Path) -> None:
    found = folder(tmp_path, "search.db", "best.lock", "trial_0001/config.json", "best_16x16/bundle/net.h")
    check_free(found, SEARCH, KdpinnError, force=True)
    with pytest.raises(KdpinnError, match=r"\(trial_0001/notes.txt\)"):
        check_free(folder(tmp_path, "trial_0001/notes.txt"), SEARCH, KdpinnError, force=True)


def test_clear(tmp_path: Path) -> None:
    clear(tmp_path / "none")
    clear(folder(tmp_path / "one", "mark", "a/page.txt"))
    (tmp_path / "empty").mkdir()
    clear(tmp_path / "empty")  # stays: it may be where a disk is mounted
    assert os.listdir(tmp_path) == ["empty"]


def test_a_folder_is_replaced_or_stays(tmp_path: Path) -> None:
    old, made = folder(tmp_path / "out", "mark"), folder(tmp_path / "made", "a/page.txt")
    with pytest.raises(FileNotFoundError):
        move_into_place(tmp_path / "nothing", old)
    assert os.listdir(old) == ["mark"]
    move_into_place(made, old)
    assert os.listdir(tmp_path) == ["out"]
    assert os.listdir(old) == ["a"]


# A disk that is full


@contextmanager
def no_file_beyond(size: int) -> Iterator[None]:
    """A disk on which no file can have more bytes: writing on fails as on one that is full, with another errno."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_file_that_does_not_fit_is_named_and_leaves_what_was_there(tmp_path: Path) -> None:
    path = tmp_path / "data"
    path.write_bytes(b"before")
    with no_file_beyond(100), pytest.raises(OSError, match="File too large") as raised:
        write_whole(path, bytes(1000))
    assert raised.value.filename == str(path)
    assert {each.name: each.read_bytes() for each in tmp_path.iterdir()} == {"data": b"before"}
    with no_file_beyond(0), pytest.raises(OSError, match="File too large") as raised:
        append_metrics(tmp_path, {"step": 1})
    assert raised.value.filename == str(tmp_path / "metrics.jsonl")


def test_a_run_that_does_not_fit_leaves_no_folder(tmp_path: Path) -> None:
    with no_file_beyond(20), pytest.raises(OSError, match=r"config\.json"):
        open_run(tmp_path / "run", {"role": "teacher"}, resume=False)
    assert list(tmp_path.iterdir()) == []


def test_a_bundle_that_does_not_fit_is_named_and_leaves_nothing(tmp_path: Path) -> None:
    out = tmp_path / "bundles" / "heat"
    out.parent.mkdir()
    with no_file_beyond(2000):
        result = CliRunner().invoke(app, ["export", "heat", "--target", "c99", "--out", str(out)])
    assert result.exit_code == 2
    assert f"error: {out} cannot be written: File too large. Nothing was left behind.\n" in result.stderr
    assert list(out.parent.iterdir()) == []


# Interrupts of the processes that work for a study


def test_a_worker_without_work_ends_silently(capfd: pytest.CaptureFixture[str]) -> None:
    with ProcessPoolExecutor(1, get_context("spawn"), initializer=worker.begin) as pool:
        with undisturbed():
            work = pool.submit(sleep, 60)
        (child,) = active_children()
        assert child.pid is not None
        os.kill(child.pid, signal.SIGINT)  # it waits until the worker can end by it
        assert isinstance(work.exception(timeout=50), BrokenProcessPool)
    assert child.exitcode == -signal.SIGINT
    assert capfd.readouterr() == ("", "")


def test_work_is_interrupted_by_an_exception() -> None:
    before = signal.getsignal(signal.SIGINT)
    try:
        with pytest.raises(KeyboardInterrupt), worker.interruptible():
            signal.raise_signal(signal.SIGINT)
        assert signal.getsignal(signal.SIGINT) == signal.SIG_DFL
    finally:
        signal.signal(signal.SIGINT, before)
