"""The bench for the device: what it prints on every machine that can be emulated, and what becomes of its results."""

from __future__ import annotations

import json
import subprocess
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from artifacts import Artifacts
from compiled import kernel
from conftest import Need
from qemu import SEMIHOSTING
from records import example_record
from sampled import some
from strategies import mlp
from typer.testing import CliRunner, Result

from kdpinn_edge import cli
from kdpinn_edge.bundle.manifest import PROGRAM_FILES, FunctionName, Input, read_manifest
from kdpinn_edge.bundle.probe import timed_points
from kdpinn_edge.cli import bench as command
from kdpinn_edge.comparison import selection
from kdpinn_edge.comparison.device import read_devices, with_devices
from kdpinn_edge.comparison.durations import parse_rate
from kdpinn_edge.comparison.record import Absent, Clock, Device, DeviceCell
from kdpinn_edge.comparison.record_file import read_record, write_record
from kdpinn_edge.comparison.report import html
from kdpinn_edge.comparison.statistics import device_rows, summary
from kdpinn_edge.derive.derivatives import derivatives
from kdpinn_edge.errors import BenchError, ExportError
from kdpinn_edge.export.artifacts import device_bench as device
from kdpinn_edge.export.artifacts.device_bench import MEMORY, device_bench
from kdpinn_edge.export.bundle import export_bundle
from kdpinn_edge.export.machine_code import object_code
from kdpinn_edge.export.targets.interface import Interface
from kdpinn_edge.export.targets.table import TARGETS
from kdpinn_edge.numerics.reference import NumpyProgram
from kdpinn_edge.program.file import read_program

PROGRAM = mlp(2, 8, 2, 1)
REQUESTS = ("u", "u_x0")
FUNCTIONS = {"eval": PROGRAM, "jet": derivatives(PROGRAM, REQUESTS)}
INPUTS = (Input("x0", -1.0, 1.0), Input("x1", 0.0, 2.0))
EMULATORS: Mapping[str, Sequence[str]] = {
    "x86-64-v3": (),
    "x86-64-v2": (),
    "aarch64": ("qemu-aarch64",),
    "armv7": ("qemu-arm",),
    "riscv64": ("qemu-riscv64",),
    **{name: (memory.emulator, "-M", memory.machine, *SEMIHOSTING, "-kernel") for name, memory in MEMORY.items()},
}
LINUX, BARE = "x86-64-v3", "cortex-m7"
"""A target of each kind, whose program is built twice, from equal bytes to equal bytes."""
OF_ONE_KIND = ("x86-64-v2", "armv7", "riscv64", "cortex-m3", "cortex-m4", "cortex-m33", "rv32imc")
"""Targets that start and print as another one does."""


@pytest.fixture(scope="module")
def bundle(artifacts: Artifacts) -> Path:
    return artifacts.bundle(PROGRAM, name="model", inputs=INPUTS, derivatives=REQUESTS, with_bench=True)


@cache
def built(target: str) -> tuple[bytes, Interface]:
    """The object code of the model for `target`."""
    interface = Interface("model", "float32", TARGETS[target], INPUTS, FUNCTIONS)
    return object_code([kernel(FUNCTIONS, "float32", TARGETS[target], 5)], interface), interface


def printed(program: Path, emulator: Sequence[str], exit_code: int = 0) -> str:
    """What the bench prints."""
    command = [*emulator, str(program)]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == exit_code, done.stderr
    return done.stdout


def written(files: Mapping[str, bytes], folder: Path) -> Path:
    """The program among `files`, in `folder`."""
    program = folder / next(name for name in files if not name.endswith((".c", ".ld")))
    program.write_bytes(files[program.name])
    program.chmod(0o755)
    return program


