"""Structural coverage of a model's C99 source: the statements and branches that its self-test reaches, by gcov.

It is of the C source of the same Programs, as gcc reads it without optimising. Object code has other branches.
"""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from kdpinn_edge.bundle.manifest import FunctionName, Manifest
from kdpinn_edge.errors import MisfitError
from kdpinn_edge.numerics.lanes import FAST_SUFFIX
from kdpinn_edge.program.ir import Program

SOURCES = {"fma-2": "c99", "muladd-1": "c99-muladd"}
"""The targets whose source has the arithmetic of a numerics profile; integers are the same in both."""
LONGEST_S = 120
MAIN = '#include "{0}.h"\n\nint main(void)\n{{\n    return {0}_selftest();\n}}\n'


@dataclass(frozen=True)
class Coverage:
    """How much of a source the self-test reached; `unreached` has the lines that it did not, as they are written."""

    statements: int
    statements_reached: int
    branches: int
    branches_reached: int
    unreached: tuple[str, ...]
    compiler: str

    def __str__(self) -> str:
        return (
            f"the self-test reaches {self.statements_reached} of {self.statements} lines with statements and "
            f"{self.branches_reached} of {self.branches} branches of the C99 source of these Programs "
            f"({self.compiler}, without optimisation)"
        )


def source_coverage(manifest: Manifest, programs: Mapping[FunctionName, Program]) -> Coverage:
    """What the self-test of the C99 source reaches. Raises MisfitError where that cannot be measured here."""
    from kdpinn_edge.export.artifacts.c_files import c_files
    from kdpinn_edge.export.artifacts.c_source import c_source
    from kdpinn_edge.export.preparation import prepare_again

    tools = [shutil.which(name) for name in ("gcc", "gcov")]
    if None in tools:
        raise MisfitError("gcc and gcov are not installed")
    target = SOURCES.get(manifest.profile.removesuffix(FAST_SUFFIX), "c99")
    model = prepare_again(manifest, programs, target=target)
    source = f"{manifest.name}.c"
    files = {
        **c_files(model.interface),
        source: c_source(model.kernels[0], model.interface),
        "Main.c": MAIN.format(manifest.name).encode(),
    }
    with TemporaryDirectory(prefix="kdpinn_edge_") as name:
        folder = Path(name)
        for file, data in files.items():
            (folder / file).write_bytes(data)
        gcc, gcov = map(str, tools)
        said = _run([gcc, "--version"], folder).splitlines()[0]
        compiled, counted = f"{manifest.name}.o", f"{manifest.name}.gcda"
        _run([gcc, "-std=c99", "-O0", "--coverage", "-c", source, "-o", compiled], folder)
        _run([gcc, "--coverage", compiled, "Main.c", "-o", "Run", "-lm"], folder)
        _run([str(folder / "Run")], folder)
        report = json.loads(_run([gcov, "--json-format", "--stdout", "--branch-probabilities", counted], folder))
        (found,) = (each for each in report["files"] if each["file"] == source)
    return _counted(found["lines"], files[source].decode().splitlines(), said)


def _counted(lines: Sequence[Mapping[str, Any]], text: Sequence[str], compiler: str) -> Coverage:
    counts: dict[int, int] = {}  # a line may be there once for each function that has it
    for line in lines:
        counts[line["line_number"]] = counts.get(line["line_number"], 0) + line["count"]
    branches = [branch["count"] for line in lines for branch in line["branches"]]
    return Coverage(
        len(counts),
        sum(count > 0 for count in counts.values()),
        len(branches),
        sum(count > 0 for count in branches),
        tuple(_unreached(counts, text)),
        compiler,
    )


def _unreached(counts: Mapping[int, int], text: Sequence[str]) -> Iterator[str]:
    for number, count in sorted(counts.items()):
        if count == 0:
            yield f"line {number}: {text[number - 1].strip()}"


def _run(command: Sequence[str], folder: Path) -> str:
    """What a command printed. Raises MisfitError where it fails."""
    try:
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, timeout=LONGEST_S)  # noqa: S603
    except subprocess.TimeoutExpired as error:
        raise MisfitError(f"{Path(command[0]).name} did not end within {LONGEST_S} s") from error
    if done.returncode != 0:
        raise MisfitError(f"{Path(command[0]).name} ended with {done.returncode}: {done.stderr.strip()[-300:]}")
    return done.stdout
