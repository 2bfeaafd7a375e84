"""What is written is there whole or not at all, whoever else writes, plants or kills."""

from __future__ import annotations

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from kdpinn_edge.errors import KdpinnError
from kdpinn_edge.files import alone, append, check_folder, move_into_place, write_whole
from kdpinn_edge.unfinished import SUFFIX, new_file, new_folder, private_name, remove_abandoned

WRITER = """
import sys
from pathlib import Path
from kdpinn_edge.unfinished import new_file, new_folder
new = {"file": new_file, "folder": new_folder}[sys.argv[1]]
with new(Path(sys.argv[2])) as made:
    print("written", flush=True)
    sys.stdin.read()
"""


def names(folder: Path) -> list[str]:
    return sorted(each.name for each in folder.iterdir())


def test_a_planted_link_is_replaced_and_never_followed(tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("precious")
    for name in ("out", "out.unfinished", f".out.{'0' * 16}{SUFFIX}"):
        (tmp_path / name).symlink_to("victim")
    write_whole(tmp_path / "out", b"data")
    assert victim.read_text() == "precious"
    assert (tmp_path / "out").read_bytes() == b"data"
    assert not (tmp_path / "out").is_symlink()


def test_a_file_is_as_readable_as_the_users_other_files(tmp_path: Path) -> None:
    (tmp_path / "usual").touch()
    write_whole(tmp_path / "out", b"")
    assert (tmp_path / "out").stat().st_mode == (tmp_path / "usual").stat().st_mode


def test_writers_of_one_file_never_mix(tmp_path: Path) -> None:
    path, whole = tmp_path / "out", [bytes([65 + i]) * (100_000 + 50_000 * i) for i in range(3)]
    write_whole(path, whole[0])

    def write(data: bytes) -> None:
        for _ in range(4):
            write_whole(path, data)

    with ThreadPoolExecutor(3) as pool:
        writing = [pool.submit(write, data) for data in whole]
        while not all(each.done() for each in writing):
            assert path.read_bytes() in whole
        for each in writing:
            each.result()
    assert names(tmp_path) == ["out"]


@pytest.mark.parametrize("kind", ["file", "folder"])
def test_what_a_killed_writer_left_is_removed_and_what_another_writes_is_not(tmp_path: Path, kind: str) -> None:
    target = tmp_path / "out"
    started = [sys.executable, "-c", WRITER, kind, str(target)]
    with subprocess.Popen(started, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as writer:
        assert writer.stdout is not None
        assert writer.stdout.readline() == "written\n"
        before = names(tmp_path)
        assert len(before) == 1
        remove_abandoned(target)
        write_whole(target, b"of another")
        assert names(tmp_path) == sorted([*before, "out"])
        writer.kill()
    assert names(tmp_path) == sorted([*before, "out"])
    remove_abandoned(tmp_path / "ou")
    write_whole(tmp_path / "t", b"of another name")
    assert set(before) <= set(names(tmp_path))
    write_whole(target, b"the next")
    assert names(tmp_path) == ["out", "t"]


def test_only_ours_is_removed(tmp_path: Path) -> None:
    target, kept = tmp_path / "out", tmp_path / f".out.mine{SUFFIX}"
    kept.touch()
    (tmp_path / f".out.{'0' * 16}{SUFFIX}.bak").touch()
    os.mkfifo(private_name(target))
    before = names(tmp_path)
    write_whole(target, b"")
    assert names(tmp_path) == sorted([*before, "out"])


def test_an_unfinished_folder_is_gone_after_an_error(tmp_path: Path) -> None:
    def fail() -> None:
        with new_folder(tmp_path / "out") as made:
            (made / "file").touch()
            raise ValueError("stop")

    with pytest.raises(ValueError, match="stop"):
        fail()
    with new_file(tmp_path / "out") as (_, path):
        assert path.exists()
    assert names(tmp_path) == []


def test_a_folder_is_moved_into_place(tmp_path: Path) -> None:
    for content in ("old", "new"):
        with new_folder(tmp_path / "out") as made:
            (made / content).touch()
            move_into_place(made, tmp_path / "out")
    assert names(tmp_path) == ["out"]
    assert names(tmp_path / "out") == ["new"]
    (tmp_path / "usual").mkdir()
    assert (tmp_path / "out").stat().st_mode == (tmp_path / "usual").stat().st_mode


def test_a_device_and_a_fifo_are_not_replaced(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "null").symlink_to("/dev/null")
    for name in ("fifo", "null"):
        with pytest.raises(OSError, match="this is no regular file"):
            write_whole(tmp_path / name, b"data")
        with pytest.raises(KdpinnError, match="this is no regular file; expected: a new file, or one to replace"):
            check_folder(tmp_path / name, KdpinnError)
    assert names(tmp_path) == ["fifo", "null"]


def test_what_is_added_to_follows_no_link_and_waits_for_no_fifo(tmp_path: Path) -> None:
    append(tmp_path / "lines", "one\n")
    append(tmp_path / "lines", "two\n")
    assert (tmp_path / "lines").read_text() == "one\ntwo\n"
    (tmp_path / "link").symlink_to("lines")
    os.mkfifo(tmp_path / "fifo")
    for name in ("link", "fifo"):
        with pytest.raises(OSError, match=name):
            append(tmp_path / name, "three\n")
        with pytest.raises(OSError, match=name), alone(tmp_path / name):
            pass
    assert (tmp_path / "lines").read_text() == "one\ntwo\n"


def test_alone_keeps_what_the_file_holds_and_its_own_errors(tmp_path: Path) -> None:
    (tmp_path / "lock").write_text("held")
    with pytest.raises(FileNotFoundError, match="another"), alone(tmp_path / "lock"):
        (tmp_path / "another").read_bytes()
    assert (tmp_path / "lock").read_text() == "held"