def results(bundle: Path) -> dict[str, Any]:
    """What a device prints that is right, and counts cycles."""
    manifest = read_manifest(bundle)
    x = timed_points(manifest.inputs, 100).astype(np.float32)

    def function(name: FunctionName) -> dict[str, Any]:
        y = NumpyProgram(read_program(bundle / PROGRAM_FILES[name]), "float32", manifest.profile)(x)
        rows = [
            {"n": n, "status": 0, "crc32": zlib.crc32(np.resize(y, (n, y.shape[1])).tobytes()), "batch": batch}
            | {"ticks": [2000 * batch * n, 2016 * batch * n, 2400 * batch * n]}
            for n, batch in ((1, 4), (100, 1), (10_000, 1))
        ]
        return {"name": name, "program_sha256": manifest.functions[name].program_sha256, "rows": rows}

    return {
        "schema": 1,
        "name": "model",
        "precision": "float32",
        "profile": manifest.profile,
        "target": "cortex-m7",
        "points_crc32": zlib.crc32(x.tobytes()),
        "selftest": 0,
        "clock": {"source": "SysTick", "unit": "cycles", "resolution": 12, "per_second": 0},
        "functions": [function("eval"), function("jet")],
    }


@pytest.mark.slow
@pytest.mark.parametrize(
    "target", [pytest.param(name, marks=[pytest.mark.proof] if name in OF_ONE_KIND else []) for name in EMULATORS]
)
def test_a_device_has_the_bits_of_numpy(target: str, bundle: Path, need: Need, tmp_path: Path) -> None:
    emulator = EMULATORS[target]
    if emulator:
        need(emulator[0])
    elif not TARGETS[target].runs_here():
        pytest.skip(f"this machine does not run {target}")
    code, interface = built(target)
    files = device_bench(code, interface)
    assert target not in (LINUX, BARE) or device_bench(code, interface) == files
    (tmp_path / "device.json").write_text(printed(written(files, tmp_path), emulator))

    (found,) = read_devices([tmp_path / "device.json"], bundle, None)
    assert isinstance(found, Device), found
    assert (found.name, found.target, found.subject) == ("device: device", target, "model")
    assert found.profile == TARGETS[target].profile
    most = 100 if target in MEMORY else 10_000
    assert {(cell.function, cell.n) for cell in found.cells} >= {(f, n) for f in FUNCTIONS for n in (1, 100, most)}
    assert found.clock.unit == ("cycles" if target in MEMORY else "ns")
    assert all(len(cell.ticks) >= 3 for cell in found.cells)


def test_the_bench_in_a_bundle_runs(bundle: Path, tmp_path: Path) -> None:
    assert {"model_bench", "model_bench.c"} <= read_manifest(bundle).files.keys()
    (tmp_path / "here.json").write_text(printed(bundle / "model_bench", ()))
    (found,) = read_devices([tmp_path / "here.json"], bundle, None)
    assert isinstance(found, Device)
    assert found.target == read_manifest(bundle).target.name


def test_the_compiler_of_the_device_builds_it_from_the_bundle(bundle: Path, need: Need, tmp_path: Path) -> None:
    command = [need("cc"), "-O2", "-nostartfiles", "model_bench.c", "-L.", "-lmodel", f"-Wl,-rpath,{bundle}"]
    subprocess.run([*command, "-o", tmp_path / "bench"], cwd=bundle, check=True)
    (tmp_path / "here.json").write_text(printed(tmp_path / "bench", ()))
    assert isinstance(read_devices([tmp_path / "here.json"], bundle, None)[0], Device)


@pytest.mark.slow
@pytest.mark.parametrize("target", some(["aarch64", "cortex-m4"], ["cortex-m4"]))
def test_a_wrong_bit_on_the_device_is_found(target: str, bundle: Path, need: Need, tmp_path: Path) -> None:
    """A device whose arithmetic is another one: here the last bit of a weight."""
    need(EMULATORS[target][0])
    code, interface = built(target)
    weight = np.float32(PROGRAM.ops[1].weight[0, 0]).tobytes()  # type: ignore[union-attr]
    assert weight in code
    files = device_bench(code.replace(weight, bytes([weight[0] ^ 1]) + weight[1:]), interface)
    (tmp_path / "broken.json").write_text(printed(written(files, tmp_path), EMULATORS[target], exit_code=1))
    (found,) = read_devices([tmp_path / "broken.json"], bundle, None)
    assert isinstance(found, Absent)
    assert found.reason.startswith("it does not pass its self-test: golden number ")


