"""Archives in memory, of numbers and of anything: what they hold is compared with their size before it is unpacked.

An archive of a hundred kilobytes may state that it unpacks to a terabyte, and an array of ten bytes that it has 2⁴⁰
numbers. Neither is believed.
"""

from __future__ import annotations

import io
from math import prod
from typing import Any
from zipfile import ZIP_STORED, ZipFile

import numpy as np
from numpy.typing import NDArray

FOLDER = 0x10
"""The attribute of MS-DOS that marks a folder."""
LARGEST_HEADER = 10_000
"""Bytes of the text that says what an array is."""
HEADERS = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}


def open_archive(data: bytes, largest: int | None = None) -> ZipFile:
    """The zip archive that `data` is. Its entries have no more bytes than `largest`, or by default than `data`.

    By default nothing is compressed then. Raises ValueError where it is none.
    """
    try:
        archive = ZipFile(io.BytesIO(data))
    except Exception as error:  # damaged bytes reach zipfile, which raises what it likes
        raise ValueError(f"no zip archive ({error})") from error
    entries = archive.infolist()
    if largest is None and any(entry.compress_type != ZIP_STORED for entry in entries):
        raise ValueError("an entry is compressed; expected: none")
    limit = len(data) if largest is None else largest
    if (total := sum(entry.file_size for entry in entries)) > limit:
        raise ValueError(f"the entries have {total:,} bytes; expected: at most {limit:,}")
    if len({entry.filename for entry in entries}) < len(entries):
        raise ValueError("two entries have one name")
    if any(entry.external_attr & FOLDER and not entry.filename.endswith("/") for entry in entries):
        raise ValueError("a file is marked as a folder")  # torch would not read it, and return memory as it is
    return archive


def is_archive(data: bytes) -> bool:
    """Whether `data` begins as a zip archive does."""
    return data.startswith(b"PK\x03\x04")


def read_entry(archive: ZipFile, name: str) -> bytes:
    """The bytes of one entry. Raises ValueError where it is not there, or not as it was written."""
    try:
        return archive.read(name)
    except Exception as error:  # as above, and zlib
        raise ValueError(f"{name} cannot be read ({error})") from error


def read_arrays(data: bytes, largest: int | None = None) -> dict[str, NDArray[Any]]:
    """The arrays of an .npz archive, by their names; no pickles. Raises as `open_archive` does."""
    with open_archive(data, largest) as archive:
        return {name.removesuffix(".npy"): _array(read_entry(archive, name)) for name in archive.namelist()}


def _array(content: bytes) -> NDArray[Any]:
    file = io.BytesIO(content)
    version = np.lib.format.read_magic(file)
    if version not in HEADERS:
        raise ValueError(f"an array of format {version}; expected: 1.0 or 2.0")
    try:
        shape, fortran, dtype = HEADERS[version](file, max_header_size=LARGEST_HEADER)
    except Exception as error:  # damaged text reaches Python's parser, which raises what it likes
        raise ValueError(f"an array whose header cannot be read ({type(error).__name__}: {error})") from error
    if dtype.hasobject:
        raise ValueError("an array of Python objects, which is a pickle")
    start, size = file.tell(), prod(shape) * dtype.itemsize
    if size != len(content) - start or any(side < 0 for side in shape):
        raise ValueError(f"an array of shape {shape} and {dtype} has {size} bytes; {len(content) - start} are there")
    return np.ndarray(shape, dtype, content, start, order="F" if fortran else "C").copy(order="K")
