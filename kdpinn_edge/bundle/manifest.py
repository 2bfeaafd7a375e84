"""`manifest.json`: what a bundle is, what it was measured to do, and the SHA-256 of each of its files.

A bundle is one model, of one to three functions with the same inputs, and one flat directory. Its manifest is one JSON
object whose keys, types and allowed values are the table `SHAPE` below, none missing and none more. Python's standard
library reads it; nothing in it is ever executed.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import re
import sys
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args

from kdpinn_edge.bundle import fixed_point
from kdpinn_edge.bundle.fixed_point import FixedPointRecord
from kdpinn_edge.bundle.shape import (
    BOUND,
    COUNT,
    COUNT_OR_NULL,
    INSTRUCTIONS,
    MAGNITUDE,
    POSITIVE,
    SHA256,
    TEXT,
    TEXT_OR_EMPTY,
    TEXT_OR_NULL,
    Absent,
    Leaf,
    Optional,
    Shape,
    Table,
    is_count,
    matches,
    misfits,
)
from kdpinn_edge.derive.names import Names
from kdpinn_edge.equation.model_name import name_fault
from kdpinn_edge.errors import BundleError, listing
from kdpinn_edge.files import write_whole
from kdpinn_edge.numerics.fixed_point import PROFILE as IN_WORDS
from kdpinn_edge.reading import GIB, LARGEST_JSON, parse_json, read_whole

SCHEMA = 5
MANIFEST_FILE = "manifest.json"
CERTIFICATE_FILE = "certificate.json"
LARGEST_FILE = GIB
"""Bytes that a file of a bundle may have; its manifest has at most LARGEST_JSON."""
PROGRAM_FILE = "program.npz"
ONNX_FILE = "model.onnx"
SIGNATURE_FILE = f"{MANIFEST_FILE}.sig"
BESIDE = frozenset({MANIFEST_FILE, SIGNATURE_FILE, CERTIFICATE_FILE})
"""What may lie in the folder of a bundle and is not listed: the manifest, its signature, and a certificate, which is
proved by itself and not read by `load`."""

MAX_RELATIVE_ERROR = 0.01
"""The share of the largest value that the error of an export may have, unless another is asked for."""

FunctionName = Literal["eval", "jet", "residual"]
Precision = Literal["float32", "float64"]
Storage = Literal["float16", "float32", "float64", "int32"]
Grade = Literal["accurate", "fast"]
Arithmetic = Literal["float", "int16"]


def arithmetic_of(profile: str) -> Arithmetic:
    """What a model of this numerics profile computes with."""
    return "int16" if profile == IN_WORDS else "float"


LARGEST_BATCH = 1 << 16
"""Points that an ONNX model may be fixed to."""

LARGEST: Mapping[Precision, float] = {"float32": (2 - 2**-23) * 2.0**127, "float64": sys.float_info.max}

Artifact = Literal["elf", "archive", "dylib", "dll", "wasm", "c99", "fmu"]

LIBRARY_FILES: Mapping[Artifact, str] = {
    "elf": "lib{}.so",
    "archive": "lib{}.a",
    "dylib": "lib{}.dylib",
    "dll": "{}.dll",
    "wasm": "{}.wasm",
    "c99": "{}.c",
    "fmu": "{}.fmu",
}
"""What each kind of library is called, for a model of this name."""

LINKED_FILES: Mapping[Artifact, str] = {"elf": "lib{}.so.{}", "dylib": "lib{}.{}.dylib"}
"""What the library is called a second time, with its identity, where linked programs look for it by another name."""

STATIC_FILES: Mapping[Artifact, str] = {"elf": "lib{}.a"}
"""What the same code is called as a static archive, where that stands beside the library."""

CASADI_SOURCE, CASADI_LIBRARY = "{}_casadi.c", "lib{}_casadi.so"
"""What the functions for CasADi are called, and the library that it loads, where there is one."""

PROGRAM_FILES: Mapping[FunctionName, str] = {"eval": PROGRAM_FILE, "jet": "jet.npz", "residual": "residual.npz"}
ONNX_FILES: Mapping[FunctionName, str] = {"eval": ONNX_FILE, "jet": "jet.onnx", "residual": "residual.onnx"}
FUNCTIONS = tuple(PROGRAM_FILES)
"""What a model may have, in this order: its values, always; derivatives; what is left of its equation."""


@dataclass(frozen=True)
class TargetRecord:
    """The target of the machine code: LLVM's triple, cpu and features; `lanes` numbers per vector."""

    name: str
    triple: str
    cpu: str
    features: str
    lanes: int


@dataclass(frozen=True)
class Input:
    """One number of the input point. The model is meant for [lower, upper]; None is an open side."""

    name: str
    lower: float | None = None
    upper: float | None = None
    unit: str | None = None


