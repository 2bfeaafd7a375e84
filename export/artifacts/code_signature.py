"""The ad-hoc signature of a Mach-O library: a hash of each page, without which arm64 macOS runs nothing."""

from __future__ import annotations

import hashlib
import struct
from itertools import pairwise

SIGNATURE, CODE_DIRECTORY = 0xFADE0CC0, 0xFADE0C02
SHA256 = 2
LOCATION = struct.Struct(">II")
DIRECTORY = struct.Struct(">IIIIIIIIIBBBB")
"""Of a code directory: magic number, length, version, flags, where the hashes begin, the identifier; how many special
and how many code hashes there are, how many bytes are signed; of a hash its size and type; platform, log2 of a page."""


def signed_again(image: bytes, begin: int) -> bytes:
    """`image` with the hashes of its pages as they are now; its signature begins at `begin`.

    Apple, xnu, osfmk/kern/cs_blobs.h. Raises ValueError where the signature is another than a linker writes.
    """
    magic, _, count = struct.unpack_from(">III", image, begin)
    if magic != SIGNATURE:
        raise ValueError("its code signature is of an unknown kind")
    entries = (LOCATION.unpack_from(image, begin + 12 + 8 * i) for i in range(count))
    signed = bytearray(image)
    for at in (begin + offset for _, offset in entries):
        directory = DIRECTORY.unpack_from(image, at)
        magic, _, _, _, hashes, _, _, n_code, limit, size, kind, _, page = directory
        if magic == CODE_DIRECTORY:
            if kind != SHA256 or size != hashlib.sha256().digest_size:
                raise ValueError("its code signature has other hashes than SHA-256")
            pages = pairwise([*range(0, limit, 1 << page), limit])
            digests = b"".join(hashlib.sha256(image[start:end]).digest() for start, end in pages)
            signed[at + hashes : at + hashes + n_code * size] = digests
    return bytes(signed)
