"""The gates on artifacts that are no ELF library, and the archive that is written for bare metal."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from conftest import Need
from strategies import mlp

from kdpinn_edge.bundle.manifest import Input
from kdpinn_edge.errors import ExportError
from kdpinn_edge.export.artifacts.archive import archive, only_member
from kdpinn_edge.export.artifacts.gates import check_artifact
from kdpinn_edge.export.artifacts.linking import ZIG, link, linker, run_in
from kdpinn_edge.export.targets.interface import Interface
from kdpinn_edge.export.targets.table import TARGETS

C = """
extern void elsewhere(void);
int counter = 1;
int model_eval(void) { elsewhere(); return counter++; }
"""


def interface(target: str) -> Interface:
    return Interface("model", "float32", TARGETS[target], (Input("x0"),), {"eval": mlp(1, 4, 1, 1)})


@pytest.fixture
def foreign(tmp_path: Path, need: Need) -> bytes:
    """An object that needs a symbol, has writable data and lacks most functions."""
    source, result = tmp_path / "other.c", tmp_path / "other.o"
    source.write_text(C)
    subprocess.run([need("cc"), "-c", "-fno-asynchronous-unwind-tables", "-o", result, source], check=True)
    return result.read_bytes()


def test_an_archive_is_read_by_binutils(foreign: bytes, tmp_path: Path, need: Need) -> None:
    path = tmp_path / "libmodel.a"
    path.write_bytes(archive(foreign, "a_name_that_is_too_long.o", ("model_eval",)))
    members = subprocess.run([need("ar"), "t", path], capture_output=True, text=True, check=True).stdout
    assert members.split() == ["a_name_that_is_"]
    index = subprocess.run([need("nm"), "--print-armap", path], capture_output=True, text=True, check=True).stdout
    assert "model_eval in a_name_that_is_" in index
    assert only_member(path.read_bytes()) == foreign


def test_zig_needs_no_home_that_can_be_written(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HOME", "XDG_CACHE_HOME"):
        monkeypatch.setenv(name, "/dev/null")
    made = run_in(
        {"a.c": b"int a;\n"},
        [*ZIG, "cc", "-target", "aarch64-linux-none", "-c", "a.c", "-o", "a.o"],
        ["a.o"],
        "compiler",
    )
    assert made["a.o"].startswith(b"\x7fELF")


def test_an_archive_that_needs_something(foreign: bytes) -> None:
    with pytest.raises(ExportError) as error:
        check_artifact(archive(foreign, "model.o", ("model_eval",)), interface("cortex-m4"))
    for part in ("exports ['counter', 'model_eval']", "needs the symbols ['elsewhere']", "['.data']"):
        assert part in str(error.value)


@pytest.mark.parametrize("at", [1 << 62, (1 << 64) - 1])
def test_a_place_that_no_file_has(foreign: bytes, at: int) -> None:
    """Where an ELF file of 64 bits says that its sections are: bytes 40 to 47."""
    damaged = foreign[:40] + at.to_bytes(8, "little") + foreign[48:]
    with pytest.raises(ExportError, match="is not what it should be"):
        check_artifact(archive(damaged, "model.o", ("model_eval",)), interface("cortex-m4"))


def test_a_wasm_module_that_imports() -> None:
    types, imports = b"\1\4\1\x60\0\0", b"\2\7\1\1m\1f\0\0"
    exports, code, data = b"\7\5\1\1f\0\0", b"\x0a\1\0", b"\x0b\1\0"
    with pytest.raises(ExportError) as error:
        check_artifact(b"\0asm\1\0\0\0" + types + imports + exports + code + data, interface("wasm"))
    for part in ("exports ['f']", "needs the symbols ['an import']"):
        assert part in str(error.value)


@pytest.mark.parametrize("target", ["x86-64-v3", "cortex-m4", "wasm", "windows-x86-64", "macos-arm64"])
@pytest.mark.parametrize("artifact", [b"", b"!<arch>\n", b"\0asm\1\0\0\0\1", b"MZ", b"\xcf\xfa\xed\xfe"])
def test_something_else(artifact: bytes, target: str) -> None:
    with pytest.raises(ExportError, match="is not what it should be"):
        check_artifact(artifact, interface(target))


def test_a_linker_that_fails_is_quoted() -> None:
    command = (sys.executable, "-c", "import sys; sys.exit('no such option')")
    with pytest.raises(ExportError, match="no such option"):
        link(b"", interface("aarch64"), command)


def test_bare_metal_needs_no_linker(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr("kdpinn_edge.export.artifacts.linking.find_spec", lambda name: None)
    assert linker(interface("cortex-m4")) == ()
    with pytest.raises(
        ExportError, match=r"no linker for aarch64: the package ziglang is not installed.*--cc, or: pip install"
    ):
        linker(interface("aarch64"))
