"""What is shipped: the files of wheel and sdist, and what importing a part of the package brings along."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tomllib
import venv
import zipfile
from importlib.metadata import distribution, version
from pathlib import Path

import pytest

import kdpinn_edge
from kdpinn_edge import extras
from kdpinn_edge.cli.application import COMMANDS

ROOT = Path(__file__).parent.parent
LINTER = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]
(LAYERS,) = (contract["layers"] for contract in LINTER["contracts"] if "bundle | zoo" in contract.get("layers", ()))
(OPTIONAL,) = (i for i, layer in enumerate(LAYERS) if "runtime" in layer.split(" | "))
FOUNDATIONS = [name for layer in LAYERS[OPTIONAL + 1 :] for name in layer.split(" | ")]
"""The folders below training, export and runtime."""


def run(*command: str | Path, cwd: Path) -> str:
    result = subprocess.run(command, cwd=cwd, capture_output=True, text=True)
    assert result.returncode == 0, f"{command}\n{result.stdout}\n{result.stderr}"
    return result.stdout


def build(source: Path, out: Path, kind: str) -> Path:
    run(sys.executable, "-m", "build", "--no-isolation", f"--{kind}", "--outdir", out, source, cwd=out.parent)
    (artifact,) = out.iterdir()
    return artifact


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the source, symlinks and all, so that building leaves nothing in the real one."""
    copy = tmp_path_factory.mktemp("checkout") / "source"
    untracked = shutil.ignore_patterns(".*", "__pycache__", "*.egg-info", "build", "dist", "demo", "runs")
    shutil.copytree(ROOT, copy, symlinks=True, ignore=untracked)
    return copy


