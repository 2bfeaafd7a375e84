"""`check`: an edited bundle is found out, whatever was edited, and nothing of a bundle runs that its gates refuse."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path

import pytest
from artifacts import Artifacts
from conftest import Need
from edited import edit

from kdpinn_edge.bundle.manifest import CERTIFICATE_FILE, MANIFEST_FILE, Input, Manifest, Output, Sizes, read_manifest
from kdpinn_edge.bundle.read import open_bundle
from kdpinn_edge.bundle.statement import statement_of
from kdpinn_edge.certificates.stage import certify
from kdpinn_edge.checks.check import CheckResult, check
from kdpinn_edge.checks.evidence import evidence
from kdpinn_edge.errors import BundleError
from kdpinn_edge.program.ir import Affine, Map, Program, Var
from kdpinn_edge.runtime import load
from kdpinn_edge.runtime.c_harness import sealed_library

X, H, ACTIVE, U = Var("x", 2), Var("h", 3), Var("active", 3), Var("u", 2)
HIDDEN = Affine(H, X, [[0.5, 1.0], [0.25, -1.0], [2.0, 0.5]], [0.1, 0.2, 0.3])
LAST = Affine(U, ACTIVE, [[1.0, 2.0, 0.5], [0.5, -1.0, 1.5]], [0.0, 0.25])
PROGRAM = Program("net", (X,), (U,), (HIDDEN, Map(ACTIVE, H, "tanh"), LAST))
INPUTS = (Input("x[0]", -1.0, 1.0, "m"), Input("x[1]", 0.0, 2.0, "s"))


@pytest.fixture
def bundle(artifacts: Artifacts, tmp_path: Path) -> Path:
    """A copy that the test may change."""
    made = artifacts.bundle(PROGRAM, name="net", inputs=INPUTS, equation="u_t = u_xx", target="x86-64-v2")
    return Path(shutil.copytree(made, tmp_path / "net"))


def failed(verdicts: Iterable[CheckResult]) -> dict[str, str]:
    return {verdict.name: verdict.detail for verdict in verdicts if verdict.result == "failed"}


def test_all_is_made_again(bundle: Path) -> None:
    verdicts = {verdict.name: verdict for verdict in check(bundle)}
    assert failed(verdicts.values()) == {}
    assert {"derived files", "compiled again", "work", "eval, errors"} <= {
        name for name, verdict in verdicts.items() if verdict.result == "passed"
    }
    for file in ("net.h", "example.c", "net-config.cmake", "net.pc", "model.onnx", "kdpinn_edge.h"):
        assert file in verdicts["derived files"].detail


def outputs(manifest: Manifest, *columns: Output) -> dict[str, object]:
    return {"functions": {"eval": replace(manifest.functions["eval"], outputs=columns)}}


STATED: dict[str, Callable[[Manifest], dict[str, object]]] = {
    "domain": lambda m: {"inputs": (replace(m.inputs[0], upper=50.0), m.inputs[1])},
    "unit": lambda m: {"inputs": (replace(m.inputs[0], unit="inch"), m.inputs[1])},
    "columns": lambda m: {"inputs": m.inputs[::-1]},
    "equation": lambda m: {"equation": "u = 0"},
    "target": lambda m: {"target": replace(m.target, triple="x86_64-unknown-linux-musl")},
    "toolchain": lambda m: {"toolchain": {**m.toolchain, "numba": "0.1"}},
    "storage": lambda m: {"storage": "float16"},
    "outputs": lambda m: outputs(m, Output("u[1]"), Output("u[0]")),
    "unit of an output": lambda m: outputs(m, Output("u[0]", "km"), Output("u[1]")),
}


@pytest.mark.parametrize("change", STATED)
def test_what_a_manifest_states_is_that_of_the_library(bundle: Path, change: str) -> None:
    edit(bundle, restated=False, **STATED[change](read_manifest(bundle)))
    (said,) = failed(check(bundle)).items()
    assert said[0] == "files"
    assert "libnet.so was not made for this manifest.json" in said[1]
    with pytest.raises(BundleError, match="was not made for this manifest"):
        load(bundle, "numpy")


@pytest.mark.parametrize("change", ["domain", "unit"])
def test_a_library_that_was_restated_is_not_what_the_compiler_makes(bundle: Path, change: str) -> None:
    edit(bundle, **STATED[change](read_manifest(bundle)))
    assert {"gates", "derived files", "compiled again"} & failed(check(bundle)).keys()


def measured(manifest: Manifest) -> dict[str, dict[str, object]]:
    evaluated = manifest.functions["eval"]
    errors = {
        "errors, too small": replace(evaluated.errors, rms=(0.0, 0.0)),
        "errors, too large": replace(evaluated.errors, max_abs=tuple(2 * e for e in evaluated.errors.max_abs)),
        "errors, at fewer points": replace(evaluated.errors, n_points=5),
    }
    return {
        "gates": {"sizes": Sizes(1, 1)},
        "work": {"functions": {"eval": replace(evaluated, operations=replace(evaluated.operations, multiply_adds=1))}},
        **{name: {"functions": {"eval": replace(evaluated, errors=each)}} for name, each in errors.items()},
    }


@pytest.mark.parametrize(
    "change", ["gates", "work", "errors, too small", "errors, too large", "errors, at fewer points"]
)
def test_what_is_measured_is_measured_again(bundle: Path, change: str) -> None:
    edit(bundle, **measured(read_manifest(bundle))[change])
    assert list(failed(check(bundle))) == ["eval, errors" if change.startswith("errors") else change]


def test_stack_and_instructions_are_measured_again(bundle: Path, need: Need) -> None:
    need("valgrind")
    manifest = read_manifest(bundle)
    evaluated = replace(manifest.functions["eval"], stack=16, instructions={"1": 1, "64": 1})
    edit(bundle, stack=16, functions={"eval": evaluated})
    (said,) = failed(check(bundle)).values()
    for what in ("\n  - stack is", "\n  - eval: stack is", "\n  - eval: instructions is"):
        assert what in said


@pytest.mark.parametrize(
    "file", ["net.h", "kdpinn_edge.h", "example.c", "net-config.cmake", "net_kernel.py", "model.onnx"]
)
def test_a_file_that_was_replaced_is_not_what_an_export_writes(bundle: Path, file: str) -> None:
    (bundle / file).write_bytes((bundle / file).read_bytes() + b"\n")
    edit(bundle)
    assert f"{file} is not what an export writes there" in failed(check(bundle))["derived files"]


def test_the_list_of_files_is_closed(bundle: Path) -> None:
    manifest = read_manifest(bundle)
    (bundle / "net.h").write_text("#define net_eval evil\n")
    edit(bundle, files={name: digest for name, digest in manifest.files.items() if name != "net.h"})
    assert "'net.h' is not in the manifest" in failed(check(bundle))["files"]
    (bundle / "net.h").unlink()
    assert failed(check(bundle))["derived files"] == "net.h is missing"
    for name in ("stdint.h", "net.h"):
        (bundle / name).write_text("")
    edit(bundle, files=manifest.files | {"stdint.h": ""})
    assert "stdint.h is none of the files of an export" in failed(check(bundle))["derived files"]


EVIL = """
#include <stdio.h>
__attribute__((constructor)) static void run(void) {
    FILE *file = fopen(RAN, "w");
    if (file != NULL) fclose(file);
}
const char *const statement = STATEMENT;
int net_eval(const float *x, float *y, long n) { (void)x; (void)y; (void)n; return 0; }
"""


def test_a_constructor_never_runs(bundle: Path, tmp_path: Path, need: Need) -> None:
    source, ran = tmp_path / "evil.c", tmp_path / "ran"
    source.write_text(EVIL)
    defined = [f'-DRAN="{ran}"', f'-DSTATEMENT="{statement_of(read_manifest(bundle))}"']
    command = [need("cc"), "-shared", "-fPIC", *defined, "-o", bundle / "libnet.so", source]
    subprocess.run(command, check=True)
    edit(bundle)
    verdicts = check(bundle)
    assert verdicts[-1].name == "gates"
    assert "libc.so.6" in failed(verdicts)["gates"]
    for engine in (None, "the C loop"):
        with pytest.raises(BundleError, match="has DT_INIT_ARRAY, which no exported library has"):
            load(bundle) if engine is None else loop(bundle)
    assert not ran.exists()


def loop(bundle: Path) -> None:
    with sealed_library(open_bundle(bundle)):
        pass


def test_what_the_c_loop_loads_is_what_was_checked(bundle: Path) -> None:
    library = bundle / "libnet.so"
    image = library.read_bytes()
    with sealed_library(open_bundle(bundle)) as path:
        library.write_bytes(bytes(len(image)))
        assert path.read_bytes() == image
        with pytest.raises(OSError, match="not permitted"):
            path.write_bytes(b"")


def test_files_are_read_once(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """For `check`, and all that `evidence` says beside its verdicts is about the same bytes."""
    certify(bundle, cells=1)
    opened: list[str] = []
    monkeypatch.setattr("os.open", counted(bundle, opened))
    found = evidence(bundle)
    monkeypatch.undo()
    assert found.holds
    assert sorted(opened) == sorted([*read_manifest(bundle).files, MANIFEST_FILE, CERTIFICATE_FILE])
    hashes = [hashlib.sha256((bundle / name).read_bytes()).hexdigest() for name in (MANIFEST_FILE, CERTIFICATE_FILE)]
    assert [found.sha256, found.certificate_sha256] == hashes


def counted(folder: Path, opened: list[str]) -> Callable[..., int]:
    """The function that opens files, which notes the names of those in `folder`."""
    real = os.open

    def opening(path: str | Path, *arguments: int, **options: int) -> int:
        if Path(path).parent == folder:
            opened.append(Path(path).name)
        return real(path, *arguments, **options)

    return opening
