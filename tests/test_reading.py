"""What is read is a regular file of a size that is known before; every reader refuses everything else by name."""

from __future__ import annotations

import io
import json
import os
import signal
import socket
import struct
import tarfile
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from kdpinn_edge import zoo
from kdpinn_edge.archives import open_archive, read_arrays
from kdpinn_edge.bundle.manifest import read_manifest
from kdpinn_edge.comparison.device import _read as read_device
from kdpinn_edge.comparison.record_file import read_record
from kdpinn_edge.errors import KdpinnError, TrainError
from kdpinn_edge.importers.model import find_model
from kdpinn_edge.problems import problem
from kdpinn_edge.program.file import read_program
from kdpinn_edge.reading import parse_json, read_whole
from kdpinn_edge.studies.search.storage import open_study
from kdpinn_edge.studies.search.trial import Task
from kdpinn_edge.studies.study.plan import read_plan
from kdpinn_edge.training import load_pinn
from kdpinn_edge.training.config import TrainConfig
from kdpinn_edge.training.run_folder import read_metrics, record_of, run_config
from kdpinn_edge.training.samples import is_samples_file, read_samples
from kdpinn_edge.training.trained_for import trained_for

Read = Callable[[Path], object]


@pytest.fixture(autouse=True)
def _no_waiting() -> Iterator[None]:
    """A reader that waits ends in an error, and not with the patience of whoever runs the tests."""
    signal.alarm(60)
    yield
    signal.alarm(0)


# What is no regular file of a known size


def _socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as made:
        made.bind(os.path.relpath(path))


NOT_FILES: dict[str, Callable[[Path], object]] = {
    "fifo": os.mkfifo,
    "folder": Path.mkdir,
    "device": lambda path: path.symlink_to("/dev/zero"),
    "socket": lambda path: _socket(path),
    "20 GB of nothing": lambda path: (path.touch(), os.truncate(path, 20 << 30)),
    "link to itself": lambda path: path.symlink_to(path.name),
}

SOURCE = {"inputs": "x, t", "outputs": "u"}
READERS: dict[str, tuple[str, Read]] = {
    "manifest": ("manifest.json", lambda path: read_manifest(path.parent)),
    "program": ("p.npz", read_program),
    "program as a model": ("p.npz", find_model),
    "onnx": ("m.onnx", lambda path: find_model(path, **SOURCE)),
    "pt2": ("m.pt2", lambda path: find_model(path, **SOURCE)),
    "pt": ("m.pt", lambda path: find_model(path, **SOURCE, activation="tanh")),
    "mdlus": ("m.mdlus", lambda path: find_model(path, **SOURCE)),
    "safetensors": ("m.safetensors", find_model),
    "weights": ("m.safetensors", load_pinn),
    "config": ("config.json", lambda path: run_config(path.parent, TrainConfig)),
    "metrics": ("metrics.jsonl", lambda path: read_metrics(path.parent)),
    "record of a run": ("model.json", lambda path: record_of(path.parent)),
    "finished": ("model.json", lambda path: zoo.check_finished(path.parent)),
    "samples": ("s.npz", lambda path: read_samples(path, 1, 1)),
    "plan": ("plan.json", lambda path: read_plan(path.parent)),
    "search": ("s.db", lambda path: open_study(Task("heat", "", 1.0, 1, 1), f"sqlite:///{path}", 20)),
    "record": ("r.json", read_record),
    "device": ("d.json", read_device),
    "problem": ("p.py", lambda path: problem(str(path))),
}


