"""Flipped bits in code and constants: every one is seen by NAME_integrity; which of them does the self-test see?

    python benchmarks/fault_coverage.py                          every bit of three libraries, some minutes
    python benchmarks/fault_coverage.py heat_small --target x86-64-v3
    python benchmarks/fault_coverage.py burgers_small --flips 3000   a sample, with the faults that change a result

A fault is one bit of a library. Each bit of each section that is loaded is flipped once, in memory, and NAME_integrity
is called: that needs no judgement of which faults are effective, and no statistics. Bits of its own code and record are
flipped in processes of their own, since it may crash or not end; that counts as seen. What is not seen of these makes
NAME_integrity blind, and no result wrong. The exit code is 1 where another bit was not seen.

With --flips, so many bits of .text and .rodata are drawn at random, half of them in each. For each, the changed library
is loaded in new processes: one evaluates all functions, at 1,000 points together and at some one by one, one runs
NAME_selftest, one NAME_integrity. A fault is effective if the first one gives other bits, crashes, or does not end in 2
seconds; it is seen where another does the same or reports it. The bound is that of the share of unseen among effective
faults, by Clopper and Pearson, with a confidence of 95 %. The exit code is 1 where a fault was seen by neither.
"""

from __future__ import annotations

import argparse
import ctypes
import os
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from elftools.elf.constants import SH_FLAGS
from elftools.elf.elffile import ELFFile
from numpy.typing import NDArray
from scipy.stats import beta

from kdpinn_edge.bundle.manifest import Manifest, read_manifest
from kdpinn_edge.bundle.probe import probe_points
from kdpinn_edge.export.bundle import export_bundle
from kdpinn_edge.export.targets.integrity import HEAD, MAGIC, RANGE, ROOM
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


def exported(model: str, folder: Path, target: str) -> Path:
    """The bundle of a shipped model, with its residual."""
    bundle, found = folder / model, find_model(model)
    columns: dict[str, Any] = {"inputs": found.inputs, "outputs": found.outputs, "residual": found.problem}
    export_bundle(found.program, bundle, name=model, target=target, **columns)
    return bundle


def enumerated(models: Sequence[str], target: str) -> int:
    """Flip every bit of these models and print a line for each section; 1 if the CRC missed one that is not its own."""
    print("| model | section | bits | seen | bits of the CRC itself | seen |\n|---|---|---|---|---|---|")
    missed = 0
    with TemporaryDirectory() as folder:
        for model in models:
            for section, *counts in every_bit(exported(model, Path(folder), target)):
                print(f"| {model} | {section} | {' | '.join(f'{count:,}' for count in counts)} |", flush=True)
                missed += (counts[0] - counts[1]) * (section not in WRITTEN)
    return int(missed > 0)


WRITTEN = (".data.rel.ro", ".dynamic")
"""What the loader writes, and no CRC covers."""
PAGE = os.sysconf("SC_PAGE_SIZE")
READ_WRITE_EXECUTE = 7


def every_bit(bundle: Path) -> Iterator[tuple[str, int, int, int, int]]:
    """For each section that is loaded: bits, those that the CRC sees; bits of its code and record, those it sees."""
    manifest = read_manifest(bundle)
    image = (bundle / manifest.library).read_bytes()
    library = ctypes.CDLL(str(bundle / manifest.library))
    symbol = f"{manifest.name}_integrity"
    elf, integrity = ELFFile(BytesIO(image)), library[symbol]
    (stated,) = elf.get_section_by_name(".dynsym").get_symbol_by_name(symbol)
    first, size = stated["st_value"], stated["st_size"]
    base = ctypes.cast(integrity, ctypes.c_void_p).value or 0
    base -= first
    record = image.index(MAGIC)
    own = {*range(first, first + size), *range(record, record + HEAD.size + ROOM * RANGE.size)}
    for section in elf.iter_sections():
        if not section["sh_flags"] & SH_FLAGS.SHF_ALLOC or not section["sh_size"]:
            continue
        begin, end = section["sh_addr"], section["sh_addr"] + section["sh_size"]
        start = (base + begin) // PAGE * PAGE
        if ctypes.CDLL(None).mprotect(ctypes.c_void_p(start), base + end - start, READ_WRITE_EXECUTE):
            raise SystemExit(f"{section.name} cannot be made writable")
        memory = (ctypes.c_ubyte * (end - begin)).from_address(base + begin)
        bits = seen = own_bits = own_seen = 0
        for i, bit in ((i, bit) for i in range(end - begin) for bit in range(8)):
            memory[i] ^= 1 << bit
            if begin + i in own:
                own_bits, own_seen = own_bits + 1, own_seen + (not in_new(integrity))
            else:
                bits, seen = bits + 1, seen + integrity()
            memory[i] ^= 1 << bit
        yield section.name, bits, seen, own_bits, own_seen


def in_new(call: Callable[[], int]) -> bool:
    """Whether `call` returns 0 in a process of its own, within a tenth of a second of its time."""
    child = os.fork()
    if child == 0:
        signal.setitimer(signal.ITIMER_PROF, 0.1)
        os._exit(int(call() != 0))
    return os.waitpid(child, 0)[1] == 0


def main() -> int:
    """Export each model, flip bits, and print a line for each section."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="*", default=MODELS, help="shipped models")
    parser.add_argument("--target", default="native")
    parser.add_argument("--flips", type=int, help="for each model; by default every bit, and the CRC alone")
    parser.add_argument("--seed", type=int, default=0)
    stated = parser.parse_args()
    if stated.flips is None:
        return enumerated(stated.models, stated.target)
    print(
        "| model | section | flipped bits | effective | unseen by self-test | by CRC | by both | bound of that share |"
    )
    print("|---|---|---|---|---|---|---|---|", flush=True)
    unseen = 0
    with TemporaryDirectory() as folder:
        for model in stated.models:
            bundle = exported(model, Path(folder), stated.target)
            for section, counts in measured(bundle, stated.flips, stated.seed):
                cells = (counts.faults, counts.effective, counts.by_selftest, counts.by_integrity, counts.by_both)
                row = " | ".join(f"{cell:,}" for cell in cells)
                print(f"| {model} | {section} | {row} | {counts.bound:.1e} |", flush=True)
                unseen += counts.by_both
    return int(unseen > 0)


if __name__ == "__main__":
    sys.exit(main())