@pytest.fixture(scope="module")
def wheel(checkout: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(checkout, tmp_path_factory.mktemp("wheel") / "dist", "wheel")


@pytest.fixture(scope="module")
def sdist(checkout: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(checkout, tmp_path_factory.mktemp("sdist") / "dist", "sdist")


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    target = tmp_path_factory.mktemp("installed")
    run(sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", "--target", target, wheel,
        cwd=target)  # fmt: skip
    return target


def names(wheel: Path) -> set[str]:
    return {name for name in zipfile.ZipFile(wheel).namelist() if not name.endswith("/")}


def test_the_wheel_owns_one_top_level_name(wheel: Path) -> None:
    top_level = {name.split("/")[0] for name in names(wheel)}
    assert {name for name in top_level if not name.endswith(".dist-info")} == {"kdpinn_edge"}


def test_the_wheel_holds_every_file_of_the_packages(wheel: Path) -> None:
    source = {
        path.relative_to(ROOT).as_posix()
        for folder in ("kdpinn_edge", "kdpinn_edge/export", "kdpinn_edge/runtime")
        for path in (ROOT / folder).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert {name for name in names(wheel) if name.startswith("kdpinn_edge/")} == source
    assert {"kdpinn_edge/py.typed", "kdpinn_edge/runtime/kdpinn_edge.h"} <= source


@pytest.mark.proof
def test_the_sdist_builds_the_same_wheel(wheel: Path, sdist: Path, tmp_path: Path) -> None:
    with tarfile.open(sdist) as archive:
        archive.extractall(tmp_path, filter="data")
    (source,) = tmp_path.iterdir()
    assert names(build(source, tmp_path / "dist", "wheel")) == names(wheel)


def python(code: str, *, path: Path, cwd: Path) -> str:
    """What `code` prints in a fresh interpreter that finds kdpinn_edge in `path` first."""
    environment = {**os.environ, "PYTHONPATH": str(path), "PYTHONDONTWRITEBYTECODE": "1"}
    result = subprocess.run([sys.executable, "-c", code], cwd=cwd, env=environment, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    return result.stdout


def test_the_installed_wheel_imports_from_anywhere(installed: Path, tmp_path: Path) -> None:
    code = "import kdpinn_edge.export, kdpinn_edge.runtime as r; print(r.__file__)"
    found = Path(python(code, path=installed, cwd=tmp_path).strip())
    assert found == installed / "kdpinn_edge/runtime/__init__.py"


def packages_behind(*modules: str, cwd: Path) -> set[str]:
    """The third-party packages that a fresh interpreter loads for `modules`, each imported as if it were the first."""
    code = f"""
import importlib, json, sys
before = set(sys.modules)
loaded = set()
for module in {modules}:
    importlib.import_module(module)
    loaded |= {{name.split(".")[0] for name in set(sys.modules) - before}}
    for name in [name for name in sys.modules if name.split(".")[0] == "kdpinn_edge"]:
        del sys.modules[name]
print(json.dumps(sorted(loaded - sys.stdlib_module_names)))
"""
    return set(json.loads(python(code, path=ROOT, cwd=cwd))) - {"kdpinn_edge"}


def test_what_all_stages_build_on_needs_only_numpy(tmp_path: Path) -> None:
    files = [path for folder in FOUNDATIONS for path in (ROOT / "kdpinn_edge" / folder).glob("*.py")]
    inside = [f"kdpinn_edge.{path.parent.name}.{path.stem}" for path in files if path.stem != "__init__"]
    folders = [f"kdpinn_edge.{folder}" for folder in FOUNDATIONS]
    assert packages_behind(*folders, *inside, cwd=tmp_path) <= {"numpy"}


def test_the_runtime_needs_only_numpy_and_cffi(tmp_path: Path) -> None:
    assert packages_behind("kdpinn_edge.runtime", cwd=tmp_path) <= {"numpy", "cffi", "_cffi_backend"}


def test_a_shipped_model_is_found_without_torch(tmp_path: Path) -> None:
    code = "from kdpinn_edge.importers.model import find_model; find_model('burgers')"
    code = f"import sys; {code}; print('torch' in sys.modules)"
    assert python(code, path=ROOT, cwd=tmp_path).strip() == "False"


def test_importing_the_package_loads_nothing(tmp_path: Path) -> None:
    assert packages_behind("kdpinn_edge", cwd=tmp_path) == set()


def test_the_public_list_is_what_the_package_has() -> None:
    for name in kdpinn_edge.__all__:
        assert getattr(kdpinn_edge, name).__name__.rpartition(".")[2] == name
    assert dir(kdpinn_edge) == sorted((*kdpinn_edge.__all__, "__version__"))
    with pytest.raises(AttributeError, match="it has: Condition, DistillConfig, Engine"):
        _ = kdpinn_edge.Sesame


# The extras


@pytest.fixture(scope="module")
def base(installed: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The `python` of an environment that has the wheel, and what it depends on without any extra."""
    root = tmp_path_factory.mktemp("base")
    venv.create(root, symlinks=True)
    (packages,) = root.glob("lib/python3*/site-packages")
    for package in ("numpy", "cffi", "pycparser"):
        home = Path(str(distribution(package).locate_file("")))
        tops = {Path(file).parts[0] for file in distribution(package).files or () if ".." not in Path(file).parts}
        for top in tops:
            (packages / top).symlink_to(home / top)
    for path in installed.iterdir():
        (packages / path.name).symlink_to(path)
    return root / "bin" / "python"


def kdpinn_edge_of(python: Path, *arguments: str) -> tuple[int, str, str]:
    found = subprocess.run([python, "-m", "kdpinn_edge", *arguments], capture_output=True, text=True, cwd=python.parent)
    return found.returncode, found.stdout, found.stderr


def test_the_base_install_answers_help_and_version(base: Path) -> None:
    code, out, err = kdpinn_edge_of(base, "--version")
    assert (code, out, err) == (0, f"{version('kdpinn-edge')}\n", "")
    for arguments in (["--help"], []):
        code, out, err = kdpinn_edge_of(base, *arguments)
        assert (code, err) == (0, "")
        for command, needed in extras.COMMANDS.items():
            assert re.search(rf"^  {command} +pip install 'kdpinn-edge\[{','.join(needed)}\]'$", out, re.MULTILINE)


def test_the_base_install_names_what_a_command_needs(base: Path) -> None:
    code = "import kdpinn_edge.runtime, kdpinn_edge.problems; print('ready')"
    assert subprocess.run([base, "-c", code], capture_output=True, text=True, check=True).stdout == "ready\n"
    said = "error: typer is not installed, which `kdpinn-edge {}` needs: pip install 'kdpinn-edge[{}]'\n"
    assert kdpinn_edge_of(base, "train", "heat") == (2, "", said.format("train", "train"))
    assert kdpinn_edge_of(base, "bench", "--full", "heat") == (2, "", said.format("bench", "export,compare"))
    code, _, err = kdpinn_edge_of(base, "trian")
    assert (
        code,
        err.endswith(
            "search, export, layout, targets, check, certify, evidence, bench, bench-zoo, audit, info. "
            "Did you mean 'train'?\n"
        ),
    ) == (2, True)


def test_every_command_has_its_extras() -> None:
    assert list(extras.COMMANDS) == list(COMMANDS)
    assert not {"all", "dev", "demo"} & set().union(*extras.COMMANDS.values())


WITH_THESE_EXTRAS = """
import json, sys
from typer.testing import CliRunner
from kdpinn_edge import extras
from kdpinn_edge.cli import app
needed, *commands = map(str.split, sys.argv[1:])
lacking = {package for extra in extras._extras() for package in extras._brought_by(extra)}
lacking -= set().union(*map(extras._brought_by, needed))
for package in lacking:
    sys.modules[package.replace("-", "_")] = None
results = [CliRunner().invoke(app, arguments) for arguments in commands]
print(json.dumps([len(lacking), [(result.exit_code, result.stderr) for result in results]]))
"""
"""Run commands where every package is missing that these extras do not bring."""

SAID = {
    "problems": "",
    "targets": "",
    "train nosuch": "no problem is called 'nosuch'",
    "study nosuch": "no problem is called 'nosuch'",
    "search nosuch --max-error 1": "no model is called 'nosuch'",
    "export heat --out out --target c99 --derivatives u_x --residual": "compiling heat for c99",
    "bench nosuch": "no model is called 'nosuch'",
    "info heat": "",
}
"""Commands, and what each of them says on stderr."""
KEPT = ("export",), ("train",), ("export", "compare")  # the others are proofs


@pytest.mark.parametrize(
    "needed",
    [
        pytest.param(each, marks=[] if each in KEPT else [pytest.mark.proof], id=" ".join(each))
        for each in sorted({extras.COMMANDS[name.split()[0]] for name in SAID})
    ],
)
def test_its_extras_are_all_that_a_command_needs(needed: tuple[str, ...], tmp_path: Path) -> None:
    commands = [each for each in SAID if extras.COMMANDS[each.split()[0]] == needed]
    done = subprocess.run(
        [sys.executable, "-c", WITH_THESE_EXTRAS, " ".join(needed), *commands],
        capture_output=True, text=True, cwd=tmp_path, check=True,
    )  # fmt: skip
    lacking, results = json.loads(done.stdout)
    assert lacking > 5
    for each, (code, err) in zip(commands, results, strict=True):
        assert SAID[each] in err
        assert (code == 0) == ("nosuch" not in each), err


def test_a_package_of_no_command_is_named_with_the_extra_that_brings_it() -> None:
    assert extras.what_is_missing("torch.nn", "export").endswith("needed for this: pip install 'kdpinn-edge[train]'")
    assert extras.what_is_missing("elftools.elf", "check").startswith(
        "pyelftools is not installed, which `kdpinn-edge ch"
    )
    assert extras.what_is_missing("abacus", "train").endswith("no extra of kdpinn-edge brings it; install it by itself")
