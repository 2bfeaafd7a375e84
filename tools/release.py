"""Makes the files of a release in dist/: sdist, wheel and SHA256SUMS. It pushes nothing and uploads nothing.

    python tools/release.py

HEAD must be clean and have the tag vVERSION; CHANGELOG.md must have the heading `## VERSION (YYYY-MM-DD)`, and
CITATION.cff the version and that date. The files are built twice from `git archive`, with SOURCE_DATE_EPOCH the time
of the commit, and must be equal: whoever has the commit and the same versions of the build tools gets the same bytes.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import os
import re
import subprocess
import sys
import tarfile
import tomllib
import venv
from pathlib import Path
from tempfile import TemporaryDirectory

ROOT = Path(__file__).parents[1]
CFFCONVERT = "cffconvert==2.0.0"


def faults(root: Path) -> list[str]:
    """What has to be mended before the release, in the order in which it is done."""
    version = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]
    changelog = (root / "CHANGELOG.md").read_text(encoding="utf-8")
    citation = (root / "CITATION.cff").read_text(encoding="utf-8")
    found = []
    dated = re.search(rf"^## {re.escape(version)} \((\d{{4}}-\d{{2}}-\d{{2}})\)$", changelog, re.MULTILINE)
    if not dated:
        found.append(f"CHANGELOG.md has no heading '## {version} (YYYY-MM-DD)'")
    if not re.search(rf"^version: {re.escape(version)}$", citation, re.MULTILINE):
        found.append(f"CITATION.cff has no line 'version: {version}'")
    if dated and not re.search(rf"^date-released: {dated[1]}$", citation, re.MULTILINE):
        found.append(f"CITATION.cff has no line 'date-released: {dated[1]}'")
    if _git(root, "status", "--porcelain"):
        found.append("there are changes that are not committed")
    if f"v{version}" not in _git(root, "tag", "--points-at", "HEAD").split():
        found.append(f"HEAD has no tag v{version}; git tag -a v{version} makes it")
    return found


def build(root: Path, out: Path) -> None:
    """Build sdist and wheel of HEAD into `out`."""
    epoch = int(_git(root, "log", "-1", "--format=%ct"))
    with TemporaryDirectory() as folder:
        archive = subprocess.run(["git", "archive", "HEAD"], cwd=root, check=True, stdout=subprocess.PIPE).stdout  # noqa: S607
        with tarfile.open(fileobj=io.BytesIO(archive)) as files:
            files.extractall(folder, filter="tar")
        environment = os.environ | {"SOURCE_DATE_EPOCH": str(epoch)}
        command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(out), folder]
        subprocess.run(command, check=True, env=environment, stdout=subprocess.DEVNULL)  # noqa: S603
    for sdist in out.glob("*.tar.gz"):
        sdist.write_bytes(normalised(sdist.read_bytes(), epoch))


def normalised(sdist: bytes, epoch: int) -> bytes:
    """The same files in the order of their names, of nobody, from `epoch`: setuptools writes the hour of the build."""
    out = io.BytesIO()
    with (
        tarfile.open(fileobj=io.BytesIO(sdist)) as old,
        gzip.GzipFile(filename="", mode="wb", fileobj=out, mtime=epoch) as packed,
        tarfile.open(fileobj=packed, mode="w", format=tarfile.PAX_FORMAT) as new,
    ):
        for member in sorted(old.getmembers(), key=lambda each: each.name):
            member.mtime, member.pax_headers = epoch, {}
            member.uid = member.gid = 0
            member.uname = member.gname = ""
            member.mode = 0o755 if member.isdir() or member.mode & 0o100 else 0o644
            new.addfile(member, old.extractfile(member) if member.isfile() else None)
    return out.getvalue()


def sums(folder: Path) -> str:
    """The text of SHA256SUMS, as `sha256sum --check` reads it."""
    files = sorted(path for path in folder.iterdir() if path.name != "SHA256SUMS")
    return "".join(f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.name}\n" for path in files)


def check_citation(root: Path) -> None:
    """Validate CITATION.cff against the schema of its format, by cffconvert in an environment of its own."""
    with TemporaryDirectory() as folder:
        venv.create(folder, with_pip=True)
        tools = Path(folder) / "bin"
        subprocess.run([tools / "pip", "install", "--quiet", CFFCONVERT], check=True)  # noqa: S603
        subprocess.run([tools / "cffconvert", "--validate", "-i", root / "CITATION.cff"], check=True)  # noqa: S603


def _git(root: Path, *arguments: str) -> str:
    return subprocess.run(["git", *arguments], cwd=root, check=True, stdout=subprocess.PIPE, text=True).stdout.strip()  # noqa: S603, S607


def main() -> int:
    """Check, build twice, compare, and write the sums."""
    if found := faults(ROOT):
        print("\n".join(f"release: {fault}" for fault in found), file=sys.stderr)
        return 1
    check_citation(ROOT)
    dist = ROOT / "dist"
    if dist.exists():
        print(f"release: {dist} exists; expected: no such folder", file=sys.stderr)
        return 1
    with TemporaryDirectory() as folder:
        again = Path(folder)
        build(ROOT, again)
        build(ROOT, dist)
        if sums(again) != sums(dist):
            print(f"release: two builds differ\n{sums(again)}{sums(dist)}", file=sys.stderr)
            return 1
    (dist / "SHA256SUMS").write_text(sums(dist), encoding="utf-8")
    print((dist / "SHA256SUMS").read_text(encoding="utf-8"), end="")
    return 0


if __name__ == "__main__":
    sys.exit(main())
