"""`evidence(bundle)`: what a bundle has to hold, how that was tested here, what came out, and which files it is about.

The shape is the one that tool qualification asks for (DO-330, ISO 26262-8): requirement, test, result, artifact. It is
material for such an argument, and no claim to have made one.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import platform
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from importlib.resources import files
from pathlib import Path
from typing import Any, Literal, get_args

from kdpinn_edge.bundle.manifest import Input, Manifest
from kdpinn_edge.checks.check import CheckResult, Seen, each_verdict
from kdpinn_edge.checks.coverage import Coverage, source_coverage
from kdpinn_edge.display import facts_text, table_html
from kdpinn_edge.errors import BundleError, ExportError, MisfitError
from kdpinn_edge.files import check_folder, write_whole
from kdpinn_edge.runtime.load import Key

SCHEMA = 1
Outcome = Literal["met", "met in part", "not met", "open"]

TOOLS = ("kdpinn-edge", "numpy", "numba", "llvmlite", "onnx", "onnxruntime", "cffi", "pyelftools", "unicorn")


@dataclass(frozen=True)
class Requirement:
    """What a bundle has to hold, and the verdicts of `check` that test it: by name, or by how a name ends."""

    id: str
    text: str
    method: str
    verdicts: tuple[str, ...]
    artifacts: str

    def is_tested_by(self, name: str) -> bool:
        """Whether the verdict of this name tests it."""
        return any(name == each or (each.startswith(",") and name.endswith(each)) for each in self.verdicts)


REQUIREMENTS = (
    Requirement(
        "R1",
        "Every file is the one that was exported, and there is no other.",
        "SHA-256 of each file against the manifest; the folder is listed",
        ("manifest", "files"),
        "all files",
    ),
    Requirement(
        "R2",
        "The bundle comes from the holder of a known key.",
        "Ed25519 signature of the manifest, checked with the public key that was given",
        ("signature",),
        "manifest.json, manifest.json.sig",
    ),
    Requirement(
        "R3",
        "What is shipped follows from the Programs and from the columns, units, domain and equation of the manifest.",
        "Hashes of the Programs; the hash of the statement in the library; files derived, compiled and linked again",
        ("programs", "derived files", "compiled again", ", numba kernel"),
        "library, headers, build files, *.npz",
    ),
    Requirement(
        "R4",
        "The library exports its own functions, needs nothing, keeps no state, and loading it runs no code.",
        "Inspection of its symbols, segments, dynamic table and relocations",
        ("gates",),
        "library",
    ),
    Requirement(
        "R5",
        "The library returns the bits of the reference program, for every function.",
        "The library runs: its golden vectors, and its bits against those of NumPy at 1,024 points",
        ("selftest", "integrity", ", library", ", per call", ", integers"),
        "library, *.npz",
    ),
    Requirement(
        "R6",
        "Rounding makes no larger errors than the manifest states.",
        "Errors against the Program in float64, measured again at the points of the export",
        (", errors",),
        "manifest.json, *.npz",
    ),
    Requirement(
        "R7",
        "A call takes the stack and the instructions that the manifest states, whatever its input.",
        "Measured again, by emulation or by counting; multiply-adds and activations counted in the Programs",
        ("stack, instructions", "work"),
        "library, manifest.json",
    ),
    Requirement(
        "R8",
        "An independent implementation computes the same function, up to rounding.",
        "The ONNX models are read back, and evaluated by ONNX Runtime at 1,024 points",
        (", onnx model", ", onnx runtime"),
        "*.onnx",
    ),
    Requirement(
        "R9",
        "Ranges, errors and the absence of overflow hold for every point of the domain.",
        "A certificate, proved again by its checker",
        ("certificate",),
        "certificate.json",
    ),
)

LIMITS = (
    "Errors (R6) are measured at points. Only a certificate (R9) speaks of every point.",
    "Nothing here says how well the network solves its equation: kdpinn-edge audit measures the residual, and for "
    "the shipped models the errors against reference solutions are published.",
    "Structural coverage is of the C source of the Programs, by statements and branches, and not of object code. "
    "Decisions and conditions (MC/DC) are not counted.",
    "Instructions are counted, seconds are not bounded: caches, wait states and interrupts belong to the system.",
    "Emulated processors are models of the real ones. Where nothing ran on the target, its own self-test has to.",
    "The tools that made and checked this bundle were not developed to a safety standard. Whoever relies on them "
    "qualifies them, or verifies their output by other means.",
    "Hashes show accidents. Only a signature or a pinned hash (R2) shows who made a bundle.",
)


@dataclass(frozen=True)
class Line:
    """A requirement with the verdicts that tested it."""

    requirement: Requirement
    verdicts: tuple[CheckResult, ...]

    @property
    def outcome(self) -> Outcome:
        """Whether it is met: in part where some of its tests were skipped, open where none of them was made."""
        results = {verdict.result for verdict in self.verdicts}
        if "failed" in results:
            return "not met"
        if "passed" not in results:
            return "open"
        return "met in part" if "skipped" in results else "met"


@dataclass(frozen=True)
class Evidence:
    """What was found of one bundle.

    `manifest` is None where it is not the one that a key or a hash stands for. `certificate_sha256` is that of the
    certificate that was proved again, or failed; None where there is none, or its turn did not come. `coverage` is
    that of the C source of its Programs, or says why there is none.
    """

    bundle: str
    collected: str
    sha256: str
    manifest: Manifest | None
    lines: tuple[Line, ...]
    certificate_sha256: str | None
    coverage: Coverage | str

    @property
    def holds(self) -> bool:
        """Whether no requirement is unmet, though some may be open."""
        return all(line.outcome != "not met" for line in self.lines)

    def __repr__(self) -> str:
        return facts_text(f"evidence for {self.bundle}", {line.requirement.id: _summary(line) for line in self.lines})

    def _repr_html_(self) -> str:
        rows = ((line.requirement.id, line.requirement.text, line.outcome) for line in self.lines)
        return table_html(f"evidence for {self.bundle}", ("", "requirement", "outcome"), rows)

    @property
    def record(self) -> dict[str, Any]:
        """The evidence as JSON has it."""
        return {
            "schema": SCHEMA,
            "bundle": self.bundle,
            "collected": self.collected,
            "manifest_sha256": self.sha256,
            "certificate_sha256": self.certificate_sha256,
            "coverage": {"not_measured": self.coverage} if isinstance(self.coverage, str) else asdict(self.coverage),
            "holds": self.holds,
            "requirements": [
                asdict(line.requirement)
                | {"outcome": line.outcome, "verdicts": [asdict(verdict) for verdict in line.verdicts]}
                for line in self.lines
            ],
            "manifest": None if self.manifest is None else self.manifest.record,
            "environment": environment(),
            "limits": list(LIMITS),
        }


def evidence(bundle: str | os.PathLike[str], *, key: Key = None, sha256: str | None = None) -> Evidence:
    """The Evidence for the bundle in the directory `bundle`: `check` runs, and its verdicts are put to requirements.

    Each file is read once: everything in the evidence is about the bytes that were checked. `key` and `sha256` are
    those of `load`. Raises BundleError where there is no manifest at all.
    """
    directory, seen = Path(bundle), Seen()
    verdicts = [*each_verdict(directory, key, sha256, seen)]
    lines = tuple(
        Line(requirement, tuple(verdict for verdict in verdicts if requirement.is_tested_by(verdict.name)))
        for requirement in REQUIREMENTS
    )
    return Evidence(
        directory.name,
        datetime.now(UTC).isoformat(timespec="seconds"),
        seen.sha256,
        seen.manifest,
        lines,
        seen.certificate_sha256,
        _coverage(seen),
    )


def _coverage(seen: Seen) -> Coverage | str:
    """The coverage of the C source of a bundle's Programs, or why it cannot be measured here."""
    if seen.manifest is None or not seen.programs:
        return "the Programs cannot be read"
    try:
        return source_coverage(seen.manifest, seen.programs)
    except (ExportError, MisfitError) as error:
        return str(error)


