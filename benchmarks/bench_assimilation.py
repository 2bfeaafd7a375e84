"""The estimator of examples/assimilation.h, with the shipped network and with finite differences: errors, NEES, time.

    python benchmarks/bench_assimilation.py                 200 waves for each noise; the table of docs/assimilation.md
    python benchmarks/bench_assimilation.py --write         the same, and into the page
    python benchmarks/bench_assimilation.py --host-only     without QEMU and ziglang

Each wave has its own amplitude, phase and viscosity, drawn from the estimator's prior, and its own place of the eight
sensors; 50 reports of each are the exact solution plus noise. The model's error and its memory are measured beforehand
on 1,000 other waves. NEES is the squared error of all three unknowns in the metric of the stated covariance, 3 in the
mean where that is true; the exit code is 1 if a mean of the network lies outside its 95 % interval (chi-square), or if
the Cortex-M7 estimates other bits than the host.
"""

from __future__ import annotations

import argparse
import ctypes
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pages import DOCS, ROOT, insert
from scipy.optimize import brentq
from scipy.stats import chi2

from kdpinn_edge.errors import ExportError
from kdpinn_edge.export.bundle import export_bundle
from kdpinn_edge.importers.model import find_model
from kdpinn_edge.problems import problem

Array = NDArray[np.float64]

EXAMPLES, CLASSICAL = ROOT / "examples", ROOT / "benchmarks" / "classical_burgers.c"

DERIVATIVES = ("u", "u_x", "u_t", "u_nu")
MEAN, DEVIATION = np.array([0.8, 0.0, 0.04]), np.array([0.05, 0.1, 0.008])
"""The prior of the example: amplitude, phase, viscosity."""

N_SENSORS, N_TICKS, EARLY = 8, 50, 12
TIMES = np.arange(1, N_TICKS + 1) / N_TICKS
NOISES = (1e-2, 1e-3, 1e-4, 1e-5)
CC = ("cc", "-std=c99", "-O3", "-ffp-contract=off")
ZIG = (sys.executable, "-m", "ziglang", "cc", "-target", "thumb-freestanding-eabihf", "-mcpu=cortex_m7+fp_armv8d16")
FREESTANDING = ("-std=c99", "-O3", "-ffp-contract=off", "-ffreestanding", "-nostdlib", "-Wl,-e,bench_reset")
QEMU = ("qemu-system-arm", "-M", "mps2-an500", "-icount", "shift=0", "-bios", "none", "-display", "none")
SEMIHOSTING = ("-chardev", "stdio,id=out", "-semihosting-config", "enable=on,chardev=out")
MOST_MEMORY = 0.999
MEASURED_ON = 1000, 1_000_000
"""Waves on which the model's error is measured, and their seed."""

INSTRUCTIONS_PER_SYSTICK = 40
"""By -icount shift=0 an instruction takes 1 ns, and the clock of this machine has 25 MHz."""


@dataclass(frozen=True)
class Waves:
    """n waves: their unknowns (n, 3), places of sensors (n, 8), points of u (n, 50, 8, 3), and v there (n, 50, 8)."""

    unknowns: Array
    places: Array
    points: Array
    v: Array


@dataclass(frozen=True)
class ModelError:
    """How far v of the model is off; the standard deviation and the memory that the estimator is given."""

    rms: float
    deviation: float
    memory: float


@dataclass(frozen=True)
class Estimate:
    """What the program prints last, in units of the prior deviation; its steps; seconds, or ticks of SysTick."""

    mean: Array
    covariance: Array
    steps: int
    spent: float

    def nees(self, unknowns: Array) -> float:
        """The squared error in the metric of the covariance."""
        error = self.mean - unknowns / DEVIATION
        return float(error @ np.linalg.solve(self.covariance, error))


