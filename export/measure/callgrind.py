"""Instructions and stack of a library's functions on x86-64 Linux: a C program calls them, valgrind counts."""

from __future__ import annotations

import platform
import re
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from kdpinn_edge.bundle.elf import SharedLibrary
from kdpinn_edge.errors import ExportError
from kdpinn_edge.export.artifacts.templates import template
from kdpinn_edge.export.targets.table import Target

OPTIONS = ("-O1", "-std=c11", "-ffreestanding", "-fno-builtin", "-fno-stack-protector", "-nostdlib", "-nostartfiles")
VALGRIND = ("--tool=callgrind", "--combine-dumps=yes", "--compress-strings=no", "--compress-pos=no")


@dataclass(frozen=True)
class Call:
    """A call of `symbol` with so many points, whose results take so many bytes; of a self-test, with none.

    With `per_call` the function is given what is constant during a call as well: the first numbers of x.
    """

    symbol: str
    n_points: int
    y_bytes: int
    per_call: bool = False

    @property
    def words(self) -> str:
        """What the C program is told of it."""
        return f"CALL({self.symbol}, {self.n_points}, {int(self.per_call)})"


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
        source, program, own = Path(folder) / "calls.c", Path(folder) / "calls", Path(folder) / _called(library)
        source.write_text(template("calls.c"))
        own.write_bytes(library)
        told = f"-DCALLS={' '.join(call.words for call in calls)}", f"-DX_BYTES={len(x)}"
        most = f"-DY_BYTES={max(call.y_bytes for call in calls)}"
        linked = (str(own), "-Wl,-z,now", "-Wl,-rpath,$ORIGIN")
        _run([compiler, *OPTIONS, *told, most, str(source), *linked, "-o", str(program)], calls)
        stack, seen = None, "stack not measured: this machine does not run the code"
        if target.runs_here():
            stack = tuple(np.frombuffer(_run([str(program)], calls, x), np.int64).tolist())
            seen = "stack measured on this machine"
        valgrind = shutil.which("valgrind")
        if target.cpu == "x86-64-v4" or valgrind is None:
            why = "valgrind does not know AVX-512" if target.cpu == "x86-64-v4" else "valgrind is not installed"
            return Counts(None, stack, f"instructions not counted: {why}; {seen}")
        out = Path(folder) / "counts"
        _run([valgrind, *VALGRIND, f"--callgrind-out-file={out}", str(program)], calls, x)
        text = out.read_text()
    creator = re.search(r"^creator: callgrind-(\S+)$", text, re.MULTILINE)
    by = f"valgrind {creator[1]}" if creator else "valgrind"
    ran = f" in the code for {target.variants[-1]}" if target.variants else ""  # the one without AVX-512
    instructions = _totals(text, str(own))[: sum(call.n_points > 0 for call in calls)]
    return Counts(instructions, stack, f"instructions counted by {by}{ran}; {seen}")


def _called(library: bytes) -> str:
    """The name by which a program that is linked with the library finds it."""
    name = SharedLibrary(library).linked_as
    return "library.so" if name == "none" else name


def _run(command: Sequence[str], calls: Sequence[Call], given: bytes = b"") -> bytes:
    done = subprocess.run(command, input=given, capture_output=True, check=False)  # noqa: S603
    if done.returncode != 0:
        failed = f"{calls[done.returncode - 1].symbol} fails" if 0 < done.returncode <= len(calls) else ""
        reason = done.stderr.decode(errors="replace").strip() or failed or f"{command[0]} ended with {done.returncode}"
        raise ExportError(f"the library could not be called to measure it: {reason}")
    return done.stdout


def _totals(text: str, library: str) -> tuple[int, ...]:
    """For each part of a file of callgrind the instructions that ran in the library.

    A line of costs is of the object named last, but after a line calls= it is of the callee.
    """
    totals: list[int] = []
    inside, of_callee = False, False
    for line in text.splitlines():
        if line.startswith("part:"):
            totals.append(0)
        elif line.startswith("ob="):
            inside = line.removeprefix("ob=") == library
        elif line.startswith("calls="):
            of_callee = True
        elif line[:1].isdigit():
            totals[-1] += int(line.split()[-1]) if inside and not of_callee else 0
            of_callee = False
    return tuple(totals)
