"""Programs for Windows, run here by Wine."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
from artifacts import Artifacts
from conftest import Need

WITHOUT_A_SCREEN = {"WINEDEBUG": "-all", "WINEARCH": "win64", "WINEDLLOVERRIDES": "mscoree,mshtml=;winedbg="}
"""Wine would look for the installers of .NET and of a browser, and start a debugger, otherwise."""
TEMPORARY = "C:\\windows\\Temp"

COMPILER = (sys.executable, "-m", "ziglang", "cc", "-target", "x86_64-windows-gnu")


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
    """A C program for Windows."""
    subprocess.run([*COMPILER, "-std=gnu11", "-O1", source, *map(str, options), "-o", program], check=True)
    return program


def windows_path(path: Path) -> str:
    """What a program for Windows calls a file of this system."""
    return f"Z:{path}".replace("/", "\\")
