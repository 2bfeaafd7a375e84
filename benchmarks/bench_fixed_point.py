"""What the profile int16-1 takes and loses, for the shipped students: the tables of docs/fixed_point.md.

python benchmarks/bench_fixed_point.py errors [STUDENT …]             relative L2 errors against the Program in float64
python benchmarks/bench_fixed_point.py counts [STUDENT …] [TARGET …]  instructions of one value, and bytes, on cores
                                                                      without floats
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from io import BytesIO
from itertools import product
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from elftools.elf.constants import SH_FLAGS
from elftools.elf.elffile import ELFFile

from kdpinn_edge import zoo
from kdpinn_edge.bundle.posed import posed
from kdpinn_edge.errors import ProgramError
from kdpinn_edge.export.artifacts.gnu import MACHINES
from kdpinn_edge.export.bundle import export_bundle
from kdpinn_edge.numerics.fixed_point import PROFILE
from kdpinn_edge.numerics.reference import NumpyProgram
from kdpinn_edge.problems import problem
from kdpinn_edge.program.evaluate import evaluate
from kdpinn_edge.program.file import read_program
from kdpinn_edge.program.interp import Meaning, interpret
from kdpinn_edge.program.ir import Affine, Array
from kdpinn_edge.program.simplify import simplify

STUDENTS = [name for name in zoo.names() if not name.endswith("teacher")]
TARGETS = ("cortex-m0plus", "cortex-m3", "rv32imc")


class Sixteen(Meaning):
    """A network whose weights have 16 bits, with a power of two for each row, and whose activations have 16."""

    def affine(self, op: Affine, x: Array) -> Array:
        """The sums, which are not rounded."""
        largest = np.abs(op.weight).max(axis=1, keepdims=True)
        steps = np.exp2(np.ceil(np.log2(np.where(largest > 0, largest, 1.0))) - 15)
        rounded: Array = x @ (np.rint(op.weight / steps) * steps).T + op.bias
        return rounded

    def map(self, fn: str, x: Array) -> Array:
        """The function, rounded where it is that of a layer."""
        y = super().map(fn, x)
        rounded: Array = np.rint(y * 2.0**15) / 2.0**15 if x.shape[1] > 1 else y
        return rounded


def errors(names: Sequence[str]) -> None:
    """Print the errors of these students."""
    print("| student | 16-bit weights and activations | int16-1 | float32 |\n|---|---|---|---|")
    for name in names:
        program, solves = simplify(read_program(zoo.program(name))), problem(name.rpartition("_")[0])
        box = solves.lower, solves.upper
        x = np.random.default_rng(0).uniform(*box, (8000, program.n_in)).astype(np.float32)
        exact = interpret(program, x)

        def off(y: Array, exact: Array = exact) -> str:
            share = np.linalg.norm(y - exact, axis=0) / np.linalg.norm(exact, axis=0)
            return f"{share.max():.1e}"

        narrow, single = (
            off(evaluate(program, Sixteen(), x.astype(np.float64))),
            off(NumpyProgram(program, "float32")(x)),
        )
        try:
            integers = off(NumpyProgram(program, "float32", PROFILE, box)(x))
        except ProgramError:
            integers = "refused"
        print(f"| `{name}` | {narrow} | {integers} | {single} |")


def counts(names: Sequence[str], targets: Sequence[str]) -> None:
    """Print what one value of these students takes on these targets."""
    counts_, sizes_ = (
        ("instructions", "words in and out", "by soft float"),
        ("bytes", "words in and out", "by soft float"),
    )
    columns = ("student", "target", *counts_, *sizes_, "stack")
    print(f"| {' | '.join(columns)} |\n" + "|---" * len(columns) + "|")
    for name, target in product(names, targets):
        program, (inputs, outputs) = read_program(zoo.program(name)), posed(problem(name.rpartition("_")[0]))
        stated: dict[str, Any] = {"name": "net", "target": target, "inputs": inputs, "outputs": outputs}
        found = []
        with TemporaryDirectory() as folder:
            for arithmetic in ("int16", "float"):
                try:
                    path = Path(folder) / arithmetic
                    manifest = export_bundle(program, path, arithmetic=arithmetic, **stated)
                except ProgramError:
                    break
                eval_ = manifest.functions["eval"]
                found.append(((eval_.instructions or {}).get("1", 0), linked(path, target, "net_eval"), eval_.stack))
                for each in manifest.fixed_point.values():
                    found.append(((each.instructions or {}).get("1", 0), linked(path, target, "net_eval_fixed"), None))
        if len(found) == 3:
            counted, sizes, (stack, *_) = zip(*found, strict=True)
            numbers = " | ".join(f"{each:,}" for each in (*counted, *sizes, stack or 0))
            print(f"| `{name}` | {target} | {numbers} |", flush=True)


def linked(bundle: Path, target: str, function: str) -> int:
    """The bytes of a program that calls this function of the model and nothing else, soft-float helpers included."""
    made, entry = bundle / "linked", f"-Wl,--gc-sections,-z,noexecstack,-e,{function},-u,{function}"
    command: list[str | Path] = [*MACHINES[target], "-nostdlib", entry, "-o", made, bundle / "libnet.a", "-lgcc"]
    subprocess.run(command, check=True)  # noqa: S603
    sections = ELFFile(BytesIO(made.read_bytes())).iter_sections()
    return sum(each["sh_size"] for each in sections if each["sh_flags"] & SH_FLAGS.SHF_ALLOC)


if __name__ == "__main__":
    what, *chosen = sys.argv[1:]
    students = [name for name in STUDENTS if name in chosen] or STUDENTS
    if what == "errors":
        errors(students)
    else:
        counts(students, [target for target in TARGETS if target in chosen] or TARGETS)
