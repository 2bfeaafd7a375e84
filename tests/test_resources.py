"""Flash, stack and instructions: exact, the same for every input, and held to a budget."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import llvmlite.binding as llvm
import numpy as np
import pytest
from artifacts import BOX, SMALL, Artifacts
from compiled import same_bits
from conftest import Need
from typer.testing import CliRunner

from kdpinn_edge.bundle.manifest import Manifest, read_manifest
from kdpinn_edge.cli import app
from kdpinn_edge.errors import BudgetError, ExportError
from kdpinn_edge.export.artifacts.gnu import MACHINES
from kdpinn_edge.export.bundle import export_bundle
from kdpinn_edge.export.measure import callgrind, emulator, obstacle
from kdpinn_edge.export.measure.callgrind import Call, counted, is_native
from kdpinn_edge.export.measure.emulator import PROCESSORS, Machine
from kdpinn_edge.export.measure.resources import Budget, measure, parse_bytes
from kdpinn_edge.export.targets.interface import Interface
from kdpinn_edge.export.targets.table import TARGETS, Target
from kdpinn_edge.numerics.reference import NumpyProgram
from kdpinn_edge.program.file import write_program
from kdpinn_edge.program.ir import Affine

NET, INPUTS = SMALL, BOX
SCALES = (1e-30, 1.0, 1e3, 1e38)
OF_ONE_KIND = ("armv7", "cortex-m3", "cortex-m33", "cortex-m7", "rv32imc")
"""Processors that are emulated as another one is."""
ANY_EMULATED = [
    pytest.param(TARGETS[name], id=name, marks=[pytest.mark.proof] if name in OF_ONE_KIND else [])
    for name in PROCESSORS
    if not name.startswith("cortex-a")
]
EMULATED = [each for each in ANY_EMULATED if not each.values[0].helpers]
NATIVE = [pytest.param(t, id=t.name) for t in TARGETS.values() if is_native(t) and t.runs_here()]

WITH_ADDRESSES = """
@table = constant [4 x i32] [i32 3, i32 1, i32 4, i32 1]
@places = constant [2 x ptr] [ptr @table, ptr getelementptr (i32, ptr @table, i32 2)]
define i32 @entry(i32 %i) nounwind {
  %slot = getelementptr ptr, ptr @places, i32 1
  %place = load volatile ptr, ptr %slot
  %value = load volatile i32, ptr %place
  ret i32 %value
}
"""
FUNCTIONS = """
define i32 @minus() nounwind {
  ret i32 -7
}
define i32 @loop(ptr %x, ptr %y, i64 %n) nounwind {
  br label %again
again:
  %i = phi i64 [0, %0], [%next, %again]
  store volatile i32 1, ptr %y
  %next = add i64 %i, 1
  %more = icmp slt i64 %next, %n
  br i1 %more, label %again, label %done
done:
  ret i32 0
}
define i32 @frame(i32 %turns) nounwind {
  %bytes = alloca [1000 x i8]
  %last = getelementptr i8, ptr %bytes, i32 996
  br label %again
again:
  %i = phi i32 [%turns, %0], [%next, %again]
  store volatile i32 0, ptr %last
  %next = sub i32 %i, 1
  %more = icmp ne i32 %next, 0
  br i1 %more, label %again, label %done
done:
  ret i32 0
}
define i32 @wild() nounwind {
  store volatile i32 0, ptr inttoptr (i32 64 to ptr)
  ret i32 0
}
define i32 @endless() nounwind {
  br label %again
again:
  br label %again
}
"""


def need_compiler(target: Target, need: Need) -> None:
    """The GNU compiler, where its library has what code for the target calls."""
    if target.helpers:
        need(MACHINES[target.name][0])


def compiled(target: Target) -> tuple[bytes, str]:
    """FUNCTIONS as an object for the target, and as assembly."""
    llvm.initialize_all_targets()
    llvm.initialize_all_asmprinters()
    machine = llvm.Target.from_triple(target.triple).create_target_machine(
        cpu=target.cpu, features=target.features, opt=2, reloc="static", codemodel="small"
    )
    source = FUNCTIONS + (WITH_ADDRESSES if target.artifact == "archive" else "")
    module = llvm.parse_assembly(f'target triple = "{target.triple}"\n{source}')
    return bytes(machine.emit_object(module)), str(machine.emit_assembly(module))


ELF = [pytest.param(TARGETS[name], id=name) for name in PROCESSORS if TARGETS[name].artifact != "dylib"]
BARE = [pytest.param(TARGETS[name], id=name) for name in PROCESSORS if TARGETS[name].artifact == "archive"]


@pytest.mark.parametrize("target", ELF)
def test_a_call_returns_counts_and_measures(target: Target, need: Need) -> None:
    need_compiler(target, need)
    code, assembly = compiled(target)
    machine = Machine(target, code)
    assert machine.call("minus").result == -7
    turns = [machine.call("loop", emulator.DATA, emulator.DATA, n).instructions for n in (10, 11, 12, 1000)]
    each = turns[1] - turns[0]
    assert each > 0
    assert np.diff(turns).tolist() == [each, each, 988 * each]
    frame = assembly[assembly.index("\nframe:") : assembly.index("\nwild:")]
    lowered = re.findall(r"sp, #-(\d+)\]!|sub(?:\.w)?\s+sp, (?:sp, )?#(\d+)|addi\s+sp, sp, -(\d+)", frame)
    pushed = sum(4 * len(registers.split(",")) for registers in re.findall(r"push\s+\{(.*)\}", frame))
    assert machine.call("frame", 3).stack == pushed + sum(int(n) for found in lowered for n in found if n) >= 1000
    assert machine.call("minus").stack == 0


@pytest.mark.parametrize("target", BARE)
def test_addresses_are_filled_in(target: Target, need: Need) -> None:
    need_compiler(target, need)
    assert Machine(target, compiled(target)[0]).call("entry", 0).result == 4


@pytest.mark.parametrize("target", ELF)
def test_what_goes_wrong_is_an_export_error(target: Target, need: Need, monkeypatch: pytest.MonkeyPatch) -> None:
    need_compiler(target, need)
    machine = Machine(target, compiled(target)[0])
    with pytest.raises(ExportError, match=rf"wild on the emulated {target.name}: .*WRITE_UNMAPPED.* at offset 0x"):
        machine.call("wild")
    monkeypatch.setattr(emulator, "LONGEST_US", 20_000)
    monkeypatch.setattr(emulator, "MOST_TURNS", 10)
    with pytest.raises(ExportError, match=rf"endless on the emulated {target.name} does not return"):
        machine.call("endless")


def test_only_known_artifacts_are_read() -> None:
    with pytest.raises(ExportError, match="expected: ELF or Mach-O"):
        Machine(TARGETS["aarch64"], b"\0asm\1\0\0\0")


Exported = Callable[[Target], tuple[Manifest, bytes]]


@pytest.fixture(scope="module")
def exported(artifacts: Artifacts) -> Exported:
    """`exported(target)` is the manifest and the code of a net with a jet."""

    def exported(target: Target) -> tuple[Manifest, bytes]:
        bundle = artifacts.small(target.name)
        manifest = read_manifest(bundle)
        return manifest, (bundle / manifest.library).read_bytes()

    return exported


@pytest.mark.parametrize("target", EMULATED)
def test_the_count_is_the_same_for_every_input(target: Target, exported: Exported) -> None:
    manifest, artifact = exported(target)
    machine = Machine(target, artifact)
    x = np.random.default_rng(0).uniform(-1, 1, (64, 2)).astype(np.float32)
    for name, function in manifest.functions.items():
        assert function.instructions is not None
        for n in (1, 64):
            calls = [machine.evaluate(f"net_{name}", x[:n] * np.float32(s), function.n_out)[1] for s in SCALES]
            assert {call.instructions for call in calls} == {function.instructions[str(n)]}
            assert max(call.stack for call in calls) <= (function.stack or 0) <= (manifest.stack or 0)


@pytest.mark.parametrize("target", ANY_EMULATED)
def test_an_emulated_library_returns_the_bits_of_the_profile(target: Target, exported: Exported, need: Need) -> None:
    need_compiler(target, need)
    x = np.random.default_rng(1).uniform(-1, 1, (37, 2)).astype(np.float32)
    y, call = Machine(target, exported(target)[1]).evaluate("net_eval", x, 1)
    assert call.result == 0
    assert same_bits(y, NumpyProgram(NET, "float32", target.profile)(x))


@pytest.mark.parametrize("target", EMULATED)
def test_an_emulated_self_test_that_fails_is_an_export_error(target: Target, exported: Exported) -> None:
    manifest, artifact = exported(target)
    weight = next(op.weight for op in NET.ops if isinstance(op, Affine)).astype(np.float32).tobytes()[:4]
    assert weight in artifact
    interface = Interface("net", "float32", target, INPUTS, {"eval": NET})
    with pytest.raises(
        ExportError, match=rf"self-test on the emulated {target.name}: golden number \d+ has other bits"
    ):
        measure(artifact.replace(weight, bytes(4)), interface, manifest.sizes, Budget())


@pytest.mark.parametrize("target", NATIVE)
def test_valgrind_counts_the_same_for_every_input(target: Target, exported: Exported, need: Need) -> None:
    need("valgrind")
    if target.cpu == "x86-64-v4":
        pytest.skip("valgrind does not know AVX-512")
    manifest, artifact = exported(target)
    function = manifest.functions["jet"]
    x = np.random.default_rng(0).uniform(-1, 1, (64, 2)).astype(np.float32)
    calls = [Call("net_jet", n, n * 8) for n in (1, 64)]
    for scale in (SCALES[0], SCALES[-1]):
        found = counted(artifact, target, calls, (x * np.float32(scale)).tobytes())
        assert found.instructions == tuple((function.instructions or {})[n] for n in ("1", "64"))
        assert found.stack is not None
        assert max(found.stack) == function.stack


@pytest.mark.parametrize("target", NATIVE)
def test_the_stack_is_measured_without_valgrind(
    target: Target, exported: Exported, need: Need, monkeypatch: pytest.MonkeyPatch
) -> None:
    need("cc")
    manifest, artifact = exported(target)
    which = callgrind.shutil.which
    monkeypatch.setattr(callgrind.shutil, "which", lambda name: None if name == "valgrind" else which(name))
    found = counted(artifact, target, [Call("net_jet", 64, 64 * 8)], bytes(64 * 8))
    assert found.instructions is None
    assert found.how.startswith("instructions not counted: valgrind")
    assert found.stack == (manifest.functions["jet"].stack,)
    monkeypatch.setattr(callgrind.shutil, "which", lambda name: None)
    found = counted(artifact, target, [Call("net_jet", 64, 64 * 8)], bytes(64 * 8))
    assert found == callgrind.Counts(
        None, None, "stack and instructions not measured: neither cc, gcc nor clang is on the PATH"
    )


def test_a_budget_holds_to_the_byte(exported: Exported, tmp_path: Path) -> None:
    manifest, artifact = exported(TARGETS["cortex-m4"])
    interface = Interface("net", "float32", TARGETS["cortex-m4"], INPUTS, {"eval": NET})
    flash, stack = manifest.sizes.flash, manifest.functions["eval"].stack
    usage = measure(artifact, interface, manifest.sizes, Budget(flash))
    assert usage.stack is not None
    assert usage.stacks == {"eval": stack}
    assert measure(artifact, interface, manifest.sizes, Budget(flash, usage.stack)) == usage
    with pytest.raises(
        BudgetError, match=rf"libnet.a for cortex-m4 takes {flash:,} bytes of flash, 1 more than the budget of"
    ):
        measure(artifact, interface, manifest.sizes, Budget(flash - 1))
    with pytest.raises(BudgetError, match=rf"takes {usage.stack:,} bytes of stack, 1 more than the budget of"):
        measure(artifact, interface, manifest.sizes, Budget(None, usage.stack - 1))
    with pytest.raises(BudgetError):
        export_bundle(NET, tmp_path / "net", name="net", target="cortex-m4", inputs=INPUTS, max_stack=16)
    assert list(tmp_path.iterdir()) == []


def advice(tmp_path: Path, **arguments: Any) -> str:
    with pytest.raises(BudgetError) as raised:
        export_bundle(NET, tmp_path / "net", name="net", inputs=INPUTS, **arguments)
    assert list(tmp_path.iterdir()) == []
    return str(raised.value).partition("budget of ")[2].partition(". ")[2]


OPTIONS = re.compile(r"([^;:]+?) \(([\d,]+) bytes(?:, with errors up to [^)]*)?\)")


@pytest.mark.proof
@pytest.mark.parametrize("target", ["x86-64-v3", "cortex-m4"])
def test_the_advice_of_a_budget_is_what_an_export_by_it_takes(target: str, tmp_path: Path, need: Need) -> None:
    need("cc")
    given: dict[str, Any] = {"target": target, "derivatives": ["u", "u_x0", "u_x0_x0"]}
    said = advice(tmp_path, max_flash=64, **given)
    assert said.startswith("What takes less, and does not fit: no --derivatives (")
    assert said.endswith("`kdpinn-edge search … --max-flash 64` finds the student that fits.")
    changes: dict[str, dict[str, Any]] = {
        "no --derivatives": {"derivatives": ()},
        "--storage float16": {"storage": "float16"},
        "--grade fast": {"grade": "fast"},
        "--storage float16 --grade fast": {"storage": "float16", "grade": "fast"},
    }
    named = {words.strip(): int(size.replace(",", "")) for words, size in OPTIONS.findall(said)}
    sizes = {}
    for words, changed in changes.items():
        manifest = export_bundle(NET, tmp_path / "net", name="net", inputs=INPUTS, force=True, **{**given, **changed})
        assert manifest.sizes is not None
        sizes[words] = manifest.sizes.flash
    manifest = export_bundle(NET, tmp_path / "net", name="net", inputs=INPUTS, force=True, **given)
    assert manifest.sizes is not None
    assert named == {words: size for words, size in sizes.items() if size < manifest.sizes.flash}
    shutil.rmtree(tmp_path / "net")
    fitting = advice(tmp_path, max_flash=sizes["no --derivatives"], **given)
    assert fitting == f"What fits, as compiled: no --derivatives ({sizes['no --derivatives']:,} bytes)."


def test_the_advice_of_a_budget_for_the_stack(tmp_path: Path) -> None:
    said = advice(tmp_path, max_stack=16, target="cortex-m4", derivatives=["u", "u_x0"])
    assert "does not fit: no --derivatives (" in said
    assert said.endswith("A network with narrower layers does: they lie on the stack.")
    assert advice(tmp_path, max_stack=16, target="cortex-m4").startswith("A network with narrower layers does:")


def test_without_an_emulator_an_export_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(obstacle, "find_spec", lambda name: None)
    with pytest.raises(
        ExportError, match=r"1,024 bytes of stack suffice cannot be told .*kdpinn-edge\[emulate\]"
    ) as raised:
        export_bundle(NET, tmp_path / "net", name="net", target="cortex-m4", max_stack=1024)
    assert not isinstance(raised.value, BudgetError)
    assert list(tmp_path.iterdir()) == []
    manifest = export_bundle(NET, tmp_path / "net", name="net", target="cortex-m4", max_flash=1 << 20)
    assert (manifest.stack, manifest.functions["eval"].stack, manifest.functions["eval"].instructions) == (None,) * 3
    assert manifest.measured == "stack and instructions not measured: pip install 'kdpinn-edge[emulate]'"


def test_what_no_emulator_runs_is_not_measured(tmp_path: Path) -> None:
    manifest = export_bundle(NET, tmp_path / "net", name="net", target="windows-x86-64")
    assert manifest.stack is None
    assert manifest.measured == "stack and instructions not measured: no emulator for windows-x86-64"


@pytest.mark.parametrize(
    ("text", "expected"), [("0", 0), ("4096", 4096), ("32k", 32768), ("1.5M", 3 << 19), (" 2 K ", 2048), ("0.5k", 512)]
)
def test_sizes_are_read(text: str, expected: int) -> None:
    assert parse_bytes(text) == expected


@pytest.mark.parametrize("text", ["", "k", "-1", "1kB", "1e3", "0x10", "1 G", "١k", "1_000", "9" * 13])
def test_what_is_no_size_is_refused(text: str) -> None:
    with pytest.raises(ExportError, match="is not a size; expected: a number of bytes, or of k or M, as in 32k"):
        parse_bytes(text)


def test_the_command_line_holds_a_budget(tmp_path: Path) -> None:
    write_program(NET, tmp_path / "net.npz")
    given = [
        "export",
        str(tmp_path / "net.npz"),
        "--name",
        "net",
        "--target",
        "cortex-m4",
        "--out",
        str(tmp_path / "net"),
    ]
    failed = CliRunner().invoke(app, [*given, "--max-flash", "1k"])
    assert failed.exit_code == 1
    assert "more than the budget of 1,024" in failed.stderr
    assert CliRunner().invoke(app, [*given, "--max-stack", "much"]).exit_code == 2
    assert [path.name for path in tmp_path.iterdir()] == ["net.npz"]
    done = CliRunner().invoke(app, [*given, "--max-flash", "64k", "--max-stack", "4k"])
    assert done.exit_code == 0
    for fact in (
        "of code",
        "self-test included",
        "counted by unicorn",
        "instructions for one point",
        "per point of 64",
    ):
        assert fact in done.stdout
    shown = CliRunner().invoke(app, ["info", given[-1], "--json"])
    assert json.loads(shown.stdout)["manifest"]["functions"]["eval"]["instructions"].keys() == {"1", "64"}
