"""Flipped bits in code and constants: which change a result, and which of these self-test and CRC do not see.

    python benchmarks/fault_coverage.py
    python benchmarks/fault_coverage.py burgers_student heat_small --flips 20000 --target x86-64-v3

A fault is one bit of the sections .text or .rodata of a library. For each, the changed library is loaded in new
processes: one evaluates all functions, at 1,000 points together and at some one by one, one runs NAME_selftest, one
NAME_integrity. A fault is effective if the first one gives other bits, crashes, or does not end in 2 seconds; it is
seen where another does the same or reports it. Bits are drawn at random, half of them in each section.

Prints a Markdown table; the bound is that of the share of unseen among effective faults, by Clopper and Pearson, with a
confidence of 95 %. The exit code is 1 where a fault was seen by neither.
"""

from __future__ import annotations

import argparse
import ctypes
import os
import signal
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from elftools.elf.elffile import ELFFile
from numpy.typing import NDArray
from scipy.stats import beta

from kdpinn_edge.bundle.manifest import Manifest, read_manifest
from kdpinn_edge.bundle.probe import probe_points
from kdpinn_edge.export.bundle import export_bundle
from kdpinn_edge.importers.model import find_model

N_POINTS, N_SINGLE = 1000, 20
LONGEST_S = 2
MODELS = ("burgers_small", "heat_small", "wave_small")
Action = Callable[[ctypes.CDLL], int]


@dataclass
class Counts:
    """Faults of one section: how many there were, how many were effective, and how many of these were not seen."""

    faults: int = 0
    effective: int = 0
    by_selftest: int = 0
    by_integrity: int = 0
    by_both: int = 0

    @property
    def bound(self) -> float:
        """The share of effective faults that neither sees is below this."""
        return float(beta.ppf(0.95, self.by_both + 1, self.effective - self.by_both)) if self.effective else 1.0


def in_child(image: bytes, action: Action) -> bool:
    """Whether `action` on the library returns 0 in a process of its own."""
    child = os.fork()
    if child == 0:
        try:
            signal.alarm(LONGEST_S)
            file = os.memfd_create("library")
            os.write(file, image)
            os._exit(int(action(ctypes.CDLL(f"/proc/self/fd/{file}")) != 0))
        except BaseException:
            os._exit(2)
    return os.waitpid(child, 0)[1] == 0


def results(library: ctypes.CDLL, manifest: Manifest, x: NDArray[Any]) -> bytes:
    """What all functions give, at all points together and at some one by one."""
    found = []
    for function, stated in manifest.functions.items():
        evaluate = library[f"{manifest.name}_{function}"]
        for points in (x, *x[:N_SINGLE, None]):
            y = np.full((len(points), stated.n_out), np.nan, x.dtype)
            evaluate(ctypes.c_void_p(points.ctypes.data), ctypes.c_void_p(y.ctypes.data), ctypes.c_int64(len(points)))
            found.append(y.tobytes())
    return b"".join(found)


def measured(bundle: Path, flips: int, seed: int) -> Iterator[tuple[str, Counts]]:
    """The counts of each section of the library of a bundle."""
    manifest = read_manifest(bundle)
    image = (bundle / manifest.library).read_bytes()
    x = probe_points(manifest.inputs, N_POINTS, seed=seed).astype(manifest.precision)
    expected = results(ctypes.CDLL(str(bundle / manifest.library)), manifest, x)
    actions: list[Action] = [
        lambda library: int(results(library, manifest, x) != expected),
        lambda library: int(library[f"{manifest.name}_selftest"]()),
        lambda library: int(library[f"{manifest.name}_integrity"]()),
    ]
    if not all(in_child(image, action) for action in actions):
        raise SystemExit(f"{manifest.library} does not work as it is; expected: a library for this machine")
    rng = np.random.default_rng(seed)
    for name in (".text", ".rodata"):
        section, counts = ELFFile(BytesIO(image)).get_section_by_name(name), Counts()
        for _ in range(flips // 2):
            changed = bytearray(image)
            changed[section["sh_offset"] + int(rng.integers(section["sh_size"]))] ^= 1 << int(rng.integers(8))
            counts.faults += 1
            if in_child(bytes(changed), actions[0]):
                continue
            selftest, integrity = (in_child(bytes(changed), action) for action in actions[1:])
            counts.effective += 1
            counts.by_selftest += selftest
            counts.by_integrity += integrity
            counts.by_both += selftest and integrity
        yield name, counts


def main() -> int:
    """Export each model, flip bits, and print a line for each section."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="*", default=MODELS, help="shipped models")
    parser.add_argument("--flips", type=int, default=2000, help="for each model")
    parser.add_argument("--target", default="native")
    parser.add_argument("--seed", type=int, default=0)
    stated = parser.parse_args()
    print(
        "| model | section | flipped bits | effective | unseen by self-test | by CRC | by both | bound of that share |"
    )
    print("|---|---|---|---|---|---|---|---|", flush=True)
    unseen = 0
    with TemporaryDirectory() as folder:
        for model in stated.models:
            bundle = Path(folder) / model
            found = find_model(model)
            columns: dict[str, Any] = {"inputs": found.inputs, "outputs": found.outputs, "residual": found.problem}
            export_bundle(found.program, bundle, name=model, target=stated.target, **columns)
            for section, counts in measured(bundle, stated.flips, stated.seed):
                cells = (counts.faults, counts.effective, counts.by_selftest, counts.by_integrity, counts.by_both)
                row = " | ".join(f"{cell:,}" for cell in cells)
                print(f"| {model} | {section} | {row} | {counts.bound:.1e} |", flush=True)
                unseen += counts.by_both
    return int(unseen > 0)


if __name__ == "__main__":
    sys.exit(main())