def domain_fault(lower: float | None, upper: float | None, precision: Precision) -> str | None:
    """The fault of the domain of an Input whose sides or width are no numbers of the precision, or None."""
    sides = [side for side in (lower, upper) if side is not None]
    if lower is not None and upper is not None:
        if not lower < upper:
            return f"lower {lower} is not below upper {upper}"
        sides.append(upper - lower)
    if not all(abs(side) <= LARGEST[precision] for side in sides):
        return f"lower {lower} and upper {upper} are too far for {precision}; expected: an open side, or nearer numbers"
    return None


@dataclass(frozen=True)
class Output:
    """One number of the output point."""

    name: str
    unit: str | None = None


@dataclass(frozen=True)
class Errors:
    """Errors measured at export over `n_points`, for each output: largest and root-mean-square difference to `against`.

    Both are absolute. `scale` is the largest magnitude of the output in the reference at those points, so that
    max_abs / scale is a relative error.
    """

    max_abs: tuple[float, ...]
    rms: tuple[float, ...]
    scale: tuple[float, ...]
    n_points: int
    against: str


@dataclass(frozen=True)
class Operations:
    """The work for one point: multiply-adds, and evaluations of tanh, sin and the like."""

    multiply_adds: int
    activations: int


@dataclass(frozen=True)
class Function:
    """One function of the model: its Program, and what that costs. `outputs` has one entry per column of y.

    `errors` are those of the arithmetic, against the bundle's own Program; `storage_errors` those against the Program
    whose weights were rounded for storage, None where none were.
    `stack` is the bytes that a call takes below the caller's stack pointer, `instructions` how many it runs for so many
    points; both are exact, and None where nothing could measure them.
    """

    program_sha256: str
    outputs: tuple[Output, ...]
    errors: Errors
    operations: Operations
    stack: int | None
    instructions: Mapping[str, int] | None
    storage_errors: Errors | None = None

    @property
    def n_out(self) -> int:
        """The numbers per output point."""
        return len(self.outputs)


@dataclass(frozen=True)
class Sizes:
    """Bytes of machine code and of constants in the library."""

    text: int
    rodata: int

    @property
    def flash(self) -> int:
        """Bytes of both: what the library takes of a read-only memory."""
        return self.text + self.rodata


@dataclass(frozen=True)
class Manifest:
    """The contents of `manifest.json`. `files` maps each file's name to its SHA-256 in lower-case hex.

    `inputs` has one entry per column of x, for every function; `per_call` are the names of those that functions such
    as NAME_eval_for are given apart, as p, since they are constant during a call. `functions` are some of FUNCTIONS
    in their order, "eval" among them. `library` is one of `files`; where it is source code, it has no `sizes`.
    `helpers` are the functions of the compiler's run-time library that it calls where no instruction computes in float.
    `fixed_point` has what is stated of each function of a model in integers; others have none.
    `batch` is the number of points that the ONNX models take, None where they take any.
    `signer` is the fingerprint of the key that signed the manifest, if one did (`signature.py`).
    `stack` is the most that any C function of the library takes, its self-test included; `measured` says how it and
    the instructions were measured, or why they are None.
    """

    name: str
    precision: Precision
    storage: Storage
    profile: str
    target: TargetRecord
    inputs: tuple[Input, ...]
    functions: Mapping[FunctionName, Function]
    equation: str | None
    sizes: Sizes | None
    stack: int | None
    measured: str
    toolchain: Mapping[str, str]
    files: Mapping[str, str]
    library: str
    per_call: tuple[str, ...] = ()
    helpers: tuple[str, ...] = ()
    batch: int | None = None
    signer: str | None = None
    fixed_point: Mapping[FunctionName, FixedPointRecord] = field(default_factory=dict)
    schema: int = SCHEMA

    @property
    def n_in(self) -> int:
        """The numbers per input point."""
        return len(self.inputs)

    @property
    def box(self) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """The domain, the lower ends of the inputs and the upper ones; infinite where a side is open."""
        lower = tuple(-math.inf if column.lower is None else column.lower for column in self.inputs)
        return lower, tuple(math.inf if column.upper is None else column.upper for column in self.inputs)

    @property
    def names(self) -> tuple[Names, tuple[str, ...]]:
        """The columns of x and of eval, whose derivatives the columns of the jet are, and these; none without a jet."""
        inputs = tuple(column.name for column in self.inputs)
        outputs, jet = (
            tuple(column.name for column in self.functions[each].outputs) if each in self.functions else ()
            for each in ("eval", "jet")
        )
        return Names(inputs, outputs), jet

    @property
    def record(self) -> dict[str, Any]:
        """The manifest as the file has it: what only some models have is left out of the others."""
        record = asdict(self)
        for key in ("per_call", "helpers", "batch", "signer", "fixed_point"):
            if not record[key]:
                del record[key]
        return record


