"""`program.npz`: a Program as a file, without pickle.

The archive holds `structure` (JSON text as bytes) and one float64 array per parameter, `p0, p1, …`, in the order of
the ops. A Program always gives the same bytes.
"""

from __future__ import annotations

import io
import json
import os
from typing import Any

import numpy as np

from kdpinn_edge.archives import read_arrays
from kdpinn_edge.errors import ProgramError
from kdpinn_edge.files import write_whole
from kdpinn_edge.program.ir import (
    Add,
    Affine,
    Array,
    Concat,
    Map,
    Mul,
    Op,
    Program,
    Scale,
    Select,
    Slice,
    Var,
    operands,
    parameters,
)
from kdpinn_edge.program.verify import verify
from kdpinn_edge.reading import GIB, MIB, parse_json, read_whole

FORMAT = 1
KEYS = frozenset({"format", "name", "inputs", "outputs", "ops"})
LARGEST_FILE, LARGEST_STRUCTURE = GIB, 32 * MIB


def write_program(program: Program, path: str | os.PathLike[str]) -> None:
    """Write `program` to `path` as .npz, whole or not at all. Raises OSError where the file cannot be written."""
    structure = {
        "format": FORMAT,
        "name": program.name,
        "inputs": [[var.name, var.size] for var in program.inputs],
        "outputs": [var.name for var in program.outputs],
        "ops": [_op_record(op) for op in program.ops],
    }
    arrays = [array for op in program.ops for array in parameters(op)]
    buffer = io.BytesIO()
    np.savez(
        buffer,
        allow_pickle=False,
        structure=np.frombuffer(json.dumps(structure).encode(), dtype=np.uint8),
        **{f"p{i}": array for i, array in enumerate(arrays)},
    )
    write_whole(path, buffer.getvalue())


def read_program(path: str | os.PathLike[str]) -> Program:
    """Read the Program in `path`. Raises ProgramError where the file is not one, or holds a malformed Program."""
    try:
        contents = read_whole(path, LARGEST_FILE)
    except FileNotFoundError as error:
        raise ProgramError(f"{path}: no such file; expected: a program.npz that write_program wrote") from error
    except OSError as error:
        raise ProgramError(
            f"{path}: not a Program file: it cannot be read ({error.strerror}); expected: a program.npz that "
            "write_program wrote"
        ) from error
    return parse_program(contents, path)


def parse_program(contents: bytes, path: str | os.PathLike[str]) -> Program:
    """The Program that a file of these contents holds; `path` names it in errors. Raises ProgramError as above."""
    try:
        held = read_arrays(contents)
        if "structure" not in held:
            raise ValueError("no NumPy archive of a Program")
        structure = parse_json(held["structure"].tobytes(), strict=True, largest=LARGEST_STRUCTURE)
        arrays = [held[f"p{i}"] for i in range(len(held) - 1)]
        if set(structure) != KEYS:
            raise ValueError(f"the structure has {', '.join(sorted(structure))}; expected: {', '.join(sorted(KEYS))}")
        if structure["format"] != FORMAT:
            raise ProgramError(
                f"{path}: Program file format {structure['format']!r}; this version reads {FORMAT}. "
                "Export it again, or update kdpinn_edge."
            )
        program = _program(structure, arrays)
    except ProgramError:
        raise
    except Exception as error:  # damaged bytes reach zipfile, zlib, tokenize and json, which raise what they like
        raise ProgramError(
            f"{path}: not a Program file ({type(error).__name__}: {error}); expected: a program.npz that "
            "write_program wrote. The usual cause is a truncated or edited file: export it again."
        ) from error
    return verify(program)


def _op_record(op: Op) -> dict[str, Any]:
    record: dict[str, Any] = {
        "op": type(op).__name__,
        "out": [op.out.name, op.out.size],
        "in": [var.name for var in operands(op)],
    }
    match op:
        case Map(fn=fn):
            record["fn"] = fn
        case Slice(start=start):
            record["start"] = start
    return record


def _program(structure: dict[str, Any], arrays: list[Array]) -> Program:
    inputs = tuple(Var(_text(name), _whole(size)) for name, size in structure["inputs"])
    known = {var.name: var for var in inputs}
    ops: list[Op] = []
    remaining = iter(arrays)
    for record in structure["ops"]:
        name, size = record["out"]
        out = Var(_text(name), _whole(size))
        xs = tuple(known[name] for name in record["in"])
        ops.append(_op(record, out, xs, remaining))
        if _op_record(ops[-1]) != record:
            raise ValueError(f"an op says more than it means: {record}")
        known[out.name] = out
    if next(remaining, None) is not None:
        raise ValueError("more parameters than the ops use")
    return Program(_text(structure["name"]), inputs, tuple(known[name] for name in structure["outputs"]), tuple(ops))


def _op(record: dict[str, Any], out: Var, xs: tuple[Var, ...], remaining: Any) -> Op:
    match record["op"], xs:
        case "Affine", (x,):
            return Affine(out, x, _next(remaining), _next(remaining))
        case "Scale", (x,):
            return Scale(out, x, _next(remaining), _next(remaining))
        case "Map", (x,):
            return Map(out, x, _text(record["fn"]))
        case "Add", (a, b):
            return Add(out, a, b)
        case "Mul", (a, b):
            return Mul(out, a, b)
        case "Select", (c, a, b):
            return Select(out, c, a, b)
        case "Concat", _:
            return Concat(out, xs)
        case "Slice", (x,):
            return Slice(out, x, _whole(record["start"]))
    raise ValueError(f"op {record['op']!r} with {len(xs)} operands is unknown")


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise ValueError(f"{value!r} is no text")
    return value


def _whole(value: object) -> int:
    if type(value) is not int:
        raise ValueError(f"{value!r} is no whole number")
    return value


def _next(remaining: Any) -> Array:
    array = next(remaining, None)
    if array is None:
        raise ValueError("fewer parameters than the ops use")
    if array.dtype != np.float64:
        raise ValueError(f"a parameter has dtype {array.dtype}; expected: float64")
    result: Array = array
    return result
