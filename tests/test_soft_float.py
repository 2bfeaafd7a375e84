"""Targets without a floating-point unit: what they call from outside, and what becomes of an export without it."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from artifacts import BOX, SMALL, Artifacts
from conftest import Need
from sampled import some
from strategies import mlp

from kdpinn_edge.bundle.manifest import Input, read_manifest
from kdpinn_edge.checks.check import check
from kdpinn_edge.errors import ExportError
from kdpinn_edge.export.artifacts.archive import archive
from kdpinn_edge.export.artifacts.gates import check_artifact
from kdpinn_edge.export.artifacts.gnu import ARM, MACHINES
from kdpinn_edge.export.bundle import export_bundle
from kdpinn_edge.export.targets.interface import Interface
from kdpinn_edge.export.targets.table import TARGETS

SOFT = [target.name for target in TARGETS.values() if target.helpers]
NET, INPUTS = SMALL, BOX


def test_every_target_without_an_fpu_has_a_compiler() -> None:
    assert set(SOFT) == set(MACHINES)


@pytest.mark.parametrize("name", some(SOFT, ("cortex-m0plus", "rv32imc")))
def test_the_manifest_names_what_is_called_from_outside(name: str, artifacts: Artifacts, need: Need) -> None:
    gcc = need(MACHINES[name][0])
    bundle = artifacts.small(name)
    command = [gcc.replace("gcc", "nm"), "--undefined-only", "--format=posix", bundle / "libnet.a"]
    listed = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()[1:]
    manifest = read_manifest(bundle)
    assert list(manifest.helpers) == sorted({line.split()[0] for line in listed})
    assert {"__aeabi_fadd", "__aeabi_fmul"} <= {*manifest.helpers} or {"__addsf3", "__mulsf3"} <= {*manifest.helpers}
    assert f"with the soft-float helpers of {MACHINES[name][0]} " in manifest.measured
    said = f"{len(manifest.helpers)} soft-float helpers and no other symbol from outside"
    assert any(said in verdict.detail for verdict in check(bundle))


def test_anything_else_from_outside_is_refused(tmp_path: Path, need: Need) -> None:
    source = tmp_path / "other.c"
    source.write_text("float model_eval(float a) { extern float sinf(float); return sinf(a) * a; }")
    command = [need(ARM), *MACHINES["cortex-m0plus"][1:], "-ffreestanding", "-c", "-o", tmp_path / "other.o", source]
    subprocess.run(command, check=True)
    content = archive((tmp_path / "other.o").read_bytes(), "other.o", ("model_eval",))
    for name, needed in (("cortex-m0plus", "'sinf'"), ("cortex-m4", "'__aeabi_fmul', 'sinf'")):
        interface = Interface("model", "float32", TARGETS[name], (Input("x0"),), {"eval": mlp(1, 4, 1, 1)})
        with pytest.raises(ExportError, match=rf"needs the symbols \[{needed}\]"):
            check_artifact(content, interface)


def test_without_the_gnu_compiler_nothing_is_measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    stated = {"name": "net", "inputs": INPUTS, "target": "rv32imc"}
    manifest = export_bundle(NET, tmp_path / "net", **stated)
    assert (manifest.stack, manifest.functions["eval"].instructions) == (None, None)
    assert manifest.measured == (
        "stack and instructions not measured: riscv64-unknown-elf-gcc, whose library has the soft-float helpers, "
        "is not on the PATH (Debian: gcc-riscv64-unknown-elf)"
    )
    with pytest.raises(ExportError, match="whether 1,000 bytes of stack suffice cannot be told"):
        export_bundle(NET, tmp_path / "other", max_stack=1000, **stated)
    with pytest.raises(ExportError, match="the bench for the device cannot be linked: riscv64-unknown-elf-gcc"):
        export_bundle(NET, tmp_path / "other", with_bench=True, **stated)
    assert [path.name for path in tmp_path.iterdir()] == ["net"]