def draw(n: int, seed: int) -> Waves:
    """n waves of the prior, as far as the network's domain goes."""
    burgers, rng = problem("burgers_nu"), np.random.default_rng(seed)
    drawn = rng.normal(MEAN, DEVIATION, (2 * n, 3))
    scaled = drawn[:, 2] / drawn[:, 0]
    inside = (drawn[:, 0] < 1) & (scaled > burgers.lower[2]) & (scaled < burgers.upper[2])
    unknowns = drawn[inside][:n]
    amplitude, phase, nu = unknowns.T[:, :, None, None]
    places = -1 + 2 * (np.arange(N_SENSORS) + rng.uniform(0, 1, (n, 1))) / N_SENSORS
    x = (places[:, None] - phase + 1) % 2 - 1
    points = np.stack(np.broadcast_arrays(x, amplitude * TIMES[:, None], nu / amplitude), -1)
    u = burgers.reference(points.reshape(-1, 3))[:, 0]
    return Waves(unknowns, places, points, amplitude * u.reshape(x.shape[0], N_TICKS, N_SENSORS))


def jets(library: Path, waves: Waves) -> Array:
    """u and its derivatives by the library's burgers_nu_jet: (n, 50, 8, 4)."""
    c = ctypes.CDLL(str(library))
    x = waves.points.astype(np.float32)
    y = np.empty((*x.shape[:-1], len(DERIVATIVES)), np.float32)
    for index in np.ndindex(x.shape[:2]):
        pointers = (ctypes.c_void_p(array[index].ctypes.data) for array in (x, y))
        if c.burgers_nu_jet(*pointers, ctypes.c_int64(N_SENSORS)) != 0:
            raise ExportError(f"burgers_nu_jet of {library.name} failed")
    return y.astype(np.float64)


def model_error(library: Path, waves: Waves) -> ModelError:
    """How far v of the library is off, and the memory with which the estimator's covariance says so.

    What the errors of reports do to the unknowns is, but for a factor, their projection onto the derivatives by the
    unknowns. Memory is chosen so that projections of the model's error, and of noise as large, are in the mean over the
    waves as large as is stated. If even errors that last are stated too small, as where all sensors share them, the
    deviation is raised.
    """
    u, u_x, u_t, u_nu = np.moveaxis(jets(library, waves), -1, 0)
    amplitude = waves.unknowns[:, :1, None]
    _, at, nu = np.moveaxis(waves.points, -1, 0)
    error = amplitude * u - waves.v
    by = np.stack([u + at * u_t - nu * u_nu, -amplitude * u_x, u_nu], -1) * DEVIATION
    projected = np.einsum("nksa,nks->na", by, error)
    lags = np.abs(np.subtract.outer(np.arange(N_TICKS), np.arange(N_TICKS)))
    rms = float(np.sqrt(np.mean(error**2)))

    noise = rms**2 * np.einsum("nksa,nksb->nab", by, by)

    def found(memory: float) -> float:
        """The mean NEES of the projections and of the noise, by the covariance that is stated for this memory."""
        stated = noise + np.einsum("nksa,nksb->nab", by, np.einsum("kl,nlsb->nksb", rms**2 * memory**lags, by))
        second = np.einsum("na,nb->nab", projected, projected) + noise
        return float(np.mean(np.trace(np.linalg.solve(stated, second), axis1=1, axis2=2)))

    if found(MOST_MEMORY) > len(MEAN):
        return ModelError(rms, rms * (found(MOST_MEMORY) / len(MEAN)) ** 0.5, MOST_MEMORY)
    memory = brentq(lambda memory: found(memory) - len(MEAN), 0.0, MOST_MEMORY) if found(0.0) > len(MEAN) else 0.0
    return ModelError(rms, rms, float(memory))


def run(command: Sequence[str | Path], text: str = "") -> str:
    """What a command prints, for this input."""
    done = subprocess.run([str(word) for word in command], input=text, capture_output=True, text=True, check=False)  # noqa: S603
    if done.returncode != 0:
        raise ExportError(f"{command[0]} ended with {done.returncode}:\n{done.stderr}")
    return done.stdout