def check_page(path: Path, bundle: Path) -> None:
    """Raise BundleError where the page cannot be written to `path`: call it before long work."""
    if path.suffix != ".html":
        raise BundleError(f"{path} is the page; expected: a name that ends in .html, beside which the JSON file goes")
    check_folder(path, BundleError)
    if path.resolve().parent == bundle.resolve():
        raise BundleError(f"{path} would lie in the bundle, whose list of files is closed; expected: another folder")


def write_evidence(found: Evidence, path: str | os.PathLike[str]) -> None:
    """Write `found` as a page to `path`, which ends in .html, and as JSON beside it, each whole or not at all."""
    page = Path(path)
    record = found.record
    write_whole(page.with_suffix(".json"), (json.dumps(record, indent=2, ensure_ascii=False) + "\n").encode())
    write_whole(page, _html(found).encode())


def environment() -> dict[str, str]:
    """What collected the evidence: the machine and the versions of tools."""
    found = {"system": platform.platform(), "machine": platform.machine(), "python": platform.python_version()}
    for tool in TOOLS:
        try:
            found[tool] = version(tool)
        except PackageNotFoundError:
            found[tool] = "not installed"
    return found


def _html(found: Evidence) -> str:
    """The page: markup in names is escaped, and a content policy allows its own style and nothing else."""
    from jinja2 import Environment, PackageLoader, StrictUndefined
    from markupsafe import Markup

    style = files("kdpinn_edge.checks").joinpath("templates", "evidence.css").read_text(encoding="utf-8")
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    environment_of_page = Environment(
        loader=PackageLoader("kdpinn_edge.checks"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment_of_page.get_template("evidence.html.jinja").render(
        found=found,
        counts=_counts(found.lines),
        measures=_measures(found.manifest) if found.manifest else (),
        domain=[_side(column) for column in found.manifest.inputs] if found.manifest else (),
        environment=environment(),
        limits=LIMITS,
        style=Markup(style),  # noqa: S704 (a file of this package)
        policy=f"default-src 'none'; style-src 'sha256-{digest}'",
    )


def _counts(lines: Sequence[Line]) -> dict[str, int]:
    return {outcome: sum(line.outcome == outcome for line in lines) for outcome in get_args(Outcome)}


def _side(column: Input) -> tuple[str, ...]:
    lower, upper = ("open" if side is None else f"{side:g}" for side in (column.lower, column.upper))
    return column.name, lower, upper, column.unit or "not stated"


def _summary(line: Line) -> str:
    return f"{line.outcome}: {line.requirement.text}"


def _measures(manifest: Manifest) -> list[tuple[str, ...]]:
    """For each function, and each of its outputs: work, stack, instructions, errors."""
    rows: list[tuple[str, ...]] = []
    for name, function in manifest.functions.items():
        counted = function.instructions or {}
        calls = ", ".join(f"{count:,} for {n}" for n, count in counted.items()) or "not measured"
        work = f"{function.operations.multiply_adds:,} and {function.operations.activations:,}"
        stack = "not measured" if function.stack is None else f"{function.stack:,} bytes"
        errors = zip(function.outputs, function.errors.max_abs, function.errors.rms, function.errors.scale, strict=True)
        for i, (column, largest, rms, scale) in enumerate(errors):
            shared = (name, work, calls, stack) if i == 0 else ("", "", "", "")
            unit = f" [{column.unit}]" if column.unit else ""
            rows.append((*shared, f"{column.name}{unit}", f"{largest:.3g}", f"{rms:.3g}", f"{scale:.3g}"))
    return rows
