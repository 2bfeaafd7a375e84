"""Runs pages of the documentation as a reader would: each in a fresh environment and an empty folder, as it is printed.

    python tools/verify_docs.py [PAGE …]      by default README.md and the pages that `make verify-docs` runs

The package is installed from a wheel of this checkout, by the lines that the page has for it. Prints CPU time and disk;
the exit code is 1 where all pages take more than 10 minutes of CPU time, or where README.md, which exports an ONNX
file, takes more than 500 MB.
"""

from __future__ import annotations

import os
import resource
import shutil
import subprocess
import sys
import venv
from pathlib import Path
from tempfile import TemporaryDirectory

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "tests"))

import snippets  # noqa: E402

README = ROOT / "README.md"
CPU_SECONDS = 600
README_MB = 500


def main() -> int:
    """Run the pages one after the other."""
    pages = [Path(name).resolve() for name in sys.argv[1:]] or [
        README,
        *(path for path in sorted((ROOT / "docs").rglob("*.md")) if snippets.read(path).run_by == "verify-docs"),
    ]
    exceeded, seconds = False, 0.0
    with TemporaryDirectory() as folder:
        wheels = Path(folder) / "wheels"
        _build(Path(folder) / "source", wheels)
        for page in pages:
            home = Path(folder) / page.stem
            before = _cpu_seconds()
            _run(page, home, wheels)
            took, size = _cpu_seconds() - before, _megabytes(home)
            print(f"{page.relative_to(ROOT)}: {took:.0f} s of CPU time, {size:.0f} MB", flush=True)
            seconds += took
            if page == README and size > README_MB:
                print(f"README.md takes {size:.0f} MB; expected: at most {README_MB} MB")
                exceeded = True
    print(f"all pages: {seconds:.0f} s of CPU time")
    if seconds > CPU_SECONDS:
        print(f"all pages take {seconds:.0f} s of CPU time; expected: at most {CPU_SECONDS} s")
        exceeded = True
    return int(exceeded)


def _build(source: Path, wheels: Path) -> None:
    """Build the wheel of the files that git tracks, elsewhere: a build leaves files in its folder."""
    tracked = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True).stdout  # noqa: S607
    for name in filter(None, tracked.split("\0")):
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / name, source / name, follow_symlinks=False)
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", str(wheels), str(source)]
    subprocess.run(command, check=True)  # noqa: S603


def _run(page: Path, home: Path, wheels: Path) -> None:
    """Run a page with an environment of its own in `home`."""
    venv.create(home / "venv", with_pip=True)
    work = home / "work"
    work.mkdir()
    python = home / "venv" / "bin" / "python"
    environment = {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")}
    environment["PIP_FIND_LINKS"] = str(wheels)
    subprocess.run([python, snippets.__file__, page], check=True, cwd=work, env=environment)  # noqa: S603


def _cpu_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _megabytes(folder: Path) -> float:
    """What the files of a folder take on the disk, as `du` counts."""
    return sum(path.lstat().st_blocks for path in folder.rglob("*")) * 512 / 1e6


if __name__ == "__main__":
    sys.exit(main())