def on_host(program: Path, places: Array, noise: float, error: ModelError, reports: Array) -> Estimate:
    """The estimate of the compiled example."""
    lines = [*places, noise, error.deviation, error.memory, *np.column_stack([TIMES[: len(reports)], reports]).flat]
    said = dict(line.split(" ", 1) for line in run([program], " ".join(f"{x:.8e}" for x in lines)).splitlines()[-4:])
    mean, covariance = ([float.fromhex(word) for word in said[name].split()] for name in ("mean", "covariance"))
    return Estimate(np.array(mean), np.reshape(covariance, (3, 3)), int(said["steps"]), float(said["seconds"]))


def reports_header(places: Array, noise: float, error: ModelError, reports: Array) -> str:
    """reports.h of the program for the Cortex-M7; decimal as the host reads it."""

    def braced(numbers: Array) -> str:
        return "{" + ", ".join(f"{x:.8e}f" if np.ndim(x) == 0 else braced(x) for x in numbers) + "}"

    settings = ", ".join(f"{x:.8e}f" for x in (noise, error.deviation, error.memory))
    return (
        f"static const sensors RECORDED = {{{braced(places)}, {settings}}};\n"
        f"enum {{ N_TICKS = {len(reports)} }};\n"
        f"static const float TIMES[N_TICKS] = {braced(TIMES[: len(reports)])};\n"
        f"static const float REPORTS[N_TICKS][N_SENSORS] = {braced(reports)};\n"
    )


def on_cortex_m7(bundle: Path, model: Path, folder: Path, header: str) -> Estimate:
    """The estimate of the example on bare metal in QEMU, for the reports in the header."""
    (folder / "reports.h").write_text(header, encoding="utf-8")
    sources = ("-T", bundle / "burgers_nu_bench.ld", EXAMPLES / "assimilation_cortex_m.c", model)
    run([*ZIG, *FREESTANDING, f"-I{bundle}", f"-I{folder}", *sources, "-o", folder / "m7.elf"])
    said: dict[str, list[str]] = {}
    for line in run([*QEMU, *SEMIHOSTING, "-kernel", folder / "m7.elf"]).splitlines():
        name, word = line.split()
        said.setdefault(name, []).append(word)
    mean, covariance = (
        np.array([int(word, 16) for word in said[name]], np.uint64).view(np.float64) for name in ("mean", "covariance")
    )
    return Estimate(mean, covariance.reshape(3, 3), int(said["steps"][0], 16), int(said["systick"][0], 16))


@dataclass(frozen=True)
class Model:
    """What gives u and its derivatives: how it is linked here and on the Cortex-M7, and its library."""

    name: str
    program: Path
    library: Path
    on_m7: Path


def models(host: Path, m7: Path, folder: Path) -> Iterator[Model]:
    """The network of both bundles, and finite differences in its place."""
    example = EXAMPLES / "assimilation.c"
    for name, linked, on_m7 in (
        ("network", host / "libburgers_nu.a", m7 / "libburgers_nu.a"),
        ("finite differences", CLASSICAL, CLASSICAL),
    ):
        program, library = folder / f"{linked.stem}_program", folder / f"{linked.stem}.so"
        run([*CC, "-march=native", f"-I{host}", example, linked, "-lm", "-o", program])
        if linked is CLASSICAL:
            run([*CC, "-march=native", "-shared", "-fPIC", f"-I{host}", linked, "-o", library])
        else:
            library = host / "libburgers_nu.so"
        yield Model(name, program, library, on_m7)


def exported(folder: Path, target: str, with_bench: bool = False) -> Path:
    """The bundle of the shipped student."""
    model, out = find_model("burgers_nu"), folder / target
    export_bundle(
        model.program,
        out,
        name="burgers_nu",
        inputs=model.inputs,
        target=target,
        derivatives=DERIVATIVES,
        with_bench=with_bench,
    )
    return out


