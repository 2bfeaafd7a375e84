"""The file of a record: written whole, and read with everything in it checked."""

from __future__ import annotations

import os

import msgspec

from kdpinn_edge.comparison.record import SCHEMA, Record
from kdpinn_edge.comparison.wellformed import faults
from kdpinn_edge.errors import BenchError, listing
from kdpinn_edge.files import write_whole
from kdpinn_edge.reading import MIB, read_whole

LARGEST = 256 * MIB
"""Bytes that a record may have."""


def write_record(record: Record, path: str | os.PathLike[str]) -> None:
    """Write `record` to `path` as JSON, whole or not at all. Raises OSError where the file cannot be written."""
    write_whole(path, msgspec.json.encode(record))


def read_record(path: str | os.PathLike[str]) -> Record:
    """The Record in `path`. Raises BenchError where the file is not one, or is of another schema."""
    try:
        text = read_whole(path, LARGEST)
        schema = msgspec.json.decode(text, type=_Schema).schema
        if schema != SCHEMA:
            raise BenchError(
                f"{path}: a record of schema {schema}; expected: {SCHEMA}, which has the known work beside every "
                "pair of calls. It cannot be made of other records: measure again."
            )
        record = msgspec.json.decode(text, type=Record)
        if msgspec.json.decode(msgspec.json.encode(record)) != msgspec.json.decode(text):
            raise msgspec.ValidationError("it says something that a record does not have, or leaves something out")
    except OSError as error:
        raise BenchError(f"{path}: cannot be read ({error.strerror}); expected: a record of `bench --out`") from error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise BenchError(
            f"{path}: not a record ({error}); expected: the JSON that `bench --out` wrote. The usual cause is a "
            "truncated or edited file: measure again."
        ) from error

    if found := faults(record):
        raise BenchError(
            f"{path}: not a record that was measured: {listing(found)}\nThe usual cause is an edited file."
        )
    return record


class _Schema(msgspec.Struct):
    schema: int