def write_manifest(manifest: Manifest, directory: str | os.PathLike[str]) -> None:
    """Write `manifest` as `directory`/manifest.json; equal manifests give equal bytes.

    Raises BundleError, with every fault, where `read_manifest` would refuse it; OSError where it cannot be written.
    """
    record = json.loads(json.dumps(manifest.record))
    path = Path(directory) / MANIFEST_FILE
    _raise(_faults(record), path)
    write_whole(path, (json.dumps(record, indent=2, sort_keys=True) + "\n").encode())


def read_manifest(directory: str | os.PathLike[str]) -> Manifest:
    """The Manifest in `directory`/manifest.json. Raises BundleError with every fault found."""
    return parse_manifest(read_manifest_bytes(directory), directory)


def read_manifest_bytes(directory: str | os.PathLike[str]) -> bytes:
    """The bytes of `directory`/manifest.json. Raises BundleError where they cannot be read."""
    path = Path(directory) / MANIFEST_FILE
    try:
        return read_whole(path, LARGEST_JSON)
    except OSError as error:
        raise BundleError(
            f"{path}: cannot be read ({error.strerror}); expected: the directory that `export` wrote"
        ) from error


def parse_manifest(text: bytes, directory: str | os.PathLike[str]) -> Manifest:
    """The Manifest in `text`, the bytes of `directory`/manifest.json. Raises BundleError with every fault found."""
    path = Path(directory) / MANIFEST_FILE
    try:
        record = parse_json(text, strict=True)
    except ValueError as error:
        raise BundleError(
            f"{path}: not JSON ({error}). The usual cause is a truncated or edited file: export the bundle again."
        ) from error
    _raise(_faults(record), path)
    return _manifest(record)


def check_files(directory: str | os.PathLike[str], manifest: Manifest) -> dict[str, bytes]:
    """The contents of every file that `manifest` lists, proved by their hashes: use these bytes, not the files.

    Raises BundleError that lists every file that is missing, is not a regular file, or has another hash, and everything
    in the folder that is neither listed nor one of BESIDE: a compiler that searches the folder would find it. Symbolic
    links are refused: a bundle is whole in itself.
    """
    contents: dict[str, bytes] = {}
    strange = sorted({entry.name for entry in os.scandir(directory)} - manifest.files.keys() - BESIDE)
    faults: list[str] = []
    for name, expected in manifest.files.items():
        try:
            contents[name] = read_whole(Path(directory) / name, LARGEST_FILE, link=False)
        except OSError as error:
            faults.append(f"{name}: {error.strerror}")
            continue
        found = hashlib.sha256(contents[name]).hexdigest()
        if found != expected:
            faults.append(f"{name}: SHA-256 is {found}, the manifest says {expected}")
    advice = "\nCopy the whole bundle again, or export it again." if faults else ""
    faults = [*(f"{name!a} is not in the manifest; move it out of the bundle" for name in strange), *faults]
    if faults:
        raise BundleError(f"{directory}: the files are not those that were exported: {listing(faults)}{advice}")
    return contents


FILE = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.+-]{0,99}", re.ASCII)
PROFILE = re.compile(r"[a-z]+[0-9]{0,2}-[0-9]{1,4}(-fast)?", re.ASCII)


FILE_NAME = Leaf(
    f"a plain file name (letters, digits, _ . + -) that is not {MANIFEST_FILE}",
    lambda value: matches(FILE)(value) and value != MANIFEST_FILE,
)

ERRORS: dict[str, Shape] = {
    "max_abs": [MAGNITUDE],
    "rms": [MAGNITUDE],
    "scale": [MAGNITUDE],
    "n_points": POSITIVE,
    "against": TEXT,
}

SHAPE: dict[str, Shape] = {
    "schema": Leaf(str(SCHEMA), lambda value: is_count(value) and value == SCHEMA),
    "name": Leaf("a model name: see `name_fault`", lambda value: isinstance(value, str) and name_fault(value) is None),
    "precision": Leaf("float32 or float64", lambda value: value in ("float32", "float64")),
    "storage": Leaf("float16, float32, float64 or int32", lambda value: value in get_args(Storage)),
    "profile": Leaf("a numerics profile such as fma-2", matches(PROFILE)),
    "target": {"name": TEXT, "triple": TEXT, "cpu": TEXT_OR_EMPTY, "features": TEXT_OR_EMPTY, "lanes": POSITIVE},
    "per_call": Absent([TEXT]),
    "inputs": [{"name": TEXT, "lower": BOUND, "upper": BOUND, "unit": TEXT_OR_NULL}],
    "functions": Table(
        Leaf(", ".join(FUNCTIONS), lambda value: value in FUNCTIONS),
        {
            "program_sha256": SHA256,
            "outputs": [{"name": TEXT, "unit": TEXT_OR_NULL}],
            "errors": ERRORS,
            "storage_errors": Optional(ERRORS),
            "operations": {"multiply_adds": COUNT, "activations": COUNT},
            "stack": COUNT_OR_NULL,
            "instructions": INSTRUCTIONS,
        },
    ),
    "equation": TEXT_OR_NULL,
    "sizes": Optional({"text": COUNT, "rodata": COUNT}),
    "helpers": Absent([TEXT]),
    "stack": COUNT_OR_NULL,
    "measured": TEXT,
    "batch": Absent(Leaf(f"1 to {LARGEST_BATCH}", lambda value: is_count(value) and 1 <= value <= LARGEST_BATCH)),
    "toolchain": Table(TEXT, TEXT),
    "files": Table(FILE_NAME, SHA256),
    "library": FILE_NAME,
    "signer": Absent(SHA256),
    "fixed_point": Absent(Table(Leaf(", ".join(FUNCTIONS), lambda value: value in FUNCTIONS), fixed_point.SHAPE)),
}


