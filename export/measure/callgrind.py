"""Instructions and stack of a library's functions on x86-64 Linux: a C program calls them, valgrind counts."""

from __future__ import annotations

import platform
import re
import shutil
import subprocess
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from tempfile import TemporaryDirectory

from kdpinn_edge.errors import ExportError
from kdpinn_edge.export.targets.table import Target

HARNESS = "templates/calls.c"
VALGRIND = ("--tool=callgrind", "--compress-strings=no", "--compress-pos=no")


@dataclass(frozen=True)
class Call:
    """A call of `symbol` with so many points, whose results take so many bytes; of a self-test, with none.

    With `per_call` the function is given what is constant during a call as well: the first numbers of x.
    """

    symbol: str
    n_points: int
    y_bytes: int
    per_call: bool = False

    def words(self, library: Path, *, called: bool = True) -> list[str]:
        """What the C program is told of it; where it is not to be called, the number of points is negative."""
        return [str(library), self.symbol, str(self.n_points if called else -1), str(int(self.per_call))]


@dataclass(frozen=True)
class Counts:
    """For each call with points the instructions, and for each call the bytes of stack; None where nothing tells them.

    `how` says by what they were measured.
    """

    instructions: tuple[int, ...] | None
    stack: tuple[int, ...] | None
    how: str


def is_native(target: Target) -> bool:
    """Whether the code of the target is of this machine's kind, though not each of its instructions may be known."""
    here = platform.system() == "Linux" and platform.machine() == "x86_64"
    return here and target.artifact == "elf" and target.triple.startswith("x86_64")


def counted(library: bytes, target: Target, calls: Sequence[Call], x: bytes) -> Counts:
    """What each call of a library takes at the points x, as far as this machine and its tools can tell.

    Raises ExportError where the library cannot be called.
    """
    compiler = next(filter(None, map(shutil.which, ("cc", "gcc", "clang"))), None)
    if compiler is None:
        return Counts(None, None, "stack and instructions not measured: neither cc, gcc nor clang is on the PATH")
    with TemporaryDirectory() as folder:
        source, program = Path(folder) / "calls.c", Path(folder) / "calls"
        source.write_text((files("kdpinn_edge.export") / HARNESS).read_text())
        _run([compiler, "-O1", str(source), "-o", str(program), "-Wl,-z,now", "-ldl"])
        sides = [str(len(x)), str(max(call.y_bytes for call in calls))]
        stack, seen = None, "stack not measured: this machine does not run the code"
        if target.runs_here():
            path = Path(folder) / "library.so"
            path.write_bytes(library)
            each = [word for call in calls for word in call.words(path)]
            stack = tuple(map(int, _run([str(program), *sides, "1", *each], x).split()))
            seen = "stack measured on this machine"
        valgrind = shutil.which("valgrind")
        if target.cpu == "x86-64-v4" or valgrind is None:
            why = "valgrind does not know AVX-512" if target.cpu == "x86-64-v4" else "valgrind is not installed"
            return Counts(None, stack, f"instructions not counted: {why}; {seen}")
        # valgrind tells libraries apart, not calls; in one more copy nothing but what chooses between variants runs
        evaluating = [call for call in calls if call.n_points]
        loaded, *copies = (Path(folder) / f"{i}.so" for i in range(1 + len(evaluating)))
        each = evaluating[0].words(loaded, called=False)
        for copy, call in zip(copies, evaluating, strict=True):
            each += call.words(copy)
        for copy in (loaded, *copies):
            copy.write_bytes(library)
        out = Path(folder) / "counts"
        _run([valgrind, *VALGRIND, f"--callgrind-out-file={out}", str(program), *sides, "0", *each], x)
        text = out.read_text()
    totals, creator = _totals(text), re.search(r"^creator: callgrind-(\S+)$", text, re.MULTILINE)
    instructions = tuple(totals[str(copy)] - totals[str(loaded)] for copy in copies)
    by = f"valgrind {creator[1]}" if creator else "valgrind"
    ran = f" in the code for {target.variants[-1]}" if target.variants else ""  # the one without AVX-512
    return Counts(instructions, stack, f"instructions counted by {by}{ran}; {seen}")


def _run(command: Sequence[str], given: bytes = b"") -> str:
    done = subprocess.run(command, input=given, capture_output=True, check=False)  # noqa: S603
    if done.returncode != 0:
        reason = done.stderr.decode(errors="replace").strip() or f"{command[0]} ended with {done.returncode}"
        raise ExportError(f"the library could not be called to measure it: {reason}")
    return done.stdout.decode()


def _totals(text: str) -> Mapping[str, int]:
    """For each object in a file of callgrind the instructions that ran in it.

    A line of costs is of the object named last, but after a line calls= it is of the callee.
    """
    totals: Counter[str] = Counter()
    current, of_callee = "", False
    for line in text.splitlines():
        if line.startswith("ob="):
            current = line.removeprefix("ob=")
        elif line.startswith("calls="):
            of_callee = True
        elif line[:1].isdigit():
            totals[current] += 0 if of_callee else int(line.split()[-1])
            of_callee = False
    return totals