def test_a_target_without_a_bench_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ExportError, match=r"wasm has no bench for the device; expected: x86-64-v4, .*cortex-m33"):
        device_bench(b"", Interface("model", "float32", TARGETS["wasm"], INPUTS, FUNCTIONS))


def test_without_ziglang_it_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(device, "find_spec", lambda name: None)
    with pytest.raises(ExportError, match=r"pip install 'kdpinn-edge\[cross\]'"):
        export_bundle(PROGRAM, tmp_path / "net", name="model", with_bench=True)
    assert list(tmp_path.iterdir()) == []


def test_a_compiler_that_fails_is_quoted() -> None:
    interface = Interface("model", "float32", TARGETS["x86-64-v3"], INPUTS, FUNCTIONS)
    with pytest.raises(ExportError, match=r"the linker failed .*ld\.lld.*:\n.*kernel\.o"):
        device_bench(b"no object", interface)


def test_the_source_has_the_points_and_no_path(bundle: Path) -> None:
    source = (bundle / "model_bench.c").read_text()
    x = timed_points(INPUTS, 100).astype(np.float32)
    assert all(f"{float(value).hex()}f" in source for value in x.flat)
    assert str(bundle) not in source
    assert str(Path.home()).encode() not in (bundle / "model_bench").read_bytes()


Change = Callable[[dict[str, Any]], object]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda r: r.update(schema=2), "results of schema 2; this version reads 1"),
        (lambda r: r.pop("selftest"), "not the results of a device .*`selftest`"),
        (lambda r: r.update(mood="good"), "not the results of a device .*`mood`"),
        (lambda r: r["clock"].update(unit="beats"), "not the results of a device .*'beats'"),
        (lambda r: r["functions"][0]["rows"][0].update(n=10**12), "not the results of a device"),
        (lambda r: r["functions"][0]["rows"][0].update(batch=0), "not the results of a device"),
        (lambda r: r["functions"][0]["rows"][0].update(ticks=[-1]), "not the results of a device"),
        (lambda r: r["functions"].clear(), "not the results of a device"),
        (lambda r: r.update(precision="float64"), "precision 'float64'; expected: float32"),
        (lambda r: r.update(profile="fma-0"), "numerics profile 'fma-0'; expected: "),
        (lambda r: r["functions"][0].update(program_sha256="00"), "eval is the Program 00; expected: "),
        (lambda r: r["functions"][0].update(name="residual"), "the function residual; expected: eval, jet"),
        (lambda r: r["functions"][0]["rows"][1].update(n=1), "two rows of the same n"),
        (lambda r: r["functions"][0]["rows"][0].update(ticks=[]), "a row has no ticks"),
        (lambda r: r.update(points_crc32=7), "other points; expected: those of the domain box of the bundle"),
    ],
)
def test_results_of_something_else_are_refused(change: Change, said: str, bundle: Path, tmp_path: Path) -> None:
    found = results(bundle)
    change(found)
    path = tmp_path / "m7.json"
    path.write_text(json.dumps(found))
    with pytest.raises(BenchError, match=rf"(?s)^{path}.*{said}"):
        read_devices([path], bundle, None)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (None, "cannot be read"),
        ("", "not the results of a device"),
        ('Info : halted\n{"schema": 1}', "not the results of a device .*a line of a debugger"),
        ("[" * 100_000, "not the results of a device"),
    ],
)
def test_another_file_is_refused(text: str | None, said: str, bundle: Path, tmp_path: Path) -> None:
    path = tmp_path / "m7.json"
    if text is not None:
        path.write_text(text)
    with pytest.raises(BenchError, match=said):
        read_devices([path], bundle, None)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda r: r.update(selftest=3), "it does not pass its self-test: golden number 3 has"),
        (lambda r: r["functions"][1]["rows"][1].update(status=-3), "jet of 100 points returned -3; expected: 0"),
        (
            lambda r: r["functions"][0]["rows"][2].update(crc32=7),
            "eval of 10,000 points has other bits than the NumPy program of ",
        ),
    ],
)
def test_a_device_that_computes_something_else_is_refused(
    change: Change, reason: str, bundle: Path, tmp_path: Path
) -> None:
    found = results(bundle)
    change(found)
    path = tmp_path / "m7.json"
    path.write_text(json.dumps(found))
    (device,) = read_devices([path], bundle, None)
    assert isinstance(device, Absent)
    assert (device.name, device.kind) == ("device: m7", "refused")
    assert device.reason.startswith(reason)