def _faults(record: Any) -> list[str]:
    """Every way in which `record` is not the JSON of a Manifest."""
    schema: Any = record.get("schema") if isinstance(record, dict) else None
    if is_count(schema) and schema != SCHEMA:
        fix = "update kdpinn_edge" if schema > SCHEMA else "an older version wrote it, export the bundle again"
        return [f"schema {schema}; this version reads {SCHEMA}: {fix}"]
    return misfits(record, SHAPE, "") or _contradictions(record)


def _contradictions(record: dict[str, Any]) -> list[str]:
    """What is wrong between fields that are each well-formed."""
    faults = []
    for i, column in enumerate(record["inputs"]):
        fault = domain_fault(column["lower"], column["upper"], record["precision"])
        faults += [f"inputs[{i}]: {fault}"] if fault else []
    faults += _twice("inputs", record["inputs"])
    names, constant = [column["name"] for column in record["inputs"]], record.get("per_call", [])
    if constant and (constant != [name for name in names if name in constant] or len(constant) == len(names)):
        faults.append(f"per_call: {', '.join(constant)}; expected: some of {', '.join(names)}, in this order")
    if "eval" not in record["functions"]:
        faults.append(f"functions: {', '.join(record['functions'])}; expected: eval, and others beside it")
    for name, function in record["functions"].items():
        where, n_out = f"functions[{name!r}]", len(function["outputs"])
        faults += _twice(f"{where}.outputs", function["outputs"])
        if name in (in_words := record.get("fixed_point", {})):
            faults += fixed_point.faults(in_words[name], len(names), n_out, f"fixed_point[{name!r}]")
        for errors in ("errors", "storage_errors"):
            for key in ("max_abs", "rms", "scale"):
                if function[errors] and len(function[errors][key]) != n_out:
                    faults.append(f"{where}.{errors}.{key}: {len(function[errors][key])} numbers for {n_out} outputs")
    expected = [pattern.format(record["name"]) for pattern in LIBRARY_FILES.values()]
    if record["library"] not in expected:
        faults.append(f"library: {record['library']!r}; expected: {' or '.join(expected)}")
    if record["library"] not in record["files"]:
        faults.append(f"library: {record['library']!r} is not one of files")
    return faults


def _twice(where: str, described: list[dict[str, Any]]) -> list[str]:
    names = [column["name"] for column in described]
    return [f"{where}: {name!r} occurs twice" for name, count in sorted(Counter(names).items()) if count > 1]


def _manifest(record: dict[str, Any]) -> Manifest:
    fields = {
        "target": TargetRecord(**record["target"]),
        "inputs": tuple(Input(**column) for column in record["inputs"]),
        "per_call": tuple(record.get("per_call", ())),
        "helpers": tuple(record.get("helpers", ())),
        "functions": {name: _function(record["functions"][name]) for name in FUNCTIONS if name in record["functions"]},
        "fixed_point": {
            name: fixed_point.fixed_point_record(each) for name, each in record.get("fixed_point", {}).items()
        },
        "sizes": Sizes(**record["sizes"]) if record["sizes"] else None,
    }
    return Manifest(**(record | fields))


def _function(record: dict[str, Any]) -> Function:
    return Function(
        record["program_sha256"],
        tuple(Output(**column) for column in record["outputs"]),
        _errors(record["errors"]),
        Operations(**record["operations"]),
        record["stack"],
        record["instructions"],
        _errors(record["storage_errors"]) if record["storage_errors"] else None,
    )


def _errors(record: dict[str, Any]) -> Errors:
    return Errors(**record | {key: tuple(record[key]) for key in ("max_abs", "rms", "scale")})


def _raise(faults: list[str], path: Path) -> None:
    if faults:
        raise BundleError(f"{path}: not a manifest: {listing(faults)}")
