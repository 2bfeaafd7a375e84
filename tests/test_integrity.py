"""What `NAME_integrity` reads, in every kind of artifact: a bit that is flipped in memory is seen."""

from __future__ import annotations

import ctypes
import re
import subprocess
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from artifacts import BOX, SMALL, Artifacts
from conftest import Need
from elftools.elf.elffile import ELFFile
from sampled import sampled

from kdpinn_edge import compile as compile_model
from kdpinn_edge.bundle.macho import MachLibrary
from kdpinn_edge.bundle.manifest import Precision, Storage, read_manifest
from kdpinn_edge.checks.check import check
from kdpinn_edge.errors import ExportError
from kdpinn_edge.export.artifacts import integrity
from kdpinn_edge.export.artifacts.archive import only_member
from kdpinn_edge.export.artifacts.code_signature import signed_again
from kdpinn_edge.export.artifacts.integrity import with_record
from kdpinn_edge.export.measure.emulator import PROCESSORS, Machine
from kdpinn_edge.export.targets.integrity import HEAD, MAGIC, RANGE, ROOM
from kdpinn_edge.export.targets.interface import Interface
from kdpinn_edge.export.targets.table import TARGETS, Target
from kdpinn_edge.runtime.library_engine import CEngine

NET = SMALL
LINKED = [target for target in TARGETS.values() if target.artifact not in ("c99", "archive", "fmu")]
"""An FMU holds four libraries, each of a target that is tested by itself."""
RECORD = HEAD.size + ROOM * RANGE.size


def artifact(artifacts: Artifacts, target: str, precision: Precision = "float32", **options: object) -> Path:
    """The library of the model for a target."""
    bundle = artifacts.small(target, precision, **options)
    return bundle / read_manifest(bundle).library


def covered(image: bytes) -> list[tuple[int, int]]:
    """The ranges of the record, as distances from it and sizes."""
    at = image.index(MAGIC) + HEAD.size
    ranges = (RANGE.unpack_from(image, at + i * RANGE.size) for i in range(ROOM))
    return [(distance, size) for distance, size in ranges if size]


@pytest.mark.parametrize("target", LINKED, ids=lambda target: str(target.name))
def test_what_is_linked_covers_all_that_no_loader_changes(artifacts: Artifacts, target: Target) -> None:
    """All but the record itself; in a DLL, all but the addresses in the description too, and what lies between some."""
    image = artifact(artifacts, target.name).read_bytes()
    parts, written = integrity.READ[target.artifact](image)
    total = sum(part.size for part in parts)
    found = sum(size for _, size in covered(image))
    if target.artifact == "dll":
        assert found > 0.97 * total
        home = next(part for part in parts if part.offset <= image.index(MAGIC) < part.offset + part.size)
        record = home.address + image.index(MAGIC) - home.offset
        for begin, end in written:
            assert all(end <= record + at or record + at + size <= begin for at, size in covered(image))
    else:
        assert found == total - RECORD
        assert not written


def weights(precision: str) -> bytes:
    """Numbers of a matrix as they lie in a library."""
    return np.ascontiguousarray(NET.ops[1].weight.T[0], precision).tobytes()[:12]


def flipped(image: bytes, place: int, bit: int) -> bytes:
    changed = bytearray(image)
    changed[place] ^= 1 << bit
    return bytes(changed)


