"""The manifest: a round trip, every fault found at once, and no way to reach outside the bundle."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kdpinn_edge.bundle.manifest import (
    BESIDE,
    MANIFEST_FILE,
    Errors,
    Function,
    Input,
    Manifest,
    Operations,
    Output,
    Sizes,
    TargetRecord,
    check_files,
    read_manifest,
    write_manifest,
)
from kdpinn_edge.equation.model_name import name_fault
from kdpinn_edge.errors import BundleError

CONTENTS = {"libwave.so": b"\x7fELF", "wave.h": b"/* wave */\n"}
DIGEST = hashlib.sha256(b"").hexdigest()
WAVE = Manifest(
    name="wave",
    precision="float32",
    storage="float32",
    profile="fma-2",
    target=TargetRecord("x86-64-v3", "x86_64-unknown-linux-gnu", "x86-64-v3", "+avx2,+fma", 8),
    inputs=(Input("x", -1.0, 1.0, "m"), Input("t", 0.0, None)),
    functions={
        "eval": Function(
            DIGEST,
            (Output("u", "m"),),
            Errors((3e-7,), (1e-7,), (1.5,), 1000, "the Program"),
            Operations(1000, 64),
            512,
            None,
        ),
        "jet": Function(
            DIGEST,
            (Output("u_x", "1"), Output("u_tt", "m/s²")),
            Errors((3e-7, 2e-5), (1e-7, 1e-6), (1.5, 90.0), 1000, "the Program"),
            Operations(3000, 64),
            640,
            {"1": 4000, "64": 128_000},
            Errors((3e-4, 2e-2), (1e-4, 1e-3), (1.5, 90.0), 1000, "the Program before"),
        ),
    },
    equation="u_tt = c² u_xx",
    sizes=Sizes(4096, 512),
    stack=704,
    measured="counted by hand",
    toolchain={"llvmlite": "0.50.0"},
    files={name: hashlib.sha256(data).hexdigest() for name, data in CONTENTS.items()},
    library="libwave.so",
)


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    for name, data in CONTENTS.items():
        (tmp_path / name).write_bytes(data)
    write_manifest(WAVE, tmp_path)
    return tmp_path


def edit(bundle: Path, *path: str | int, to: Any) -> None:
    """Replace one value of the JSON; the empty path replaces everything."""
    record = json.loads((bundle / MANIFEST_FILE).read_text())
    place = record
    for key in path[:-1]:
        place = place[key]
    if path:
        place[path[-1]] = to
    else:
        record = to
    (bundle / MANIFEST_FILE).write_text(json.dumps(record))


def test_round_trip(bundle: Path) -> None:
    assert read_manifest(bundle) == WAVE
    assert WAVE.n_in == 2
    assert [(name, function.n_out) for name, function in read_manifest(bundle).functions.items()] == [
        ("eval", 1),
        ("jet", 2),
    ]
    assert check_files(bundle, WAVE) == CONTENTS


def test_equal_manifests_give_equal_bytes(bundle: Path) -> None:
    before = (bundle / MANIFEST_FILE).read_bytes()
    write_manifest(replace(WAVE, files=dict(reversed(WAVE.files.items()))), bundle)
    assert (bundle / MANIFEST_FILE).read_bytes() == before


FAULTS: list[tuple[tuple[str | int, ...], Any, str]] = [
    (("schema",), 6, "schema 6; this version reads 5: update kdpinn_edge"),
    (("schema",), 1, "schema 1; this version reads 5: an older version wrote it, export the bundle again"),
    (("schema",), True, "schema: true"),
    (("name",), "Wave", "name: "),
    (("name",), "int", "name: "),
    (("name",), 7, "name: 7"),
    (("functions", "eval", "program_sha256"), DIGEST[:-1], "functions['eval'].program_sha256: "),
    (("functions", "eval", "program_sha256"), DIGEST.upper(), "functions['eval'].program_sha256: "),
    (("precision",), "float16", "precision: "),
    (("precision",), [], "precision: "),
    (("profile",), "fast", "profile: "),
    (("target", "lanes"), 0, "target.lanes: 0; expected: a whole number from 1"),
    (("target", "lanes"), 8.0, "target.lanes: 8.0"),
    (("target", "speed"), 1, "target.speed: unknown"),
    (("target",), None, "target: null"),
    (("inputs",), [], "inputs: []"),
    (("inputs",), "xt", "inputs: "),
    (("inputs", 0, "lower"), 1.0, "inputs[0]: lower 1.0 is not below upper 1.0"),
    (("inputs", 0), {"name": "x", "lower": -1e308, "upper": 1e308, "unit": None}, "inputs[0]: lower -1e+308 and "),
    (("inputs", 0, "lower"), "0", "inputs[0].lower: "),
    (("inputs", 0, "lower"), 10**400, "inputs[0].lower: "),
    (("inputs", 1, "name"), "x", "inputs: 'x' occurs twice"),
    (("functions",), {}, "functions: {}; expected: an object with at least one entry"),
    (("functions", "gradient"), {}, 'a key of functions: "gradient"; expected: eval, jet, residual'),
    (("functions", "eval", "outputs", 0, "name"), "", "functions['eval'].outputs[0].name: "),
    (("functions", "eval", "outputs", 0, "name"), "u\n", "functions['eval'].outputs[0].name: "),
    (("functions", "jet", "outputs", 1, "name"), "u_x", "functions['jet'].outputs: 'u_x' occurs twice"),
    (("functions", "jet", "outputs"), [], "functions['jet'].outputs: []"),
    (("equation",), 0, "equation: 0"),
    (("functions", "jet", "errors", "max_abs"), [1e-9], "functions['jet'].errors.max_abs: 1 numbers for 2 outputs"),
    (("functions", "jet", "errors", "max_abs", 1), -1e-9, "functions['jet'].errors.max_abs[1]: "),
    (("functions", "jet", "storage_errors"), 0, "functions['jet'].storage_errors: 0"),
    (("functions", "jet", "storage_errors", "rms"), [], "functions['jet'].storage_errors.rms: []"),
    (
        ("functions", "jet", "storage_errors", "rms"),
        [1],
        "functions['jet'].storage_errors.rms: 1 numbers for 2 outputs",
    ),
    (("functions", "jet", "errors", "rms"), True, "functions['jet'].errors.rms: true"),
    (("functions", "jet", "operations", "multiply_adds"), -1, "functions['jet'].operations.multiply_adds: -1"),
    (("stack",), -1, "stack: -1; expected: a whole number from 0, or null"),
    (("measured",), None, "measured: null"),
    (("functions", "jet", "stack"), "1k", "functions['jet'].stack: "),
    (("functions", "jet", "instructions"), {}, "functions['jet'].instructions: {}"),
    (("functions", "jet", "instructions"), {"0": 1}, "functions['jet'].instructions: "),
    (("functions", "jet", "instructions", "64"), 1.5, "functions['jet'].instructions: "),
    (("toolchain",), {}, "toolchain: {}"),
    (("toolchain", "cc"), 14, "toolchain['cc']: 14"),
    (("files", "libwave.so"), "sha256:" + DIGEST, "files['libwave.so']: "),
    (("files", "/etc/passwd"), DIGEST, 'a key of files: "/etc/passwd"'),
    (("files", "../wave.h"), DIGEST, 'a key of files: "../wave.h"'),
    (("files", ".."), DIGEST, 'a key of files: ".."'),
    (("files", "lib/wave.h"), DIGEST, "a key of files: "),
    (("files", "lib\\wave.h"), DIGEST, "a key of files: "),
    (("files", "C:wave.h"), DIGEST, "a key of files: "),
    (("files", "wave.h\0"), DIGEST, "a key of files: "),
    (("files", ""), DIGEST, "a key of files: "),
    (("files", "manifest.json"), DIGEST, "a key of files: "),
    (("library",), "libheat.so", "library: 'libheat.so'; expected: libwave.so"),
    (("library",), "../libwave.so", "library: "),
    (("name",), "heat", "library: 'libwave.so'; expected: libheat.so"),
    (("files",), {"wave.h": DIGEST}, "library: 'libwave.so' is not one of files"),
    ((), [], "the file: []"),
    ((), None, "the file: null"),
]


@pytest.mark.parametrize(("path", "value", "message"), FAULTS)
def test_faults(bundle: Path, path: tuple[str | int, ...], value: Any, message: str) -> None:
    edit(bundle, *path, to=value)
    with pytest.raises(BundleError) as raised:
        read_manifest(bundle)
    assert message in str(raised.value)


def test_all_faults_are_listed(bundle: Path) -> None:
    record = json.loads((bundle / MANIFEST_FILE).read_text())
    del record["profile"]
    edit(bundle, to=record | {"colour": "red", "precision": "half", "sizes": {"text": 1}})
    with pytest.raises(BundleError) as raised:
        read_manifest(bundle)
    for fault in ("profile: missing", "colour: unknown", 'precision: "half"', "sizes.rodata: missing"):
        assert f"\n  - {fault}" in str(raised.value)


def test_the_values_are_never_missing(bundle: Path) -> None:
    record = json.loads((bundle / MANIFEST_FILE).read_text())
    del record["functions"]["eval"]
    edit(bundle, to=record)
    with pytest.raises(BundleError, match="functions: jet; expected: eval, and others beside it"):
        read_manifest(bundle)


@pytest.mark.parametrize(("schema", "fix"), [(1, "export the bundle again"), (6, "update kdpinn_edge")])
def test_another_schema_is_the_only_fault_named(bundle: Path, schema: int, fix: str) -> None:
    edit(bundle, to={"schema": schema, "everything": "else"})
    with pytest.raises(BundleError, match=rf"schema {schema}; this version reads 5: .*{fix}$"):
        read_manifest(bundle)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"", "not JSON"),
        (b"{", "not JSON"),
        (b"\xff\xfe\x00", "not JSON"),
        (b'{"schema": 5, "schema": 5}', "a key occurs twice"),
        (b'{"schema": NaN}', "NaN is not a JSON number"),
        (b'{"schema": ' + b"9" * 5000 + b"}", "not JSON"),
        (b"[" * 100_000, "not JSON"),
    ],
)
def test_not_json(bundle: Path, text: bytes, message: str) -> None:
    (bundle / MANIFEST_FILE).write_bytes(text)
    with pytest.raises(BundleError, match=message):
        read_manifest(bundle)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)


@given(data=st.data())
def test_any_edit_is_read_or_refused(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    bundle = tmp_path_factory.mktemp("bundle")
    write_manifest(WAVE, bundle)
    path: list[str | int] = []
    place = json.loads((bundle / MANIFEST_FILE).read_text())
    while isinstance(place, dict | list) and data.draw(st.booleans() | st.just(True)):
        keys: list[Any] = list(place) if isinstance(place, dict) else list(range(len(place)))
        path.append(data.draw(st.sampled_from(keys)))
        place = place[path[-1]]
    edit(bundle, *path, to=data.draw(JSON))
    try:
        manifest = read_manifest(bundle)
    except BundleError:
        return
    write_manifest(manifest, bundle)
    assert read_manifest(bundle) == manifest


def test_no_manifest(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="cannot be read"):
        read_manifest(tmp_path)
    with pytest.raises(BundleError, match="cannot be read"):
        read_manifest(tmp_path / "nowhere")


def test_write_refuses_what_read_would_refuse(bundle: Path) -> None:
    before = (bundle / MANIFEST_FILE).read_bytes()
    with pytest.raises(BundleError, match="lower: NaN"):
        write_manifest(replace(WAVE, inputs=(Input("x", float("nan")),)), bundle)
    assert (bundle / MANIFEST_FILE).read_bytes() == before
    assert sorted(path.name for path in bundle.iterdir()) == ["libwave.so", MANIFEST_FILE, "wave.h"]


def test_every_bad_file_is_listed(bundle: Path) -> None:
    (bundle / "libwave.so").unlink()
    (bundle / "wave.h").write_bytes(CONTENTS["wave.h"][:-1])
    with pytest.raises(BundleError) as raised:
        check_files(bundle, WAVE)
    assert "libwave.so: No such file" in str(raised.value)
    assert "wave.h: SHA-256 is" in str(raised.value)


def test_a_symbolic_link_is_refused_even_to_the_right_bytes(bundle: Path) -> None:
    (bundle / "wave.h").rename(bundle / "elsewhere.h")
    (bundle / "wave.h").symlink_to("elsewhere.h")
    with pytest.raises(BundleError, match=r"wave\.h: a symbolic link"):
        check_files(bundle, WAVE)


def test_a_directory_is_refused(bundle: Path) -> None:
    (bundle / "wave.h").unlink()
    (bundle / "wave.h").mkdir()
    with pytest.raises(BundleError, match=r"wave\.h: Is a directory"):
        check_files(bundle, WAVE)


@pytest.mark.parametrize("name", ["example", "stdint.h", "libwave.so.1", ".hidden", "a\nb"])
def test_files_that_are_not_listed_are_refused(bundle: Path, name: str) -> None:
    (bundle / name).write_bytes(b"compiled by the user")
    with pytest.raises(BundleError, match="is not in the manifest; move it out of the bundle") as raised:
        check_files(bundle, WAVE)
    assert ascii(name) in str(raised.value)


@pytest.mark.parametrize("name", sorted(BESIDE))
def test_files_that_may_be_beside_the_listed_ones(bundle: Path, name: str) -> None:
    (bundle / name).write_bytes(b"")
    assert check_files(bundle, WAVE) == CONTENTS


@pytest.mark.parametrize("name", ["u", "burgers", "burgers_2", "a" * 31])
def test_names(name: str) -> None:
    assert name_fault(name) is None


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        *((name, "is not a model name") for name in ("", "2d", "_u", "Burgers", "a" * 32, "ü", "a-b", "u\n")),
        *((name, "is taken by C") for name in ("int", "math", "m", "resolv", "namespace", "linux")),
        *((name, "is taken by Python") for name in ("lambda", "match", "with", "none")),
        *((name, "is taken by Rust") for name in ("crate", "impl")),
        *((name, "is taken by a device of Windows") for name in ("con", "nul", "aux", "com1", "lpt9")),
        *((name, "is taken by a library of Windows") for name in ("user32", "ntdll", "ws2_32", "vcruntime140")),
        ("example", "is taken by a file of every bundle"),
        *((name, "begins with kdpinn") for name in ("kdpinn", "kdpinn_edge", "kdpinn_fma")),
    ],
)
def test_names_that_are_refused(name: str, reason: str) -> None:
    assert reason in (name_fault(name) or "")
