"""Programs for Windows, run here by Wine."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest
from artifacts import Artifacts
from conftest import Need

WITHOUT_A_SCREEN = {"WINEDEBUG": "-all", "WINEARCH": "win64", "WINEDLLOVERRIDES": "mscoree,mshtml=;winedbg="}
"""Wine would look for the installers of .NET and of a browser, and start a debugger, otherwise."""
TEMPORARY = "C:\\windows\\Temp"

ZIG = (sys.executable, "-m", "ziglang")
COMPILER = (*ZIG, "cc", "-target", "x86_64-windows-gnu", "-std=gnu11", "-O1")
BARE = ("-c", "-fno-builtin", "-fno-stack-protector", "-fno-sanitize=undefined")
LINKER = (*ZIG, "lld-link", "/nologo", "/entry:start", "/subsystem:console", "/machine:x64")


@dataclass(frozen=True)
class Wine:
    """The program `command`, with its drive C: in the folder `prefix`."""

    command: str
    prefix: Path

    def run(self, *arguments: str | Path, cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
        """What a program printed; its streams are pipes, since Python for Windows takes no others here."""
        return subprocess.run(
            [self.command, *map(str, arguments)],
            cwd=cwd,
            env={**os.environ, **WITHOUT_A_SCREEN, "WINEPREFIX": str(self.prefix), "TEMP": TEMPORARY, **environment},
            input="",
            capture_output=True,
            text=True,
            errors="replace",
            check=False,
        )


def wine(artifacts: Artifacts, need: Need) -> Wine:
    """Wine with a drive C: that all tests of a session share.

    Wine would fill it with 700 MB of its own libraries. It is enough that the folder of the system is the one where
    Debian has them.
    """
    found = shutil.which("wine64", path=f"{os.environ['PATH']}:/usr/lib/wine") or need("wine64")
    libraries = next(Path("/usr/lib").glob("*/wine/x86_64-windows"), None)
    if libraries is None:
        pytest.skip("Wine has its libraries elsewhere than under Debian")

    def begin(prefix: Path) -> None:
        (prefix / "dosdevices").mkdir(parents=True)
        (prefix / "drive_c" / "windows" / "Temp").mkdir(parents=True)
        (prefix / "drive_c" / "windows" / "system32").symlink_to(libraries)
        (prefix / ".update-timestamp").write_text("disable\n")
        for drive, folder in (("c:", "../drive_c"), ("z:", "/")):
            (prefix / "dosdevices" / drive).symlink_to(folder)

    return Wine(found, artifacts.made("prefix", begin))


def compiled(source: Path, program: Path, *options: str | Path) -> Path:
    """A C program for Windows. Where Zig has not built a C library for it before, that takes minutes."""
    subprocess.run([*COMPILER, source, *map(str, options), "-o", program], check=True)
    return program


def compiled_bare(source: Path, program: Path, functions: Sequence[str], *options: str | Path) -> Path:
    """A C program for Windows that begins with `start` and calls these functions of KERNEL32 alone."""
    objects, imports, library = (program.with_suffix(suffix) for suffix in (".o", ".def", ".lib"))
    imports.write_text("\n".join(["LIBRARY KERNEL32.dll", "EXPORTS", *functions, ""]))
    for command in (
        [*COMPILER, *BARE, *options, source, "-o", objects],
        [*ZIG, "dlltool", "-m", "i386:x86-64", "-d", imports, "-l", library],
        [*LINKER, objects, library, f"/out:{program}"],
    ):
        subprocess.run(command, check=True)
    return program


def windows_path(path: Path) -> str:
    """What a program for Windows calls a file of this system."""
    return f"Z:{path}".replace("/", "\\")