@pytest.mark.parametrize("make", NOT_FILES.values(), ids=NOT_FILES)
@pytest.mark.parametrize(("name", "read"), READERS.values(), ids=READERS)
def test_only_regular_files_are_read(
    name: str, read: Read, make: Callable[[Path], object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)  # names of sockets are short
    make(tmp_path / name)
    with pytest.raises(KdpinnError, match=r"expected|usual cause|start one without resume"):
        read(tmp_path / name)
    assert not is_samples_file(tmp_path / name)


def test_what_was_found_is_said(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    with pytest.raises(OSError, match="not a regular file"):
        read_whole(tmp_path / "fifo", 10)
    (tmp_path / "large").write_bytes(bytes(11))
    with pytest.raises(OSError, match="it has 11 bytes; expected: at most 10"):
        read_whole(tmp_path / "large", 10)
    assert read_whole(tmp_path / "large", 11) == bytes(11)
    (tmp_path / "link").symlink_to("large")
    assert read_whole(tmp_path / "link", 11) == bytes(11)
    with pytest.raises(OSError, match="a symbolic link; expected: a regular file"):
        read_whole(tmp_path / "link", 11, link=False)


# JSON


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        (b"[" * 100_000, "nested too deep; expected: at most 64 deep"),
        (b'{"a":' * 129 + b"1" + b"}" * 129, "nested too deep"),
        (b'"' + b'\\"' * 1_000_000, "Unterminated string"),  # in linear time
        (b'["\\ud800"]', "surrogates not allowed"),
        (b"\xff", "invalid start byte"),
        (b" " * 101, "101 bytes; expected: at most 100"),
        (b"1" * 5000, "5,000 bytes; expected: at most 100"),
        (b'{"a": 1, "a": 2}', "a key occurs twice"),
        (b"NaN", "NaN is not a JSON number"),
        (b'["a"', "delimiter"),
    ],
)
def test_json_that_is_refused(text: bytes, fault: str) -> None:
    largest = 100 if "at most 100" in fault else 4 << 20
    with pytest.raises(ValueError, match=fault):
        parse_json(text, strict=True, largest=largest)


@pytest.mark.parametrize("value", [{"a": "]" * 200, "b": [chr(34), chr(92), "}{[", chr(0x1F600)]}, [[[]]] * 100, "x"])
def test_json_is_read_as_it_is(value: object) -> None:
    assert parse_json(json.dumps(value).encode(), strict=True) == value
    assert parse_json(json.dumps(value, ensure_ascii=False).encode()) == value


# Archives


def zipped(entries: dict[str, bytes], compression: int = zipfile.ZIP_STORED) -> bytes:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", compression) as archive:
        for name, data in entries.items():
            archive.writestr(name, data)
    return made.getvalue()


def npy(descr: str, shape: str, data: bytes = b"") -> bytes:
    header = f"{{'descr': {descr!r}, 'fortran_order': False, 'shape': {shape}, }}".encode() + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header + data


def test_archives_that_unpack_to_more_are_refused(tmp_path: Path) -> None:
    bomb = zipped({"x.npy": npy("|u1", f"({10**7},)", bytes(10**7)), "u.npy": b""}, zipfile.ZIP_DEFLATED)
    with pytest.raises(ValueError, match="an entry is compressed"):
        read_arrays(bomb)
    with pytest.raises(ValueError, match=r"the entries have 10,000,\d+ bytes; expected: at most 1,000,000"):
        read_arrays(bomb, 1_000_000)
    with pytest.warns(UserWarning, match="Duplicate"):
        twice = zipped_twice()
    with pytest.raises(ValueError, match="two entries have one name"):
        open_archive(twice)
    for name in ("", "data"):
        folder = zipfile.ZipInfo(name)
        folder.external_attr = 0x10
        with zipfile.ZipFile(marked := io.BytesIO(), "w") as written:
            written.writestr(folder, b"")
        with pytest.raises(ValueError, match="a file is marked as a folder"):
            open_archive(marked.getvalue())
    for name, data in {"m.pt2": bomb, "m.pt": bomb, "m.mdlus": bomb, "p.npz": bomb}.items():
        (tmp_path / name).write_bytes(data)
        with pytest.raises(KdpinnError, match="not a file that torch.save wrote" if name == "m.pt" else "compressed"):
            find_model(tmp_path / name, **SOURCE, **({"activation": "tanh"} if name == "m.pt" else {}))
    with tarfile.open(tmp_path / "t.mdlus", "w:gz") as tar:
        tar.addfile(tarfile.TarInfo("args.json"))
    with pytest.raises(KdpinnError, match="not an archive with args"):
        find_model(tmp_path / "t.mdlus", **SOURCE)