@pytest.fixture
def m7(bundle: Path, tmp_path: Path) -> Path:
    path = tmp_path / "m7.json"
    path.write_text(json.dumps(results(bundle)))
    return path


def test_cycles_are_times_where_the_rate_is_known(m7: Path, bundle: Path) -> None:
    (cycles,), (timed,) = read_devices([m7], bundle, None), read_devices([m7], bundle, "200MHz")
    assert isinstance(cycles, Device)
    assert isinstance(timed, Device)
    row, at_rate = device_rows(cycles)[0], device_rows(timed)[0]
    assert (row.unit, row.least, row.median, row.most, row.p99, row.batch) == ("cycles", 2000, 2016, 2400, None, 4)
    assert (at_rate.unit, at_rate.least, at_rate.median, at_rate.most) == ("ns", 10_000, 10_080, 12_000)
    assert replace(timed, clock=cycles.clock) == cycles


def test_a_clock_is_for_one_device_that_does_not_say_its_rate(m7: Path, bundle: Path) -> None:
    timed = results(bundle)
    timed["clock"].update(per_second=168_000_000)
    (m4 := m7.with_name("m4.json")).write_text(json.dumps(timed))
    assert len(read_devices([m7, m4], bundle, "216MHz")) == 2
    with pytest.raises(BenchError, match="0 of the devices count cycles and do not say how fast"):
        read_devices([m4], bundle, "216MHz")
    (other := m7.with_name("other.json")).write_bytes(m7.read_bytes())
    with pytest.raises(BenchError, match="2 of the devices count cycles and do not say how fast"):
        read_devices([m7, other], bundle, "216MHz")
    (m7.parent / "again").mkdir()
    (again := m7.parent / "again" / "m7.json").write_bytes(m7.read_bytes())
    with pytest.raises(BenchError, match="a device is named after its file"):
        read_devices([m7, again], bundle, None)


@pytest.mark.parametrize(("text", "hz"), [("216MHz", 216_000_000), (" 1.5 GHz", 1_500_000_000), ("32768Hz", 32_768)])
def test_rates(text: str, hz: int) -> None:
    assert parse_rate(text) == hz


@pytest.mark.parametrize("text", ["216", "216 mhz", "-1MHz", "0Hz", "MHz", "1e6Hz"])
def test_other_texts_are_no_rates(text: str) -> None:
    with pytest.raises(BenchError, match="is not a rate; expected: a positive number and Hz, kHz, MHz, GHz"):
        parse_rate(text)


CLOCK = Clock("SysTick", "cycles", 12, 0)
M7 = Device(
    "device: <m7>", "burgers", "cortex-m7", "fma-2", CLOCK, (DeviceCell("eval", 1, 2, (4000, 4032, 5000), 8.9e-7),)
)


def test_a_device_takes_the_place_of_its_name() -> None:
    record = example_record(rounds=1)
    refused = Absent(M7.name, "refused", "has other bits")
    for merged in (with_devices(record, [M7]), with_devices(with_devices(record, [refused]), [M7])):
        assert merged == replace(record, devices=(M7,))
    again = with_devices(with_devices(record, [M7]), [refused])
    assert again == replace(record, absent=(*record.absent, refused))


