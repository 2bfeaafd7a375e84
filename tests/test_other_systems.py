"""Systems that are not Linux, and consoles that are not UTF-8, each as a process here that lacks what they lack."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from artifacts import Artifacts
from strategies import mlp
from typer.testing import CliRunner

from kdpinn_edge.bundle.manifest import Input, read_manifest
from kdpinn_edge.cli import app
from kdpinn_edge.comparison.stage import bench
from kdpinn_edge.errors import BenchError
from kdpinn_edge.extras import COMMANDS
from kdpinn_edge.numerics.reference import NumpyProgram
from kdpinn_edge.runtime import load

NET = mlp(2, 6, 2, 1)
INPUTS = (Input("x0", -1.0, 1.0), Input("x1", -1.0, 1.0))

ELSEWHERE = """
import os, platform, signal, sys
for module in ("fcntl", "grp", "pwd", "resource", "termios"):
    sys.modules[module] = None
missing = {
    os: "memfd_create MFD_CLOEXEC MFD_ALLOW_SEALING O_CLOEXEC O_DIRECTORY O_NOCTTY O_NOFOLLOW O_NONBLOCK geteuid "
    "sched_getaffinity sched_setaffinity",
    signal: "pthread_sigmask sigpending SIGALRM",
}
for module, names in missing.items():
    for name in names.split():
        delattr(module, name)
import numpy as np
platform.system = lambda: "Windows"

from kdpinn_edge.errors import MisfitError
from kdpinn_edge.runtime import load

bundle, result = sys.argv[1:]
x = np.linspace(-1, 1, 74, dtype=np.float32).reshape(-1, 2)
np.save(result, load(bundle, engine="numpy").eval(x))
try:
    load(bundle)
except MisfitError as error:
    print(error)
"""

WITHOUT_MEMORY = """
import gc, os, platform, stat, sys
del os.memfd_create
import numpy as np

from kdpinn_edge.errors import EngineError
from kdpinn_edge.runtime import load

bundle, result, of_macos = sys.argv[1:]
x = np.linspace(-1, 1, 74, dtype=np.float32).reshape(-1, 2)
engine, other = load(bundle), load(bundle)
folder = engine.path.parent
assert stat.S_IMODE(folder.stat().st_mode) == 0o700 and stat.S_IMODE(engine.path.stat().st_mode) == 0o600
assert [path.name for path in folder.iterdir()] == ["library.dylib"] and other.path != engine.path
np.save(result, engine.eval(x))
del engine
gc.collect()
assert not folder.exists()
platform.system, platform.machine = lambda: "Darwin", lambda: "arm64"
try:
    load(of_macos)
except EngineError as error:
    assert "libnet.dylib cannot be loaded here" in str(error), error
print(other.path.parent)
"""

EVERY_ONE = """
import sys
from kdpinn_edge.__main__ import main
for arguments in sys.argv[1:]:
    sys.argv = ["kdpinn-edge", *arguments.split()]
    try:
        main()
    except SystemExit as exit:
        assert exit.code in (None, 0), (arguments, exit.code)
    print("next", flush=True)
"""


def test_the_runtime_calculates_where_nothing_of_posix_is(artifacts: Artifacts, tmp_path: Path) -> None:
    bundle = artifacts.bundle(NET, name="net", inputs=INPUTS)
    command = [sys.executable, "-c", ELSEWHERE, str(bundle), str(tmp_path / "y.npy")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "net.so was made for " in done.stdout
    assert "; .so is no shared library of Windows. " in done.stdout
    assert "load the bundle with engine='numpy'" in done.stdout
    x = np.linspace(-1, 1, 74, dtype=np.float32).reshape(-1, 2)
    expected = NumpyProgram(NET, "float32", read_manifest(bundle).profile)(x)
    assert np.load(tmp_path / "y.npy").tobytes() == expected.tobytes()


def test_a_library_is_loaded_from_a_folder_where_memory_cannot_be_a_file(artifacts: Artifacts, tmp_path: Path) -> None:
    """As under macOS, whose loader refuses a library there only at the end; nothing is left when the process ends."""
    bundle = artifacts.bundle(NET, name="net", inputs=INPUTS)
    of_macos = artifacts.bundle(NET, name="net", inputs=INPUTS, target="macos-arm64")
    command = [sys.executable, "-c", WITHOUT_MEMORY, str(bundle), str(tmp_path / "y.npy"), str(of_macos)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert not Path(done.stdout.strip()).exists()
    x = np.linspace(-1, 1, 74, dtype=np.float32).reshape(-1, 2)
    assert np.load(tmp_path / "y.npy").tobytes() == load(bundle).eval(x).tobytes()


def test_a_comparison_needs_linux(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "sched_getaffinity")
    with pytest.raises(BenchError, match=r"a comparison needs Linux, .* export --with-bench"):
        bench("burgers")


@pytest.mark.parametrize(
    "console",
    [{"PYTHONIOENCODING": "cp1252"}, {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}],
    ids=["cp1252", "ascii"],
)
def test_a_console_that_is_not_utf_8_is_printed_on(console: dict[str, str]) -> None:
    arguments = ["problems --json", "problems", "targets", "info burgers", *(f"{name} --help" for name in COMMANDS)]
    environment = {k: v for k, v in os.environ.items() if k not in ("PYTHONIOENCODING", "LANG", "LC_ALL")}
    command = [sys.executable, "-c", EVERY_ONE, *arguments]
    done = subprocess.run(command, env={**environment, **console}, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode(errors="replace")
    assert b"cortex-m0plus" in done.stdout
    plain, usual = done.stdout.split(b"next\n")[0], CliRunner().invoke(app, ["problems", "--json"]).stdout_bytes
    assert plain.isascii()
    assert not usual.isascii()
    assert json.loads(plain) == json.loads(usual)
