"""Libraries for Windows under Wine: in a program in C, and in Python for Windows with the runtime of this package."""

from __future__ import annotations

import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import numpy as np
import pytest
from artifacts import Artifacts
from conftest import Need
from strategies import mlp
from wine import compiled, compiled_bare, windows_path, wine

import kdpinn_edge
from kdpinn_edge.bundle.manifest import Input
from kdpinn_edge.bundle.pe import PeLibrary
from kdpinn_edge.runtime import load

NET = mlp(2, 20, 2, 1)
INPUTS = (Input("x0", -1.0, 1.0), Input("x1", -1.0, 1.0))
X = np.random.default_rng(0).uniform(-1, 1, (70, 2)).astype(np.float32)
HERE = Path(__file__).parent
HEADERS = Path(load.__code__.co_filename).parent


def bundle(artifacts: Artifacts, target: str = "windows-x86-64") -> Path:
    """A model with functions that have frames of more than a page."""
    return artifacts.bundle(
        NET, name="net", target=target, inputs=INPUTS, derivatives=["u", "u_x0", "u_x0_x0"], residual=mlp(2, 9, 1, 1)
    )


def expected(folder: Path) -> dict[str, bytes]:
    """The bits of every function at X, by the NumPy program."""
    engine = load(folder, "numpy")
    jet = np.stack([*engine.jet(X).values()], axis=1)
    return {"eval": engine.eval(X).tobytes(), "jet": jet.tobytes(), "residual": engine.residual(X).tobytes()}


FUNCTIONS = (
    *("AddVectoredExceptionHandler", "CloseHandle", "CreateFileA", "CreateThread", "ExitProcess", "GetCurrentThread"),
    *("GetEnvironmentVariableA", "GetFileSize", "GetProcAddress", "LoadLibraryA", "ReadFile", "RtlLookupFunctionEntry"),
    *("RtlVirtualUnwind", "TerminateThread", "VirtualAlloc", "WaitForSingleObject", "WriteFile"),
)
"""What windows.c calls."""


def test_a_program_in_c(artifacts: Artifacts, tmp_path: Path, need: Need) -> None:
    """It computes the bits, and an exception in any function finds its way out by the tables of the library."""
    folder = bundle(artifacts)
    X.tofile(tmp_path / "x")
    options = f"-I{HEADERS}", "-Wall", "-Wextra", "-Werror"
    program = compiled_bare(HERE / "windows.c", tmp_path / "windows.exe", FUNCTIONS, *options)
    told = {"LIBRARY": windows_path(folder / "net.dll"), "MODEL": "net_model"}
    done = wine(artifacts, need).run(program, cwd=tmp_path, **told)
    assert done.returncode == 0, done.stdout + done.stderr
    assert (tmp_path / "y").read_bytes() == b"".join(expected(folder).values())
    frames = PeLibrary((folder / "net.dll").read_bytes()).frames
    assert max(end - begin for begin, end in frames) > 1000


PACKAGES = ("panda3d==1.10.16", "numpy==2.0.2", "cffi==2.1.1", "pycparser==2.22")
"""panda3d ships the Python for Windows; the oldest NumPy that this package takes needs nothing that Wine 8 lacks."""

PROGRAM = """
import gc, pickle, sys
from pathlib import Path
import numpy as np
from kdpinn_edge.runtime import load

net, fmu, x = sys.argv[1], sys.argv[2], np.fromfile("x", np.float32).reshape(-1, 2)
engine = load(net)
values = {"eval": engine.eval(x, threads=2), "residual": engine.residual(x)}
values["jet"] = np.stack([*engine.jet(x).values()], axis=1)
for name, found in values.items():
    found.tofile(name)
again = pickle.loads(pickle.dumps(engine))
file = engine.path
assert (again.eval(x) == values["eval"]).all() and again.path != file and engine.is_intact()
assert (load(fmu).eval(x) == load(fmu, engine="numpy").eval(x)).all()
changes = lambda: open(file, "r+b"), file.unlink, lambda: file.rename("other")
for change in changes:
    try:
        change()
    except PermissionError:
        continue
    raise SystemExit("the library was changed while it was loaded")
del engine
gc.collect()
assert not file.parent.exists()
print(sys.platform, again.path)
"""


def python(artifacts: Artifacts) -> Path:
    """A folder with python.exe of this version of Python, and what the runtime needs beside it."""

    def build(folder: Path) -> None:
        version = f"{sys.version_info[0]}.{sys.version_info[1]}"
        fetch = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--only-binary=:all:", "-d", folder]
        subprocess.run([*fetch, "--platform", "win_amd64", "--python-version", version, *PACKAGES], check=True)
        (folder / "DLLs").mkdir()
        (folder / "Lib").symlink_to(sysconfig.get_path("stdlib"))
        for wheel in folder.glob("*.whl"):
            with zipfile.ZipFile(wheel) as archive:
                for name in archive.namelist():
                    if name.startswith("deploy_libs/") and not name.startswith("deploy_libs/api-ms-"):
                        below = (
                            folder if Path(name).stem.lower().startswith(("python", "vcruntime")) else folder / "DLLs"
                        )
                        (below / Path(name).name).write_bytes(archive.read(name))
                    elif not wheel.name.startswith("panda3d"):
                        archive.extract(name, folder / "packages")
        dll = f'-DPYTHON_DLL="python{version.replace(".", "")}.dll"'
        compiled(HERE / "python_windows.c", folder / "python.exe", "-municode", dll)

    return artifacts.made("python", build, *PACKAGES, sys.version_info[:2])


@pytest.mark.hosts
@pytest.mark.skipif(sys.version_info >= (3, 13), reason="the NumPy that runs in Wine is for Python 3.12 at most")
def test_python(artifacts: Artifacts, tmp_path: Path, need: Need) -> None:
    """The runtime under Python for Windows: the same bits; while a library is loaded, its file cannot be changed."""
    folder, fmu, home = bundle(artifacts), bundle(artifacts, "fmu"), python(artifacts)
    X.tofile(tmp_path / "x")
    (tmp_path / "main.py").write_text(PROGRAM)
    packages = [home / "packages", Path(kdpinn_edge.__file__).parents[1]]
    found = ";".join(map(windows_path, packages))
    arguments = [home / "python.exe", "-S", "-B", "main.py", windows_path(folder), windows_path(fmu)]
    done = wine(artifacts, need).run(*arguments, cwd=tmp_path, PYTHONPATH=found, PYTHONHOME=windows_path(home))
    assert done.returncode == 0, done.stdout + done.stderr
    system, path = done.stdout.split()
    assert system == "win32"
    assert path.endswith("library.dll")
    assert not list(wine(artifacts, need).prefix.rglob("library.dll"))  # those of the end of the process, too
    assert {name: (tmp_path / name).read_bytes() for name in expected(folder)} == expected(folder)