def row(model: Model, error: ModelError, noise: float, waves: Waves, seed: int) -> tuple[list[str], float]:
    """A line of the table, and the mean NEES."""
    reports = waves.v + np.random.default_rng(seed).normal(0.0, noise, waves.v.shape)
    nothing, early = ModelError(0.0, 0.0, 0.0), reports[:, :EARLY]
    settings = list(zip(waves.places, reports, early, strict=True))
    found = [on_host(model.program, places, noise, error, each) for places, each, _ in settings]
    ignoring = [on_host(model.program, places, noise, nothing, each) for places, each, _ in settings]
    first = [on_host(model.program, places, noise, error, each) for places, _, each in settings]
    nees, unaware, at_first = (
        float(np.mean([each.nees(true) for each, true in zip(those, waves.unknowns, strict=True)]))
        for those in (found, ignoring, first)
    )
    off = np.array([each.mean for each in found]) - waves.unknowns / DEVIATION
    squares = np.mean(off**2 / [np.diag(each.covariance) for each in found], axis=0)
    rms = DEVIATION * np.sqrt(np.mean(off**2, axis=0))
    cells = [model.name, f"{noise:.0e}", f"{nees:.2f}", f"{unaware:.2f}", f"{at_first:.2f}"]
    cells += [" ".join(f"{each:.2f}" for each in squares), *(f"{each:.1e}" for each in rms)]
    cells += [f"{np.mean([each.steps for each in found]) / N_TICKS:.2f}"]
    return [*cells, f"{1e6 * np.median([each.spent for each in found]) / N_TICKS:.1f}"], nees


def main() -> int:
    """Print the tables, and say whether the measures hold."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--waves", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--noise", type=float, nargs="+", default=NOISES, help="standard deviations; u is up to 1")
    parser.add_argument("--host-only", action="store_true", help="leave the Cortex-M7 out")
    parser.add_argument("--write", action="store_true", help="write the tables into the page")
    given = parser.parse_args()
    lower, upper = chi2.ppf([0.025, 0.975], 3 * given.waves) / given.waves
    lines: list[str] = []

    def show(*cells: str) -> None:
        lines.append(f"| {' | '.join(cells)} |" if len(cells) > 1 else cells[0])
        print(lines[-1], flush=True)

    holds, device = True, []
    waves, others = draw(given.waves, given.seed), draw(*MEASURED_ON)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        host = exported(folder, "native")
        m7 = host if given.host_only else exported(folder, "cortex-m7", with_bench=True)
        show(f"{given.waves} waves; NEES is 3 where the covariance is true; 95 % interval {lower:.2f} to {upper:.2f}.")
        show("")
        show("model", "noise", "NEES", "model error ignored", f"after {EARLY} ticks", "z² of A, φ, ν", *(
            f"error of {each}" for each in ("A", "φ", "ν")
        ), "steps per tick", "µs per tick")  # fmt: skip
        show(*["---"] * 11)
        for model in models(host, m7, folder):
            error = model_error(model.library, others)
            for k, noise in enumerate(given.noise):
                cells, nees = row(model, error, noise, waves, given.seed + k + 1)
                show(*cells)
                holds &= model.name != "network" or bool(lower <= nees <= upper)
            words = [model.name, f"{error.rms:.1e}", f"{error.deviation:.1e}", f"{error.memory:.3f}"]
            if not given.host_only:
                reports = waves.v[0] + np.random.default_rng(given.seed).normal(0.0, 1e-3, waves.v[0].shape)
                here = on_host(model.program, waves.places[0], 1e-3, error, reports)
                header = reports_header(waves.places[0], 1e-3, error, reports)
                there = on_cortex_m7(m7, model.on_m7, folder, header)
                same = np.array_equal(here.mean, there.mean) and np.array_equal(here.covariance, there.covariance)
                holds &= same
                count = there.spent * INSTRUCTIONS_PER_SYSTICK / N_TICKS
                words += [f"{count:,.0f}", "yes" if same else "no"]
            device.append(words)
    show("")
    asked = ("instructions per tick, Cortex-M7", "bits of the host")
    heads = ["model", "its error", "as stated", "memory", *(() if given.host_only else asked)]
    show(*heads)
    show(*["---"] * len(heads))
    for words in device:
        show(*words)
    if given.write:
        insert(DOCS / "assimilation.md", "assimilation", "\n".join(lines))
    return 0 if holds else 1


if __name__ == "__main__":
    sys.exit(main())
