"""Well-formed files, changed at random: bits, blocks, lengths; values, keys and depth of JSON; entries of archives."""

from __future__ import annotations

import copy
import io
import json
import zipfile
from collections.abc import Callable, Iterator
from random import Random
from typing import Any

import numpy as np

Mutate = Callable[[Random, bytes], bytes]

BLOCKS = (b"\xff" * 4, b"\xff" * 8, bytes(8), b"\0\0\0\x80", b"\x7f\xff\xff\xff", b"\x80", b"[" * 50, b'"', b"\r\n")
VALUES: tuple[Any, ...] = (
    *(None, True, False, 0, -1, 1, 2, 7, 2**31, 2**53, -(2**63), 2**64, 10**400),
    *(0.0, -0.0, 0.5, 2.9, -1.5, 1e308, 1e-320),
    *(
        "",
        "x",
        "u",
        "0",
        "1e999",
        "\0",
        "\ud800",
        "é" * 3,
        "../../x",
        "/dev/zero",
        "heat",
        "tanh",
        "float32",
        "a" * 300,
    ),
    *([], {}, [[]], [1], ["x"], {"x": 1}, [None] * 5),
)
"""Values of JSON that are put in place of others."""
TEXTS = (b"NaN", b"-Infinity", b"1e999", b"1.0", b"-0", b"01", b"1" * 5000, b"[" * 2000, b'{"a":' * 500, b'"\\ud800"')
"""Texts that are put in place of a value: no JSON, or JSON that `json.dumps` does not write."""
MARK = "\N{MIDDLE DOT}here\N{MIDDLE DOT}"


def mutated_bytes(rng: Random, data: bytes) -> bytes:
    """`data` with one to sixteen changes."""
    made = bytearray(data)
    for _ in range(rng.choice((1, 1, 1, 2, 4, 16))):
        if not made:
            break
        i, length = rng.randrange(len(made)), rng.choice((1, 4, 64, len(made)))
        match rng.randrange(7):
            case 0 | 1:
                made[i] ^= 1 << rng.randrange(8)
            case 2:
                made[i] = rng.randrange(256)
            case 3:
                del made[i : i + length]
            case 4:
                made[i:i] = rng.randbytes(min(length, 64))
            case 5:
                j, length = rng.randrange(len(made)), rng.choice((1, 2, 4, 8, 32))
                made[i : i + length] = made[j : j + length]
            case 6:
                block = rng.choice(BLOCKS)
                made[i : i + len(block)] = block
    return bytes(made)


def mutated_json(rng: Random, data: bytes) -> bytes:
    """The JSON `data` with one to three of its values or keys changed; now and then its bytes."""
    if rng.random() < 0.15:
        return mutated_bytes(rng, data)
    document = json.loads(data)
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        document = _changed(rng, document)
    text = json.dumps(document).encode()
    return text.replace(json.dumps(MARK).encode(), rng.choice(TEXTS)) if MARK in str(document) else text


def _changed(rng: Random, document: Any) -> Any:
    """The document with one value or key changed."""
    places = list(_places(document))
    if not places:
        return rng.choice(VALUES)
    holder, key = rng.choice(places)
    match rng.randrange(8):
        case 0 | 1:
            holder[key] = copy.deepcopy(rng.choice(VALUES))
        case 2:
            del holder[key]
        case 3:
            _, other = rng.choice(places)
            _put(holder, other if isinstance(holder, dict) and isinstance(other, str) else "x", holder[key])
        case 4:
            elsewhere, there = rng.choice(places)
            holder[key] = copy.deepcopy(elsewhere[there])
        case 5:
            holder[key] = MARK
        case 6:
            holder[key] = _near(rng, holder[key])
        case 7:
            holder[key] = [holder[key]] * rng.choice((0, 1, 2, 20))
    return document


def _put(holder: Any, key: str, value: Any) -> None:
    if isinstance(holder, list):
        holder.append(copy.deepcopy(value))
    else:
        holder[key] = copy.deepcopy(value)


def _near(rng: Random, value: Any) -> Any:
    """A value of the same kind, a little off."""
    if isinstance(value, bool) or value is None:
        return not value
    if isinstance(value, int) and abs(value) > 2**900:  # soon none that a float holds
        return -value
    if isinstance(value, int | float):
        return value * rng.choice((-1, 0, 2, 0.5, 10**10)) + rng.choice((0, 1, -1, 0.5))
    if isinstance(value, str):
        return rng.choice((value[:-1], value + "x", value.upper(), value + "\0", value * 2, f" {value}"))
    return value


