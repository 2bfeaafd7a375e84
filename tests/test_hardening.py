"""What a Linux library is hardened by: marked entries, and frames that touch every page of their stack."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path

import pytest
from artifacts import Artifacts
from elftools.elf.elffile import ELFFile
from strategies import mlp

from kdpinn_edge import compile
from kdpinn_edge.bundle.manifest import read_manifest
from kdpinn_edge.export.targets.table import TARGETS
from kdpinn_edge.importers.model import find_model

ENDBR64, BTI_C = bytes.fromhex("f30f1efa"), bytes.fromhex("5f2403d5")
SHORT_JUMP, PUSH_RBP = bytes.fromhex("eb"), bytes.fromhex("55")
PROBE = bytes.fromhex("4881ec0010000048c7042400000000")
"""sub rsp, 4096; mov qword ptr [rsp], 0"""
MARKED = {"x86-64-v3": ENDBR64, "x86-64-v2": ENDBR64, "x86-64": ENDBR64, "aarch64": BTI_C, "cortex-a76": BTI_C}
X86_IBT, AARCH64_BTI = (0xC0000002, 1), (0xC0000000, 1)


def library(bundle: Path) -> bytes:
    return (bundle / read_manifest(bundle).library).read_bytes()


@pytest.mark.parametrize("target", MARKED)
def test_every_function_begins_with_a_mark(artifacts: Artifacts, target: str) -> None:
    """So do the resolvers of one library for several processors; the library says so to the loader."""
    image = library(artifacts.small(target))
    file = ELFFile(BytesIO(image))
    text = file.get_section_by_name(".text")
    shift = text["sh_offset"] - text["sh_addr"]
    defined = [s for s in file.get_section_by_name(".dynsym").iter_symbols() if s.name.startswith("net_")]
    entries = {s.name: s["st_value"] for s in defined if isinstance(s["st_shndx"], int)}
    assert set(entries) >= {"net_eval", "net_outside", "net_selftest", "net_integrity", "net_model"}
    for name, address in entries.items():
        assert image[address + shift :][:4] == MARKED[target], name
    notes = list(file.get_section_by_name(".note.gnu.property").iter_notes())
    stated = {(each["pr_type"], each["pr_data"]) for note in notes for each in note["n_desc"]}
    names = {"GNU_PROPERTY_X86_FEATURE_1_AND", "GNU_PROPERTY_AARCH64_FEATURE_1_AND", *(X86_IBT[:1] + AARCH64_BTI[:1])}
    assert any(kind in names and data == 1 for kind, data in stated)


def test_a_frame_of_several_pages_touches_each(artifacts: Artifacts) -> None:
    """A guard page below the stack is hit, and not jumped over; a frame within a page has no probe."""
    assert PROBE in library(artifacts.bundle(mlp(1, 256, 2, 1), name="net", target="x86-64-v3"))
    assert PROBE not in library(artifacts.bundle(mlp(1, 2, 1, 1), name="net", target="x86-64-v3"))


def test_a_large_frame_is_made_where_its_function_begins(artifacts: Artifacts) -> None:
    """Behind the checks of the arguments r11 may hold one of them, and the loop that touches the pages is not aware."""
    image = library(artifacts.bundle(mlp(1, 256, 2, 1), name="net", target="x86-64-v3"))
    file = ELFFile(BytesIO(image))
    text = file.get_section_by_name(".text")
    (entry,) = (s["st_value"] for s in file.get_section_by_name(".dynsym").iter_symbols() if s.name == "net_eval")
    jump = entry + len(ENDBR64) + text["sh_offset"] - text["sh_addr"]
    assert image[jump:].startswith(SHORT_JUMP)
    begin = jump + 2 + int.from_bytes(image[jump + 1 : jump + 2], signed=True)
    assert image[begin:].startswith(PUSH_RBP)
    assert PROBE in image[begin:][:100]


@pytest.mark.proof
@pytest.mark.parametrize("model", ["beam_teacher", "heat_teacher", "helmholtz_teacher", "wave_teacher"])
def test_wide_networks_have_the_bits_of_their_programs(model: str) -> None:
    """Their frames are the largest, and the engine is refused where the bits of a golden number differ."""
    found = find_model(model)
    box = [each.lower for each in found.inputs], [each.upper for each in found.inputs]
    first = [f"u_{each.name}" for each in found.inputs]
    compile(found.program, domain=box, derivatives=first, residual=found.problem)


def test_archives_and_other_systems_have_no_marks() -> None:
    unmarked = {name for name, target in TARGETS.items() if target.branch_protection is None}
    assert unmarked >= {"cortex-m4", "wasm", "windows-x86-64", "macos-arm64", "c99", "armv7", "riscv64"}
