"""`read_pt2(path)`: an ExportedProgram in a `.pt2` file, read as data.

`torch.export.load` unpickles what a file asks it to, evaluates its symbolic sizes, calls the functions that it names
and executes its guards. So a clean copy is made first, in memory, with the parts that are data and nothing else; sizes,
operators and containers in it are held to a list of what may occur, and the guards are left out. That copy is loaded.
"""

from __future__ import annotations

import ast
import io
import json
import logging
import re
import warnings
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from kdpinn_edge.archives import open_archive, read_entry
from kdpinn_edge.errors import CaptureError
from kdpinn_edge.importers.pytorch.weights import data_only
from kdpinn_edge.reading import GIB, MIB, parse_json, read_whole

MODEL, SAMPLES = "models/model.json", "data/sample_inputs/model.pt"
CONFIGS = "data/weights/model_weights_config.json", "data/constants/model_constants_config.json"
DATA = re.compile(
    r"data/weights/weight_\d+|data/constants/tensor_\d+|archive_format|archive_version|byteorder|\.data/\w+", re.ASCII
)
"""The entries of an archive that are numbers or facts, without its root."""
LARGEST, LARGEST_JSON = 2 * GIB, 32 * MIB
"""Bytes that a file, and the text of its graph, may have."""
TARGET = re.compile(
    r"torch\.ops\.(aten|higher_order|prims)\.(?!from_file)[\w.]+|_operator\.\w+|math\.\w+|torch\.sym_\w+"
)
"""The operators that a node of the graph may call."""
SYMBOLIC_FUNCTIONS = """Symbol Integer Float Rational Add Mul Pow Max Min Eq Ne Lt Le Gt Ge FloorDiv ModularIndexing
    Where PythonMod Mod CleanDiv CeilToInt FloorToInt CeilDiv PowByNatural FloatPow FloatTrueDiv IntTrueDiv TruncToInt
    RoundToInt ToFloat Identity"""
SYMBOLIC = frozenset(SYMBOLIC_FUNCTIONS.split())
"""The functions that a symbolic size may be made of."""
CONTAINERS = frozenset({None, "builtins.tuple", "builtins.list", "builtins.dict", "collections.OrderedDict"})
"""What inputs and outputs may come in."""
AGAIN = "The usual fix: torch.export.save(exported, 'model.pt2') again, of a module with tensors alone"


def read_pt2(path: Path) -> torch.export.ExportedProgram:
    """The ExportedProgram in a file. Raises CaptureError where it is none, or holds more than data."""
    clean = _clean(path)
    try:
        with warnings.catch_warnings(), _without_log():
            warnings.simplefilter("ignore")
            return torch.export.load(clean)
    except Exception as error:  # torch raises what it likes on an archive of another version
        reason = str(error).strip().splitlines()[0] if str(error).strip() else ""
        raise CaptureError(
            f"{path}: torch {torch.__version__} cannot load it ({type(error).__name__}: {reason}); expected: what "
            f"torch.export.save of this version writes. {AGAIN}"
        ) from error


@contextmanager
def _without_log() -> Iterator[None]:
    """Keep torch from printing a traceback of what is said here in an error."""
    log = logging.getLogger("torch.export")
    before = log.level
    log.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        log.setLevel(before)


def _clean(path: Path) -> io.BytesIO:
    """A copy of the archive that holds data alone."""
    try:
        archive = open_archive(read_whole(path, LARGEST))
    except (OSError, ValueError) as error:
        raise CaptureError(
            f"{path}: not an archive ({error}); expected: a .pt2 file that torch.export.save wrote, whole"
        ) from error
    root = next((name.removesuffix(MODEL) for name in archive.namelist() if name.endswith(f"/{MODEL}")), None)
    if root is None or root.count("/") != 1:
        raise CaptureError(f"{path}: holds no {MODEL}; expected: a .pt2 file that torch.export.save wrote. {AGAIN}")
    clean = io.BytesIO()
    with archive, zipfile.ZipFile(clean, "w", zipfile.ZIP_STORED) as written:
        for name in archive.namelist():
            inner = name.removeprefix(root)
            if inner in (MODEL, SAMPLES, *CONFIGS) or DATA.fullmatch(inner):
                written.writestr(name, _checked(inner, _content(archive, name, path), path))
    clean.seek(0)
    return clean


def _content(archive: zipfile.ZipFile, name: str, path: Path) -> bytes:
    try:
        return read_entry(archive, name)
    except ValueError as error:
        raise CaptureError(f"{path}: {error}; expected: a .pt2 file, whole") from error


def _checked(inner: str, content: bytes, path: Path) -> bytes:
    if inner == SAMPLES:
        data_only(content, f"{path}: {SAMPLES}")
        return content
    if inner not in (MODEL, *CONFIGS):
        return content
    try:
        found = parse_json(content, largest=LARGEST_JSON)
        faults = list(_model_faults(found) if inner == MODEL else _payload_faults(found))
    except (ValueError, TypeError, LookupError, AttributeError, RecursionError) as error:
        raise CaptureError(f"{path}: {inner} is damaged ({error}); expected: what torch.export.save writes") from error
    if faults:
        raise CaptureError(f"{path}: {faults[0]}, which could run code; expected: data alone. {AGAIN}")
    if inner == MODEL:
        found["guards_code"] = []
    return json.dumps(found).encode()


def _payload_faults(config: Any) -> Iterator[str]:
    for name, payload in config["config"].items():
        if payload["use_pickle"] or not re.fullmatch(r"(weight|tensor)_\d+", payload["path_name"], re.ASCII):
            yield f"{name} is stored as a pickle"


def _model_faults(model: Any) -> Iterator[str]:
    for name in model["range_constraints"]:
        if not re.fullmatch(r"\w+", name, re.ASCII):
            yield f"the size {name!r} is no symbol"
    for key, value in _pairs(model):
        if key == "target" and isinstance(value, str) and not TARGET.fullmatch(value):
            yield f"a node calls {value!r}"
        elif key == "expr_str" and not _is_symbolic(value):
            yield f"the size {value!r} is no arithmetic"
        elif key in ("in_spec", "out_spec") and value:
            kinds = {kind for name, kind in _pairs(parse_json(value.encode())) if name == "type"}
            if other := kinds - CONTAINERS:
                yield f"inputs or outputs are made of {', '.join(map(str, other))}"


def _pairs(found: Any) -> Iterator[tuple[str, Any]]:
    """Every key with its value in nested JSON."""
    if isinstance(found, dict):
        for key, value in found.items():
            yield key, value
            yield from _pairs(value)
    elif isinstance(found, list):
        for value in found:
            yield from _pairs(value)


def _is_symbolic(text: str) -> bool:
    """Whether text is arithmetic on sizes, and calls nothing else."""
    try:
        nodes = list(ast.walk(ast.parse(text, mode="eval")))
    except (SyntaxError, ValueError, RecursionError):
        return False
    return all(
        isinstance(
            node, ast.Expression | ast.BinOp | ast.UnaryOp | ast.Compare | ast.operator | ast.unaryop | ast.cmpop
        )
        or (isinstance(node, ast.Constant) and re.fullmatch(r"\w+|[\d.e+-]+", str(node.value), re.ASCII))
        or (isinstance(node, ast.Name) and (node.id in SYMBOLIC or re.fullmatch(r"[a-z]+\d+", node.id, re.ASCII)))
        or (isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in SYMBOLIC)
        or isinstance(node, ast.keyword | ast.Load)
        for node in nodes
    )