@pytest.mark.parametrize(
    ("target", "precision"),
    sampled([target for target in TARGETS if TARGETS[target].runs_here()], ["float32", "float64"]),
)
def test_a_flipped_bit_is_seen(artifacts: Artifacts, tmp_path: Path, target: str, precision: Precision) -> None:
    """In the weights, and in the code of a function."""
    whole = artifact(artifacts, target, precision)
    assert ctypes.CDLL(str(whole)).net_integrity() == 0
    image = whole.read_bytes()
    code = ELFFile(BytesIO(image)).get_section_by_name(".text")
    places = [image.index(weights(precision)), image.index(MAGIC) + RECORD, code["sh_offset"] + code["sh_size"] // 3]
    for i, place in enumerate(places):
        (path := tmp_path / f"{i}.so").write_bytes(flipped(image, place, 2 * i))
        assert ctypes.CDLL(str(path)).net_integrity() == 1


@pytest.mark.parametrize("target", PROCESSORS)
def test_a_flipped_bit_is_seen_on_an_emulated_processor(artifacts: Artifacts, target: str) -> None:
    """In the weights; where the linker is ours, in code too."""
    image = artifact(artifacts, target).read_bytes()
    assert Machine(TARGETS[target], image).returned("net_integrity") == 0
    changed = flipped(image, image.index(weights("float32")), 3)
    assert Machine(TARGETS[target], changed).returned("net_integrity") == 1


def test_an_archive_covers_the_weights_and_the_box(artifacts: Artifacts) -> None:
    image = artifact(artifacts, "cortex-m4").read_bytes()
    sections = {s.name: s["sh_size"] for s in ELFFile(BytesIO(only_member(image))).iter_sections()}
    constants = ("W_EVAL", "W_JET", "BOX")
    expected = [sections[f".rodata.kdpinn_{name}"] for name in constants if f".rodata.kdpinn_{name}" in sections]
    assert sorted(size for _, size in covered(image)) == sorted(expected)


def test_a_flipped_bit_is_seen_in_a_program_that_links_an_archive(
    artifacts: Artifacts, tmp_path: Path, need: Need
) -> None:
    """In the weights, wherever the linker of the program puts them."""
    archive, library = artifacts.small("native") / "libnet.a", tmp_path / "libown.so"
    source = b"int net_integrity(void); int intact(void) { return net_integrity(); }"
    command = [need("cc"), "-shared", "-fPIC", "-x", "c", "-", "-x", "none", str(archive), "-o", str(library)]
    subprocess.run(command, input=source, check=True)
    image = library.read_bytes()
    assert ctypes.CDLL(str(library)).intact() == 0
    (changed := tmp_path / "changed.so").write_bytes(flipped(image, image.index(weights("float32")), 3))
    assert ctypes.CDLL(str(changed)).intact() == 1


def test_a_flipped_bit_is_seen_in_webassembly(artifacts: Artifacts, need: Need) -> None:
    """In memory, where anybody can write; code cannot be read."""
    wasm = artifact(artifacts, "wasm")
    at = wasm.read_bytes().index(weights("float32"))
    script = """
        const [file, begin] = process.argv.slice(1);
        const module = await WebAssembly.compile(require("fs").readFileSync(file));
        const { memory, net_integrity } = (await WebAssembly.instantiate(module)).exports;
        const found = [net_integrity()], bytes = new Uint8Array(memory.buffer);
        const at = Buffer.from(bytes).indexOf(require("fs").readFileSync(file).subarray(+begin, +begin + 12));
        bytes[at] ^= 1; found.push(net_integrity()); bytes[at] ^= 1; found.push(net_integrity());
        console.log(found.join(" "));
    """
    script = f"(async () => {{ {script} }})()"
    command = [need("node"), "-e", script, str(wasm), str(at)]
    assert subprocess.run(command, check=True, capture_output=True, text=True).stdout.split() == ["0", "1", "0"]


@pytest.mark.parametrize("storage", [None, "float16"])
def test_a_changed_constant_is_seen_in_c99(
    artifacts: Artifacts, tmp_path: Path, need: Need, storage: Storage | None
) -> None:
    source = artifact(artifacts, "c99", storage=storage)
    text = source.read_text()
    place = re.search(r"W_EVAL\[\d+\] = \{\s+(\S+),", text)
    assert place is not None
    number = place[1]
    other = f"{int(number.rstrip('u'), 16) ^ 1:#x}u" if storage else f"-{number}"
    changed = text[: place.start(1)] + other + text[place.end(1) :]
    for name, contents, expected in (("whole", text, 0), ("changed", changed, 1)):
        options = ["-std=c99", "-O1", "-shared", "-fPIC", f"-I{source.parent}", "-x", "c", "-", "-o"]
        library = tmp_path / f"{name}.so"
        subprocess.run([need("cc"), *options, str(library), "-lm"], input=contents, text=True, check=True)
        assert ctypes.CDLL(str(library)).net_integrity() == expected


def test_the_signature_for_macos_is_that_of_the_changed_pages(artifacts: Artifacts) -> None:
    image = artifact(artifacts, "macos-arm64").read_bytes()
    begin = MachLibrary(image).signature
    assert begin is not None
    assert signed_again(image, begin) == image
    changed = flipped(image, image.index(weights("float32")), 0)
    assert signed_again(changed, begin) != changed
    with pytest.raises(ValueError, match="unknown kind"):
        signed_again(flipped(image, begin, 0), begin)


def test_an_engine_that_was_compiled_here_is_intact() -> None:
    engine = compile_model(NET)
    assert isinstance(engine, CEngine)
    assert engine.is_intact()


def test_check_reads_the_crc(artifacts: Artifacts) -> None:
    verdicts = {each.name: each for each in check(artifact(artifacts, "native").parent)}
    assert verdicts["selftest"].detail.endswith("its code and constants have their CRC")


def test_an_image_has_one_record(artifacts: Artifacts) -> None:
    interface = Interface("net", "float32", TARGETS["x86-64-v3"], BOX, {"eval": NET})
    image = artifact(artifacts, "x86-64-v3").read_bytes()
    assert with_record(image, interface) == image
    for changed, count in ((image + MAGIC, 2), (image.replace(MAGIC, bytes(8)), 0)):
        with pytest.raises(ExportError, match=f"has {count} records of its ranges; expected: one"):
            with_record(changed, interface)
