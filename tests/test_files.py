"""Folders that a command may replace, and those that it may not."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from kdpinn_edge.errors import KdpinnError
from kdpinn_edge.files import Kind, check_free, clear, move_into_place
from kdpinn_edge.studies.search.run import SEARCH
from kdpinn_edge.studies.study.run import STUDY
from kdpinn_edge.training.run_folder import RUN

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
