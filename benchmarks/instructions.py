"""Instructions and bytes of a tanh network, value alone, on every target: what an export states in its manifest.

    python benchmarks/instructions.py
    python benchmarks/instructions.py aarch64 cortex-m4 --width 32 --precision float64
    python benchmarks/instructions.py --write                       into docs/targets.md

Prints a Markdown table; "per point" is of a call with 64. 4×64 in float32 is held to limits, and the exit code is 1
where one is exceeded. Needs the extras `emulate` and `cross`, and for x86-64 valgrind.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from pages import DOCS, insert

from kdpinn_edge.errors import ExportError
from kdpinn_edge.export.bundle import export_bundle
from kdpinn_edge.export.targets.table import TARGETS
from kdpinn_edge.program.ir import Affine, Map, Op, Program, Var

NONE = (float("inf"), float("inf"))
LIMITS: dict[str, tuple[float, float]] = {
    "x86-64-v3": (float("inf"), 4200),
    "aarch64": (float("inf"), 6500),
    "armv7": (float("inf"), 12_000),
    "riscv64": (38_000, 32_000),
    "cortex-m4": (38_200, 32_000),
    "cortex-m7": (38_000, 32_000),
}
"""Instructions of 4×64 in float32 for one point, and per point of many."""


def network(depth: int, width: int) -> Program:
    """`depth` tanh layers of `width` between 2 inputs and 1 output."""
    rng = np.random.default_rng(0)
    x = at = Var("x", 2)
    ops: list[Op] = []
    for i, size in enumerate((*[width] * depth, 1)):
        last = i == depth
        z = Var("u" if last else f"z{i}", size)
        ops.append(Affine(z, at, rng.normal(0, at.size**-0.5, (size, at.size)), rng.normal(0, 0.1, size)))
        if not last:
            at = Var(f"h{i}", size)
            ops.append(Map(at, z, "tanh"))
    return Program("network", (x,), (z,), tuple(ops))


def main() -> int:
    """Export for each target, and print its line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    compiled = [name for name, target in TARGETS.items() if target.artifact not in ("c99", "fmu")]
    parser.add_argument("targets", nargs="*", default=compiled, help="default: all that are compiled")
    parser.add_argument("--depth", type=int, default=4)
    parser.add_argument("--width", type=int, default=64)
    parser.add_argument("--precision", choices=("float32", "float64"), default="float32")
    parser.add_argument("--write", action="store_true", help="write the table into the page")
    options = parser.parse_args()
    held = (options.depth, options.width, options.precision) == (4, 64, "float32")
    program, exceeded = network(options.depth, options.width), False
    lines: list[str] = []

    def show(*cells: str) -> None:
        lines.append(f"| {' | '.join(cells)} |")
        print(lines[-1], flush=True)

    network_name = f"{options.depth}×{options.width} {options.precision}"
    show(network_name, "instructions for one point", "per point of 64", "bytes of code", "of constants", "of stack")
    show(*["---"] * 6)
    for name in options.targets:
        with TemporaryDirectory() as folder:
            try:
                out = Path(folder) / "bundle"
                manifest = export_bundle(program, out, name="network", precision=options.precision, target=name)
            except ExportError as error:
                show(name, str(error).splitlines()[0])
                continue
        sizes, function = manifest.sizes, manifest.functions["eval"]
        if sizes is None:
            parser.error(f"{name} is source code")
        cells = [f"{sizes.text:,}", f"{sizes.rodata:,}", "" if function.stack is None else f"{function.stack:,}"]
        counts = ["", ""]
        if function.instructions is not None:
            limits = LIMITS.get(name, NONE) if held else NONE
            found = function.instructions["1"], function.instructions["64"] / 64
            too_many = [count > limit for count, limit in zip(found, limits, strict=True)]
            counts = [f"{count:,.0f}{' !' * over}" for count, over in zip(found, too_many, strict=True)]
            exceeded |= any(too_many)
        show(name, *counts, *cells)
    if options.write:
        insert(DOCS / "targets.md", "instructions", "\n".join(lines))
    return int(exceeded)


if __name__ == "__main__":
    sys.exit(main())
