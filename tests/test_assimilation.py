"""The estimator of the examples that runs while its sensors report: what it states is true, and its bits are one."""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import asdict
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from artifacts import Artifacts
from conftest import Need
from scipy.special import chdtri
from scripts import script

from kdpinn_edge.export.artifacts.c_files import filled_template
from kdpinn_edge.export.artifacts.device_bench import MEMORY
from kdpinn_edge.export.targets.interface import Interface
from kdpinn_edge.export.targets.table import TARGETS
from kdpinn_edge.importers.model import find_model

EXAMPLES = Path(__file__).parents[1] / "examples"
STRICT = (
    "-std=c99",
    "-O2",
    "-ffp-contract=off",
    "-Wall",
    "-Wextra",
    "-Wpedantic",
    "-Wshadow",
    "-Wconversion",
    "-Werror",
)
NOISE = 1e-3


@pytest.fixture(scope="module")
def bench() -> ModuleType:
    return script("benchmarks/bench_assimilation.py")


@pytest.fixture(scope="module")
def bundle(artifacts: Artifacts) -> Path:
    """The one of test_inverse.py."""
    model = find_model("burgers_nu")
    return artifacts.bundle(
        model.program, name="burgers_nu", inputs=model.inputs, derivatives=["u", "u_x", "u_t", "u_nu"]
    )


def compiled(need: Need, bundle: Path, model: Path, folder: Path) -> Path:
    """The example with this model, as the header of examples/assimilation.c has it."""
    words = (*STRICT, f"-I{bundle}", str(EXAMPLES / "assimilation.c"), str(model), "-lm", "-o")
    subprocess.run([need("cc"), *words, str(folder / "assimilation")], check=True)
    return folder / "assimilation"


@pytest.mark.slow
def test_the_estimate_lies_within_what_it_states(need: Need, bench: ModuleType, bundle: Path, tmp_path: Path) -> None:
    """Above and far below the error of the model."""
    program = compiled(need, bundle, bundle / "libburgers_nu.a", tmp_path)
    waves, error = bench.draw(12, seed=0), bench.ModelError(3.6e-6, 3.6e-6, 0.986)
    lower, upper = chdtri(waves.unknowns.size, [1 - 1e-4, 1e-4])
    for noise in (NOISE, 1e-6):
        reports = waves.v + np.random.default_rng(0).normal(0.0, noise, waves.v.shape)
        each = zip(waves.places, reports, strict=True)
        found = [bench.on_host(program, places, noise, error, seen) for places, seen in each]
        nees = sum(estimate.nees(true) for estimate, true in zip(found, waves.unknowns, strict=True))
        assert lower < nees < upper
        for estimate in found:
            assert (np.linalg.eigvalsh(estimate.covariance) > 0).all()
            assert (np.diag(estimate.covariance) < 1e-4).all()  # in units of the prior
            assert estimate.steps < 2 * bench.N_TICKS


@pytest.mark.slow
def test_a_cortex_m7_gives_the_bits_of_the_host(need: Need, bench: ModuleType, bundle: Path, tmp_path: Path) -> None:
    """With finite differences for a model, which need no second export."""
    need("qemu-system-arm")
    model, device = find_model("burgers_nu"), tmp_path / "device"
    assert model.inputs is not None
    interface = Interface("burgers_nu", "float32", TARGETS["cortex-m7"], model.inputs, {"eval": model.program})
    device.mkdir()
    for name in ("burgers_nu.h", "kdpinn_edge.h"):
        shutil.copy(bundle / name, device)
    layout = filled_template("bench_bare_metal.ld", interface, asdict(MEMORY["cortex-m7"]))
    (device / "burgers_nu_bench.ld").write_bytes(layout)
    waves, error = bench.draw(1, seed=1), bench.ModelError(6.5e-5, 6.5e-5, 0.98)
    given = waves.places[0], NOISE, error, waves.v[0, :4]
    here = bench.on_host(compiled(need, bundle, bench.CLASSICAL, tmp_path), *given)
    there = bench.on_cortex_m7(device, bench.CLASSICAL, tmp_path, bench.reports_header(*given))
    assert here.mean.tolist() == there.mean.tolist()
    assert here.covariance.tolist() == there.covariance.tolist()
    assert here.steps == there.steps
    assert there.spent > 0
