"""Signatures and pinned hashes: what somebody else made, or was changed, is refused before it is parsed."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import Need
from edited import edit
from typer.testing import CliRunner

from kdpinn_edge import check, cli
from kdpinn_edge import load as load_any
from kdpinn_edge.bundle.manifest import MANIFEST_FILE, SIGNATURE_FILE, read_manifest
from kdpinn_edge.errors import BundleError, KeyFileError
from kdpinn_edge.export.bundle import export_bundle
from kdpinn_edge.program.ir import Affine, Program, Var
from kdpinn_edge.runtime import load

cryptography = pytest.importorskip("cryptography")

from cryptography.hazmat.primitives import serialization  # noqa: E402
from cryptography.hazmat.primitives.asymmetric import ec, ed25519  # noqa: E402

PROGRAM = Program("net", (Var("x", 2),), (Var("u", 1),), (Affine(Var("u", 1), Var("x", 2), [[0.5, 0.25]], [0.1]),))
PEM = serialization.Encoding.PEM


def write_private(key: ed25519.Ed25519PrivateKey | ec.EllipticCurvePrivateKey, path: Path, password: str = "") -> Path:
    """The file of a private key."""
    encryption: serialization.KeySerializationEncryption = serialization.NoEncryption()
    if password:
        encryption = serialization.BestAvailableEncryption(password.encode())
    path.write_bytes(key.private_bytes(PEM, serialization.PrivateFormat.PKCS8, encryption))
    return path


def write_public(key: ed25519.Ed25519PrivateKey | ec.EllipticCurvePrivateKey, path: Path) -> Path:
    """The file of its public key."""
    path.write_bytes(key.public_key().public_bytes(PEM, serialization.PublicFormat.SubjectPublicKeyInfo))
    return path


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with private.pem, public.pem, and other.pem, which is the public one of somebody else."""
    folder = tmp_path_factory.mktemp("keys")
    key = ed25519.Ed25519PrivateKey.generate()
    write_private(key, folder / "private.pem")
    write_public(key, folder / "public.pem")
    write_public(ed25519.Ed25519PrivateKey.generate(), folder / "other.pem")
    return folder


@pytest.fixture(scope="module")
def signed(keys: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    bundle = tmp_path_factory.mktemp("signed") / "net"
    export_bundle(PROGRAM, bundle, name="net", sign=keys / "private.pem")
    return bundle


@pytest.fixture
def copy(signed: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(signed, tmp_path / "net"))


def test_a_signed_bundle(signed: Path, keys: Path) -> None:
    assert load(signed, key=keys / "public.pem").n_in == 2
    assert load_any(signed, "numpy", key=keys / "public.pem").n_in == 2
    first = check(signed, key=keys / "public.pem")[0]
    signer = read_manifest(signed).signer
    assert (first.name, first.result) == ("signature", "passed")
    assert signer is not None
    assert signer in first.detail
    assert load(signed).n_in == 2
    (unverified,) = (verdict for verdict in check(signed) if verdict.name == "signature")
    assert unverified.result == "skipped"
    assert signer in unverified.detail


def test_openssl_verifies_it(signed: Path, keys: Path, need: Need) -> None:
    files = ["-inkey", keys / "public.pem", "-in", signed / MANIFEST_FILE, "-sigfile", signed / SIGNATURE_FILE]
    subprocess.run([need("openssl"), "pkeyutl", "-verify", "-pubin", "-rawin", *files], check=True, capture_output=True)


def test_no_key_is_in_the_bundle(signed: Path, keys: Path) -> None:
    private = (keys / "private.pem").read_bytes()
    secret = serialization.load_pem_private_key(private, None).private_bytes_raw()  # type: ignore[union-attr]
    public = serialization.load_pem_public_key((keys / "public.pem").read_bytes())
    raw = public.public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw)
    for path in signed.iterdir():
        for part in (private, secret, raw, raw.hex().encode()):
            assert part not in path.read_bytes()
    der = public.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    assert read_manifest(signed).signer == hashlib.sha256(der).hexdigest()


def test_a_change_anywhere_is_refused(copy: Path, keys: Path) -> None:
    public = keys / "public.pem"
    for path in sorted(copy.iterdir()):
        whole = path.read_bytes()
        for changed in (whole[:-1], whole + b"\n", bytes([whole[0] ^ 1]) + whole[1:]):
            path.write_bytes(changed)
            with pytest.raises(BundleError, match=r"is not the signature of|SHA-256 is"):
                load(copy, key=public)
        path.write_bytes(whole)
    (copy / "stdint.h").touch()
    with pytest.raises(BundleError, match=r"'stdint\.h' is not in the manifest"):
        load(copy, key=public)