def test_a_record_with_a_device_is_read_back_equal_and_summed_up(tmp_path: Path) -> None:
    record = with_devices(example_record(rounds=1), [M7])
    write_record(record, tmp_path / "record.json")
    assert read_record(tmp_path / "record.json") == record
    (found,) = summary(record)["devices"]
    assert found["rows"][0]["median"] == 2016
    assert "cells" not in found


def test_the_page_has_the_devices_apart() -> None:
    record = example_record(rounds=1)
    assert 'id="devices"' not in html(record)
    page = html(with_devices(record, [M7]))
    assert 'href="#devices"' in page
    section = page[page.index('id="devices"') : page.index('id="absent"')]
    for part in ("device: &lt;m7&gt;", "cortex-m7", "2\N{NARROW NO-BREAK SPACE}020\N{NO-BREAK SPACE}cycles", "3 × 2"):
        assert part in section
    assert page[: page.index('id="devices"')].count("m7") == 0
    timed = html(with_devices(record, [replace(M7, clock=replace(CLOCK, per_second=216_000_000))]))
    assert "9.33\N{NO-BREAK SPACE}µs" in timed
    assert "at 216 MHz" in timed


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(cli.app, [str(argument) for argument in arguments])


@pytest.fixture
def brief(monkeypatch: pytest.MonkeyPatch) -> None:
    """One short turn of each backend."""
    monkeypatch.setattr(selection, "QUICK", replace(selection.QUICK, processes=1, rounds=1, turn_seconds=0.002))


@pytest.mark.usefixtures("brief")
def test_bench_adds_devices_to_what_it_measures_and_to_what_is_there(
    m7: Path, bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, page = tmp_path / "record.json", tmp_path / "page.html"
    first = run("bench", bundle, "--n", "1", "--backend", "numpy program", "--add", m7, "--out", out)
    assert first.exit_code == 0, first.output
    for part in ("device: m7", "2,016 cycles", "clock SysTick, which steps by 12 cycles"):
        assert part in first.stdout
    measured = read_record(out)
    assert [device.name for device in measured.devices] == ["device: m7"]

    monkeypatch.setattr(command, "measure", lambda *arguments, **options: pytest.fail("it measures again"))
    wrong = results(bundle)
    wrong["selftest"] = 1
    (m4 := tmp_path / "m4.json").write_text(json.dumps(wrong))
    adding = ("bench", bundle, "--out", out, "--resume", "--add", m7, "--clock", "216MHz", "--report", page)
    second = run(*adding)
    assert second.exit_code == 0, second.output
    assert "9.33 µs" in second.stdout
    third = run("bench", bundle, "--out", out, "--resume", "--add", m4)
    assert "refused: device: m4: it does not pass its self-test: golden number 1 has" in third.stdout
    record = read_record(out)
    assert record.cells == measured.cells
    assert [device.clock.per_second for device in record.devices] == [216_000_000]
    assert [missing.name for missing in record.absent] == ["device: m4"]
    assert "at 216 MHz" in page.read_text()


def test_a_record_of_another_program_takes_no_device(m7: Path, bundle: Path, tmp_path: Path) -> None:
    write_record(example_record(), tmp_path / "record.json")
    found = run("bench", bundle, "--out", tmp_path / "record.json", "--resume", "--add", m7)
    assert found.exit_code == 2
    assert "is the record of another Program" in " ".join(found.stderr.split())


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--clock", "216MHz"], "the rate of a device that counts cycles; expected: with --add"),
        (["--add", "{m7}", "--clock", "fast"], "'fast' is not a rate; expected"),
        (["--add", "{m7}", "--budget", "1s"], "--add: not for the budget of one backend"),
        (["--add", "{m7}", "--frontier"], "--add: not for the frontier"),
    ],
)
def test_options_that_do_not_go_together_are_refused(arguments: list[str], said: str, m7: Path, bundle: Path) -> None:
    found = run("bench", bundle, *(argument.format(m7=m7) for argument in arguments))
    assert found.exit_code == 2
    assert said in " ".join(found.stderr.split())