def _places(document: Any) -> Iterator[tuple[Any, Any]]:
    """Every value in the document, as what holds it and its key."""
    for key in range(len(document)) if isinstance(document, list) else document if isinstance(document, dict) else ():
        yield document, key
        yield from _places(document[key])


CELLS = (
    "",
    "nan",
    "-inf",
    "1e999",
    "0x10",
    "1_000",
    "\u0663",
    "\u22121",
    "1,5",
    '"',
    '"1"',
    '""1',
    "'1'",
    "1" * 200_000,
    "u",
    "\0",
)
"""Texts that are put in place of one between two commas."""


def mutated_table(rng: Random, data: bytes) -> bytes:
    """A CSV file, its bytes mutated, or one to three of its cells."""
    if rng.random() < 0.4:
        return mutated_bytes(rng, data)
    cells = data.split(b",")
    for _ in range(rng.choice((1, 1, 2, 3))):
        cells[rng.randrange(len(cells))] = rng.choice(CELLS).encode()
    return b",".join(cells)


def mutated_lines(rng: Random, data: bytes) -> bytes:
    """Lines of JSON, one of them mutated."""
    if rng.random() < 0.3:
        return mutated_bytes(rng, data)
    lines = data.splitlines()
    i = rng.randrange(len(lines))
    lines[i] = mutated_json(rng, lines[i])
    return b"\n".join(lines) + b"\n"


def mutated_arrays(rng: Random, data: bytes) -> bytes:
    """An .npz archive, its bytes mutated, or an array in it, or the JSON in its array `structure`."""
    if rng.random() < 0.3:
        return mutated_bytes(rng, data)
    with np.load(io.BytesIO(data)) as archive:
        arrays: dict[str, np.ndarray] = dict(archive)
    if "structure" in arrays and rng.random() < 0.6:
        arrays["structure"] = np.frombuffer(mutated_json(rng, arrays["structure"].tobytes()), np.uint8)
    else:
        name = rng.choice(sorted(arrays))
        arrays[name] = _other_array(rng, arrays[name])
    if rng.random() < 0.1:
        arrays.pop(rng.choice(sorted(arrays)))
    if rng.random() < 0.1:
        arrays[rng.choice(("p99", "../x", "p-1", "x ", "du"))] = np.zeros(3)
    made = io.BytesIO()
    (np.savez_compressed if rng.random() < 0.05 else np.savez)(made, **arrays)
    return made.getvalue()


def _other_array(rng: Random, array: np.ndarray) -> np.ndarray:
    made: tuple[Callable[[], np.ndarray], ...] = (
        *(lambda kind=kind: array.astype(kind) for kind in ("f4", ">f8", "i8", "c16", "f2", "S8", "?")),
        *(lambda value=value: np.full_like(array, value) for value in (0, 1)),
        *(lambda value=value: np.full(array.shape, value) for value in (np.nan, np.inf, 1e308, 5e-324)),
        *(lambda: array.T, lambda: array.ravel(), lambda: array[None], lambda: array[:-1], lambda: array[:0]),
        *(lambda: np.array(1.0), lambda: np.zeros((1, 0)), lambda: np.asfortranarray(array)),
    )
    return rng.choice(made)()


def mutated_zip(rng: Random, data: bytes) -> bytes:
    """A zip archive, its bytes mutated, or those of one entry, which may be JSON."""
    if rng.random() < 0.5:
        return mutated_bytes(rng, data)
    made = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as archive, zipfile.ZipFile(made, "w") as written:
        names = archive.namelist()
        chosen = rng.choice(names)
        for name in names:
            content = archive.read(name)
            if name == chosen:
                change = mutated_json if content[:1] == b"{" and rng.random() < 0.8 else mutated_bytes
                content = change(rng, content)
            if name != chosen or rng.random() < 0.95:
                written.writestr(name, content)
    return made.getvalue()


def mutated_safetensors(rng: Random, data: bytes) -> bytes:
    """A .safetensors file, its bytes mutated, or what its header says."""
    if rng.random() < 0.4:
        return mutated_bytes(rng, data)
    end = 8 + int.from_bytes(data[:8], "little")
    header = json.loads(data[8:end])
    if rng.random() < 0.5:
        kinds = ("F32", "F16", "BF16", "F8_E4M3", "F8_E5M2", "F4", "I64", "BOOL", "U8", "C64", "F8_E8M0", "F64")
        for name in header:
            if name != "__metadata__" and rng.random() < 0.5:
                header[name]["dtype"] = rng.choice(kinds)
        text = json.dumps(header).encode()
    else:
        text = mutated_json(rng, json.dumps(header).encode())
    return len(text).to_bytes(8, "little") + text + data[end:]