def test_nothing_is_parsed_before(copy: Path, keys: Path) -> None:
    """What is no JSON is refused for its signature and for its hash, and not for that."""
    (copy / MANIFEST_FILE).write_bytes(b"{" * 1000)
    with pytest.raises(BundleError, match="is not the signature of"):
        load(copy, key=keys / "public.pem")
    with pytest.raises(BundleError, match=r"SHA-256 is .*\. Nothing more was read"):
        load(copy, sha256="0" * 64)
    verdicts = check(copy, key=keys / "public.pem")
    assert [(verdict.name, verdict.result) for verdict in verdicts] == [("signature", "failed")]


def test_a_signature_that_was_made_void(copy: Path, keys: Path) -> None:
    edit(copy, measured="not at all")
    with pytest.raises(BundleError, match="is not the signature of"):
        load(copy, key=keys / "public.pem")
    with pytest.raises(BundleError, match="is not the signature of"):
        load(copy, key=keys / "other.pem")
    (copy / SIGNATURE_FILE).unlink()
    with pytest.raises(BundleError, match="nobody has signed this bundle"):
        load(copy, key=keys / "public.pem")
    last = check(copy)[-1]
    assert (last.name, last.result) == ("signature", "failed")


def test_a_pinned_hash(signed: Path) -> None:
    digest = hashlib.sha256((signed / MANIFEST_FILE).read_bytes()).hexdigest()
    assert load(signed, sha256=digest).n_in == 2
    for wrong in (digest.upper(), digest[:-1], "", "z" * 64):
        with pytest.raises(BundleError, match="expected: the 64 lower-case hex digits"):
            load(signed, sha256=wrong)


def test_files_that_are_no_keys(signed: Path, keys: Path, tmp_path: Path) -> None:
    curve = ec.generate_private_key(ec.SECP256R1())
    locked = write_private(ed25519.Ed25519PrivateKey.generate(), tmp_path / "locked.pem", "password")
    (tmp_path / "text.pem").write_text("no key")
    signing = {
        tmp_path / "nowhere.pem": "No such file",
        tmp_path / "text.pem": "is no private key in PEM",
        keys / "public.pem": "is no private key in PEM",
        write_private(curve, tmp_path / "curve.pem"): "another kind than Ed25519",
        locked: "is encrypted",
    }
    for path, message in signing.items():
        with pytest.raises(KeyFileError, match=message):
            export_bundle(PROGRAM, tmp_path / "net", name="net", sign=path)
        assert not (tmp_path / "net").exists()
    verifying = {
        tmp_path / "nowhere.pem": "No such file",
        tmp_path / "text.pem": "is no public key in PEM",
        keys / "private.pem": "is a private key; expected: the public one",
        write_public(curve, tmp_path / "curve_public.pem"): "another kind than Ed25519",
    }
    for path, message in verifying.items():
        with pytest.raises(KeyFileError, match=message):
            load(signed, key=path)


def test_without_the_package(signed: Path, keys: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cryptography", None)
    with pytest.raises(KeyFileError, match=r"pip install 'kdpinn-edge\[sign\]'"):
        load(signed, key=keys / "public.pem")
    load(signed)


def test_the_package_is_loaded_only_when_asked(signed: Path) -> None:
    script = "import sys; from kdpinn_edge.runtime import load; load(sys.argv[1]); print('cryptography' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", script, signed], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_on_the_command_line(copy: Path, keys: Path, tmp_path: Path) -> None:
    runner = CliRunner()
    shown = runner.invoke(cli.app, ["info", str(copy), "--json"])
    digest = json.loads(shown.stdout)["sha256"]
    pinned = runner.invoke(cli.app, ["check", str(copy), "--sha256", digest, "--key", str(keys / "public.pem")])
    assert pinned.exit_code == 0, pinned.stdout
    assert runner.invoke(cli.app, ["check", str(copy), "--sha256", "0" * 64]).exit_code == 1
    assert runner.invoke(cli.app, ["check", str(copy), "--key", str(keys / "other.pem")]).exit_code == 1
