"""Who made a bundle: an Ed25519 signature of the bytes of its manifest, which has the hash of every other file.

`manifest.json.sig` is the signature alone, 64 bytes (RFC 8032), so that other tools can check it too:

    openssl pkeyutl -verify -pubin -inkey public.pem -rawin -in manifest.json -sigfile manifest.json.sig

The package `cryptography` signs and verifies, and is loaded only for that. A pinned digest needs none.
"""

from __future__ import annotations

import hashlib
import os
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from kdpinn_edge.bundle.manifest import MANIFEST_FILE, SIGNATURE_FILE
from kdpinn_edge.bundle.shape import DIGEST
from kdpinn_edge.errors import BundleError, KeyFileError
from kdpinn_edge.extras import pip_install
from kdpinn_edge.reading import KIB, read_whole

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

MAKE_KEY = "openssl genpkey -algorithm ed25519 -out key.pem"
PUBLISH_KEY = "openssl pkey -in key.pem -pubout -out public.pem"


class Signer:
    """The holder of the Ed25519 private key in the PEM file `key`. Raises KeyFileError where that is something else."""

    def __init__(self, key: str | os.PathLike[str]) -> None:
        self._key = _private_key(Path(key))

    @property
    def fingerprint(self) -> str:
        """The fingerprint of the public key."""
        return fingerprint(self._key.public_key())

    def signature(self, data: bytes) -> bytes:
        """The signature of `data`."""
        return self._key.sign(data)


def check_digest(text: bytes, expected: str | None, directory: str | os.PathLike[str]) -> str:
    """The SHA-256 of `text`, the bytes of a manifest. Raises BundleError where another is `expected`."""
    found = hashlib.sha256(text).hexdigest()
    if expected is not None:
        if not DIGEST.fullmatch(expected):
            raise BundleError(f"sha256 is {expected!r}; expected: the 64 lower-case hex digits that export prints")
        if found != expected:
            raise BundleError(
                f"{Path(directory) / MANIFEST_FILE}: SHA-256 is {found}; expected: {expected}. Nothing more was read: "
                "this is another bundle than the one whose hash you have, or it was changed."
            )
    return found


def check_signature(text: bytes, directory: str | os.PathLike[str], key: str | os.PathLike[str]) -> str:
    """The fingerprint of the public key in the PEM file `key`, which has signed `text`, the bytes of a manifest.

    Raises BundleError where it has not, KeyFileError where the file holds no such key.
    """
    public = _public_key(Path(key))
    from cryptography.exceptions import InvalidSignature

    path = Path(directory) / SIGNATURE_FILE
    try:
        signature = read_whole(path, KIB, link=False)
    except OSError as error:
        raise BundleError(
            f"{path}: {error.strerror}, so nobody has signed this bundle. Nothing more was read. "
            "Export it with --sign, or leave out the key."
        ) from error
    try:
        public.verify(signature, text)
    except InvalidSignature as error:
        raise BundleError(
            f"{path} is not the signature of {MANIFEST_FILE} by {key} (SHA-256 {fingerprint(public)}). Nothing more "
            "was read: the manifest was changed after it was signed, or another key has signed it."
        ) from error
    return fingerprint(public)


def fingerprint(public: Ed25519PublicKey) -> str:
    """The SHA-256 of a public key as DER (SubjectPublicKeyInfo, RFC 8410)."""
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    return hashlib.sha256(public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)).hexdigest()


def _private_key(path: Path) -> Ed25519PrivateKey:
    contents = _key_bytes(path)
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    try:
        key = load_pem_private_key(contents, password=None)
    except TypeError as error:
        raise KeyFileError(
            f"{path} is encrypted, and there is no way to give its password here; expected: a key without one, "
            "as `openssl pkey -in key.pem -out plain.pem` writes it, in a folder that only you can read"
        ) from error
    except Exception as error:  # what cryptography raises for a bad file shares no narrower type
        raise KeyFileError(f"{path} is no private key in PEM; expected: what `{MAKE_KEY}` writes") from error
    if not isinstance(key, Ed25519PrivateKey):
        raise KeyFileError(f"{path} is a key of another kind than Ed25519; expected: what `{MAKE_KEY}` writes")
    return key


def _public_key(path: Path) -> Ed25519PublicKey:
    contents = _key_bytes(path)
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
    from cryptography.hazmat.primitives.serialization import load_pem_public_key

    if b"PRIVATE KEY" in contents:
        raise KeyFileError(f"{path} is a private key; expected: the public one, as `{PUBLISH_KEY}` writes it")
    try:
        key = load_pem_public_key(contents)
    except Exception as error:  # as above
        raise KeyFileError(f"{path} is no public key in PEM; expected: what `{PUBLISH_KEY}` writes") from error
    if not isinstance(key, Ed25519PublicKey):
        raise KeyFileError(f"{path} is a key of another kind than Ed25519; expected: what `{PUBLISH_KEY}` writes")
    return key


def _key_bytes(path: Path) -> bytes:
    """The contents of a file with a key. Raises KeyFileError where it cannot be read, or `cryptography` is missing."""
    if find_spec("cryptography") is None:
        raise KeyFileError(
            f"signatures need the package cryptography, which is not installed: {pip_install(['sign'])}. "
            "To pin the hash of the manifest by sha256 needs no package."
        )
    try:
        return read_whole(path, 16 * KIB)
    except OSError as error:
        raise KeyFileError(f"{path}: {error.strerror}; expected: the file of a key") from error