def test_a_file_that_is_marked_as_a_folder_is_refused(tmp_path: Path) -> None:
    """torch 2.13 does not read it, and its tensors are what lay in memory before."""
    made = io.BytesIO()
    torch.save({"0.weight": torch.ones(1, 2), "0.bias": torch.ones(1)}, made)
    data = bytearray(made.getvalue())
    entry = data.rindex(b"archive/data/0") - 46  # its header in the directory at the end
    assert data[entry : entry + 4] == b"PK\x01\x02"
    data[entry + 38] |= 0x10
    (tmp_path / "m.pt").write_bytes(data)
    with pytest.raises(KdpinnError, match="not a file that torch"):
        find_model(tmp_path / "m.pt", **SOURCE, activation="tanh")


def zipped_twice() -> bytes:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as archive:
        archive.writestr("a", b"1")
        archive.writestr("a", b"2")
    return made.getvalue()


@pytest.mark.parametrize(
    "content",
    [
        npy("<f8", "(1099511627776,)", bytes(8)),
        npy("<f8", "(2,)", bytes(8)),
        npy("<f8", "(1,)", bytes(9)),
        npy("<f8", "(-1, -1)", bytes(8)),
        npy("|O", "(1,)", bytes(8)),
        npy("<f8", "(" * 5000, bytes(8)),
        npy("<f8", "()"),
        b"",
    ],
)
def test_an_array_is_as_large_as_it_says(content: bytes) -> None:
    with pytest.raises(ValueError, match=r"array|magic"):
        read_arrays(zipped({"a.npy": content}))


@pytest.mark.parametrize("array", [np.eye(3)[:2], np.arange(6).reshape(3, 2).T, np.zeros((0, 3)), np.array(1.5)])
def test_arrays_are_read_as_numpy_reads_them(array: np.ndarray) -> None:
    made = io.BytesIO()
    np.savez(made, a=array)
    found = read_arrays(made.getvalue())["a"]
    assert found.dtype == array.dtype
    assert found.flags.writeable
    np.testing.assert_array_equal(found, array)


# What weights say of themselves


def weights(path: Path, tensors: dict[str, torch.Tensor], **metadata: str) -> Path:
    from safetensors.torch import save_file

    save_file(tensors, path, metadata)
    return path


def test_a_small_file_makes_no_large_network(tmp_path: Path) -> None:
    layers = {f"layers.{i}.weight": torch.zeros(100_000, 1, dtype=torch.float64) for i in range(3)}
    path = weights(tmp_path / "m.safetensors", layers, problem="heat", trained_for=trained_for(problem("heat")).text())
    with pytest.raises(TrainError, match=r"layers.1.weight has 1 columns; expected: 100000"):
        load_pinn(path)


@pytest.mark.parametrize("origin", ["1", "[1]", '{"path": "x"}', '{"path": 1, "sha256": "0"}', "[" * 1000, "NaN"])
def test_an_origin_that_is_none(origin: str, tmp_path: Path) -> None:
    path = weights(tmp_path / "m.safetensors", {"a": torch.zeros(1)}, problem="fisher", origin=origin)
    with pytest.raises(TrainError, match="the metadata 'origin' names no file"):
        load_pinn(path)


def test_no_program_is_run_because_weights_name_it(tmp_path: Path) -> None:
    planted = tmp_path / "planted.py"
    planted.write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\n")
    path = weights(tmp_path / "m.safetensors", {"a": torch.zeros(1)}, problem=str(planted))
    with pytest.raises(TrainError, match=r"solves '.*planted.py'; expected: one of"):
        load_pinn(path)
    assert not (tmp_path / "ran").exists()
